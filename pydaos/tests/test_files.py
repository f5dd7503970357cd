"""Files of a POSIX dataset through the real server."""

import errno
import gc
import io
import os
import random
import resource
import stat
import zipfile

import numpy as np
import pytest

import pydaos

NAMES = ["plain", "with space", "häß", "日本", "new\nline", "-dash", "a" * 255, "...", "\udcff\udcfe"]


@pytest.fixture
def fs(posix_dataset):
    return posix_dataset


@pytest.mark.parametrize("size", [0, 1, 4095, 65536, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 20 << 20])
def test_whole_files(fs, size):
    data = random.Random(size).randbytes(size)
    fs.write_bytes("f", data)
    assert fs.read_bytes("f") == data
    assert fs.stat("f").size == size


def test_buffers_of_any_shape(fs):
    """`memoryview.cast` refuses shapes with a zero in them."""
    nothing, grid = np.zeros((0, 3), np.float32), np.arange(12, dtype=np.int32).reshape(3, 4)
    fs.write_bytes("none", nothing)
    assert fs.stat("none").size == 0
    assert fs.readinto("none", nothing) == 0
    with fs.stage("f") as f:
        f.write(nothing)
        f.write(grid)
        f.write(nothing)
    assert fs.read_bytes("f") == grid.tobytes()
    with fs.open("f", "r+b", buffering=0) as f:
        assert f.write(nothing) == 0
        assert f.readinto(nothing) == 0
        assert f.read() == grid.tobytes()
    with pytest.raises(TypeError):
        fs.write_bytes("f", grid.T)


def test_ranges(fs):
    data = random.Random(1).randbytes(10 << 20)
    fs.write_bytes("f", data)
    for offset, length in [(0, 0), (5, 10), (1 << 20, 5 << 20), (len(data) - 3, 100), (len(data), 5), (1 << 40, 5)]:
        assert fs.read_bytes("f", offset, length) == data[offset : offset + length]
    buffer = bytearray(100)
    assert fs.readinto("f", buffer, 1000) == 100
    assert buffer == data[1000:1100]
    assert fs.readinto("f", buffer, len(data) - 40) == 40
    with pytest.raises(pydaos.InvalidError):
        fs.read_bytes("f", -1)


@pytest.mark.parametrize("name", NAMES)
def test_names(fs, name):
    fs.write_bytes(name, b"x")
    assert fs.listdir() == [name]
    assert fs.read_bytes(fs.listdir()[0]) == b"x"
    raw = name.encode("utf-8", "surrogateescape")
    assert fs.listdir(b"") == [raw]
    assert fs.read_bytes(raw) == b"x"
    fs.rename(raw, "other")
    assert fs.listdir() == ["other"]


@pytest.mark.parametrize("name", ["..", "a/../b", ".", "./a", "a\0b"])
def test_names_that_climb_are_refused(fs, name):
    with pytest.raises(pydaos.InvalidError):
        fs.write_bytes(name, b"")


def test_a_name_that_is_too_long_is_refused(fs):
    with pytest.raises((pydaos.TooBigError, pydaos.InvalidError)):
        fs.write_bytes("a" * 256, b"")


def test_exclusive_and_parents(fs):
    with pytest.raises(pydaos.NotFoundError):
        fs.write_bytes("a/b/c", b"1")
    fs.write_bytes("a/b/c", b"1", parents=True, exclusive=True, mode=0o600)
    assert fs.stat("a/b/c").mode == 0o600
    with pytest.raises(FileExistsError):
        fs.write_bytes("a/b/c", b"2", exclusive=True)
    with pytest.raises(pydaos.ExistsError):
        fs.write_bytes("a/b/c", bytes(5 << 20), exclusive=True)
    assert fs.read_bytes("a/b/c") == b"1"


def test_the_tree(fs):
    fs.mkdir("d/e", parents=True)
    fs.mkdir("d/e", parents=True)
    with pytest.raises(FileExistsError):
        fs.mkdir("d")
    fs.write_bytes("d/f", b"123")
    assert [(e.name, e.path, e.is_dir(), e.stat().size) for e in fs.scandir("d")] == [
        ("e", "d/e", True, fs.stat("d/e").size),
        ("f", "d/f", False, 3),
    ]
    assert (fs.isdir("d"), fs.isfile("d"), fs.exists("d"), fs.exists("x"), fs.exists("d/f/x")) == (
        True,
        False,
        True,
        False,
        False,
    )
    with pytest.raises(NotADirectoryError):
        fs.listdir("d/f")
    with pytest.raises(IsADirectoryError):
        fs.read_bytes("d")
    with pytest.raises(IsADirectoryError):
        fs.open("d")
    with pytest.raises(OSError) as caught:
        fs.remove("d")
    assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(NotADirectoryError):
        fs.rmdir("d/f")
    fs.rmdir("d/e")
    fs.rename("d", "g")
    assert fs.listdir("g") == ["f"]
    fs.write_bytes("h", b"4")
    fs.rename("h", "g/f")
    assert fs.read_bytes("g/f") == b"4"
    fs.write_bytes("h", b"5")
    with pytest.raises(pydaos.ExistsError):
        fs.rename("h", "g/f", exclusive=True)
    fs.remove("g", recursive=True)
    assert fs.listdir() == ["h"]
    with pytest.raises(FileNotFoundError) as caught:
        fs.stat("g/f")
    assert caught.value.errno == errno.ENOENT
    assert "g" in str(caught.value)


def test_links(fs):
    fs.write_bytes("f", b"content")
    fs.symlink("f", "s")
    fs.symlink("nowhere", "dangling")
    assert fs.readlink("s") == "f"
    assert fs.stat("s").is_file
    assert fs.stat("s", follow_symlinks=False).is_symlink
    assert fs.read_bytes("s") == b"content"
    assert not fs.exists("dangling")
    with pytest.raises(pydaos.InvalidError):
        fs.readlink("f")
    fs.link("f", "g")
    assert fs.stat("f").nlink == 2
    assert fs.stat("f").inode == fs.stat("g").inode
    fs.remove("f")
    assert fs.read_bytes("g") == b"content"


def test_attributes_of_entries(fs):
    fs.write_bytes("f", b"123")
    got = fs.setattr("f", mode=0o640, uid=7, gid=8, mtime_ns=1_234_567_890_123_456_789)
    assert (got.mode, got.uid, got.gid, got.mtime_ns) == (0o640, 7, 8, 1_234_567_890_123_456_789)
    assert fs.stat("f")._replace(epoch=0, ctime_ns=0) == got._replace(epoch=0, ctime_ns=0)
    assert stat.S_ISREG(fs.stat("f").st_mode)
    fs.truncate("f", 1)
    assert fs.read_bytes("f") == b"1"
    fs.truncate("f", 5)
    assert fs.read_bytes("f") == b"1\0\0\0\0"


def test_extended_attributes(fs):
    fs.write_bytes("f", b"")
    fs.setxattr("f", "user.a", b"\0\xff" * 100)
    fs.setxattr("f", b"user.b", b"")
    assert fs.listxattr("f") == ["user.a", "user.b"]
    assert fs.getxattr("f", "user.a") == b"\0\xff" * 100
    with pytest.raises(pydaos.ExistsError):
        fs.setxattr("f", "user.a", b"", exclusive=True)
    fs.removexattr("f", "user.a")
    assert fs.listxattr("f") == ["user.b"]
    with pytest.raises(pydaos.NotFoundError):
        fs.getxattr("f", "user.a")


def test_long_listings_come_in_pages(fs, monkeypatch):
    monkeypatch.setattr("pydaos._posix._LIST_PAGE", 7)
    names = [f"{i:03}" for i in range(50)]
    for name in random.Random(2).sample(names, 50):
        fs.write_bytes(name, b"")
    assert fs.listdir() == names
    assert [e.name for e in fs.scandir()] == names


def test_walk_is_that_of_os(fs, tmp_path):
    rng = random.Random(3)
    folders = [""]
    for i in range(12):
        folder = os.path.join(rng.choice(folders), f"d{i}")
        folders.append(folder)
        (tmp_path / folder).mkdir(parents=True)
        fs.mkdir(folder, parents=True)
        for j in range(rng.randrange(4)):
            (tmp_path / folder / f"f{j}").write_bytes(b"x")
            fs.write_bytes(f"{folder}/f{j}", b"x")
    want = {(os.path.relpath(p, tmp_path), tuple(sorted(d)), tuple(sorted(f))) for p, d, f in os.walk(tmp_path)}
    assert {(p or ".", tuple(d), tuple(f)) for p, d, f in fs.walk()} == want
    kept = []
    for path, below, _ in fs.walk():
        kept.append(path)
        below[:] = [d for d in below if d == "d0"]
    assert all(p == "" or p.split("/")[0] == "d0" for p in kept)


# File objects.


def test_reading_as_the_builtin_does(fs, tmp_path):
    data = random.Random(4).randbytes(1_000_003)
    (tmp_path / "f").write_bytes(data)
    fs.write_bytes("f", data)
    rng = random.Random(5)
    with fs.open("f", "rb") as ours, open(tmp_path / "f", "rb") as theirs:
        assert isinstance(ours, io.BufferedReader)
        for _ in range(300):
            step = rng.randrange(6)
            if step == 0:
                at, whence = rng.randrange(len(data) + 1000), 0
                assert ours.seek(at, whence) == theirs.seek(at, whence)
            elif step == 1:
                at = -rng.randrange(len(data))
                assert ours.seek(at, 2) == theirs.seek(at, 2)
            elif step == 2:
                n = rng.randrange(600_000)
                assert ours.read(n) == theirs.read(n)
            elif step == 3:
                a, b = bytearray(rng.randrange(5000)), None
                b = bytearray(len(a))
                assert ours.readinto(a) == theirs.readinto(b)
                assert a == b
            elif step == 4:
                assert ours.readline() == theirs.readline()
            else:
                assert ours.tell() == theirs.tell()
        ours.seek(0)
        assert ours.read() == data
        ours.seek(len(data) + 100)
        assert ours.read() == b""
        with pytest.raises(io.UnsupportedOperation):
            ours.fileno()
        with pytest.raises(io.UnsupportedOperation):
            ours.write(b"")
        with pytest.raises(ValueError):
            ours.seek(-1)


@pytest.mark.parametrize("size", [10, 3 << 20, 9 << 20])
def test_a_file_is_seen_whole_when_it_is_closed(fs, size):
    fs.write_bytes("f", b"before")
    data = random.Random(size).randbytes(size)
    with fs.open("f", "wb") as f:
        for at in range(0, size, 100_000):
            f.write(data[at : at + 100_000])
        f.flush()
        assert f.tell() == size
        assert fs.read_bytes("f") == b"before"
    assert fs.read_bytes("f") == data


@pytest.mark.parametrize("size", [10, 3 << 20, 9 << 20])
def test_an_exception_discards(fs, size):
    fs.write_bytes("f", b"before")
    for mode in ("wb", "w"):
        with pytest.raises(RuntimeError), fs.open("f", mode) as f:
            f.write(b"x" * size if mode == "wb" else "x" * size)
            raise RuntimeError
    assert fs.read_bytes("f") == b"before"
    assert fs.listdir() == ["f"]


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_a_file_that_is_never_closed_is_discarded(fs, size):
    f = fs.open("f", "wb")
    f.write(bytes(size))
    with pytest.warns(ResourceWarning, match="never closed"):
        del f
        gc.collect()
    assert not fs.exists("f")


def test_writing_with_seeks(fs):
    with fs.open("f", "wb") as f:
        f.write(b"0123456789")
        f.seek(2)
        f.write(b"ab")
        f.seek(5 << 20)
        f.write(b"end")
    data = fs.read_bytes("f")
    assert data[:10] == b"01ab456789"
    assert data[10 : 5 << 20] == bytes((5 << 20) - 10)
    assert data[5 << 20 :] == b"end"


def test_a_zip_archive(fs):
    with fs.open("z.zip", "wb") as f, zipfile.ZipFile(f, "w") as archive:
        for i in range(20):
            archive.writestr(f"{i}.txt", os.urandom(100_000))
    with fs.open("z.zip", "rb") as f, zipfile.ZipFile(f) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 20


def test_numpy_saves_and_loads(fs):
    array = np.arange(3_000_000, dtype="f4").reshape(-1, 3)
    with fs.open("a.npy", "wb") as f:
        np.save(f, array)
    with fs.open("a.npy", "rb") as f:
        np.testing.assert_array_equal(np.load(f), array)


def test_exclusive_files(fs):
    with fs.open("f", "xb") as f:
        f.write(b"1")
    with pytest.raises(FileExistsError):
        fs.open("f", "xb")
    # Somebody else is faster.
    with pytest.raises(pydaos.ExistsError), fs.open("g", "xb") as f:
        f.write(b"mine")
        fs.write_bytes("g", b"theirs")
    assert fs.read_bytes("g") == b"theirs"


def test_appending(fs):
    with fs.open("f", "ab") as f:
        f.write(b"one ")
    with fs.open("f", "ab") as first, fs.open("f", "ab") as second:
        for i in range(10):
            for f, who in ((first, b"a"), (second, b"b")):
                f.write(who + b"%d " % i)
                f.flush()
    words = fs.read_bytes("f").split()
    assert words[0] == b"one"
    assert sorted(words[1:]) == sorted(b"%c%d" % (w, i) for w in b"ab" for i in range(10))


def test_changing_in_place(fs):
    fs.write_bytes("f", bytes(1000))
    with fs.open("f", "r+b") as f:
        f.seek(100)
        f.write(b"abc")
        f.seek(99)
        assert f.read(5) == b"\0abc\0"
        f.seek(0, 2)
        f.write(b"tail")
        f.truncate(1002)
    data = fs.read_bytes("f")
    assert len(data) == 1002
    assert data[100:103] == b"abc"
    assert data[1000:] == b"ta"
    with fs.open("f", "w+b") as f:
        f.write(b"new")
        f.seek(0)
        assert f.read() == b"new"
    with pytest.raises(FileNotFoundError):
        fs.open("none", "r+b")


def test_text(fs):
    with fs.open("f", "w") as f:
        f.write("häß\nzwei\n")
    assert fs.read_bytes("f") == "häß\nzwei\n".encode()
    with fs.open("f", "r") as f:
        assert f.read() == "häß\nzwei\n"
    with fs.open("f", "a") as f:
        f.write("drei\n")
    with fs.open("f", "rt", encoding="utf-8", newline="\n") as f:
        assert f.readlines() == ["häß\n", "zwei\n", "drei\n"]


@pytest.mark.parametrize("mode", ["", "q", "rw", "rbt", "rr", "b", "+"])
def test_modes_that_are_none(fs, mode):
    with pytest.raises(ValueError):
        fs.open("f", mode)


def test_an_open_file_survives_rename_replacement_and_removal(fs):
    data = random.Random(6).randbytes(2 << 20)
    fs.write_bytes("f", data)
    with fs.open("f", "rb") as renamed, fs.open("f", "rb") as removed:
        assert renamed.read(10) == data[:10]
        assert removed.read(10) == data[:10]
        fs.rename("f", "g")
        renamed.seek(1 << 20)
        assert renamed.read(10) == data[1 << 20 : (1 << 20) + 10]
        fs.remove("g")
        removed.seek(1 << 20)
        assert removed.read() == data[1 << 20 :]


def test_unbuffered(fs):
    with fs.open("f", "wb", buffering=0) as f:
        assert f.write(b"abc") == 3
    with fs.open("f", "rb", buffering=0) as f:
        assert f.read(2) == b"ab"
        assert f.readall() == b"c"


def test_staged_by_hand(fs):
    staged = fs.stage("a/f", parents=True, mode=0o600)
    staged.write(b"1234")
    assert not fs.exists("a/f")
    staged.publish(6)
    assert fs.read_bytes("a/f") == b"1234\0\0"
    assert fs.stat("a/f").mode == 0o600
    dropped = fs.stage("g")
    dropped.write(bytes(5 << 20))
    dropped.discard()
    dropped.close()
    assert fs.listdir() == ["a"]


def test_big_files_in_bounded_memory(fs):
    size, piece = 200 << 20, 8 << 20
    block = np.random.default_rng(7).integers(0, 256, piece, dtype=np.uint8)
    with fs.open("warm", "wb") as f:
        f.write(block)
    with fs.open("warm", "rb") as f:
        f.readinto(np.empty(piece, np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with fs.open("big", "wb") as f:
        for i in range(size // piece):
            block[:8] = np.frombuffer(i.to_bytes(8, "little"), np.uint8)
            f.write(block)
    into = np.empty(piece, np.uint8)
    with fs.open("big", "rb") as f:
        for i in range(size // piece):
            assert f.readinto(into) == piece
            block[:8] = np.frombuffer(i.to_bytes(8, "little"), np.uint8)
            assert np.array_equal(into, block)
        assert f.read(1) == b""
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 64 << 20, f"{grown >> 20} MiB more"
