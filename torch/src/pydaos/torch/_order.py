"""The order of a pass: which sample stands at position x. A value, no I/O.

An `Order` is a function of (kind, parameters, seed, pass, number of samples)
that can begin anywhere: ``order.take(start, stop)``. None needs memory that
grows with the samples, but for the arrays that a user gives (weights, labels).
What a user asks for, an `OrderSpec` that is bound to what is read, is in
`_specs`.

``docs/order.md`` has the definitions; ``loader/order`` is the same in Go, and
``loader/order/testdata`` holds vectors that both are tested with. The
arithmetic is in `_bijection`, draws and strata in `_strata`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pydaos.torch._bijection import bijection, feistel, mix64, pass_key, side, sub, subs
from pydaos.torch._strata import Draws, Strata

__all__ = ["BLOCK", "KINDS", "MAX_SAMPLES", "PARAMS", "Order", "check_params", "mix64"]

U64 = npt.NDArray[np.uint64]

#: Indices made at a time.
BLOCK = 8192

#: Kinds of order and the newest version of each.
KINDS = {"sequential": 1, "shuffle": 1, "block": 1, "window": 1, "weighted": 1, "stratified": 1}

#: Parameters of each kind, in the order in which a token has them.
PARAMS: dict[str, dict[str, type]] = {
    "sequential": {},
    "shuffle": {},
    "block": {"block": int},
    "window": {"block": int, "window": int},
    "weighted": {"samples": int, "weights": str},
    "stratified": {"strata": str},
}

#: Most samples of an order, so that the arithmetic cannot overflow.
MAX_SAMPLES = 1 << 62

# Purposes of the keys made from the key of a pass.
_BLOCKS, _WITHIN, _STAGGERED, _ALIGNED = 1, 2, 3, 4


@dataclass(frozen=True)
class Order:
    """The order of one pass.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    n : int
        Positions of the pass; the number of samples, unless the kind draws.
    seed, pass_ : int
        Taken modulo 2**64. The order is a function of kind, parameters, seed,
        pass and n.
    params : mapping
        What the kind needs beyond a seed: small numbers and digests, the same
        that the resume token has.
    base : int
        Added to every index; what reads without end begins its passes there.
    """

    kind: str
    n: int
    seed: int = 0
    pass_: int = 0
    params: Mapping[str, int | str] = field(default_factory=dict)
    base: int = 0
    #: Whether pass p begins at index p * n.
    _endless: bool = field(default=False, compare=False, repr=False)
    _draws: Draws | None = field(default=None, compare=False, repr=False)
    _strata: Strata | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"order {self.kind!r} is not known; use one of {', '.join(sorted(KINDS))}")
        if not 0 <= self.n <= MAX_SAMPLES:
            raise ValueError(f"an order of {self.n} samples is not possible")
        check_params(self.kind, self.params)
        if (self.kind == "weighted" and self._draws is None) or (self.kind == "stratified" and self._strata is None):
            raise ValueError(f"an order of kind {self.kind!r} is made by binding its OrderSpec to what is read")

    def at(self, *, seed: int | None = None, pass_: int | None = None) -> Order:
        """Return the order of another pass or seed."""
        to_pass = self.pass_ if pass_ is None else pass_
        base = self.base + (to_pass - self.pass_) * self.n if self.base or self._endless else 0
        return replace(self, seed=self.seed if seed is None else seed, pass_=to_pass, base=base)

    def take(self, start: int, stop: int) -> U64:
        """Return the sample indices at positions ``start`` to ``stop``, uint64."""
        if not 0 <= start <= stop <= self.n:
            raise IndexError(f"positions {start}:{stop} are not within a pass of {self.n} samples")
        x = np.arange(start, stop, dtype=np.uint64)
        y = self._map(x) if x.size else x
        return y + np.uint64(self.base) if self.base else y

    def _map(self, x: U64) -> U64:
        key = pass_key(self.seed, self.pass_)
        if self._draws is not None:
            return self._draws.take(x, key)
        if self._strata is not None:
            return self._strata.take(x, key)
        if self.kind == "sequential" or self.n < 2:
            return x
        if self.kind == "shuffle":
            return feistel(x, self.n, key)
        block = int(self.params["block"])
        if self.kind == "block":
            return _arrange(x, self.n, block, key, within=True)
        half = int(self.params["window"]) // 2
        x = _within_groups(x, self.n, half, half // 2, key, _STAGGERED)
        x = _within_groups(x, self.n, half, half, key, _ALIGNED)
        return _arrange(x, self.n, block, key, within=False) if block else x

    def __iter__(self) -> Iterator[int]:
        return self.iter_from(0)

    def iter_from(self, position: int) -> Iterator[int]:
        """Yield the sample indices from a position on, made in blocks."""
        while position < self.n:
            stop = min(position + BLOCK, self.n)
            yield from self.take(position, stop).tolist()
            position = stop


def _arrange(x: U64, n: int, block: int, key: int, *, within: bool) -> U64:
    """Map positions to samples, block by block in keyed order; ``within`` also shuffles each."""
    count = -(-n // block)
    size, tail = np.uint64(block), n - (count - 1) * block
    a, b = side(count)
    order_key = sub(key, _BLOCKS, 0)
    # The last block is short: positions behind its place are those of whole blocks.
    if tail < block:
        place = _inverse(count - 1, count, a, b, order_key) * block
        x = np.where(x < np.uint64(place + tail), x, x + np.uint64(block - tail))
    slot = x // size
    offset = x - slot * size
    # Positions come in few blocks: each block's own numbers are made once.
    slots, where = _dense(slot)
    blocks = bijection(slots, count, a, b, order_key)
    if within:
        keys = subs(key, _WITHIN, blocks)
        sizes = np.where(blocks == np.uint64(count - 1), np.uint64(tail), size)
        offset = _sized(offset, sizes[where], keys[where], (block, tail))
    out: U64 = blocks[where] * size + offset
    return out


def _within_groups(x: U64, n: int, size: int, first: int, key: int, tag: int) -> U64:
    """Shuffle positions within groups: one of ``first`` (if any), then of ``size`` each, the last short."""
    first = first or size
    shift = np.uint64(size - first)
    usize = np.uint64(size)
    group = (x + shift) // usize
    start = group * usize
    start = np.where(group == 0, np.uint64(0), start - shift)
    groups, where = _dense(group)
    begins = np.where(groups == 0, np.uint64(0), groups * usize - shift)
    ends = np.minimum((groups + np.uint64(1)) * usize - shift, np.uint64(n))
    sizes = ends - begins
    out: U64 = start + _sized(x - start, sizes[where], subs(key, tag, groups)[where], sizes.tolist())
    return out


def _dense(number: U64) -> tuple[U64, npt.NDArray[np.intp]]:
    """Return all numbers from the least to the largest, and where each element stands among them."""
    low = number.min()
    return np.arange(low, number.max() + np.uint64(1), dtype=np.uint64), (number - low).astype(np.intp)


def _sized(x: U64, m: U64, key: U64, sizes: Sequence[int]) -> U64:
    """Apply a bijection to every element, its domain being one of a few sizes."""
    if len(set(sizes)) == 1:
        a, b = side(sizes[0])
        return bijection(x, m, a, b, key)
    a_of, b_of = np.empty_like(m), np.empty_like(m)
    for s in set(sizes):
        same = m == np.uint64(s)
        a_of[same], b_of[same] = side(s)
    return bijection(x, m, a_of, b_of, key)


def _inverse(y: int, m: int, a: int, b: int, key: int) -> int:
    """Return the x of [0, m) that `bijection` maps to y."""
    golden = 0x9E3779B97F4A7C15
    mask = (1 << 64) - 1
    while True:
        right, left = divmod(y, a)
        for i in (7, 5, 3, 1):
            right = (right - ((mix64(left ^ (key + (i + 1) * golden & mask)) >> 32) * b >> 32)) % b
            left = (left - ((mix64(right ^ (key + i * golden & mask)) >> 32) * a >> 32)) % a
        y = right * a + left
        if y < m:
            return y


def check_params(kind: str, params: Mapping[str, Any]) -> None:
    """ValueError unless ``params`` are those of the kind; ``block`` of "window" may be 0."""
    want = PARAMS[kind]
    for name in params:
        if name not in want:
            raise ValueError(f"order {kind!r} has no parameter {name!r}; it has {', '.join(want) or 'none'}")
    for name, type_ in want.items():
        value = params.get(name)
        if not isinstance(value, type_) or isinstance(value, bool):
            raise ValueError(f"order {kind!r} needs {name!r}, {type_.__name__}; it is {value!r:.40}")
        least = {("window", "window"): 4, ("window", "block"): 0, ("weighted", "samples"): 0}.get((kind, name), 1)
        if isinstance(value, int) and not least <= value <= MAX_SAMPLES:
            raise ValueError(f"order {kind!r}: {name} is {value}, at least {least}")
        if isinstance(value, str) and (len(value) != 16 or set(value) - set("0123456789abcdef")):
            raise ValueError(f"order {kind!r}: {name!r} is {value[:40]!r}, not a digest of 16 hex digits")
