"""A client inherited by fork, sent to a spawned process, or to one of a fork server."""

import multiprocessing
import os
import signal
import socket
import threading

import numpy as np
import pytest

import pydaos
from pydaos import _retry


def child_reads(dataset, names, out):
    out.put([dataset.read_bytes(name) for name in names])


def child_writes(dataset, name, out):
    dataset.write_bytes(name, name.encode())
    out.put(os.getpid())


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_use_the_client_and_leave_the_parents_alone(posix_dataset, method):
    context = multiprocessing.get_context(method)
    for i in range(4):
        posix_dataset.write_bytes(f"f{i}", bytes([i]) * 1000)
    out = context.Queue()
    children = [
        context.Process(target=child_reads, args=(posix_dataset, [f"f{i}" for i in range(4)], out)) for _ in range(2)
    ]
    children += [context.Process(target=child_writes, args=(posix_dataset, f"w{i}", out)) for i in range(2)]
    for child in children:
        child.start()
    for _ in range(50):  # the parent goes on with its own connections meanwhile
        assert posix_dataset.read_bytes("f1") == b"\x01" * 1000
    answers = [out.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert sum(a == [bytes([i]) * 1000 for i in range(4)] for a in answers) == 2
    assert posix_dataset.read_bytes("w0") == b"w0"


def test_a_forked_child_never_touches_the_parents_connection(client, posix_dataset, monkeypatch):
    posix_dataset.write_bytes("f", b"x")
    (conn,) = client._pool._idle
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        closed = []
        monkeypatch.setattr(socket.socket, "close", lambda self: closed.append(self))
        ok = client._pool._idle == [] and conn in _retry._leaked
        ok = ok and posix_dataset.read_bytes("f") == b"x" and conn._sock not in closed
        client._pool.drop_idle()
        ok = ok and conn._sock not in closed
        os.write(write, b"1" if ok else b"0")
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"1"
    os.close(read)
    assert client._pool._idle == [conn]
    assert posix_dataset.read_bytes("f") == b"x"


def test_fork_in_the_middle_of_a_stream(client, posix_dataset):
    for i in range(50):
        posix_dataset.write_bytes(f"{i}", b"")
    batches = posix_dataset.scan_batches(batch_rows=10)
    rows = next(batches).num_rows
    pid = os.fork()
    if pid == 0:
        batches.close()
        os._exit(0 if len(posix_dataset.listdir()) == 50 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert rows + sum(b.num_rows for b in batches) == 50


def test_a_pipe_starts_empty_in_a_forked_child(client, posix_dataset):
    for i in range(4):
        posix_dataset.write_bytes(f"{i}", bytes([i]))
    posix_dataset.snapshot("v1")
    manifest = client.open_manifest(f"{posix_dataset.address}@v1")
    with client.open_pipe(manifest) as pipe:
        pipe.send_batch(np.array([1], np.uint64))
        pid = os.fork()
        if pid == 0:
            empty = len(pipe._waiting) == 1
            pipe.send_batch(np.array([3], np.uint64))
            empty = empty and len(pipe) == 1
            os._exit(0 if empty and bytes(pipe.recv_batch()[1])[:1] == b"\x03" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert bytes(pipe.recv_batch()[1])[:1] == b"\x01"


def test_threads_of_the_parent_hold_no_lock_in_the_child(client, posix_dataset):
    """Children forked while other threads are inside the client get through."""
    posix_dataset.write_bytes("f", b"x")
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            posix_dataset.read_bytes("f")

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if posix_dataset.read_bytes("f") == b"x" else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Interrupted(BaseException):
    """As KeyboardInterrupt, but not pytest's."""


def test_an_interrupted_call_leaves_the_client_usable(client, posix_dataset):
    data = np.random.default_rng(0).integers(0, 256, 32 << 20, dtype=np.uint8)
    posix_dataset.write_bytes("f", data)

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    hits = 0
    try:
        for i in range(30):
            signal.setitimer(signal.ITIMER_REAL, 0.0005 * (i + 1))
            try:
                posix_dataset.read_bytes("f")
            except Interrupted:
                hits += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert posix_dataset.read_bytes("f", 1 << 20, 100) == data[1 << 20 : (1 << 20) + 100].tobytes()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hits


def test_request_ids_differ_after_fork():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, _retry.new_request_id())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 16) != _retry.new_request_id()
    os.close(read)
    os.close(write)


def test_an_exception_crosses_a_process(posix_dataset):
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(pydaos.NotFoundError) as caught:
        pool.apply(posix_dataset.read_bytes, ("none",))
    assert caught.value.resource
    assert caught.value.op
