"""A source for ``torchdata.nodes``: its `Loader`, with threads (`ParallelMapper`, `Prefetcher`), over our passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchdata.nodes import BaseNode

from pydaos.torch._batches import Batches
from pydaos.torch._loader import DataLoader, PassIterator

__all__ = ["DaosNode"]


class DaosNode(BaseNode[Any]):  # type: ignore[misc]
    """The batches of a dataset as a ``torchdata.nodes`` node.

    ``reset()`` begins the pass that is due: the next one after a complete one,
    the same again after one that was abandoned. Its state is the resume token
    after the batch given last, so that a `Loader` over it goes on exactly, and
    `pydaos.torch.position` makes a token of the Loader's state.

    Parameters
    ----------
    dataset
        What a `DataLoader` of ours takes: `Dataset`, `Mixture`, `Batches`, ...; or
        such a loader itself.
    batch_size : int, optional
        Samples of a batch; of `Batches` it is theirs.
    options
        Further arguments of `DataLoader`: shuffle, seed, order, world, uneven,
        transform_threads, prefetch, ...

    Examples
    --------
    >>> node = DaosNode(data, batch_size=32, shuffle=True, seed=0)  # doctest: +SKIP
    >>> node = ParallelMapper(node, augment, num_workers=4, method="thread")  # doctest: +SKIP
    >>> loader = torchdata.nodes.Loader(Prefetcher(node, prefetch_factor=2))  # doctest: +SKIP
    """

    def __init__(self, dataset: Any, batch_size: int | None = None, **options: Any) -> None:
        super().__init__()
        if isinstance(dataset, DataLoader):
            if batch_size is not None or options:
                raise TypeError("a DataLoader has its batch size and options already")
            self.loader = dataset
        else:
            if batch_size is None and not isinstance(dataset, Batches):
                raise TypeError("give batch_size=: a node gives whole batches, each of them one request")
            self.loader = DataLoader(dataset, batch_size=batch_size, **options)
        self._iterator: PassIterator | None = None

    def reset(self, initial_state: Mapping[str, Any] | None = None) -> None:
        """Begin the pass that is due, or go on from a state."""
        super().reset(initial_state)
        self.shutdown()
        if initial_state is not None:
            self.loader.load_state_dict(initial_state)
        self._iterator = iter(self.loader)

    def next(self) -> Any:
        """Return the next batch."""
        if self._iterator is None:
            raise StopIteration
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Return the resume token after the batch given last."""
        return self.loader.state_dict()

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that the next ``reset()`` begins."""
        self.loader.set_epoch(epoch)

    def shutdown(self) -> None:
        """End what this node has running."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()
