"""Memory of a training process and of its workers, beside the same process without us.

Run as a program: ``footprint.py WAY ADDRESS WORKERS`` walks some batches and prints JSON:
private memory (USS) of the process and of its workers in MB, and the bytes of all batches
that can be on their way. Ways: ``dummy`` (torch alone, samples of the same shape made of
nothing), ``files`` (a list of the paths below the folder ADDRESS), ``stock`` (torch's
DataLoader over ours with our sampler), ``loader`` (our DataLoader), ``ready``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.utils.data

BATCH = 32  # 28 of them are less than a pass over a thousand samples
STEPS = 28


def private_mb(pid: int | str = "self") -> float:
    """Return the memory that a process shares with nobody, in MB (10^6 bytes)."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return (
            sum(int(line.split()[1]) for line in f if line.startswith(("Private_Clean", "Private_Dirty"))) * 1024 / 1e6
        )


class Dummy(torch.utils.data.Dataset[Any]):
    """Samples of 16 bytes, made of nothing."""

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, i: int) -> Any:
        return torch.zeros(16, dtype=torch.uint8)


class Files(torch.utils.data.Dataset[Any]):
    """One file a sample, a list of paths, as everybody writes it."""

    def __init__(self, top: str) -> None:
        self.paths = sorted(str(p) for p in Path(top).rglob("*") if p.is_file())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        with open(self.paths[i], "rb") as f:
            return torch.frombuffer(bytearray(f.read()), dtype=torch.uint8)


def batches(way: str, address: str, workers: int) -> Any:
    """Return what the training loop iterates."""
    options = {"num_workers": workers, "multiprocessing_context": "fork" if workers else None}
    if way in ("dummy", "files"):
        data = Dummy() if way == "dummy" else Files(address)
        return torch.utils.data.DataLoader(data, BATCH, **options)
    from pydaos.torch import DataLoader, Dataset

    ours = Dataset(address)
    if way == "stock":
        return torch.utils.data.DataLoader(ours, BATCH, sampler=ours.sampler(shuffle=True, seed=1), **options)
    if way == "loader":
        return DataLoader(ours, batch_size=BATCH, shuffle=True, seed=1, **options)
    ready = ours.batches(BATCH, shuffle=True, seed=1)
    return torch.utils.data.DataLoader(ready, batch_size=None, **options)


def main() -> None:
    way, address, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="num_workers=")  # workers without a transform are meant here
    before = private_mb()
    walk = iter(batches(way, address, workers))
    for _ in range(STEPS):
        batch = next(walk)
    size = len(str(type(batch)))  # the last batch stays alive, as in a loop
    gc.collect()
    children = [int(p) for t in Path("/proc/self/task").glob("*/children") for p in t.read_text().split()]
    apart = [private_mb(p) for p in children if Path(f"/proc/{p}/smaps_rollup").exists()]
    print(
        json.dumps(
            {"import_mb": before, "main_mb": private_mb(), "worker_mb": max(apart, default=0.0), "kept": size},
        ),
        flush=True,
    )
    os._exit(0)


if __name__ == "__main__":
    main()
