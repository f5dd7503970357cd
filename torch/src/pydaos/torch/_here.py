"""Batches made in this process: requests ahead of the loop, transforms on threads if there are any."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

from pydaos.torch._making import Making, MakingJob, Task, pinned
from pydaos.torch._plan import Slice, StreamLike
from pydaos.torch._threads import OrderedThreads
from pydaos.torch._where import LOST, tell_where

__all__ = ["Here"]


class Here:
    """Walks tasks over one stream of requests.

    The loop's own thread receives: threads only ever compute, so that they can
    be ended at once. At most ``prefetch`` batches are requested ahead, and with
    threads as many are being made or wait to be taken.
    """

    def __init__(self, making: Making, tasks: Iterator[Task], *, prefetch: int, threads: int, pin: bool) -> None:
        self._making = making
        self._tasks = tasks
        self._prefetch = prefetch
        self._pin = pin
        self._asked: deque[Task] = deque()
        self._stream: StreamLike | None = None
        self._more = True
        # Ready batches need no hands, unless they are to be page-locked.
        self._threads = threads if pin or not making.ready else 0
        self._pool: OrderedThreads | None = None
        self._made: deque[Task] = deque()
        self._lost = 0
        self._failed = False
        # A sampler of somebody else's may name samples that there are not (by step), or raise: said at its place.
        self._refused: dict[int, Exception] = {}
        self._broken: Exception | None = None

    @property
    def retries(self) -> int:
        """How often the server was waited for."""
        return self._lost + int(getattr(self._stream, "retries", 0))

    def next(self) -> tuple[Slice, Any]:
        """Return the next batch and its place; StopIteration after the last one."""
        if self._threads and self._pool is None:
            self._pool = OrderedThreads(self._threads)
        if self._failed and self._pool is not None:
            return self._taken(self._pool)
        if self._stream is None:
            self._stream = self._making.walk.stream(self._prefetch)
        if self._more:
            self._fill(self._stream)
        if self._pool is not None:
            return self._next_made(self._stream, self._pool)
        if not self._asked:
            self._end()
        task = self._asked.popleft()
        refused = self._refused.pop(task.part.step, None)
        if refused is not None:
            raise refused
        making = self._making
        try:
            try:
                raw = self._stream.take()
            except Exception as err:
                self._ask_again(task, err)
                raise
            if self._more:
                self._fill(self._stream)
            batch = making.batch(task, raw, () if making.ready else making.samples(task, raw, 0, raw.count))
        except Exception as err:
            tell_where(err, making.where(task))
            raise
        return task.part, pinned(batch) if self._pin else batch

    def _ask_again(self, task: Task, err: Exception) -> None:
        """Forget what was asked ahead, to ask for it again; the batch that failed only if the server was lost."""
        first = [task] if isinstance(err, LOST) else []
        self._tasks = chain(first, list(self._asked), self._tasks)
        self._more = True
        self._asked.clear()
        self._refused.clear()
        self._close_stream()

    def _end(self) -> NoReturn:
        broken, self._broken = self._broken, None
        raise broken if broken is not None else StopIteration

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._lost += int(getattr(stream, "retries", 0))
            stream.close()

    def _next_made(self, stream: StreamLike, pool: OrderedThreads) -> tuple[Slice, Any]:
        readable = getattr(stream, "readable", None)
        while self._asked and len(pool) <= self._prefetch:  # one is taken now
            refused = self._refused.pop(self._asked[0].part.step, None)
            if refused is not None:
                self._made.append(self._asked.popleft())
                pool.submit_failure(refused)
                self._fill(stream)
                continue
            # What is being made comes before waiting for the server.
            if len(pool) and readable is not None and not readable():
                break
            task = self._asked.popleft()
            self._made.append(task)
            try:
                raw = stream.take()
            except Exception as err:
                # It belongs to its batch, and those before it come first; nothing is read until it was raised.
                tell_where(err, self._making.where(task))
                self._ask_again(task, err)
                self._failed = True
                pool.submit_failure(err)
                break
            pool.submit(MakingJob(self._making, task, raw, self._pin))
            if self._more:
                self._fill(stream)
        if not len(pool):
            self._end()
        return self._taken(pool)

    def _taken(self, pool: OrderedThreads) -> tuple[Slice, Any]:
        task = self._made.popleft()
        self._failed = self._failed and bool(self._made)
        return task.part, pool.take()

    def _fill(self, stream: StreamLike) -> None:
        while self._more and stream.room and not self._refused:
            try:
                task = next(self._tasks, None)
            except Exception as err:
                self._more, self._broken = False, err
                return
            if task is None:
                self._more = False
                return
            try:
                task = self._making.checked(task)
            except Exception as err:
                tell_where(err, self._making.where(task))
                self._refused[task.part.step] = err
            else:
                try:
                    stream.ask(task.indices)
                except Exception as err:
                    tell_where(err, self._making.where(task))
                    raise
            self._asked.append(task)

    def leave(self) -> None:
        """End the threads and give the connection back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        self._close_stream()
        self._asked.clear()
        self._refused.clear()
        self._made.clear()
        self._more = False
