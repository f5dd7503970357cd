"""Our DataLoader against a real server: order, position, passes, what it takes and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from pydaos.testing import Server
from pydaos.torch import DataLoader, Dataset
from pydaos.torch._order import Order

N = 103

#: Ways to make batches: in the loop, on threads, in processes.
WAYS = [{}, {"transform_threads": 3}, {"num_workers": 2}]


def number(x: bytes) -> int:
    return int.from_bytes(x, "little")


def noisy(x: bytes, rng: np.random.Generator) -> float:
    return number(x) + float(rng.random())


@pytest.fixture(scope="module")
def pool_of_numbers(server: Server) -> Any:
    """A pool with 103 files, each of which holds its number, and as many rows."""
    client = server.connect()
    name = "dataloader"
    client.create_pool(name)
    files = client.create_dataset(f"{name}/files", type="posix")
    for i in range(N):
        files.write_bytes(f"{'ab'[i >= 50]}/{i:03d}", i.to_bytes(8, "little"), parents=True)
    files.snapshot("v1")
    rows = client.create_dataset(f"{name}/rows", type="tensor")
    table = {"id": np.arange(N, dtype=np.int64), "x": np.ones((N, 3), np.float32)}
    rows.define(table)
    rows.append(table)
    rows.snapshot("v1")
    yield name, server
    client.destroy_pool(name, force=True)
    client.close()


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


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_order_is_that_of_seed_and_pass(pool_of_numbers: Any, way: dict[str, int]) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), 8, shuffle=True, seed=3, **way)
    assert len(loader) == 13
    assert loader.epoch == 0
    assert flat(drain(loader)) == expected(3, 0)
    assert loader.epoch == 1
    assert flat(drain(loader)) == expected(3, 1)
    loader.set_epoch(7)
    assert flat(drain(loader)) == expected(3, 7)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_state_counts_what_the_loop_got(pool_of_numbers: Any, way: dict[str, int]) -> None:
    data = open_numbers(pool_of_numbers)
    loader = DataLoader(data, 8, shuffle=True, seed=3, **way)
    order = expected(3, 0)
    it = iter(loader)
    assert loader.state_dict()["position"] == 0
    for k in range(1, 6):
        assert ids(next(it)) == order[8 * k - 8 : 8 * k]
        assert loader.state_dict()["position"] == 8 * k
    state = json.loads(json.dumps(loader.state_dict()))
    del it
    assert len(json.dumps(state)) < 300
    other = DataLoader(data, 5, shuffle=True, seed=99, **WAYS[2 if not way else 0])
    other.load_state_dict(state)
    assert other.epoch == 0
    assert other.state_dict() == state
    assert flat(drain(other)) == order[40:]
    assert flat(drain(other)) == expected(3, 1)
