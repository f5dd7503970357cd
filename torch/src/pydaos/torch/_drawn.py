"""An iterable that is not ours under our `DataLoader`: torch's own iterator, its batches counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch.utils.data

from pydaos.torch._book import Run
from pydaos.torch._plan import Slice

if TYPE_CHECKING:
    from pydaos.torch._loader import DataLoader

__all__ = ["Drawn", "Sized", "samples_of"]


class Drawn:
    """Batches of an iterable that is not ours: torch's own iterator, counted."""

    retries = 0

    def __init__(self, loader: DataLoader, run: Run) -> None:
        self._number = run.begun
        options = loader._worker_options() if loader.num_workers else {"pin_memory": loader.pin_memory}
        stock: Any = torch.utils.data.DataLoader(
            loader.dataset,
            batch_size=loader.batch_size,
            drop_last=loader.drop_last,
            collate_fn=loader.collate_fn,
            **options,
        )
        self._iterator: Iterator[Any] = iter(stock)
        for _ in range(run.begun):
            if next(self._iterator, self) is self:
                break
        self._size = loader.batch_size or 1
        # Of what somebody's own function makes, the samples can't be told.
        self._counts = loader.batch_size is not None and loader.collate_fn is torch.utils.data.default_collate

    def next(self) -> tuple[Slice, Any]:
        """Return the next batch."""
        batch = next(self._iterator)
        self._number += 1
        count = samples_of(batch, self._size) if self._counts else self._size
        return Slice(0, count, self._number - 1, self._number), batch

    def leave(self) -> None:
        """Let go of torch's iterator, which ends its workers."""
        self._iterator = iter(())


def samples_of(batch: Any, most: int) -> int:
    """Return how many samples torch has collated into a batch; ``most`` where it does not show."""
    while isinstance(batch, (Mapping, list, tuple)) and batch:
        inner = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
        if isinstance(inner, (str, bytes)):
            return min(len(batch), most)
        batch = inner
    return min(int(batch.shape[0]), most) if isinstance(batch, torch.Tensor) and batch.dim() else most


class Sized:
    """The batches of an iterable dataset, as far as its length says."""

    def __init__(self, dataset: Any, batch_size: int | None, drop_last: bool) -> None:
        self._dataset = dataset
        self._batch_size = batch_size or 1
        self._drop_last = drop_last

    def __len__(self) -> int:
        n = len(self._dataset)
        return n // self._batch_size if self._drop_last else -(-n // self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        return iter(())
