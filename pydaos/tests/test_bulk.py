"""Large transfers: threads, bounded buffers, reading ahead."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

import numpy as np
import pytest

import pydaos
from pydaos import _bulk as bulk
from pydaos._content import Source

SIZE = 24 << 20


@pytest.fixture
def content(posix_dataset: Any) -> bytes:
    data = np.random.default_rng(7).bytes(SIZE + 12345)
    posix_dataset.write_bytes("f", data)
    return data


def opened(dataset: Any, lanes: int = 2) -> Any:
    f = dataset.open("f", "rb", buffering=0)
    f.read_ahead, f.lanes = True, lanes
    return f


def read(f: Any, n: int) -> bytes:
    buffer = bytearray(n)
    got = f.readinto(buffer)
    return bytes(buffer[:got])


def without_files(dataset: Any) -> None:
    """Let everything come over the socket."""
    dataset.client._pool.drop_idle()
    dataset.client._pool.files = False


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_in_order_and_out_of_order(posix_dataset: Any, content: bytes, lanes: int, files: bool) -> None:
    if not files:
        without_files(posix_dataset)
    seed = int(os.environ.get("DAOS_TEST_SEED") or random.randrange(1 << 32))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)
    ahead = 0
    with opened(posix_dataset, lanes) as f:
        for _ in range(300):
            kind = rng.random()
            if kind < 0.05:
                f.seek(rng.randrange(len(content) + 1000))
            elif kind < 0.25:
                f.seek(rng.randrange(200), 1)  # as from one record of an archive to the next
            elif f.tell() > len(content) - 100_000:
                f.seek(0)
            at = f.tell()
            n = rng.choice([1, 30, 4096, 300_000, 1 << 20, 3_000_001])
            assert read(f, n) == content[at : at + n], (at, n)
            assert f.tell() == min(at + n, max(len(content), at))
            ahead += f._ahead is not None
    assert ahead > 50


def test_a_whole_file_in_small_reads(posix_dataset: Any, content: bytes) -> None:
    with opened(posix_dataset) as f:
        calls = []
        whole = bytearray()
        while piece := read(f, 777_777):
            whole += piece
            if f._ahead is not None:
                calls.append(f._ahead)
        assert bytes(whole) == content
        assert len({id(c) for c in calls}) == 1  # one stretch of requests from the first MiB to the end
        assert f._ahead is None
    # Its connection went back whole.
    assert posix_dataset.read_bytes("f", offset=5, length=7) == content[5:12]


@pytest.mark.parametrize(("files", "lane"), [(True, 0), (False, 0), (False, 1)])
def test_a_connection_lost_in_between_is_no_error(posix_dataset: Any, content: bytes, files: bool, lane: int) -> None:
    if not files:
        without_files(posix_dataset)
    with opened(posix_dataset) as f:
        got = b"".join(read(f, 1 << 20) for _ in range(5))
        assert f._ahead is not None
        f._ahead._lanes[lane].conn.cut()
        got += b"".join(read(f, 3 << 20) for _ in range(5))
        assert got == content[: 20 << 20]


def test_an_interrupt_leaves_nobody_behind_who_writes(posix_dataset: Any, content: bytes) -> None:
    without_files(posix_dataset)  # threads receive what comes over the socket
    with opened(posix_dataset) as f:
        head = b"".join(read(f, 1 << 20) for _ in range(4))
        assert f._ahead is not None
        first, other = f._ahead._lanes
        slow, release = other.receive_all, threading.Event()

        ended = []

        def wait_first(parts: Any) -> None:
            release.wait(30)
            try:
                slow(parts)
            finally:
                time.sleep(0.3)  # long enough for who does not wait
                ended.append(True)

        def interrupted(parts: Any) -> None:
            release.set()
            raise KeyboardInterrupt

        first.receive_all, other.receive_all = interrupted, wait_first
        buffer = bytearray(4 << 20)
        with pytest.raises(KeyboardInterrupt):
            f.readinto(buffer)
        assert ended  # the memory is the caller's again
        while piece := read(f, 4 << 20):
            head += piece
        assert head == content


def test_a_file_that_is_replaced_meanwhile(posix_dataset: Any, content: bytes) -> None:
    with opened(posix_dataset) as f:
        got = b"".join(read(f, 1 << 20) for _ in range(5))
        new = bulk.StagedStream(posix_dataset, b"f")
        new.write(b"new")
        new.publish()
        while piece := read(f, 1 << 20):
            got += piece
        assert got == content


def test_a_forked_child_reads_for_itself(posix_dataset: Any, content: bytes) -> None:
    with opened(posix_dataset) as f:
        head = b"".join(read(f, 1 << 20) for _ in range(4))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if read(f, 1 << 20) == content[4 << 20 : 5 << 20] else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        while piece := read(f, 1 << 20):
            head += piece
        assert head == content


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_ranges(posix_dataset: Any, content: bytes, lanes: int) -> None:
    rng = random.Random(lanes)
    ranges = []
    for _ in range(200):
        n = rng.choice([0, 1, 100, 70_000, 5_000_000])
        ranges.append((rng.randrange(len(content)), memoryview(bytearray(n))))
    ranges.append((len(content) - 3, memoryview(bytearray(10))))
    ranges.append((len(content) + 3, memoryview(bytearray(10))))
    source = Source(path=b"f")
    got = bulk.read_ranges(posix_dataset, source, ranges, lanes)
    for (at, view), n in zip(ranges, got):
        want = content[at : at + len(view)]
        assert n == len(want)
        assert bytes(view[:n]) == want
    with pytest.raises(pydaos.NotFoundError):
        bulk.read_ranges(posix_dataset, Source(path=b"missing"), ranges, lanes)


def test_lanes_leave_out_what_follows_a_failure() -> None:
    lanes = bulk.Lanes(2)
    gate, done = threading.Event(), []

    def fails() -> None:
        gate.wait(10)
        raise ValueError("first")

    lanes.submit(fails)
    lanes.submit(gate.wait)
    for i in range(10):
        lanes.submit(lambda i=i: done.append(i))
    time.sleep(0)
    gate.set()
    with pytest.raises(ValueError, match="first"):
        lanes.wait()
    assert len(done) < 10 or lanes.failure is not None
    with pytest.raises(ValueError, match="first"):
        lanes.check()
    lanes.end()


def test_buffers_wait_and_can_be_given_up() -> None:
    buffers = bulk.Buffers(10, 2)

    def alive() -> None:
        raise OSError("gone")

    one = buffers.take(alive)
    two = buffers.take(alive)
    assert len(one) == len(two) == 10
    with pytest.raises(OSError, match="gone"):
        buffers.take(alive)
    buffers.give(one)
    assert buffers.take(alive) is one


def test_a_stream_is_whole_or_not_there(posix_dataset: Any) -> None:
    stream = bulk.StagedStream(posix_dataset, b"s", piece=1000, lanes=3, limit=2)
    data = random.Random(3).randbytes(12_345)
    for at in range(0, len(data), 700):
        stream.write(data[at : at + 700])
        assert not posix_dataset.exists("s")
    stream.publish()
    assert posix_dataset.read_bytes("s") == data
    with pytest.raises(ValueError, match="published"):
        stream.write(b"x")
    stream = bulk.StagedStream(posix_dataset, b"s", piece=1000)
    stream.write(b"y" * 5000)
    stream.discard()
    stream.discard()
    assert posix_dataset.read_bytes("s") == data
    exclusive = bulk.StagedStream(posix_dataset, b"s", exclusive=True)
    exclusive.write(b"z")
    with pytest.raises(pydaos.ExistsError):
        exclusive.publish()
    assert posix_dataset.read_bytes("s") == data
