"""What goes into one request of a KV dataset: keys, values, batches, large values in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pydaos import _errors as errors
from pydaos._proto.daos.kv.v1 import kv_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._kv import KV

Key = str | bytes | bytearray | memoryview

# What goes into one request: changes or names, bytes of keys, bytes of values.
OPS = 8192
KEY_BYTES = 256 << 10
VALUE_BYTES = 8 << 20


def key_bytes(key: Key) -> bytes:
    """Return a key as bytes: text as UTF-8."""
    if isinstance(key, str):
        return key.encode("utf-8", "surrogateescape")
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise TypeError(f"keys are bytes or text, not {type(key).__name__}")
    return bytes(key)


def condition(if_absent: bool, if_present: bool, if_version: int | None) -> tuple[pb.When, int]:
    if if_absent and (if_present or if_version is not None):
        raise errors.InvalidError("a value can't be asked to be absent and present")
    if if_version is not None:
        return pb.WHEN_VERSION, if_version
    if if_present:
        return pb.WHEN_PRESENT, 0
    return (pb.WHEN_ABSENT if if_absent else pb.WHEN_UNSPECIFIED), 0


def buffer_of(value: Any) -> memoryview:
    """Return the bytes of a value."""
    if isinstance(value, str):
        return memoryview(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise errors.InvalidError(
                f"an array of {value.dtype} has no bytes",
                resolution="give it a dtype of numbers, or encode it yourself",
            )
        return memoryview(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    try:
        view = memoryview(value)
    except TypeError:
        raise errors.InvalidError(
            f"a value of type {type(value).__name__}",
            resolution="give bytes, text, an array, or a dict where the dataset has a schema",
        ) from None
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


class Pieces:
    """A large value in pieces, which can be sent again."""

    def __init__(self, data: memoryview | None = None, file: Any = None) -> None:
        self.data, self.file = data, file
        self.first = file.tell() if file is not None and file.seekable() else None
        self.size = data.nbytes if data is not None else VALUE_BYTES
        self.used = False
        if self.first is not None:
            self.size = max(file.seek(0, 2) - self.first, 0)
            file.seek(self.first)

    def again(self) -> Iterator[Any]:
        """Give the pieces, at least one."""
        if self.data is not None:
            for at in range(0, max(self.data.nbytes, 1), VALUE_BYTES):
                yield self.data[at : at + VALUE_BYTES]
            return
        if self.used and self.first is None:
            raise errors.ConnectionLostError("the connection was lost, and the file can't be read again from its start")
        if self.used:
            self.file.seek(self.first)
        self.used = True
        piece = self.file.read(VALUE_BYTES)
        yield piece
        while piece:
            piece = self.file.read(VALUE_BYTES)
            if piece:
                yield piece


class Puts:
    """Puts of one request, which go as columns."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: list[Any] = []
        self.bytes = 0
        self._key_bytes = 0

    def fits(self, key: int, size: int) -> bool:
        """Return whether another one fits."""
        full = len(self.keys) >= OPS or self.bytes + size > VALUE_BYTES or self._key_bytes + key > KEY_BYTES
        return not (self.keys and full)

    def add(self, key: bytes, value: memoryview) -> None:
        """Take a pair."""
        self.keys.append(key)
        self.values.append(value)
        self.bytes += value.nbytes
        self._key_bytes += len(key)

    def request(self, address: str, akey: bytes) -> tuple[pb.ApplyRequest, Any]:
        """Return the request and its payload."""
        puts = pb.Puts(
            keys=b"".join(self.keys),
            key_sizes=list(map(len, self.keys)),
            sizes=[v.nbytes for v in self.values],
            akey=akey,
        )
        return pb.ApplyRequest(dataset=address, puts=puts), b"".join(self.values)


class Batch:
    """Changes of one request."""

    def __init__(self, kv: KV) -> None:
        self.kv = kv
        self.ops: list[pb.Op] = []
        self.values: list[Any] = []
        self.bytes = 0
        self.keys = 0

    def fits(self, key: int, size: int) -> bool:
        """Return whether another change fits."""
        full = len(self.ops) >= OPS or self.bytes + size > VALUE_BYTES or self.keys + key > KEY_BYTES
        return not (self.ops and full)

    def add(self, op: pb.Op, value: Any) -> None:
        """Take a change."""
        self.ops.append(op)
        self.values.append(value)
        self.bytes += op.size
        self.keys += len(op.key) + len(op.akey)

    def request(self) -> tuple[pb.ApplyRequest, Any]:
        """Return the request and its payload."""
        return pb.ApplyRequest(dataset=self.kv.address, ops=self.ops), b"".join(self.values)

    def apply(self) -> Done:
        """Carry it out."""
        request, payload = self.request()
        reply = self.kv.client.call("kv.Apply", request, pb.ApplyResponse, payload)
        return Done(reply, sum(r.removed for r in reply.results))


class Done(NamedTuple):
    reply: pb.ApplyResponse
    removed: int


class KVBatch:
    """Changes that are carried out in one atomic step at the end of the ``with`` block.

    At most 16384 changes, 4096 of them additions and appends, with 8 MiB of values. If the
    block raises, nothing is done.

    Attributes
    ----------
    version
        Afterwards: the version of the values written.
    results
        Afterwards: for each addition the sum, for each append the size, for each deletion
        how many values there were.
    """

    def __init__(self, kv: KV) -> None:
        self._batch = Batch(kv)
        self.version = 0
        self.results: list[int] = []

    def put(
        self,
        key: Key,
        value: Any,
        *,
        akey: Key = b"",
        if_absent: bool = False,
        if_present: bool = False,
        if_version: int | None = None,
    ) -> None:
        """Set a value; see `KV.put`."""
        self._add(
            pb.OP_KIND_PUT, key, akey, self._batch.kv._value(key, value), condition(if_absent, if_present, if_version)
        )

    def delete(self, key: Key, *, akey: Key = b"", if_version: int | None = None) -> None:
        """Remove a value."""
        self._add(pb.OP_KIND_DELETE, key, akey, memoryview(b""), condition(False, False, if_version))

    def delete_key(self, key: Key) -> None:
        """Remove all values of a key."""
        self._add(pb.OP_KIND_DELETE_KEY, key, b"", memoryview(b""), condition(False, False, None))

    def add(self, key: Key, number: int = 1, *, akey: Key = b"") -> None:
        """Add to a counter."""
        self._add(pb.OP_KIND_ADD, key, akey, memoryview(b""), condition(False, False, None), number)

    def append(self, key: Key, value: Any, *, akey: Key = b"") -> None:
        """Append to a value."""
        self._add(pb.OP_KIND_APPEND, key, akey, buffer_of(value), condition(False, False, None))

    def _add(
        self, kind: pb.OpKind, key: Key, akey: Key, value: memoryview, when: tuple[pb.When, int], number: int = 0
    ) -> None:
        op = self._batch.kv._op(kind, key, akey)
        op.size, op.number = value.nbytes, number
        op.when, op.version = when
        if self._batch.bytes + value.nbytes > VALUE_BYTES:
            raise errors.TooBigError(
                f"the values of an atomic batch have more than {VALUE_BYTES} bytes",
                resolution="put large values one by one",
            )
        if self._batch.keys + len(op.key) + len(op.akey) > 2 * KEY_BYTES:
            raise errors.TooBigError(
                f"the keys of an atomic batch have more than {2 * KEY_BYTES} bytes", resolution="make it smaller"
            )
        self._batch.add(op, value)

    def __enter__(self) -> KVBatch:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        if exc_type is not None or not self._batch.ops:
            return
        reply = self._batch.apply().reply
        self.version = int(reply.changed.epoch)
        changes = [op for op in self._batch.ops if op.kind != pb.OP_KIND_PUT]
        for op, r in zip(changes, reply.results):
            by_kind = {pb.OP_KIND_ADD: r.number, pb.OP_KIND_APPEND: r.size}
            self.results.append(int(by_kind.get(op.kind, r.removed)))
