"""Our order for a map-style dataset: a sampler that is stateful and needs O(1) memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch.utils.data import Sampler

from pydaos.torch._plan import Pass, World, check_world

if TYPE_CHECKING:
    from pydaos.torch._source import Source

__all__ = ["PassSampler"]


class PassSampler(Sampler[int]):
    """Yields the sample indices of a pass, in blocks, without a list of them.

    Parameters
    ----------
    source : Source
        What is read; its manifest goes into the token.
    shuffle : bool
        Global shuffle, else sequential.
    seed : int
        The order is a function of (order, seed, pass).
    world : (rank, size), optional
        Yield the share of one world rank: the samples at positions
        ``rank, rank + size, ...`` of the order, so that every rank's position
        follows from the global one.
    """

    def __init__(self, source: Source, *, shuffle: bool = True, seed: int = 0, world: World | None = None) -> None:
        self._source = source
        self._world = check_world(world)
        self._pass = Pass(source, shuffle=shuffle, seed=seed)
        self._yielded = 0

    def __len__(self) -> int:
        rank, size = self._world
        return max(0, -(-(self._source.samples - rank) // size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; the loaded one keeps the loaded position, another starts at 0."""
        self._pass.set(epoch)

    @property
    def epoch(self) -> int:
        """The pass that the next iteration walks."""
        return self._pass.number

    def __iter__(self) -> Iterator[int]:
        return _Indices(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the resume token after the indices yielded so far.

        It counts indices, not batches that came back: use it where the sampler
        is drawn from as it is used (``num_workers=0``), else give the number of
        samples consumed to ``Dataset.state_dict``.
        """
        return self._pass.token().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token at the next ``iter()``."""
        self._pass.load(state)


class _Indices:
    """An iterator class: a suspended generator would lose the index it holds."""

    def __init__(self, sampler: PassSampler) -> None:
        self._sampler = sampler
        self._pass = sampler._pass
        start = self._pass.begin()
        rank, size = sampler._world
        self._size = size
        # The token counts samples of the global order: a rank's own next one is
        # the first position >= start of its residue class.
        first = start + (rank - start) % size
        self._order = self._pass.order()
        self._next = first
        self._block: list[int] = []
        self._at = 0

    def __iter__(self) -> _Indices:
        return self

    def __next__(self) -> int:
        if self._at == len(self._block):
            self._fill()
        index = self._block[self._at]
        self._at += 1
        self._pass.position = min(self._pass.position + self._size, self._order.n)
        return index

    def _fill(self) -> None:
        from pydaos.torch._order import BLOCK

        n = self._order.n
        if self._next >= n:
            self._pass.position = n
            raise StopIteration
        stop = min(self._next + BLOCK * self._size, n)
        self._block = self._order.take(self._next, stop)[:: self._size].tolist()
        self._next += len(self._block) * self._size
        self._at = 0
