"""Key-value datasets: `KV`, which `Client.dataset` returns for them.

Keys and values are bytes; text is UTF-8. `_kv_calls` has the requests that the mapping is
made of, `_kv_schema` the fields of values that have some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pydaos import _errors as errors
from pydaos._kv_batch import OPS, VALUE_BYTES, Batch, Key, KVBatch, Pieces, Puts, buffer_of, condition, key_bytes
from pydaos._kv_calls import KVCalls, KVEntry, KVPage, KVStat
from pydaos._kv_schema import KVField, KVSchema
from pydaos._proto.daos.kv.v1 import kv_service_pb2 as pb

if TYPE_CHECKING:
    import pyarrow as pa

    from pydaos._client import Client

__all__ = ["KV", "KVEntry", "KVPage", "KVStat", "open_kv"]

T = TypeVar("T")


class KV(KVCalls):
    """A KV dataset, or its frozen state at a snapshot: a mapping from bytes to bytes.

    Keys have 1 to 1024 bytes and are listed in byte order; text stands for its UTF-8.
    Values have up to 1 GiB: bytes, text, anything with a buffer (numpy arrays), or, where
    the dataset has a schema, a dict of its fields. Each change is durable when its call
    returns, and is carried out once, however often it had to be sent.

    A key may have more than one value, told apart by `akey` (DAOS's second key). The
    mapping is that of the default akey ``b""``.

    Examples
    --------
    >>> runs = client.kv("p/runs", create=True)
    >>> runs["lr"] = "0.1"
    >>> runs["lr"]
    b'0.1'
    >>> runs.add("steps", 100)
    100
    >>> runs.put_many({"a/loss": "0.5", "a/acc": "0.9"})
    >>> list(runs.items(prefix="a/"))
    [(b'a/acc', b'0.9'), (b'a/loss', b'0.5')]
    """

    # Mapping.

    def __getitem__(self, key: Key) -> bytes:  # type: ignore[override]
        """Return a value; NotFoundError, which is a KeyError, if there is none."""
        return self.entry(key).value

    def __setitem__(self, key: Key, value: Any) -> None:
        """Set a value."""
        self.put(key, value)

    def __delitem__(self, key: Key) -> None:
        """Remove a value; NotFoundError, which is a KeyError, if there is none."""
        op = self._op(pb.OP_KIND_DELETE, key, b"")
        op.when = pb.WHEN_PRESENT
        self._apply([op], b"")

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, (str, bytes, bytearray, memoryview)):
            return False
        return self.stat_value(key) is not None

    def __iter__(self) -> Iterator[bytes]:  # type: ignore[override]
        """Iterate over the keys in order."""
        return self.keys()

    def __len__(self) -> int:
        """Count the pairs, in a pass over all keys."""
        request = pb.DescribeRequest(dataset=self.address, count=True)
        return int(self.client.call("kv.Describe", request, pb.DescribeResponse).pairs)

    def get(self, key: Key, default: T | None = None, *, akey: Key = b"") -> bytes | T | None:
        """Return a value, or `default` if there is none."""
        found = next(self._get_many([(key_bytes(key), key_bytes(akey))]))
        return default if found is None else found.value

    def entry(self, key: Key, *, akey: Key = b"") -> KVEntry:
        """Return a value with its version; NotFoundError, which is a KeyError, if there is none."""
        found = next(self._get_many([(key_bytes(key), key_bytes(akey))]))
        if found is None:
            raise self._missing(key)
        return found

    def stat_value(self, key: Key, *, akey: Key = b"") -> KVStat | None:
        """Return size and version of a value; None if there is none."""
        request = pb.GetRequest(dataset=self.address, stat=True)
        request.names.add(key=key_bytes(key), akey=key_bytes(akey))
        reply = self.client.call("kv.Get", request, pb.GetResponse)
        return KVStat(reply.sizes[0] - 1, reply.versions[0]) if reply.sizes[0] else None

    def _missing(self, key: Key) -> errors.NotFoundError:
        shown = key if isinstance(key, str) else key_bytes(key)
        return errors.NotFoundError(f"{self.address}: there is no key {shown!r}", op="kv.get", resource=self.address)

    # Changes.

    def put(
        self,
        key: Key,
        value: Any,
        *,
        akey: Key = b"",
        if_absent: bool = False,
        if_present: bool = False,
        if_version: int | None = None,
    ) -> int:
        """Set a value and return its version.

        Parameters
        ----------
        key, akey
            Its name.
        value
            Bytes, text, anything with a buffer, a dict of the schema's fields, or a file
            opened for reading in binary mode.
        if_absent
            ExistsError if there is a value.
        if_present
            NotFoundError if there is none.
        if_version
            ConflictError unless this is the version of the value.
        """
        when, version = condition(if_absent, if_present, if_version)
        if hasattr(value, "read"):
            return self._stream(key, akey, Pieces(file=value), when, version)
        data = self._value(key, value)
        if data.nbytes > VALUE_BYTES:
            return self._stream(key, akey, Pieces(data=data), when, version)
        op = self._op(pb.OP_KIND_PUT, key, akey)
        op.size, op.when, op.version = data.nbytes, when, version
        return int(self._apply([op], data).changed.epoch)

    def update(self, key: Key, value: Any, *, akey: Key = b"", if_version: int | None = None) -> int:
        """Replace a value that is there, and return its version; NotFoundError if there is none.

        With `if_version`, ConflictError unless this is its version: read, decide, write.

        Examples
        --------
        >>> runs["best"] = "0.9"
        >>> best = runs.entry("best")
        >>> runs.update("best", "0.93", if_version=best.version) > best.version
        True
        """
        return self.put(key, value, akey=akey, if_present=True, if_version=if_version)

    def put_many(self, pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]], *, akey: Key = b"") -> None:
        """Set many values, in requests of up to 8192 pairs and 8 MiB, each of which is atomic."""
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        second = key_bytes(akey)
        batches: list[tuple[pb.ApplyRequest, Any]] = []
        batch = Puts()
        held = 0
        for key, value in items:
            data = self._value(key, value)
            if data.nbytes > VALUE_BYTES:
                # What came before it goes first: it may be of the same key.
                self._send([*batches, *([batch.request(self.address, second)] if batch.keys else [])])
                batches, batch, held = [], Puts(), 0
                self.put(key, data, akey=akey)
                continue
            name = key_bytes(key)
            if not batch.fits(len(name), data.nbytes):
                batches.append(batch.request(self.address, second))
                held += batch.bytes
                batch = Puts()
                if held >= 4 * VALUE_BYTES or len(batches) == 16:
                    self._send(batches)
                    batches, held = [], 0
            batch.add(name, data)
        if batch.keys:
            batches.append(batch.request(self.address, second))
        self._send(batches)

    def delete(self, key: Key, *, akey: Key = b"", if_version: int | None = None) -> bool:
        """Remove a value; returns whether there was one."""
        op = self._op(pb.OP_KIND_DELETE, key, akey)
        op.when, op.version = condition(False, False, if_version)
        return bool(self._apply([op], b"").results[0].removed)

    def delete_many(self, keys: Iterable[Key], *, all_akeys: bool = False) -> int:
        """Remove many values, of all akeys if wanted; returns how many there were."""
        kind = pb.OP_KIND_DELETE_KEY if all_akeys else pb.OP_KIND_DELETE
        removed = 0
        batch = Batch(self)
        for key in keys:
            op = self._op(kind, key, b"")
            if not batch.fits(len(op.key), 0):
                removed += batch.apply().removed
                batch = Batch(self)
            batch.add(op, b"")
        return removed + (batch.apply().removed if batch.ops else 0)

    def pop(self, key: Key, *default: T) -> bytes | T:
        """Remove a value and return it; without a default NotFoundError if there is none."""
        while True:
            found = next(self._get_many([(key_bytes(key), b"")]))
            if found is None:
                if default:
                    return default[0]
                raise self._missing(key)
            try:
                self.delete(key, if_version=found.version)
            except (errors.ConflictError, errors.NotFoundError):
                continue  # changed, or taken, meanwhile
            return found.value

    def setdefault(self, key: Key, value: Any = b"") -> bytes:
        """Set a value if there is none, and return what is there then."""
        try:
            self.put(key, value, if_absent=True)
        except errors.ExistsError:
            pass
        return self.entry(key).value

    def add(self, key: Key, number: int = 1, *, akey: Key = b"") -> int:
        """Add to a counter on the server, and return the sum.

        A counter is a decimal integer of 64 bits (``b"42"``); one that is not there is 0.
        InvalidError if the value is something else, or the sum does not fit.
        """
        op = self._op(pb.OP_KIND_ADD, key, akey)
        op.number = number
        return int(self._apply([op], b"").results[0].number)

    def append(self, key: Key, value: Any, *, akey: Key = b"") -> int:  # type: ignore[override]
        """Append bytes to a value on the server, and return its new size in bytes."""
        data = buffer_of(value)
        op = self._op(pb.OP_KIND_APPEND, key, akey)
        op.size = data.nbytes
        return int(self._apply([op], data).results[0].size)

    def batch(self) -> KVBatch:
        """Collect changes of any kind, to be carried out in one atomic step.

        Examples
        --------
        >>> with runs.batch() as b:
        ...     b.put("state", "done")
        ...     b.add("finished", 1)
        ...     b.delete("lock")
        >>> b.version > 0
        True
        """
        return KVBatch(self)

    # Reading.

    def multi_get(self, keys: Iterable[Key], *, akey: Key = b"") -> list[bytes | None]:
        """Return values in the order of their keys, all of one state; None where there is none."""
        second = key_bytes(akey)
        found = self._get_many([(key_bytes(k), second) for k in keys])
        return [None if e is None else e.value for e in found]

    def entries(
        self,
        *,
        prefix: Key = b"",
        start: Key = b"",
        stop: Key = b"",
        reverse: bool = False,
        values: bool = True,
        limit: int | None = None,
    ) -> Iterator[KVEntry]:
        """Iterate over pairs in the byte order of their keys, all of one state.

        Parameters
        ----------
        prefix
            Only keys that begin so.
        start, stop
            Only keys from start (inclusive) to stop (exclusive).
        reverse
            In falling order.
        values
            Whether values are read too; without, they are ``b""``.
        limit
            At most so many.
        """
        request = self._listing(prefix, start, stop, reverse, values)
        request.limit = min(limit, OPS) if limit is not None and limit > 0 else OPS
        left = -1 if limit is None else limit
        while left != 0:
            reply, pairs = self._page(request)
            for e in pairs:
                yield e
                left -= 1
                if left == 0:
                    return
            if not reply.anchor:
                return
            request.anchor, request.epoch = reply.anchor, reply.epoch

    def page(
        self,
        *,
        prefix: Key = b"",
        start: Key = b"",
        stop: Key = b"",
        reverse: bool = False,
        values: bool = True,
        limit: int = OPS,
        anchor: bytes = b"",
    ) -> KVPage:
        """Return a part of what `entries` gives, and an anchor to go on from.

        An anchor is good in any process, also after a restart of the server, for the same range and
        direction. All pages are of the state of the first one. Of a live dataset that is kept for
        ten minutes after each page, EpochGoneError then; of a snapshot as long as that is there.

        Parameters
        ----------
        prefix, start, stop, reverse, values
            As for `entries`.
        limit
            At most so many pairs, 1 to 8192; there are fewer where their values have more than 8 MiB.
        anchor
            That of the page before.

        Examples
        --------
        >>> runs.put_many({f"a/{i}": "x" for i in range(5)})
        >>> page = runs.page(prefix="a/", limit=3, reverse=True)
        >>> [e.key for e in page.entries]
        [b'a/loss', b'a/acc', b'a/4']
        >>> len(runs.page(prefix="a/", reverse=True, anchor=page.anchor).entries)
        4
        """
        request = self._listing(prefix, start, stop, reverse, values)
        if not 1 <= limit <= OPS:
            raise errors.InvalidError(f"a page of {limit} pairs", resolution=f"ask for 1 to {OPS}")
        request.limit, request.anchor = limit, anchor
        reply, pairs = self._page(request)
        return KVPage(list(pairs), reply.anchor)

    def _listing(self, prefix: Key, start: Key, stop: Key, reverse: bool, values: bool) -> pb.ListRequest:
        return pb.ListRequest(
            dataset=self.address,
            prefix=key_bytes(prefix),
            start=key_bytes(start),
            stop=key_bytes(stop),
            reverse=reverse,
            values=values,
            bytes=VALUE_BYTES,
        )

    def _page(self, request: pb.ListRequest) -> tuple[pb.ListResponse, Iterator[KVEntry]]:
        reply, payload = self.client.call_payload("kv.List", request, pb.ListResponse)
        return reply, self._pairs(reply, memoryview(payload or b""), request.values)

    def _pairs(self, reply: pb.ListResponse, view: memoryview, values: bool) -> Iterator[KVEntry]:
        at = 0
        for p in reply.pairs:
            if p.large:
                value = self._read_large(p.key, p.akey, reply.epoch)
            elif values:
                value = bytes(view[at : at + p.size])
                at += p.size
            else:
                value = b""
            yield KVEntry(p.key, p.akey, value, p.version, p.size)

    def items(
        self, *, prefix: Key = b"", start: Key = b"", stop: Key = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over keys and values of the default akey, in the byte order of the keys."""
        for e in self.entries(prefix=prefix, start=start, stop=stop, reverse=reverse):
            if not e.akey:
                yield e.key, e.value

    def keys(self, *, prefix: Key = b"", start: Key = b"", stop: Key = b"", reverse: bool = False) -> Iterator[bytes]:
        """Iterate over the keys that have a value of the default akey, in byte order."""
        for e in self.entries(prefix=prefix, start=start, stop=stop, reverse=reverse, values=False):
            if not e.akey:
                yield e.key

    def values(self, *, prefix: Key = b"") -> Iterator[bytes]:
        """Iterate over the values of the default akey, in the byte order of their keys."""
        for _, value in self.items(prefix=prefix):
            yield value

    def read(self, key: Key, offset: int = 0, length: int | None = None, *, akey: Key = b"") -> bytes:  # type: ignore[override]
        """Read a part of a value; past its end there is nothing."""
        if length == 0:
            return b""
        return self._read_large(key_bytes(key), key_bytes(akey), 0, offset, length or 0)

    # Fields of values.

    def define(
        self,
        fields: Mapping[str, Any] | Sequence[KVField] | np.dtype[Any] | pa.Schema | pa.StructType,
        *,
        encoding: str = "json",
    ) -> None:
        """Declare the fields of the values of an empty dataset; values that do not fit are refused from then on.

        Parameters
        ----------
        fields
            Types by name: numpy's names or dtypes, ``"string"``, ``"bytes"``; a ``?`` behind
            allows null. Or a structured numpy dtype without padding, or an Arrow struct:
            ``pa.schema(...)``, ``pa.struct(...)``, whose fields say whether they may be null.
        encoding
            ``"json"``: values are JSON objects. ``"struct"``: the fields packed one behind
            the other, as in a structured numpy dtype.

        Examples
        --------
        >>> metrics = client.create_dataset("p/metrics", type="kv")
        >>> metrics.define({"loss": "float64", "step": "int64", "note": "string?"})
        >>> metrics["run1"] = {"loss": 0.5, "step": 10}
        >>> metrics.record("run1")
        {'loss': 0.5, 'step': 10, 'note': None}
        """
        schema = KVSchema.of(fields, encoding)
        request = pb.DefineRequest(dataset=self.address, schema=schema.to_proto())
        self.client.call("kv.Define", request, pb.DefineResponse)
        self._schema = schema

    def record(self, key: Key, *, akey: Key = b"") -> dict[str, Any]:
        """Return a value as a dict of its fields."""
        value = self.entry(key, akey=akey).value
        return self._known_schema().unpack(value)

    def records(self, *, prefix: Key = b"") -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Iterate over keys and values as dicts of their fields."""
        schema = self._known_schema()
        for key, value in self.items(prefix=prefix):
            yield key, schema.unpack(value)

    def __repr__(self) -> str:
        return f"<pydaos.KV {self.address}>"


def open_kv(client: Client, address: str, *, create: bool = False) -> KV:
    """Return a KV dataset, made if it is missing and `create` is set."""
    try:
        found = client.create_dataset(address, type="kv", exist_ok=True) if create else client.dataset(address)
    except errors.ExistsError:
        found = client.dataset(address)  # of another type
    if not isinstance(found, KV):
        raise errors.InvalidError(
            f"{address}: it is a dataset of type {found.type}, not kv",
            resource=address,
            resolution=f"open it with client.dataset({address!r}), or name another for pairs",
        )
    return found
