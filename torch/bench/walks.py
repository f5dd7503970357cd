"""One shuffled pass, of local files and of ours: each function returns work for a `pairs.Side`.

A pass is whole (``cap`` seconds at most, where a side is slow), its order is drawn anew,
nothing is read ahead when it begins; worker processes stay from pass to pass, as users
keep them. The main process does what a training loop does with a batch: nothing, or
``.float().div_(255)``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from sets import Population
from torch.utils.data import DataLoader

from pydaos.torch import DataLoader as OurLoader
from pydaos.torch import Dataset

__all__ = [
    "FileDataset",
    "MappedDataset",
    "drain",
    "files_loader",
    "files_loop",
    "mapped_loader",
    "ours_loader",
    "ours_ready",
    "ours_stock",
    "packed_loop",
]

Work = Callable[[], float]

#: What is done with a batch of samples.
Use = Callable[[torch.Tensor], Any]


def ready(x: torch.Tensor) -> torch.Tensor:
    """Do nothing: the row "when ready"."""
    return x


def as_float(x: torch.Tensor) -> torch.Tensor:
    """Do what nearly every training loop does first."""
    return x.float().div_(255)


def samples_of(batch: Any) -> torch.Tensor:
    """Return the samples of a batch, whatever it is wrapped in."""
    while not isinstance(batch, torch.Tensor):
        batch = batch["x"] if isinstance(batch, dict) else batch[0]
    return batch


def drain(batches: Iterable[Any], use: Use = ready, cap: float = float("inf")) -> float:
    """Walk a pass; return the number of samples seen, all of them or those of ``cap`` seconds."""
    seen, until = 0, time.perf_counter() + cap
    for batch in batches:
        x = samples_of(batch)
        use(x)
        seen += x.shape[0]
        if time.perf_counter() > until:
            break
    return seen


class Shuffles:
    """The orders of pass after pass, as torch's RandomSampler draws them."""

    def __init__(self, count: int, seed: int = 3) -> None:
        self._count = count
        self._generator = torch.Generator().manual_seed(seed)

    def next(self) -> Any:
        """Return the next pass's order, int64."""
        return torch.randperm(self._count, generator=self._generator).numpy()


# -- the local ways ---------------------------------------------------------------


def files_loop(data: Population, use: Use = ready) -> Work:
    """The base: open + read + frombuffer + stack, in the training process."""
    paths, orders, batch = data.paths(), Shuffles(data.count), data.shape.batch

    def work() -> float:
        ids, seen = orders.next().tolist(), 0
        for i in range(0, len(ids), batch):
            out = []
            for k in ids[i : i + batch]:
                with open(paths[k], "rb") as f:
                    out.append(torch.frombuffer(bytearray(f.read()), dtype=torch.uint8))
            x = torch.stack(out)
            use(x)
            seen += x.shape[0]
        return seen

    return work


class FileDataset(torch.utils.data.Dataset[Any]):
    """One file a sample, as everybody writes it."""

    def __init__(self, paths: list[str], transform: Callable[[Any], Any] | None = None) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        with open(self.paths[i], "rb") as f:
            data = f.read()
        if self.transform is not None:
            return self.transform(data)
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def stock(dataset: Any, batch: int, workers: int, **options: Any) -> DataLoader[Any]:
    """A shuffling stock DataLoader with an order of its own and workers that stay."""
    options.setdefault("shuffle", True)
    return DataLoader(
        dataset,
        batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(3),
        **options,
    )


def files_loader(
    data: Population, workers: int, use: Use = ready, transform: Callable[[Any], Any] | None = None
) -> Work:
    """Files under the stock DataLoader."""
    loader = stock(FileDataset(data.paths(), transform), data.shape.batch, workers)
    return lambda: drain(loader, use)


class MappedDataset(torch.utils.data.Dataset[Any]):
    """A memory-mapped array; ``__getitems__`` takes a batch by one fancy index."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]

    def __getitems__(self, indices: list[int]) -> Any:
        return torch.from_numpy(self.rows[indices])


def keep(batch: Any) -> Any:
    """Collate nothing: the dataset has made the batch."""
    return batch


def mapped_loader(data: Population, use: Use = ready) -> Work:
    """``np.memmap`` with ``__getitems__`` under the stock DataLoader: the best local way that keeps it."""
    loader = stock(MappedDataset(data.mapped()), data.shape.batch, 0, collate_fn=keep)
    return lambda: drain(loader, use)


def packed_loop(data: Population, use: Use = ready) -> Work:
    """One packed file, ``preadv`` of each sample into the batch's tensor."""
    orders, batch, size = Shuffles(data.count), data.shape.batch, data.shape.size
    descriptor = os.open(data.packed, os.O_RDONLY)

    def work() -> float:
        ids, seen = orders.next().tolist(), 0
        x = torch.empty(batch, size, dtype=torch.uint8)
        views = [memoryview(row.numpy()) for row in x]
        for i in range(0, len(ids), batch):
            for view, k in zip(views, ids[i : i + batch]):
                seen += os.preadv(descriptor, [view], k * size) // size
            use(x)
        return seen

    return work


# -- ours -------------------------------------------------------------------------


def ours_stock(
    address: str,
    addr: str,
    batch: int,
    workers: int = 0,
    use: Use = ready,
    transform: Callable[[Any], Any] | None = None,
    cap: float = float("inf"),
) -> Work:
    """``DataLoader(Dataset(...), 32, shuffle=True)``: torch's own loader over ours."""
    loader = stock(Dataset(address, addr=addr, transform_fn=transform), batch, workers)
    return lambda: drain(loader, use, cap)


def ours_loader(
    address: str,
    addr: str,
    batch: int,
    workers: int = 0,
    threads: int = 0,
    use: Use = ready,
    transform: Callable[[Any], Any] | None = None,
) -> Work:
    """``pydaos.torch.DataLoader(Dataset(...), batch_size=32, shuffle=True)``."""
    loader = OurLoader(
        Dataset(address, addr=addr, transform_fn=transform),
        batch_size=batch,
        shuffle=True,
        seed=3,
        num_workers=workers,
        persistent_workers=workers > 0,
        transform_threads=threads,
    )
    return lambda: drain(loader, use)


def ours_ready(address: str, addr: str, batch: int, use: Use = ready) -> Work:
    """``data.batches(32, shuffle=True)`` in a plain loop."""
    batches = Dataset(address, addr=addr).batches(batch, shuffle=True, seed=3)
    passes = iter(range(10**9))

    def work() -> float:
        batches.set_epoch(next(passes))
        return drain(batches, use)

    return work
