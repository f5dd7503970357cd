"""Large pages for memory that is about to be filled from its beginning to its end.

Most of the time of reading a file into new memory goes into its pages, which the kernel finds
and clears one by one at their first touch. Where it may use large ones (transparent huge pages,
``madvise`` or ``always``), it does that 512 at a time. numpy asks for the same for its arrays
from 4 MiB on; who allocates otherwise, torch for one, does not.

Large ones are not always the quick ones. A virtual machine may give free memory back to its host
(free page reporting): only whole large pages, so that small ones are cut from memory that is
there and large ones have to be fetched again, which was seen to take 6.5 ms each instead of 0.1.
A fragmented machine may have to move others out of their way first. `Large` therefore asks as
long as they come quickly.
"""

from __future__ import annotations

import ctypes
import mmap
import time

import numpy as np

#: Bytes of a large page, and the size of a buffer from which it can have one.
LARGE = 2 << 20
#: Seconds that a large page may take: about as long as small ones take for as much memory.
FAIR = 1e-3
#: Seconds beyond that after which no more are asked for.
PATIENCE = 10e-3

_ADVICE = getattr(mmap, "MADV_HUGEPAGE", 14)
_POPULATE = 23  # MADV_POPULATE_WRITE, since Linux 5.14
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_mincore = ctypes.CDLL(None).mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


def whole(address: int, size: int) -> tuple[int, int]:
    """Return the large pages that lie in memory as a whole: their address and bytes."""
    start = -(-address // LARGE) * LARGE
    return start, max(0, (address + size) // LARGE * LARGE - start)


def there(address: int) -> bool:
    """Whether the page at an address is there already, as in memory that an allocator gives once more."""
    flag = ctypes.create_string_buffer(1)
    return _mincore(address, mmap.PAGESIZE, flag) == 0 and bool(flag.raw[0] & 1)


class Large:
    """Large pages for one buffer after the other, as long as they come quickly.

    Parameters
    ----------
    most
        Buffers that they are asked for: each may cut a mapping of the process in three, and it
        can have only so many.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._late = 0.0  # seconds that they took longer than `FAIR`, less those that they were quicker

    def get(self, view: memoryview) -> int:
        """Get them for a buffer that is about to be filled; returns the bytes that are asked for."""
        if not self._left or len(view) < LARGE:
            return 0
        start, size = whole(np.frombuffer(view, np.uint8).__array_interface__["data"][0], len(view))
        asked = 0
        if not size or there(start):
            return 0
        self._left -= 1
        while asked < size and _madvise(start + asked, LARGE, _ADVICE) == 0:
            begun = time.perf_counter()
            if _madvise(start + asked, LARGE, _POPULATE) == 0:  # else at its first touch, whatever that takes
                self._late = max(0.0, self._late + time.perf_counter() - begun - FAIR)
            asked += LARGE
            if self._late > PATIENCE:
                self._left = 0
                break
        return asked
