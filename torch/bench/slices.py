"""Rows of N-D slices: an array dataset, zarr on the local file system, memory-mapped numpy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from bench import Bench
from goals import SLICES_OF_MEMMAP, SLICES_OF_ZARR
from pairs import Row, Side, verdict

__all__ = ["run"]

#: What is read of an array of float32, 64 x 256 x 1024 in chunks of 8 x 64 x 1024.
SLICES: dict[str, Any] = {
    "a plane, 1 MiB": np.s_[13],
    "planes, 8 MiB": np.s_[8:16],
    "a box, 4 MB of 27 MB": np.s_[10:30, 50:150, 100:600],
    "every fourth, second, third": np.s_[::4, ::2, 5:900:3],
    "a column through all chunks": np.s_[:, :, 5],
    "all, 64 MiB": np.s_[...],
}


def run(bench: Bench) -> None:
    """Each side reads into a new array; what it reads is compared once, not counted."""
    import zarr

    shape = (16, 256, 1024) if bench.quick else (64, 256, 1024)
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

    def reads(source: Any, key: Any, times: int, size: int) -> Callable[[], float]:
        def work() -> float:
            for _ in range(times):
                np.array(source[key]) if source is mapped else source[key]
            return times * size / 1e6

        return work

    for what, key in SLICES.items():
        want = data[key]
        for source in (ours, plain, packed):
            if not np.array_equal(source[key], want):
                raise AssertionError(f"{what}: {source} gives something else")
        times = max(1, (8 << 20) // want.nbytes) if want.nbytes > 1 << 18 else 16
        sides = [
            Side("numpy memmap, copied", reads(mapped, key, times, want.nbytes)),
            Side("zarr, local files, no compression", reads(plain, key, times, want.nbytes)),
            Side("zarr, local files, its defaults", reads(packed, key, times, want.nbytes)),
            Side("ours, unix socket", reads(ours, key, times, want.nbytes), goal=SLICES_OF_MEMMAP),
        ]
        row = bench.measure(Row(f"array slice: {what}", "MB/s", sides, sides[0].name))
        ratio = row.ratio(sides[3], sides[1].name)[1]
        row.notes.append(
            f"ours to zarr without compression: {ratio:.2f}x, goal {verdict(ratio, SLICES_OF_ZARR)}; "
            f"to zarr as it comes: {row.ratio(sides[3], sides[2].name)[1]:.2f}x."
        )
        bench.show(row)
