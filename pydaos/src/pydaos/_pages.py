"""Large pages for memory that is about to be filled from its beginning to its end.

Most of the time of reading a file into new memory goes into its pages, which the kernel finds
and clears one by one at their first touch. Where it may use large ones (transparent huge pages,
``madvise`` or ``always``), it does that 512 at a time. numpy asks for the same for its arrays
from 4 MiB on; who allocates otherwise, torch for one, does not.
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

#: Bytes of a large page, and the size of a buffer from which it can have one.
LARGE = 2 << 20

_ADVICE = getattr(mmap, "MADV_HUGEPAGE", 14)
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def whole(address: int, size: int) -> tuple[int, int]:
    """Return the large pages that lie in memory as a whole: their address and bytes."""
    start = -(-address // LARGE) * LARGE
    return start, max(0, (address + size) // LARGE * LARGE - start)


def ask(view: memoryview) -> bool:
    """Ask for large pages for a buffer; False where it has no room for one, or there are none.

    Nothing outside of the buffer changes, and nothing inside: it takes as much memory, once it is filled.
    """
    if len(view) < LARGE:
        return False
    start, size = whole(np.frombuffer(view, np.uint8).__array_interface__["data"][0], len(view))
    return size > 0 and _madvise(start, size, _ADVICE) == 0
