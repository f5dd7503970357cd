"""Keyed bijections of ``[0, m)`` in numpy, the arithmetic that all orders share.

All numbers are unsigned 64-bit and wrap. ``docs/order.md`` has the definitions,
``loader/order`` is the same in Go. This is no cryptography: it mixes well enough
for training, not for secrets.

`feistel` is the network of ``shuffle`` version 1 and must stay as it is;
`bijection` is the one of the later kinds: its round function is reduced by a
multiplication instead of a division, so that every element can have a domain
and a key of its own at little cost.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["GOLDEN", "MASK", "bijection", "feistel", "mix64", "mix64s", "mulhi", "pass_key", "side", "sub", "subs"]

U64 = npt.NDArray[np.uint64]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
_PASS = 0xD1B54A32D192ED03
ROUNDS = 8

_G = np.uint64(GOLDEN)
_32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def mix64(x: int) -> int:
    """Return the splitmix64 finaliser of ``x`` (Steele, Lea, Flood 2014)."""
    x &= MASK
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def mix64s(x: U64) -> U64:
    """Return `mix64` of every element."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def pass_key(seed: int, pass_: int) -> int:
    """Return the key of a pass, a function of seed and pass."""
    return mix64(mix64(seed + GOLDEN) ^ ((pass_ + _PASS) & MASK))


def sub(key: int, tag: int, j: int) -> int:
    """Return the key of part ``j`` of an order, for one purpose (``tag``)."""
    return mix64(mix64(key ^ tag) + (j + 1) * GOLDEN)


def subs(key: int, tag: int, j: U64) -> U64:
    """Return `sub` for every element of ``j``."""
    return mix64s((j + np.uint64(1)) * _G + np.uint64(mix64(key ^ tag)))


def mulhi(x: U64, m: int | U64) -> U64:
    """Return the upper 64 bits of the 128-bit product: ``x`` reduced to ``[0, m)``."""
    m1, m0 = (np.uint64(m >> 32), np.uint64(m & 0xFFFFFFFF)) if isinstance(m, int) else (m >> _32, m & _LOW)
    x1, x0 = x >> _32, x & _LOW
    mid = x1 * m0 + ((x0 * m0) >> _32)
    low = x0 * m1 + (mid & _LOW)
    out: U64 = x1 * m1 + (mid >> _32) + (low >> _32)
    return out


def side(m: int) -> tuple[int, int]:
    """Return ``a = ceil(sqrt(m))`` and ``b = ceil(m / a)``, exact; (1, 1) for 0."""
    root = math.isqrt(m)
    a = max(root if root * root == m else root + 1, 1)
    return a, max(-(-m // a), 1)


def feistel(x: U64, n: int, key: int) -> U64:
    """Map positions by the bijection of ``shuffle`` version 1; n is at least 2."""
    a, b = side(n)
    keys = [np.uint64(mix64(key + (i + 1) * GOLDEN)) for i in range(ROUNDS)]
    y = _feistel(x, a, b, keys)
    outside = np.flatnonzero(y >= np.uint64(n))
    while outside.size:
        walked = _feistel(y[outside], a, b, keys)
        y[outside] = walked
        outside = outside[walked >= np.uint64(n)]
    return y


def _feistel(x: U64, a: int, b: int, keys: list[np.uint64]) -> U64:
    ua, ub = np.uint64(a), np.uint64(b)
    right = x // ua
    left = x - right * ua
    # A remainder costs four times a quotient in numpy; the sum of two numbers
    # below m is reduced by one subtraction, which wraps where there is none to do.
    for i, key in enumerate(keys):
        if i % 2 == 0:
            h = mix64s(right ^ key)
            h -= (h // ua) * ua
            left += h
            np.minimum(left, left - ua, out=left)
        else:
            h = mix64s(left ^ key)
            h -= (h // ub) * ub
            right += h
            np.minimum(right, right - ub, out=right)
    out: U64 = right * ua + left
    return out


def bijection(x: U64, m: int | U64, a: int | U64, b: int | U64, key: int | U64) -> U64:
    """Map every element of ``x`` within ``[0, m)``.

    Parameters
    ----------
    x : uint64 array
        Each below its ``m``.
    m, a, b, key : int or uint64 array like ``x``
        Size of the domain, its `side`, and the key: one for all, or one each.
    """
    um, ua, ub, uk = (np.uint64(v) if isinstance(v, int) else v for v in (m, a, b, key))
    y = _walk(x, ua, ub, uk)
    outside = np.flatnonzero(y >= um)
    while outside.size:
        part = [v[outside] if isinstance(v, np.ndarray) else v for v in (um, ua, ub, uk)]
        walked = _walk(y[outside], part[1], part[2], part[3])
        y[outside] = walked
        outside = outside[walked >= part[0]]
    return y


def _walk(x: U64, a: np.uint64 | U64, b: np.uint64 | U64, key: np.uint64 | U64) -> U64:
    right = x // a
    left = x - right * a
    with np.errstate(over="ignore"):
        for i in range(ROUNDS):
            k = key + np.uint64((i + 1) * GOLDEN & MASK)
            if i % 2 == 0:
                h = mix64s(right ^ k)
                h >>= _32
                h *= a
                h >>= _32
                left += h
                np.minimum(left, left - a, out=left)
            else:
                h = mix64s(left ^ k)
                h >>= _32
                h *= b
                h >>= _32
                right += h
                np.minimum(right, right - b, out=right)
    out: U64 = right * a + left
    return out
