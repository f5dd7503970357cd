"""Mixtures: proportions, passes, resume, and batches of several parts, against a real server."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data
from torch.utils.data import Subset
from torchdata.stateful_dataloader import StatefulDataLoader

from pydaos.testing import Server
from pydaos.torch import DataLoader, Dataset, Mixture, Ragged, WindowShuffle
from pydaos.torch._merge import merge
from pydaos.torch._mixture import Draw

VECTORS = Path(__file__).resolve().parents[2] / "loader" / "order" / "testdata" / "mixture.json"

SIZES = {"a": 50, "b": 7, "c": 20}


@pytest.fixture(scope="module")
def pool_of_parts(server: Server) -> Any:
    """Tensor datasets a, b, c with columns id and text, and two folders of files."""
    client = server.connect()
    client.create_pool("mix")
    for k, (name, n) in enumerate(SIZES.items()):
        d = client.create_dataset(f"mix/{name}", type="tensor")
        ids = np.arange(n, dtype=np.int64) + 1000 * k
        d.append(
            {
                "id": ids,
                "words": [np.arange(i % 5, dtype=np.int32) + i for i in range(n)],
                "name": [str(i) for i in ids],
            }
        )
        d.snapshot("v1")
    for name, size in (("same", lambda i: 8), ("other", lambda i: i % 4)):
        f = client.create_dataset(f"mix/{name}", type="posix")
        for i in range(12):
            f.write_bytes(f"{i:02d}", bytes([i]) * size(i))
        f.snapshot("v1")
    yield server
    client.destroy_pool("mix", force=True)
    client.close()


@pytest.fixture
def part(pool_of_parts: Server) -> Callable[..., Dataset]:
    return lambda name, **options: Dataset(f"mix/{name}@v1", addr=pool_of_parts.unix, **options)


def ids(batches: Any) -> list[int]:
    return [int(i) for b in batches for i in b["id"]]


def test_vectors_of_the_go_implementation() -> None:
    vectors = json.loads(VECTORS.read_text())["vectors"]
    assert len(vectors) >= 15
    for v in vectors:
        draw = Draw(v["sizes"], v["weights"], v["seed"])
        part, sample = draw.take(np.arange(v["start"], v["start"] + 40, dtype=np.uint64))
        assert [list(d) for d in zip(part.tolist(), sample.tolist(), strict=True)] == v["draws"], v


def test_draws_are_exact_in_every_stretch_and_walk_each_part() -> None:
    draw = Draw([50, 7, 20], [5, 2, 1], seed=3)
    part, sample = draw.take(np.arange(8000, dtype=np.uint64))
    for j, (weight, size) in enumerate(((5, 50), (2, 7), (1, 20))):
        off = np.concatenate([[0], np.cumsum(part == j)]) - np.arange(8001) * weight / 8
        assert off.max() - off.min() < 2
        mine = sample[part == j].tolist()
        passes = [mine[at : at + size] for at in range(0, len(mine) - size + 1, size)]
        assert all(sorted(p) == list(range(size)) for p in passes)
        assert len({tuple(p) for p in passes}) > len(passes) // 2
    at = 5003
    again = draw.take(np.arange(at, at + 100, dtype=np.uint64))
    assert np.array_equal(again[0], part[at : at + 100]) and np.array_equal(again[1], sample[at : at + 100])


def test_a_mixture_is_a_dataset(part: Any) -> None:
    with Mixture([(part("a"), 3), (part("b"), 1)], seed=7) as mix:
        assert len(mix) == 57 and mix.weights == [3, 1]
        where = mix.where(range(57))
        expected = [(1000 * j + i) for j, i in where]
        assert [int(mix[i]["id"]) for i in range(57)] == expected == [int(s["id"]) for s in mix]
        assert abs(sum(j == 0 for j, _ in where) - 57 * 3 / 4) <= 1
        assert int(mix[-1]["id"]) == expected[-1]
        with pytest.raises(IndexError, match="draw -58"):
            mix[-58]
        stock = torch.utils.data.DataLoader(mix, batch_size=10)
        batches = list(stock)
        assert ids(batches) == expected
        first = batches[0]
        assert isinstance(first["words"], Ragged)
        for i, row in enumerate(first["words"]):
            k = expected[i] % 1000
            assert row.tolist() == [k + x for x in range(k % 5)]
        assert first["name"] == [str(i) for i in expected[:10]]
        assert ids(mix.batches(10)) == expected
        copy = pickle.loads(pickle.dumps(mix))
        assert copy.source.manifest_id == mix.source.manifest_id and int(copy[3]["id"]) == expected[3]


def test_passes_go_on_where_the_last_one_ended(part: Any) -> None:
    mix = Mixture([(part("a"), 1), (part("b"), 1)], seed=1, samples=20)
    loader = DataLoader(mix, batch_size=6)
    seen = []
    for _ in range(5):  # passes of 10 samples of a: all 50 in five passes
        got = ids(loader)
        assert len(got) == 20
        seen += [i for i in got if i < 1000]
    assert sorted(seen) == list(range(50))
    assert seen == [s for j, s in mix.where(range(100)) if j == 0]
    shuffled = DataLoader(mix, batch_size=6, shuffle=True, seed=5)
    first, second = ids(shuffled), ids(shuffled)
    assert sorted(first) == sorted(1000 * j + s for j, s in mix.where(range(20))) and first != ids(mix.batches(6))
    assert sorted(second) == sorted(1000 * j + s for j, s in mix.where(range(20, 40)))


@pytest.mark.parametrize("order", [None, WindowShuffle(8)])
def test_resume_with_other_ranks_and_batch_size(part: Any, order: Any) -> None:
    def mixture() -> Mixture:
        return Mixture([(part("a"), 2), (part("b"), 1), (part("c"), 0.5)], seed=9)

    whole = DataLoader(mixture(), batch_size=7, order=order, seed=3)
    whole.set_epoch(2)
    everything = ids(whole)
    loader = DataLoader(mixture(), batch_size=7, order=order, seed=3)
    loader.set_epoch(2)
    it = iter(loader)
    seen = ids([next(it), next(it), next(it)])
    state = json.loads(json.dumps(loader.state_dict()))
    assert len(json.dumps(state)) < 300 and state["position"] == 21
    ranks = []
    for r in range(2):
        other = DataLoader(mixture(), batch_size=4, order=order, seed=3, world=(r, 2), uneven="keep")
        other.load_state_dict(state)
        ranks.append(list(other))
    rest = []
    for k in range(max(map(len, ranks))):
        rest += ids([r[k] for r in ranks if k < len(r)])
    assert seen + rest == everything


def test_a_token_of_another_mixture_is_refused(part: Any) -> None:
    state = Mixture([(part("a"), 2), (part("b"), 1)], seed=9).state_dict(10)
    for other in (
        Mixture([(part("a"), 3), (part("b"), 1)], seed=9),
        Mixture([(part("a"), 2), (part("b"), 1)], seed=8),
        Mixture([(part("b"), 2), (part("a"), 1)], seed=9),
        Mixture([(part("a"), 2), (part("b"), 1)], seed=9, samples=5),
    ):
        with pytest.raises(ValueError, match="not of this mixture"):
            DataLoader(other, batch_size=4).load_state_dict(state)
    same = Mixture([(part("a"), 4), (part("b"), 2)], seed=9)  # the same proportions
    DataLoader(same, batch_size=4, shuffle=True).load_state_dict(state)


def test_files_of_parts_come_as_one_type(part: Any) -> None:
    mix = Mixture([(part("same"), 1), (part("other"), 1)], seed=2)
    for batch in mix.batches(2):
        assert isinstance(batch, Ragged)  # also where both rows are of the part whose files have one size
    for batch in torch.utils.data.DataLoader(mix, batch_size=1):
        assert isinstance(batch, Ragged)
    same = Mixture([(part("same"), 1), (part("same"), 1)], seed=2)
    assert next(iter(same.batches(4))).shape == (4, 8)
    content = [bytes(mix[i]) for i in range(10)]
    assert [bytes(t.numpy()) for b in mix.batches(5) for t in b][:10] == content


def test_parts_that_do_not_go_together(part: Any) -> None:
    with pytest.raises(ValueError, match=r"mix/a@v1 gives rows of .*mix/same@v1 files"):
        Mixture([(part("a"), 1), (part("same"), 1)])
    with pytest.raises(ValueError, match="no batch together"):
        Mixture([(part("a", columns=["id"]), 1), (part("b"), 1)])
    alike = Mixture([(part("a", transform_fn=first_id), 1), (part("same", transform_fn=length), 1)], seed=1, samples=6)
    assert torch.cat(list(torch.utils.data.DataLoader(alike, batch_size=4))).shape == (6,)
    for weights, words in (
        ((0, 0), "nothing could be drawn"),
        ((-1, 2), "not negative"),
        ((1 << 31, (1 << 31) + 1), "2\\*\\*32"),
    ):
        with pytest.raises(ValueError, match=words):
            Mixture([(part("a"), weights[0]), (part("b"), weights[1])])
    with pytest.raises(ValueError, match="mixture of nothing"):
        Mixture([])
    with pytest.raises(ValueError, match="mixture in a mixture"):
        Mixture([(alike, 1)])
    with pytest.raises(ValueError, match="give its parts their weights"):
        DataLoader(Mixture([(part("a"), 1)]), order="stratified")


def first_id(row: dict[str, Any]) -> int:
    return int(row["id"])


def length(data: bytes) -> int:
    return len(data)


def noise(row: dict[str, Any], rng: np.random.Generator) -> float:
    return float(rng.random())


def test_random_transforms_differ_for_each_draw(part: Any) -> None:
    mix = Mixture([(part("b", transform_fn=noise), 1)], seed=1, samples=14)  # every sample twice
    values = [float(v) for b in DataLoader(mix, batch_size=5) for v in b]
    assert len(set(values)) == 14
    for options in ({"num_workers": 1}, {"transform_threads": 3}):
        assert [float(v) for b in DataLoader(mix, batch_size=3, **options) for v in b] == values


def test_labels_are_those_of_each_part(pool_of_parts: Server) -> None:
    client = pool_of_parts.connect()
    for name, folders in (("pets", "cat dog"), ("birds", "owl")):
        d = client.create_dataset(f"mix/{name}", type="posix")
        for folder in folders.split():
            d.mkdir(folder)
            for i in range(5):
                d.write_bytes(f"{folder}/{i}", f"{folder} {i}".encode())
        d.snapshot("v1")
    client.close()
    parts = [Dataset(f"mix/{n}@v1", labels="dirname", addr=pool_of_parts.unix) for n in ("pets", "birds")]
    mix = Mixture([(parts[0], 1), (parts[1], 1)], seed=5)
    names = [["cat", "dog"], ["owl"]]
    where = iter(mix.where(range(15)))
    for x, y in mix.batches(4):
        for data, label in zip(x, y.tolist(), strict=True):
            part, _ = next(where)
            assert bytes(data.numpy()).decode().split()[0] == names[part][label]
    with pytest.raises(ValueError, match="labelled files"):
        Mixture([(parts[0], 1), (Dataset("mix/birds@v1", addr=pool_of_parts.unix), 1)])


def test_subsets_and_workers(part: Any) -> None:
    mix = Mixture([(Subset(part("a"), range(10, 20)), 1), (part("c"), 1)], seed=4, samples=40)
    got = ids(DataLoader(mix, batch_size=8))
    counts = Counter(got)
    assert all(counts[i] == 2 for i in range(10, 20)) and sum(i >= 2000 for i in got) == 20
    some = Subset(mix, [5, 3, 39])
    assert ids(DataLoader(some, batch_size=2)) == [got[5], got[3], got[39]]
    with pytest.warns(UserWarning, match="num_workers"):
        workers = DataLoader(mix, batch_size=8, num_workers=2)
    assert ids(workers) == got


def test_a_stateful_loader_goes_on_in_a_later_pass(part: Any) -> None:
    def make() -> Any:
        mix = Mixture([(part("a"), 3), (part("c"), 1)], seed=6)
        return StatefulDataLoader(mix, batch_size=8, sampler=mix.sampler(order=WindowShuffle(16), seed=2))

    whole = make()
    whole.sampler.set_epoch(3)
    everything = ids(whole)
    assert len(everything) == 70
    first = make()
    first.sampler.set_epoch(3)
    it = iter(first)
    seen = ids([next(it), next(it), next(it)])
    second = make()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert seen + ids(second) == everything


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.long
@pytest.mark.timeout(300)  # spawned workers import torch
def test_workers_that_share_no_memory(part: Any, context: str) -> None:
    mix = Mixture([(part("a", transform_fn=first_id), 3), (part("c", transform_fn=first_id), 1)], seed=6)
    want = [int(i) for b in DataLoader(mix, batch_size=8, shuffle=True) for i in b]
    loader = DataLoader(mix, batch_size=8, shuffle=True, num_workers=2, multiprocessing_context=context)
    assert [int(i) for b in loader for i in b] == want


def test_a_restarted_server_costs_time_and_nothing_else(part: Any, pool_of_parts: Server) -> None:
    mix = Mixture([(part("a"), 3), (part("c"), 1)], seed=6)
    want = ids(mix.batches(5, shuffle=True))
    it = iter(mix.batches(5, shuffle=True))
    got = ids([next(it), next(it)])
    pool_of_parts.restart()
    assert got + ids(it) == want


def fail(row: dict[str, Any]) -> int:
    if int(row["id"]) == 1003:
        raise KeyError("a transform's own error")
    return 1


def test_errors_say_where(part: Any) -> None:
    mix = Mixture([(part("b", transform_fn=fail), 1)], seed=1)
    at = [s for _, s in mix.where(range(7))].index(3)
    with pytest.raises(KeyError) as err:
        mix[at]
    assert f"sample {at}, mix/b@v1" in "".join(err.value.__notes__)
    with pytest.raises(KeyError) as err:
        list(DataLoader(mix, batch_size=3))
    assert "mix/b@v1" in "".join(err.value.__notes__)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.int64, torch.float16])
def test_merging_takes_all_dtypes_of_columns(dtype: torch.dtype) -> None:
    rows = [np.array([2, 0]), np.array([1])]
    a, b = torch.tensor([[1, 0], [0, 1]]).to(dtype), torch.tensor([[1, 1]]).to(dtype)
    assert merge([a, b], rows, 3).tolist() == [a[1].tolist(), b[0].tolist(), a[0].tolist()]
    ragged = merge([Ragged(a[0], torch.tensor([0, 0, 2])), Ragged(b[0], torch.tensor([0, 2]))], rows, 3)
    assert [t.tolist() for t in ragged] == [a[0].tolist(), b[0].tolist(), []]


def test_merging_refuses_what_differs() -> None:
    rows = [np.array([0]), np.array([1])]
    for a, b in (
        (torch.zeros(1, 2), torch.zeros(1, 3)),
        (torch.zeros(1), torch.zeros(1, dtype=torch.int32)),
        ({"x": torch.zeros(1)}, {"y": torch.zeros(1)}),
        (torch.zeros(1), [1]),
    ):
        with pytest.raises(ValueError, match="make no batch together"):
            merge([a, b], rows, 2)
    made = merge([(torch.tensor([5]), ["a"]), (torch.tensor([6]), ["b"])], [np.array([1]), np.array([0])], 2)
    assert made[0].tolist() == [6, 5] and made[1] == ["b", "a"]
    r = merge(
        [Ragged(torch.tensor([9, 1, 2]), torch.tensor([1, 3])), Ragged(torch.tensor([7]), torch.tensor([0, 0, 1]))],
        [np.array([1]), np.array([2, 0])],
        3,
    )
    assert [t.tolist() for t in r] == [[7], [1, 2], []]
