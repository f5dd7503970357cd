"""One array of an array dataset: `Array`, indexed as a numpy array.

A slice is one request: the server cuts it, and its bytes are received into the array that
is returned. A larger one is cut into requests that are sent ahead, all at the epoch of the
first. An assignment is one durable transaction up to 16 MiB, and several, in order, beyond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos._dtypes import converted, numpy_dtype
from pydaos._proto.daos.array.v1 import array_service_pb2 as pb
from pydaos._select import Axis, Selection, pieces, resolve

if TYPE_CHECKING:
    from pydaos._client import Client

# Bytes of one reply of a slice that comes in pieces, of one assignment, of one append.
READ_PIECE = 16 << 20
WRITE_PIECE = 16 << 20
APPEND_PIECE = 48 << 20
_WINDOW = 4


class ArrayChunk(NamedTuple):
    """Statistics of one chunk of an array, as far as it lies inside the shape.

    `coords` are its coordinates in the grid of chunks. `min` and `max` are over the elements
    that are not NaN, None where there are none or the type has no order; with `exact` False
    they and `nans` are bounds, since a part of the chunk was written anew.
    """

    coords: tuple[int, ...]
    elements: int
    nulls: int
    nans: int
    min: Any
    max: Any
    exact: bool


class Attributes(MutableMapping[str, Any]):
    """User attributes of an array or a group: JSON values by name, as they are now."""

    def __init__(self, client: Client, address: str, path: str) -> None:
        self._client, self._address, self._path = client, address, path

    def _all(self) -> dict[str, Any]:
        request = pb.DescribeRequest(dataset=self._address, path=self._path)
        node = self._client.call("array.Describe", request, pb.DescribeResponse).node
        return {k: json.loads(v) for k, v in node.attributes.items()}

    def _change(self, **fields: Any) -> None:
        request = pb.SetAttributesRequest(dataset=self._address, path=self._path, **fields)
        self._client.call("array.SetAttributes", request, pb.SetAttributesResponse)

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._change(set=encoded({name: value}))

    def __delitem__(self, name: str) -> None:
        if name not in self._all():
            raise KeyError(name)
        self._change(remove=[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def asdict(self) -> dict[str, Any]:
        """Return all of them, with one request."""
        return self._all()

    def put(self, values: Mapping[str, Any]) -> None:
        """Replace all of them, in one step."""
        self._change(set=encoded(values), replace=True)

    def __repr__(self) -> str:
        return f"Attributes({self._all()!r})"


def encoded(values: Mapping[str, Any] | None) -> dict[str, bytes]:
    """Return attributes as JSON."""

    def plain(v: Any) -> Any:
        if isinstance(v, (np.generic, np.ndarray)):
            return v.tolist()
        raise TypeError(f"an attribute of type {type(v).__name__} has no JSON form")

    return {k: json.dumps(v, default=plain).encode() for k, v in (values or {}).items()}


def where_of(address: str, path: str) -> str:
    """Return the address of an array or a group."""
    return f"{address}/{path}" if path else address


class Array:
    """An N-D array in chunks; from `Arrays.array` and `Arrays.create_array`.

    Indexed as a numpy array, by integers, slices (negative steps too), an ellipsis and one
    list of integers or mask along an axis; ``a.oindex[...]`` takes lists along several axes.

    Examples
    --------
    >>> grids = client.create_dataset("p/grids", type="array")
    >>> a = grids.create_array("weather/t2m", shape=(24, 181, 360), dtype="f4", chunks=(1, 181, 360))
    >>> a[0] = np.zeros((181, 360))
    >>> a[0:24, ::2, 5].shape
    (24, 91)
    >>> a.append(np.ones((6, 181, 360)))
    range(24, 30)
    """

    def __init__(self, client: Client, address: str, node: pb.Node) -> None:
        self.client = client
        # "POOL/DATASET[@SNAPSHOT]", and the path of the array in it.
        self.address = address
        self.path = node.path
        self._dtype_name = node.spec.dtype
        self._dtype = numpy_dtype(node.spec.dtype)
        self._chunks = tuple(node.spec.chunks)
        self._shape = tuple(node.spec.shape)
        self._fill = node.spec.fill_value
        self._dims = tuple(node.spec.dims)
        self._id = node.id

    # Description.

    @property
    def where(self) -> str:
        """The address of the array, for messages and for ``pydaos.torch.Dataset``."""
        return where_of(self.address, self.path)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype of the elements; see `type_name`."""
        return self._dtype

    @property
    def type_name(self) -> str:
        """The element type's name: ``"float32"``, ``"bfloat16"``, ``"timestamp[ns]"``."""
        return self._dtype_name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as it is now."""
        if "@" not in self.address:
            self._refresh()
        return self._shape

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape of a chunk."""
        return self._chunks

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes; empty if there are none."""
        return self._dims

    @property
    def fill_value(self) -> Any:
        """The element that stands where nothing was written."""
        raw = self._fill or bytes(self._dtype.itemsize)
        return np.frombuffer(raw, self._dtype)[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._chunks)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64)) if self.ndim else 1

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, written or not."""
        return self.size * self.itemsize

    @property
    def attrs(self) -> Attributes:
        """User attributes."""
        return Attributes(self.client, self.address, self.path)

    def __len__(self) -> int:
        """Return the length along the first axis."""
        if not self.ndim:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __bool__(self) -> bool:
        return True

    def _refresh(self) -> None:
        request = pb.DescribeRequest(dataset=self.address, path=self.path)
        node = self.client.call("array.Describe", request, pb.DescribeResponse).node
        if node.id != self._id:
            raise errors.StaleError(
                f"{self.where}: it is another array now", resource=self.where, resolution="open it again"
            )
        self._shape = tuple(node.spec.shape)

    def chunk_stats(self) -> list[ArrayChunk]:
        """Return the statistics of the chunks that have been written, in C order; all others hold the fill value."""
        out: list[ArrayChunk] = []
        request = pb.ChunksRequest(dataset=self.address, path=self.path)
        while True:
            reply = self.client.call("array.Chunks", request, pb.ChunksResponse)
            out.extend(
                ArrayChunk(
                    tuple(c.coords), c.count, c.nulls, c.nans, self._element(c.min), self._element(c.max), c.exact
                )
                for c in reply.chunks
            )
            if not reply.more:
                return out
            request.epoch = reply.epoch
            del request.after[:]
            request.after.extend(reply.chunks[-1].coords)

    def _element(self, raw: bytes) -> Any:
        return np.frombuffer(raw, self._dtype)[0] if raw else None

    # Reading.

    def __getitem__(self, key: Any) -> Any:
        """Read a selection: an array that owns its memory, or a scalar."""
        return self._read(key, orthogonal=False)

    @property
    def oindex(self) -> Orthogonal:
        """Indexing that selects along each axis by itself, also by several lists."""
        return Orthogonal(self)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read all of it."""
        if copy is False:
            raise ValueError("an array in a dataset can't be a numpy array without a copy")
        out = np.asarray(self[...])
        return out if dtype is None else out.astype(dtype, copy=False)

    def __iter__(self) -> Iterator[Any]:
        """Iterate along the first axis."""
        for i in range(len(self)):
            yield self[i]

    def _read(self, key: Any, *, orthogonal: bool) -> Any:
        while True:
            shape = self._shape
            try:
                chosen = resolve(key, shape, self.where, orthogonal=orthogonal)
                out = self._fetch(chosen)
            except (errors.InvalidError, IndexError):
                # Perhaps the array has become shorter or longer since.
                self._refresh()
                if self._shape == shape:
                    raise
                continue
            if self._shape == shape:
                break
        answer = out[chosen.after] if any(k != slice(None) for k in chosen.after) else out
        return answer if answer.ndim else answer[()]

    def _fetch(self, chosen: Selection) -> npt.NDArray[Any]:
        """Read the elements; the shape that the server has is noted."""
        out = np.empty(chosen.shape, self._dtype)
        if not out.size:
            self._refresh()
            return out
        flat = out.reshape(-1).view(np.uint8).data
        if out.nbytes <= READ_PIECE and all(a.indices is None for a in chosen.axes):
            self._first(chosen.axes, flat)
            return out
        cuts = list(pieces(chosen.axes, self._chunks, self._dtype.itemsize, READ_PIECE))
        ends = np.cumsum([_bytes(axes, self._dtype.itemsize) for _, axes in cuts]).tolist()
        into = [flat[start:end] for start, end in zip([0, *ends], ends)]
        axes = [axes for _, axes in cuts]
        while not self._pieces(axes, into):
            pass  # the snapshot's name was given to another one meanwhile
        return out

    def _pieces(self, cuts: Sequence[Sequence[Axis]], into: Sequence[memoryview]) -> bool:
        """Receive a selection in pieces; False if they are not of one epoch."""
        epoch = first = 0
        if "@" not in self.address or len(cuts) == 1:
            # What else there is comes from the epoch of the first piece.
            epoch, first = self._first(cuts[0], into[0]), 1
        calls: list[tuple[pb.GetRequest, None]] = [(self._get(axes, epoch), None) for axes in cuts[first:]]
        if not calls:
            return True
        epochs = set()
        for i, answer in enumerate(
            self.client.call_many("array.Get", calls, pb.GetResponse, into=into[first:], window=_WINDOW), first
        ):
            if isinstance(answer, errors.DaosError):
                raise answer
            self._same(answer[0], len(answer[1]) == len(into[i]))
            epochs.add(answer[0].epoch)
        return len(epochs) == 1

    def _first(self, axes: Sequence[Axis], into: memoryview) -> int:
        """Receive elements as they are now; returns the epoch that they are of."""
        reply, data = self.client.call_payload(
            "array.Get",
            self._get(axes, 0),
            pb.GetResponse,
            alloc=lambda n: into if n == len(into) else bytearray(n),
        )
        self._same(reply, data is into)
        self._shape = tuple(reply.array_shape)
        return reply.epoch

    def _same(self, reply: pb.GetResponse, whole: bool) -> None:
        """Check that an answer is of this array, and not of another one that has its name by now."""
        other = (reply.id, reply.dtype) != (self._id, self._dtype_name) and reply.id  # 0: of an older server
        if other or not whole:
            raise errors.StaleError(
                f"{self.where}: it is another array now", resource=self.where, resolution="open it again"
            )

    def _get(self, axes: Sequence[Axis], epoch: int) -> pb.GetRequest:
        return pb.GetRequest(dataset=self.address, path=self.path, axes=[a.to_proto() for a in axes], epoch=epoch)

    # Writing. Each call is a durable transaction, carried out once.

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write a selection; `value` is broadcast to it and converted to the array's dtype."""
        self._write(key, value, orthogonal=False)

    def _write(self, key: Any, value: Any, *, orthogonal: bool) -> None:
        if "@" not in self.address:
            self._refresh()
        chosen = resolve(key, self._shape, self.where, orthogonal=orthogonal)
        data = converted(value, self._dtype_name)
        kept = tuple(n for n, k in zip(chosen.shape, chosen.after) if k != 0 or isinstance(k, slice))
        if data.ndim == 0:
            axes = tuple(_once(a) for a in chosen.axes)
            self._put(axes, data)
            return
        data = np.broadcast_to(data, kept)
        back = tuple(k for k in chosen.after if isinstance(k, slice))
        data = data[back].reshape(chosen.shape) if any(k.step for k in back) else data.reshape(chosen.shape)
        axes = chosen.axes
        for d, a in enumerate(axes):
            if a.indices is not None and len(np.unique(a.indices)) < len(a.indices):
                # As with numpy, the last one wins.
                _, last = np.unique(a.indices[::-1], return_index=True)
                keep = np.sort(len(a.indices) - 1 - last)
                data = np.take(data, keep, axis=d)
                axes = (*axes[:d], Axis(0, len(keep), 1, a.indices[keep]), *axes[d + 1 :])
        self._put(axes, data)

    def _put(self, axes: tuple[Axis, ...], data: npt.NDArray[Any], most: int = WRITE_PIECE) -> None:
        for where, cut in pieces(axes, self._chunks, self._dtype.itemsize, most):
            request = pb.WriteRequest(
                dataset=self.address, path=self.path, axes=[a.to_proto() for a in cut], broadcast=data.ndim == 0
            )
            part = data if data.ndim == 0 else data[where]
            size = _bytes(cut, self._dtype.itemsize)
            try:
                self.client.call(
                    "array.Write", request, pb.WriteResponse, _raw(part), timeout=self.client._pool.patient(size)
                )
            except errors.TooBigError:
                # Not the bytes but the chunks are too many for one transaction.
                if size <= self._dtype.itemsize:
                    raise
                self._put(cut, part, size // 2)

    def append(self, data: npt.ArrayLike, axis: int = 0, *, expect_length: int | None = None) -> range:
        """Make the array longer along an axis.

        Up to 48 MiB in one step, carried out once however often it is sent. More goes in several
        steps, one behind the other: ConflictError if somebody else appends in between.

        Parameters
        ----------
        data
            As many axes as the array has; or one less, for one position.
        axis
            The axis to append along.
        expect_length
            ConflictError unless the array is so long along the axis.

        Returns
        -------
        range
            The new positions along the axis.
        """
        new = converted(data, self._dtype_name)
        axis = range(self.ndim)[axis]
        if new.ndim == self.ndim - 1:
            new = np.expand_dims(new, axis)
        others = [n for d, n in enumerate(self._shape) if d != axis]
        if new.ndim != self.ndim or [n for d, n in enumerate(new.shape) if d != axis] != others:
            raise errors.InvalidError(
                f"{self.where}: data of shape {new.shape} can't be appended along axis {axis} of shape {self._shape}",
                resource=self.where,
            )
        count = new.shape[axis]
        row = max(1, new.nbytes // max(1, count))
        step = max(1, APPEND_PIECE // row)
        step = max(step // self._chunks[axis] * self._chunks[axis], 1) if step > self._chunks[axis] else step
        first: int | None = None
        at = 0
        while first is None or at < count:
            part = new[(slice(None),) * axis + (slice(at, min(at + step, count)),)]
            request = pb.AppendRequest(
                dataset=self.address, path=self.path, axis=axis, count=part.shape[axis], expect_length=expect_length
            )
            patient = self.client._pool.patient(part.nbytes)
            reply = self.client.call("array.Append", request, pb.AppendResponse, _raw(part), timeout=patient)
            first = reply.start if first is None else first
            at += max(part.shape[axis], 1)
            expect_length = reply.start + reply.count
        length = first + count
        self._shape = tuple(length if d == axis else n for d, n in enumerate(self._shape))
        return range(first, length)

    def resize(self, *shape: int | Sequence[int]) -> None:
        """Set the shape; what is cut off is gone, what is new has the fill value."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        request = pb.ResizeRequest(dataset=self.address, path=self.path, shape=[int(n) for n in wanted])  # type: ignore[arg-type]
        self.client.call("array.Resize", request, pb.ResizeResponse)
        self._shape = tuple(request.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and (other.address, other.path, other._id) == (
            self.address,
            self.path,
            self._id,
        )

    def __hash__(self) -> int:
        return hash((self.address, self.path))

    def __repr__(self) -> str:
        return f"<pydaos.Array {self.where} {self._shape} {self._dtype_name}>"


class Orthogonal:
    """Indexing along each axis by itself; from `Array.oindex`."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __getitem__(self, key: Any) -> Any:
        return self._array._read(key, orthogonal=True)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._array._write(key, value, orthogonal=True)


def _once(a: Axis) -> Axis:
    if a.indices is None:
        return a
    kept = np.unique(a.indices)
    return Axis(0, len(kept), 1, kept)


def _bytes(axes: Sequence[Axis], itemsize: int) -> int:
    for a in axes:
        itemsize *= a.length
    return itemsize


def _raw(part: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of the elements, in C order."""
    whole = np.ascontiguousarray(part)
    return whole.reshape(-1).view(np.uint8).data
