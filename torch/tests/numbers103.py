"""103 files that say their own number, and what tests of our DataLoader ask of loaders over them.

The fixture `pool_of_numbers` (conftest.py) makes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pydaos.torch import Dataset
from pydaos.torch._order import Order

N = 103

#: Ways to make batches: in the loop, on threads, in processes.
WAYS = [{}, {"transform_threads": 3}, {"num_workers": 2}]


def number(x: bytes) -> int:
    return int.from_bytes(x, "little")


def noisy(x: bytes, rng: np.random.Generator) -> float:
    return number(x) + float(rng.random())


def open_numbers(where: Any, transform: Any = number, **options: Any) -> Dataset:
    name, server = where
    return Dataset(f"{name}/files@v1", addr=server.unix, transform_fn=transform, **options)


def ids(batch: Any) -> list[int]:
    if isinstance(batch, dict):
        batch = batch["id"]
    return (batch.view(torch.int64).flatten() if batch.dtype == torch.uint8 else batch).tolist()


def drain(loader: Any) -> list[list[int]]:
    return [ids(b) for b in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [i for b in batches for i in b]


def expected(seed: int, pass_: int, n: int = N) -> list[int]:
    return [int(i) for i in Order("shuffle", n, seed, pass_).take(0, n)]
