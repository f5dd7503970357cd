"""What a KV dataset asks of the server: changes in batches, many values, large ones as streams.

`KVCalls` has the requests and how they are cut; `_kv.KV` is the mapping made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydaos import _errors as errors
from pydaos._dataset import Dataset
from pydaos._kv_batch import KEY_BYTES, OPS, Key, Pieces, buffer_of, key_bytes
from pydaos._kv_schema import KVSchema
from pydaos._proto.daos.common.v1 import common_pb2 as common
from pydaos._proto.daos.kv.v1 import kv_service_pb2 as pb
from pydaos._retry import Patience, new_request_id

# What one answer is asked to have.
ANSWER_BYTES = 16 << 20


class KVEntry(NamedTuple):
    """A pair: `version` is the epoch that wrote the value, which has `size` bytes."""

    key: bytes
    akey: bytes
    value: bytes
    version: int
    size: int


class KVPage(NamedTuple):
    """Pairs of a listing, and the anchor to go on from; ``b""`` where the range is at its end."""

    entries: list[KVEntry]
    anchor: bytes


class KVStat(NamedTuple):
    """The size of a value in bytes, and its version."""

    size: int
    version: int


class KVCalls(Dataset):
    """The requests of a KV dataset."""

    # The schema once it is known; it never changes afterwards.
    _schema: KVSchema | None = None

    @property
    def schema(self) -> KVSchema | None:
        """What fields the values have; None if none were declared."""
        if self._schema is None:
            reply = self.client.call("kv.Describe", pb.DescribeRequest(dataset=self.address), pb.DescribeResponse)
            if reply.HasField("schema"):
                self._schema = KVSchema.from_proto(reply.schema)
        return self._schema

    def _known_schema(self) -> KVSchema:
        schema = self.schema
        if schema is None:
            raise errors.InvalidError(
                f"{self.address}: no fields are declared for its values",
                resource=self.address,
                resolution="declare them with define() while the dataset is empty",
            )
        return schema

    def _op(self, kind: pb.OpKind, key: Key, akey: Key) -> pb.Op:
        return pb.Op(kind=kind, key=key_bytes(key), akey=key_bytes(akey))

    def _value(self, key: Key, value: Any) -> memoryview:
        if isinstance(value, Mapping):
            return memoryview(self._known_schema().pack(value))
        return buffer_of(value)

    def _apply(self, ops: Sequence[pb.Op], payload: Any) -> pb.ApplyResponse:
        request = pb.ApplyRequest(dataset=self.address, ops=ops)
        return self.client.call("kv.Apply", request, pb.ApplyResponse, payload)

    def _send(self, batches: list[tuple[pb.ApplyRequest, Any]]) -> None:
        if not batches:
            return
        for answer in self.client.call_many("kv.Apply", batches, pb.ApplyResponse):
            if isinstance(answer, errors.DaosError):
                raise answer

    def _get_many(self, names: Sequence[tuple[bytes, bytes]]) -> Iterator[KVEntry | None]:
        at, epoch = 0, 0
        while at < len(names):
            request = pb.GetRequest(dataset=self.address, epoch=epoch, bytes=ANSWER_BYTES)
            room = KEY_BYTES
            plain = not names[at][1]
            for key, akey in names[at : at + OPS]:
                if room < len(key) + len(akey) and room < KEY_BYTES:
                    break
                room -= len(key) + len(akey) + 8
                if akey:
                    request.names.add(key=key, akey=akey)
                    plain = False
                elif plain:
                    request.keys.append(key)
                else:
                    request.names.add(key=key)
            reply, payload = self.client.call_payload("kv.Get", request, pb.GetResponse)
            epoch = reply.epoch
            view = memoryview(payload or b"")
            pos = 0
            for i in range(reply.served):
                key, akey = names[at + i]
                size = reply.sizes[i] - 1
                if size < 0:
                    yield None
                    continue
                yield KVEntry(key, akey, bytes(view[pos : pos + size]), reply.versions[i], size)
                pos += size
            if reply.served == 0:
                key, akey = names[at]
                size = reply.sizes[0] - 1
                yield KVEntry(key, akey, self._read_large(key, akey, epoch), reply.versions[0], size)
                at += 1
            at += reply.served

    def _read_large(self, key: bytes, akey: bytes, epoch: int, offset: int = 0, length: int = 0) -> bytes:
        """Read a value piece by piece; on from the last piece if the connection is lost."""
        patience = Patience(self.client._pool.retry)
        pieces: list[Any] = []
        got, want = 0, length
        while True:
            request = pb.ReadRequest(
                dataset=self.address,
                key=key,
                akey=akey,
                offset=offset + got,
                length=want - got if want else 0,
                epoch=epoch,
            )
            try:
                for reply, payload in self.client.stream("kv.Read", request, pb.ReadResponse):
                    epoch = reply.epoch
                    end = max(reply.size - offset, 0)
                    want = min(want, end) if want else end
                    if payload:
                        pieces.append(payload)
                        got += len(payload)
                return pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else b"".join(pieces)
            except errors.UnreachableError as e:
                if want and got == want:
                    return b"".join(pieces)
                patience.wait(e)

    def _stream(self, key: Key, akey: Key, value: Pieces, when: pb.When, version: int) -> int:
        mutation = common.Mutation(request_id=new_request_id())
        name, second = key_bytes(key), key_bytes(akey)

        def messages() -> Iterator[tuple[pb.PutRequest, Any]]:
            head = pb.PutRequest(
                dataset=self.address, key=name, akey=second, when=when, version=version, mutation=mutation
            )
            for piece in value.again():
                yield head, piece
                head = pb.PutRequest()

        deadline = self.client._pool.patient(value.size)
        return int(self.client.upload("kv.Put", messages, pb.PutResponse, timeout=deadline).changed.epoch)
