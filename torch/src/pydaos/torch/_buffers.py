"""Memory of batches: reused only when nobody holds it any more.

A batch is received into a *lease*: a numpy view of a private anonymous
mapping. ``torch.from_numpy`` keeps the lease alive as long as any tensor over
it lives (views share the storage, the storage holds the lease). When the last
one is gone a finalizer gives the mapping back to its pool; never earlier, so a
batch that is kept can't change. When all mappings are held the next batch gets
a new one: the pool never waits and never overwrites.

Two details make that true. The mapping is no ndarray, so that numpy does not
shorten a view's chain of bases past the lease. And it is private: a Python
mmap is shared with forked children by default.
"""

from __future__ import annotations

import mmap
import weakref
from collections import defaultdict, deque

import numpy as np
import numpy.typing as npt

from pydaos import _process

__all__ = ["BufferPool", "process_pool", "size_class"]

U8 = npt.NDArray[np.uint8]

_PAGE = mmap.PAGESIZE


def size_class(nbytes: int) -> int:
    """Round up to a quarter of a power of two, at least a page."""
    if nbytes <= _PAGE:
        return _PAGE
    step = max(_PAGE, 1 << ((nbytes - 1).bit_length() - 3))
    return -(-nbytes // step) * step


class _Lease(weakref.ref[U8]):
    """A weak reference to a leased view, with the mapping below it."""

    __slots__ = ("memory", "size")
    memory: mmap.mmap
    size: int
    # By identity: a reference hashes and compares as its array, which has no hash.
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class BufferPool:
    """A pool of batch memory of one process.

    Parameters
    ----------
    idle_bytes : int
        Mappings of at most so many bytes together are kept for reuse; what is
        given back beyond that is freed.
    """

    def __init__(self, idle_bytes: int = 256 << 20) -> None:
        self._forks = _process.forks
        self._out: set[_Lease] = set()
        self._idle: defaultdict[int, deque[mmap.mmap]] = defaultdict(deque)
        self._idle_bytes = 0
        self._limit = idle_bytes
        self.made = 0

    def lease(self, nbytes: int) -> U8:
        """Return a writable uint8 array of ``nbytes``, page-aligned, contents undefined."""
        size = size_class(nbytes)
        idle = self._idle[size]
        try:
            memory = idle.pop()
            self._idle_bytes -= size
        except IndexError:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self.made += 1
        view: U8 = np.frombuffer(memory, np.uint8, nbytes)
        # The reference holds the mapping, not the view, and lives in `_out` until
        # the view is gone (weakref.finalize does the same at three times the cost).
        lease = _Lease(view, self._give_back)
        lease.memory = memory
        lease.size = size
        self._out.add(lease)
        return view

    def _give_back(self, lease: _Lease) -> None:
        # Runs in any thread and in the middle of lease(): it only appends.
        self._out.discard(lease)
        size = lease.size
        if self._idle_bytes + size <= self._limit and self._forks == _process.forks:  # else inherited: the parent's
            self._idle_bytes += size
            self._idle[size].append(lease.memory)


_pool: BufferPool | None = None


def process_pool() -> BufferPool:
    """Return the pool of this process; a forked child gets one of its own."""
    global _pool
    if _pool is None or _pool._forks != _process.forks:
        _pool = BufferPool()
    return _pool
