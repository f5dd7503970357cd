"""`DArray`: a numpy-like array in a container, which upstream only sketches.

Upstream's class has a name and no working method. This one is created by
`DCont.array(name, v)` and found by `DCont.get(name)`; it is indexed and assigned to as a
numpy array, and numpy's functions and operators take it. New programs are better off with
`pydaos.Arrays`, whose arrays are chunked along all axes and sliced on the server.

The rows along the first axis lie in the container's KV dataset in pieces of up to 1 MiB,
each under the array's name, NUL and its number; its name's own record has dtype and shape
(docs/format/kv.md). A piece is changed under the condition that nobody else has changed it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos._upstream import _SEPARATOR, _fail, _name

if TYPE_CHECKING:
    from pydaos._kv import KV
    from pydaos._upstream import DCont

_PIECE = 1 << 20


def make_array(cont: DCont, name: str, v: Any) -> DArray:
    """Make an array with the elements of `v`; without, one of float64 without elements."""
    data = np.asarray([] if v is None else v)
    if data.dtype.hasobject or data.dtype.itemsize == 0 or data.dtype.fields is not None:
        raise errors.UnsupportedError(
            f"{name}: elements of type {data.dtype} have no fixed width", resolution="convert them first"
        )
    row = max(1, math.prod(data.shape[1:]) * data.dtype.itemsize)
    facts = {"type": "array", "dtype": data.dtype.str, "shape": list(data.shape), "rows": max(1, _PIECE // row)}
    cont._enter(name, facts)
    made = DArray(name, cont, facts)
    if data.size:
        made._store(np.ascontiguousarray(data))
    return made


def open_array(cont: DCont, name: str, facts: Any) -> DArray:
    """Return the array that a name's record describes."""
    return DArray(name, cont, facts)


class DArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array in a container; its elements are on the server.

    Attributes
    ----------
    name
        What it is called in its container.
    dtype, shape
        Of its elements, as numpy has them; they never change.

    Examples
    --------
    >>> a = cont.array("grid", np.zeros((100, 3)))
    >>> a[4] = [1, 2, 3]
    >>> float((a[:] + 1).sum())
    306.0
    """

    def __init__(self, name: str, cont: DCont, facts: Any) -> None:
        self.name = name
        self.cont = cont
        self.dtype = np.dtype(facts["dtype"])
        self.shape: tuple[int, ...] = tuple(facts["shape"])
        self._rows = int(facts["rows"])

    @property
    def _kv(self) -> KV:
        return self.cont._kv

    def _key(self, piece: int) -> bytes:
        return _name(self.name) + _SEPARATOR + b"%016x" % piece

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(np.asarray(self))

    # Reading.

    def _load(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read rows [start, stop); an array without axes is one row."""
        tail = self.shape[1:]
        out = np.zeros((stop - start, *tail), self.dtype)
        if not out.size:
            return out
        first, last = start // self._rows, (stop - 1) // self._rows
        try:
            found = self._kv.multi_get([self._key(p) for p in range(first, last + 1)])
        except errors.DaosError as e:
            _fail("failed to read DAOS array", e)
        for piece, raw in enumerate(found, first):
            if raw is None:
                continue
            rows = np.frombuffer(raw, self.dtype).reshape(-1, *tail)
            lo, hi = max(start, piece * self._rows), min(stop, piece * self._rows + len(rows))
            out[lo - start : hi - start] = rows[lo - piece * self._rows : hi - piece * self._rows]
        return out

    def _whole(self) -> npt.NDArray[Any]:
        if not self.shape:
            return self._load(0, 1).reshape(())
        return self._load(0, self.shape[0])

    def _span(self, key: Any) -> tuple[int, int, Any]:
        """Return the rows that an index needs, and the index in these rows."""
        keys = key if isinstance(key, tuple) else (key,)
        n = self.shape[0] if self.shape else 0
        if self.shape and keys and not isinstance(keys[0], (bool, np.bool_)):
            if isinstance(keys[0], (int, np.integer)) and -n <= keys[0] < n:
                row = int(keys[0]) % n
                return row, row + 1, (0, *keys[1:])
            if isinstance(keys[0], slice):
                wanted = range(*keys[0].indices(n))
                if len(wanted):
                    lo, hi = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
                    there = slice(None, None, wanted.step)
                    return lo, hi, (there, *keys[1:])
        return 0, n, key

    def __getitem__(self, key: Any) -> Any:
        """Read a part, by any index that numpy takes."""
        lo, hi, there = self._span(key)
        rows = self._load(lo, hi) if self.shape else self._whole()
        part = rows[there]
        return part.copy() if isinstance(part, np.ndarray) else part

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self)):
            yield self[i]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("an array in a container can't be a numpy array without a copy")
        whole = self._whole()
        return whole if dtype is None else whole.astype(dtype, copy=False)

    # Writing.

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write a part, by any index that numpy takes."""
        lo, hi, there = self._span(key)
        if not self.shape:
            whole = self._whole()
            whole[key] = value
            self._store(whole)
            return
        rows = self._load(lo, hi)
        mask = np.zeros(rows.shape, bool)
        rows[there] = value
        mask[there] = True
        if not mask.any():
            return
        self._store(rows, lo, None if mask.all() else mask)

    def _store(self, rows: npt.NDArray[Any], start: int = 0, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Write rows from `start` on, or of them only the elements of a mask."""
        rows = rows.reshape(-1, *self.shape[1:])
        stop = start + len(rows)
        total = self.shape[0] if self.shape else 1
        try:
            self.cont._writable()
            whole: dict[bytes, Any] = {}
            for piece in range(start // self._rows, (stop - 1) // self._rows + 1):
                base = piece * self._rows
                lo, hi = max(start, base), min(stop, base + self._rows)
                part = rows[lo - start : hi - start]
                if mask is None and lo == base and hi == min(base + self._rows, total):
                    whole[self._key(piece)] = np.ascontiguousarray(part).tobytes()
                    continue
                chosen = None if mask is None else mask[lo - start : hi - start]
                if chosen is None or chosen.any():
                    self._change(piece, min(self._rows, total - base), lo - base, part, chosen)
            self._kv.put_many(whole)
        except errors.DaosError as e:
            _fail("failed to write DAOS array", e)

    def _change(
        self, piece: int, rows: int, at: int, part: npt.NDArray[Any], chosen: npt.NDArray[np.bool_] | None
    ) -> None:
        """Change a part of a piece; again where somebody else has changed it meanwhile."""
        key = self._key(piece)
        while True:
            try:
                old = self._kv.entry(key)
                have = np.frombuffer(old.value, self.dtype).reshape(rows, *self.shape[1:]).copy()
            except errors.NotFoundError:
                old, have = None, np.zeros((rows, *self.shape[1:]), self.dtype)
            target = have[at : at + len(part)]
            np.copyto(target, part, where=True if chosen is None else chosen)
            try:
                if old is None:
                    self._kv.put(key, have.tobytes(), if_absent=True)
                else:
                    self._kv.update(key, have.tobytes(), if_version=old.version)
                return
            except (errors.ConflictError, errors.ExistsError, errors.NotFoundError):
                continue

    # numpy's dispatch.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Carry out an operation of numpy on the elements; ``out=`` writes them."""
        outs = kwargs.pop("out", ())
        plain = [np.asarray(x) if isinstance(x, DArray) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if not outs:
            return result
        for target, value in zip(outs, result if isinstance(result, tuple) else (result,)):
            target[...] = value
        return outs[0] if len(outs) == 1 else outs

    def __array_function__(self, func: Any, types: Sequence[type], args: Any, kwargs: Any) -> Any:
        """Carry out a function of numpy on the elements."""

        def plain(x: Any) -> Any:
            if isinstance(x, DArray):
                return np.asarray(x)
            if isinstance(x, (list, tuple)):
                return type(x)(plain(i) for i in x)
            return x

        return func(*plain(args), **{k: plain(v) for k, v in kwargs.items()})

    def _clear(self) -> None:
        """Remove the elements; the name is the container's to remove."""
        self._kv.delete_many(list(self._kv.keys(prefix=_name(self.name) + _SEPARATOR)))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        facts = json.dumps({"shape": self.shape, "dtype": str(self.dtype)})
        return f"<pydaos.DArray {self.name} in {self.cont!r} {facts}>"
