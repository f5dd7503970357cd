"""Who reads what in a pass, and where a pass stands. Values, no I/O.

`slices` is the division of a pass among ranks and workers; ``loader/order``
has the same in Go, and ``loader/order/testdata/plan.json`` holds vectors that
both are tested with. `Pass` is what a sampler, an iterable and a loader keep
of the pass they walk. `Walkable` is all that they ask of what is walked.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pydaos.torch._arguments import seed_of
from pydaos.torch._order import BLOCK, Order
from pydaos.torch._specs import OrderSpec, spec_of
from pydaos.torch._token import Token
from pydaos.torch._world import World

__all__ = [
    "Maker",
    "Pass",
    "RawLike",
    "Slice",
    "StreamLike",
    "Taker",
    "Walkable",
    "batches_of",
    "number_of",
    "slices",
    "uneven_rule",
    "warn_of_none",
]

U64 = npt.NDArray[np.uint64]

UNEVEN = ("pad", "drop", "keep")


class RawLike(Protocol):
    """One batch as received."""

    count: int


class StreamLike(Protocol):
    """Batches in the order asked for, the next ones requested ahead; for one thread."""

    @property
    def room(self) -> bool:
        """Whether another request may be sent ahead."""

    def ask(self, indices: U64) -> None:
        """Request a batch."""

    def take(self) -> Any:
        """Receive the oldest batch asked for."""

    def close(self) -> None:
        """Give the connection back."""


class Walkable(Protocol):
    """What can be walked in passes: a dataset's source, a mixture, token blocks.

    Pickles; holds no list that grows with the samples.
    """

    @property
    def samples(self) -> int:
        """Number of samples."""

    @property
    def manifest_id(self) -> str:
        """Digest of what sample i is, for every i."""

    @property
    def snapshot(self) -> str:
        """What a token names, ``POOL/DATASET@SNAPSHOT``."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names in the order of their labels; empty without labels."""

    @property
    def class_sizes(self) -> Sequence[int]:
        """Samples of each class; classes are contiguous runs of the index space in the order of their labels."""

    def check_token(self, token: Token) -> None:
        """ValueError unless the token is of this manifest."""

    def stream(self, depth: int = 2) -> StreamLike:
        """Return a pipelined reader with up to ``depth`` requests in flight."""

    def fetch(self, indices: Any) -> Any:
        """Read samples by index in one request (a `RawLike`)."""

    def batch(self, raw: Any) -> Any:
        """Return the ready batch."""

    def sample_at(self, raw: Any, i: int) -> Any:
        """Return one sample of a batch, which owns its memory."""


class Maker(Protocol):
    """What a sample is made into: decode, then the user's transform."""

    @property
    def ready(self) -> bool:
        """Whether nothing is to be done to a sample, so that batches come ready."""

    @property
    def keyed(self) -> bool:
        """Whether a transform takes ``rng``, and so wants to know (seed, pass) and the sample index."""

    def each(self, raw: Any, indices: Any, key: tuple[int, int]) -> list[Any]:
        """Return the samples that the user sees, of a batch asked for by ``indices`` in the pass ``key``."""

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int]) -> Any:
        """Return sample ``i`` of the batch, whose sample index is ``index``; safe in several threads."""


class Slice(NamedTuple):
    """The batch of one rank in one step.

    Positions ``start`` to ``stop`` of the global order, then ``again`` samples
    that repeat others: those at positions ``first``, ``first + 1``, ... modulo
    the samples of the pass. The global batch that it belongs to is step number
    ``step`` and ends at position ``end``.
    """

    start: int
    stop: int
    step: int
    end: int
    first: int = 0
    again: int = 0

    @property
    def samples(self) -> int:
        """Samples of the batch, repeats included."""
        return self.stop - self.start + self.again


class Taker:
    """Takes the sample indices of slices, made in blocks: an order's fixed cost is not paid for every batch."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._at = 0
        self._block = order.take(0, 0)

    def take(self, part: Slice) -> U64:
        """Return the sample indices of a slice, uint64."""
        n = self._order.n
        lo, hi = self._at, self._at + self._block.size
        if not (lo <= part.start and part.stop <= hi):
            self._block = self._order.take(part.start, min(max(part.stop, part.start + BLOCK), n))
            self._at = lo = part.start
        own = self._block[part.start - lo : part.stop - lo]
        if not part.again:
            return own
        parts, at, left = [own], part.first % n, part.again
        while left:
            run = min(left, n - at)
            parts.append(self._order.take(at, at + run))
            left -= run
            at = 0
        return np.concatenate(parts)


def uneven_rule(uneven: str | None, size: int) -> str:
    """Return what happens to a tail that does not fill all ranks: as given, else "pad" among ranks, "keep" alone."""
    if uneven is None:
        return "pad" if size > 1 else "keep"
    if uneven not in UNEVEN:
        raise ValueError(f"uneven={uneven!r}: use one of {', '.join(UNEVEN)}")
    return uneven


def slices(
    start: int,
    n: int,
    batch: int,
    world: tuple[int, int] | World,
    share: tuple[int, int] = (0, 1),
    *,
    drop_last: bool = False,
    uneven: str = "keep",
) -> Iterator[Slice]:
    """Yield the batches of one rank and worker.

    A global batch is ``batch * size`` samples, counted from ``start``; rank r
    takes its r-th contiguous slice, worker w of W the steps w, w + W, ... The
    last global batch may have m < ``batch * size`` samples: with ``drop_last``
    no rank reads it, else

    keep
        rank r takes its slice of ``batch`` samples as far as there are samples:
        the last slices are short or missing;
    pad
        every rank takes ceil(m / size), the tail being filled up with the first
        samples of the pass;
    drop
        every rank takes floor(m / size), the rest is left out.

    Parameters
    ----------
    start, n : int
        Position to go on from, and the samples of the pass.
    batch : int
        Samples of a rank's batch.
    world, share : (int, int)
        (rank, size), and (worker, workers).
    drop_last : bool
        Leave out a last global batch that is not whole.
    uneven : {"pad", "drop", "keep"}
        What becomes of a tail.
    """
    rank, size = world[0], world[1]
    worker, workers = share
    width = batch * size
    whole, tail = divmod(max(0, n - start), width)
    for step in range(worker, whole, workers):
        at = start + step * width
        yield Slice(at + rank * batch, at + (rank + 1) * batch, step, at + width)
    if not tail or drop_last or whole % workers != worker:
        return
    at = start + whole * width
    own = {"keep": batch, "pad": -(-tail // size), "drop": tail // size}[uneven]
    first, last = at + rank * own, at + (rank + 1) * own
    again = max(0, last - max(first, n)) if uneven == "pad" else 0
    begin, end = min(first, n), min(last, n)
    if end > begin or again:
        yield Slice(begin, end, whole, n, max(0, first - n), again)


def batches_of(
    n: int, batch: int, world: tuple[int, int] | World, *, drop_last: bool = False, uneven: str = "keep", start: int = 0
) -> int:
    """Return the number of batches that `slices` yields for a rank with one worker."""
    rank, size = world[0], world[1]
    whole, tail = divmod(max(0, n - start), batch * size)
    if not tail or drop_last:
        return whole
    if uneven == "keep":
        return whole + (tail > rank * batch)
    return whole + (uneven == "pad" or tail >= size)


def warn_of_none(n: int, batch: int, world: tuple[int, int] | World, *, drop_last: bool, uneven: str) -> None:
    """Warn where samples are there and every pass leaves out all of them."""
    if not n or not (drop_last or uneven == "drop") or batches_of(n, batch, world, drop_last=drop_last, uneven=uneven):
        return
    ranks = f" for each of {world[1]} ranks" if world[1] > 1 else ""
    least = f"a batch of {batch}" if drop_last else "a sample"
    rule = "drop_last=True" if drop_last else 'uneven="drop"'
    warnings.warn(f"a pass has no batch: {n} samples are not {least}{ranks}, and {rule} leaves them out", stacklevel=4)


def number_of(value: Any, wrong: str) -> int:
    """Return a number that a token can hold as an int, numpy's too; ValueError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(wrong)
    number = int(value.__index__())
    if not 0 <= number < (1 << 64) - 1:  # the next pass has a number too
        raise ValueError(wrong)
    return number


class Pass:
    """Order, pass number and position of something that walks a source.

    Loaded state is used by one ``begin()``. ``set`` with the loaded pass keeps
    the loaded position, with another starts at 0. A second ``begin()`` of the
    same pass without ``set`` in between warns once, unless the order is the
    sequential one.

    Parameters
    ----------
    source : Walkable
        What is walked.
    order : OrderSpec or str, optional
        What order; a resume token must then be of the same. Without, ``shuffle``
        says which of two, and a token brings its own.
    shuffle : bool
        Global shuffle, else sequential.
    seed : int
        What the order is a function of, with the pass.

    Attributes
    ----------
    seed, number, position : int
        Seed, pass, and samples of the global order consumed so far.
    chosen : bool
        Whether ``set`` came after the last ``load``.
    """

    def __init__(
        self, source: Walkable, *, order: OrderSpec | str | None = None, shuffle: bool = False, seed: int = 0
    ) -> None:
        seed = seed_of(seed)
        self._source = source
        self._given = order is not None
        # Bound once: an order by weights keeps arrays, and is the same in every pass but for its key.
        self._order = spec_of(order, shuffle=shuffle).bind(source, seed, 0)
        self.seed = seed
        self.number = 0
        self.position = 0
        self.chosen = False
        self._loaded: Token | None = None
        self._begun = False
        self._warned = False

    @property
    def kind(self) -> str:
        """What kind of order."""
        return self._order.kind

    @property
    def samples(self) -> int:
        """Samples of a pass; not those of the source where the order draws."""
        return self._order.n

    def order(self) -> Order:
        """Return the order of the present pass."""
        return self._order.at(seed=self.seed, pass_=self.number)

    def set(self, number: int) -> None:
        """Choose a pass."""
        number = number_of(number, f"set_epoch({number!r}): a pass has a number from 0 on")
        self.chosen = True
        if self._loaded is not None and self._loaded.pass_ != number:
            self._loaded = None
        if self._loaded is None:
            self.position = 0
        self.number = number
        self._begun = False

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a resume token for the next ``begin()``; ValueError if it is of something else."""
        token = Token.from_dict(state)
        self._source.check_token(token)
        order = self._order
        if token.differs(order) and not self._given:
            order = token.order_spec().bind(self._source, token.seed, token.pass_)
        token.check_order(order)
        if token.position > order.n:
            raise ValueError(
                f"the resume token's position {token.position} is past the {order.n} samples of a pass of "
                f"{token.snapshot}"
            )
        self._loaded = token
        self.chosen = False
        self._order = order
        self.seed, self.number, self.position = token.seed, token.pass_, token.position
        self._begun = False

    @property
    def loaded(self) -> bool:
        """Whether a resume token waits for the next ``begin()``."""
        return self._loaded is not None

    def unload(self) -> None:
        """Forget the resume token: it has been used elsewhere."""
        if self._loaded is not None:
            self._loaded = None
            self.position = 0

    def begin(self, *, again: bool = False, quiet: bool = False) -> int:
        """Begin to walk; return the position to begin at.

        Parameters
        ----------
        again : bool
            This pass is known to have been begun before, in another process.
        quiet : bool
            Say nothing of a second time.
        """
        if self._loaded is not None:
            start = self._loaded.position
            self._loaded = None
        else:
            if (self._begun or again) and self.kind != "sequential" and not self._warned and not quiet:
                self._warned = True
                warnings.warn(
                    f"pass {self.number} is walked again in the same order; call set_epoch(n) before each pass",
                    stacklevel=4,
                )
            start = 0
        self._begun = True
        self.position = start
        return start

    def token(self, position: int | None = None) -> Token:
        """Return the resume token at a position, the present one by default."""
        return self.token_of(self.number, self.position if position is None else position)

    def token_of(self, number: int, at: int) -> Token:
        """Return the resume token at a position of any pass."""
        at = number_of(at, f"position {at!r} is no number of samples")
        if at > self._order.n:
            raise ValueError(f"position {at} is not within the {self._order.n} samples of a pass")
        return Token.of(
            self._source.manifest_id, self._source.snapshot, self._order.at(seed=self.seed, pass_=number), at
        )
