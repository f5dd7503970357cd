"""Rows of the namespace: scan beside os.scandir + stat, manifest build, import beside cp + sync."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench import Bench
from pairs import Row, Side

__all__ = ["run"]


def run(bench: Bench) -> None:
    """Measure the rows of one big tree and of many small files."""
    scans(bench)
    imports(bench)


def scans(bench: Bench) -> None:
    """1.1 million empty files: a scan with sizes, and the manifest of all."""
    entries = 50_000 if bench.quick else 1_100_000
    per_dir = 1000
    tree = bench.scratch / "tree"
    bench.say(f"making {entries:,} files")
    for d in range(entries // per_dir):
        folder = tree / f"{d // 100:03d}" / f"{d:05d}"
        folder.mkdir(parents=True)
        for i in range(per_dir):
            os.close(os.open(folder / f"{i:06d}.jpg", os.O_CREAT | os.O_WRONLY))
    bench.daos("dataset", "create", "bench/tree", "--type", "posix")
    bench.daos("fs", "import", str(tree), "bench/tree/")
    bench.daos("snapshot", "create", "bench/tree", "v1")
    handle = bench.client.dataset("bench/tree@v1")

    def scandir() -> float:
        count, stack = 0, [os.fspath(tree)]
        while stack:
            with os.scandir(stack.pop()) as it:
                for entry in it:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    _ = entry.stat(follow_symlinks=False).st_size
        return count

    def find() -> float:
        out = subprocess.run(
            ["find", str(tree), "-mindepth", "1", "-printf", "%s %p\\n"], stdout=subprocess.PIPE, check=True
        ).stdout
        return out.count(b"\n")

    def scan() -> float:
        table: pa.Table = handle.scan(columns=["path", "size"])
        return table.num_rows

    sides = [
        Side("os.scandir + stat", scandir),
        Side("find -printf '%s %p'", find),
        Side("ours, scan(path, size) to pyarrow", scan, floor=5, goal=8),
    ]
    counts = {s.name: s.work() for s in sides}
    if len(set(counts.values())) != 1:
        raise SystemExit(f"the sides saw different trees: {counts}")
    what = f"full scan of {int(counts[sides[0].name]):,} entries"
    bench.run(Row(what, "entries/s", sides, sides[0].name, ">= 8x and >= 2 M entries/s"))

    globs = iter(range(1000))

    def build() -> float:
        # A new selection every time, so that nothing is found on disk.
        k = next(globs)
        info = bench.client.open_manifest("bench/tree@v1", glob=f"**/*.jp[g{k % 10}]" + "*" * (k // 10))
        return info.samples

    sides = [
        Side("os.walk + sorted, in Python", lambda: float(sum(len(f) for _, _, f in os.walk(tree)))),
        Side("ours, manifest build", build),
    ]
    bench.run(Row("manifest build", "entries/s", sides, sides[0].name, ">= 1 M entries/s"))
    shutil.rmtree(tree)
    bench.client.destroy_dataset("bench/tree")


def imports(bench: Bench) -> None:
    """70,000 small files, durable at the end."""
    small = bench.scratch / "small"
    count = 5_000 if bench.quick else 70_000
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = small / f"{i % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:05d}.png").write_bytes(rng.bytes(500))
    subprocess.run(["sync"], check=True)
    runs = iter(range(1000))
    doomed: list[Path] = []

    def copy() -> float:
        to = bench.scratch / f"copy-{next(runs)}"
        subprocess.run(["cp", "-r", str(small), str(to)], check=True)
        subprocess.run(["sync", "-f", str(to)], check=True)
        doomed.append(to)
        return count

    def tar() -> float:
        to = bench.scratch / f"copy-{next(runs)}.tar"
        subprocess.run(["tar", "-cf", str(to), str(small)], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["sync", str(to)], check=True)
        doomed.append(to)
        return count

    def imported() -> float:
        name = f"bench/import{next(runs)}"
        bench.daos("dataset", "create", name, "--type", "posix")
        bench.daos("fs", "import", str(small), f"{name}/")
        return count

    sides = [
        Side("cp -r + sync", copy),
        Side("tar + fsync", tar),
        Side("ours, daos fs import", imported, floor=1, goal=1.5),
    ]
    bench.run(Row(f"import of {count:,} files of 500 B, durable", "files/s", sides, sides[0].name))
    for path in doomed:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(small)
