"""Scans against os.walk of the same tree."""

import datetime
import fnmatch
import os
import random
import subprocess

import pyarrow as pa
import pytest

import pydaos
from pydaos._proto.daos.scan.v1 import scan_service_pb2 as pb

SEED = 20240229


@pytest.fixture
def tree(posix_dataset, tmp_path):
    """The same random tree locally and in a dataset."""
    rng = random.Random(SEED)
    folders = [""]
    for i in range(40):
        folder = os.path.join(rng.choice(folders), f"dir{i}" if rng.random() < 0.8 else f"häß{i}")
        folders.append(folder)
        (tmp_path / folder).mkdir(parents=True)
        posix_dataset.mkdir(folder, parents=True)
        for j in range(rng.randrange(8)):
            name = f"{folder}/{j}.{rng.choice(['png', 'txt', 'json'])}"
            data = bytes(rng.randrange(3000))
            (tmp_path / name).write_bytes(data)
            posix_dataset.write_bytes(name, data)
        if rng.random() < 0.3:
            os.symlink("target", tmp_path / folder / "link")
            posix_dataset.symlink("target", f"{folder}/link")
    odd = b"odd\xff.png"
    (tmp_path / os.fsdecode(odd)).write_bytes(b"odd")
    posix_dataset.write_bytes(odd, b"odd")
    return tmp_path


def local(root):
    """All entries as (path, type, size, depth)."""
    out = []
    for folder, below, names in os.walk(root):
        for name in below + names:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            kind = "symlink" if os.path.islink(path) else ("directory" if os.path.isdir(path) else "file")
            out.append((os.path.relpath(path, root), kind, info.st_size, os.path.relpath(path, root).count("/") + 1))
    return out


def rows(table):
    """The rows of a scan as `local` has them; sizes of directories don't count."""
    out = set()
    for row in table.to_pylist():
        raw = row["path_bytes"]
        path = os.fsdecode(raw) if raw is not None else row["path"]
        out.add((path, row["type"], -1 if row["type"] == "directory" else row["size"]))
    return out


def wanted(root, condition):
    return {(p, t, -1 if t == "directory" else s) for p, t, s, d in local(root) if condition(p, t, s, d)}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_everything(posix_dataset, tree, threads):
    table = posix_dataset.scan(threads=threads)
    assert isinstance(table, pa.Table)
    assert table.num_rows == len(local(tree))
    assert rows(table) == wanted(tree, lambda *_: True)
    assert table.equals(posix_dataset.scan(threads=threads))


@pytest.mark.parametrize(
    ("filters", "condition"),
    [
        ({"name": "*.png"}, lambda p, t, s, d: fnmatch.fnmatchcase(os.path.basename(p), "*.png")),
        ({"type": "file"}, lambda p, t, s, d: t == "file"),
        ({"type": ["directory", "symlink"]}, lambda p, t, s, d: t != "file"),
        ({"type": "file", "min_size": 1000}, lambda p, t, s, d: t == "file" and s >= 1000),
        ({"type": "file", "max_size": 1000}, lambda p, t, s, d: t == "file" and s <= 1000),
        ({"max_depth": 2}, lambda p, t, s, d: d <= 2),
        ({"min_depth": 3}, lambda p, t, s, d: d >= 3),
        (
            {"name": "[0-3].*", "min_size": 10, "type": "file"},
            lambda p, t, s, d: t == "file" and s >= 10 and os.path.basename(p)[0] in "0123" and "." in p,
        ),
        ({"path": "dir0/**"}, lambda p, t, s, d: p.startswith("dir0/")),
    ],
)
def test_filters(posix_dataset, tree, filters, condition):
    assert rows(posix_dataset.scan(**filters)) == wanted(tree, condition)


def test_an_imported_tree(client, pool, server, daos_binary, tmp_path):
    """What `daos fs import` has read is what os.walk finds."""
    rng = random.Random(SEED)
    for i in range(60):
        folder = tmp_path / f"{i % 7}" / f"{i}"
        folder.mkdir(parents=True)
        for j in range(50):
            (folder / f"{j:03}.{rng.choice(['png', 'txt'])}").write_bytes(bytes(rng.randrange(300)))
    imported = client.create_dataset(f"{pool}/imported")
    subprocess.run(
        [daos_binary, "fs", "import", str(tmp_path), f"{imported.address}/", "--addr", server.unix],
        check=True,
        capture_output=True,
    )
    assert rows(imported.scan()) == wanted(tmp_path, lambda *_: True)
    pngs = imported.scan(name="*.png", type="file")
    assert rows(pngs) == wanted(tmp_path, lambda p, t, s, d: p.endswith(".png"))
    for path, size in zip(pngs["path"].to_pylist()[:20], pngs["size"].to_pylist()):
        assert imported.read_bytes(path) == bytes(size)


def test_under_a_directory(posix_dataset, tree):
    top = next(e.name for e in posix_dataset.scandir() if e.is_dir() and posix_dataset.listdir(e.name))
    got = {r[0] for r in rows(posix_dataset.scan(under=top))}
    want = {p for p, *_ in local(tree) if p.startswith(f"{top}/")}
    assert got == want or got == {p.removeprefix(f"{top}/") for p in want}
    assert len(got) == len(want)


def test_times(posix_dataset):
    posix_dataset.write_bytes("old", b"")
    posix_dataset.write_bytes("new", b"")
    then = datetime.datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
    posix_dataset.setattr("old", mtime_ns=int(then.timestamp()) * 10**9 + 678901000)
    names = lambda **f: sorted(posix_dataset.scan(columns=["name"], **f)["name"].to_pylist())  # noqa: E731
    assert names(max_mtime=then) == []
    assert names(max_mtime=then + datetime.timedelta(microseconds=1)) == ["old"]
    assert names(min_mtime=then) == ["new", "old"]
    assert names(min_mtime=1.6e9) == ["new"]


def test_columns(posix_dataset, tree):
    every = ["path", "path_bytes", "name", "type", "size", "mtime", "ctime", "mode", "uid", "gid", "nlink", "inode",
             "depth", "symlink_target", "epoch"]  # fmt: skip
    table = posix_dataset.scan(columns=every)
    assert table.column_names == every
    by_path = {r["path"]: r for r in table.to_pylist()}
    for entry in posix_dataset.scandir():
        if entry.path in by_path:
            row, stat = by_path[entry.path], entry.stat()
            assert (row["mode"], row["nlink"], row["inode"], row["depth"]) == (stat.mode, stat.nlink, stat.inode, 1)
    assert posix_dataset.scan(columns=["size"]).column_names == ["size"]
    with pytest.raises(pydaos.InvalidError, match="colour"):
        posix_dataset.scan(columns=["colour"])


def test_batches_are_the_table(posix_dataset, tree):
    batches = list(posix_dataset.scan_batches(batch_rows=16))
    assert len(batches) > 3
    assert rows(pa.Table.from_batches(batches)) == rows(posix_dataset.scan())


@pytest.mark.parametrize(
    "harm",
    [
        lambda replies: replies[:-1],  # the end is missing
        lambda replies: replies[:1] + replies[2:],  # a batch is
        lambda replies: [*replies[:-1], (pb.ScanResponse(done=True, rows_out=1), b"")],
    ],
)
def test_a_scan_that_is_short_is_an_error(client, posix_dataset, tree, monkeypatch, harm):
    whole = type(client).stream

    def short(self, *args, **kwargs):
        return iter(harm(list(whole(self, *args, **kwargs))))

    posix_dataset.scan()
    monkeypatch.setattr(type(client), "stream", short)
    with pytest.raises((pydaos.DataLossError, pydaos.InternalError)):
        posix_dataset.scan()


def test_leaving_a_scan_early(posix_dataset, tree):
    first = next(iter(posix_dataset.scan_batches(batch_rows=4)))
    assert first.num_rows <= 4
    assert posix_dataset.scan().num_rows == len(local(tree))


def test_nothing(posix_dataset):
    table = posix_dataset.scan()
    assert table.num_rows == 0
    assert "path" in table.column_names
    with pytest.raises(pydaos.NotFoundError):
        posix_dataset.scan(under="none")
    with pytest.raises(pydaos.InvalidError, match="folder"):
        posix_dataset.scan(type="folder")


def test_a_snapshot_is_scanned_as_it_was(posix_dataset, tree):
    before = rows(posix_dataset.scan())
    posix_dataset.snapshot("v1")
    for entry in list(posix_dataset.scandir()):
        posix_dataset.remove(entry.path.encode("utf-8", "surrogateescape"), recursive=True)
    assert posix_dataset.scan().num_rows == 0
    assert rows(posix_dataset.at("v1").scan()) == before


CONDITIONS = [
    ({"where": "type = 'file' and size >= 1000"}, lambda p, t, s, d: t == "file" and s >= 1000),
    ({"where": "ext = 'png'", "type": ("file", "symlink")}, lambda p, t, s, d: p.endswith(".png")),
    ({"where": "depth > 1", "name": "*.txt", "max_size": 2000},
     lambda p, t, s, d: d > 1 and p.endswith(".txt") and s <= 2000),
    ({"where": "true", "max_mtime": datetime.datetime(1999, 1, 1)}, lambda p, t, s, d: False),
    ({"where": "size > 1 or true", "type": "directory", "max_depth": 1},
     lambda p, t, s, d: t == "directory" and d == 1),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "condition"), CONDITIONS)
def test_conditions(posix_dataset, tree, filters, condition):
    table = posix_dataset.scan(**filters)
    assert rows(table) == wanted(tree, condition)
    plain = posix_dataset.scan()
    assert [(f.name, f.type) for f in table.schema] == [(f.name, f.type) for f in plain.schema]
    batches = list(posix_dataset.scan_batches(batch_rows=7, **filters))
    assert sum(b.num_rows for b in batches) == table.num_rows and all(b.num_rows <= 7 for b in batches)


def test_conditions_below_a_folder_and_of_other_types(client, pool, posix_dataset, tree):
    top = next(p for p, t, _, d in sorted(local(tree)) if t == "directory" and d == 1 and os.listdir(tree / p))
    below = posix_dataset.scan(under=top, where="true", columns=["path"])["path"].to_pylist()
    assert below == posix_dataset.scan(under=top, columns=["path"])["path"].to_pylist()
    table = client.create_dataset(f"{pool}/table", type="tensor")
    table.define(pa.table({"x": [1, 2, 3]}))
    table.append(pa.table({"x": [1, 2, 3]}))
    assert table.scan(where="x > 1")["_id"].to_pylist() == [1, 2]
    assert table.scan(columns=["x"])["x"].to_pylist() == [1, 2, 3]
    kv = client.kv(f"{pool}/pairs", create=True)
    kv.put_many({"a/1": "x", "a/2": "y", "b": "z"})
    assert kv.scan(where="key_text like 'a/%'", columns=["key_text"])["key_text"].to_pylist() == ["a/1", "a/2"]
    with pytest.raises(pydaos.InvalidError, match=r"filters of files"):
        kv.scan(name="a*")
    with pytest.raises(pydaos.UnsupportedError, match=r"path= together with where="):
        posix_dataset.scan(path="a/*", where="size > 1")
    with pytest.raises(pydaos.InvalidError, match=r'no column "sise"(?s:.*)did you mean "size"\?'):
        posix_dataset.scan(where="sise > 1")


@pytest.mark.parametrize("moment", [-1e18, 1e12, float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["", "size >= 0"])
def test_times_that_no_file_has(posix_dataset, moment, where):
    with pytest.raises(pydaos.InvalidError, match="no file has"):
        posix_dataset.scan(where=where, min_mtime=moment)
