"""One batch out of the batches of several parts, in the order that was asked for.

Tensors, `Ragged`, lists, and dicts and tuples of them: what the sources of this
package give. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pydaos.torch._batch import Ragged

__all__ = ["merge", "ragged_of"]


Rows = Sequence[npt.NDArray[np.intp]]


def merge(batches: Sequence[Any], rows: Rows, count: int, what: str = "batch") -> Any:
    """Put rows of several batches into one batch of ``count``.

    Parameters
    ----------
    batches : sequence
        One batch of each part, of the same make.
    rows : sequence of int arrays
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
        # In numpy: torch can't index its unsigned types, and would wait for its threads.
        flat = out.numpy()
        for b, at in zip(batches, rows, strict=True):
            flat[at] = b.numpy()
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


def _ragged(batches: Sequence[Ragged], rows: Rows, count: int, what: str) -> Ragged:
    makes = [str(b.values.dtype) for b in batches]
    if len(set(makes)) > 1:
        _refuse(what, makes)
    offsets = np.zeros(count + 1, np.int64)
    for b, at in zip(batches, rows, strict=True):
        offsets[at + 1] = np.diff(b.offsets.numpy())
    np.cumsum(offsets, out=offsets)
    out = batches[0].values.new_empty(int(offsets[-1]))
    values = out.numpy()
    for b, at in zip(batches, rows, strict=True):
        own = b.offsets.numpy()
        begin, end = int(own[0]), int(own[-1])
        to = np.arange(begin, end) + np.repeat(offsets[at] - own[:-1], np.diff(own))
        values[to] = b.values[begin:end].numpy()
    return Ragged(out, torch.from_numpy(offsets))


def ragged_of(batch: torch.Tensor) -> Ragged:
    """Return a ``[B, n]`` tensor as a `Ragged` of B samples of n elements, over the same memory."""
    n = int(batch.shape[1])
    return Ragged(batch.reshape(-1), torch.arange(batch.shape[0] + 1, dtype=torch.int64) * n)


def _refuse(what: str, makes: Sequence[str]) -> None:
    raise ValueError(
        f"{what}: the parts give {' and '.join(dict.fromkeys(makes))}, which make no batch together; "
        "choose the same columns, or give the parts a transform_fn that makes them alike"
    )
