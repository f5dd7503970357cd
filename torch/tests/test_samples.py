"""What a sample and a batch are: bytes, labels, images, rows; and a run's own snapshot."""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate, random_split

import pydaos
from pydaos.torch import Dataset, IterableDataset, Ragged, Weighted


@pytest.fixture
def files(client: pydaos.Client, pool: str) -> Any:
    return client.create_dataset(f"{pool}/d", type="posix")


def opened(files: Any, server: Any, path: str = "", **options: Any) -> Dataset:
    """The dataset at a snapshot made now."""
    name = f"s{len(files.snapshots())}"
    files.snapshot(name)
    return Dataset(f"{files.address}@{name}{path}", addr=server.unix, **options)


def raw(sample: torch.Tensor) -> bytes:
    """The bytes of a uint8 tensor."""
    return sample.numpy().tobytes()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test has opened; an error that is kept would keep it open."""
    with ExitStack() as kept:
        yield kept


def put(files: Any, contents: dict[str, bytes]) -> None:
    for path, data in contents.items():
        if "/" in path:
            files.mkdir(os.path.dirname(path), parents=True)
        files.write_bytes(path, data)


def test_a_sample_is_bytes_of_its_own(files: Any, server: Any) -> None:
    put(files, {"a": b"one", "b": b"two", "c": b""})
    data = opened(files, server)
    a, b, c = data[0], data[1], data[2]
    for _ in range(3):
        data.__getitems__([2, 1, 0])
    assert (a, b, c) == (b"one", b"two", b"")
    assert isinstance(a, bytes)
    assert list(data.__getitems__([1, 0, 1])) == [b"two", b"one", b"two"]
    assert data[np.int64(1)] == data[torch.tensor(1)] == data[-2] == b"two"
    kept = list(DataLoader(data, 1))
    assert [[raw(x) for x in k] for k in kept] == [[b"one"], [b"two"], [b""]]


def test_only_regular_files_and_links_are_counted(files: Any, server: Any, caplog: Any) -> None:
    put(files, {"x/1": b"1", "x/y/2": b"22", "z": b"333"})
    for i in range(3):
        files.symlink("../z", f"x/link{i}")
    files.mkdir("empty")
    files.link("z", "hard")
    with caplog.at_level(logging.WARNING, "pydaos.torch"):
        data = opened(files, server)
    assert data.symlinks_skipped == 3
    assert data.paths(range(4)) == ["hard", "x/1", "x/y/2", "z"]
    assert sum("3 symbolic links" in r.getMessage() for r in caplog.records) == 1
    with IterableDataset(data.address, addr=server.unix) as samples:
        assert samples.symlinks_skipped == 3
        assert list(samples) == [b"333", b"1", b"22", b"333"]
    caplog.clear()
    assert opened(files, server, "/x/y").symlinks_skipped == 0
    assert not caplog.records


def test_glob_chooses_files_and_their_size_makes_the_batch(files: Any, server: Any) -> None:
    """Uniform or not is said by the manifest: the same files, chosen otherwise, give another type."""
    put(files, {f"{k}/{i}.{ext}": bytes(n) for k in "ab" for i in range(4) for ext, n in (("bin", 4), ("txt", i))})
    mixed = opened(files, server)
    assert len(mixed) == 16
    assert mixed.source.uniform is None
    only = opened(files, server, glob="**/*.bin")
    assert only.paths([0, 7]) == ["a/0.bin", "b/3.bin"]
    assert only.source.uniform == 4
    assert next(iter(DataLoader(only, 3))).shape == (3, 4)
    assert next(iter(only.batches(3))).shape == (3, 4)
    # Subsets of mixed sizes are Ragged, also where those chosen are of one size.
    bins = [i for i, p in enumerate(mixed.paths(range(16))) if p.endswith(".bin")]
    for subset in (Subset(mixed, bins), Subset(mixed, bins[:1]), Subset(Subset(mixed, bins), [0, 1])):
        (batch,) = DataLoader(subset, 16)
        assert isinstance(batch, Ragged)
        assert batch.lengths.unique().tolist() == [4]
    for part in random_split(mixed, [10, 6], torch.Generator().manual_seed(0)):
        assert all(isinstance(b, Ragged) for b in DataLoader(part, 4))
    for b in DataLoader(ConcatDataset([only, only]), 5):
        assert isinstance(b, torch.Tensor)
        assert b.shape[1] == 4
    assert len(opened(files, server, "/b", glob="[12].txt")) == 2
    assert [type(b) for b in mixed.batches(5)] == [Ragged] * 4


def test_empty_files_and_no_files(files: Any, server: Any) -> None:
    files.mkdir("none")
    put(files, {"e/1": b"", "e/2": b"", "e/3": b"x"})
    none = opened(files, server, "/none", allow_empty=True)
    assert len(none) == 0
    assert list(DataLoader(none, 4)) == list(none.batches(4)) == list(none) == []
    assert list(none.sampler()) == []
    with pytest.raises(IndexError, match="0 samples"):
        none[0]
    empty = opened(files, server, "/e", glob="[12]")
    for batch in (next(iter(empty.batches(2))), next(iter(DataLoader(empty, 2)))):
        assert len(batch) == 2
        assert [raw(x) for x in batch] == [b"", b""]
    some = opened(files, server, "/e")
    assert [[raw(x) for x in b] for b in some.batches(2)] == [[b"", b""], [b"x"]]
    labelled = opened(files, server, labels="dirname")
    assert (labelled.classes, [labelled[i] for i in range(3)]) == (["e"], [(b"", 0), (b"", 0), (b"x", 0)])


def test_labels_are_image_folders(files: Any, server: Any, tmp_path: Path) -> None:
    """The first folder below the path, sorted; files outside of any are no samples."""
    tree = {
        "t/cat/1": b"c1",
        "t/cat/deep/2": b"c2",
        "t/Ant/1": b"a",
        "t/dog10/1": b"d",
        "t/dog9/1": b"e",
        "t/top": b"?",
    }
    put(files, tree)
    files.mkdir("t/nobody")
    data = opened(files, server, "/t", labels="dirname")
    for path, content in tree.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    # torchvision's find_classes and make_dataset, without their file name filter.
    folders = sorted(e.name for e in os.scandir(tmp_path / "t") if e.is_dir())
    expected = [
        (Path(root, name).read_bytes(), label)
        for label, folder in enumerate(folders)
        for root, _, names in sorted(os.walk(tmp_path / "t" / folder, followlinks=True))
        for name in sorted(names)
    ]
    assert data.classes == folders
    assert data.class_to_idx == {name: i for i, name in enumerate(folders)}
    assert [data[i] for i in range(len(data))] == expected
    assert list(data.source.class_sizes) == [1, 2, 1, 1]
    ready = list(data.batches(2))
    assert [y.tolist() for _, y in ready] == [[0, 1], [1, 2], [3]]
    assert all(isinstance(x, Ragged) and y.dtype == torch.int64 for x, y in ready)
    stock = list(DataLoader(data, 2))
    assert [[y.tolist(), [raw(v) for v in x]] for x, y in stock] == [
        [y.tolist(), [raw(v) for v in x]] for x, y in ready
    ]
    upper = opened(files, server, "/t", labels="dirname", transform_fn=lambda x: len(x))
    assert [upper[i] for i in range(5)] == [(len(x), y) for x, y in expected]
    with pytest.raises(ValueError, match="dirname"):
        opened(files, server, labels="csv")


def test_classes_may_have_any_name(files: Any, server: Any) -> None:
    """Two names that are no text are two classes."""
    names = [b"\xfe", b"\xff\xe9", b"a b", "\ufffd".encode(), "é".encode()]
    for k, name in enumerate(names):
        for i in range(k + 1):
            files.write_bytes(b"n/" + name + b"/%d" % i, b"x" * k, parents=True)
    data = opened(files, server, "/n", labels="dirname")
    assert data.classes == [os.fsdecode(n) for n in sorted(names)]
    assert len(data.class_to_idx) == len(names)
    for i in range(len(data)):
        x, y = data[i]
        assert data.classes[y] == data.paths([i])[0].split("/")[0]
        assert os.fsencode(data.classes[y]) == names[len(x)]
    weights = {os.fsdecode(n): int(n == b"\xfe") for n in names}
    drawn = list(data.sampler(order=Weighted(weights)))
    assert {data[i][1] for i in drawn} == {data.class_to_idx[os.fsdecode(b"\xfe")]}
    data.close()


def png(array: np.ndarray[Any, Any], mode: str | None = None) -> bytes:
    from PIL import Image

    image = Image.fromarray(array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_come_as_uint8_chw(files: Any, server: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    put(files, {"k/1-rgb": png(pixels), "k/2-grey": png(pixels[:, :, 0]), "k/3-p": png(pixels, "P")})
    put(files, {"k/4-rgba": png(pixels, "RGBA")})
    data = opened(files, server, decode="image", labels="dirname")
    images = [data[i][0] for i in range(4)]
    assert [tuple(x.shape) for x in images] == [(3, 5, 7), (1, 5, 7), (3, 5, 7), (3, 5, 7)]
    assert all(x.dtype == torch.uint8 and x.is_contiguous() for x in images)
    assert torch.equal(images[0], torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(images[3], images[0])
    halved = opened(files, server, "/k", decode="image", glob="*rgb", transform_fn=lambda x: x.float().mean())
    assert float(halved[0]) == pytest.approx(pixels.mean())
    (batch,) = Dataset(data.address + "/k", decode="image", glob="1*", addr=server.unix).batches(4)
    assert batch.shape == (1, 3, 5, 7)
    with pytest.raises(ValueError, match="decode='jpeg'"):
        opened(files, server, decode="jpeg")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_can_not_be_decoded_is_named(files: Any, server: Any, workers: int, stack: ExitStack) -> None:
    put(files, {"k/good": png(np.zeros((2, 2, 3), np.uint8)), "k/zbroken": b"not an image"})
    data = stack.enter_context(opened(files, server, decode="image"))

    def text(err: BaseException) -> str:
        return "\n".join([str(err), *getattr(err, "__notes__", [])])

    for loader in (DataLoader(data, 2, num_workers=workers), DataLoader(data.batches(2), None, num_workers=workers)):
        with pytest.raises(Exception, match="cannot identify image") as caught:
            list(loader)
        assert f"in sample 1, k/zbroken, of {data.source.snapshot}" in text(caught.value)
        assert type(caught.value).__name__ == "UnidentifiedImageError"


def test_rows_are_dicts_of_tensors(client: pydaos.Client, pool: str, server: Any) -> None:
    rows = client.create_dataset(f"{pool}/t", type="tensor")
    n = 9
    table = {
        "x": np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3),
        "flag": np.arange(n) % 2 == 0,
        "tokens": [np.arange(i, dtype=np.int32) for i in range(n)],
        "name": [f"é{i}" for i in range(n)],
        "raw": [bytes([i]) * i for i in range(n)],
    }
    rows.append(table)
    rows.snapshot("v")
    data = Dataset(f"{pool}/t@v", addr=server.unix)
    assert len(data) == n
    one = data[4]
    assert isinstance(one, dict)
    assert torch.equal(one["x"], torch.from_numpy(table["x"][4]))
    assert one["tokens"].tolist() == [0, 1, 2, 3]
    assert (one["name"], one["raw"], bool(one["flag"])) == ("é4", b"\4" * 4, True)
    for batch in (next(iter(data.batches(n))), next(iter(DataLoader(data, n)))):
        assert torch.equal(batch["x"], torch.from_numpy(table["x"]))
        assert batch["flag"].dtype == torch.bool
        assert isinstance(batch["tokens"], Ragged)
        assert batch["tokens"].to_padded(pad=-1)[2].tolist() == [0, 1, -1, -1, -1, -1, -1, -1]
        assert batch["tokens"].to_nested().is_nested
        assert batch["name"] == table["name"]
        assert batch["raw"] == table["raw"]
    # Built from single samples, as wrappers make torch do it, it is the same batch.
    singles = default_collate([data[i] for i in range(n)])
    assert singles["tokens"] == batch["tokens"]
    assert torch.equal(singles["x"], batch["x"])
    some = Dataset(f"{pool}/t@v", columns=["name", "flag"], addr=server.unix)
    assert list(some[0]) == ["name", "flag"]
    with pytest.raises(ValueError, match="labels are a column"):
        Dataset(f"{pool}/t@v", labels="dirname", addr=server.unix)
    with pytest.raises(ValueError, match="tensors already"):
        Dataset(f"{pool}/t@v", decode="image", addr=server.unix)


def test_a_ragged_batch_crosses_from_workers_as_one_buffer(files: Any, server: Any) -> None:
    put(files, {f"{i:02d}": bytes([i]) * i for i in range(20)})
    data = opened(files, server)
    for options in ({"num_workers": 2}, {"num_workers": 2, "prefetch_factor": 8}):
        got = list(DataLoader(data, 7, **options))  # type: ignore[arg-type]
        assert [type(b) for b in got] == [Ragged] * 3
        assert [raw(x) for b in got for x in b] == [bytes([i]) * i for i in range(20)]
    (batch,) = data.batches(20)
    again = pickle.loads(pickle.dumps(batch))
    assert again == batch
    assert batch[-1].tolist() == [19] * 19
    with pytest.raises(IndexError):
        batch[20]


# -- the snapshot of a run -----------------------------------------------------------


def test_a_run_pins_one_snapshot_for_all_its_processes(files: Any, server: Any, daos_binary: str) -> None:
    put(files, {f"{i}": bytes([i]) for i in range(6)})
    data = Dataset(files.address, addr=server.unix)
    (pin,) = files.snapshots()
    assert pin.auto
    assert pin.expires_unix_nanos - pin.created_unix_nanos == 7 * 24 * 3600 * 10**9
    listed = subprocess.run(
        [daos_binary, "snapshot", "list", files.address, "--json", "--addr", server.unix],
        env={**os.environ, "DAOS_TOKEN": server.token},
        capture_output=True,
        check=True,
    )
    assert re.search(rb'"auto": ?true', listed.stdout), listed.stdout
    files.write_bytes("0", b"changed")
    files.write_bytes("9", b"new")
    for options in ({}, {"num_workers": 2}, {"num_workers": 1, "multiprocessing_context": "spawn"}):
        got = [int(x) for b in DataLoader(data, 4, **options) for x in b.flatten()]  # type: ignore[arg-type]
        assert got == list(range(6))
    assert [s.name for s in files.snapshots()] == [pin.name]
    token = data.state_dict(4, seed=1)
    assert token["snapshot"] == f"{files.address}@{pin.name}"
    again = Dataset(token["snapshot"], addr=server.unix)
    rest = again.batches(4)
    rest.load_state_dict(token)
    assert sum(len(b) for b in rest) == 2
    assert [s.name for s in files.snapshots()] == [pin.name]


def test_no_worker_pins_a_snapshot(files: Any, server: Any) -> None:
    put(files, {"a": b"1"})
    inner = Made(files.address, server.unix)
    with pytest.raises(pydaos.InvalidError, match=r"a worker process .* daos snapshot create"):
        list(DataLoader(inner, num_workers=1))
    assert files.snapshots() == []


class Made(torch.utils.data.Dataset[Any]):
    """A dataset that opens ours where it is first read."""

    def __init__(self, address: str, addr: str) -> None:
        self._where = address, addr

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> Any:
        return len(Dataset(self._where[0], addr=self._where[1])[0])


def test_a_token_whose_snapshot_is_gone_says_which(files: Any, server: Any) -> None:
    put(files, {f"{i}": bytes([i]) for i in range(6)})
    first = Dataset(files.address, addr=server.unix)
    token = first.state_dict(4, seed=1)
    first.close()
    second = Dataset(files.address, addr=server.unix)
    for there in (second.sampler(), second.batches(2)):
        with pytest.raises(ValueError, match="open the dataset at the token's snapshot"):
            there.load_state_dict(token)  # type: ignore[attr-defined]
    name = token["snapshot"].split("@")[1]
    files.destroy_snapshot(name)
    for there in (second.sampler(), second.batches(2)):
        with pytest.raises(ValueError, match=rf"snapshot {token['snapshot']}, which is gone"):
            there.load_state_dict(token)  # type: ignore[attr-defined]
    with pytest.raises(pydaos.DObjNotFound, match=name):
        Dataset(token["snapshot"], addr=server.unix)


def test_reading_renews_the_snapshot_and_idleness_ends_it(files: Any, server: Any) -> None:
    """A run may go on for longer than its snapshot's life; one that has ended may not keep it."""
    put(files, {f"{i}": bytes([i]) for i in range(6)})
    kept, idle = (files.snapshot(name, ttl=10) for name in ("kept", "idle"))  # a slow disk may take seconds
    data = Dataset(f"{files.address}@{kept.name}", addr=server.unix)
    while time.time_ns() <= max(kept.expires_unix_nanos, idle.expires_unix_nanos):
        assert len(list(data.batches(2))) == 3
    names = {s.name: s for s in files.snapshots()}
    assert names["kept"].expires_unix_nanos > kept.expires_unix_nanos
    with pytest.raises(pydaos.DObjNotFound, match="idle"):
        Dataset(f"{files.address}@{idle.name}", addr=server.unix)
    assert len(Dataset(data.address, addr=server.unix)) == 6


# -- faults -------------------------------------------------------------------------


@pytest.fixture
def doomed(own_server: Any) -> Any:
    with own_server.connect() as client:
        client.create_pool("p")
        files = client.create_dataset("p/d", type="posix")
        for i in range(40):
            files.write_bytes(f"{i:02d}", bytes([i]) * 100)
        files.snapshot("v1")
    return own_server


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("way", ["batches", "stock"])
def test_a_server_that_stays_away_is_an_error_that_says_where(
    doomed: Any, workers: int, way: str, stack: ExitStack
) -> None:
    data = stack.enter_context(Dataset("p/d@v1", addr=doomed.unix, token_file=doomed.token_file, retry=0.2))
    if way == "batches":
        ready = data.batches(2, shuffle=True, seed=1, world=(1, 2), prefetch=1)
        ready.set_epoch(3)
        loader: DataLoader[Any] = DataLoader(ready, batch_size=None, num_workers=workers, prefetch_factor=None)
    else:
        loader = DataLoader(data, 2, num_workers=workers)
    it = iter(loader)
    next(it)
    doomed.kill()
    with pytest.raises(pydaos.UnreachableError) as caught:
        list(it)
    text = str(caught.value)
    assert "p/d@v1" in text
    assert isinstance(caught.value, ConnectionError)
    if workers:
        assert "worker 0 of 1" in text
    if way == "batches":
        assert "rank 1 of 2" in text
        assert "of pass 3" in text
    else:
        assert "a batch of 2 samples, the first of them sample" in text
    assert type(pickle.loads(pickle.dumps(caught.value))) is type(caught.value)


def test_a_server_that_hangs_runs_into_the_deadline(doomed: Any, stack: ExitStack) -> None:
    data = Dataset("p/d@v1", addr=doomed.unix, token_file=doomed.token_file, retry=0.2, timeout=1.5)
    stack.enter_context(data)
    os.kill(doomed.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(pydaos.DeadlineError, match="sample 3, p/d@v1"):
            data[3]
        ready = data.batches(2, shuffle=True, seed=1)
        with pytest.raises(pydaos.DeadlineError, match="batch 0 of pass 0, p/d@v1"):
            next(iter(ready))
        assert time.monotonic() - begun < 30
    finally:
        os.kill(doomed.pid, signal.SIGCONT)
    assert data[3] == bytes([3]) * 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sum(len(b) for b in ready) == 40
