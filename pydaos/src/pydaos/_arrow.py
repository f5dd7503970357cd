"""Between numpy and the Arrow streams of tensor datasets.

The only place that knows how a column is written as an Arrow type: a scalar as itself,
a sample of a shape as a fixed-size list (with the arrow.fixed_shape_tensor extension),
a 1-D array of its own length as a list, bytes and text as binary and utf8.

pyarrow is imported when the first function here is called, not before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos._manifest import BYTES, FIXED, RAGGED, STRING, Column

if TYPE_CHECKING:
    import pyarrow as pa

_DTYPES = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as e:
        raise ImportError("tensor datasets and scans need pyarrow: pip install 'pydaos[arrow]'") from e
    return pyarrow


# Columns.


def columns_of(data: Any) -> tuple[Column, ...]:
    """Return the columns that data has: `Column` values, an Arrow schema, a table, arrays."""
    if isinstance(data, Mapping):
        return tuple(_column_of_values(name, values) for name, values in data.items())
    schema = getattr(data, "schema", data)
    if isinstance(schema, _pyarrow().Schema):
        return tuple(_column_of_field(field) for field in schema)
    columns = tuple(data)
    for column in columns:
        if not isinstance(column, Column):
            raise errors.InvalidError(f"{column!r} is not a column", resolution="give pydaos.Column values")
    return columns


def _column_of_values(name: str, values: Any) -> Column:
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OSUV":
        return Column(
            name, FIXED, _checked(name, values.dtype), values.shape[1:], isinstance(values, np.ma.MaskedArray)
        )
    if _is_arrow_array(values):
        return _column_of_field(_pyarrow().field(name, values.type, values.null_count > 0))
    if isinstance(values, np.ndarray) and values.dtype.kind in "SU":
        return Column(name, BYTES if values.dtype.kind == "S" else STRING, np.dtype(np.uint8))
    some = [v for v in values if v is not None]
    nullable = len(some) < len(values)
    if some and all(isinstance(v, str) for v in some):
        return Column(name, STRING, np.dtype(np.uint8), (), nullable)
    if some and all(isinstance(v, (bytes, bytearray, memoryview)) for v in some):
        return Column(name, BYTES, np.dtype(np.uint8), (), nullable)
    if some and all(np.ndim(v) == 0 for v in some):
        return Column(name, FIXED, _checked(name, np.asarray(some).dtype), (), nullable)
    if some and all(np.ndim(v) == 1 for v in some):
        return Column(name, RAGGED, _checked(name, np.result_type(*{np.asarray(v).dtype for v in some})), (), nullable)
    of = type(some[0]).__name__ if some else "nothing"
    raise errors.InvalidError(
        f"column {name!r}: no column type for {type(values).__name__} of {of}",
        resource=name,
        resolution="give an array of shape (samples, ...), or a list of str, bytes, or 1-D arrays",
    )


def _checked(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.name not in _DTYPES:
        raise errors.UnsupportedError(
            f"column {name!r}: dtype {dtype} has no column type", resource=name, resolution="convert it first"
        )
    native: np.dtype[Any] = dtype.newbyteorder("=")
    return native


def _column_of_field(field: pa.Field) -> Column:
    pa = _pyarrow()
    kind = field.type
    shape: tuple[int, ...] = ()
    if isinstance(kind, pa.FixedShapeTensorType):
        shape, kind = tuple(kind.shape), kind.value_type
    elif isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    types = pa.types
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return Column(field.name, BYTES, np.dtype(np.uint8), (), field.nullable)
    if types.is_string(kind) or types.is_large_string(kind):
        return Column(field.name, STRING, np.dtype(np.uint8), (), field.nullable)
    layout = FIXED
    if types.is_list(kind) or types.is_large_list(kind):
        layout, kind = RAGGED, kind.value_type
    while layout == FIXED and types.is_fixed_size_list(kind):
        shape, kind = (*shape, kind.list_size), kind.value_type
    try:
        dtype = np.dtype(kind.to_pandas_dtype())
    except NotImplementedError:
        dtype = np.dtype(object)
    return Column(field.name, layout, _checked(field.name, dtype), shape, field.nullable)


# To Arrow.


def table_of(data: Any, columns: Sequence[Column]) -> pa.Table:
    """Return data as an Arrow table with these columns."""
    pa = _pyarrow()
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return data
    if not isinstance(data, Mapping):
        raise errors.InvalidError(
            f"samples can't be made of {type(data).__name__}", resolution="give a dict of arrays, or an Arrow table"
        )
    known = {c.name: c for c in columns}
    for name in data:
        if name not in known:
            raise errors.InvalidError(
                f"column {name!r} is not one of this dataset",
                resource=name,
                resolution=f"the columns are {', '.join(known)}",
            )
    arrays = [_array_of(known[name], values) for name, values in data.items()]
    lengths = {name: len(array) for name, array in zip(data, arrays)}
    if len(set(lengths.values())) > 1:
        raise errors.InvalidError(f"columns of different lengths: {lengths}", resolution="give as many samples of each")
    fields = [pa.field(name, array.type, known[name].nullable) for name, array in zip(data, arrays)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _array_of(column: Column, values: Any) -> Any:
    pa = _pyarrow()
    if _is_arrow_array(values):
        return values
    if column.layout == FIXED:
        return _fixed_array(column, values)
    if column.layout == RAGGED:
        kind = pa.list_(pa.from_numpy_dtype(column.dtype))
        items = [None if v is None else np.asarray(v, column.dtype) for v in values]
        return pa.array(items, kind)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    texts = [bytes(v) if isinstance(v, memoryview) else v for v in values]
    try:
        return pa.array(texts, pa.binary() if column.layout == BYTES else pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid) as e:
        raise errors.InvalidError(f"column {column.name!r}: {e}", resource=column.name) from e


def _fixed_array(column: Column, values: Any) -> Any:
    pa = _pyarrow()
    mask = None
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values).reshape(len(values), -1).any(axis=1)
        values = values.filled(0)
    elif not isinstance(values, np.ndarray):
        values = list(values)
        if any(v is None for v in values):
            mask = np.array([v is None for v in values])
            zero = np.zeros(column.shape, column.dtype)
            values = [zero if v is None else v for v in values]
    array = np.asarray(values)
    if isinstance(values, list) and array.dtype.kind in "fO" and all(isinstance(v, int) for v in values):
        array = np.array(values, object)  # numpy makes floats of integers that no one type holds
    if array.dtype != column.dtype:
        array = _converted(column, array)
    if array.shape[1:] != column.shape:
        raise errors.InvalidError(
            f"column {column.name!r} has samples of shape {column.shape}, the data {array.shape[1:]}",
            resource=column.name,
            resolution="reshape it first",
        )
    flat = pa.array(np.ascontiguousarray(array).reshape(-1), mask=mask if not column.shape else None)
    if not column.shape:
        return flat
    storage = pa.FixedSizeListArray.from_arrays(
        flat, math.prod(column.shape), mask=None if mask is None else pa.array(mask)
    )
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(flat.type, column.shape), storage)


def _converted(column: Column, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert to the column's dtype where no value is lost but precision of floats."""
    integers = column.dtype.kind in "iu" and (
        array.dtype.kind in "iu" or (array.dtype.kind == "O" and all(isinstance(v, int) for v in array))
    )
    if not integers and (array.dtype.kind == "O" or not np.can_cast(array.dtype, column.dtype, "same_kind")):
        raise errors.InvalidError(
            f"column {column.name!r} has dtype {column.dtype}, the data {array.dtype}",
            resource=column.name,
            resolution="convert it first",
        )
    if integers and array.size:
        limits = np.iinfo(column.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise errors.InvalidError(
                f"column {column.name!r} has dtype {column.dtype}, which can't hold all of the data",
                resource=column.name,
            )
    return array.astype(column.dtype)


def pieces_of(table: pa.Table, limit: int) -> Iterator[pa.Table]:
    """Cut a table into runs of rows of at most so many bytes, or of one row."""
    if table.nbytes <= limit or table.num_rows <= 1:
        yield table
        return
    half = table.num_rows // 2
    yield from pieces_of(table.slice(0, half), limit)
    yield from pieces_of(table.slice(half), limit)


def stream_of(table: pa.Table) -> memoryview:
    """Return a table as one Arrow IPC stream."""
    pa = _pyarrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return memoryview(sink.getvalue()).cast("B")


def streams_of(table: pa.Table, limit: int) -> Iterator[memoryview]:
    """Return a table as Arrow IPC streams of about so many bytes each."""
    return (stream_of(piece) for piece in pieces_of(table, limit))


# From Arrow.


class Joined:
    """One growing buffer that the pieces of an Arrow IPC stream are received into."""

    def __init__(self, expected: int = 1 << 16) -> None:
        self._buffer = np.empty(expected, np.uint8)
        self._used = 0

    def alloc(self, size: int) -> memoryview:
        """Return room for the next piece."""
        end = self._used + size
        if end > len(self._buffer):
            grown = np.empty(max(end, 2 * len(self._buffer)), np.uint8)
            grown[: self._used] = self._buffer[: self._used]
            self._buffer = grown
        view = self._buffer.data[self._used : end]
        self._used = end
        return view

    def answer(self) -> Answer:
        """Decode the stream; the table lies over the buffer."""
        pa = _pyarrow()
        with pa.ipc.open_stream(pa.py_buffer(self._buffer[: self._used])) as reader:
            return Answer(reader.read_all(), (self._buffer,))


class Answer(NamedTuple):
    """A table, and the memory that it lies over."""

    table: pa.Table
    memory: tuple[npt.NDArray[np.uint8], ...]

    @classmethod
    def joined(cls, answers: Sequence[Answer]) -> Answer:
        """Put answers one behind the other."""
        if len(answers) == 1:
            return answers[0]
        table = _pyarrow().concat_tables([a.table for a in answers])
        return cls(table, tuple(m for a in answers for m in a.memory))

    def numpy(self) -> dict[str, Any]:
        """Return a dict of arrays (masked where nulls may be) and lists; the arrays lie over the memory."""
        return {f.name: self._values(_column_of_field(f), self.table.column(f.name)) for f in self.table.schema}

    def _values(self, column: Column, chunked: Any) -> Any:
        if column.layout in (BYTES, STRING):
            return chunked.to_pylist()
        if column.layout == RAGGED:
            return [piece for chunk in chunked.chunks for piece in self._ragged(column, chunk)]
        parts = [self._fixed(column, chunk) for chunk in chunked.chunks]
        if not parts:
            parts = [np.empty((0, *column.shape), column.dtype)]
        array = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not column.nullable:
            return array
        nulls = chunked.is_null().to_numpy()
        mask = np.broadcast_to(nulls.reshape(-1, *(1 for _ in column.shape)), array.shape)
        return np.ma.MaskedArray(array, mask.copy())

    def _fixed(self, column: Column, chunk: Any) -> npt.NDArray[Any]:
        pa = _pyarrow()
        count, start = len(chunk), 0
        width = math.prod(column.shape)
        if isinstance(chunk, pa.ExtensionArray):
            chunk = chunk.storage
        while pa.types.is_fixed_size_list(chunk.type):
            start = (start + chunk.offset) * chunk.type.list_size
            chunk = chunk.values
        return self._elements(column, chunk, start, count * width).reshape(count, *column.shape)

    def _ragged(self, column: Column, chunk: Any) -> Iterator[npt.NDArray[Any] | None]:
        ends = chunk.offsets.to_numpy()
        values = self._elements(column, chunk.values, 0, len(chunk.values))
        nulls = chunk.is_null().to_numpy(zero_copy_only=False) if chunk.null_count else None
        for i in range(len(chunk)):
            yield None if nulls is not None and nulls[i] else values[ends[i] : ends[i + 1]]

    def _elements(self, column: Column, array: Any, start: int, count: int) -> npt.NDArray[Any]:
        start += array.offset
        raw = array.buffers()[1]
        if raw is None or count == 0:
            return np.empty(0, column.dtype)
        if column.dtype == np.bool_:
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=start + count, bitorder="little")
            return bits[start:].view(np.bool_)
        at, size = start * column.dtype.itemsize, count * column.dtype.itemsize
        for memory in self.memory:
            # Arrow's own view of it would be read-only.
            offset = raw.address - memory.ctypes.data
            if offset >= 0 and offset + at + size <= len(memory):
                return memory[offset + at : offset + at + size].view(column.dtype)
        return np.frombuffer(raw, column.dtype, count, at)


def _is_arrow_array(values: Any) -> bool:
    return type(values).__module__.partition(".")[0] == "pyarrow"
