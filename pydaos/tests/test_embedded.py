"""connect(folder): a server that comes and goes by itself."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

import pydaos
from pydaos import _discovery as discovery

ENDS_WITHIN = 30.0


@pytest.fixture
def folder(runtime_folder, daos_binary, tmp_path, monkeypatch):
    monkeypatch.setenv("DAOS_BIN", daos_binary)
    root = tmp_path / "data"
    yield root
    entry = discovery.entry_of(root)
    if entry is not None and discovery.alive(entry):
        os.kill(entry.pid, signal.SIGTERM)
        wait_until_gone(root)


def wait_until_gone(root):
    deadline = time.monotonic() + ENDS_WITHIN
    while (entry := discovery.entry_of(root)) is not None and discovery.alive(entry):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)


def use(root, number, out):
    with pydaos.connect(root) as client:
        client.create_pool(f"p{number}")
        out.put(client.status().pid)
        time.sleep(0.3)


def test_started_used_and_gone(folder):
    with pydaos.connect(folder) as client:
        client.create_pool("p")
        client.create_dataset("p/d").write_bytes("f", b"kept")
        assert client.status().ephemeral
    wait_until_gone(folder)
    with pydaos.connect(str(folder)) as client:
        assert client.dataset("p/d").read_bytes("f") == b"kept"


def test_a_second_client_attaches(folder):
    with pydaos.connect(folder) as first, pydaos.connect(folder) as second:
        assert first.status().pid == second.status().pid


def test_an_idle_client_keeps_it(folder):
    with pydaos.connect(folder) as client:
        pid = client.status().pid
        time.sleep(8)
        assert client.status().pid == pid


def test_processes_that_race_get_one_server(folder):
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    children = [context.Process(target=use, args=(str(folder), i, out)) for i in range(4)]
    for child in children:
        child.start()
    pids = {out.get(timeout=90) for _ in children}
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert len(pids) == 1
    with pydaos.connect(folder) as client:
        assert [p.name for p in client.pools()] == ["p0", "p1", "p2", "p3"]


def test_it_outlives_its_starter_and_ends_after_kill(folder):
    code = (
        f"import pydaos, time; c = pydaos.connect({str(folder)!r}); print(c.status().pid, flush=True); time.sleep(99)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        pid = int(starter.stdout.readline())
        with pydaos.connect(folder) as client:
            starter.send_signal(signal.SIGKILL)
            starter.wait()
            time.sleep(1)
            assert client.status().pid == pid
    finally:
        starter.kill()
        starter.wait()
        starter.stdout.close()
    wait_until_gone(folder)


def child_ends(client, out):
    out.put([p.name for p in client.pools()])


def test_children_do_not_stop_it(folder):
    with pydaos.connect(folder) as client:
        client.create_pool("p")
        pid = client.status().pid
        context = multiprocessing.get_context("fork")
        out = context.Queue()
        child = context.Process(target=child_ends, args=(client, out))
        child.start()
        assert out.get(timeout=30) == ["p"]
        child.join()
        assert client.status().pid == pid


def test_a_killed_one_is_started_again(folder):
    with pydaos.connect(folder) as client:
        client.create_pool("p")
        pid = client.status().pid
        os.kill(pid, signal.SIGKILL)
        assert [p.name for p in client.pools()] == ["p"]
        assert client.status().pid != pid
