"""Manifests and batches: what sample *i* of a snapshot is, and its bytes.

A manifest lives on the server; here it is a small value that pickles. Its handle
belongs to one process of the server: after a restart the manifest is opened again,
and must then have the same id, so that sample *i* is what it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos import _process
from pydaos._feed import MAX_BATCH, MAX_PIPELINED, BatchMeta, Buffer, Expected, FeedConnection, Part, expect
from pydaos._places import NoDescriptorsError
from pydaos._proto.daos.loader.v1 import loader_service_pb2 as lpb
from pydaos._proto.daos.tensor.v1 import tensor_service_pb2 as tpb
from pydaos._retry import Patience

if TYPE_CHECKING:
    from pydaos._client import Client

FIXED, RAGGED, BYTES, STRING = (
    tpb.LAYOUT_FIXED,
    tpb.LAYOUT_RAGGED,
    tpb.LAYOUT_BYTES,
    tpb.LAYOUT_STRING,
)


# Numbers of samples for which a pipe remembers what a batch looks like.
MAX_EXPECTED = 64

# Bytes of requests sent ahead of their answers, well below a socket's send buffer.
MAX_UNDER_WAY = 64 << 10


class Column(NamedTuple):
    """A column of a batch or of a tensor dataset.

    `layout` is FIXED, RAGGED, BYTES or STRING; `dtype` that of an element; `shape` that
    of one sample, for FIXED.
    """

    name: str
    layout: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    nullable: bool = False
    chunk_samples: int = 0

    @classmethod
    def from_proto(cls, column: tpb.Column) -> Column:
        """Make it from its message."""
        return cls(
            column.name,
            int(column.layout),
            np.dtype(column.dtype or "uint8"),
            tuple(int(n) for n in column.shape),
            column.nullable,
            column.chunk_samples,
        )

    def to_proto(self) -> tpb.Column:
        """Make its message."""
        return tpb.Column(
            name=self.name,
            layout=self.layout,  # type: ignore[arg-type]
            dtype=self.dtype.name,
            shape=self.shape,
            nullable=self.nullable,
            chunk_samples=self.chunk_samples,
        )


class Manifest:
    """What the samples of a pinned dataset are; made by `Client.open_manifest`.

    Attributes
    ----------
    id
        Hex digest of the content: the same for the same samples in the same order.
    handle
        Number for batch requests, good until the server ends.
    samples
        Number of samples.
    columns
        Columns of a batch, a tuple of `Column`. Files have one, ``"data"``.
    dataset, snapshot, epoch
        What it describes.
    classes
        Class names in order of their label, with `label_dirname`.
    class_sizes
        Samples of each class, which are contiguous.
    bytes, max_sample_bytes
        Size of all samples, and of the largest one.
    symlinks_skipped
        Symbolic links that were left out.
    view, view_revision, where
        The view and the condition that it is of, empty without them.
    classes_scattered
        A view in an order of its own has its classes in no stretches, and no `class_sizes`.
    path
        Below which the samples lie.
    built
        Whether this call built it.
    """

    def __init__(self, message: lpb.Manifest, request: lpb.OpenManifestRequest) -> None:
        self._request = request
        self._assign(message)

    def _assign(self, m: lpb.Manifest) -> None:
        self.id = m.id
        self.handle = m.handle
        self.samples = int(m.samples)
        self.columns = tuple(Column.from_proto(c) for c in m.columns)
        self.dataset = m.dataset
        self.snapshot = m.snapshot
        self.epoch = int(m.epoch)
        self.classes = tuple(m.classes)
        self.class_sizes = tuple(int(n) for n in m.class_sizes)
        self.bytes = int(m.bytes)
        self.max_sample_bytes = int(m.max_sample_bytes)
        self.symlinks_skipped = int(m.symlinks_skipped)
        self.view = m.view
        self.view_revision = int(m.view_revision)
        self.where = m.where
        self.classes_scattered = m.classes_scattered
        self.path = m.path
        self.built = m.built

    def reopen(self, client: Client) -> None:
        """Get a new handle after a restart of the server."""
        again = open_manifest(client, self._request, None)
        if again.id != self.id and self.view:
            raise errors.StaleError(
                f"{self.dataset}: view {self.view!r} is at revision {again.view_revision} now, its manifest "
                f"is {again.id}; what is read is revision {self.view_revision}, {self.id}",
                resource=self.dataset,
                resolution="the view was refreshed or replaced; start the pass anew",
            )
        if again.id != self.id:
            raise errors.StaleError(
                f"{self._request.dataset}: the manifest is {again.id} now and was {self.id}",
                resource=self._request.dataset,
                resolution="the snapshot was made anew; start the pass anew",
            )
        self.handle = again.handle

    def __len__(self) -> int:
        return self.samples

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_request"] = self._request.SerializeToString()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._request = lpb.OpenManifestRequest.FromString(state["_request"])

    def __repr__(self) -> str:
        return f"<pydaos.Manifest {self.dataset}@{self.snapshot}: {self.samples} samples, {self.id[:12]}>"


def open_manifest(client: Client, request: lpb.OpenManifestRequest, progress: Callable[[int], None] | None) -> Manifest:
    """Open or build a manifest; see `Client.open_manifest`."""
    patience = Patience(client._pool.retry)
    while True:
        try:
            for reply, _ in client.stream("loader.OpenManifest", request, lpb.OpenManifestResponse):
                if reply.HasField("manifest"):
                    return Manifest(reply.manifest, request)
                if progress is not None:
                    progress(int(reply.entries))
        except (errors.UnreachableError, errors.OverloadedError) as e:
            patience.wait(e)
        else:
            raise errors.InternalError(f"{request.dataset}: the server sent no manifest", resource=request.dataset)


def sample_paths(client: Client, manifest: Manifest, indices: Iterable[int]) -> list[bytes]:
    """Return paths of samples, in pages that one answer can hold."""
    wanted = [int(i) for i in indices]
    paths: list[bytes] = []
    for at in range(0, len(wanted), 4096):
        page = wanted[at : at + 4096]
        for attempt in (0, 1):
            request = lpb.SamplesRequest(handle=manifest.handle, indices=page)
            try:
                paths.extend(client.call("loader.Samples", request, lpb.SamplesResponse).paths)
                break
            except errors.StaleError:
                if attempt:
                    raise
                manifest.reopen(client)
    return paths


class BatchPipe:
    """Batches over one connection: requests go ahead, answers come in the order asked.

    For one thread at a time. A lost connection or a restarted server costs time, never a
    batch: what is unanswered is asked for again. In a forked child a pipe starts empty.

    Examples
    --------
    >>> manifest = client.open_manifest("p/photos@v1")
    >>> order = np.random.default_rng(0).permutation(64).astype(np.uint64)
    >>> with client.open_pipe(manifest) as pipe:
    ...     pipe.send_batch(order[0:32])
    ...     pipe.send_batch(order[32:64])
    ...     meta, data = pipe.recv_batch()
    ...     meta, data = pipe.recv_batch()
    >>> meta.samples
    32
    """

    def __init__(self, client: Client, manifest: Manifest) -> None:
        self._client = client
        self._manifest = manifest
        self._forks = _process.forks
        self._conn: FeedConnection | None = None
        # Requests in order, as little-endian indices; the id is None while a request has not
        # been sent on `_conn`.
        self._waiting: deque[tuple[bytes, int | None]] = deque()
        # What a batch looks like, by its number of samples.
        self._expected: dict[int, Expected | None] = {}
        #: How often the server was lost, and everything unanswered asked for again.
        self.lost = 0

    def __len__(self) -> int:
        """Return the number of requests without an answer."""
        return len(self._waiting)

    def send_batch(self, indices: npt.NDArray[np.uint64]) -> None:
        """Ask for samples; at most 16 requests may wait for their answers."""
        wanted = np.ascontiguousarray(indices, dtype="<u8")
        if wanted.ndim != 1:
            raise errors.InvalidError(
                f"a batch has indices in one dimension, not shape {wanted.shape}", resource=self._manifest.dataset
            )
        self.send(wanted.tobytes())

    def send(self, wanted: bytes) -> None:
        """Ask for samples as `send_batch`, by little-endian indices of 8 bytes each."""
        if self._forks != _process.forks:
            self._own()
        if not 8 <= len(wanted) <= 8 * MAX_BATCH:
            raise errors.InvalidError(
                f"a batch has 1 to {MAX_BATCH} indices, not {len(wanted) // 8}",
                resource=self._manifest.dataset,
                resolution=f"take a batch_size of at most {MAX_BATCH}",
            )
        if len(self._waiting) >= MAX_PIPELINED:
            raise errors.InvalidError(
                f"{MAX_PIPELINED} batches are waiting to be received", resource=self._manifest.dataset
            )
        if not self._waiting and self._conn is not None:  # mostly, without read-ahead
            try:
                self._waiting.append((wanted, self._conn.send_batch(self._manifest.handle, wanted)))
            except errors.UnreachableError:
                self._waiting.append((wanted, None))
                self._drop()
            return
        self._waiting.append((wanted, None))
        try:
            self._push()
        except errors.UnreachableError:
            self._drop()  # recv_batch asks for all of them again

    def readable(self) -> bool:
        """Whether the oldest answer has begun to arrive, so that `recv_batch` will not wait for the server."""
        conn = self._conn
        return (
            conn is not None
            and self._forks == _process.forks
            and bool(self._waiting)
            and self._waiting[0][1] is not None
            and conn.readable()
        )

    def expected(self) -> Expected | None:
        """Return what the oldest unanswered batch will look like, if that is known."""
        return self._expected.get(len(self._waiting[0][0]) >> 3) if self._waiting else None

    def recv_batch(
        self,
        alloc: Callable[[int], Buffer] | None = None,
        room: Buffer | None = None,
    ) -> tuple[BatchMeta, Buffer]:
        """Receive the oldest unanswered batch.

        `alloc` as in `Client.fetch_batch`. `room` is a buffer of `expected().size` bytes: a batch
        that is as expected is received into it, and `alloc` is not called.
        """
        if self._forks != _process.forks:
            self._own()
        if not self._waiting:
            raise errors.InvalidError("no batch was asked for", resource=self._manifest.dataset)
        patience: Patience | None = None
        stale = 0
        while True:
            try:
                wanted, call_id = self._waiting[0]
                conn = self._conn
                if conn is None or call_id is None or len(self._waiting) > 1:
                    conn = self._push()
                    wanted, call_id = self._waiting[0]
                assert call_id is not None
                count = len(wanted) >> 3
                hope = self._expected.get(count)
                if hope is not None and room is None:
                    room = (alloc or _empty)(hope.size)
                answer = conn.recv_batch(call_id, alloc or _empty, hope, room)
            except NoDescriptorsError:
                self._drop()
                self._client._pool.without_files()
            except (errors.UnreachableError, errors.OverloadedError) as e:
                self._drop()
                self.lost += 1
                if patience is None:
                    patience = Patience(self._client._pool.retry)
                patience.wait(e)
            except errors.StaleError:
                self._drop()
                stale += 1
                if stale > 3:
                    raise
                self._manifest.reopen(self._client)
            except errors.DaosError:
                # An answer all the same, if the connection is whole: the error belongs to this batch.
                if self._conn is not None and not self._conn.broken:
                    self._waiting.popleft()
                else:
                    self._drop()
                raise
            except BaseException:
                # Interrupted, or no memory: what the connection is in the middle of is unknown.
                self._drop()
                raise
            else:
                self._waiting.popleft()
                if hope is None and count not in self._expected and len(self._expected) < MAX_EXPECTED:
                    self._expected[count] = expect(conn.last_meta, answer[0], len(answer[1]))
                return answer

    def close(self) -> None:
        """Give the connection back; unanswered requests are forgotten."""
        if self._forks == _process.forks and self._conn is not None:
            if self._waiting:
                self._conn.broken = True
            self._client._pool.release(self._conn)
        self._conn = None
        self._waiting.clear()

    def __del__(self) -> None:
        # Left open, as by a loader that nobody closed. An inherited connection is kept.
        try:
            if self._conn is not None:
                if self._forks == _process.forks:
                    self.close()
                else:
                    self._own()
        except (AttributeError, TypeError):
            pass  # half made, or the interpreter is going down

    def __enter__(self) -> BatchPipe:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _own(self) -> None:
        if self._conn is not None:
            self._client._pool.release(self._conn)  # keeps it, unused
        self._forks, self._conn = _process.forks, None
        self._waiting.clear()

    def _push(self) -> FeedConnection:
        """Send what may be sent: the oldest request, and others while they are small.

        Small, because the server may be writing an answer that nobody reads yet: requests
        must fit into the socket's buffer, or both sides would wait for each other.
        """
        if self._conn is None:
            self._conn = self._client._pool.acquire()
        under_way = 0
        for i, (wanted, call_id) in enumerate(self._waiting):
            under_way += len(wanted) + 128
            if i and under_way > MAX_UNDER_WAY:
                break
            if call_id is None:
                self._waiting[i] = (wanted, self._conn.send_batch(self._manifest.handle, wanted))
        return self._conn

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.broken = True
            self._client._pool.release(self._conn)
            self._conn = None
            self._client._pool.drop_idle()
        for i, (wanted, _) in enumerate(self._waiting):
            self._waiting[i] = (wanted, None)


def _empty(size: int) -> npt.NDArray[np.uint8]:
    return np.empty(size, np.uint8)


def part_values(part: Part, column: Column, count: int, payload: Buffer) -> npt.NDArray[Any]:
    """Return the values of a column as an array over the payload, without a copy.

    FIXED: shape ``(count, *column.shape)``; else one flat array of elements.
    """
    flat = np.frombuffer(payload, np.uint8)[part.data_offset : part.data_offset + part.data_len].view(column.dtype)
    return flat.reshape(count, *column.shape) if part.layout == FIXED else flat


def part_offsets(part: Part, count: int, payload: Buffer) -> npt.NDArray[np.uint64]:
    """Return the ``count + 1`` byte offsets of a column that is not FIXED, without a copy."""
    raw = np.frombuffer(payload, np.uint8)[part.offsets_offset : part.offsets_offset + 8 * (count + 1)]
    return raw.view("<u8")


def part_validity(part: Part, count: int, payload: Buffer) -> npt.NDArray[np.bool_] | None:
    """Return which samples have a value, or None where all have."""
    if not part.nulls:
        return None
    raw = np.frombuffer(payload, np.uint8)[part.validity_offset : part.validity_offset + count]
    return raw.view(np.bool_)
