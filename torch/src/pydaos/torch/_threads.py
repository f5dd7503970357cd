"""Decoding and transforms on threads, ahead of the loop, with the order of batches kept.

`OrderedThreads` is given batches in order and hands their results out in that
order; the parts of one batch run on different threads, so that the first batch
is ready early too. The loop's own thread receives and submits: the threads
never wait for anything but work, which is why they end at once when they are
told to. It is not a queue of requests; `pydaos.torch._loader` bounds how many
batches are in it.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["Job", "OrderedThreads"]


class Job(Protocol):
    """One batch to be made."""

    count: int

    def part(self, lo: int, hi: int, stopped: Callable[[], bool]) -> Sequence[Any]:
        """Return what samples lo to hi are made into; may end early once ``stopped``."""

    def whole(self, made: list[Any]) -> Any:
        """Return the batch made of them all."""


class _Pending:
    """A job on its way: what its parts have made so far, or why one of them failed."""

    __slots__ = ("done", "error", "error_at", "job", "left", "lock", "made", "result")

    def __init__(self, job: Job, parts: int) -> None:
        self.job = job
        self.lock = threading.Lock()
        self.left = parts
        self.made: dict[int, Sequence[Any]] = {}
        self.error: BaseException | None = None
        self.error_at = 0
        self.result: Any = None
        self.done = threading.Event()

    def run(self, lo: int, hi: int, stopped: Callable[[], bool]) -> None:
        """Run one part; the last one to end makes the batch."""
        made: Sequence[Any] = ()
        error: BaseException | None = None
        try:
            made = self.job.part(lo, hi, stopped)
        except BaseException as err:
            error = err
        with self.lock:
            self.made[lo] = made
            if error is not None and (self.error is None or lo < self.error_at):
                # Of several failed samples the first is told, as a loop would.
                self.error, self.error_at = error, lo
            self.left -= 1
            if self.left:
                return
        if self.error is None and not stopped():
            try:
                self.result = self.job.whole([s for lo in sorted(self.made) for s in self.made[lo]])
            except BaseException as err:
                self.error = err
        self.made.clear()
        self.done.set()


class _Shared:
    """What the threads hold: never the `OrderedThreads`, which could not be collected then."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[tuple[_Pending, int, int] | None] = queue.SimpleQueue()
        self.closed = False

    def stopped(self) -> bool:
        return self.closed


def _work(shared: _Shared) -> None:
    while True:
        task = shared.tasks.get()
        if task is None:
            return
        if not shared.closed:
            pending, lo, hi = task
            pending.run(lo, hi, shared.stopped)
            del pending
        del task


#: Pools that are open, closed at exit before the interpreter takes itself apart.
_open: weakref.WeakSet[OrderedThreads] = weakref.WeakSet()


class OrderedThreads:
    """A few threads that make batches, handed out in the order submitted.

    For one thread at a time. In a forked child it has no threads and refuses to
    be used; closing it there does nothing.

    Parameters
    ----------
    threads : int
        How many.
    name : str
        Begin of the threads' names.
    """

    def __init__(self, threads: int, name: str = "daos-transform") -> None:
        self._pid = os.getpid()
        self._shared = _Shared()
        self._pending: deque[_Pending] = deque()
        self._told = 0  # threads that were told to end
        self._over = False
        self._threads = [
            threading.Thread(target=_work, args=(self._shared,), name=f"{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for t in self._threads:
            t.start()
        _open.add(self)

    def __len__(self) -> int:
        """Return the number of batches submitted and not taken."""
        return len(self._pending)

    def submit(self, job: Job) -> None:
        """Begin to make a batch."""
        self._mine()
        step = max(1, -(-job.count // len(self._threads)))
        bounds = [(lo, min(lo + step, job.count)) for lo in range(0, max(job.count, 1), step)]
        pending = _Pending(job, len(bounds))
        self._pending.append(pending)
        for lo, hi in bounds:
            self._shared.tasks.put((pending, lo, hi))

    def submit_failure(self, error: BaseException) -> None:
        """Put an error at the place of a batch that could not be received."""
        self._mine()
        pending = _Pending(_NOTHING, 0)
        pending.error = error
        pending.done.set()
        self._pending.append(pending)

    def take(self) -> Any:
        """Wait for the oldest batch and return it, or raise what making it raised."""
        self._mine()
        pending = self._pending[0]
        pending.done.wait()
        self._pending.popleft()
        if pending.error is not None:
            try:
                raise pending.error
            finally:
                del pending  # the traceback holds this frame
        return pending.result

    def close(self, timeout: float | None = 30.0) -> None:
        """End the threads and wait for them: no longer than one sample takes each."""
        if self._pid != os.getpid() or self._over:
            return
        self._shared.closed = True
        self._pending.clear()
        # An interrupt may come between any two of these: who closes again goes on here.
        while self._told < len(self._threads):
            self._shared.tasks.put(None)
            self._told += 1
        for t in self._threads:
            if t is not threading.current_thread() and t.ident is not None:  # interrupted before it was started
                t.join(timeout)
        self._over = True

    def _mine(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(
                "this iterator's threads belong to the process that it was forked from; "
                "call iter() on the loader again in this one"
            )
        if self._shared.closed:
            raise RuntimeError("this iterator is closed; call iter() on the loader again")

    def __del__(self) -> None:
        try:
            self.close()
        except (AttributeError, TypeError):
            pass  # half made, or the interpreter is going down


class _Nothing:
    count = 0

    def part(self, lo: int, hi: int, stopped: Callable[[], bool]) -> Sequence[Any]:
        return ()

    def whole(self, made: list[Any]) -> Any:
        return None


_NOTHING = _Nothing()


@atexit.register
def _close_all() -> None:
    for pool in list(_open):
        pool.close(timeout=5.0)
