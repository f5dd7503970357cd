"""What a batch is: tensors over one received buffer, and how collation takes them.

Under ``DataLoader(Dataset(...), 32)`` torch calls ``__getitems__`` and hands
the list it gets to ``default_collate``, which looks up the type of element 0 in
``default_collate_fn_map``. ``__getitems__`` therefore returns a `ReadyList`: it
carries the batch made from one request, and its elements (`Sample`,
`SampleDict`, `LabeledSample`) are made only if somebody looks at them. Those
types are registered below; their entry takes the ready batch from the list, or
builds the same batch from an ordinary list of samples. A collate function of
the user's own sees ordinary samples.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from torch.utils.data import _utils

#: torch's collation, which asks a batch for its element 0 to see of what type it is.
_COLLATE = _utils.collate.collate.__code__

__all__ = ["LabeledSample", "Ragged", "ReadyList", "Sample", "SampleDict"]


class Ragged:
    """A batch of 1-D arrays of different lengths over one flat buffer.

    Deliberately neither a tuple nor a ``collections.abc.Sequence``: torch's
    ``default_convert`` rebuilds those as lists of tensors in the worker.

    Attributes
    ----------
    values : torch.Tensor
        All elements, one sample behind the other, shape ``[total]``.
    offsets : torch.Tensor
        int64, shape ``[B + 1]``; sample i is ``values[offsets[i]:offsets[i+1]]``.

    Examples
    --------
    >>> r = Ragged(torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3]))
    >>> len(r), r[0].tolist(), r.to_padded(pad=9).tolist()
    (2, [1, 2], [[1, 2], [3, 9]])
    """

    __slots__ = ("offsets", "values")

    def __init__(self, values: torch.Tensor, offsets: torch.Tensor) -> None:
        if values.dim() != 1 or offsets.dim() != 1 or offsets.numel() < 1:
            raise ValueError(
                "Ragged wants 1-D values and 1-D offsets of B + 1 elements, "
                f"got {list(values.shape)} and {list(offsets.shape)}"
            )
        self.values = values
        self.offsets = offsets

    @property
    def lengths(self) -> torch.Tensor:
        """Lengths of the samples, int64, shape ``[B]``."""
        return self.offsets.diff()

    def __len__(self) -> int:
        return int(self.offsets.numel()) - 1

    def __getitem__(self, i: SupportsIndex) -> torch.Tensor:
        n = len(self)
        at = operator.index(i)
        k = at + n if at < 0 else at
        if not 0 <= k < n:
            raise IndexError(f"sample {at} of a batch of {n}")
        return self.values[int(self.offsets[k]) : int(self.offsets[k + 1])]

    def __iter__(self) -> Iterator[torch.Tensor]:
        ends = self.offsets.tolist()
        for start, stop in pairwise(ends):
            yield self.values[start:stop]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ragged):
            return NotImplemented
        return torch.equal(self.values, other.values) and torch.equal(self.offsets, other.offsets)

    __hash__ = None  # type: ignore[assignment]

    def to_padded(self, pad: float = 0) -> torch.Tensor:
        """Return a ``[B, longest]`` tensor, short samples filled with ``pad``."""
        lengths = self.lengths
        longest = int(lengths.max()) if len(self) else 0
        out = self.values.new_full((len(self), longest), pad)
        mask = torch.arange(longest, device=self.values.device) < lengths.to(self.values.device)[:, None]
        out[mask] = self.values
        return out

    def to_nested(self) -> torch.Tensor:
        """Return a nested tensor of the jagged layout over the same values."""
        nested: torch.Tensor = torch.nested.nested_tensor_from_jagged(self.values, self.offsets)
        return nested

    def to(self, *args: Any, **kwargs: Any) -> Ragged:
        """Return the batch with its values moved as by ``Tensor.to``; offsets change the device only."""
        values = self.values.to(*args, **kwargs)
        return Ragged(values, self.offsets.to(values.device, non_blocking=bool(kwargs.get("non_blocking"))))

    def pin_memory(self) -> Ragged:
        """Return a copy in page-locked memory of torch's own allocator."""
        return Ragged(self.values.pin_memory(), self.offsets.pin_memory())

    def __repr__(self) -> str:
        return f"Ragged(samples={len(self)}, values={self.values.numel()} x {self.values.dtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Ragged, (self.values, self.offsets)


class Sample(bytes):
    """The bytes of one file. ``uniform`` is the size that all files of its manifest have, if they have one."""

    uniform: int | None

    def __new__(cls, data: bytes | memoryview, uniform: int | None = None) -> Sample:
        self = super().__new__(cls, data)
        self.uniform = uniform
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Sample, (bytes(self), self.uniform)


class LabeledSample(tuple):  # type: ignore[type-arg]
    """A sample of files with its label: ``(bytes, int)``."""

    __slots__ = ()

    def __new__(cls, sample: Sample, label: int) -> LabeledSample:
        return super().__new__(cls, (sample, label))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self[0], self[1]


class SampleDict(dict[str, Any]):
    """A sample of a tensor dataset: column name -> tensor, bytes, str or None.

    ``ragged`` names the columns of variable length.
    """

    def __init__(self, values: dict[str, Any], ragged: tuple[str, ...] = ()) -> None:
        super().__init__(values)
        self.ragged = ragged

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleDict, (dict(self), self.ragged)


class ReadyList(list[Any]):
    """The samples of one batch, and the batch itself, ready.

    The list makes its samples when they are looked at. Torch's own collation
    looks at the type of element 0 and at nothing else: it gets ``kind``, an
    element of that type, so that no sample is made.

    Whoever changes the list, or has been given samples that can be changed
    (rows are dicts of tensors), gets from collation what the list then holds:
    there is no ready batch any more.
    """

    def __init__(self, ready: Any, count: int, make: Callable[[int], Any], kind: Any = None) -> None:
        super().__init__()
        self.ready = ready
        self._count = count
        self._make = make
        self._kind = kind
        self._made = self._owned = False

    def _fill(self) -> None:
        if self._made:
            return
        samples = [self._make(i) for i in range(self._count)]
        super().extend(samples)
        self._made = True
        if not all(isinstance(s, (bytes, LabeledSample)) for s in samples):
            self.ready = None

    def _own(self) -> None:
        """Be an ordinary list from now on: somebody is about to change it."""
        self._fill()
        self._owned, self.ready = True, None

    def __len__(self) -> int:
        return super().__len__() if self._made else self._count

    @overload
    def __getitem__(self, i: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> list[Any]: ...
    def __getitem__(self, i: Any) -> Any:
        if not self._owned and self._count and sys._getframe(1).f_code is _COLLATE:
            if self._kind is None:
                self._kind = self._make(0)
            return self._kind
        self._fill()
        return super().__getitem__(i)

    def __iter__(self) -> Iterator[Any]:
        self._fill()
        return super().__iter__()

    def __radd__(self, other: Any) -> Any:
        self._fill()
        return other + list(self) if isinstance(other, list) else NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(iter(self)),)


def _after(prepare: Callable[[ReadyList], None], name: str) -> Any:
    """Return list's method of that name, for when the samples are there."""
    method = getattr(list, name)

    @functools.wraps(method)
    def wrapped(self: ReadyList, *args: Any, **options: Any) -> Any:
        prepare(self)
        for other in args:
            if isinstance(other, ReadyList):
                other._fill()
        return method(self, *args, **options)

    return wrapped


# list's own methods would work on an empty list as long as no sample was made.
for _name in (
    *("__reversed__", "__contains__", "__add__", "__mul__", "__rmul__", "__repr__", "copy", "count", "index"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
):
    setattr(ReadyList, _name, _after(ReadyList._fill, _name))
for _name in (
    *("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(ReadyList, _name, _after(ReadyList._own, _name))


def _of_list(batch: Any) -> Any:
    return batch.ready if isinstance(batch, ReadyList) else None


def from_samples(samples: Sequence[Sample]) -> torch.Tensor | Ragged:
    """Build the batch that the server would have sent, from single files.

    A ``[B, n]`` uint8 tensor if the manifest says that all files have n bytes,
    else a `Ragged`.
    """
    uniform = samples[0].uniform if isinstance(samples[0], Sample) else None
    flat = (
        torch.from_numpy(np.frombuffer(bytearray().join(samples), np.uint8))
        if any(samples)
        else torch.empty(0, dtype=torch.uint8)
    )
    if uniform is not None and all(len(s) == uniform for s in samples):
        return flat.view(len(samples), uniform)
    offsets = torch.zeros(len(samples) + 1, dtype=torch.int64)
    torch.cumsum(torch.tensor([len(s) for s in samples]), 0, out=offsets[1:])
    return Ragged(flat, offsets)


def _check_alike(batch: Sequence[Any], kind: type) -> None:
    """ValueError unless all samples are of one kind, and rows of the same columns: parts may have been put together."""
    first = batch[0]
    for s in batch:
        if not isinstance(s, kind) or (isinstance(s, SampleDict) and s.keys() != first.keys()):
            raise ValueError(
                f"a batch of {_what(first)} and {_what(s)}: parts that are put together want the same type, labels= "
                "and columns=, or a transform_fn each that makes their samples alike"
            )


def _what(sample: Any) -> str:
    if isinstance(sample, LabeledSample):
        return "files with labels"
    if isinstance(sample, Sample):
        return "files"
    return f"rows of ({', '.join(sample)})" if isinstance(sample, SampleDict) else f"samples {type(sample).__name__}"


def _collate_files(batch: Any, *, collate_fn_map: Any = None) -> Any:
    ready = _of_list(batch)
    if ready is not None:
        return ready
    _check_alike(batch, bytes)
    return from_samples(batch)


def _collate_labeled(batch: Any, *, collate_fn_map: Any = None) -> Any:
    ready = _of_list(batch)
    if ready is not None:
        return ready
    _check_alike(batch, LabeledSample)
    return from_samples([s for s, _ in batch]), torch.tensor([y for _, y in batch])


def _collate_dicts(batch: Any, *, collate_fn_map: Any = None) -> Any:
    ready = _of_list(batch)
    if ready is not None:
        return ready
    _check_alike(batch, SampleDict)
    out: dict[str, Any] = {}
    for name in batch[0]:
        column = [s[name] for s in batch]
        if not all(isinstance(v, torch.Tensor) for v in column):
            out[name] = column
        elif name in batch[0].ragged:
            offsets = torch.zeros(len(column) + 1, dtype=torch.int64)
            torch.cumsum(torch.tensor([len(v) for v in column]), 0, out=offsets[1:])
            out[name] = Ragged(torch.cat(column), offsets)
        else:
            out[name] = torch.stack(column)
    return out


def register() -> None:
    """Enter the sample types into torch's collation (idempotent)."""
    table = _utils.collate.default_collate_fn_map
    table[Sample] = _collate_files
    table[LabeledSample] = _collate_labeled
    table[SampleDict] = _collate_dicts


register()
