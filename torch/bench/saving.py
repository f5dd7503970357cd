"""Checkpoint rows: saves that are durable, loads, and loads into tensors that exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from bench import Bench
from goals import LOAD, LOAD_INTO, SAVE
from pairs import Row, Side
from safetensors.torch import load_file, save_file

from pydaos.torch import Checkpoint

__all__ = ["run"]

#: Bytes of one tensor: 256 of them make a checkpoint of 1 GiB.
TENSOR = 4 << 20


def synced(path: Path) -> None:
    """Make a file and its name durable."""
    for where in (path, path.parent):
        descriptor = os.open(where, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def write_raw(f: BinaryIO | Any, state: dict[str, torch.Tensor]) -> None:
    for t in state.values():
        f.write(memoryview(t.numpy()).cast("B"))


def run(bench: Bench) -> None:
    """256 float32 tensors of 4 MiB."""
    count = 16 if bench.quick else 256
    made = torch.Generator().manual_seed(0)
    state = {f"layer{i}": torch.randn(TENSOR // 4, generator=made) for i in range(count)}
    mib = count * TENSOR / 2**20
    raw, local, safe = (bench.scratch / n for n in ("raw.bin", "local.pt", "local.safetensors"))
    ckpt = Checkpoint("bench", "runs", create=True)

    def of(work: Callable[[], object]) -> Callable[[], float]:
        def timed() -> float:
            work()
            return mib

        return timed

    def save_raw() -> None:
        with open(raw, "wb", buffering=0) as f:
            write_raw(f, state)
            os.fsync(f.fileno())

    def save_local() -> None:
        torch.save(state, local)
        synced(local)

    def save_safe() -> None:
        save_file(state, safe)
        synced(safe)

    def save_ours() -> None:
        with ckpt.writer("state.pt") as f:
            torch.save(state, f)

    def save_ours_raw() -> None:
        with ckpt.writer("raw.bin") as f:
            write_raw(f, state)

    floor, goal = SAVE
    sides = [
        Side("raw write + fsync", of(save_raw)),
        Side("torch.save to a local file + fsync", of(save_local)),
        Side("safetensors + fsync", of(save_safe)),
        Side("ours, torch.save into Checkpoint.writer", of(save_ours), floor, goal),
        Side("ours, raw bytes into Checkpoint.writer", of(save_ours_raw), floor, goal),
    ]
    bench.run(Row(f"checkpoint save, {mib:.0f} MiB, durable", "MiB/s", sides, sides[0].name))

    def touched(loaded: dict[str, torch.Tensor]) -> None:
        # One byte of every page: a memory-mapped file is read only then.
        for t in loaded.values():
            t.view(torch.uint8)[::4096].sum()

    floor, goal = LOAD
    sides = [
        Side("torch.load of a local file", of(lambda: touched(torch.load(local)))),
        Side("torch.load of a local file, mmap=True", of(lambda: touched(torch.load(local, mmap=True)))),
        Side("safetensors load_file", of(lambda: touched(load_file(safe)))),
        Side("ours, torch.load of a reader", of(lambda: touched(torch.load(ckpt.reader("state.pt")))), floor, goal),
    ]
    bench.run(Row("checkpoint load, every page touched", "MiB/s", sides, sides[0].name))

    into = {k: torch.zeros_like(t) for k, t in state.items()}

    def into_raw() -> None:
        with open(raw, "rb", buffering=0) as f:
            for t in into.values():
                view = memoryview(t.numpy()).cast("B")
                while view:
                    view = view[f.readinto(view) :]  # type: ignore[call-overload]

    def into_local() -> None:
        for k, t in torch.load(local).items():
            into[k].copy_(t)

    def into_safe() -> None:
        for k, t in load_file(safe).items():
            into[k].copy_(t)

    def into_ours() -> None:
        ckpt.load("state.pt", into=into)

    floor, goal = LOAD_INTO
    sides = [
        Side("raw read into the tensors", of(into_raw)),
        Side("torch.load of a local file, then copy_", of(into_local)),
        Side("safetensors load_file, then copy_", of(into_safe)),
        Side("ours, Checkpoint.load(name, into=)", of(into_ours), floor, goal),
    ]
    bench.run(Row("checkpoint load into existing tensors", "MiB/s", sides, sides[0].name))
    for k, t in into.items():
        if not torch.equal(t, state[k]):
            raise SystemExit(f"{k} came back changed")
    ckpt.close()
    for path in (raw, local, safe):
        path.unlink()
