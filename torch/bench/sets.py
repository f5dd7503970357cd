"""The data of a loader row: one file a sample, one packed file, and ours of both types."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench import Bench

__all__ = ["SHAPES", "Population", "Shape"]


@dataclass(frozen=True)
class Shape:
    """Samples of a row: their size in bytes, how many at most, and the batch."""

    name: str
    size: int
    most: int
    batch: int

    def count(self, quick: bool) -> int:
        """Number of samples: 1 GiB of them at most (48 MiB when quick), whole batches."""
        budget = (48 << 20) if quick else (1 << 30)
        count = min(self.most // (10 if quick else 1), max(256, budget // self.size))
        return count // self.batch * self.batch


SHAPES = [
    Shape("4 KiB", 4096, 50_000, 32),
    Shape("100 KiB", 100 << 10, 20_000, 32),
    Shape("1 MiB", 1 << 20, 20_000, 32),
    Shape("784 B", 784, 60_000, 256),
]


@dataclass
class Population:
    """The samples of a shape, written everywhere the sides read them from."""

    shape: Shape
    count: int
    tree: Path
    packed: Path
    files: str
    tensors: str

    @staticmethod
    def make(bench: Bench, shape: Shape) -> Population:
        """Write local files, the packed file, a POSIX and a tensor dataset with a snapshot each."""
        count, size = shape.count(bench.quick), shape.size
        tree, packed = bench.scratch / f"files-{size}", bench.scratch / f"packed-{size}"
        bench.say(f"making {count:,} files of {shape.name}")
        tree.mkdir()
        rng = np.random.default_rng(size)
        rows = np.memmap(packed, np.uint8, "w+", shape=(count, size))
        for i in range(count):
            rows[i] = rng.integers(0, 256, size, dtype=np.uint8)
            (tree / f"{i:08d}").write_bytes(rows[i].tobytes())
        rows.flush()
        made = Population(shape, count, tree, packed, f"bench/f{size}", f"bench/t{size}")
        bench.daos("dataset", "create", made.files, "--type", "posix")
        bench.daos("fs", "import", str(tree), f"{made.files}/")
        columns = bench.client.create_dataset(made.tensors, type="tensor")
        columns.define({"x": np.asarray(rows[:1])})
        step = max(1, (64 << 20) // size)
        for i in range(0, count, step):
            columns.append({"x": np.asarray(rows[i : i + step])})
        for name in (made.files, made.tensors):
            bench.daos("snapshot", "create", name, "v1")
        del rows
        subprocess.run(["sync"], check=True)
        return made

    def paths(self) -> list[str]:
        """Return the paths of the local files, sorted."""
        return sorted(entry.path for entry in os.scandir(self.tree))

    def mapped(self) -> Any:
        """Return the packed file as a memory-mapped array ``[count, size]`` of uint8."""
        return np.memmap(self.packed, np.uint8, "r", shape=(self.count, self.shape.size))

    def drop(self, bench: Bench) -> None:
        """Remove all of it."""
        shutil.rmtree(self.tree)
        self.packed.unlink()
        for name in (self.files, self.tensors):
            bench.client.destroy_dataset(name)
