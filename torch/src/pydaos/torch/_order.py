"""The order of a pass: a keyed bijection of the sample indices.

The shuffle is a generalised Feistel network over ``a * b`` points with
``a = ceil(sqrt(n))`` and ``b = ceil(n / a)`` (Black and Rogaway, "Ciphers with
arbitrary finite domains", CT-RSA 2002), eight rounds, with the splitmix64
finaliser as round function and cycle walking for the few points at or above
``n``. It needs no memory that grows with ``n`` and can begin anywhere.

``docs/order.md`` has the definition; ``loader/order`` is the same in Go, and
``loader/order/testdata`` holds vectors that both are tested with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Order", "mix64"]

U64 = npt.NDArray[np.uint64]

#: Indices made at a time.
BLOCK = 8192

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_PASS = 0xD1B54A32D192ED03
_ROUNDS = 8

#: Kinds of order and the newest version of each.
KINDS = {"sequential": 1, "shuffle": 1}


def mix64(x: int) -> int:
    """Return the splitmix64 finaliser of ``x`` (Steele, Lea, Flood 2014)."""
    x &= _MASK
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & _MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def _mix64(x: U64) -> U64:
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@dataclass(frozen=True)
class Order:
    """The order of one pass over ``n`` samples.

    Parameters
    ----------
    kind : {"sequential", "shuffle"}
        What kind of order.
    n : int
        Number of samples.
    seed, pass_ : int
        Taken modulo 2**64. The order is a function of kind, seed, pass and n.
    """

    kind: str
    n: int
    seed: int = 0
    pass_: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"order {self.kind!r} is not known; use one of {', '.join(sorted(KINDS))}")
        if self.n < 0:
            raise ValueError(f"an order of {self.n} samples is not possible")

    def _keys(self) -> list[int]:
        s0 = mix64(self.seed + _GOLDEN)
        s1 = mix64(s0 ^ ((self.pass_ + _PASS) & _MASK))
        return [mix64(s1 + (i + 1) * _GOLDEN) for i in range(_ROUNDS)]

    def take(self, start: int, stop: int) -> U64:
        """Return the sample indices at positions ``start`` to ``stop``, uint64."""
        if not 0 <= start <= stop <= self.n:
            raise IndexError(f"positions {start}:{stop} are not within a pass of {self.n} samples")
        x = np.arange(start, stop, dtype=np.uint64)
        if self.kind == "sequential" or self.n < 2:
            return x
        root = math.isqrt(self.n)
        a = root if root * root == self.n else root + 1
        b = -(-self.n // a)
        keys = [np.uint64(k) for k in self._keys()]
        y = _feistel(x, a, b, keys)
        outside = np.flatnonzero(y >= np.uint64(self.n))
        while outside.size:
            walked = _feistel(y[outside], a, b, keys)
            y[outside] = walked
            outside = outside[walked >= np.uint64(self.n)]
        return y

    def __iter__(self) -> Iterator[int]:
        return self.iter_from(0)

    def iter_from(self, position: int) -> Iterator[int]:
        """Yield the sample indices from a position on, made in blocks."""
        while position < self.n:
            stop = min(position + BLOCK, self.n)
            yield from self.take(position, stop).tolist()
            position = stop


def _feistel(x: U64, a: int, b: int, keys: list[np.uint64]) -> U64:
    ua, ub = np.uint64(a), np.uint64(b)
    right = x // ua
    left = x - right * ua
    for i, key in enumerate(keys):
        if i % 2 == 0:
            left = (left + _mix64(right ^ key) % ua) % ua
        else:
            right = (right + _mix64(left ^ key) % ub) % ub
    out: U64 = right * ua + left
    return out
