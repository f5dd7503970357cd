"""Datasets under torch's own DataLoader, against a real server."""

from __future__ import annotations

import gc
import io
import json
import pickle
import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split

import pydaos
from pydaos.testing import Server
from pydaos.torch import Dataset, IterableDataset, Ragged
from pydaos.torch._order import Order

N = 103


def content(i: int) -> bytes:
    return bytes([i]) * (i * 37 % 200)


@pytest.fixture(scope="module")
def images(server: Server) -> Any:
    """A snapshot of 103 files in three folders, names in byte order, and 103 rows."""
    client = server.connect()
    name = "loader"
    client.create_pool(name)
    files = client.create_dataset(f"{name}/files", type="posix")
    for k, folder in enumerate(("a", "b", "c")):
        files.mkdir(f"train/{folder}", parents=True)
        for i in range(k, N, 3):
            files.write_bytes(f"train/{folder}/{i:03d}.bin", content(i))
    files.symlink("a/000.bin", "train/link")
    same = client.create_dataset(f"{name}/same", type="posix")
    for i in range(N):
        same.write_bytes(f"{i:03d}", i.to_bytes(8, "little"))
    rows = client.create_dataset(f"{name}/rows", type="tensor")
    table = {
        "id": np.arange(N, dtype=np.int64),
        "image": (np.arange(N * 12) % 251).astype(np.uint8).reshape(N, 3, 4),
        "weight": np.linspace(0, 1, N).astype(np.float32),
    }
    rows.define(table)
    rows.append(table)
    for d in ("files", "same", "rows"):
        client.dataset(f"{name}/{d}").snapshot("v1")
    yield name, server, table
    client.destroy_pool(name, force=True)
    client.close()


def paths_in_order() -> list[tuple[str, int]]:
    return [(f"{f}/{i:03d}.bin", i) for k, f in enumerate("abc") for i in range(k, N, 3)]


def open_files(images: Any, **options: Any) -> Dataset:
    name, server, _ = images
    return Dataset(f"{name}/files@v1/train", addr=server.unix, **options)


def as_bytes(batch: Any) -> list[bytes]:
    return [bytes(t.numpy()) for t in batch]


def test_sample_order_is_a_function_of_content(images: Any) -> None:
    data = open_files(images)
    assert len(data) == N
    expected = paths_in_order()
    assert data.paths(range(N)) == [p for p, _ in expected]
    assert [data[i] for i in range(N)] == [content(i) for _, i in expected]
    assert data[-1] == data[N - 1]
    with pytest.raises(IndexError, match="103 samples"):
        data[N]
    assert data.objects[5] == (expected[5][0], len(content(expected[5][1])))
    assert data.objects[2:4] == [(p, len(content(i))) for p, i in expected[2:4]]
    assert isinstance(data[3], bytes)
    data.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_stock_loader_gets_ready_batches(images: Any, workers: int, context: str) -> None:
    if not workers and context != "fork":
        context = ""
    data = open_files(images)
    loader = DataLoader(data, 10, num_workers=workers, multiprocessing_context=context if workers else None)
    seen = []
    for batch in loader:
        assert isinstance(batch, Ragged)
        seen += as_bytes(batch)
    assert seen == [content(i) for _, i in paths_in_order()]
    name, server, table = images
    rows = Dataset(f"{name}/rows@v1", addr=server.unix)
    got: dict[str, list[torch.Tensor]] = {k: [] for k in table}
    for batch in DataLoader(rows, 10, num_workers=workers, multiprocessing_context=context if workers else None):
        for k, v in batch.items():
            got[k].append(v)
    for k, v in table.items():
        assert torch.equal(torch.cat(got[k]), torch.from_numpy(v)), k
    data.close()
    rows.close()


def test_files_of_one_size_are_one_tensor(images: Any) -> None:
    name, server, _ = images
    data = Dataset(f"{name}/same@v1", addr=server.unix)
    batch = next(iter(DataLoader(data, 16)))
    assert batch.shape == (16, 8)
    assert batch.dtype == torch.uint8
    assert batch.view(torch.int64).flatten().tolist() == list(range(16))
    odd = next(iter(DataLoader(Subset(data, [5, 99]), 2)))
    assert odd.view(torch.int64).flatten().tolist() == [5, 99]
    both = next(iter(DataLoader(ConcatDataset([data, data]), 4, sampler=[0, 1, N, N + 1])))
    assert both.view(torch.int64).flatten().tolist() == [0, 1, 0, 1]
    parts = random_split(data, [100, 3], torch.Generator().manual_seed(0))
    ids = torch.cat([b.view(torch.int64).flatten() for p in parts for b in DataLoader(p, 7)])
    assert sorted(ids.tolist()) == list(range(N))
    data.close()


def test_a_users_collate_and_transform_see_ordinary_samples(images: Any) -> None:
    data = open_files(images)
    lists = [b for b in DataLoader(data, 10, collate_fn=lambda samples: [bytes(s) for s in samples])]
    assert [s for b in lists for s in b] == [content(i) for _, i in paths_in_order()]
    data.close()
    lengths = open_files(images, transform_fn=len)
    assert torch.cat(list(DataLoader(lengths, 10))).tolist() == [len(content(i)) for _, i in paths_in_order()]
    lengths.close()


def test_labels_by_dirname(images: Any) -> None:
    data = open_files(images, labels="dirname")
    assert data.classes == ["a", "b", "c"]
    assert data.class_to_idx == {"a": 0, "b": 1, "c": 2}
    x, y = data[40]
    assert (x, y) == (content(paths_in_order()[40][1]), 1)
    labels = torch.cat([y for _, y in DataLoader(data, 10)])
    assert labels.tolist() == ["abc".index(p[0]) for p, _ in paths_in_order()]
    one = torch.cat([y for _, y in DataLoader(Subset(data, range(5)), 2)])
    assert one.tolist() == [0] * 5
    data.close()


def test_decode_image(server: Server, pool: Any) -> None:
    from PIL import Image

    client = server.connect()
    files = client.create_dataset(f"{pool}/img", type="posix")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for name, array in (("grey.png", pixels[:, :, 0]), ("rgb.png", pixels)):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        files.write_bytes(name, buffer.getvalue())
    files.snapshot("s")
    data = Dataset(f"{pool}/img@s", decode="image", addr=server.unix)
    assert torch.equal(data[0], torch.from_numpy(pixels[:, :, 0])[None])
    assert torch.equal(data[1], torch.from_numpy(pixels).permute(2, 0, 1))
    data.close()
    client.close()


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["files", "rows"])
def test_one_order_for_any_number_of_workers(images: Any, workers: int, kind: str) -> None:
    """Sampler, ready batches and iterable give the order of (seed, pass), while the dataset is changed."""
    name, server, _ = images
    order = Order("shuffle", N, 5, 2).take(0, N).tolist()
    address = f"{name}/files@v1/train" if kind == "files" else f"{name}/rows@v1"
    data = Dataset(address, addr=server.unix)
    expected = [content(paths_in_order()[i][1]) for i in order] if kind == "files" else order

    def flat(batches: Any) -> list[Any]:
        return [s for b in batches for s in (as_bytes(b) if kind == "files" else b["id"].tolist())]

    stop = threading.Event()
    writer = threading.Thread(target=change, args=(server, name, stop))
    writer.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ready = data.batches(10, shuffle=True, seed=5)
            ready.set_epoch(2)
            assert flat(DataLoader(ready, batch_size=None, num_workers=workers)) == expected
            sampler = data.sampler(shuffle=True, seed=5)
            sampler.set_epoch(2)
            assert flat(DataLoader(data, 10, sampler=sampler, num_workers=workers)) == expected
            samples = IterableDataset(address, batch_size=10, shuffle=True, seed=5, addr=server.unix)
            samples.set_epoch(2)
            assert flat(DataLoader(samples, batch_size=10, num_workers=workers)) == expected
            samples.close()
    finally:
        stop.set()
        writer.join()
    data.close()


def change(server: Server, name: str, stop: threading.Event) -> None:
    client = server.connect()
    files, rows = client.dataset(f"{name}/files"), client.dataset(f"{name}/rows")
    k = 0
    while not stop.is_set():
        files.write_bytes(f"train/a/{k:03d}.new", b"new")
        if k % 3 == 0:
            files.write_bytes("train/b/001.bin", b"changed")
            rows.overwrite(k % 50, {"id": np.full(3, -1, np.int64)})
        files.rename(f"train/a/{k:03d}.new", f"train/c/!{k:03d}")
        k += 1
    client.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_anywhere(images: Any, workers: int) -> None:
    data = open_files(images)
    whole = data.batches(10, shuffle=True, seed=1, with_index=True)
    reference = [i for ids, _ in whole for i in ids.tolist()]
    for stop_after, batch, world in ((1, 7, (0, 1)), (4, 10, (0, 1)), (10, 3, (0, 1))):
        first = data.batches(10, shuffle=True, seed=1, with_index=True)
        it = iter(first)
        seen = [i for _ in range(stop_after) for i in next(it)[0].tolist()]
        token = json.loads(json.dumps(first.state_dict()))
        assert token == data.state_dict(10 * stop_after, seed=1)
        assert len(json.dumps(token)) < 300
        other = data.batches(batch, shuffle=True, seed=999, world=world, with_index=True)
        other.load_state_dict(token)
        rest = [i for ids, _ in DataLoader(other, batch_size=None, num_workers=workers) for i in ids.tolist()]
        assert seen + rest == reference
        # Loaded state is used by one iteration.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert [i for ids, _ in other for i in ids.tolist()] == reference
    data.close()


def test_resume_with_other_ranks(images: Any) -> None:
    data = open_files(images)
    reference = Order("shuffle", N, 1, 0).take(0, N).tolist()
    token = data.state_dict(24, seed=1)
    for size in (2, 3, 4):
        per_rank = []
        for rank in range(size):
            b = data.batches(5, shuffle=True, world=(rank, size), uneven="keep", with_index=True)
            b.load_state_dict(token)
            per_rank.append([ids.tolist() for ids, _ in b])
        rest: list[int] = []
        for k in range(max(map(len, per_rank))):
            for r in range(size):
                rest += per_rank[r][k] if k < len(per_rank[r]) else []
        assert rest == reference[24:]
    data.close()


def test_sampler_resumes(images: Any) -> None:
    data = open_files(images)
    reference = list(data.sampler(seed=3))
    sampler = data.sampler(seed=3)
    it = iter(sampler)
    head = [next(it) for _ in range(41)]
    again = data.sampler(seed=0)
    again.load_state_dict(sampler.state_dict())
    assert head + list(again) == reference
    both = [list(data.sampler(seed=3, world=(r, 2), uneven="keep")) for r in range(2)]
    assert sorted(both[0] + both[1]) == list(range(N))
    assert both[0] == reference[::2]
    data.close()


def test_passes(images: Any) -> None:
    data = open_files(images)
    b = data.batches(10, shuffle=True, seed=1, with_index=True)

    def walk() -> list[int]:
        return [i for ids, _ in b for i in ids.tolist()]

    first = walk()
    with pytest.warns(UserWarning, match="set_epoch"):
        assert walk() == first
    b.set_epoch(1)
    assert walk() != first
    b.set_epoch(0)
    assert walk() == first
    token = data.state_dict(50, seed=1, pass_=4)
    b.load_state_dict(token)
    b.set_epoch(4)  # the loaded pass: the position stays
    assert walk() == Order("shuffle", N, 1, 4).take(50, N).tolist()
    b.load_state_dict(token)
    b.set_epoch(5)  # another: from 0
    assert walk() == Order("shuffle", N, 1, 5).take(0, N).tolist()
    data.close()


def test_persistent_workers_see_set_epoch(images: Any) -> None:
    data = open_files(images)
    b = data.batches(10, shuffle=True, seed=1, with_index=True)
    loader = DataLoader(b, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in (0, 3, 1):
        b.set_epoch(epoch)
        seen = [i for ids, _ in loader for i in ids.tolist()]
        assert seen == Order("shuffle", N, 1, epoch).take(0, N).tolist()
    data.close()


def test_kept_batches_do_not_change(images: Any) -> None:
    data = open_files(images)
    kept = list(data.batches(5, shuffle=True, seed=2))
    copies = [as_bytes(b) for b in kept]
    for _ in range(3):
        for b in data.batches(5, shuffle=True, seed=7):
            del b
    gc.collect()
    assert [as_bytes(b) for b in kept] == copies
    slices = [b[0] for b in kept]
    first = [bytes(s.numpy()) for s in slices]
    del kept
    gc.collect()
    list(data.batches(5, shuffle=True, seed=8))
    assert [bytes(s.numpy()) for s in slices] == first
    a, b = data[0], data[1]
    assert (a, b) == (content(0), content(3))
    ahead = DataLoader(data, 4, num_workers=2, prefetch_factor=8)
    assert [s for batch in list(ahead) for s in as_bytes(batch)] == [content(i) for _, i in paths_in_order()]
    data.close()


def test_datasets_pickle_and_are_small(images: Any) -> None:
    data = open_files(images, labels="dirname")
    blob = pickle.dumps(data)
    assert len(blob) < 5000
    again = pickle.loads(blob)
    assert again[3] == data[3]
    again.close()
    data.close()


def test_without_a_snapshot_the_dataset_is_pinned(images: Any) -> None:
    name, server, _ = images
    client = server.connect()
    files = client.create_dataset(f"{name}/live", type="posix")
    files.write_bytes("x", b"before")
    data = Dataset(f"{name}/live", addr=server.unix)
    files.write_bytes("x", b"after")
    files.write_bytes("y", b"new")
    assert (len(data), data[0]) == (1, b"before")
    (pin,) = files.snapshots()
    assert pin.auto
    assert pin.name in data.address
    data.close()
    client.close()


def test_addresses(images: Any) -> None:
    name, server, _ = images
    for data in (
        Dataset(pool=name, cont="files", path="/train/", snapshot="v1", addr=server.unix),
        Dataset(pool=name, container="files", path="train", snapshot="v1", addr=server.unix),
        Dataset(name, "files", "train", snapshot="v1", addr=server.unix),
    ):
        assert (len(data), data.address) == (N, f"{name}/files@v1/train")
        data.worker_init(0)
        data.close()
    with pytest.raises(TypeError, match="both given"):
        Dataset(f"{name}/files@v1", cont="files", addr=server.unix)
    with pytest.raises(TypeError, match="POOL/DATASET"):
        Dataset(addr=server.unix)
    with pytest.raises(pydaos.DObjNotFound, match="nosuch"):
        Dataset(f"{name}/nosuch@v1", addr=server.unix)
    with pytest.raises(pydaos.DObjNotFound, match="v9"):
        Dataset(f"{name}/files@v9", addr=server.unix)
    with pytest.raises(pydaos.DObjNotFound, match="nowhere"):
        Dataset(f"{name}/files@v1/nowhere", addr=server.unix)
    with pytest.raises(ValueError, match="dirname"):
        Dataset(f"{name}/files@v1", labels="filename", addr=server.unix)
    with pytest.raises(ValueError, match="tensor"):
        Dataset(f"{name}/rows@v1", labels="dirname", addr=server.unix)


def test_a_token_of_something_else_is_refused(images: Any) -> None:
    data = open_files(images)
    name, server, _ = images
    rows = Dataset(f"{name}/rows@v1", addr=server.unix)
    with pytest.raises(ValueError, match="manifest"):
        rows.sampler().load_state_dict(data.state_dict(5, seed=0))
    with pytest.raises(ValueError, match="103 samples"):
        data.state_dict(N + 1, seed=0)
    data.close()
    rows.close()
