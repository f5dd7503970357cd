"""The fsspec file system, and those who read through it."""

import datetime
import pickle

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest

import pydaos
import pydaos.fs
from pydaos.testing import Server

TREE = {
    "a.txt": b"hello",
    "b/c.txt": b"world",
    "b/d/e.bin": bytes(range(256)) * 40,
    "b/d/f.txt": b"",
    "häß/x.txt": "ü".encode(),
}


@pytest.fixture
def base(posix_dataset):
    for path, data in TREE.items():
        posix_dataset.write_bytes(path, data, parents=True)
    posix_dataset.snapshot("v1")
    return f"{posix_dataset.address}@v1"


@pytest.fixture
def fs(server):
    return fsspec.filesystem("daos", addr=server.unix, skip_instance_cache=True)


def test_it_is_registered():
    assert fsspec.get_filesystem_class("daos") is pydaos.fs.DaosFileSystem


@pytest.mark.parametrize(
    ("path", "plain"),
    [("daos://p/d@v/a/b", "p/d@v/a/b"), ("/p/d/", "p/d"), ("", ""), ("daos://", ""), (["p//d", "x"], ["p/d", "x"])],
)
def test_paths(path, plain):
    strip = pydaos.fs.DaosFileSystem._strip_protocol
    assert strip(path) == plain
    assert strip(plain) == plain


def test_listing(fs, base, pool):
    assert pool in fs.ls("", detail=False)
    assert fs.ls(pool, detail=False) == [base.split("@")[0]]
    assert sorted(fs.ls(base, detail=False)) == [f"{base}/a.txt", f"{base}/b", f"{base}/häß"]
    entry = next(e for e in fs.ls(f"daos://{base}") if e["name"].endswith("a.txt"))
    assert (entry["type"], entry["size"]) == ("file", 5)
    assert fs.ls(f"{base}/a.txt", detail=False) == [f"{base}/a.txt"]
    for missing in (f"{base}/none", "nopool", f"{pool}/none"):
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)


def test_information(fs, base):
    assert fs.info(f"{base}/b")["type"] == "directory"
    assert fs.info(f"{base}/b/d/e.bin")["size"] == 10240
    assert fs.info(base)["type"] == "directory"
    assert fs.exists(f"{base}/a.txt")
    assert not fs.exists(f"{base}/none")
    assert (fs.isfile(f"{base}/a.txt"), fs.isdir(f"{base}/b"), fs.isdir("")) == (True, True, True)
    assert fs.size(f"{base}/a.txt") == 5
    assert abs((fs.modified(f"{base}/a.txt") - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 300
    assert fs.ukey(f"{base}/a.txt") != fs.ukey(f"{base}/b/c.txt")
    with pytest.raises(FileNotFoundError):
        fs.info(f"{base}/none")


def test_finding(fs, base):
    names = sorted(f"{base}/{path}" for path in TREE)
    assert fs.find(base) == names
    assert fs.find(f"{base}/b") == [n for n in names if n.startswith(f"{base}/b/")]
    assert fs.find(base, maxdepth=1) == [f"{base}/a.txt"]
    detailed = fs.find(base, detail=True, withdirs=True)
    assert detailed[f"{base}/b/d"]["type"] == "directory"
    assert detailed[f"{base}/b/d/e.bin"]["size"] == 10240
    assert fs.find(f"{base}/a.txt") == [f"{base}/a.txt"]
    assert fs.find(f"{base}/none") == []
    assert fs.du(base) == sum(map(len, TREE.values()))
    walked = {f"{folder}/{name}" for folder, _, files in fs.walk(base) for name in files}
    assert walked == set(names)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["a.txt"]),
        ("**/*.txt", ["a.txt", "b/c.txt", "b/d/f.txt", "häß/x.txt"]),
        ("b/*", ["b/c.txt", "b/d"]),
        ("b/d/?.bin", ["b/d/e.bin"]),
        ("none*", []),
    ],
)
def test_globs(fs, base, pattern, found):
    assert sorted(fs.glob(f"{base}/{pattern}")) == [f"{base}/{f}" for f in found]


def test_globs_are_those_of_a_local_folder(fs, base, tmp_path):
    local = fsspec.filesystem("file")
    for path, data in TREE.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    for pattern in ("*", "**", "b/**", "*/*", "*/*.txt", "[ab]*", "b/d/*.{txt,bin}", "**/d/*"):
        ours = {n.removeprefix(base).strip("/") for n in fs.glob(f"{base}/{pattern}")}
        theirs = {n.removeprefix(str(tmp_path)).strip("/") for n in local.glob(f"{tmp_path}/{pattern}")}
        assert ours == theirs, pattern


def test_content(fs, base):
    data = TREE["b/d/e.bin"]
    path = f"{base}/b/d/e.bin"
    assert fs.cat_file(path) == data
    for start, end in [(0, 10), (5, None), (-10, None), (None, -10), (100, 50), (10_000, 99_999)]:
        assert fs.cat_file(path, start, end) == data[slice(start, end)] if (end or 1) > 0 or start is None else True
    assert fs.cat(f"{base}/a.txt") == b"hello"
    assert fs.cat([f"{base}/a.txt", f"{base}/b/c.txt"]) == {f"{base}/a.txt": b"hello", f"{base}/b/c.txt": b"world"}
    assert fs.cat(f"{base}/b", recursive=True) == {f"{base}/{p}": d for p, d in TREE.items() if p.startswith("b/")}
    with pytest.raises(FileNotFoundError):
        fs.cat([f"{base}/none", f"{base}/a.txt"])
    assert fs.cat([f"{base}/none", f"{base}/a.txt"], on_error="omit") == {f"{base}/a.txt": b"hello"}
    assert fs.head(path, 3) == data[:3]
    assert fs.tail(path, 3) == data[-3:]


def test_ranges(fs, base):
    path = f"{base}/b/d/e.bin"
    data = TREE["b/d/e.bin"]
    starts = list(range(0, 9000, 37))
    ends = [s + 100 for s in starts]
    assert fs.cat_ranges([path] * len(starts), starts, ends) == [data[s:e] for s, e in zip(starts, ends)]
    got = fs.cat_ranges([f"{base}/none", path, path, path], [0, None, -5, 3], [5, 4, None, None])
    assert isinstance(got[0], FileNotFoundError)
    assert got[1:] == [data[:4], data[-5:], data[3:]]
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([f"{base}/none"], 0, 5, on_error="raise")


def test_open(fs, base):
    with fs.open(f"{base}/b/d/e.bin") as f:
        f.seek(-3, 2)
        assert f.read() == b"\xfd\xfe\xff"
    with fs.open(f"{base}/a.txt", "r") as f:
        assert f.read() == "hello"
    with fsspec.open(f"daos://{base}/a.txt", addr=fs.storage_options["addr"]) as f:
        assert f.read() == b"hello"


def test_file_objects_are_not_taken_for_local_files(fs, posix_dataset, base):
    # pandas writes to f.name of an io.BufferedWriter that has one.
    with posix_dataset.open("new", "wb") as writer, fs.open(f"{base}/a.txt") as reader:
        assert not hasattr(writer, "name")
        assert not hasattr(reader, "name")


def test_links_are_followed(fs, posix_dataset, base):
    posix_dataset.symlink("a.txt", "link")
    posix_dataset.symlink("nowhere", "dangling")
    live = posix_dataset.address
    assert fs.info(f"{live}/link")["type"] == "file"
    assert fs.info(f"{live}/link")["size"] == 5
    assert fs.info(f"{live}/dangling")["type"] == "other"
    assert fs.cat_file(f"{live}/link") == b"hello"
    assert f"{live}/link" in fs.find(live)


@pytest.mark.parametrize(
    "change",
    [
        lambda fs, p: fs.open(p, "wb"),
        lambda fs, p: fs.pipe_file(p, b""),
        lambda fs, p: fs.mkdir(p),
        lambda fs, p: fs.makedirs(p),
        lambda fs, p: fs.rm(p),
        lambda fs, p: fs.touch(p),
        lambda fs, p: fs.mv(p, p + "2"),
        lambda fs, p: fs.cp_file(p, p + "2"),
        lambda fs, p: fs.put_file("/etc/hostname", p),
    ],
)
def test_it_only_reads(fs, base, change):
    with pytest.raises(NotImplementedError, match="only reads"):
        change(fs, f"{base}/a.txt")


def test_it_pickles_and_travels_as_json(fs, base):
    again = pickle.loads(pickle.dumps(fs))
    assert again.cat_file(f"{base}/a.txt") == b"hello"
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()).exists(f"{base}/a.txt")


def test_a_copy_stays_with_its_server(own_server, runtime_folder, monkeypatch):
    """The server started last is found by itself; a copy reads where the first one did."""
    monkeypatch.delenv("DAOS_ADDR", raising=False)
    with own_server.connect() as client:
        client.create_pool("p")
        client.create_dataset("p/d", type="posix").write_bytes("a", b"mine")
    fs = fsspec.filesystem("daos", skip_instance_cache=True)
    assert fs.cat_file("p/d/a") == b"mine"
    with Server(runtime_folder / "later"):
        with pydaos.connect() as newest:
            assert newest.pools() == []
        pydaos.fs.DaosFileSystem.clear_instance_cache()
        copied = pickle.dumps(fs)
        assert pickle.loads(copied).cat_file("p/d/a") == b"mine"
        pydaos.fs.DaosFileSystem.clear_instance_cache()
    own_server.restart()
    assert pickle.loads(copied).cat_file("p/d/a") == b"mine"
    pydaos.fs.DaosFileSystem.clear_instance_cache()


def test_getting_files(fs, base, tmp_path):
    fs.get(f"{base}/b", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "d" / "e.bin").read_bytes() == TREE["b/d/e.bin"]


def test_pandas(posix_dataset, server, monkeypatch):
    monkeypatch.setenv("DAOS_ADDR", server.unix)
    pydaos.fs.DaosFileSystem.clear_instance_cache()  # fsspec keeps instances by their arguments
    frame = pd.DataFrame({"x": range(1000), "y": [f"n{i}" for i in range(1000)]})
    with posix_dataset.open("x.csv", "w") as f:
        frame.to_csv(f, index=False)
    with posix_dataset.open("x.parquet", "wb") as f:
        frame.to_parquet(f)
    posix_dataset.snapshot("v1")
    pd.testing.assert_frame_equal(pd.read_csv(f"daos://{posix_dataset.address}@v1/x.csv"), frame)
    pd.testing.assert_frame_equal(pd.read_parquet(f"daos://{posix_dataset.address}@v1/x.parquet"), frame)


def test_pyarrow(fs, posix_dataset):
    table = pa.table({"i": np.arange(100_000), "s": [str(i) for i in range(100_000)]})
    for part in range(3):
        posix_dataset.mkdir("t", parents=True)
        with posix_dataset.open(f"t/{part}.parquet", "wb") as f:
            pa.parquet.write_table(table.slice(part * 30_000, 30_000), f, row_group_size=5000)
    arrow_fs = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(fs))
    found = pa.dataset.dataset(f"{posix_dataset.address}/t", filesystem=arrow_fs)
    assert found.to_table(columns=["i"]).num_rows == 90_000
    one = pa.parquet.read_table(f"{posix_dataset.address}/t/1.parquet", filesystem=arrow_fs, pre_buffer=True)
    assert one.equals(table.slice(30_000, 30_000).combine_chunks())
