"""Large transfers with several requests under way, each on a connection of its own.

A file that is written from its beginning to its end (`StagedStream`) is cut into
pieces; threads send them while the caller goes on filling the next one. A large read
(`read_ranges`) is shared out over threads that receive straight into the caller's
memory. The threads live as long as the transfer and spend it in system calls.

What a call is, how it is retried and what a staged file is: `_client`, `_staged`.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pydaos import _content as content
from pydaos import _errors as errors
from pydaos import _spans as spans
from pydaos._client import full_method
from pydaos._feed import FeedConnection
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb
from pydaos._staged import Staging

if TYPE_CHECKING:
    from pydaos._posix import PosixDataset

#: Bytes of a piece of a staged file: four file chunks, which lie on several targets.
PIECE = 4 << 20
#: The largest piece that the server takes.
MAX_PIECE = 16 << 20
#: Requests under way of a file that is read in order.
AHEAD = 3
#: Reads of so many bytes are received over several connections at the same time.
SPLIT = 1 << 20
#: Bytes that a lane takes at a time.
BATCH = 32 << 20
#: From so many bytes a copy is worth letting other threads run.
_FREE_GIL = 64 << 10


class Lanes:
    """A few threads that carry out jobs side by side, and remember the first failure.

    After a failure the jobs that have not begun are left out.
    """

    def __init__(self, count: int) -> None:
        self._count = max(1, count)
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._threads = 0
        self._idle = 0
        self._ended = False
        self.failure: BaseException | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Let a thread carry out a job."""
        with self._changed:
            self._jobs.append(job)
            if self._idle < len(self._jobs) and self._threads < self._count:
                self._threads += 1
                threading.Thread(target=self._work, name="pydaos-lane", daemon=True).start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._jobs and not self._ended:
                    self._changed.wait()
                self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
                self._running += 1
                skip = self.failure is not None
            failure: BaseException | None = None
            try:
                if not skip:
                    job()
            except BaseException as e:
                failure = e
            del job
            with self._changed:
                self._running -= 1
                self.failure = self.failure or failure
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until everything has been carried out; raise the first failure."""
        with self._changed:
            while self._jobs or self._running:
                self._changed.wait()
        self.check()

    def settle(self) -> BaseException | None:
        """Wait until nothing runs any more, whatever happens; returns an interrupt that came meanwhile."""
        interrupt: BaseException | None = None
        while True:
            try:
                with self._changed:
                    while self._jobs or self._running:
                        self._changed.wait()
                return interrupt
            except BaseException as e:
                interrupt = interrupt or e

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """Let the threads go when they have nothing left to do."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Buffers:
    """At most `limit` buffers of one size; `take` waits until one is free."""

    def __init__(self, size: int, limit: int) -> None:
        self._size = size
        self._left = max(1, limit)
        self._free: list[bytearray] = []
        self._changed = threading.Condition()

    def take(self, alive: Callable[[], None]) -> bytearray:
        """Return a free buffer; `alive` is called while waiting and may raise."""
        with self._changed:
            while not self._free:
                if self._left:
                    self._left -= 1
                    return bytearray(self._size)
                alive()
                self._changed.wait(1.0)
            return self._free.pop()

    def give(self, buffer: bytearray) -> None:
        """Give a buffer back."""
        with self._changed:
            self._free.append(buffer)
            self._changed.notify()


class StagedStream:
    """A file that is written from its beginning to its end and published whole.

    Nobody sees it before `publish`. Bytes are copied once, so that a buffer may be
    reused when `write` returns; at most ``limit`` pieces of ``piece`` bytes are held.
    A piece whose answer was lost with its connection is sent again. A server that has
    restarted has lost the staged bytes: StaleError.
    """

    def __init__(
        self,
        dataset: PosixDataset,
        path: bytes,
        *,
        exclusive: bool = False,
        parents: bool = False,
        mode: int = 0o644,
        piece: int = 0,
        lanes: int = 4,
        limit: int = 0,
    ) -> None:
        self._staging = Staging(dataset, path, exclusive, parents, mode)
        self.resource = self._staging.resource
        self.size = 0
        self._piece = min(piece or PIECE, MAX_PIECE)
        lanes = max(1, min(lanes, limit or lanes))
        self._lanes = Lanes(lanes)
        self._buffers = Buffers(self._piece, limit or lanes + 2)
        self._buffer: bytearray | None = None
        self._filled = 0
        self._sent = 0
        self._over = False

    def write(self, data: Any) -> int:
        """Take bytes; raises what an earlier piece failed with."""
        self._check()
        view = content.flat(data)
        taken = len(view)
        while view:
            if self._buffer is None:
                self._buffer = self._buffers.take(self._lanes.check)
            # Pieces end at multiples of their size, wherever a flush has cut before.
            room = self._piece - self._sent % self._piece - self._filled
            part, view = view[:room], view[room:]
            end = self._filled + len(part)
            if len(part) >= _FREE_GIL:
                np.copyto(np.frombuffer(self._buffer, np.uint8)[self._filled : end], np.frombuffer(part, np.uint8))
            else:
                self._buffer[self._filled : end] = part
            self._filled = end
            if len(part) == room:
                self._send()
        self.size += taken
        return taken

    def flush(self) -> None:
        """Hand what is held to the threads that send it."""
        self._check()
        if self._filled:
            self._send()

    def _send(self) -> None:
        buffer, length, offset = self._buffer, self._filled, self._sent
        assert buffer is not None
        try:
            inode = self._staging.begin()
        except BaseException as e:
            self._lanes.failure = self._lanes.failure or e
            raise
        self._buffer, self._filled, self._sent = None, 0, offset + length
        client, address = self._staging.dataset.client, self._staging.dataset.address

        def job() -> None:
            request = pb.WriteStagedRequest(dataset=address, inode=inode, offset=offset)
            with memoryview(buffer)[:length] as payload:
                client.call("posix.WriteStaged", request, pb.WriteStagedResponse, payload)
            self._buffers.give(buffer)

        self._lanes.submit(job)

    @property
    def failure(self) -> BaseException | None:
        """What a piece could not be stored for; callers may have made another error of it."""
        return self._lanes.failure

    def publish(self) -> None:
        """Make the file durable and visible in one step; it is discarded if that fails."""
        if self._over:
            return
        try:
            self._publish()
        except BaseException:
            self.discard()
            raise
        self._end()

    def _publish(self) -> None:
        self._check()
        self._staging.begin()  # an empty file too: who reads the one that is replaced goes on reading it
        if self._filled:
            self._send()
        self._lanes.wait()
        self._staging.publish(self.size)

    def discard(self) -> None:
        """Drop what was written: nothing is published."""
        if self._over:
            return
        self._lanes.failure = self._lanes.failure or errors.CanceledError(f"{self.resource}: discarded")
        self._end()
        self._staging.discard()

    def _end(self) -> None:
        self._over = True
        self._buffer = None
        self._lanes.end()

    def _check(self) -> None:
        if self._over:
            raise ValueError(f"{self.resource}: published or discarded already")
        if self._staging.inherited:
            raise errors.InvalidError(
                f"{self.resource}: begun in process {self._staging.pid}, its threads are not in this one",
                resource=self.resource,
                resolution="write it in the process that opened it",
            )
        self._lanes.check()


class ReadAhead:
    """A file read from some byte on, in order, with requests for what comes next under way.

    Its pieces go round over the `lanes`, connections of their own: what a large read wants of
    the second one is received by a thread at the same time, since most of the time of a
    receive is that of pages that are touched first. The answers wait in the sockets; what is
    read goes from there into the caller's memory. Any error ends it: its owner reads on in
    another way.
    """

    def __init__(self, dataset: PosixDataset, source: content.Source, offset: int, end: int, lanes: int = 1) -> None:
        self.offset = offset
        self.end = end
        self._begun = offset
        self._lanes: list[_Lane] = []
        self._threads: Lanes | None = None
        conn = dataset.client._pool.acquire()
        # What lies in files is shared out where it is read (`_side`), and a request costs more than its size.
        lanes = 1 if conn.reads_files else max(1, lanes)
        self._piece = spans.SPAN_IN_FILES if conn.reads_files else PIECE // lanes
        for i in range(lanes):
            pieces = range(offset + i * self._piece, end, lanes * self._piece)
            self._lanes.append(_Lane(dataset, source, conn, pieces, self._piece, end))
            if i + 1 < lanes:
                conn = dataset.client._pool.acquire()

    def usable(self) -> bool:
        """Whether it can go on, in this process."""
        return bool(self._lanes) and all(lane.conn.pid == os.getpid() for lane in self._lanes)

    def readinto(self, view: memoryview) -> int:
        """Fill a buffer with the next bytes; fewer only at `end`."""
        want = min(len(view), self.end - self.offset)
        parts: list[tuple[_Lane, memoryview]] = []
        done = 0
        while done < want:
            number, skip = divmod(self.offset + done - self._begun, self._piece)
            n = min(want - done, self._piece - skip)
            parts.append((self._lanes[number % len(self._lanes)], view[done : done + n]))
            done += n
        try:
            if len(self._lanes) > 1 and want >= SPLIT:
                self._side_by_side(parts)
            else:
                for lane, part in parts:
                    lane.receive(part)
        except BaseException:
            self.close()
            raise
        self.offset += want
        if self.offset >= self.end:
            self.close()
        return want

    def _side_by_side(self, parts: list[tuple[_Lane, memoryview]]) -> None:
        """Receive the parts of the first lane here, those of the others in threads."""
        if self._threads is None:
            self._threads = Lanes(len(self._lanes) - 1)
        first, *others = self._lanes
        for other in others:
            mine = [part for lane, part in parts if lane is other]
            if mine:
                self._threads.submit(functools.partial(other.receive_all, mine))
        failure: BaseException | None = None
        try:
            first.receive_all([part for lane, part in parts if lane is first])
        except BaseException as e:
            failure = e
            for lane in self._lanes:
                lane.stop()
        # The threads write to memory that is the caller's: whatever happened, they end first.
        interrupt = self._threads.settle()
        if failure is not None or interrupt is not None:
            raise failure or interrupt  # type: ignore[misc]
        self._threads.check()

    def close(self) -> None:
        """Give the connections back; those with answers under way are closed."""
        lanes, self._lanes = self._lanes, []
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.end()
        for lane in lanes:
            lane.close()

    def __del__(self) -> None:
        self.close()


class _Lane:
    """One connection of a `ReadAhead`, and the pieces of the file that come over it."""

    def __init__(
        self,
        dataset: PosixDataset,
        source: content.Source,
        conn: FeedConnection,
        pieces: Sequence[int],
        length: int,
        end: int,
    ) -> None:
        self._dataset = dataset
        self._source = source
        self._pieces = iter(pieces)
        self._length = length
        self._end = end
        self._waiting: deque[tuple[int, int]] = deque()  # id and length of the answers to come
        self._left = 0  # of the payload that is being received
        self.conn = conn

    def receive_all(self, parts: Sequence[memoryview]) -> None:
        """Fill buffers with the next bytes of the pieces; each lies in one piece."""
        for part in parts:
            self.receive(part)

    def receive(self, part: memoryview) -> None:
        """Fill a buffer with the next bytes of a piece."""
        if not self._left:
            self._ask()
            call_id, length = self._waiting.popleft()
            meta, self._left = self.conn.receive_head(call_id)
            self._dataset.client._parse(pb.ReadResponse, meta)
            if self._left != length:
                raise errors.StaleError(f"{self._dataset.address}: the file is shorter than it was")
            self._ask()
        self.conn.receive_part(part, new=True)
        self._left -= len(part)

    def _ask(self) -> None:
        while len(self._waiting) < AHEAD:
            at = next(self._pieces, self._end)
            if at >= self._end:
                return
            length = min(self._length, self._end - at)
            request = content.read_request(self._dataset, self._source, at, length)
            method = full_method("posix.Read")
            self._waiting.append((self.conn.send_call(method, self._dataset.client._prepare(request)), length))

    def stop(self) -> None:
        """Let a thread that receives here fail at once."""
        self.conn.cut()

    def close(self) -> None:
        """Give the connection back."""
        self.conn.broken = self.conn.broken or bool(self._waiting or self._left)
        self._dataset.client._pool.release(self.conn)


def read_ranges(
    dataset: PosixDataset, source: content.Source, ranges: Sequence[tuple[int, memoryview]], lanes: int = 2
) -> list[int]:
    """Fill buffers from byte ranges of a file, `lanes` connections at a time.

    Parameters
    ----------
    dataset, source
        The file.
    ranges
        Pairs of an offset and the memory that is filled from there on.
    lanes
        Connections; each has four requests under way.

    Returns
    -------
    list
        For each range the number of bytes, fewer than its buffer has only at the end of the file.

    An exception, an interrupt too, is raised when no thread writes to the buffers any more.
    """
    pieces = [
        (i, offset + at, view[at : at + PIECE])
        for i, (offset, view) in enumerate(ranges)
        for at in range(0, len(view), PIECE)
    ]
    # A lane takes several pieces at a time, so that its connection never idles between them.
    total = sum(len(p[2]) for p in pieces)
    lanes = max(1, min(lanes, len(pieces), -(-total // PIECE)))
    share = min(BATCH, max(PIECE, -(-total // (2 * lanes))))
    batches: deque[list[tuple[int, int, memoryview]]] = deque()
    room = 0
    for p in pieces:
        if room <= 0 or len(batches[-1]) >= 1024:
            batches.append([])
            room = share
        batches[-1].append(p)
        room -= len(p[2])
    got = [0] * len(ranges)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            try:
                batch = batches.popleft()
            except IndexError:
                return
            try:
                counts = read_many(dataset, source, [(offset, view) for _, offset, view in batch])
            except BaseException as e:
                failures.append(e)
                return
            with lock:
                for (i, _, _), n in zip(batch, counts):
                    got[i] += n

    threads = [threading.Thread(target=work, name="pydaos-read", daemon=True) for _ in range(lanes - 1)]
    for t in threads:
        t.start()
    try:
        work()
    except BaseException as e:
        failures.append(e)
    for t in threads:
        _join(t, failures)
    if failures:
        raise failures[0]
    return got


def read_many(dataset: PosixDataset, source: content.Source, ranges: Sequence[tuple[int, memoryview]]) -> list[int]:
    """Fill buffers, of a piece at most, from byte ranges, over one connection; returns the bytes of each."""
    return spans.read(dataset, source, ranges)


def _join(thread: threading.Thread, failures: list[BaseException]) -> None:
    """Wait for a thread that writes to memory which is the caller's: an interrupt has to wait too."""
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as e:
            failures.append(e)


def read_into(dataset: PosixDataset, source: content.Source, view: memoryview, offset: int, lanes: int) -> int:
    """Fill one buffer from a file, its pieces shared out over `lanes`; see `_content.read_into`."""
    if lanes < 2 or len(view) < 2 * PIECE:
        return content.read_into(dataset, source, view, offset)
    return read_ranges(dataset, source, [(offset, view)], lanes)[0]
