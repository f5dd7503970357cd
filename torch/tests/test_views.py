"""Views and conditions as what a loader reads: order, ranks, workers, resume, restarts."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader as StockLoader

import pydaos
from pydaos._proto.daos.loader.v1 import loader_service_pb2 as lpb
from pydaos.torch import DataLoader, Dataset, IterableDataset, Stratified, TokenBlocks, Weighted

N = 240


def number(sample: Any) -> int:
    """The number that a file says of itself in its first 4 bytes."""
    x = sample[0] if isinstance(sample, tuple) else sample
    return int.from_bytes(bytes(x[:4]), "little")


def numbers(batch: Any) -> list[int]:
    x = batch[0] if isinstance(batch, (tuple, list)) and not isinstance(batch, torch.Tensor) else batch
    return [number(bytes(one)) for one in x]


@pytest.fixture
def photos(client, pool):
    """240 files of 4 + i % 60 bytes below train/, in three classes; a link, and files beside them."""
    ds = client.create_dataset(f"{pool}/photos", type="posix")
    for name in ("train/a/deep", "train/b", "train/c"):
        ds.mkdir(name, parents=True)
    for i in range(N):
        where = ("a", "a/deep", "b", "c")[i % 4]
        ds.write_bytes(f"train/{where}/f{i:03}", i.to_bytes(4, "little") + b"x" * (i % 60))
    ds.write_bytes("train/top", (N).to_bytes(4, "little") + b"y" * 58)
    ds.write_bytes("a.txt", b"beside")
    ds.symlink("a/f000", "train/link")
    ds.snapshot("v1")
    return ds


def in_order(ds: Any) -> list[int]:
    """All samples below train, in the order of samples."""
    data = Dataset(f"{ds.address}@v1/train")
    return [number(data[i]) for i in range(N + 1)]


def size(i: int) -> int:
    return 4 + (58 if i == N else i % 60)


def test_a_view_has_its_samples_in_the_order_of_the_dataset(client, photos):
    want = [i for i in in_order(photos) if size(i) > 40]
    view = client.query(f"{photos.address}@v1/train", where="size > 40", save_view="large").view
    assert (view.samples, view.snapshot, view.owns_snapshot, view.left_out) == (len(want), "v1", False, 0)
    assert view.query == f"{photos.address}@v1/train where size > 40"
    data = Dataset(photos.address, view="large")
    assert [number(data[i]) for i in range(len(data))] == want
    assert data.address == f"{photos.address}@v1/train"
    assert repr(data) == f"Dataset({data.address!r}, view='large', samples={len(want)})"
    by_where = Dataset(f"{photos.address}@v1/train", where="size > 40")
    assert repr(by_where) == f"Dataset({data.address!r}, where='size > 40', samples={len(want)})"
    assert by_where.source.manifest_id == data.source.manifest_id, "the same samples in the same order"
    whole = Dataset(f"{photos.address}@v1/train")
    assert whole.source.manifest_id != data.source.manifest_id
    got = [number(s) for s in IterableDataset(photos.address, view="large")]
    assert got == want
    assert data.paths(range(len(data))) == [
        p for p in whole.paths(range(len(whole))) if size(N if p == "top" else int(p[-3:])) > 40
    ]


def test_labels_shrink_and_stay_contiguous(client, photos):
    client.query(f"{photos.address}@v1/train", where="size > 40", save_view="large")
    for data in (
        Dataset(photos.address, view="large", labels="dirname"),
        Dataset(f"{photos.address}@v1/train", where="size > 40", labels="dirname"),
    ):
        order = [i for i in in_order(photos) if size(i) > 40 and i != N]  # top is in no folder
        assert [number(data[i]) for i in range(len(data))] == order
        labels = [data[i][1] for i in range(len(data))]
        assert labels == ["aabc".index("aabc"[i % 4]) if i % 4 < 2 else i % 4 - 1 for i in order]
        assert data.source.class_sizes == [labels.count(c) for c in range(3)] and data.classes == ["a", "b", "c"]
        for spec in (Stratified(), Weighted({"a": 1, "b": 2, "c": 0})):
            batches = list(data.batches(16, order=spec, seed=3))
            assert sum(len(y) for _, y in batches) == len(data)
        stratified = torch.cat([y for _, y in data.batches(16, order=Stratified(), seed=3)])
        assert torch.bincount(stratified[: len(data) // 2]).tolist() == pytest.approx(
            [n / 2 for n in data.source.class_sizes], abs=4
        )


def test_a_view_in_the_order_of_its_query(client, photos):
    client.query(f"{photos.address}@v1/train", where="type = 'file'", order_by="-size", k=9, save_view="top")
    data = Dataset(photos.address, view="top", labels="dirname")
    sizes = [len(data[i][0]) for i in range(len(data))]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 63
    client.sql(f"SELECT path FROM \"{photos.address}@v1\" WHERE name LIKE 'f%7' ORDER BY name DESC", save_view="sevens")
    sevens = Dataset(photos.address, view="sevens")
    assert [number(sevens[i]) for i in range(len(sevens))] == [i for i in reversed(range(N)) if i % 10 == 7]
    mixed = Dataset(photos.address, view="sevens", labels="dirname")
    assert mixed.classes == ["train"] and mixed.source.class_sizes == [24]
    assert data.source.info.classes_scattered
    with pytest.raises(ValueError, match=r"order of its own"):
        data.batches(4, order=Stratified())
    with pytest.raises(ValueError, match=r"order of its own"):
        data.batches(4, order=Weighted({"a": 1, "b": 1, "c": 1}))
    seen = [n for batch in data.batches(4, order=Stratified(labels=[0, 1] * 4)) for n in numbers(batch)]
    assert sorted(seen) == sorted(number(data[i]) for i in range(8))


def test_view_and_condition_together_and_with_a_glob(client, photos):
    client.query(f"{photos.address}@v1/train", where="size > 40", save_view="large")
    both = Dataset(photos.address, view="large", where="name glob '*[05]'")
    want = [i for i in in_order(photos) if size(i) > 40 and i % 5 == 0 and i < N]
    assert [number(both[i]) for i in range(len(both))] == want
    glob = Dataset(f"{photos.address}@v1/train", glob="b/*", where="size > 40")
    assert [number(glob[i]) for i in range(len(glob))] == [i for i in range(2, N, 4) if size(i) > 40]
    with pytest.raises(pydaos.InvalidError, match=r"did you mean"):
        Dataset(f"{photos.address}@v1", where="sise > 40")
    with pytest.raises(pydaos.InvalidError, match=r"is at snapshot v1, not v2"):
        photos.snapshot("v2")
        Dataset(f"{photos.address}@v2", view="large")
    with pytest.raises(pydaos.InvalidError, match=r"not of the path"):
        Dataset(f"{photos.address}@v1/train/a", view="large")
    with pytest.raises(pydaos.InvalidError, match=r"a glob does not go with it"):
        Dataset(photos.address, view="large", glob="*")
    with pytest.raises(pydaos.NotFoundError, match=r"no view .larg."):
        Dataset(photos.address, view="larg")
    with pytest.raises(pydaos.NotFoundError, match=r"no samples.*size > 1000"):
        Dataset(f"{photos.address}@v1", where="size > 1000")
    assert len(Dataset(f"{photos.address}@v1", where="size > 1000", allow_empty=True)) == 0


def test_ranks_share_a_view(client, photos):
    client.query(f"{photos.address}@v1/train", where="size > 10", save_view="most")
    with Dataset(photos.address, view="most") as data:
        whole = [n for batch in data.batches(5, shuffle=True, seed=4) for n in numbers(batch)]
        assert sorted(whole) == sorted(i for i in range(N + 1) if size(i) > 10)
        parts = [
            [numbers(b) for b in data.batches(5, shuffle=True, seed=4, world=(rank, 3), uneven="keep")]
            for rank in range(3)
        ]
        merged = [n for step in range(max(map(len, parts))) for p in parts if step < len(p) for n in p[step]]
        assert sorted(merged) == sorted(whole) and merged[:15] == whole[:15]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_resume_with_another_number_of_them(client, photos, server, context):
    client.query(f"{photos.address}@v1/train", where="size > 10", save_view="most")

    def loader(workers: int) -> DataLoader:
        data = Dataset(photos.address, view="most", transform_fn=bytes)
        kind = {"multiprocessing_context": context} if workers else {}
        return DataLoader(data, 8, shuffle=True, seed=9, num_workers=workers, **kind)

    want = [n for batch in loader(0) for n in numbers(batch)]
    first = loader(2)
    seen: list[int] = []
    for k, batch in enumerate(first):
        seen += numbers(batch)
        if k == 6:
            token = first.state_dict()
            break
    second = loader(1)
    second.load_state_dict(token)
    seen += [n for batch in second for n in numbers(batch)]
    assert seen == want


def test_stock_loader_with_our_sampler(client, photos):
    client.query(f"{photos.address}@v1/train", where="size > 10", save_view="most")
    data = Dataset(photos.address, view="most")
    sampler = data.sampler(seed=2)
    seen = [n for batch in StockLoader(data, 16, sampler=sampler) for n in numbers(batch)]
    assert seen == [n for batch in data.batches(16, shuffle=True, seed=2) for n in numbers(batch)]


def test_a_token_is_of_its_view_and_revision(client, photos):
    client.query(photos.address + "/train", where="size > 10", save_view="most")
    data = Dataset(photos.address, view="most")
    loader = DataLoader(data, 8, shuffle=True, seed=9)
    next(iter(loader))
    token = loader.state_dict()
    base = DataLoader(Dataset(f"{photos.address}@v1/train"), 8, shuffle=True, seed=9)
    with pytest.raises(ValueError, match=r"view and where"):
        base.load_state_dict(token)
        next(iter(base))
    photos.write_bytes("train/b/f240", (N + 1).to_bytes(4, "little") + b"z" * 20)
    photos.remove("train/c/f015")
    view = client.view(photos.address, "most")
    changed = view.refresh()
    assert (changed.added, changed.removed, changed.compared) == (1, 1, True)
    assert (changed.added_names, changed.removed_names) == ([b"train/b/f240"], [b"train/c/f015"])
    assert view.revision == 2 and view.snapshot == "view-most-2" and view.refreshed is not None
    # A pass over the earlier revision goes on, its snapshot ends after a day.
    assert sorted(n for b in loader for n in numbers(b)) != []
    ends = {s.name: s.expires_unix_nanos for s in photos.snapshots()}
    assert ends["view-most-1"] > 0 and ends["view-most-2"] == 0
    fresh = DataLoader(Dataset(photos.address, view="most"), 8, shuffle=True, seed=9)
    with pytest.raises(ValueError, match=r"a view that was refreshed has other samples"):
        fresh.load_state_dict(token)
        next(iter(fresh))


def test_a_view_whose_snapshot_is_gone_names_it(client, photos):
    client.query(f"{photos.address}@v1", where="size > 10", save_view="most")
    with pytest.raises(pydaos.NotEmptyError, match=r"@v1: the snapshot is read by view most"):
        photos.destroy_snapshot("v1")
    photos.destroy_snapshot("v1", force=True)
    assert client.view(photos.address, "most").snapshot_gone
    with pytest.raises(pydaos.NotFoundError, match=r"@v1: the snapshot of view .most. is gone.*view refresh"):
        Dataset(photos.address, view="most")
    photos.remove("train/a/f028")
    photos.snapshot("v1")  # another one of that name
    with pytest.raises(pydaos.NotFoundError, match=r"is another one now"):
        Dataset(photos.address, view="most")
    changed = client.view(photos.address, "most").refresh()
    assert not changed.compared and changed.added == changed.removed == 0
    assert len(Dataset(photos.address, view="most")) == sum(size(i) > 10 for i in range(N + 1)) - 1


def test_rows_of_tensors_and_token_blocks(client, pool):
    rng = np.random.default_rng(5)
    table = {
        "label": rng.integers(0, 5, 300),
        "x": rng.standard_normal((300, 3)).astype("f4"),
        "tokens": [np.arange(n, dtype=np.int32) + 1000 * i for i, n in enumerate(rng.integers(0, 30, 300))],
    }
    ds = client.create_dataset(f"{pool}/rows", type="tensor")
    ds.define(table)
    ds.append(table)
    ds.snapshot("s1")
    want = np.flatnonzero(table["label"] == 3)
    view = client.query(f"{ds.address}@s1", where="label = 3", save_view="threes").view
    assert view.samples == len(want)
    data = Dataset(ds.address, view="threes", columns=["x", "label"])
    batch = next(iter(data.batches(len(want))))
    assert torch.equal(batch["x"], torch.from_numpy(table["x"][want])) and set(batch["label"].tolist()) == {3}
    for eos in (None, 7):  # elements across samples, without and with a separator
        parts = [np.append(table["tokens"][i], [eos] * (eos is not None)) for i in want]
        flat = np.concatenate(parts)
        blocks = TokenBlocks(
            Dataset(ds.address, view="threes", columns=["tokens"]), 16, column="tokens", eos=eos, tail="drop"
        )
        got = torch.cat([blocks[i]["tokens"] for i in range(len(blocks))])
        assert got.tolist() == flat[: len(flat) // 16 * 16].tolist()
    fixed = TokenBlocks(Dataset(ds.address, view="threes", columns=["label"]), 10, column="label", tail="drop")
    assert {int(t) for i in range(len(fixed)) for t in fixed[i]["tokens"]} == {3} and len(fixed) == len(want) // 10
    with pytest.raises(pydaos.InvalidError, match=r"out of range|of \d+"):
        client.call(
            "loader.ReadElements",
            lpb.ReadElementsRequest(
                handle=client.open_manifest(ds.address, view="threes").handle, column="x", count=1, samples=[len(want)]
            ),
            lpb.ReadElementsResponse,
        )


def test_keys_and_arrays(client, pool):
    kv = client.create_dataset(f"{pool}/kv", type="kv")
    kv.put_many({f"run/{i % 3}/{i:03}": i.to_bytes(4, "little") * (1 + i % 7) for i in range(90)})
    kv.put("run/0/000", "of another akey", akey="x")
    view = client.query(kv.address, where="size > 12", save_view="long").view
    assert view.samples == sum(4 * (1 + i % 7) > 12 for i in range(90)) and view.left_out == 1
    data = Dataset(kv.address, view="long", labels="dirname")
    assert sorted(number(data[i]) for i in range(len(data))) == [i for i in range(90) if i % 7 > 2]
    arrays = client.create_dataset(f"{pool}/arrays", type="array")
    values = np.arange(50 * 4, dtype="i4").reshape(50, 4) % 17
    arrays.create_array("grid", data=values, chunks=(8, 4))
    arrays.snapshot("s1")
    rows = np.flatnonzero((values == 16).any(axis=1))
    client.query(f"{arrays.address}@s1/grid", where="value = 16", save_view="sixteen")
    data = Dataset(arrays.address, view="sixteen")
    assert torch.equal(next(iter(data.batches(len(rows))))["grid"], torch.from_numpy(values[rows]))
    with pytest.raises(pydaos.InvalidError, match=r"DISTINCT"):
        client.sql(f'SELECT dim_0 FROM "{arrays.address}@s1/grid"', save_view="twice")
    sql = f'SELECT DISTINCT dim_0 FROM "{arrays.address}@s1/grid" WHERE value > 14 ORDER BY dim_0 DESC'
    view = client.sql(sql, save_view="down").view
    assert view.ordered and view.samples == (values > 14).any(axis=1).sum()


def test_a_large_random_selection_against_numpy(client, pool):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    ds = client.create_dataset(f"{pool}/many", type="tensor")
    n = 200_000
    table = {"x": rng.integers(0, 1000, n), "y": rng.standard_normal(n).astype("f4")}
    ds.define(table)
    ds.append(table)
    ds.snapshot("s1")
    want = np.flatnonzero((table["x"] < 437) & (table["y"] > 0))
    client.query(f"{ds.address}@s1", where="x < 437 and y > 0", save_view="some")
    data = Dataset(ds.address, view="some")
    assert len(data) == len(want)
    pick = rng.integers(0, len(want), 5000)
    got = data.source.batch(data.source.fetch(pick.astype(np.uint64)))
    assert got["x"].tolist() == table["x"][want[pick]].tolist()
    with pytest.raises(pydaos.InvalidError, match=r"out of range, there are \d+ samples in view some"):
        data.source.fetch(np.array([0, len(want)], np.uint64))


def test_a_view_of_a_query_that_has_run_is_of_what_was_seen(client, photos):
    query = client.query(photos.address, where="size > 50 and type = 'file'")
    rows = query.to_arrow().num_rows
    photos.remove("train/top")
    view = query.save_view("seen")
    assert view.samples == rows and view.owns_snapshot and query.view is view
    assert "train/top" in Dataset(photos.address, view="seen").paths(range(rows))
    changed = view.refresh()
    assert changed.removed_names == [b"train/top"] and view.samples == rows - 1
    changed = view.refresh("v1", names=0)
    assert (changed.added, changed.added_names, view.samples, view.snapshot) == (1, [], rows, "v1")


def test_a_view_of_a_view(client, photos):
    client.query(f"{photos.address}@v1/train", where="size > 40", save_view="large")
    text = f"SELECT path FROM view('{photos.address}', 'large') WHERE name LIKE '%7' ORDER BY path DESC"
    with pytest.raises(pydaos.InvalidError, match=r"say of which they are"):
        client.sql(text, save_view="some")
    with pytest.raises(pydaos.InvalidError, match=r"at which snapshot"):
        client.sql(text, save_view="some", of=photos.address)
    view = client.sql(text, save_view="some", of=f"{photos.address}@v1").view
    assert (view.snapshot, view.ordered) == ("v1", True)
    data = Dataset(photos.address, view="some")
    want = [i for i in in_order(photos) if i % 10 == 7 and size(i) > 40]
    assert sorted(number(data[i]) for i in range(len(data))) == sorted(want) and len(want) > 5
    changed = view.refresh()
    assert (changed.added, changed.removed, view.snapshot, view.revision) == (0, 0, "v1", 2)


def test_statements_over_several_datasets(client, photos, pool):
    scores = client.create_dataset(f"{pool}/scores", type="tensor")
    table = {"name": [f"f{i:03}" for i in range(N)], "score": np.arange(N) / N}
    scores.define(table)
    scores.append(table)
    text = f'SELECT p.path FROM "{photos.address}" p JOIN "{scores.address}" s ON p.name = s.name WHERE s.score > 0.9'
    with pytest.raises(pydaos.InvalidError, match=r"reads several datasets"):
        client.sql(text, save_view="good")
    view = client.sql(text, save_view="good", of=photos.address).view
    assert (view.snapshot, view.samples, view.kind) == ("view-good-1", sum(i / N > 0.9 for i in range(N)), "sql")
    photos.remove("train/c/f239")
    scores.append({"name": ["f000"], "score": np.array([1.0])})
    changed = view.refresh()
    assert (changed.added_names, changed.removed_names) == ([b"train/a/f000"], [b"train/c/f239"])
    # At a snapshot of the dataset that the view is of; the others are read as they are.
    changed = view.refresh("v1")
    assert (view.snapshot, view.owns_snapshot, changed.added_names) == ("v1", False, [b"train/c/f239"])


def test_a_refreshed_view_ends_a_pass_when_the_server_was_restarted(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        ds = client.create_dataset("p/t", type="tensor")
        ds.define({"x": np.arange(100)})
        ds.append({"x": np.arange(100)})
        view = client.query("p/t", where="x < 50", save_view="half").view
        data = Dataset("p/t", view="half", addr=own_server.unix)
        ds.append({"x": np.arange(10)})
        assert view.refresh().added_names == [str(i).encode() for i in range(100, 110)]
        assert data.source.batch(data.source.fetch([49]))["x"].tolist() == [49], "what is open goes on"
        own_server.restart()
        with pytest.raises(pydaos.StaleError, match=r"view .half. is at revision 2 now.*revision 1.*refreshed"):
            data.source.fetch([49])


def test_server_killed_in_mid_pass(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        ds = client.create_dataset("p/f", type="posix")
        for i in range(400):
            ds.write_bytes(f"{i:03}", i.to_bytes(4, "little") * (1 + i % 5))
        client.query("p/f", where="size > 8", save_view="some")
    want = [i for i in range(400) if i % 5 > 1]
    data = Dataset("p/f", view="some", addr=own_server.unix)
    selected = Dataset("p/f@view-some-1", where="size > 8", addr=own_server.unix)
    for source in (data, selected):
        seen: list[int] = []
        for k, batch in enumerate(source.batches(10, shuffle=True, seed=1)):
            seen += numbers(batch)
            if k in (3, 9):
                own_server.kill()
                threading.Timer(0.2, own_server.start).start()
        assert sorted(seen) == want


def test_server_killed_while_views_are_saved(own_server):
    """Each view is whole or absent, what was answered is there, and no list stays that nobody has."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    with own_server.connect() as client:
        client.create_pool("p")
        ds = client.create_dataset("p/t", type="tensor")
        table = {"x": np.arange(600_000) % 10}
        ds.define(table)
        ds.append(table)
    client = own_server.connect(retry=60.0)
    ended = threading.Event()

    def killer() -> None:
        for _ in range(5):
            ended.wait(rng.uniform(0.02, 0.3))
            own_server.kill()
            own_server.start()
        ended.set()

    thread = threading.Thread(target=killer)
    thread.start()
    answered: list[str] = []
    while not ended.is_set():  # every call is carried out once, however often it had to be sent
        name = f"v{len(answered)}-{len(answered) % 6}"
        assert client.query("p/t", where=f"x <> {len(answered) % 6}").save_view(name).revision == 1
        answered.append(name)
    thread.join()
    views = {v.name: v for v in client.views("p/t")}
    assert sorted(answered) == sorted(views)
    snapshots = {s.name for s in client.dataset("p/t").snapshots()}
    assert snapshots == {v.snapshot for v in views.values()} and len(views) == len(snapshots)
    for name, view in views.items():
        data = Dataset("p/t", view=name, addr=own_server.unix)
        assert len(data) == view.samples == 540_000
        x = data.source.batch(data.source.fetch(np.arange(539_000, 540_000, dtype=np.uint64)))["x"]
        assert int(name[-1]) not in set(x.tolist())
        data.close()
        view.remove()
    assert client.views("p/t") == [] and client.dataset("p/t").snapshots() == []
    client.close()


def test_views_count_towards_the_quota(client, pool):
    ds = client.create_dataset(f"{pool}/t", type="tensor")
    table = {"x": np.arange(400_000) % 10}
    ds.define(table)
    ds.append(table)
    ds.set_quota(ds.info().used + 1_000_000)
    client.query(ds.address, where="x = 1", save_view="small")
    with pytest.raises(pydaos.NoSpaceError, match=r"full"):
        client.query(ds.address, where="x < 9", save_view="big")
    assert [v.name for v in client.views(ds.address)] == ["small"]
    assert [s.name for s in ds.snapshots()] == ["view-small-1"]
    client.destroy_dataset(ds.address)
    with pytest.raises(pydaos.NotFoundError):
        client.views(ds.address)
    client.create_dataset(ds.address, type="tensor")
    assert client.views(ds.address) == []


def test_replace_and_retry(client, photos):
    first = client.query(photos.address, where="size > 50", save_view="big").view
    with pytest.raises(pydaos.ExistsError, match=r"there is a view .big."):
        client.query(photos.address, where="size > 60", save_view="big")
    second = client.query(photos.address, where="size > 60", save_view="big", replace=True).view
    assert (first.revision, second.revision, second.snapshot) == (1, 2, "view-big-2")
    second.remove()
    third = client.query(photos.address, where="size > 60", save_view="big").view
    assert third.snapshot == "view-big-1.2", "the first one's is still in use"
    with pytest.raises(pydaos.NotFoundError, match=r"there is no view"):
        client.view(photos.address, "gone")
    for bad in ("", "a/b", "-x", "x" * 101):
        with pytest.raises((pydaos.InvalidError, pydaos.TooBigError)):
            client.query(photos.address).save_view(bad)
