"""Our order for a map-style dataset: samplers that are stateful and need O(1) memory.

`PassSampler` yields indices one by one, for ``DataLoader(dataset, 32,
sampler=dataset.sampler(...))``; `RankBatches` yields the batches of this rank,
for ``batch_sampler=``. Both walk the same slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DistributedSampler, Sampler

from pydaos.torch._arguments import whole
from pydaos.torch._order import BLOCK, Order
from pydaos.torch._plan import Pass, Slice, Taker, Walkable, batches_of, slices, uneven_rule, warn_of_none
from pydaos.torch._specs import OrderSpec
from pydaos.torch._world import WorldArg, check_pins, divides, refresh, resolve, sharded, undivided

__all__ = ["KeyedBatch", "KeyedIndex", "PassSampler", "RankBatches"]


class KeyedIndex(int):
    """A sample index that knows which (seed, pass) asks for it, for transforms that take ``rng``."""

    key: tuple[int, int]

    def __new__(cls, index: int, key: tuple[int, int]) -> KeyedIndex:
        self = super().__new__(cls, index)
        self.key = key
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyedIndex, (int(self), self.key)


class KeyedBatch(list[int]):
    """The indices of a batch, with the (seed, pass) that asks for them."""

    key: tuple[int, int]

    def __init__(self, indices: Any = (), key: tuple[int, int] = (0, 0)) -> None:
        super().__init__(indices)
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyedBatch, (list(self), self.key)


class _Walk:
    """What both samplers are: a pass, a rank of a world, and the rule for the tail."""

    def __init__(
        self,
        source: Walkable,
        batch_size: int,
        *,
        order: OrderSpec | str | None,
        shuffle: bool,
        seed: int,
        world: WorldArg | None,
        uneven: str | None,
        drop_last: bool,
        keyed: bool,
    ) -> None:
        self.source = source
        self.batch_size = whole("batch_size", batch_size, 1, "a batch has at least one sample")
        self.world = resolve(world)
        check_pins(source, self.world)
        self._uneven = uneven
        uneven_rule(uneven, 1)
        self.drop_last = drop_last
        self.keyed = keyed
        self.pass_ = Pass(source, order=order, shuffle=shuffle, seed=seed)
        self._divided = False

    def set(self, epoch: int) -> None:
        self._divided = bool(divides())
        self.pass_.set(epoch)

    @property
    def uneven(self) -> str:
        return uneven_rule(self._uneven, self.world.size)

    def begin(self) -> tuple[int, Order, Iterator[Slice]]:
        if self._divided or sharded():
            self._divided, self.world = False, undivided(self.world)
        else:
            self.world = refresh(self.world)
        check_pins(self.source, self.world)
        start = self.pass_.begin()
        order = self.pass_.order()
        warn_of_none(order.n, self.batch_size, self.world, drop_last=self.drop_last, uneven=self.uneven)
        return start, order, self.slices(start, order.n)

    def slices(self, start: int, n: int) -> Iterator[Slice]:
        return slices(start, n, self.batch_size, self.world, drop_last=self.drop_last, uneven=self.uneven)

    def batches(self) -> int:
        n = self.pass_.samples
        return batches_of(n, self.batch_size, self.world, drop_last=self.drop_last, uneven=self.uneven)


class PassSampler(DistributedSampler[int]):
    """Yields the sample indices of a pass, in blocks, without a list of them.

    It shards by itself: what checks for a ``DistributedSampler`` (Lightning)
    puts no other in its place.

    Parameters
    ----------
    source : Walkable
        What is read; its manifest goes into the token.
    shuffle : bool
        Global shuffle, else sequential.
    seed : int
        The order is a function of (order, seed, pass).
    order : OrderSpec or str, optional
        Another order than these two.
    world : (rank, size), optional
        Yield the share of one world rank; else that of this process.
    batch_size : int
        With more than one rank: the DataLoader's batch size, so that rank r
        takes the r-th contiguous slice of every ``batch_size * size`` samples.
    uneven : {"pad", "drop", "keep"}, optional
        What becomes of a tail that does not fill all ranks.
    drop_last : bool
        Leave out a last global batch that is not whole.

    Attributes
    ----------
    repeated : int
        How many samples at the end of this rank's last slice repeat others.
    """

    def __init__(
        self,
        source: Walkable,
        *,
        shuffle: bool = True,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        world: WorldArg | None = None,
        batch_size: int = 1,
        uneven: str | None = None,
        drop_last: bool = False,
        keyed: bool = False,
    ) -> None:
        self._walk = _Walk(
            source,
            batch_size,
            order=order,
            shuffle=shuffle,
            seed=seed,
            world=world,
            uneven=uneven,
            drop_last=drop_last,
            keyed=keyed,
        )
        self.repeated = 0

    # What a DistributedSampler has; those that ask for one look at these too.

    @property
    def rank(self) -> int:  # type: ignore[override]
        """Rank whose share this is."""
        return self._walk.world.rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """Ranks that share a pass."""
        return self._walk.world.size

    @property
    def seed(self) -> int:  # type: ignore[override]
        """Seed of the order."""
        return self._walk.pass_.seed

    @property
    def shuffle(self) -> bool:  # type: ignore[override]
        """Whether the order is another than the sequential one."""
        return self._walk.pass_.kind != "sequential"

    @property
    def drop_last(self) -> bool:  # type: ignore[override]
        """Whether a last global batch that is not whole is left out."""
        return self._walk.drop_last

    @property
    def num_samples(self) -> int:  # type: ignore[override]
        """Indices of this rank in a pass."""
        return len(self)

    @property
    def total_size(self) -> int:  # type: ignore[override]
        """Samples of a pass."""
        return self._walk.pass_.samples

    @property
    def pass_(self) -> Pass:
        """Order, pass and position."""
        return self._walk.pass_

    def __len__(self) -> int:
        walk = self._walk
        n = walk.pass_.samples
        whole = n // (walk.batch_size * walk.world.size)
        tail = walk.slices(whole * walk.batch_size * walk.world.size, n)
        return whole * walk.batch_size + sum(part.samples for part in tail)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; the loaded one keeps the loaded position, another starts at 0."""
        self._walk.set(epoch)

    @property
    def epoch(self) -> int:  # type: ignore[override]
        """The pass that the next iteration walks."""
        return self._walk.pass_.number

    def __iter__(self) -> Iterator[int]:
        return _Indices(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the resume token after the indices yielded so far.

        It counts indices, not batches that came back: use it where the sampler
        is drawn from as it is used (``num_workers=0``), else give the number of
        samples consumed to ``Dataset.state_dict``. Among ranks it counts whole
        global batches.
        """
        return self._walk.pass_.token().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token at the next ``iter()``."""
        self._walk.pass_.load(state)


class _Indices:
    """An iterator class: a suspended generator would lose the index it holds."""

    def __init__(self, sampler: PassSampler) -> None:
        self._sampler = sampler
        self._pass = sampler._walk.pass_
        self._taker: Taker | None = None
        self._block: list[int] = []
        self._at = 0

    def _begin(self) -> None:
        # At the first index: a DataLoader with workers calls iter() once more than it walks.
        walk = self._sampler._walk
        start, self._order, self._slices = walk.begin()
        self._alone = walk.world.size == 1
        if self._alone:
            # One rank's slices are one contiguous run: taken in blocks of our own.
            n = self._order.n
            width = walk.batch_size
            stop = n - (n - start) % width if walk.drop_last else n
            self._slices = (
                Slice(at, min(at + BLOCK, stop), 0, min(at + BLOCK, stop)) for at in range(start, stop, BLOCK)
            )
        self._taker = Taker(self._order)
        self._key = (self._pass.seed, self._pass.number) if walk.keyed else None
        self._block = []
        self._at = 0
        self._end = start
        self._sampler.repeated = 0

    def __iter__(self) -> _Indices:
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return the resume token after the indices yielded so far (torchdata's ``Stateful``)."""
        if self._taker is None:
            self._begin()
        return self._pass.token().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token."""
        self._pass.load(state)
        self._begin()

    def __next__(self) -> int:
        if self._at == len(self._block):
            self._fill()
        index = self._block[self._at]
        self._at += 1
        if self._alone:
            self._pass.position += 1
        elif self._at == len(self._block):
            self._pass.position = self._end
        return index if self._key is None else KeyedIndex(index, self._key)

    def _fill(self) -> None:
        if self._taker is None:
            self._begin()
        assert self._taker is not None
        part = next(self._slices, None)
        if part is None:
            self._pass.position = self._order.n
            raise StopIteration
        self._block = self._taker.take(part).tolist()
        self._end = part.end
        self._sampler.repeated = part.again
        self._at = 0


class RankBatches(Sampler[list[int]]):
    """Yields the index lists of this rank's batches, for ``batch_sampler=``.

    Parameters are those of `PassSampler`. The position of the pass is that
    after the batch yielded last; a loader that reads ahead counts the batches
    it gave out instead.
    """

    def __init__(
        self,
        source: Walkable,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        world: WorldArg | None = None,
        uneven: str | None = None,
        drop_last: bool = False,
        keyed: bool = False,
    ) -> None:
        self._walk = _Walk(
            source,
            batch_size,
            order=order,
            shuffle=shuffle,
            seed=seed,
            world=world,
            uneven=uneven,
            drop_last=drop_last,
            keyed=keyed,
        )
        self.repeated = 0

    @property
    def batch_size(self) -> int:
        """Samples of this rank's batch."""
        return self._walk.batch_size

    @property
    def drop_last(self) -> bool:
        """Whether a last global batch that is not whole is left out."""
        return self._walk.drop_last

    @property
    def pass_(self) -> Pass:
        """Order, pass and position."""
        return self._walk.pass_

    def __len__(self) -> int:
        return self._walk.batches()

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; the loaded one keeps the loaded position, another starts at 0."""
        self._walk.set(epoch)

    @property
    def epoch(self) -> int:
        """The pass that the next iteration walks."""
        return self._walk.pass_.number

    def __iter__(self) -> Iterator[list[int]]:
        return _Lists(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the resume token after the batches yielded so far."""
        return self._walk.pass_.token().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token at the next ``iter()``."""
        self._walk.pass_.load(state)


class _Lists:
    def __init__(self, batches: RankBatches) -> None:
        self._batches = batches
        self._pass = batches._walk.pass_
        self._taker: Taker | None = None

    def _begin(self) -> None:
        # At the first batch, as `_Indices`.
        walk = self._batches._walk
        _, self._order, self._slices = walk.begin()
        self._taker = Taker(self._order)
        self._key = (self._pass.seed, self._pass.number) if walk.keyed else None
        self._batches.repeated = 0

    def __iter__(self) -> _Lists:
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return the resume token after the batches yielded so far (torchdata's ``Stateful``)."""
        if self._taker is None:
            self._begin()
        return self._pass.token().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token."""
        self._pass.load(state)
        self._begin()

    def __next__(self) -> list[int]:
        if self._taker is None:
            self._begin()
        assert self._taker is not None
        part = next(self._slices, None)
        if part is None:
            self._pass.position = self._order.n
            raise StopIteration
        self._pass.position = part.end
        self._batches.repeated = part.again
        indices = self._taker.take(part).tolist()
        return indices if self._key is None else KeyedBatch(indices, self._key)
