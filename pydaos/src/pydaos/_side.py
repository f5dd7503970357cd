"""Ranges of files read into memory by a few threads side by side.

One processor copies about as much as its own way to the memory lets through, and where the
memory is new it spends most of the time in the kernel, which clears page after page; another
one does as much again. Whoever reads does its own share here and never waits for a thread that
has not begun: if none wakes up it reads everything itself.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pydaos import _process

#: Bytes from which a read is shared out: into memory that is there, and into new memory, whose
#: pages take longer than the copy.
SHARED = 16 << 20
SHARED_NEW = 2 << 20
#: Bytes that a thread takes at a time.
PIECE = 1 << 20
#: Rows are read with what lies between them, so many bytes at a time, and sorted out here: it stays in
#: the processor's own cache. Those that are further apart are read one by one.
SCRATCH = 256 << 10
#: Memories that one system call may fill (IOV_MAX).
MOST_VIEWS = 1024
#: The most threads of one read, the reader's own included.
THREADS = min(4, len(os.sched_getaffinity(0)))
#: Seconds without work after which a thread ends.
IDLE = 1.0


class Part(NamedTuple):
    """Bytes of a file from an offset on, and the memory that they go to."""

    file: int
    offset: int
    view: memoryview

    @property
    def cost(self) -> int:
        """How many bytes are read."""
        return len(self.view)


class Rows:
    """Rows of files, of so many bytes each, and the memory that they go to, from `begin` on, side by side.

    In a file each lies `stride` bytes behind the beginning of the one before.
    """

    def __init__(self, view: memoryview, begin: int, row: int, stride: int) -> None:
        self.row = row
        self.stride = stride
        self.begin = begin
        self.stretches: list[tuple[int, int, int]] = []  # file, offset of the first row, rows
        self._view = view

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(rows for _, _, rows in self.stretches) * self.row

    @property
    def cost(self) -> int:
        """How many bytes are read, about, with those between."""
        return sum(rows for _, _, rows in self.stretches) * self.stride

    def cut(self, size: int) -> Iterator[Rows]:
        """Cut them into pieces, each of about so many bytes of a file."""
        step, at = max(1, size // self.stride), self.begin
        for file, offset, rows in self.stretches:
            for k in range(0, rows, step):
                piece = Rows(self._view, at, self.row, self.stride)
                piece.stretches.append((file, offset + k * self.stride, min(step, rows - k)))
                at += piece.size
                yield piece

    def fill(self) -> int:
        """Read them; returns where a file ended too early, or -1."""
        if SCRATCH // self.stride < 2:
            return self._fill_each()
        try:
            scratch = _scratch.pop()  # nobody else's meanwhile, not a signal handler's either
        except IndexError:
            scratch = np.empty(SCRATCH, np.uint8)
        try:
            return self._fill_by(scratch)
        finally:
            if len(_scratch) < THREADS:
                _scratch.append(scratch)

    def _fill_by(self, scratch: npt.NDArray[np.uint8]) -> int:
        row, stride = self.row, self.stride
        step = len(scratch) // stride  # rows at a time
        whole = scratch.data
        sorted_out = scratch[: step * stride].reshape(step, stride)[:, :row]
        into = np.frombuffer(self._view[self.begin : self.begin + self.size], np.uint8).reshape(-1, row)
        k = n = need = 0
        room, rows_of_it = whole[:0], sorted_out[:0]
        for file, at, rows in self.stretches:
            while rows:
                if n != (rows if rows < step else step):
                    n = rows if rows < step else step
                    need = (n - 1) * stride + row
                    room, rows_of_it = whole[:need], sorted_out[:n]
                if os.preadv(file, (room,), at) < need:
                    short = _fill(_Piece(file, at, [room]))
                    if short >= 0:
                        return short
                into[k : k + n] = rows_of_it
                k, rows, at = k + n, rows - n, at + n * stride
        return -1

    def _fill_each(self) -> int:
        at = self.begin
        for file, offset, rows in self.stretches:
            for k in range(rows):
                short = _fill(_Piece(file, offset + k * self.stride, [self._view[at : at + self.row]]))
                if short >= 0:
                    return short
                at += self.row
        return -1


#: Memory to sort rows out in that nobody uses now.
_scratch: list[npt.NDArray[np.uint8]] = []


def read(parts: Sequence[Part | Rows], new: bool = False) -> int:
    """Fill all parts; `new` says that the memory probably has no pages yet.

    Returns the offset at which a file ended too early, or -1. Raises OSError. Nobody writes to
    the memory any more when this returns or raises, an interrupt too.
    """
    if THREADS < 2 or sum(p.cost for p in parts) < (SHARED_NEW if new else SHARED):
        return _in_turn(parts)
    pieces = _pieces(parts)
    jobs = [_Job(pieces) for _ in range(min(THREADS, len(pieces)) - 1)]
    mine = _Job(pieces)
    interrupt: BaseException | None = None
    try:
        _crew().take_up(jobs)
        mine.run()
    except BaseException as e:
        interrupt = e
    pieces.clear()
    for job in jobs:
        interrupt = job.left() or interrupt
    for job in (mine, *jobs):
        interrupt = interrupt or job.failure
    if interrupt is not None:
        raise interrupt
    return max(job.short for job in (mine, *jobs))


class _Piece(NamedTuple):
    """Bytes of a file from an offset on, and where they go to, one memory after the other."""

    file: int
    offset: int
    views: list[memoryview]

    def fill(self) -> int:
        """Read them; returns where the file ended too early, or -1."""
        return _fill(self)


def _pieces(parts: Sequence[Part | Rows]) -> deque[_Piece | Rows]:
    """Cut what is long, and bring together what is short and follows each other in a file.

    The rows of a chunk of an array do, wherever they go to.
    """
    out: list[_Piece] = []
    file, end, room = -1, 0, 0  # of the last piece: where it ends, and how much more it may hold
    plain = [p for p in parts if isinstance(p, Part) and len(p.view)]
    for p in sorted(plain, key=lambda p: (p.file, p.offset)):
        if (file, end) == (p.file, p.offset) and len(p.view) <= room and len(out[-1].views) < MOST_VIEWS:
            out[-1].views.append(p.view)
            room -= len(p.view)
        else:
            for at in range(0, len(p.view), PIECE):
                cut = p.view[at : at + PIECE]
                out.append(_Piece(p.file, p.offset + at, [cut]))
                room = PIECE - len(cut)
        file, end = p.file, p.offset + len(p.view)
    return deque([*out, *(piece for p in parts if isinstance(p, Rows) for piece in p.cut(PIECE))])


def _in_turn(parts: Sequence[Part | Rows]) -> int:
    for p in parts:
        if isinstance(p, Rows):
            short = p.fill()
        elif os.preadv(p.file, (p.view,), p.offset) == len(p.view):  # all of it, as good as always
            continue
        else:
            short = _fill(_Piece(p.file, p.offset, [p.view]))
        if short >= 0:
            return short
    return -1


def _fill(piece: _Piece) -> int:
    """Read a piece; returns where the file ended too early, or -1."""
    file, offset, views = piece
    left = sum(map(len, views))
    while left:
        got = os.preadv(file, views, offset)
        if not got:
            return offset
        left, offset = left - got, offset + got
        while left and got >= len(views[0]):
            got -= len(views[0])
            views = views[1:]
        if left and got:
            views = [views[0][got:], *views[1:]]
    return -1


class _Job:
    """What one thread does of a read: pieces, until none is left."""

    def __init__(self, pieces: deque[_Piece | Rows]) -> None:
        self._pieces = pieces
        self._inside = threading.Lock()
        self.failure: BaseException | None = None
        self.short = -1

    def run(self) -> None:
        """Read pieces; after a failure nobody takes another one."""
        with self._inside:
            try:
                while self._one():
                    pass
            except BaseException as e:
                self.failure = e
                self._pieces.clear()

    def _one(self) -> bool:
        """Read a piece; False where there is none, or no more than that is to be read."""
        try:
            piece = self._pieces.popleft()
        except IndexError:
            return False
        self.short = piece.fill()
        if self.short >= 0:
            self._pieces.clear()
        return self.short < 0

    def left(self) -> BaseException | None:
        """Wait until the thread is not inside; returns an interrupt that came meanwhile.

        There are no pieces left by then: one that has not begun will find nothing to do.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                with self._inside:
                    return interrupt
            except BaseException as e:
                interrupt = interrupt or e


class _Crew:
    """The threads of one process; those that have nothing to do for a while end."""

    def __init__(self) -> None:
        self.forks = _process.forks
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0

    def take_up(self, jobs: Sequence[_Job]) -> None:
        """Let threads run jobs, as soon as they can."""
        if not self._lock.acquire(blocking=False):
            # Somebody else is here, perhaps this thread itself, whom a signal's handler that reads has
            # interrupted: the reader does it alone.
            return
        try:
            while self._threads < len(jobs):
                try:
                    threading.Thread(target=self._work, name="pydaos-side", daemon=True).start()
                except RuntimeError:
                    break  # no more threads to be had, or the interpreter is going down: the reader does it alone
                self._threads += 1
        finally:
            self._lock.release()
        for job in jobs:
            self._jobs.put(job)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    # A job that comes now finds fewer threads, and starts one.
                    self._threads -= 1
                return
            job.run()
            del job


_here: _Crew | None = None


def _crew() -> _Crew:
    """Return the threads of this process; a forked child gets its own."""
    global _here
    if _here is None or _here.forks != _process.forks:
        _here = _Crew()
    return _here
