"""Large pages for buffers that are read into."""

import mmap
import os

import numpy as np
import pytest

from pydaos import _pages as pages

MIB = 1 << 20


@pytest.mark.parametrize(
    ("address", "size", "want"),
    [
        (0, 4 * MIB, (0, 4 * MIB)),
        (4096, 4 * MIB, (2 * MIB, 2 * MIB)),
        (2 * MIB - 64, 2 * MIB + 64, (2 * MIB, 2 * MIB)),
        (2 * MIB - 64, 2 * MIB + 63, (2 * MIB, 0)),
        (64, 3 * MIB, (2 * MIB, 0)),
    ],
)
def test_only_pages_inside_are_meant(address, size, want):
    assert pages.whole(address, size) == want


def flags(address):
    """Return the flags of the mapping that an address lies in, and its bounds."""
    bounds = (0, 0)
    with open("/proc/self/smaps") as f:
        for line in f:
            if "-" in (head := line.split(" ", 1)[0]) and ":" not in head:
                bounds = tuple(int(x, 16) for x in head.split("-"))
            elif line.startswith("VmFlags:") and bounds[0] <= address < bounds[1]:
                return line.split()[1:], bounds
    raise AssertionError(f"{address:#x} is not mapped")


def test_a_large_buffer_gets_them_and_nothing_else_does():
    with mmap.mmap(-1, 16 * MIB) as memory:
        whole = np.frombuffer(memory, np.uint8)
        at = whole.__array_interface__["data"][0]
        view = memoryview(memory)[4096 : 10 * MIB]
        view[:100] = bytes(range(100))
        there = os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled")
        assert pages.ask(view) is there
        assert bytes(view[:100]) == bytes(range(100))
        start, size = pages.whole(at + 4096, len(view))
        if there:
            got, (first, end) = flags(start)
            assert "hg" in got
            assert at <= first
            assert end <= start + size
        assert "hg" not in flags(at + 15 * MIB)[0]
        assert not pages.ask(view[: pages.LARGE - 1])
        view.release()
        del whole
