"""Who reads what in a pass, and where a pass stands. Values, no I/O."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydaos.torch._order import Order
from pydaos.torch._token import Token

if TYPE_CHECKING:
    from pydaos.torch._source import Source

__all__ = ["Pass", "World", "check_world", "slices"]

World = tuple[int, int]


def check_world(world: World | None) -> World:
    """Return ``(rank, size)``, (0, 1) for None; ValueError if it makes no sense."""
    if world is None:
        return 0, 1
    rank, size = world
    if size < 1 or not 0 <= rank < size:
        raise ValueError(f"world=({rank}, {size}): rank must lie in 0..size-1")
    return rank, size


def slices(
    start: int, n: int, batch: int, world: World, share: tuple[int, int], drop_last: bool
) -> Iterator[tuple[int, int]]:
    """Yield the global positions (start, stop) of the batches of one rank and worker.

    A global batch is ``batch * size`` samples, counted from ``start``; rank r
    takes its r-th contiguous slice, worker w of W the global batches w, w + W, ...
    A slice past the end is short or left out; with ``drop_last`` a global batch
    that is not whole is left out for every rank.

    Parameters
    ----------
    start, n : int
        Position to go on from, and the samples of the pass.
    batch : int
        Samples of a rank's batch.
    world, share : (int, int)
        (rank, size), and (worker, workers).
    drop_last : bool
        Leave out the last global batch if it is not whole.
    """
    rank, size = world
    worker, workers = share
    step = batch * size
    at = start + worker * step
    while at < n:
        if drop_last and at + step > n:
            return
        first = at + rank * batch
        if first < n:
            yield first, min(first + batch, n)
        at += workers * step


class Pass:
    """Order, pass number and position of something that walks a source.

    Loaded state is used by one ``begin()``. ``set`` with the loaded pass keeps
    the loaded position, with another starts at 0. A second shuffled ``begin()``
    of the same pass without ``set`` in between warns once.
    """

    def __init__(self, source: Source, *, shuffle: bool, seed: int) -> None:
        if not isinstance(seed, int):
            raise TypeError(f"seed is an int, not {type(seed).__name__}")
        self._source = source
        self.kind = "shuffle" if shuffle else "sequential"
        self.seed = seed
        self.number = 0
        self.position = 0
        self._loaded: Token | None = None
        self._begun = False
        self._warned = False

    def order(self) -> Order:
        """Return the order of the present pass."""
        return Order(self.kind, self._source.samples, self.seed, self.number)

    def set(self, number: int) -> None:
        """Choose a pass."""
        if number < 0:
            raise ValueError(f"set_epoch({number}): a pass has a number from 0 on")
        if self._loaded is not None and self._loaded.pass_ != number:
            self._loaded = None
        if number != self.number or self._loaded is None:
            self.position = 0
        self.number = number
        self._begun = False

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a resume token for the next ``begin()``; ValueError if it is of something else."""
        token = Token.from_dict(state)
        self._source.check_token(token)
        if token.position > self._source.samples:
            raise ValueError(
                f"the resume token's position {token.position} is past the "
                f"{self._source.samples} samples of {token.snapshot}"
            )
        self._loaded = token
        self.kind, self.seed, self.number, self.position = token.order, token.seed, token.pass_, token.position
        self._begun = False

    @property
    def loaded(self) -> bool:
        """Whether a resume token waits for the next ``begin()``."""
        return self._loaded is not None

    def unload(self) -> None:
        """Forget the resume token: it has been used elsewhere."""
        self._loaded = None
        self.position = 0

    def begin(self) -> int:
        """Begin to walk; return the position to begin at."""
        if self._loaded is not None:
            start = self._loaded.position
            self._loaded = None
        else:
            if self._begun and self.kind == "shuffle" and not self._warned:
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
        at = self.position if position is None else position
        return Token(self._source.manifest_id, self._source.snapshot, self.kind, self.seed, self.number, at)
