"""Rows of N-D slices: an array dataset, zarr on the local file system, memory-mapped numpy.

Every read is of another place of 256 MiB, as reads are: one slice over and over would lie
in the processor's cache, where a copy costs a tenth of what it costs from memory and no socket
can follow; so would a smaller array in a cache of 32 MiB, for the most part. Beside them stands
a bare unix socket, over which another process sends as many bytes as it is asked for, without
looking anything up: no server can be faster.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from bench import Bench
from goals import SLICES_OF_MEMMAP, SLICES_OF_ZARR
from pairs import Row, Side, quartiles, verdict

__all__ = ["run"]

#: What is read of an array of float32, 256 x 256 x 1024 in chunks of 8 x 64 x 1024: the i-th time.
SLICES: dict[str, Callable[[int], Any]] = {
    "one element": lambda i: np.s_[i * 71 % 256, i * 31 % 256, i * 97 % 1024],
    "a row, 4 KiB": lambda i: np.s_[i * 71 % 256, i * 31 % 256],
    "a box of 2 x 10 x 10": lambda i: tuple(
        slice(k, k + n) for k, n in ((i * 71 % 254, 2), (i * 31 % 246, 10), (i * 97 % 1014, 10))
    ),
    "a plane, 1 MiB": lambda i: np.s_[i * 71 % 256],
    "planes, 8 MiB": lambda i: np.s_[i * 11 % 32 * 8 : i * 11 % 32 * 8 + 8],
    "a box, 4 MB": lambda i: np.s_[i * 71 % 236 : i * 71 % 236 + 20, 50:150, 100:600],
    "every fourth, second, third of 64 MiB": lambda i: np.s_[
        i * 64 % 256 + i % 4 : i * 64 % 256 + 64 : 4, i // 4 % 2 :: 2, 5:900:3
    ],
    "a column through 64 MiB": lambda i: np.s_[i * 64 % 256 : i * 64 % 256 + 64, :, i * 97 % 1024],
    "a quarter, 64 MiB": lambda i: np.s_[i * 64 % 256 : i * 64 % 256 + 64],
}

#: Rows whose time is that of a request: there is no ratio to memory that a socket could reach.
SMALL = 64 << 10
#: Bytes that a round reads, about, where the slices are larger.
ROUND = 128 << 20

_SENDER = """
import socket, struct, sys
sock = socket.socket(fileno=int(sys.argv[1]))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
data = memoryview(bytes(64 << 20))
while request := sock.recv(64):
    sock.sendall(data[: struct.unpack_from("<Q", request)[0]])
"""


class Bare:
    """Another process that sends as many bytes as it is asked for."""

    def __enter__(self) -> Bare:
        self._sock, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SENDER, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._sock.close()
        self._process.wait()

    def read(self, size: int) -> None:
        """Receive so many bytes into new memory."""
        view = np.empty(size, np.uint8).data
        self._sock.sendall(struct.pack("<Q56x", size))
        while view:
            view = view[self._sock.recv_into(view, 0, socket.MSG_WAITALL) :]


def run(bench: Bench) -> None:
    """Each side reads into a new array; what it reads is compared once, not counted."""
    import zarr

    shape = (256, 256, 1024)
    data = np.random.default_rng(0).normal(size=shape).astype("f4")
    chunks = (8, 64, 1024)
    dataset: Any = bench.client.create_dataset("bench/slices", type="array")
    dataset.create_array("x", data=data, chunks=chunks)
    dataset.snapshot("v1")
    ours: Any = bench.client.dataset("bench/slices@v1")["x"]
    folder = tempfile.mkdtemp(prefix="slices-", dir=bench.scratch)
    np.save(f"{folder}/x.npy", data)
    mapped = np.load(f"{folder}/x.npy", mmap_mode="r")
    plain = zarr.create_array(f"{folder}/plain", shape=shape, dtype="f4", chunks=chunks, compressors=None)
    plain[...] = data
    packed = zarr.create_array(f"{folder}/packed", shape=shape, dtype="f4", chunks=chunks)
    packed[...] = data

    def reads(read: Callable[[Any], Any], slices: Callable[[int], Any], times: int) -> Callable[[], float]:
        turn = iter(range(1 << 62))

        def work() -> float:
            size = sum(read(slices(next(turn))).nbytes for _ in range(times))
            return times if size < times * SMALL else size / 1e6

        return work

    with Bare() as bare:
        for what, slices in SLICES.items():
            for i in range(3):
                want = data[slices(i)]
                for source in (ours, plain, packed):
                    if not np.array_equal(source[slices(i)], want):
                        raise AssertionError(f"{what}: {source} gives something else")
            small = want.nbytes < SMALL
            # Long enough that a round is not the time in which everything wakes up; a column of 64 KiB takes
            # zarr half a minute for 32 MiB.
            times = 256 if small else max(4, (ROUND if want.nbytes > 1 << 17 else ROUND // 4) // want.nbytes)
            if bench.quick:
                times = max(2, times // 4)

            def alone(times: int = times, size: int = want.nbytes, small: bool = small) -> float:
                for _ in range(times):
                    bare.read(size)
                return times if small else times * size / 1e6

            sides = [
                Side("numpy memmap, copied", reads(lambda key: np.array(mapped[key]), slices, times)),
                Side("zarr, local files, no compression", reads(lambda key: plain[key], slices, times)),
                Side("zarr, local files, its defaults", reads(lambda key: packed[key], slices, times)),
                Side("a bare unix socket, as many bytes", alone),
                Side(
                    "ours, unix socket",
                    reads(lambda key: ours[key], slices, times),
                    goal=None if small else SLICES_OF_MEMMAP,
                ),
            ]
            row = bench.measure(Row(f"array slice: {what}", "slices/s" if small else "MB/s", sides, sides[0].name))
            ratio = row.ratio(sides[4], sides[1].name)[1]
            row.notes.append(
                f"ours to zarr without compression: {ratio:.2f}x, goal {verdict(ratio, SLICES_OF_ZARR)}; "
                f"to zarr as it comes: {row.ratio(sides[4], sides[2].name)[1]:.2f}x; "
                f"to the bare socket: {row.ratio(sides[4], sides[3].name)[1]:.2f}x."
            )
            if small:
                times_us = [1e6 / quartiles(sides[k].rates)[1] for k in (3, 4)]
                ping = _ping(bench)
                row.notes.append(
                    f"A request that carries nothing takes {ping:.0f} us, one over the bare socket "
                    f"{times_us[0]:.0f} us, a slice of ours {times_us[1]:.0f} us: this row is the time of a request."
                )
            bench.show(row)


def _ping(bench: Bench) -> float:
    """Median microseconds of an empty request."""
    took = []
    for _ in range(300):
        begun = time.perf_counter()
        bench.client.ping()
        took.append(time.perf_counter() - begun)
    return 1e6 * quartiles(took)[1]
