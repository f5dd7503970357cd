"""Draws by weight and the interleaving of classes, as functions of a position.

`Draws` is sampling with replacement: a counter-based generator (the position
goes through splitmix64's finaliser) and a search in the cumulative weights.
`Interleave` puts m sequences into one so that every stretch has them in their
proportions: a Huffman tree over their sizes, at each node of which left and
right come as evenly as Bresenham's line. `Strata` walks every class by its own
bijection along it. ``docs/order.md`` has the definitions.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pydaos.torch._bijection import GOLDEN, bijection, mix64s, mulhi, side, subs

__all__ = ["Draws", "Interleave", "Strata", "quantise"]

U64 = npt.NDArray[np.uint64]

#: Weights of more groups than 2**GUIDE_BITS are found by a guide of so many entries.
GUIDE_BITS = 16

# Purposes of the keys made from the key of a pass; 1 to 4 are those of _order.
_DRAW, _CLASS, _NODE = 5, 6, 7


def quantise(weights: npt.NDArray[Any], what: str, bits: int = 32) -> U64:
    """Return weights as whole numbers: as they are, or rounded to ``bits`` bits of the largest.

    The scale is a power of two and the rounding that of IEEE 754, so that every
    machine gets the same.

    Raises
    ------
    ValueError
        Not 1-D, negative, not finite, all zero, or a sum of 2**63 or more.
    """
    if weights.ndim != 1 or weights.dtype.kind not in "iubf":
        raise ValueError(
            f"{what} of shape {list(weights.shape)} and dtype {weights.dtype}; give a 1-D array of numbers"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{what} must be finite and not negative")
    if not (weights > 0).any():
        raise ValueError(f"no {what} above 0: nothing could be drawn")
    if weights.dtype.kind == "f":
        wide = weights.astype(np.float64)
        _, exponent = np.frexp(wide.max())
        whole = np.rint(np.ldexp(wide, bits - int(exponent))).astype(np.uint64)
    else:
        whole = weights.astype(np.uint64)
    if int(whole.max()) * len(whole) >= 1 << 63 and sum(whole.tolist()) >= 1 << 63:
        raise ValueError(f"the {what} sum up to 2**63 or more; divide them by a common number")
    return whole


class Draws:
    """Sampling with replacement from groups of contiguous samples.

    Parameters
    ----------
    weights : uint64 array
        Of each group; the sum is less than 2**63.
    sizes : uint64 array or None
        Samples of each group; None: one each.
    """

    def __init__(self, weights: U64, sizes: U64 | None) -> None:
        self._ends = np.cumsum(weights)
        self._total = int(self._ends[-1])
        # Where a bisection of many weights begins, by the upper bits of what is drawn:
        # without it each of its steps would miss the processor's caches.
        self._shift = np.uint64(max(self._total.bit_length() - GUIDE_BITS, 0))
        self._guide: npt.NDArray[np.intp] | None = None
        if self._ends.size > 1 << GUIDE_BITS:
            begins = np.arange((self._total >> int(self._shift)) + 2, dtype=np.uint64) << self._shift
            self._guide = np.searchsorted(self._ends, begins, side="right")
        self._sizes = sizes
        self._starts = None if sizes is None else np.cumsum(sizes) - sizes

    def take(self, x: U64, key: int) -> U64:
        """Return the sample drawn at each position."""
        u = subs(key, _DRAW, x)
        group = self._find(mulhi(u, self._total))
        if self._sizes is None or self._starts is None:
            return group.astype(np.uint64)
        v = mix64s(u + np.uint64(GOLDEN))
        out: U64 = self._starts[group] + mulhi(v, self._sizes[group])
        return out

    def _find(self, t: U64) -> npt.NDArray[np.intp]:
        """Return the first group whose cumulative weight is above each ``t``."""
        if self._guide is None:
            return np.searchsorted(self._ends, t, side="right")
        at = (t >> self._shift).astype(np.intp)
        lo: npt.NDArray[np.intp] = self._guide[at]
        hi = self._guide[at + 1]
        while bool((lo < hi).any()):
            middle = (lo + hi) >> 1
            above = self._ends[np.minimum(middle, self._ends.size - 1)] > t
            lo, hi = np.where(above | (lo == hi), lo, middle + 1), np.where(above & (lo < hi), middle, hi)
        return lo


class Interleave:
    """m sequences in one, evenly: which is at a position, and which element of it.

    Parameters
    ----------
    sizes : sequence of int
        Elements of each; the sum is less than 2**32. The pattern repeats after
        the sum.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.total = sum(sizes)
        if self.total >= 1 << 32:
            raise ValueError(f"{self.total} elements; sequences of less than 2**32 can be interleaved")
        heap = [(s, i) for i, s in enumerate(sizes) if s]
        heapq.heapify(heap)
        m = self._leaves = len(sizes)
        nodes: list[tuple[int, int, int, int]] = []  # left size, both sizes, left, right
        while len(heap) > 1:
            ls, left = heapq.heappop(heap)
            rs, right = heapq.heappop(heap)
            nodes.append((ls, ls + rs, left, right))
            heapq.heappush(heap, (ls + rs, m + len(nodes) - 1))
        self._root = heap[0][1] if heap else 0
        self._nodes = len(nodes)
        columns = np.array(nodes, np.uint64).reshape(-1, 4).T
        self._left_size, self._size, self._left, self._right = (np.ascontiguousarray(c) for c in columns)

    def take(self, x: U64, key: int) -> tuple[npt.NDArray[np.intp], U64]:
        """Return (which sequence, which element of it) for positions below the total."""
        node = np.full(x.shape, self._root, np.intp)
        p = x.copy()
        if not self._nodes:
            return node, p
        m = self._leaves
        numbers = np.arange(m, m + self._nodes, dtype=np.uint64)
        shift = mulhi(subs(key, _NODE, numbers), self._size)
        inner = np.arange(x.size) if self._root >= m else np.empty(0, np.intp)
        while inner.size:
            at = node[inner] - m
            left, size = self._left_size[at], self._size[at]
            line = p[inner] * left + shift[at]
            before = line // size
            is_left = line - before * size + left >= size
            p[inner] = np.where(is_left, before, p[inner] - before)
            node[inner] = np.where(is_left, self._left[at], self._right[at]).astype(np.intp)
            inner = inner[node[inner] >= m]
        return node, p


class Strata:
    """Classes interleaved in their proportions, each walked by its own bijection.

    Parameters
    ----------
    sizes : sequence of int
        Samples of each class; the sum is less than 2**32.
    index : uint64 array or None
        The samples class by class; None: classes are contiguous and in order.
    """

    def __init__(self, sizes: Sequence[int], index: U64 | None) -> None:
        self._interleave = Interleave(sizes)
        self._sizes = np.asarray(sizes, np.uint64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._sides = np.array([side(s) for s in sizes], np.uint64).reshape(-1, 2)
        self._index = index

    def take(self, x: U64, key: int) -> U64:
        """Return the sample at each position."""
        which, k = self._interleave.take(x, key)
        numbers = np.arange(len(self._sizes), dtype=np.uint64)
        keys = subs(key, _CLASS, numbers)[which]
        a, b = self._sides[:, 0][which], self._sides[:, 1][which]
        sample = self._starts[which] + bijection(k, self._sizes[which], a, b, keys)
        return sample if self._index is None else self._index[sample]
