"""Kinds of order: the vectors shared with Go, what each kind promises, and a pass in each over a real dataset."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pydaos.testing import Server
from pydaos.torch import (
    BlockShuffle,
    DataLoader,
    Dataset,
    OrderSpec,
    Sequential,
    Shuffle,
    Stratified,
    Weighted,
    WindowShuffle,
)
from pydaos.torch._order import BLOCK, KINDS, Order
from pydaos.torch._plan import Slice, slices
from pydaos.torch._specs import spec_of
from pydaos.torch._strata import Interleave, quantise
from pydaos.torch._token import Token

VECTORS = Path(__file__).resolve().parents[2] / "loader" / "order" / "testdata"


@dataclass
class Fake:
    """What an order is bound to."""

    samples: int
    class_sizes: Sequence[int] = ()
    classes: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.classes = [f"c{i}" for i in range(len(self.class_sizes))]


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["vectors"]
    assert found
    return found


def bound(v: dict[str, Any]) -> Order:
    n, sizes, weights = v["samples"], v.get("class_sizes"), v.get("weights")
    spec: OrderSpec
    if v["kind"] == "block":
        spec = BlockShuffle(v["block"])
    elif v["kind"] == "window":
        spec = WindowShuffle(v["window"], v.get("block", 0))
    elif v["kind"] == "stratified":
        spec = Stratified()
    elif sizes is not None:
        spec = Weighted(dict(enumerate(weights)), samples=v["n"])
    else:
        spec = Weighted(np.array(weights, np.uint64), samples=v["n"])
    return spec.bind(Fake(n, sizes or ()), v["seed"], v["pass"])


def test_vectors_of_the_go_implementation() -> None:
    for v in vectors("kinds.json"):
        order = bound(v)
        assert order.n == v["n"]
        head = order.take(0, min(1000, order.n))
        assert head[: len(v["first"])].tolist() == v["first"], v
        assert order.take(order.n - len(v["last"]), order.n).tolist() == v["last"], v
        assert hashlib.sha256(head.astype("<u8").tobytes()).hexdigest() == v["sha256_first_1000"], v
        if "digest" in v:
            assert v["digest"] in order.params.values(), v


def test_plans_of_the_go_implementation() -> None:
    for v in vectors("plan.json"):
        for rank, want in enumerate(v["batches"]):
            merged: dict[int, tuple[Slice, int]] = {}
            for worker in range(v["workers"]):
                for s in slices(
                    v["start"],
                    v["n"],
                    v["batch"],
                    (rank, v["ranks"]),
                    (worker, v["workers"]),
                    drop_last=v["drop_last"],
                    uneven=v["uneven"],
                ):
                    merged[s.step] = s, worker
            got = [merged[k] for k in sorted(merged)]
            assert [[s.step, s.start, s.stop, s.first, s.again] for s, _ in got] == want, v
            assert [w for _, w in got] == v["worker"][rank], v


def bijections(n: int) -> list[OrderSpec]:
    labels = np.arange(n) * 7 % 5 - 2
    return [
        Sequential(),
        Shuffle(),
        *(BlockShuffle(b) for b in (1, 2, 7, 16, 100, 1 << 40)),
        *(WindowShuffle(*w) for w in ((4, 0), (5, 0), (16, 0), (17, 5), (64, 1), (1 << 40, 0), (8, 1 << 40))),
        Stratified(),
        Stratified(labels),
    ]


@pytest.mark.parametrize("part", range(4))
def test_orders_are_bijections_that_can_begin_anywhere(part: int) -> None:
    for n in range(part, 220, 4):
        source = Fake(n, (n // 2, 0, n // 3, n - n // 2 - n // 3))
        for spec in bijections(n):
            order = spec.bind(source, 5, n % 7)
            whole = order.take(0, n)
            assert np.array_equal(np.sort(whole), np.arange(n, dtype=np.uint64)), (n, spec)
            for start in range(0, n, 1 + n // 3):
                assert np.array_equal(order.take(start, min(start + 9, n)), whole[start : start + 9]), (n, spec, start)
            if n > 40 and order.kind != "sequential":
                other = order.at(pass_=99).take(0, n)
                assert np.array_equal(other, spec.bind(source, 5, 99).take(0, n))
                assert not np.array_equal(other, whole), (n, spec)


def test_orders_of_many_samples_agree_with_their_blocks() -> None:
    seed = time.time_ns()
    print("seed", seed)
    rng = random.Random(seed)
    for spec in (Shuffle(), BlockShuffle(1000), WindowShuffle(3000, 7), WindowShuffle(1 << 30)):
        for _ in range(10):
            n = rng.randrange(1, 1 << rng.randrange(14, 62))
            order = spec.bind(Fake(n), rng.randrange(1 << 64), rng.randrange(1 << 20))
            at = rng.randrange(n)
            stretch = order.take(at, min(at + 3000, n))
            assert np.unique(stretch).size == stretch.size and int(stretch.max()) < n
            k = rng.randrange(stretch.size)
            assert order.take(at + k, at + k + 1)[0] == stretch[k]


@pytest.mark.parametrize("window", [4, 5, 10, 64])
def test_a_window_bounds_how_far_a_sample_moves(window: int) -> None:
    for n in (1, 5, 63, 64, 65, 1000):
        at = WindowShuffle(window).bind(Fake(n), 3).take(0, n).astype(np.int64)
        moved = np.abs(at - np.arange(n))
        assert moved.max() < window
        if window > 5 and n > 60:
            assert (moved > 0).mean() > 0.5


def test_a_block_is_read_whole_before_the_next() -> None:
    blocks = BlockShuffle(10).bind(Fake(1003), 1).take(0, 1003) // 10
    starts = blocks[np.flatnonzero(np.diff(blocks, prepend=np.uint64(10**6)))]
    assert starts.size == 101 and not np.array_equal(np.sort(starts), starts)


@pytest.mark.parametrize("sizes", [(5, 5), (1000, 3), (7, 0, 90), (10,) * 16, (1, 2, 4, 8, 16, 32), (3, 3, 500, 1)])
def test_strata_keep_their_proportions_in_every_stretch(sizes: tuple[int, ...]) -> None:
    n = sum(sizes)
    order = Stratified().bind(Fake(n, sizes), seed=n).take(0, n)
    label = np.repeat(np.arange(len(sizes)), sizes)[order.astype(np.int64)]
    bound = 1 if sum(s > 0 for s in sizes) <= 2 else 2 if len(set(sizes)) == 1 else 4
    for c, size in enumerate(sizes):
        off = np.concatenate([[0], np.cumsum(label == c)]) - np.arange(n + 1) * size / n
        assert off.max() - off.min() < bound + 1e-9, (c, off.max() - off.min())


def test_stratified_by_an_array_is_that_of_the_classes() -> None:
    sizes = (30, 50, 20)
    by_class = Stratified().bind(Fake(100, sizes), 4).take(0, 100)
    by_label = Stratified(np.repeat([7, 8, 9], sizes)).bind(Fake(100), 4).take(0, 100)
    assert np.array_equal(by_class, by_label)


def test_draws_follow_their_weights() -> None:
    source = Fake(1010, (10, 1000))
    order = Weighted({"c0": 1, "c1": 3}, samples=40_000).bind(source, 1)
    assert order.n == 40_000
    got = order.take(0, order.n).astype(int)
    assert abs((got < 10).mean() - 0.25) < 0.02
    assert np.bincount(got[got < 10], minlength=10).min() > 800  # each of the ten about 1000 times
    weights = np.array([0.1, 0.0, 0.3, 0.6])
    counts = np.bincount(Weighted(weights, 50_000).bind(Fake(4), 2).take(0, 50_000).astype(int), minlength=4)
    assert counts[1] == 0 and np.abs(counts / 50_000 - weights).max() < 0.02
    assert Weighted(weights).bind(Fake(4)).n == 4


@pytest.mark.parametrize("bits", [1, 4, 9])
def test_a_guide_changes_no_draw(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = time.time_ns() % (1 << 32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for weights in (
        rng.integers(0, 1 << 40, 700),
        rng.random(700) ** 20,
        np.r_[np.zeros(300, int), 1, np.zeros(400, int)],
        np.r_[np.zeros(600, int), np.ones(100, int)],
        np.ones(513, int),
    ):
        spec, source = Weighted(weights, 5000), Fake(weights.size)
        plain = spec.bind(source, 3).take(0, 5000)
        with monkeypatch.context() as patch:
            patch.setattr("pydaos.torch._strata.GUIDE_BITS", bits)
            guided = spec.bind(source, 3).take(0, 5000)
        assert np.array_equal(plain, guided)


def test_weights_are_quantised_alike_everywhere() -> None:
    assert quantise(np.array([3, 0, 1]), "weights").tolist() == [3, 0, 1]
    assert quantise(np.array([0.5, 0.25]), "weights").tolist() == [1 << 32 >> 1 << 0, 1 << 30]
    assert quantise(np.array([0.75, 1e-30]), "weights").tolist() == [3 << 30, 0]
    a, b = np.array([0.1, 0.7, 0.2]), np.array([0.1, 0.7, 0.2]) * 1024.0
    assert quantise(a, "weights").tolist() == quantise(b, "weights").tolist()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (lambda: BlockShuffle(0), "at least 1"),
        (lambda: BlockShuffle(True), "needs 'block', int"),
        (lambda: WindowShuffle(3), "at least 4"),
        (lambda: Weighted([1, 2]).bind(Fake(3)), "3 samples; give one per sample"),
        (lambda: Weighted([1.0, float("nan")]).bind(Fake(2)), "finite"),
        (lambda: Weighted([0, 0]).bind(Fake(2)), "nothing could be drawn"),
        (lambda: Weighted([1 << 62, 1 << 62]).bind(Fake(2)), "2\\*\\*63"),
        (lambda: Weighted({"c0": 1}).bind(Fake(3)), "no classes"),
        (lambda: Weighted({"c0": 1, "c2": 1}).bind(Fake(3, (1, 2))), "no class 'c2'; there are 2"),
        (lambda: Weighted({"c0": 1}).bind(Fake(3, (1, 2))), "class 'c1' has no weight"),
        (lambda: Weighted({"c0": 1, "c1": 1}).bind(Fake(3, (0, 3))), "'c0' has a weight and no samples"),
        (lambda: Weighted([1], samples=-1).bind(Fake(1)), "whole number of draws"),
        (lambda: Stratified().bind(Fake(3)), 'labels="dirname"'),
        (lambda: Stratified([0.5, 1.0]).bind(Fake(2)), "one whole number per sample"),
        (lambda: Stratified().bind(Fake(1 << 32, (1 << 32,))), "less than 2\\*\\*32"),
        (lambda: Order("block", 5), "needs 'block'"),
        (lambda: Order("shuffle", 5, params={"block": 3}), "has no parameter"),
        (lambda: Order("weighted", 5, params={"samples": 5, "weights": "0" * 16}), "binding"),
        (lambda: spec_of("shufle"), "did you mean 'shuffle'"),
        (lambda: spec_of("weighted"), "needs weights"),
    ],
)
def test_refusals(spec: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec()


def test_an_order_argument() -> None:
    assert spec_of(None) == Sequential() and spec_of(None, shuffle=True) == Shuffle()
    assert spec_of("window") == WindowShuffle() and spec_of(BlockShuffle(3)) == BlockShuffle(3)
    with pytest.raises(TypeError, match="OrderSpec"):
        spec_of(3)  # type: ignore[arg-type]
    for spec in (*bijections(6)[:-1], Weighted([1, 2, 3, 4, 5, 6])):
        order = pickle.loads(pickle.dumps(spec)).bind(Fake(6, (2, 4)))
        again = pickle.loads(pickle.dumps(order))
        assert again.take(0, 6).tolist() == order.take(0, 6).tolist()


def test_tokens_of_all_kinds_are_short_and_come_back() -> None:
    source = Fake(1 << 31, (1 << 30, 1 << 30))
    specs = [BlockShuffle(1 << 61), WindowShuffle(1 << 61, 1 << 61), Stratified(), Weighted({0: 1, 1: 2}, 1 << 61)]
    for spec in [Shuffle(), Sequential(), *specs]:
        order = spec.bind(source, seed=(1 << 64) - 1, pass_=10**6)
        token = Token.of("ab" * 16, "pool/dataset@a-snapshot-with-a-name", order, order.n)
        text = token.to_json()
        assert len(text) < 300, (len(text), text)
        assert Token.from_dict(text) == token and Token.from_dict(json.loads(text)) == token
        token.check_order(order)
        if isinstance(spec, Weighted):
            with pytest.raises(ValueError, match=r"order=Weighted"):
                token.order_spec()
        else:
            assert type(token.order_spec()) is type(spec)
            token.check_order(token.order_spec().bind(source))
        other = BlockShuffle(5) if spec.kind != "block" else BlockShuffle(6)
        with pytest.raises(ValueError, match="without order="):
            token.check_order(other.bind(source))
    assert set(KINDS) == {s.kind for s in [Shuffle(), Sequential(), *specs]}


def test_a_token_says_what_differs() -> None:
    token = Token.of("ab", "p/d@v", WindowShuffle(64, 8).bind(Fake(10)), 3)
    assert token.differs(WindowShuffle(64, 9).bind(Fake(10))) == (
        "order 'window': block is 8 in the token, 9 in the loader"
    )
    assert "'window'" in token.differs(Shuffle().bind(Fake(10)))


def test_texts_are_tokens_or_not_as_in_go() -> None:
    texts = json.loads((VECTORS.parents[1] / "token" / "testdata" / "tokens.json").read_text())
    assert len(texts["good"]) > 5 and len(texts["bad"]) > 40
    for text in texts["good"]:
        assert Token.from_dict(text).to_json() == text
    for text in texts["bad"]:
        with pytest.raises(ValueError, match="resume token"):
            Token.from_dict(text)


def test_garbage_is_refused_in_words() -> None:
    """Any dict, any text: a Token or a ValueError of few words, never another error."""
    seed = time.time_ns()
    print("seed", seed)
    rng = random.Random(seed)
    text = Token.of("ab" * 16, "p/d@v", WindowShuffle(64, 8).bind(Fake(10)), 3).to_json()
    values = [None, True, -1, 1 << 70, 1.5, float("nan"), "", "x" * 500, [], {}, {"block": 1}, b"\xff", (1,), object()]
    made = 0
    for _ in range(3000):
        if rng.random() < 0.5:
            state: Any = json.loads(text)
            for _ in range(rng.randrange(1, 3)):
                key = rng.choice([*state, "params", "x", 3])
                inner = state["params"] if isinstance(state.get("params"), dict) and rng.random() < 0.3 else state
                inner[rng.choice(["block", "window", "y"]) if inner is not state else key] = rng.choice(values)
        else:
            raw = bytearray(text, "ascii")
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(raw))
                raw[at : at + rng.randrange(3)] = bytes(rng.randrange(256) for _ in range(rng.randrange(3)))
            state = bytes(raw)
        try:
            token = Token.from_dict(state)
        except ValueError as err:
            assert "resume token" in str(err) and len(str(err)) < 1000, str(err)
            continue
        made += 1
        assert Token.from_dict(token.to_json()) == token
    assert made


def test_interleaving_repeats_and_counts() -> None:
    pattern = Interleave([3, 0, 5])
    which, k = pattern.take(np.arange(8, dtype=np.uint64), key=5)
    for part, size in ((0, 3), (2, 5)):
        assert k[which == part].tolist() == list(range(size))
    with pytest.raises(ValueError, match=r"2\*\*32"):
        Interleave([1 << 32])


@pytest.mark.long
def test_orders_are_made_fast() -> None:
    """Five million indices a second for the shuffles; half of that on a machine that does other things."""
    n = 10_000_000
    for spec in (Shuffle(), BlockShuffle(4096), WindowShuffle(65536), WindowShuffle(65536, 256)):
        order = spec.bind(Fake(n))
        best = float("inf")
        for k in range(40):
            begin = time.perf_counter()
            order.take(k * BLOCK, (k + 1) * BLOCK)
            best = min(best, time.perf_counter() - begin)
        assert BLOCK / best > 2.5e6, (spec, BLOCK / best)


@pytest.fixture(scope="module")
def folders(server: Server) -> Any:
    """91 files in three folders of 60, 30 and 1; the content says the label and the number."""
    client = server.connect()
    client.create_pool("orders")
    files = client.create_dataset("orders/files", type="posix")
    for label, (name, n) in enumerate((("cat", 60), ("dog", 30), ("owl", 1))):
        files.mkdir(name)
        for i in range(n):
            files.write_bytes(f"{name}/{i:02d}", bytes([label, i]))
    files.snapshot("v1")
    yield lambda: Dataset("orders/files@v1", labels="dirname", addr=server.unix)
    client.destroy_pool("orders", force=True)
    client.close()


def walked(loader: DataLoader) -> list[tuple[int, int]]:
    out = []
    for x, y in loader:
        assert x[:, 0].tolist() == y.tolist()
        out += [(int(a), int(b)) for a, b in x.tolist()]
    return out


@pytest.mark.parametrize(
    "order",
    [
        "shuffle",
        BlockShuffle(8),
        WindowShuffle(16, 4),
        Stratified(),
        Weighted({"cat": 1, "dog": 1, "owl": 0}, samples=200),
        Weighted(np.arange(91)),
    ],
    ids=lambda o: o if isinstance(o, str) else o.kind,
)
def test_a_pass_in_each_order(folders: Any, order: Any) -> None:
    data = folders()
    assert list(data.source.class_sizes) == [60, 30, 1]
    loader = DataLoader(data, batch_size=9, order=order, seed=11)
    whole = walked(loader)
    bound = spec_of(order).bind(data.source, 11)
    starts = [0, 60, 90]
    assert [starts[y] + i for y, i in whole] == bound.take(0, bound.n).tolist()
    if isinstance(order, Stratified):
        for at in range(0, 90, 9):
            labels = [y for y, _ in whole[at : at + 9]]
            assert 5 <= labels.count(0) <= 7
    if isinstance(order, Weighted) and order.samples:
        assert len(whole) == 200 and not any(y == 2 for y, _ in whole) and sum(y for y, _ in whole) in range(70, 130)
    # On in mid pass, as two ranks, by a loader that gets the order from the token where it can.
    it = iter(loader)
    seen = [next(it) for _ in range(3)]
    assert len(seen) == 3
    state = json.loads(json.dumps(loader.state_dict()))
    given = order if isinstance(order, Weighted) else None
    parts = []
    for rank in range(2):
        other = DataLoader(data, batch_size=5, order=given, world=(rank, 2), uneven="keep", seed=11)
        other.load_state_dict(state)
        parts.append([[tuple(r) for r in x.tolist()] for x, _ in other])
    rest = [row for k in range(max(map(len, parts))) for p in parts if k < len(p) for row in p[k]]
    assert loader.epoch == 1 and len(rest) == bound.n - 27
    assert [starts[y] + i for y, i in rest] == bound.at(pass_=1).take(27, bound.n).tolist()
    if not isinstance(order, str):
        with pytest.raises(ValueError, match="can't be used here"):
            DataLoader(data, batch_size=5, order=BlockShuffle(77)).load_state_dict(state)
