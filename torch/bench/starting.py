"""Rows of a start: from opening a dataset to its first batch, and to that after a resume."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import walks
from bench import Bench
from goals import FIRST_BATCH, RESUME
from pairs import Row, Side, quartiles, verdict
from sets import SHAPES, Population
from torch.utils.data import DataLoader

from pydaos.torch import DataLoader as OurLoader
from pydaos.torch import Dataset

__all__ = ["run"]


def run(bench: Bench) -> None:
    """The manifest is built; each start is a new dataset object with a new connection."""
    size, count = 4096, 5_000 if bench.quick else 100_000
    tensors = bench.client.create_dataset("bench/starts", type="tensor")
    tensors.define({"x": np.zeros((1, size), np.uint8)})
    tensors.append({"x": np.zeros((count, size), np.uint8)})
    bench.daos("snapshot", "create", "bench/starts", "v1")
    Dataset("bench/starts@v1").close()
    shape = type(SHAPES[0])("4 KiB", size, 5_000, 32)
    local = Population.make(bench, shape)

    def files() -> float:
        loader = DataLoader(walks.FileDataset(local.paths()), 32, shuffle=True)
        next(iter(loader))
        return 1

    def opened(first: Callable[[Dataset], object]) -> Callable[[], float]:
        def work() -> float:
            with Dataset("bench/starts@v1") as data:
                first(data)
            return 1

        return work

    token = OurLoader(Dataset("bench/starts@v1"), batch_size=32, shuffle=True).state_dict()
    token["position"] = count // 2 // 32 * 32

    def resumed(data: Dataset, **options: int) -> object:
        loader = OurLoader(data, shuffle=True, **{"batch_size": 48, **options})
        loader.load_state_dict(token)
        return next(iter(loader))

    def ready(data: Dataset) -> object:
        batches = data.batches(48, shuffle=True)
        batches.load_state_dict(token)
        return next(iter(batches))

    firsts = {
        "ours, ready batches: open + first batch": opened(lambda d: next(iter(d.batches(32, shuffle=True)))),
        "ours, stock DataLoader: open + first batch": opened(lambda d: next(iter(DataLoader(d, 32, shuffle=True)))),
        "ours, our DataLoader: open + first batch": opened(
            lambda d: next(iter(OurLoader(d, batch_size=32, shuffle=True)))
        ),
    }
    resumes = {
        "ours, ready batches: open + resume in mid pass, another batch size": opened(ready),
        "ours, our DataLoader: the same": opened(resumed),
    }
    base = f"files: list {local.count:,} + first batch, stock DataLoader"
    sides = [Side(base, files)] + [Side(n, w) for n, w in {**firsts, **resumes}.items()]
    row = bench.measure(Row("starts", "starts/s", sides, base))
    for names, (floor, goal) in ((firsts, FIRST_BATCH), (resumes, RESUME)):
        for name in names:
            low, middle, high = quartiles(row.side(name).seconds)
            row.notes.append(
                f"{name}: {1000 * middle:.1f} ms [{1000 * low:.1f} - {1000 * high:.1f}]; "
                f"floor {verdict(middle, floor, at_most=True)}, goal {verdict(middle, goal, at_most=True)}."
            )
    row.notes.append(f"The token has {len(json.dumps(token))} bytes (goal < 300).")
    bench.show(row)
    local.drop(bench)
    bench.client.destroy_dataset("bench/starts")
