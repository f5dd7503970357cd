"""Numpy indexing as selections along axes, and selections cut into pieces.

`resolve` turns ``a[0:24, ::2, 5]`` into one `Axis` for each axis of the array and what is
left to do with the elements: flips for negative steps, axes that fall away. `pieces` cuts a
selection so that its pieces, one behind the other, are its elements in C order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos._proto.daos.array.v1 import array_service_pb2 as pb

# Positions in lists of one request, each of up to 5 bytes: a message has up to 1 MiB.
LISTED = 1 << 17


class Axis(NamedTuple):
    """Positions along one axis: `length` from `start` on by `step` (at least 1), or a list."""

    start: int
    length: int
    step: int
    indices: npt.NDArray[np.int64] | None = None

    def cut(self, start: int, stop: int) -> Axis:
        """Return a part of the positions."""
        if self.indices is not None:
            part = self.indices[start:stop]
            return Axis(0, len(part), 1, part)
        return Axis(self.start + start * self.step, stop - start, self.step)

    def to_proto(self) -> pb.Axis:
        """Make its message."""
        if self.indices is not None and len(self.indices):
            return pb.Axis(indices=self.indices.tolist())
        return pb.Axis(start=self.start, count=self.length, step=self.step)


class Selection(NamedTuple):
    """Axes, and the index that makes numpy's answer of the elements."""

    axes: tuple[Axis, ...]
    after: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Positions along each axis of the array."""
        return tuple(a.length for a in self.axes)


def resolve(key: Any, shape: Sequence[int], where: str, *, orthogonal: bool = False) -> Selection:
    """Return what an index selects in an array of a shape.

    One list (or boolean mask along an axis) is taken with ``a[...]``; more than one only
    with ``a.oindex[...]``, since numpy pairs them up.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if any(k is None for k in keys):
        raise errors.UnsupportedError(
            "numpy.newaxis in an index", resource=where, resolution="add the axis to the result"
        )
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError(f"{where}: an index can have only one ellipsis")
    given = len(keys) - len(dots)
    if given > len(shape):
        raise IndexError(f"{where}: {given} indices for an array of {len(shape)} axes")
    at = dots[0] if dots else len(keys)
    rest = (slice(None),) * (len(shape) - given)
    keys = (*keys[:at], *rest, *keys[at + len(dots) :])
    axes: list[Axis] = []
    after: list[Any] = []
    lists = 0
    for d, (k, n) in enumerate(zip(keys, shape)):
        if isinstance(k, slice):
            start, stop, step = _indices(k, n, where)
            count = len(range(start, stop, step))
            stride = abs(step) if count > 1 else 1  # beyond the end it may be any integer, also one of 100 bits
            if step < 0:
                axes.append(Axis(start + (count - 1) * step if count else 0, count, stride))
                after.append(slice(None, None, -1))
            else:
                axes.append(Axis(start if count else 0, count, stride))
                after.append(slice(None))
            continue
        if isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_)):
            i = int(k) + (n if k < 0 else 0)
            if not 0 <= i < n:
                raise IndexError(f"{where}: index {int(k)} is out of bounds for axis {d} with size {n}")
            axes.append(Axis(i, 1, 1))
            after.append(0)
            continue
        axes.append(_list(k, n, d, where))
        after.append(slice(None))
        lists += 1
    if lists > 1 and not orthogonal:
        raise errors.UnsupportedError(
            "more than one list in an index, which numpy pairs up",
            resource=where,
            resolution="use a.oindex[...], which selects along each axis by itself",
        )
    if lists and not orthogonal and _moves(keys):
        raise errors.UnsupportedError(
            "a list between integers that are not beside it, which moves the axis to the front in numpy",
            resource=where,
            resolution="use a.oindex[...], which keeps the order of the axes",
        )
    return Selection(tuple(axes), tuple(after))


def _moves(keys: Sequence[Any]) -> bool:
    """Tell whether numpy would move the axis of a list: advanced indices with a slice between."""
    advanced = [i for i, k in enumerate(keys) if not isinstance(k, slice)]
    return advanced[-1] - advanced[0] + 1 != len(advanced)


def _indices(k: slice, n: int, where: str) -> tuple[int, int, int]:
    try:
        return k.indices(n)
    except ValueError:
        raise errors.InvalidError("the step of a slice can't be 0", resource=where) from None


def _list(k: Any, n: int, axis: int, where: str) -> Axis:
    wanted = np.asarray(k)
    if wanted.dtype == np.bool_:
        if wanted.shape != (n,):
            raise IndexError(f"{where}: a mask of shape {wanted.shape} along axis {axis} of size {n}")
        wanted = np.flatnonzero(wanted)
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise IndexError(f"{where}: {k!r} is not an index: use integers, slices, an ellipsis, or a list of integers")
    wanted = wanted.astype(np.int64)
    if wanted.size:
        bad = (wanted < -n) | (wanted >= n)
        if bad.any():
            raise IndexError(f"{where}: index {int(wanted[bad][0])} is out of bounds for axis {axis} with size {n}")
        wanted = np.where(wanted < 0, wanted + n, wanted)
    return Axis(0, len(wanted), 1, wanted)


def pieces(
    axes: Sequence[Axis], chunks: Sequence[int], itemsize: int, most: int
) -> Iterator[tuple[tuple[slice, ...], tuple[Axis, ...]]]:
    """Cut a selection into pieces of at most so many bytes, in C order.

    Yields for each piece its place in the selection (a slice for each axis) and its axes.
    Pieces end at the ends of chunks where they can.
    """
    lengths = [a.length for a in axes]
    total = math.prod(lengths) * itemsize
    if not total:
        return
    lists = [0 if a.indices is None else len(a.indices) for a in axes]
    if total <= most and sum(lists) <= LISTED:
        yield tuple(slice(0, n) for n in lengths), tuple(axes)
        return
    d = next((i for i, n in enumerate(lengths) if n > 1), None)
    if d is None:
        yield tuple(slice(0, n) for n in lengths), tuple(axes)
        return
    step = max(1, most // max(1, math.prod(lengths[d + 1 :]) * itemsize))
    room = LISTED - sum(lists[d + 1 :]) - d
    if room < 1:
        step = 1  # what follows is cut next
    elif lists[d]:
        step = min(step, room)
    start = 0
    while start < lengths[d]:
        stop = min(start + step, lengths[d])
        a = axes[d]
        if a.indices is None and a.step == 1 and stop < lengths[d]:
            end = (a.start + stop) // chunks[d] * chunks[d] - a.start
            if end > start:
                stop = end
        part = (*axes[:d], a.cut(start, stop), *axes[d + 1 :])
        for where, cut in pieces(part, chunks, itemsize, most):
            moved = slice(where[d].start + start, where[d].stop + start)
            yield (*where[:d], moved, *where[d + 1 :]), cut
        start = stop
