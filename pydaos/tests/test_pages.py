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
        view[:4096] = bytes(range(256)) * 16
        there = os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled")
        start, size = pages.whole(at + 4096, len(view))
        large = pages.Large(2)
        asked = large.get(view)
        assert 0 < asked <= size if there else asked == 0
        assert view[:4096] == bytes(range(256)) * 16
        if there:
            got, (first, end) = flags(start)
            assert "hg" in got
            assert at <= first
            assert end == start + asked
        assert "hg" not in flags(at + 15 * MIB)[0]
        assert large.get(view[: pages.LARGE - 1]) == 0
        view.release()
        del whole


def test_memory_that_is_used_once_more_is_left_alone():
    with mmap.mmap(-1, 8 * MIB) as memory:
        view = memoryview(memory)
        at, _ = pages.whole(np.frombuffer(memory, np.uint8).__array_interface__["data"][0], len(view))
        assert not pages.there(at)
        view[:] = bytes(len(view))
        assert pages.there(at)
        assert pages.Large(1).get(view) == 0
        assert "hg" not in flags(at)[0]
        view.release()


class Kernel:
    """A kernel whose large pages take so many seconds each, in turn."""

    def __init__(self, monkeypatch, took):
        self.asked = []
        self.now = 0.0
        self._took = iter(took)
        monkeypatch.setattr(pages, "_madvise", self.madvise)
        monkeypatch.setattr(pages.time, "perf_counter", lambda: self.now)

    def madvise(self, address, size, advice):
        if advice == pages._POPULATE:
            self.now += next(self._took)
        else:
            self.asked.append((address, size))
        return 0


def test_they_are_asked_for_as_long_as_they_come_quickly(monkeypatch):
    with mmap.mmap(-1, 64 * MIB) as memory:
        view = memoryview(memory)
        at = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
        size = pages.whole(at, len(view))[1]
        kernel = Kernel(monkeypatch, [1e-4] * 1000)
        large = pages.Large(3)
        assert [large.get(view) for _ in range(4)] == [size] * 3 + [0]  # three buffers, and no more
        assert len(set(kernel.asked)) == size // pages.LARGE

        # One that takes long is not the end, two in a row are; the rest of the buffer is left alone.
        kernel = Kernel(monkeypatch, [6.5e-3, *[1e-4] * 10, 6.5e-3, *[1e-4] * 10, 6.5e-3, 6.5e-3, *[1e-4] * 10])
        large = pages.Large(100)
        assert large.get(view) == 24 * pages.LARGE
        assert [large.get(view) for _ in range(3)] == [0, 0, 0]

        # Always a little late is too late.
        kernel = Kernel(monkeypatch, [1.5e-3] * 1000)
        assert pages.Large(100).get(view) == 21 * pages.LARGE
        view.release()
