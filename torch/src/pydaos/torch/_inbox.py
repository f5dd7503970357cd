"""Messages of worker processes, received without ever waiting for a dead one.

A ``multiprocessing.Queue`` reads a message by blocking reads. A worker that is
killed in the middle of one leaves its rest unwritten, and since others have the
pipe open too there is no end of file: the reader would wait for ever, as it
does under a loader that does not interrupt itself by signals. An `Inbox` reads
what is there, and looks at the workers while it waits.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import struct
import time
from collections.abc import Iterable
from typing import Any

__all__ = ["Inbox"]

# What multiprocessing.connection puts before a message: its length, or -1 and a longer one.
_SHORT, _LONG = struct.Struct("!i"), struct.Struct("!Q")


class Inbox:
    """The receiving end of a ``multiprocessing.Queue``, for one thread.

    Parameters
    ----------
    source : multiprocessing.Queue
        Nobody else may receive from it.
    ends : iterable of int
        Sentinels of the processes that send: `get` raises ``queue.Empty`` when
        one of them has ended and nothing more can be received.
    """

    def __init__(self, source: Any, ends: Iterable[int] = ()) -> None:
        self._source = source
        self._fd: int = source._reader.fileno()
        self._ready = select.poll()
        for fd in (self._fd, *ends):
            self._ready.register(fd, select.POLLIN)
        # The part of a message that is being received, and how much of it is there.
        self._length: struct.Struct | None = _SHORT
        self._part = memoryview(bytearray(_SHORT.size))
        self._got = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next message; ``queue.Empty`` when there is none in time, or none to be expected."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 0.0 if not block else None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._ready.poll(None if left is None else left * 1000)
            # Something may be there still of one that has ended; end of file says that all have.
            if not any(fd == self._fd for fd, _ in ready) or not self._receive():
                raise queue.Empty
            if self._got == len(self._part) and (message := self._whole()) is not None:
                self._source._sem.release()  # as Queue.get does
                return pickle.loads(message)

    def empty(self) -> bool:
        """Whether nothing has arrived of a next message."""
        return not any(fd == self._fd for fd, _ in self._ready.poll(0))

    def _receive(self) -> bool:
        """Read what there is of the present part, without waiting; False at the end of file."""
        n = os.readv(self._fd, [self._part[self._got :]])
        self._got += n
        return n > 0

    def _whole(self) -> memoryview | None:
        """Return the message if it was its last part that was received, else begin with the next part."""
        part, length = self._part, self._length
        self._got = 0
        if length is None:
            self._length, self._part = _SHORT, memoryview(bytearray(_SHORT.size))
            return part
        (size,) = length.unpack(part)
        long = length is _SHORT and size == -1
        self._length = _LONG if long else None
        self._part = memoryview(bytearray(_LONG.size if long else size))
        return None
