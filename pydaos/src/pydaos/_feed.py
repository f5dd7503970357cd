"""One connection of the feed: frames out, frames in (docs/protocol.md, "Feed").

The bottom of the client. A connection knows nothing of retries, pools of
connections or processes: whoever owns it gives it to one thread at a time and
drops it after any failure but a STATUS frame (`broken` says so).

Bytes go from the socket straight into the caller's memory: a reply costs one
receive for its header and one for its meta part and payload together, and a batch
whose size is known beforehand one for everything, if it is all there. Deadlines
are the socket's own (SO_RCVTIMEO), so that waiting needs no extra system call. Large
answers of a server on the same machine may lie in its files instead (`_places`): they
are read from there, by the same calls.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from pydaos import _errors as errors
from pydaos import _places as places
from pydaos._places import Places
from pydaos._proto.daos.feed.v1 import feed_pb2 as feed
from pydaos._version import __version__

# What may be sent or filled: anything with the buffer protocol.
Buffer = Any

MAGIC = b"DFD1"
HEADER = struct.Struct("<4sBBHQIIQQ24x")
# A BATCH frame up to its indices: header, BatchRequest and its padding.
BATCH_HEAD = struct.Struct("<4sBBHQIIQQ24xQII16x32x")
BATCH_META = struct.Struct("<IIII48x")
BATCH_COLUMN = struct.Struct("<BBHIQQQQ24x")

HELLO, HELLO_REPLY, CALL, MESSAGE, REPLY, STATUS, CANCEL, BATCH, BATCH_REPLY, CREDIT, GOAWAY = range(1, 12)
MORE = 1
FILES = 4

# The layout of a column whose samples have all as many bytes (tensor.v1.Layout).
FIXED = 1

MAX_META = 64 << 20
MAX_PAYLOAD = (1 << 30) + (1 << 20)
MAX_BATCH = 65536
# Requests sent ahead of their answers; beyond it the server stops reading.
MAX_PIPELINED = 16

# Seconds for which an answer is looked for again and again before waiting asleep, where the
# one before came within that: on an idle machine falling asleep and being woken takes longer
# than the server needs for a small batch. With one processor nobody could answer meanwhile.
SPIN = 120e-6 if len(os.sched_getaffinity(0)) > 1 else 0.0
# The same of answers that are no batches: a durable write takes 200 us, and being woken adds
# half of that.
CALL_SPIN = 400e-6 if SPIN else 0.0
# Who looks again and again lets others have its processor so often. If one of them takes it, for
# so long at least, waiting is done asleep this time; if it keeps it for so long, the processors have
# enough to do, and it is done asleep for `CALM` seconds.
YIELD = 15e-6
SHARED = 8e-6
CROWDED = 500e-6
CALM = 0.1

_NO_META = memoryview(b"")
_TIMEVAL = struct.Struct("@ll")
_MAX_TIMEOUT_MILLIS = 24 * 3600 * 1000


class Frame(NamedTuple):
    """A received frame; `payload` is bytes, or the caller's buffer cut to length."""

    kind: int
    flags: int
    status: int
    id: int
    meta: bytes
    payload: Any


class Part(NamedTuple):
    """Where one column of a batch lies in the payload; sizes and offsets in bytes."""

    layout: int
    nulls: bool
    item_size: int
    data_offset: int
    data_len: int
    offsets_offset: int
    validity_offset: int


class BatchMeta(NamedTuple):
    """Number of samples of a batch, and a `Part` for each of its columns."""

    samples: int
    parts: tuple[Part, ...]


class Expected(NamedTuple):
    """What a batch will look like, as told by an earlier one of as many samples.

    `meta` is the meta part, `size` the bytes of the payload. A batch that turns out
    otherwise is received as one that nobody has expected.
    """

    meta: bytes
    described: BatchMeta
    size: int


def expect(meta: bytes, described: BatchMeta, size: int) -> Expected | None:
    """Return what any batch of as many samples looks like, or None if that depends on the samples."""
    if size and all(p.layout == FIXED and not p.nulls for p in described.parts):
        return Expected(meta, described, size)
    return None


def parse_batch_meta(meta: bytes) -> BatchMeta:
    """Decode the meta part of a BATCH_REPLY frame."""
    if len(meta) < BATCH_META.size:
        raise errors.InternalError("the server sent a batch without a description")
    count, columns, _, _ = BATCH_META.unpack_from(meta)
    if len(meta) < BATCH_META.size + columns * BATCH_COLUMN.size:
        raise errors.InternalError("the server sent a batch with a cut description")
    parts = []
    for i in range(columns):
        layout, nulls, _, item, data, size, offsets, validity = BATCH_COLUMN.unpack_from(
            meta, BATCH_META.size + i * BATCH_COLUMN.size
        )
        parts.append(Part(layout, bool(nulls), item, data, size, offsets, validity))
    return BatchMeta(count, tuple(parts))


# Sockets inherited by a forked child, whose connections it has dropped.
_kept: list[socket.socket] = []


def _let_go(sock: socket.socket, pid: int, files: list[int]) -> None:
    """Close the socket of a connection that nobody has closed, unless it is the parent's."""
    if os.getpid() == pid:
        sock.close()
        places.close_all(files)
    else:
        _kept.append(sock)


class FeedConnection:
    """A connection that has exchanged HELLO.

    Parameters
    ----------
    sock
        A connected stream socket; the connection owns it from now on.
    peer
        The address, for error messages.
    timeout
        Seconds that one answer may take, unless a call says otherwise.
    """

    def __init__(self, sock: socket.socket, peer: str, timeout: float) -> None:
        self.peer = peer
        self.pid = os.getpid()
        # Descriptors that came with a header, until their places are known; and a payload
        # in files that is received in parts.
        self._files: list[int] = []
        self._places: Places | None = None
        # Of a cycle that is collected the socket could be the first to go, with a warning;
        # this comes before.
        weakref.finalize(self, _let_go, sock, self.pid, self._files).atexit = False
        self.broken = False
        self.draining = False
        self.calls = 0
        self.hello = feed.HelloReply()
        self._sock = sock
        self._default_timeout = timeout
        self._timeout = -1.0
        self._next_id = 1
        self._head = bytearray(HEADER.size)
        self._meta = bytearray(4096)
        self._last_meta = b""
        self._last_batch = BatchMeta(0, ())
        # The beginning of an expected reply: header and meta part.
        self._front = memoryview(bytearray(HEADER.size + 128))
        # Whether the last answer was there within `SPIN`, or `CALL_SPIN`.
        self._brisk = False
        # Until when answers are waited for asleep (`CROWDED`).
        self._calm_until = 0.0
        # What was received behind the end of what was wanted.
        self._surplus = b""
        # Bytes for descriptors that come with a header: 0 where none can come.
        self._control = 0
        sock.settimeout(None)
        self._set_timeout(timeout)

    @classmethod
    def open(cls, address: str, token: str = "", timeout: float = 60.0, *, files: bool = True) -> FeedConnection:
        """Connect to ``HOST:PORT`` or ``unix:PATH`` and say HELLO.

        With `files` large answers of a server of this user may lie in its files, which are
        read here.

        Raises
        ------
        UnreachableError
            Nobody answers there.
        UnauthenticatedError
            The token is wrong.
        """
        try:
            sock = dial(address, min(timeout, 10.0))
        except OSError as e:
            raise errors.UnreachableError(
                f"{address}: no server answers: {e.strerror or e}",
                resource=address,
                resolution="start one with `daos serve --root DIR`",
            ) from e
        conn = cls(sock, address, timeout)
        try:
            hello = feed.Hello(version=1, token=token, client=f"pydaos {__version__}", pid=os.getpid())
            if files and address.startswith("unix:"):
                hello.features.extend(("files", "rows"))
            conn._send(HELLO, 0, 0, hello.SerializeToString())
            frame = conn.recv_frame()
            if frame.kind == STATUS:
                raise errors.from_wire(frame.status, frame.meta)
            if frame.kind != HELLO_REPLY:
                raise errors.InternalError(f"{address}: answered HELLO with a frame of kind {frame.kind}")
            conn.hello.ParseFromString(frame.meta)
            if "files" in conn.hello.features:
                conn._control = places.ROOM
        except BaseException:
            conn.close()
            raise
        return conn

    def readable(self) -> bool:
        """Whether something has arrived that was not received yet."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket; a second call does nothing. Never call it in a forked child."""
        self.broken = True
        self._sock.close()
        self._no_files()

    def _no_files(self) -> None:
        """Close what came with the answer that is being received."""
        places.close_all(self._files)
        if self._places is not None:
            self._places.close()
            self._places = None

    # Calls.

    def cut(self) -> None:
        """End the connection under whoever waits for it, from another thread."""
        self.broken = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # gone already

    def unary(
        self,
        method: str,
        message: bytes,
        payload: Buffer | None = None,
        *,
        alloc: Callable[[int], Buffer] | None = None,
        timeout: float | None = None,
    ) -> tuple[bytes, Any]:
        """Call a method that has one answer; returns the encoded message and its payload.

        `alloc` is asked for a buffer of so many bytes, which the payload is received into;
        without it the payload is bytes.
        """
        call_id = self.send_call(method, message, payload, timeout=timeout)
        return self.receive(call_id, alloc)

    def stream(
        self,
        method: str,
        message: bytes,
        *,
        alloc: Callable[[int], Buffer] | None = None,
        timeout: float | None = None,
    ) -> Generator[tuple[bytes, Any], None, None]:
        """Call a method that answers with a stream of messages.

        `timeout` is the longest silence between two of them. Leaving the iterator early
        breaks the connection, which is cheaper than reading what is under way.
        """
        call_id = self.send_call(method, message, timeout=timeout, streaming=True)
        whole = False
        try:
            while True:
                frame = self.recv_frame(alloc)
                self._check(frame, call_id)
                if frame.kind == STATUS:
                    whole = True
                    if frame.status:
                        raise errors.from_wire(frame.status, frame.meta)
                    return
                whole = not frame.flags & MORE
                yield frame.meta, frame.payload
                if whole:
                    return
        finally:
            if not whole:
                self.broken = True

    def send_call(
        self,
        method: str,
        message: bytes,
        payload: Buffer | None = None,
        *,
        more: bool = False,
        timeout: float | None = None,
        streaming: bool = False,
    ) -> int:
        """Send a CALL; returns its id. With `more`, MESSAGE frames are to follow."""
        seconds = self._default_timeout if timeout is None else timeout
        self._set_timeout(seconds)
        millis = _MAX_TIMEOUT_MILLIS if streaming or more else max(1, int(seconds * 1000))
        call = feed.Call(method=method, message=message, timeout_millis=millis, traceparent=traceparent())
        call_id = self._new_id()
        self._send(CALL, MORE if more else 0, call_id, call.SerializeToString(), payload)
        return call_id

    def send_calls(self, method: str, messages: Sequence[bytes]) -> list[int]:
        """Send several CALLs at once, which costs as much as one; returns their ids.

        At most `MAX_PIPELINED` may be unanswered.
        """
        self._set_timeout(self._default_timeout)
        call = feed.Call(
            method=method, timeout_millis=max(1, int(self._default_timeout * 1000)), traceparent=traceparent()
        )
        frames: list[bytes] = []
        ids: list[int] = []
        for message in messages:
            call.message = message
            meta = call.SerializeToString()
            self._check_limits(len(meta), 0)
            ids.append(self._new_id())
            frames += (HEADER.pack(MAGIC, CALL, 0, 0, ids[-1], len(meta), 0, 0, 0), meta, bytes(-len(meta) & 63))
        self._sendall(b"".join(frames))
        return ids

    def send_message(self, call_id: int, message: bytes, payload: Buffer | None = None, *, more: bool) -> None:
        """Send a further message of a client stream; the last one without `more`."""
        self._send(MESSAGE, MORE if more else 0, call_id, message, payload)

    def receive(self, call_id: int, alloc: Callable[[int], Buffer] | None = None) -> tuple[bytes, Any]:
        """Receive the one answer of a call that was sent by `send_call`."""
        frame = self.recv_frame(alloc)
        self._check(frame, call_id)
        if frame.kind == STATUS:
            if frame.status:
                raise errors.from_wire(frame.status, frame.meta)
            return b"", b""
        return frame.meta, frame.payload

    def receive_head(self, call_id: int) -> tuple[bytes, int]:
        """Receive an answer but for its payload; returns the message and the payload's length.

        The payload must follow, by `receive_part`, in as many parts as the caller likes.
        """
        while True:
            self._recv_head()
            magic, kind, flags, status, got_id, meta_len, count, payload_len, _ = HEADER.unpack(self._head)
            if magic != MAGIC or meta_len > MAX_META or payload_len > MAX_PAYLOAD:
                self.broken = True
                raise errors.InternalError(f"{self.peer}: what answers there does not speak the feed's protocol")
            if kind != GOAWAY:
                break
            self.draining = True
        meta = bytearray((meta_len + 63) & ~63)
        if flags & FILES:
            self._places = self._recv_places(kind, count, payload_len, memoryview(meta))
        elif meta:
            self._recv_exactly(memoryview(meta))
        frame = Frame(kind, flags, status, got_id, bytes(meta[:meta_len]), b"")
        self._check(frame, call_id)
        if kind == STATUS:
            raise errors.from_wire(status, frame.meta)
        return frame.meta, payload_len

    def receive_part(self, view: memoryview, new: bool = False) -> None:
        """Fill a buffer, perhaps of new memory, with the next bytes of a payload; see `receive_head`."""
        if self._places is None:
            self._recv_exactly(view)
            return
        self._places.fill(view, new)
        if self._places.read:
            self._no_files()

    def skip(self, size: int) -> None:
        """Pass over bytes of a payload; see `receive_head`."""
        if self._places is not None:
            self._places.skip(size)
            if self._places.read:
                self._no_files()
            return
        while size > 0:
            n = min(size, 64 << 10)
            self._recv_exactly(memoryview(bytearray(n)))
            size -= n

    @property
    def reads_files(self) -> bool:
        """Whether large answers may lie in files of the server, which cost it nothing to send."""
        return self._control > 0

    # Batches.

    def send_batch(self, handle: int, indices: bytes) -> int:
        """Ask for samples; returns the id. At most `MAX_PIPELINED` may be unanswered.

        `indices` are little-endian numbers of 8 bytes.
        """
        call_id = self._new_id()
        size = len(indices)
        head = BATCH_HEAD.pack(MAGIC, BATCH, 0, 0, call_id, 32, 0, size, 0, handle, size >> 3, 0)
        self._sendall(head + indices)
        return call_id

    def recv_batch(
        self,
        call_id: int,
        alloc: Callable[[int], Buffer],
        expected: Expected | None = None,
        room: Buffer | None = None,
    ) -> tuple[BatchMeta, Any]:
        """Receive the answer of `send_batch`: the description and the filled buffer.

        Parameters
        ----------
        call_id
            What `send_batch` returned.
        alloc
            Is asked for a buffer of so many bytes.
        expected, room
            What the answer probably is, and a buffer of its size: if it is, it lies there
            afterwards, and `alloc` is not called.
        """
        if expected is not None and room is not None and self._recv_expected(call_id, expected, room):
            meta, payload = expected.meta, room
        else:
            frame = self.recv_frame(alloc if room is None else lambda size: room if len(room) == size else alloc(size))
            self._check(frame, call_id)
            if frame.kind == STATUS:
                raise errors.from_wire(frame.status, frame.meta)
            meta, payload = frame.meta, frame.payload
            if room is not None and payload is room and expected is not None and meta != expected.meta:
                payload = memoryview(room)  # not what was expected, though of its size
        if meta != self._last_meta:
            self._last_batch = parse_batch_meta(meta)
            self._last_meta = meta
        return self._last_batch, payload

    @property
    def last_meta(self) -> bytes:
        """The meta part of the batch received last."""
        return self._last_meta

    def _recv_expected(self, call_id: int, expected: Expected, room: Buffer) -> bool:
        """Receive a batch into `room` if it is the one expected; else keep what has been received."""
        meta, _, size = expected
        begin = HEADER.size + len(meta)
        view = memoryview(room).cast("B")[:size]
        if self._surplus or len(meta) & 63 or len(view) < size:
            return False
        if begin > len(self._front):
            self._front = memoryview(bytearray(begin))
        front = self._front[:begin]
        places.close_all(self._files)  # of nobody
        try:
            # Not MSG_WAITALL: another frame may come, and be shorter.
            brisk = self._brisk
            got = self._spin(SPIN, front, view) if brisk else 0
            if not got:
                begun = time.perf_counter()
                got, control, _, _ = self._sock.recvmsg_into((front, view), self._control, places.CLOEXEC)
                self._brisk = time.perf_counter() - begun < SPIN
                if control:
                    self._files += places.received(control)
        except OSError as e:
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise
        if got == 0:
            raise self._lost(None)
        if got < HEADER.size:
            self._recv_exactly(front[got : HEADER.size])
            got = HEADER.size
        magic, kind, flags, status, frame_id, meta_len, _, payload_len, _ = HEADER.unpack_from(front)
        if (magic, kind, flags, status, frame_id) == (MAGIC, BATCH_REPLY, 0, 0, call_id) and (
            meta_len,
            payload_len,
        ) == (len(meta), size):
            if got < begin:
                self._recv_both(front[got:], view)
            elif got < begin + size:
                self._recv_exactly(view[got - begin :], SPIN if brisk else 0.0)
            if front[HEADER.size :] == meta:
                return True
            got = begin + size
        # Another answer, or one that lies in files.
        self._surplus = bytes(front[:got]) + (bytes(view[: got - begin]) if got > begin else b"")
        return False

    def _spin(self, awake: float, *parts: memoryview) -> int:
        """Receive what comes within `awake` seconds, without falling asleep; returns how much.

        Of one part as much as there is room for, of several what has come when something has.
        """
        now = time.perf_counter()
        if now < self._calm_until:
            return 0
        receive, until, rest, got = self._sock.recvmsg_into, now + awake, now + YIELD, 0
        flags = socket.MSG_DONTWAIT | places.CLOEXEC
        while True:
            try:
                n, control, _, _ = receive(parts, self._control, flags)
            except BlockingIOError:
                now = time.perf_counter()
                if now > until:
                    return got
                if now > rest:
                    os.sched_yield()  # who answers may wait for this very processor; another thread for the interpreter
                    rest = time.perf_counter()
                    if rest - now > SHARED:
                        until = rest  # a last look; who is woken gets a processor of its own, if there is one
                        if rest - now > CROWDED:
                            self._calm_until = rest + CALM
                    rest += YIELD
                continue
            if control:
                self._files += places.received(control)
            got += n
            if n == 0 or len(parts) > 1 or n == len(parts[0]):
                return got  # the end of the connection is met again by who waits
            parts = (parts[0][n:],)

    # Frames.

    def recv_frame(self, alloc: Callable[[int], Buffer] | None = None) -> Frame:
        """Receive the next frame that is not a GOAWAY."""
        while True:
            begun = time.perf_counter()
            self._recv_head(CALL_SPIN if self._brisk else 0.0)
            self._brisk = time.perf_counter() - begun < CALL_SPIN
            magic, kind, flags, status, call_id, meta_len, count, payload_len, _ = HEADER.unpack(self._head)
            if magic != MAGIC or meta_len > MAX_META or payload_len > MAX_PAYLOAD:
                self.broken = True
                raise errors.InternalError(f"{self.peer}: what answers there does not speak the feed's protocol")
            if kind != GOAWAY:
                break
            self.draining = True
        padded = (meta_len + 63) & ~63
        if padded > len(self._meta):
            self._meta = bytearray(padded)
        meta_view = memoryview(self._meta)[:padded]
        if not payload_len:
            if padded:
                self._recv_exactly(meta_view)
            return Frame(kind, flags, status, call_id, bytes(meta_view[:meta_len]), b"")
        if flags & FILES:
            payload = self._read_places(kind, count, payload_len, meta_view, alloc)
            return Frame(kind, flags, status, call_id, bytes(meta_view[:meta_len]), payload)
        if alloc is None:
            if padded:
                self._recv_exactly(meta_view)
            return Frame(kind, flags, status, call_id, bytes(meta_view[:meta_len]), self._recv_bytes(payload_len))
        buffer = alloc(payload_len)
        view = memoryview(buffer).cast("B")[:payload_len]
        if len(view) != payload_len:
            self.broken = True
            raise errors.InvalidError(f"the buffer holds {len(view)} bytes, the answer has {payload_len}")
        self._recv_both(meta_view, view)
        return Frame(kind, flags, status, call_id, bytes(meta_view[:meta_len]), buffer)

    def _recv_head(self, awake: float = 0.0) -> None:
        """Receive a header, and descriptors that come with it."""
        view = memoryview(self._head)
        if not self._control or self._surplus:
            self._recv_exactly(view, awake)
            return
        places.close_all(self._files)  # of nobody
        try:
            got = self._spin(awake, view) if awake else 0
            if not got:
                flags = socket.MSG_WAITALL | places.CLOEXEC
                got, control, _, _ = self._sock.recvmsg_into((view,), self._control, flags)
                if control:
                    self._files += places.received(control)
        except OSError as e:
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise
        if not got:
            raise self._lost(None)
        if got < len(view):
            self._recv_exactly(view[got:])

    def _recv_places(self, kind: int, count: int, size: int, meta: memoryview) -> Places:
        """Receive a meta part and the places that stand where the payload would."""
        if kind not in (REPLY, BATCH_REPLY) or not 0 < count <= places.MAX_PLACES:
            self.broken = True
            raise errors.InternalError(f"{self.peer}: a frame of kind {kind} with {count} places")
        table = memoryview(bytearray(places.table_size(count)))
        self._recv_both(meta, table)
        inline = places.inline_size(table, count)
        if inline > size:
            self.broken = True
            raise errors.InternalError(f"{self.peer}: an answer of {size} bytes with {inline} in the stream")
        rest = self._recv_bytes(inline) if inline else b""
        files = self._files[:]
        self._files.clear()
        return Places(files, table, count, size, self.peer, rest)

    def _read_places(
        self, kind: int, count: int, size: int, meta: memoryview, alloc: Callable[[int], Buffer] | None
    ) -> Buffer:
        """Receive a meta part, and read a payload that lies in files."""
        there = self._recv_places(kind, count, size, meta)
        try:
            buffer: Buffer = bytearray(size) if alloc is None else alloc(size)
            view = memoryview(buffer).cast("B")[:size]
            if len(view) != size:
                raise errors.InvalidError(f"the buffer holds {len(view)} bytes, the answer has {size}")
            there.fill(view)
        finally:
            there.close()
        return bytes(buffer) if alloc is None else buffer

    def _new_id(self) -> int:
        call_id = self._next_id
        self._next_id = call_id + 1
        self.calls += 1
        return call_id

    def _check(self, frame: Frame, call_id: int) -> None:
        if frame.kind == STATUS and frame.id == 0:
            self.broken = True
            raise errors.from_wire(frame.status, frame.meta)
        if frame.id != call_id or frame.kind not in (REPLY, STATUS, BATCH_REPLY):
            self.broken = True
            raise errors.InternalError(f"{self.peer}: expected the answer of call {call_id}, got one of {frame.id}")

    def _set_timeout(self, seconds: float) -> None:
        if seconds != self._timeout:
            value = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6) or 1)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
            self._timeout = seconds

    def _send(self, kind: int, flags: int, call_id: int, meta: bytes, payload: Buffer | None = None) -> None:
        view = _NO_META if payload is None else memoryview(payload).cast("B")
        self._check_limits(len(meta), len(view))
        head = HEADER.pack(MAGIC, kind, flags, 0, call_id, len(meta), 0, len(view), 0)
        pad = bytes(-len(meta) & 63)
        if len(view) <= 16384:
            self._sendall(b"".join((head, meta, pad, view)))
            return
        try:
            sent = self._sock.sendmsg((head, meta, pad, view))
            before = len(head) + len(meta) + len(pad)
            if sent < before:
                self._sock.sendall(b"".join((head, meta, pad))[sent:])
                sent = before
            self._sock.sendall(view[sent - before :])
        except OSError as e:
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise

    def _sendall(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as e:
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise

    def _check_limits(self, meta: int, payload: int) -> None:
        """Refuse here what the server would end the connection for."""
        for what, size, limit in (
            ("message", meta, self.hello.max_meta),
            ("payload", payload, self.hello.max_payload),
        ):
            if limit and size > limit:
                raise errors.TooBigError(
                    f"a {what} of {size} bytes, the server takes {limit}", resolution="send less in one call"
                )

    def _recv_exactly(self, view: memoryview, awake: float = 0.0) -> None:
        if self._surplus:
            view = view[self._from_surplus(view) :]
            if not view:
                return
        try:
            got = self._spin(awake, view) if awake else 0
            if got < len(view):
                got += self._sock.recv_into(view[got:] if got else view, 0, socket.MSG_WAITALL)
            if got == len(view):
                return
            deadline = time.monotonic() + self._timeout
            while got < len(view):
                n = self._sock.recv_into(view[got:], 0, socket.MSG_WAITALL) if got else 0
                if n == 0:
                    raise self._lost(None)
                got += n
                if got < len(view) and time.monotonic() > deadline:
                    raise self._late()
        except OSError as e:
            if isinstance(e, errors.DaosError):
                raise
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise

    def _recv_both(self, meta: memoryview, view: memoryview) -> None:
        """Receive meta part and payload with one system call where it can be one."""
        if self._surplus:
            self._recv_exactly(meta)
            self._recv_exactly(view)
            return
        try:
            got = self._sock.recvmsg_into((meta, view), 0, socket.MSG_WAITALL)[0]
        except OSError as e:
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise
        if got == len(meta) + len(view):
            return
        if got == 0:
            raise self._lost(None)
        if got < len(meta):
            self._recv_exactly(meta[got:])
            got = len(meta)
        self._recv_exactly(view[got - len(meta) :])

    def _from_surplus(self, view: memoryview) -> int:
        n = min(len(view), len(self._surplus))
        view[:n] = self._surplus[:n]
        self._surplus = self._surplus[n:]
        return n

    def _recv_bytes(self, size: int) -> bytes:
        if self._surplus:
            whole = bytearray(size)
            self._recv_exactly(memoryview(whole))
            return bytes(whole)
        try:
            data = self._sock.recv(size, socket.MSG_WAITALL)
        except OSError as e:
            raise self._lost(e) from e
        except BaseException:
            self.broken = True
            raise
        if len(data) == size:
            return data
        if not data:
            raise self._lost(None)
        rest = bytearray(size - len(data))
        self._recv_exactly(memoryview(rest))
        return data + rest

    def _lost(self, cause: OSError | None) -> errors.DaosError:
        self.broken = True
        if isinstance(cause, BlockingIOError):
            return self._late()
        why = "the server closed it" if cause is None else (cause.strerror or str(cause))
        return errors.ConnectionLostError(f"{self.peer}: the connection was lost: {why}", resource=self.peer)

    def _late(self) -> errors.DeadlineError:
        self.broken = True
        return errors.DeadlineError(
            f"{self.peer}: no answer within {self._timeout:g} s",
            resource=self.peer,
            resolution="give the client a longer timeout, or see what the server is doing",
        )


def traceparent() -> str:
    """Return the W3C traceparent of the caller's span, if the process uses OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def dial(address: str, timeout: float) -> socket.socket:
    """Connect a stream socket to ``HOST:PORT`` or ``unix:PATH``; raises OSError."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address[len("unix:") :])
        except BaseException:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)), timeout)
    if sock.getsockname() == sock.getpeername():
        # At a port of the ephemeral range that nobody listens at, as that of a server which is
        # being restarted, a connection may meet itself, and would keep the server from its port.
        sock.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
