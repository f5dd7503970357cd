"""The order of a pass: bijection, seek, and the vectors shared with Go."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pydaos.torch._order import Order, mix64
from pydaos.torch._plan import slices
from pydaos.torch._token import Token

VECTORS = Path(__file__).resolve().parents[2] / "loader" / "order" / "testdata" / "order.json"


def test_mix64_is_the_splitmix64_finaliser() -> None:
    # The first outputs of splitmix64 with seed 0 (its state is a multiple of the golden ratio).
    assert mix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    assert mix64(2 * 0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 64, 99, 100, 101, 1000, 70000])
def test_shuffle_is_a_bijection(n: int) -> None:
    order = Order("shuffle", n, seed=5, pass_=3).take(0, n)
    assert np.array_equal(np.sort(order), np.arange(n, dtype=np.uint64))


def test_shuffle_can_begin_anywhere() -> None:
    order = Order("shuffle", 10_007, seed=1)
    whole = order.take(0, 10_007)
    assert np.array_equal(whole[3000:3100], order.take(3000, 3100))
    assert list(order.iter_from(9_990)) == whole[9_990:].tolist()
    with pytest.raises(IndexError, match="10007 samples"):
        order.take(0, 10_008)


def test_seed_and_pass_change_the_order() -> None:
    a = Order("shuffle", 1000, seed=0, pass_=0).take(0, 1000)
    for seed, pass_ in ((1, 0), (0, 1), (2**63, 0)):
        b = Order("shuffle", 1000, seed=seed, pass_=pass_).take(0, 1000)
        assert (a == b).sum() < 20
    # Negative seeds are taken modulo 2**64.
    assert np.array_equal(
        Order("shuffle", 100, seed=-1).take(0, 100), Order("shuffle", 100, seed=2**64 - 1).take(0, 100)
    )


def test_shuffle_is_close_to_uniform() -> None:
    """Where sample 0..15 go, over many passes: chi squared within six sigmas."""
    n, passes = 16, 4000
    counts = np.zeros((n, n))
    for p in range(passes):
        counts[np.arange(n), Order("shuffle", n, 9, p).take(0, n).astype(int)] += 1
    expected = passes / n
    chi2 = ((counts - expected) ** 2 / expected).sum()
    degrees = (n - 1) ** 2
    assert abs(chi2 - degrees) < 6 * (2 * degrees) ** 0.5


def test_vectors_of_the_go_implementation() -> None:
    vectors = json.loads(VECTORS.read_text())["vectors"]
    assert vectors
    for v in vectors:
        order = Order(v["kind"], int(v["n"]), int(v["seed"]), int(v["pass"]))
        head = order.take(0, min(1000, order.n))
        assert head[: len(v["first"])].tolist() == [int(i) for i in v["first"]], v
        tail = order.take(order.n - len(v["last"]), order.n)
        assert tail.tolist() == [int(i) for i in v["last"]], v
        assert hashlib.sha256(head.astype("<u8").tobytes()).hexdigest() == v["sha256_first_1000"], v


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_slices_cover_a_pass_once_in_order(workers: int, size: int) -> None:
    n, batch, start = 1003, 8, 24
    seen: list[int] = []
    streams = [[list(slices(start, n, batch, (r, size), (w, workers))) for w in range(workers)] for r in range(size)]
    per_rank = []
    for r in range(size):
        merged = []
        k = 0
        while any(k // workers < len(s) for s in streams[r]):
            w = k % workers
            if k // workers < len(streams[r][w]):
                merged.append(streams[r][w][k // workers])
            k += 1
        per_rank.append(merged)
    for k in range(max(map(len, per_rank))):
        for r in range(size):
            if k < len(per_rank[r]):
                seen.extend(range(*per_rank[r][k][:2]))
    assert seen == list(range(start, n))


def test_slices_drop_last_is_the_same_number_for_every_rank() -> None:
    counts = {len(list(slices(0, 1003, 8, (r, 4), drop_last=True))) for r in range(4)}
    assert counts == {1003 // 32}


def test_token_round_trip_and_refusals() -> None:
    token = Token("ab" * 16, "p/photos@v1", "shuffle", 2**63, 2, 123456789)
    assert Token.from_dict(token.to_json()) == token
    assert len(token.to_json()) < 300
    good = token.to_dict()
    for change, words in (
        ({"v": 2}, "version 2"),
        ({"order_v": 9}, "made by another"),
        ({"order": "riffle"}, "riffle"),
        ({"position": -1}, "negative"),
        ({"position": "1"}, "'position'"),
        ({"seed": True}, "'seed'"),
        ({"extra": 1}, "unknown fields: extra"),
    ):
        with pytest.raises(ValueError, match=words):
            Token.from_dict({**good, **change})
    with pytest.raises(ValueError, match="not JSON"):
        Token.from_dict("{")
