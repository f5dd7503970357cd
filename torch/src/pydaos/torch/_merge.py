"""One batch out of the batches of several parts, in the order that was asked for.

Tensors, `Ragged`, lists, and dicts and tuples of them: what the sources of this
package give. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pydaos.torch._batch import Ragged

__all__ = ["merge", "ragged_of"]


def merge(batches: Sequence[Any], rows: Sequence[torch.Tensor], count: int, what: str = "batch") -> Any:
    """Put rows of several batches into one batch of ``count``.

    Parameters
    ----------
    batches : sequence
        One batch of each part, of the same make.
    rows : sequence of int64 tensors
        Where row i of each batch goes; together 0 to ``count - 1``, each once.
    count : int
        Rows of the result.
    what : str
        Names what is merged, for errors.

    Raises
    ------
    ValueError
        The parts differ in type, dtype, shape or columns.
    """
    first = batches[0]
    if len(batches) == 1:
        return first  # the rows of a batch from one part come in order
    if any(type(b) is not type(first) for b in batches):
        _refuse(what, [type(b).__name__ for b in batches])
    if isinstance(first, torch.Tensor):
        makes = [f"{b.dtype} {list(b.shape[1:])}" for b in batches]
        if len(set(makes)) > 1:
            _refuse(what, makes)
        out = first.new_empty((count, *first.shape[1:]))
        for b, at in zip(batches, rows, strict=True):
            out[at] = b
        return out
    if isinstance(first, Ragged):
        return _ragged(batches, rows, count, what)
    if isinstance(first, dict):
        if any(b.keys() != first.keys() for b in batches):
            _refuse(what, [f"columns {', '.join(b)}" for b in batches])
        return {k: merge([b[k] for b in batches], rows, count, f"{what}[{k!r}]") for k in first}
    if isinstance(first, tuple):
        parts = zip(*batches, strict=True)
        return tuple(merge(p, rows, count, f"{what}[{i}]") for i, p in enumerate(parts))
    if isinstance(first, list):
        made: list[Any] = [None] * count
        for b, at in zip(batches, rows, strict=True):
            for value, k in zip(b, at.tolist(), strict=True):
                made[k] = value
        return made
    raise ValueError(f"{what}: batches of {type(first).__name__} can't be merged; give the parts a transform_fn")


def _ragged(batches: Sequence[Ragged], rows: Sequence[torch.Tensor], count: int, what: str) -> Ragged:
    makes = [str(b.values.dtype) for b in batches]
    if len(set(makes)) > 1:
        _refuse(what, makes)
    lengths = torch.empty(count, dtype=torch.int64)
    for b, at in zip(batches, rows, strict=True):
        lengths[at] = b.lengths
    offsets = torch.zeros(count + 1, dtype=torch.int64)
    torch.cumsum(lengths, 0, out=offsets[1:])
    values = batches[0].values.new_empty(int(offsets[-1]))
    for b, at in zip(batches, rows, strict=True):
        shift = offsets[at] - b.offsets[:-1]
        total = int(b.offsets[-1] - b.offsets[0])
        begin = int(b.offsets[0])
        to = torch.arange(begin, begin + total) + torch.repeat_interleave(shift, b.lengths)
        values[to] = b.values[begin : begin + total]
    return Ragged(values, offsets)


def ragged_of(batch: torch.Tensor) -> Ragged:
    """Return a ``[B, n]`` tensor as a `Ragged` of B samples of n elements, over the same memory."""
    n = int(batch.shape[1])
    return Ragged(batch.reshape(-1), torch.arange(batch.shape[0] + 1, dtype=torch.int64) * n)


def _refuse(what: str, makes: Sequence[str]) -> None:
    raise ValueError(
        f"{what}: the parts give {' and '.join(dict.fromkeys(makes))}, which make no batch together; "
        "choose the same columns, or give the parts a transform_fn that makes them alike"
    )
