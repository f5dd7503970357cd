"""Upstream's pydaos.torch: its arguments and methods are there, its defects are not (docs/upstream.md)."""

from __future__ import annotations

import ast
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import pydaos
import pydaos.torch
from pydaos._client import Client
from pydaos.torch import Checkpoint, Dataset, IterableDataset

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(client: pydaos.Client, pool: str) -> Any:
    """90 files in three folders."""
    files = client.create_dataset(f"{pool}/c", type="posix")
    for k in "abc":
        files.mkdir(f"t/{k}", parents=True)
        for i in range(30):
            files.write_bytes(f"t/{k}/{i:02d}", f"{k}{i}".encode() * (i % 5))
    files.snapshot("s")
    return files


def contents() -> list[bytes]:
    return [f"{k}{i}".encode() * (i % 5) for k in "abc" for i in range(30)]


def test_upstreams_constructors(tree: Any, pool: str, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As upstream's pages and code write them: only the import changes."""
    monkeypatch.setenv("DAOS_ADDR", server.unix)
    for made in (
        Dataset(pool, "c"),
        Dataset(pool, "c", "/t"),
        Dataset(pool, "c", "t", len),
        Dataset(pool, "c", "/t", len, 128, 65536, 16),
        Dataset(pool=pool, cont="c", path="/t/", transform_fn=len, readdir_batch_size=1, dir_cache_size=1),
        Dataset(pool=pool, container="c", readdir_workers=4),
        IterableDataset(pool, "c", "/t", len, 128, 65536, 16, 32),
        IterableDataset(pool=pool, container="c", path="t", batch_size=7),
    ):
        with made as opened:
            got = list(opened) if isinstance(opened, IterableDataset) else [opened[i] for i in range(len(opened))]
            want = contents()
            assert got in (want, [len(x) for x in want])
            assert opened.worker_init(0) is None  # type: ignore[func-returns-value]
    with pytest.raises(TypeError, match="another name of cont="):
        Dataset(pool=pool, cont="c", container="c")
    for bad in ({"pool": pool}, {"cont": "c"}):
        with pytest.raises(TypeError, match="pool= and cont="):
            Dataset(**bad)


@pytest.mark.timeout(300)  # spawned workers import torch
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_init_is_taken_and_not_needed(tree: Any, server: Any, context: str) -> None:
    data = Dataset(f"{tree.address}@s/t", addr=server.unix, transform_fn=bytes.decode)
    samples = IterableDataset(f"{tree.address}@s/t", addr=server.unix, transform_fn=bytes.decode, batch_size=7)
    for what in (data, samples):
        for init in (what.worker_init, None) if context == "fork" else (what.worker_init,):
            loader = DataLoader(what, 7, num_workers=2, worker_init_fn=init, multiprocessing_context=context)
            assert [s.encode() for b in loader for s in b] == contents()


def test_objects_is_a_lazy_sequence(tree: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset(f"{tree.address}@s/t", addr=server.unix)
    calls: list[str] = []
    call = Client.call
    monkeypatch.setattr(
        Client, "call", lambda self, method, *a, **k: (calls.append(method), call(self, method, *a, **k))[1]
    )
    objects = data.objects
    want = [(f"{k}/{i:02d}", len(f"{k}{i}".encode()) * (i % 5)) for k in "abc" for i in range(30)]
    assert len(objects) == 90
    assert calls == []  # nothing is listed before it is looked at
    assert isinstance(objects, Sequence)
    assert not isinstance(objects, list)
    assert (objects[0], objects[-1], objects[31]) == (want[0], want[-1], want[31])
    assert objects[5:50:7] == want[5:50:7]
    assert objects[100:] == []
    assert list(objects) == want
    assert want[3] in objects
    assert objects.index(want[8]) == 8
    with pytest.raises(IndexError):
        objects[90]
    assert data.paths([3, -1]) == [want[3][0], want[-1][0]]


def test_upstreams_checkpoint_arguments(pool: str, client: pydaos.Client, server: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DAOS_ADDR", server.unix)
    client.create_dataset(f"{pool}/k", type="posix")
    ckpt = Checkpoint(
        pool,
        "k",
        "/runs",
        mode=0o644 | stat.S_IFREG,
        open_flags=os.O_CREAT | os.O_RDWR,
        class_name="OC_UNKNOWN",
        file_chunk_size=0,
        transfer_chunk_size=1 << 20,
        chunks_limit=2,
        workers=4,
    )
    with ckpt, ckpt.writer("a/b.pt", ensure_path=True) as f:
        assert (f.writable(), f.readable(), f.seekable()) == (True, False, False)
        torch.save({"x": torch.arange(5)}, f)
    stored = client.dataset(f"{pool}/k")
    assert stat.S_IMODE(stored.stat("runs/a/b.pt").mode) == 0o644  # no execute bit
    with Checkpoint(pool, "k", "/runs") as ckpt:
        assert torch.load(ckpt.reader("a/b.pt"))["x"].tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(FileNotFoundError) as missing:
            ckpt.writer("no/such.pt", ensure_path=False)
        assert missing.value.errno == 2


def test_a_batch_may_be_large(numbered: Any) -> None:
    """Upstream: more than 64 completions at once were written past the end of an array."""
    data = numbered.files()
    indices = list(range(103)) * 40
    assert numbered.ids(data.source.batch(data.source.fetch(indices))) == indices
    assert [len(b) for b in DataLoader(data, 1000)] == [103]
    (batch,) = data.batches(1 << 20)
    assert numbered.ids(batch) == list(range(103))


def test_a_batch_is_one_request(numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream: a synchronous open for each file of a batch, and a lookup of its path."""
    data = numbered.files()
    list(data.batches(10))
    sent: list[int] = []
    from pydaos._feed import FeedConnection

    for name in [n for n in vars(FeedConnection) if n.startswith("send_")]:
        real = getattr(FeedConnection, name)

        def counted(self: Any, *args: Any, _real: Any = real, **options: Any) -> Any:
            sent.append(1)
            return _real(self, *args, **options)

        monkeypatch.setattr(FeedConnection, name, counted)
    assert len(data.__getitems__(list(range(90)))) == 90
    assert len(sent) == 1
    sent.clear()
    assert len(list(data.batches(10))) == 11
    assert len(sent) == 11


def test_waiting_for_a_batch_holds_no_lock_and_burns_no_core(own_server: Any) -> None:
    """Upstream polls without releasing the interpreter."""
    with own_server.connect() as client:
        client.create_pool("p")
        files = client.create_dataset("p/d", type="posix")
        files.write_bytes("x", b"1" * 100)
        files.snapshot("s")
    data = Dataset("p/d@s", addr=own_server.unix, token_file=own_server.token_file)
    assert len(data[0]) == 100
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    other = threading.Thread(target=tick)
    os.kill(own_server.pid, signal.SIGSTOP)
    wake = threading.Timer(0.6, os.kill, (own_server.pid, signal.SIGCONT))
    wake.start()
    other.start()
    cpu, begun = time.thread_time(), time.monotonic()
    assert len(data[0]) == 100
    cpu, waited = time.thread_time() - cpu, time.monotonic() - begun
    done.set()
    other.join()
    wake.join()
    assert waited > 0.4
    assert cpu < 0.2 * waited
    assert ticks > 20


def test_ranks_share_one_manifest(tree: Any, server: Any) -> None:
    """Upstream: every rank lists the whole namespace anew."""
    first = Dataset(f"{tree.address}@s/t/a", addr=server.unix)
    second = Dataset(f"{tree.address}@s/t/a", addr=server.unix)
    assert (first.source.info.built, second.source.info.built) == (True, False)
    assert first.source.manifest_id == second.source.manifest_id


def test_what_can_not_be_listed_is_an_error_not_a_hang(client: pydaos.Client, pool: str, server: Any) -> None:
    """Upstream (until 2026-06): an error of a listing process never reached the constructor."""
    client.create_dataset(f"{pool}/c", type="posix").snapshot("s")
    begun = time.monotonic()
    with pytest.raises(pydaos.DObjNotFound, match="nowhere"):
        Dataset(f"{pool}/c@s/nowhere", addr=server.unix)
    with pytest.raises(pydaos.InvalidError):
        Dataset(f"{pool}/c@s", glob="[", addr=server.unix)
    assert time.monotonic() - begun < 10


def test_what_nobody_closed_ends_quietly(tree: Any, server: Any) -> None:
    """Upstream (until 2025-08): tracebacks when the interpreter ends; handles do not survive fork."""
    code = f"""
import os, sys
from torch.utils.data import DataLoader
from pydaos.torch import Dataset, IterableDataset
data = Dataset({tree.address + "@s/t"!r}, addr={server.unix!r})
data[0]
if os.fork() == 0:
    assert data[1] == data.__getitems__([1])[0]
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
it = iter(data.batches(10, shuffle=True))
next(it)
samples = iter(IterableDataset({tree.address + "@s/t"!r}, addr={server.unix!r}))
next(samples)
left = iter(DataLoader(data, 10))
next(left)
"""
    path = os.pathsep.join(str(REPOSITORY / p) for p in ("pydaos/src", "torch/src"))
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    noise = [line for line in ran.stderr.splitlines() if "Error" in line or "Traceback" in line]
    assert noise == [], ran.stderr


def test_the_table_of_defects_names_tests_that_exist() -> None:
    text = (REPOSITORY / "docs/upstream.md").read_text()
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for path, name in named:
        file = REPOSITORY / path
        assert file.is_file(), path
        functions = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{path}::{name}"
    table = text.partition("## Its defects")[2].partition("\n## ")[0].splitlines()
    rows = [line for line in table if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if "::" not in row] == []
