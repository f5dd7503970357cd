"""Checkpoints: whole or not at all, the previous one kept until then."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch

import pydaos
from pydaos.testing import Server
from pydaos.torch import Checkpoint


@pytest.fixture
def ckpt(server: Server, pool: Any) -> Any:
    with Checkpoint(pool, "runs", prefix="/r1", create=True, addr=server.unix) as c:
        yield c


@pytest.mark.parametrize("chunk", [0, 449, 4096, 1 << 20, 4 << 20])
def test_what_is_written_is_read(ckpt: Checkpoint, server: Server, pool: Any, chunk: int) -> None:
    rng = random.Random(chunk)
    sizes = [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk + 17, 100_000] if chunk < 1 << 20 else [chunk, 2 * chunk + 5]
    with Checkpoint(pool, "runs", prefix="/r1", transfer_chunk_size=chunk, addr=server.unix) as c:
        for size in {max(0, s) for s in sizes}:
            data = rng.randbytes(size)
            with c.writer("a/b/c.bin") as f:
                at = 0
                while at < size:
                    n = rng.randrange(1, max(2, size // 3 + 2))
                    assert f.write(data[at : at + n]) == len(data[at : at + n])
                    at += n
                assert f.tell() == size
            assert c.reader("a/b/c.bin").read() == data
            assert c.reader("a/b/c.bin", io.BytesIO()).getvalue() == data


def test_torch_save_and_load(ckpt: Checkpoint) -> None:
    state = {"w": torch.randn(300, 500), "step": 7, "nested": {"b": torch.arange(10)}}
    with ckpt.writer("model.pt") as f:
        torch.save(state, f)
    again = torch.load(ckpt.reader("model.pt"))
    assert torch.equal(again["w"], state["w"])
    assert again["step"] == 7
    assert torch.equal(again["nested"]["b"], state["nested"]["b"])
    reader = ckpt.reader("model.pt")
    size = reader.seek(0, os.SEEK_END)
    assert reader.seek(10, os.SEEK_END) == size + 10  # past the end is no error
    assert reader.read(5) == b""
    reader.seek(size - 4)
    buffer = bytearray(10)
    assert reader.readinto(buffer) == 4


def test_a_shorter_save_leaves_no_tail_and_an_empty_one_is_there(ckpt: Checkpoint) -> None:
    for data in (b"x" * 3_000_000, b"short", b""):
        with ckpt.writer("f") as f:
            f.write(data)
        assert ckpt.reader("f").read() == data
    assert ckpt.exists("f")
    assert ckpt.list() == ["f"]


def test_an_exception_publishes_nothing(ckpt: Checkpoint) -> None:
    with ckpt.writer("f") as f:
        f.write(b"first")
    with pytest.raises(RuntimeError, match="boom"), ckpt.writer("f") as f:
        f.write(b"second" * 1_000_000)
        raise RuntimeError("boom")
    assert ckpt.reader("f").read() == b"first"
    with pytest.raises(RuntimeError), ckpt.writer("new") as f:
        f.write(b"never")
        raise RuntimeError
    assert not ckpt.exists("new")
    with pytest.raises(ValueError, match="closed"):
        f.write(b"late")


def test_the_previous_file_stays_until_close(ckpt: Checkpoint) -> None:
    with ckpt.writer("f") as f:
        f.write(b"first")
    f = ckpt.writer("f")
    f.write(b"second" * 2_000_000)
    f.flush()
    assert ckpt.reader("f").read() == b"first"
    f.close()
    assert ckpt.reader("f").read(6) == b"second"


def test_a_killed_writer_leaves_nothing(ckpt: Checkpoint, server: Server, pool: Any) -> None:
    with ckpt.writer("f") as f:
        f.write(b"whole")
    program = f"""
        import time
        from pydaos.torch import Checkpoint
        c = Checkpoint({pool!r}, "runs", prefix="/r1", addr={server.unix!r})
        f = c.writer("f")
        f.write(b"half" * 5_000_000)
        f.flush()
        print("half", flush=True)
        time.sleep(100)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"half\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert ckpt.reader("f").read() == b"whole"
    assert ckpt.list() == ["f"]


def test_names(ckpt: Checkpoint, server: Server, pool: Any) -> None:
    with ckpt.writer("/absolute") as f:  # stays below the prefix
        f.write(b"1")
    client = server.connect()
    assert client.dataset(f"{pool}/runs").read_bytes("r1/absolute") == b"1"
    client.close()
    with pytest.raises(ValueError, match=r"'\.\.'"):
        ckpt.writer("../escape")
    with pytest.raises(OSError) as missing:
        ckpt.writer("no/such/folder/f", ensure_path=False)
    assert missing.value.errno == errno.ENOENT
    with pytest.raises(FileNotFoundError):
        ckpt.reader("nothing")
    with Checkpoint(f"{pool}/runs", prefix="r1", addr=server.unix) as same:
        assert same.list() == ["absolute"]
    with pytest.raises(pydaos.DObjNotFound):
        Checkpoint(pool, "missing", addr=server.unix)


def test_a_snapshot_reads_and_refuses_writes_at_once(ckpt: Checkpoint, server: Server, pool: Any) -> None:
    with ckpt.writer("a") as f:
        f.write(b"1")
    client = server.connect()
    client.dataset(f"{pool}/runs").snapshot("s")
    client.create_dataset(f"{pool}/pairs", type="kv")
    client.close()
    with Checkpoint(f"{pool}/runs@s", prefix="r1", addr=server.unix) as frozen:
        assert frozen.reader("a").read() == b"1"
        with pytest.raises(pydaos.ReadOnlyError, match=r"a snapshot can't be written; write with Checkpoint"):
            frozen.writer("b")
        with pytest.raises(pydaos.ReadOnlyError):
            frozen.save({}, "b")
    for create in (False, True):
        with pytest.raises(pydaos.InvalidError, match=r"it is a kv dataset; checkpoints are files of a posix one"):
            Checkpoint(f"{pool}/pairs", addr=server.unix, create=create)


# The grid of upstream's own tests: sizes of a chunk, limits of chunks held, workers.
CHUNKS = [449, 4 << 10, 1 << 20, 4 << 20]
LIMITS = [0, 1, 2, 3, 8]
WORKERS = [1, 2, 3, 4]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_grid(ckpt: Checkpoint, server: Server, pool: Any, chunk: int) -> None:
    """Every limit and number of workers: whole, partial and odd chunks, and a shorter file over a longer one."""
    rng = random.Random(chunk)
    longest = min(40 * chunk, 3 * chunk + (2 << 20))
    source = rng.randbytes(longest + 17)
    for limit in LIMITS:
        for workers in WORKERS:
            with Checkpoint(
                pool, "runs", "/g", transfer_chunk_size=chunk, chunks_limit=limit, workers=workers, addr=server.unix
            ) as c:
                name = f"l{limit}/w{workers}/nested/file"
                # One write, many odd ones, and one that is cut by flushes.
                for size, step, flush in (
                    (longest + 17, longest + 17, False),
                    (longest, 977 + chunk // 3, rng.random() < 0.5),
                    (chunk, 313 + chunk // 5, True),
                ):
                    with c.writer(name) as f:
                        for at in range(0, size, step):
                            assert f.write(source[at : min(at + step, size)]) == min(step, size - at)
                            if flush:
                                f.flush()
                        assert f.tell() == size
                    assert f.written == size
                    assert c.reader(name, io.BytesIO()).getvalue() == source[:size], (limit, workers, size)
                with c.writer(name):
                    pass
                assert c.reader(name).read() == b""
                with pytest.raises(OSError) as missing:
                    c.writer(f"no/l{limit}/w{workers}/file", ensure_path=False)
                assert missing.value.errno == errno.ENOENT
                with c.writer(f"/abs{limit}{workers}", ensure_path=False) as f:
                    f.write(b"below the prefix")
                assert c.reader(f"abs{limit}{workers}").read() == b"below the prefix"


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_more_than_the_limit_is_held(ckpt: Checkpoint, server: Server, pool: Any, limit: int) -> None:
    chunk = 1 << 20
    with Checkpoint(pool, "runs", transfer_chunk_size=chunk, chunks_limit=limit, addr=server.unix) as c:
        f = c.writer("f")
        made = 0
        for i in range(20):
            f.write(bytes([i]) * chunk)
            buffers = f._stream._buffers
            made = max(made, limit - buffers._left)
            assert len(buffers._free) + (f._stream._buffer is not None) <= limit
        f.close()
        assert 1 <= made <= limit
        assert c.reader("f").read() == b"".join(bytes([i]) * chunk for i in range(20))


def test_a_failed_chunk_fails_the_save(ckpt: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with ckpt.writer("f") as f:
        f.write(b"first")
    sent = []
    call = pydaos.Client.call

    def fails(client: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "posix.WriteStaged":
            sent.append(method)
            if len(sent) == 3:
                raise pydaos.NoSpaceError("the pool is full")
        return call(client, method, *args, **kwargs)

    monkeypatch.setattr(pydaos.Client, "call", fails)
    with pytest.raises(pydaos.NoSpaceError, match="full"), ckpt.writer("f") as f:
        for _ in range(20):
            f.write(b"x" * (4 << 20))
    assert ckpt.reader("f").read() == b"first"
    with pytest.raises(ValueError, match="closed"):
        f.write(b"late")
    sent.clear()
    # torch.save makes an error of its own of it; what comes out is the reason.
    with pytest.raises(pydaos.NoSpaceError, match="full"), ckpt.writer("f") as f:
        torch.save({f"w{i}": torch.ones(1 << 20) for i in range(20)}, f)
    assert ckpt.reader("f").read() == b"first"


def test_a_writer_stays_in_its_process(ckpt: Checkpoint) -> None:
    f = ckpt.writer("f")
    f.write(b"parent" * 1_000_000)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            f.write(b"child")
        except pydaos.InvalidError as e:
            status = 0 if "process" in str(e) else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    f.close()
    assert ckpt.reader("f").read() == b"parent" * 1_000_000


def test_a_reader_is_not_changed_by_a_save(ckpt: Checkpoint) -> None:
    """Small files too: a save never writes into the file that is there."""
    for first, second in ((b"a" * 100, b"b" * 50), (b"a" * 100, b""), (b"a" * 6_000_000, b"b" * 5_000_000)):
        with ckpt.writer("f") as f:
            f.write(first)
        reader = ckpt.reader("f")
        assert reader.read(10) == first[:10]
        with ckpt.writer("f") as f:
            f.write(second)
        assert reader.read() == first[10:]
        reader.seek(0)
        assert reader.read() == first
        assert ckpt.reader("f").read() == second
