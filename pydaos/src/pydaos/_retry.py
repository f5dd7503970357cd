"""The connections of one client in one process, and the loop that retries over them.

A connection is used by one call at a time; idle ones wait in a short stack. All of
them belong to the process that opened them: in a forked child the stack is replaced
by an empty one and the inherited connections are kept alive and untouched for ever,
because closing or using them there would disturb the parent's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from pydaos import _errors as errors
from pydaos._discovery import Endpoint
from pydaos._feed import FeedConnection
from pydaos._places import NoDescriptorsError

T = TypeVar("T")

MAX_IDLE = 16
# Bytes a second that a disk is trusted to take.
SLOW_DISK = 16e6

# Connections inherited by a forked child: never used, never closed, never collected.
_leaked: list[FeedConnection] = []
_pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()


class ConnectionPool:
    """Connections to one endpoint; safe to share between threads and to fork."""

    #: Whether large answers of a server of this user may lie in its files.
    files = True

    def __init__(self, endpoint: Endpoint, timeout: float, retry: float) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self.retry = retry
        self._closed = False
        self._reset()
        _pools.add(self)

    def patient(self, durable_bytes: int) -> float:
        """Return the deadline of a call that makes so many bytes durable, on a slow disk too."""
        return self.timeout + durable_bytes / SLOW_DISK

    def _reset(self) -> None:
        self._pid = os.getpid()
        # A signal's handler that reads may come while its thread has it.
        self._lock = threading.RLock()
        self._idle: list[FeedConnection] = []

    def _after_fork(self) -> None:
        _leaked.extend(self._idle)
        self._reset()

    def acquire(self) -> FeedConnection:
        """Take an idle connection, or open one; give it back by `release`."""
        if self._pid != os.getpid():
            self._after_fork()
        with self._lock:
            if self._closed:
                raise errors.InvalidError("this client is closed", resolution="call pydaos.connect() again")
            with contextlib.suppress(IndexError):
                return self._idle.pop()
        return self.open()

    def open(self) -> FeedConnection:
        """Open a connection to the first target that answers."""
        failure: errors.DaosError | None = None
        for target in self.endpoint.targets():
            try:
                return FeedConnection.open(target.address, target.token, self.timeout, files=self.files)
            except errors.UnreachableError as e:
                failure = failure or e
        raise failure or errors.UnreachableError(f"{self.endpoint}: nowhere to connect to")

    def release(self, conn: FeedConnection) -> None:
        """Give a connection back; a broken one is closed."""
        if conn.pid != os.getpid():
            _leaked.append(conn)
            return
        if not (conn.broken or conn.draining):
            with self._lock:
                if not self._closed and len(self._idle) < MAX_IDLE:
                    self._idle.append(conn)
                    return
        conn.close()

    def without_files(self) -> None:
        """Let all answers come in the stream from now on: there are no descriptors left for files."""
        self.files = False
        self.drop_idle()

    def drop_idle(self) -> None:
        """Close the idle connections; after a lost one the others are dead too."""
        if self._pid != os.getpid():
            self._after_fork()
        with self._lock:
            idle, self._idle = self._idle, []
        for conn in idle:
            conn.close()

    def close(self) -> None:
        """Close everything; later calls raise InvalidError."""
        self.drop_idle()
        self._closed = True

    def __del__(self) -> None:
        # A client that nobody closed, as those of fsspec. One that was inherited is left alone.
        try:
            if self._pid == os.getpid():
                self._closed = True  # what is given back from here on, in one cycle with this, is closed
                for conn in self._idle:
                    conn.close()
            else:
                _leaked.extend(self._idle)
        except (AttributeError, TypeError):
            pass  # half made, or the interpreter is going down

    def run(self, call: Callable[[FeedConnection], T], *, retry: float | None = None) -> T:
        """Run one call, over a fresh connection again while the server can't be reached.

        The call must be one that can be repeated: a read, or a change with a request id.
        """
        patience = Patience(self.retry if retry is None else retry)
        while True:
            conn: FeedConnection | None = None
            try:
                conn = self.acquire()
                return call(conn)
            except NoDescriptorsError:
                if conn is not None:
                    conn.broken = True
                self.without_files()
            except (errors.UnreachableError, errors.OverloadedError) as e:
                if conn is not None and conn.broken:
                    self.drop_idle()
                patience.wait(e)
            except errors.DaosError:
                raise
            except BaseException:
                # Interrupted somewhere: what the connection is in the middle of is unknown.
                if conn is not None:
                    conn.broken = True
                raise
            finally:
                if conn is not None:
                    self.release(conn)


class Patience:
    """Waits between attempts, longer and longer, until `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._delay = 0.0

    def wait(self, error: errors.DaosError) -> None:
        """Sleep before the next attempt, or raise the error when patience is over."""
        delay = max(self._delay, error.retry_after)
        if time.monotonic() + delay > self._deadline:
            raise error
        time.sleep(delay)
        # The first retry is at once: an idle connection to a restarted server is the usual case.
        self._delay = min(max(0.02, self._delay * 2), 1.0)


def new_request_id() -> bytes:
    """Return 16 random bytes; from the kernel, so that a forked child's differ."""
    return os.urandom(16)


def _reset_after_fork() -> None:
    for pool in list(_pools):
        pool._after_fork()


os.register_at_fork(after_in_child=_reset_after_fork)
