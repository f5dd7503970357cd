"""Arrays as samples: rows along the first axis, and token blocks of a 1-D array."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pydaos
from pydaos._arrays import Arrays
from pydaos.testing import Server
from pydaos.torch import Dataset, TokenBlocks


@pytest.fixture
def arrays(client: pydaos.Client, pool: str) -> Arrays:
    """An empty array dataset."""
    made = client.create_dataset(f"{pool}/arrays", type="array")
    assert isinstance(made, Arrays)
    return made


def _open(server: Server, arrays: Arrays, path: str) -> Dataset:
    return Dataset(f"{arrays.address}@s1/{path}", addr=server.address, token=server.token)


def test_rows_of_an_array_are_samples(server: Server, arrays: Arrays) -> None:
    x = np.random.default_rng(3).normal(size=(501, 3, 8)).astype("f4")
    live = arrays.create_array("g/x", data=x, chunks=(64, 3, 8))
    arrays.snapshot("s1")
    live[...] = 0
    with _open(server, arrays, "g/x") as dataset:
        assert len(dataset) == 501
        assert np.array_equal(dataset[7]["x"], x[7])
        seen = [b["x"] for b in torch.utils.data.DataLoader(dataset, 32, shuffle=True)]
        assert sum(len(b) for b in seen) == 501
        assert np.allclose(torch.cat(seen).sum(0), x.sum(0), atol=1e-3)
        ordered = torch.cat([b["x"] for b in dataset.batches(50)])
        assert np.array_equal(ordered, x)


def test_rows_that_were_never_written_are_zeros(server: Server, arrays: Arrays) -> None:
    a = arrays.create_array("x", shape=(10, 4), dtype="i8", chunks=(3, 4))
    a[4] = 7
    arrays.snapshot("s1")
    with _open(server, arrays, "x") as dataset:
        got = torch.cat([b["x"] for b in dataset.batches(4)])
        assert np.array_equal(got, a[...])


def test_a_run_of_tokens_is_cut_into_blocks(server: Server, arrays: Arrays) -> None:
    tokens = np.random.default_rng(1).integers(0, 50_000, 10_000).astype("i4")
    arrays.create_array("tokens", data=tokens, chunks=(1000,))
    arrays.snapshot("s1")
    with _open(server, arrays, "tokens") as dataset:
        blocks = TokenBlocks(dataset, 128)
        assert len(blocks) == 10_000 // 128
        assert np.array_equal(blocks[20]["tokens"], tokens[20 * 128 : 21 * 128])
        shuffled = torch.cat([b["tokens"] for b in blocks.batches(7, shuffle=True, seed=1)])
        assert sorted(shuffled.flatten().tolist()) == sorted(tokens[: 78 * 128].tolist())
        with pytest.raises(ValueError, match="documents"):
            TokenBlocks(dataset, 128, eos=0)


def test_what_can_not_be_samples_says_why(server: Server, arrays: Arrays) -> None:
    arrays.create_array("cut", shape=(8, 8), dtype="f4", chunks=(4, 4))
    arrays.create_array("filled", shape=(8,), dtype="f4", fill_value=1)
    arrays.create_array("scalar", shape=(), dtype="f4")
    arrays.snapshot("s1")
    for path, why in (("cut", "cut the rows"), ("filled", "fill value"), ("scalar", "without axes")):
        with pytest.raises(pydaos.UnsupportedError, match=why):
            _open(server, arrays, path)
    with pytest.raises(pydaos.NotFoundError):
        _open(server, arrays, "nope")
    with pytest.raises(pydaos.InvalidError, match="group"):
        _open(server, arrays, "")
