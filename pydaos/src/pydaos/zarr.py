"""zarr over array datasets: `DaosStore`, a store of zarr 3, for zarr, xarray and Dask.

What zarr writes is kept as it comes, a key and its bytes, in the dataset's key space; every
`set` is durable. Arrays of the dataset itself (`pydaos.Array`) are there too, to be read: an
array of zarr without compression, whose chunks are the array's own.

Start at `DaosStore`. It needs zarr 3 (Python 3.11 or later).
"""

from __future__ import annotations

import asyncio
import builtins
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from pydaos import _errors as errors
from pydaos._array import Array
from pydaos._arrays import Arrays
from pydaos._client import connect
from pydaos._proto.daos.array.v1 import array_service_pb2 as pb

__all__ = ["DaosStore"]

T = TypeVar("T")

# Bytes of one reply.
_PIECE = 32 << 20
_CHUNK_KEY = re.compile(r"^(?:(?P<path>.*)/)?c(?P<coords>(?:/[0-9]+)*)$")
# Element types that zarr knows by the same name.
_WIDTHS = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64, 128)}
_ZARR_TYPES = frozenset(f"{kind}{bits}" for kind, widths in _WIDTHS.items() for bits in widths) | {"bool"}


class DaosStore(Store):
    """A store of zarr in an array dataset.

    Parameters
    ----------
    dataset
        A `pydaos.Arrays`, or the address of one: ``"POOL/DATASET[@SNAPSHOT]"``, of the server that
        `pydaos.connect` finds. At a snapshot the store is read-only.
    path
        Group in which all keys of this store lie; the root by default.
    read_only
        Refuse to write.
    native
        Also show the dataset's own arrays, to be read.

    Examples
    --------
    >>> store = DaosStore(client.dataset("p/weather"))
    >>> xr.Dataset({"t2m": (("time", "lat"), np.zeros((24, 181)))}).to_zarr(store)
    >>> xr.open_zarr(DaosStore("p/weather@v1")).t2m.mean("time")
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, dataset: Arrays | str, *, path: str = "", read_only: bool = False, native: bool = True) -> None:
        if isinstance(dataset, str):
            found = connect().dataset(dataset)
            if not isinstance(found, Arrays):
                raise errors.InvalidError(
                    f"{dataset}: it is a {found.type} dataset", resource=dataset, resolution="use an array dataset"
                )
            dataset = found
        super().__init__(read_only=read_only or bool(dataset.snapshot_name))
        self.dataset = dataset
        self.path = path.strip("/")
        self.native = native
        # Paths where a snapshot has no array of its own, which need not be asked for again.
        self._own: builtins.set[str] = set()

    def with_read_only(self, read_only: bool = False) -> DaosStore:
        """Return the same store for reading only, or for writing too."""
        return type(self)(self.dataset, path=self.path, read_only=read_only, native=self.native)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DaosStore)
            and (self.dataset.address, self.path, self.native) == (other.dataset.address, other.path, other.native)
            and str(self.dataset.client._endpoint) == str(other.dataset.client._endpoint)
        )

    def __str__(self) -> str:
        return f"daos://{self.dataset.address}" + (f"/{self.path}" if self.path else "")

    def __repr__(self) -> str:
        return f"DaosStore('{self}')"

    # Values.

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read the value of a key, or a range of it; None if there is none."""
        return await self._call(lambda: self.get_sync(key, prototype=prototype, byte_range=byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> builtins.list[Buffer | None]:
        """Read several values or ranges."""
        return list(await asyncio.gather(*(self.get(key, prototype, want) for key, want in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Tell whether there is a key."""
        return await self._call(lambda: self._size(key) is not None)

    async def getsize(self, key: str) -> int:
        """Return the size of a value in bytes."""
        size = await self._call(lambda: self._size(key))
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the size of all values below a path in bytes."""
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        return await self._call(lambda: sum(size for _, size in self._keys(below)))

    async def set(self, key: str, value: Buffer) -> None:
        """Write the value of a key."""
        await self._call(lambda: self.set_sync(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write the value of a key unless it has one."""
        await self._call(lambda: self._put(key, value, if_absent=True))

    async def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        await self._call(lambda: self.delete_sync(key))

    async def delete_dir(self, prefix: str) -> None:
        """Remove all keys below a path."""
        self._check_writable()
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        request = pb.DeleteKeysRequest(dataset=self.dataset.address, prefix=self._full(below), by_prefix=True)
        await self._call(lambda: self._send("DeleteKeys", request, pb.DeleteKeysResponse))

    async def clear(self) -> None:
        """Remove all keys; arrays of the dataset itself stay."""
        await self.delete_dir("")

    # The same without an event loop.

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read the value of a key, or a range of it; None if there is none."""
        prototype = prototype or default_buffer_prototype()
        request = pb.GetKeyRequest(dataset=self.dataset.address, key=self._full(key))
        stop: int | None = None
        if isinstance(byte_range, RangeByteRequest):
            request.offset, stop = byte_range.start, byte_range.end
        elif isinstance(byte_range, OffsetByteRequest):
            request.offset = byte_range.offset
        elif isinstance(byte_range, SuffixByteRequest):
            request.suffix = byte_range.suffix
        elif byte_range is not None:
            raise ValueError(f"Unexpected byte_range, got {byte_range}")
        try:
            data = self._read(request, stop)
        except errors.NotFoundError:
            if (found := self._native_value(key)) is None:
                return None
            start = max(0, len(found) - request.suffix) if request.suffix else request.offset
            data = np.frombuffer(found, np.uint8)[start:stop]
        if isinstance(byte_range, SuffixByteRequest) and not byte_range.suffix:
            data = data[:0]
        made: Buffer = prototype.buffer.from_array_like(data)
        return made

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write the value of a key."""
        self._put(key, value, if_absent=False)

    def delete_sync(self, key: str) -> None:
        """Remove a key, if it is there."""
        self._check_writable()
        request = pb.DeleteKeysRequest(dataset=self.dataset.address, key=self._full(key))
        self._send("DeleteKeys", request, pb.DeleteKeysResponse)

    def _read(self, request: pb.GetKeyRequest, stop: int | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Read a range in pieces; the usual value is one."""
        if request.suffix > _PIECE:
            size = self._send("GetKey", pb.GetKeyRequest(dataset=request.dataset, key=request.key, size_only=True))
            request.offset, request.suffix = max(0, size.size - request.suffix), 0
        parts: list[Any] = []
        while True:
            left = _PIECE if stop is None else min(_PIECE, stop - request.offset)
            if left <= 0:
                break
            if not request.suffix:
                request.length = left
            reply, data = self.dataset.client.call_payload(
                "array.GetKey", request, pb.GetKeyResponse, alloc=lambda n: np.empty(n, np.uint8)
            )
            parts.append(np.asarray(data) if len(data) else np.empty(0, np.uint8))
            request.offset, request.epoch = request.offset + len(data), reply.epoch
            if request.suffix or request.offset >= reply.size:
                break
        if not parts:
            if self._size(request.key.removeprefix(self._full(""))) is None:
                raise errors.NotFoundError(request.key)
            return np.empty(0, np.uint8)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _put(self, key: str, value: Buffer, *, if_absent: bool) -> None:
        self._check_writable()
        if not isinstance(value, Buffer):
            raise TypeError(f"a value is a zarr Buffer, not a {type(value).__name__}")
        if key.endswith("zarr.json") and self.native and self._node(key.rpartition("/")[0]) is not None:
            raise errors.ExistsError(
                f"{self}/{key}: an array of the dataset itself, which zarr can read only",
                resource=key,
                resolution="write it with pydaos.Array, or choose another path",
            )
        data = np.ascontiguousarray(value.as_numpy_array()).view(np.uint8).reshape(-1)
        request = pb.PutKeyRequest(dataset=self.dataset.address, key=self._full(key), if_absent=if_absent)
        client = self.dataset.client
        client.call(
            "array.PutKey",
            request,
            pb.PutKeyResponse,
            data.data if data.size else None,
            timeout=client._pool.patient(data.nbytes),
        )

    # Listing.

    async def list(self) -> AsyncIterator[str]:
        """List all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the keys with a prefix."""
        for key, _ in await self._call(lambda: [*self._keys(prefix), *self._native_keys(prefix)]):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List the names in a directory of keys."""
        where = prefix.strip("/")

        def names() -> Iterator[str]:
            below = f"{where}/" if where else ""
            seen = {name for name, _ in self._keys(below, directory=True)}
            return iter(sorted(seen | self._native_names(where)))

        for name in await self._call(lambda: list(names())):
            yield name

    def _keys(self, prefix: str, *, directory: bool = False) -> Iterator[tuple[str, int]]:
        full = self._full(prefix)
        request = pb.ListKeysRequest(dataset=self.dataset.address, prefix=full, directory=directory)
        root = len(self._full(""))
        while True:
            reply = self._send("ListKeys", request, pb.ListKeysResponse)
            for key, size in zip(reply.keys, reply.sizes):
                yield (key if directory else key[root:]), size
            if not reply.more:
                return
            request.after, request.epoch = reply.keys[-1], reply.epoch

    def _size(self, key: str) -> int | None:
        request = pb.GetKeyRequest(dataset=self.dataset.address, key=self._full(key), size_only=True)
        try:
            return int(self._send("GetKey", request).size)
        except errors.NotFoundError:
            found = self._native_value(key)
            return None if found is None else len(found)

    # Arrays of the dataset itself.

    def _node(self, path: str) -> pb.Node | None:
        """Return the array or group at a path; None if there is none, or it is zarr's own."""
        if not self.native or path in self._own:
            return None
        try:
            node = self.dataset._node(self._full(path).strip("/"))
        except (errors.NotFoundError, errors.InvalidError):
            node = None
        if node is not None and not node.path and not any(True for _ in self.dataset._nodes("", False)):
            node = None  # the root group of a dataset without arrays
        if node is not None and node.kind == pb.NODE_KIND_ARRAY and node.spec.dtype not in _ZARR_TYPES:
            node = None
        if node is None and self.dataset.snapshot_name and len(self._own) < 10_000:
            self._own.add(path)
        return node

    def _native_value(self, key: str) -> bytes | None:
        if not self.native:
            return None
        path, _, name = key.rpartition("/")
        if name == "zarr.json":
            node = self._node(path)
            return None if node is None else _metadata(node)
        match = _CHUNK_KEY.match(key)
        if match is None or (node := self._node(match["path"] or "")) is None or node.kind != pb.NODE_KIND_ARRAY:
            return None
        array = Array(self.dataset.client, self.dataset.address, node)
        coords = [int(c) for c in match["coords"].split("/")[1:]]
        if len(coords) != array.ndim:
            return None
        where = tuple(
            slice(c * n, min((c + 1) * n, length)) for c, n, length in zip(coords, array.chunks, node.spec.shape)
        )
        if any(w.start >= w.stop for w in where):
            return None
        part = np.asarray(array[where])
        if part.shape == array.chunks:
            return part.tobytes()
        whole = np.full(array.chunks, array.fill_value, array.dtype)
        whole[tuple(slice(0, n) for n in part.shape)] = part
        return whole.tobytes()

    def _native_nodes(self, path: str, recursive: bool) -> builtins.list[pb.Node]:
        try:
            return list(self.dataset._nodes(path, recursive))
        except (errors.NotFoundError, errors.NotDirectoryError, errors.InvalidError):
            return []

    def _native_names(self, where: str) -> builtins.set[str]:
        node = self._node(where) if self.native else None
        if node is None:
            return set()
        if node.kind == pb.NODE_KIND_ARRAY:
            return {"zarr.json", "c"}
        return {"zarr.json"} | {n.path.rpartition("/")[2] for n in self._native_nodes(node.path, False)}

    def _native_keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        if not self.native:
            return
        root = self._full("")
        nodes = self._native_nodes(self.path, True)
        if nodes and "zarr.json".startswith(prefix):
            yield "zarr.json", 0
        for node in nodes:
            path = node.path[len(root) :]
            if f"{path}/zarr.json".startswith(prefix):
                yield f"{path}/zarr.json", 0
            if node.kind != pb.NODE_KIND_ARRAY or not (f"{path}/".startswith(prefix) or prefix.startswith(f"{path}/")):
                continue
            for chunk in Array(self.dataset.client, self.dataset.address, node).chunk_stats():
                key = "/".join([path, "c", *map(str, chunk.coords)])
                if key.startswith(prefix):
                    yield key, 0

    # Calls.

    def _full(self, key: str) -> str:
        return f"{self.path}/{key}" if self.path else key

    def _send(self, name: str, request: Any, response_cls: Any = pb.GetKeyResponse) -> Any:
        return self.dataset.client.call(f"array.{name}", request, response_cls)

    async def _call(self, function: Callable[[], T]) -> T:
        if not self._is_open:
            await self._open()
        return await asyncio.to_thread(function)


def _metadata(node: pb.Node) -> bytes:
    """Return the zarr.json of an array or a group of the dataset itself."""
    attributes = {k: json.loads(v) for k, v in node.attributes.items()}
    if node.kind == pb.NODE_KIND_GROUP:
        return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}).encode()
    spec = node.spec
    dtype = np.dtype(spec.dtype)
    fill = np.frombuffer(spec.fill_value or bytes(dtype.itemsize), dtype)[0]
    codec: dict[str, Any] = {"name": "bytes"}
    if dtype.itemsize > 1:
        codec["configuration"] = {"endian": "little"}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(spec.shape),
        "data_type": spec.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill(fill),
        "codecs": [codec],
        "attributes": attributes,
    }
    if spec.dims:
        document["dimension_names"] = [name or None for name in spec.dims]
    return json.dumps(document).encode()


def _fill(value: Any) -> Any:
    """Return a fill value as zarr's metadata has it."""
    if isinstance(value, np.complexfloating):
        return [_fill(value.real), _fill(value.imag)]
    if isinstance(value, np.floating):
        if np.isnan(value):
            return "NaN"
        if np.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return value.item()
