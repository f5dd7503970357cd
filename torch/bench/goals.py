"""What a release has to reach, as ratios: floors it may not fall below, and goals."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOADER", "TRANSFORM", "Want"]


@dataclass(frozen=True)
class Want:
    """Ratios to local files: floors of the stock loader and of ready batches, goals by unix and TCP."""

    stock: float | None
    ready: float | None
    unix: float
    tcp: float


#: Loader rows by the size of a sample.
LOADER = {
    "4 KiB": Want(5, 6, 10, 6),
    "100 KiB": Want(1.2, 1.2, 4, 1.3),
    "1 MiB": Want(2, 3, 10, 3),
    "784 B": Want(None, None, 15, 8),
}

#: A Python transform of 200 us a sample, best setting of each side.
TRANSFORM = 1.3

#: Seconds from opening a dataset to its first batch: floor and goal; and those of a resume.
FIRST_BATCH = (0.15, 0.1)
RESUME = (0.1, 0.05)

#: Checkpoints: save and torch.load and load into existing tensors, floor and goal.
SAVE = (0.7, 0.9)
LOAD = (1.0, 1.0)
LOAD_INTO = (0.5, 0.7)

#: N-D slices of an array by socket, to numpy's memory-mapped and to zarr's on local files.
SLICES_OF_MEMMAP = 0.25
SLICES_OF_ZARR = 2.0

#: Memory of a training process over torch alone, MB beyond its batch buffers.
MEMORY_MB = 25

#: Filters of 5 % and of 0.1 % of the rows, and a GROUP BY, to DuckDB over Parquet of the same rows.
QUERY = (1.0, 2.0)
QUERY_GROUPS = 0.8

#: `find` to find(1): where all is looked at, and where a path or a range of times leaves little over.
FIND = 3.0
FIND_PRUNED = 20.0
