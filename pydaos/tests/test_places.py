"""Answers that lie in the server's files: frames with descriptors, and a server that sends them."""

import os
import random
import resource
import socket
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pydaos
from pydaos import _feed as feed
from pydaos import _places as places
from pydaos import _side as side
from pydaos import _spans as spans
from pydaos._content import Source
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

MIB = 1 << 20


def descriptors():
    """Count the open descriptors of segments, and of the files of these tests."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").split(" ")[0].endswith((".seg", ".part"))
        except FileNotFoundError:
            pass
    return count


# Frames, byte by byte as docs/protocol.md has them.


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    conn = feed.FeedConnection(ours, "test", 5.0)
    conn._control = places.ROOM
    yield conn, theirs
    conn.close()
    theirs.close()


@pytest.fixture
def parts(tmp_path):
    """Two open files, and what is in them."""
    content = [bytes(np.random.default_rng(i).integers(0, 256, 300_000, dtype=np.uint8)) for i in range(2)]
    files = []
    for i, data in enumerate(content):
        (tmp_path / f"{i}.part").write_bytes(data)
        files.append(os.open(tmp_path / f"{i}.part", os.O_RDONLY))
    yield files, content
    for f in files:
        os.close(f)


def frame(call_id, meta, table, *, size=None, count=None, kind=5, flags=4):
    """Build a frame whose payload lies in files; a place has file, offset, length, and perhaps rows and stride."""
    table = [(*place, 0, 0)[:5] for place in table]
    head = bytearray(64)
    head[0:4] = b"DFD1"
    head[4] = kind
    head[5] = flags
    struct.pack_into("<Q", head, 8, call_id)
    struct.pack_into("<I", head, 16, len(meta))
    struct.pack_into("<I", head, 20, len(table) if count is None else count)
    struct.pack_into("<Q", head, 24, sum(n * (rows or 1) for _, _, n, rows, _ in table) if size is None else size)
    listed = b"".join(
        struct.pack("<IIQQQ", number, rows, offset, n, stride) for number, offset, n, rows, stride in table
    )
    return bytes(head) + meta + bytes(-len(meta) % 64) + listed + bytes(-len(listed) % 64)


TABLE = [(0, 5, 100_000), (1, 0, 300_000), (0, 299_999, 1)]


def test_a_payload_is_read_from_the_files(ends, parts):
    conn, peer = ends
    files, content = parts
    before = descriptors()
    want = content[0][5:100_005] + content[1] + content[0][-1:]
    for _ in range(3):
        socket.send_fds(peer, [frame(7, b"meta", TABLE)], files)
    peer.sendall(frame(7, b"plain", [], size=3, count=0, flags=0) + b"abc")
    room = bytearray(400_001)
    assert conn.receive(7, lambda size: room) == (b"meta", room)
    assert room == want
    assert conn.receive(7) == (b"meta", want)
    assert conn.receive_head(7) == (b"meta", len(want))
    got = bytearray(len(want))
    view = memoryview(got)
    for start, end in ((0, 0), (0, 50_000), (50_000, 150_000), (150_000, 400_001)):
        conn.receive_part(view[start:end])
    assert got == want
    assert conn.receive(7) == (b"plain", b"abc")
    assert descriptors() == before
    assert not conn.broken


ROWS = [
    (0, 7, 900, 50, 2000),
    (1, 0, 900, 100, 2000),
    (places.INLINE, 0, 7),
    (1, 0, 900, 9, 2000),
    (1, 3, 70_000),
    (0, 100, 900, 2, 150_000),
    (1, 9, 1, 40, 100),
]


@pytest.mark.parametrize("scratch", [256 << 10, 9000, 1000])
def test_rows_are_sorted_out(ends, parts, monkeypatch, scratch):
    monkeypatch.setattr(side, "SCRATCH", scratch)
    monkeypatch.setattr(side, "_scratch", [])
    conn, peer = ends
    files, content = parts
    before = descriptors()
    want = b""
    for number, offset, n, *more in ROWS:
        rows, stride = more or (1, 0)
        if number == places.INLINE:
            want += b"between"
            continue
        want += b"".join(content[number][offset + k * stride :][:n] for k in range(rows))
    made = random.Random(scratch)
    for i in range(20):
        socket.send_fds(peer, [frame(7, b"meta", ROWS) + b"between"], files)
        if i == 0:
            assert conn.receive(7) == (b"meta", want)
            continue
        assert conn.receive_head(7) == (b"meta", len(want))
        cuts = sorted(made.sample(range(1, len(want)), made.choice([1, 3, 50])))
        got = bytearray(len(want))
        for start, end in zip([0, *cuts], [*cuts, len(want)]):
            if made.random() < 0.2:
                conn.skip(end - start)
                got[start:end] = want[start:end]
            else:
                conn.receive_part(memoryview(got)[start:end])
        assert got == want
    assert descriptors() == before
    assert not conn.broken


def test_what_is_received_in_part_is_closed_with_the_connection(ends, parts):
    conn, peer = ends
    files, content = parts
    before = descriptors()
    socket.send_fds(peer, [frame(1, b"", TABLE)], files)
    conn.receive_head(1)
    part = bytearray(10)
    conn.receive_part(memoryview(part))
    assert part == content[0][5:15]
    assert descriptors() == before + 2
    conn.close()
    assert descriptors() == before


def test_descriptors_of_nobody_are_closed(ends, parts):
    conn, peer = ends
    before = descriptors()
    for call_id in (1, 2):
        socket.send_fds(peer, [frame(call_id, b"x", [], count=0, size=0, flags=0)], parts[0])
        assert conn.receive(call_id)[0] == b"x"
    conn.close()
    assert descriptors() == before


@pytest.mark.parametrize(
    ("table", "kind", "error", "message"),
    [
        ([(2, 0, 5)], 5, pydaos.OverloadedError, "can open no more"),
        ([(0, 0, 5), (1, 0, 0)], 5, pydaos.InternalError, "have 5"),
        ([(0, 299_990, 20)], 5, pydaos.CorruptError, "has no byte 300000"),
        ([(0, 0, 5)], 4, pydaos.InternalError, "kind 4"),
        ([(0, 0, 5, 3, 4)], 5, pydaos.InternalError, "3 rows of 5 bytes, 4 bytes apart"),
        ([(0, 0, 5, 1, 6)], 5, pydaos.InternalError, "1 rows of 5 bytes, 6 bytes apart"),
        ([(0, 0, 5, 2, (1 << 31) + 1)], 5, pydaos.InternalError, "2147483649 bytes apart"),
        ([(0, (1 << 62) + 1, 5)], 5, pydaos.InternalError, "a place at 4611686018427387905"),
        ([(places.INLINE, 0, 5, 2, 9)], 5, pydaos.InternalError, "2 rows of 5 bytes, 9 bytes apart"),
        ([(0, 0, 5), (1, 0, 0, 7, 9)], 5, pydaos.InternalError, "have 5"),
        ([(0, 0, 900, 301, 1000)], 5, pydaos.CorruptError, "has no byte 300000"),
    ],
)
def test_places_that_are_wrong_are_refused(ends, parts, table, kind, error, message):
    conn, peer = ends
    before = descriptors()
    socket.send_fds(peer, [frame(1, b"", table, kind=kind) + bytes(10)], parts[0])
    with pytest.raises(error, match=message):
        conn.receive(1)
    conn.close()
    assert descriptors() == before


@pytest.mark.parametrize("size", [4, 6, 1 << 29])
def test_places_are_the_whole_payload(ends, parts, size):
    conn, peer = ends
    socket.send_fds(peer, [frame(1, b"", [(0, 0, 5)], size=size)], parts[0])
    with pytest.raises(pydaos.InternalError, match=f"payload of {size} bytes have 5"):
        conn.receive(1)


@pytest.mark.parametrize("count", [0, 513, 1 << 31])
def test_the_number_of_places_is_bounded(ends, parts, count):
    conn, peer = ends
    socket.send_fds(peer, [frame(1, b"", [(0, 0, 5)], count=count, size=5)], parts[0])
    with pytest.raises(pydaos.InternalError, match=f"with {count} places"):
        conn.receive(1)
    assert conn.broken


def test_a_buffer_of_the_wrong_size_is_refused(ends, parts):
    conn, peer = ends
    before = descriptors()
    socket.send_fds(peer, [frame(1, b"", TABLE)], parts[0])
    with pytest.raises(pydaos.InvalidError, match="the buffer holds 3 bytes"):
        conn.receive(1, lambda size: bytearray(3))
    assert descriptors() == before


def test_what_lies_in_no_file_comes_behind_the_places(ends, parts):
    conn, peer = ends
    files, content = parts
    before = descriptors()
    table = [(places.INLINE, 0, 3), (0, 5, 100_000), (places.INLINE, 0, 40_000), (1, 0, 10)]
    inline = b"abc" + bytes(range(200)) * 200
    want = inline[:3] + content[0][5:100_005] + inline[3:] + content[1][:10]
    socket.send_fds(peer, [frame(1, b"meta", table) + inline + frame(2, b"next", [], size=0, count=0, flags=0)], files)
    assert conn.receive_head(1) == (b"meta", len(want))
    got = bytearray(len(want))
    view = memoryview(got)
    for start, end in ((0, 2), (2, 50_000), (50_000, 110_000), (110_000, len(want))):
        conn.receive_part(view[start:end])
    assert got == want
    assert conn.receive(2) == (b"next", b"")
    assert descriptors() == before
    socket.send_fds(peer, [frame(3, b"", [(places.INLINE, 0, 9)], size=8)], files)
    with pytest.raises(pydaos.InternalError, match="8 bytes with 9 in the stream"):
        conn.receive(3)


# A server.


@pytest.fixture
def counted(monkeypatch):
    """How many payloads were read from files."""
    seen = []
    plain = places.Places.__init__

    def init(self, files, table, count, size, peer, inline=b""):
        seen.append(size)
        plain(self, files, table, count, size, peer, inline)

    monkeypatch.setattr(places.Places, "__init__", init)
    return seen


def streaming(server):
    """Connect a client whose answers all come over the socket."""
    client = server.connect()
    client._pool.drop_idle()
    client._pool.files = False
    return client


@pytest.fixture
def array(client, pool):
    data = np.random.default_rng(5).normal(size=(32, 256, 512)).astype("f4")
    made = client.create_dataset(f"{pool}/a", type="array")
    made.create_array("x", data=data, chunks=(8, 64, 512))
    made.snapshot("v1")
    return f"{pool}/a@v1", data


def test_only_the_unix_socket_gives_files(server):
    for address, want in ((server.unix, ["files", "rows"]), (server.address, [])):
        conn = feed.FeedConnection.open(address, server.token)
        assert list(conn.hello.features) == want
        conn.close()
    conn = feed.FeedConnection.open(server.unix, server.token, files=False)
    assert not conn.hello.features
    conn.close()


def test_arrays_are_the_same_either_way(server, client, array, counted, monkeypatch):
    address, data = array
    sorted_out = []
    fill = side.Rows.fill
    monkeypatch.setattr(side.Rows, "fill", lambda rows: sorted_out.append(rows) or fill(rows))
    x = client.dataset(address)["x"]
    with streaming(server) as other:
        y = other.dataset(address)["x"]
        before = descriptors()
        keys = [
            np.s_[3],
            np.s_[...],
            np.s_[5:30],
            np.s_[::3],
            np.s_[:, 10:60],
            np.s_[2:29, 30:200, 50:500],
            np.s_[1:31:3, ::2, 7:420],
            np.s_[::2, 1::3, 7:420],  # too far apart
            np.s_[31:3:-2, 200:10:-1, 100:512],
            np.s_[7, 3],
        ]
        for key in keys:
            np.testing.assert_array_equal(x[key], data[key])
        assert len(counted) >= 4
        assert len(sorted_out) == 3
        used = len(counted)
        for key in keys:
            np.testing.assert_array_equal(y[key], data[key])
        assert len(counted) == used
        assert descriptors() == before


def test_files_are_the_same_either_way(server, client, posix_dataset, counted):
    data = np.random.default_rng(6).integers(0, 256, 9 * MIB + 777, dtype=np.uint8).tobytes()
    with posix_dataset.open("f", "wb") as f:
        f.write(data)
    before = descriptors()
    assert posix_dataset.read_bytes("f") == data
    with posix_dataset.open("f", "rb", buffering=0) as f:
        f.lanes, f.read_ahead = 2, True
        got = bytearray()
        while piece := f.read(MIB // 2 + 11):
            got += piece
    assert got == data
    assert counted
    assert descriptors() == before
    used = len(counted)
    with streaming(server) as other:
        assert other.dataset(posix_dataset.address).read_bytes("f") == data
    assert len(counted) == used


def started(client, dataset, path, size):
    """Ask for a file, and receive the beginning of the answer."""
    conn = client._pool.open()
    request = pb.ReadRequest(dataset=dataset.address, path=path, length=size)
    call_id = conn.send_call(spans.METHOD, request.SerializeToString())
    assert conn.receive_head(call_id)[1] == size
    assert conn._places is not None
    return conn


def test_what_was_named_stays_readable(client, pool, posix_dataset):
    """Replaced, swept and destroyed: what a descriptor shows does not change."""
    data = np.random.default_rng(7).integers(0, 256, 4 * MIB, dtype=np.uint8).tobytes()
    with posix_dataset.open("f", "wb") as f:
        f.write(data)
    conn = started(client, posix_dataset, b"f", len(data))
    got = bytearray(len(data))
    view = memoryview(got)
    conn.receive_part(view[:MIB])
    with posix_dataset.open("f", "wb") as f:
        f.write(bytes(len(data)))
    conn.receive_part(view[MIB : 2 * MIB])
    client.destroy_dataset(posix_dataset.address)
    conn.receive_part(view[2 * MIB :])
    assert got == data
    assert not conn.broken
    conn.close()


def test_a_server_that_is_killed_leaves_what_it_named(own_server):
    data = np.random.default_rng(8).integers(0, 256, 4 * MIB, dtype=np.uint8).tobytes()
    with own_server.connect() as client:
        client.create_pool("p")
        dataset = client.create_dataset("p/f")
        with dataset.open("f", "wb") as f:
            f.write(data)
        conn = started(client, dataset, b"f", len(data))
        got = bytearray(len(data))
        conn.receive_part(memoryview(got)[:MIB])
        own_server.kill()
        conn.receive_part(memoryview(got)[MIB:])
        assert got == data
        conn.close()
        own_server.start()
        assert dataset.read_bytes("f") == data


def test_an_interrupted_read_leaves_nothing(client, array, monkeypatch):
    address, data = array
    x = client.dataset(address)["x"]
    held = x[4]
    before = descriptors()
    plain, calls = os.preadv, []

    def interrupted(file, buffers, offset):
        calls.append(offset)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        x[8]
    assert len(calls) == 2
    monkeypatch.undo()
    assert descriptors() == before
    np.testing.assert_array_equal(x[9], data[9])
    np.testing.assert_array_equal(held, data[4])


def test_a_process_without_descriptors_goes_on(server, array):
    """Its answers come over the socket, though it may not be patient."""
    address, _ = array
    code = textwrap.dedent(
        """
        import os, sys, numpy as np, pydaos
        with pydaos.connect(sys.argv[1], token=sys.argv[2], retry=0) as client:
            x = client.dataset(sys.argv[3])["x"]
            whole, next = x[3], x[4]
            taken = []
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            print(np.array_equal(x[4], next))
            for f in taken:
                os.close(f)
            print(np.array_equal(x[3], whole))
        """
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run(
        [sys.executable, "-c", code, server.unix, server.token, address],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard)),
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


# Ranges received together.


def test_neighbours_are_one_request():
    view = memoryview(bytes(100))
    near, far = 100 + spans.GAP, 201 + 2 * spans.GAP
    ranges = [(0, view), (near, view), (far, view), (far - 10, view), (far + 90, view[:0]), (far + 90, view)]
    cut = spans.spans(ranges, 1 << 20)
    assert [(s.start, s.end, len(s.ranges)) for s in cut] == [
        (0, near + 100, 2),
        (far, far + 100, 1),
        (far - 10, far + 190, 3),
    ]
    assert [len(s.ranges) for s in spans.spans(ranges[:2], near + 99)] == [1, 1]
    assert [r for s in cut for r in s.ranges] == ranges


@pytest.mark.parametrize("files", [True, False])
def test_ranges_of_all_kinds(server, client, posix_dataset, files):
    """Random ranges, near each other and not, in order and not, also beyond the end of the file."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    size = 6 * MIB + 1234
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()
    with posix_dataset.open("f", "wb") as f:
        f.write(data)
    other = client if files else streaming(server)
    before = descriptors()
    for _ in range(40):
        ranges, at = [], rng.randrange(size)
        for _ in range(rng.randrange(1, 40)):
            n = rng.choice([0, 1, 300, 5000, 200_000, 2_000_000])
            ranges.append((at, memoryview(bytearray(rng.randrange(n + 1)))))
            at += len(ranges[-1][1]) + rng.choice([0, 0, 64, 3000, 40_000, 900_000])
            at = rng.randrange(size + 1000) if rng.random() < 0.1 else at
        got = spans.read(other.dataset(posix_dataset.address), Source(path=b"f"), ranges)
        for n, (offset, view) in zip(got, ranges):
            assert n == len(data[offset : offset + len(view)])
            assert view[:n] == data[offset : offset + n]
    assert descriptors() == before
    if not files:
        other.close()


def test_a_file_that_is_missing_leaves_the_connection_whole(client, posix_dataset):
    conn = client._pool.acquire()
    client._pool.release(conn)
    with pytest.raises(pydaos.NotFoundError):
        spans.read(posix_dataset, Source(path=b"missing"), [(0, memoryview(bytearray(10)))])
    assert not conn.broken


@pytest.fixture
def samples(client, pool):
    """Files of one size, and of many, in folders; columns of one size, and of many."""
    rng = np.random.default_rng(8)
    even = client.create_dataset(f"{pool}/even", type="posix")
    odd = client.create_dataset(f"{pool}/odd", type="posix")
    for i in range(24):
        even.write_bytes(f"{i:02d}.bin", rng.bytes(70_000))
        # The last ones are short and empty: such lie in the index.
        odd.write_bytes(
            f"{'ab'[i % 2]}/{i:02d}.bin",
            rng.bytes([90_000, 30_001, 200_003][i % 3] if i < 20 else i % 2 * 500),
            parents=True,
        )
    table = client.create_dataset(f"{pool}/table", type="tensor")
    table.append({"x": rng.normal(size=(40, 100, 90)).astype("f4"), "n": np.arange(40)})
    for made in (even, odd, table):
        made.snapshot("v1")
    return pool


def batches(client, address, draws, **options):
    manifest = client.open_manifest(address, **options)
    out = []
    with pydaos._manifest.BatchPipe(client, manifest) as pipe:
        for wanted in draws:
            pipe.send_batch(np.array(wanted, np.uint64))
        for _ in draws:
            meta, payload = pipe.recv_batch()
            out.append((meta, bytes(payload)))
    return out


@pytest.mark.parametrize(
    ("name", "count", "options"),
    [("even", 24, {}), ("odd", 24, {}), ("odd", 24, {"label_dirname": True}), ("table", 40, {})],
)
def test_batches_are_the_same_either_way(server, client, samples, counted, name, count, options):
    rng = random.Random(5)
    draws = [[rng.randrange(count) for _ in range(12)] for _ in range(7)]  # one count, so that answers are expected
    draws += [list(range(count)), [0], [count - 1, 0]]
    before = descriptors()
    there = batches(client, f"{samples}/{name}@v1", draws, **options)
    read = len(counted)
    assert read >= len(draws) - 3, "batches did not lie in files"
    plain = batches(streaming(server), f"{samples}/{name}@v1", draws, **options)
    assert len(counted) == read
    assert there == plain
    assert descriptors() == before


def test_batches_go_on_without_descriptors(server, client, samples, counted):
    """A process that can open no more gets its batches over the socket."""
    draws = [list(range(12)), list(range(12, 24))]
    want = batches(streaming(server), f"{samples}/even@v1", draws)
    client.open_manifest(f"{samples}/even@v1")  # a connection is there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    manifest = client.open_manifest(f"{samples}/even@v1")
    with pydaos._manifest.BatchPipe(client, manifest) as pipe:
        pipe.send_batch(np.array(draws[0], np.uint64))
        assert bytes(pipe.recv_batch()[1]) == want[0][1]
        assert counted
        del counted[:]
        pipe.send_batch(np.array(draws[1], np.uint64))
        pipe._conn.readable()
        room = os.dup(0)
        try:
            # One more may be opened: that for the connection which then takes the other's place.
            resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
            os.close(room)
            got = bytes(pipe.recv_batch()[1])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert got == want[1][1]
    assert not client._pool.files


def test_calls_go_on_without_descriptors(client, samples, counted):
    files = client.dataset(f"{samples}/even@v1")
    want = files.read_bytes("00.bin")
    large = client.create_dataset(f"{samples}/large", type="posix")
    data = random.Random(3).randbytes(MIB)
    large.write_bytes("x", data)
    assert large.read_bytes("x") == data  # and a connection is there
    assert counted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = os.dup(0)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
        os.close(room)
        got = large.read_bytes("x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert got == data
    assert not client._pool.files
    assert files.read_bytes("00.bin") == want
