"""Frames on the wire, byte by byte as docs/protocol.md has them, over a socket pair."""

import os
import random
import socket
import struct
import sys
import threading
import time
import types

import numpy as np
import pytest

import pydaos
from pydaos import _feed as feed
from pydaos._proto.daos.common.v1 import common_pb2 as common
from pydaos._proto.daos.feed.v1 import feed_pb2


def frame(kind, call_id=0, meta=b"", payload=b"", *, flags=0, status=0, magic=b"DFD1"):
    """Build a frame from the table of the protocol page, not from the code under test."""
    head = bytearray(64)
    head[0:4] = magic
    head[4] = kind
    head[5] = flags
    struct.pack_into("<H", head, 6, status)
    struct.pack_into("<Q", head, 8, call_id)
    struct.pack_into("<I", head, 16, len(meta))
    struct.pack_into("<Q", head, 24, len(payload))
    return bytes(head) + meta + bytes(-len(meta) % 64) + payload


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    conn = feed.FeedConnection(ours, "test", 5.0)
    yield conn, theirs
    conn.close()
    theirs.close()


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data))
    return data


def read_frame(sock):
    head = read_exactly(sock, 64)
    meta_len = struct.unpack_from("<I", head, 16)[0]
    payload_len = struct.unpack_from("<Q", head, 24)[0]
    meta = read_exactly(sock, meta_len + -meta_len % 64)[:meta_len]
    return head, meta, read_exactly(sock, payload_len)


def test_a_call_is_sent_as_the_protocol_says(ends):
    conn, peer = ends
    conn.send_call("/daos.posix.v1.PosixService/Write", b"abc", b"payload", timeout=2.5)
    head, meta, payload = read_frame(peer)
    assert head[0:4] == b"DFD1"
    assert head[4] == 3  # CALL
    assert head[5] == 0
    assert struct.unpack_from("<Q", head, 8)[0] == 1
    assert head[40:] == bytes(24)
    call = feed_pb2.Call.FromString(meta)
    assert (call.method, call.message, call.timeout_millis) == ("/daos.posix.v1.PosixService/Write", b"abc", 2500)
    assert payload == b"payload"


def test_a_call_carries_the_callers_trace(ends, monkeypatch):
    conn, peer = ends
    context = types.SimpleNamespace(is_valid=True, trace_id=0xABC, span_id=0xDEF, trace_flags=1)
    span = types.SimpleNamespace(get_span_context=lambda: context)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.SimpleNamespace(get_current_span=lambda: span))
    conn.send_call("/m", b"")
    want = "00-00000000000000000000000000000abc-0000000000000def-01"
    assert feed_pb2.Call.FromString(read_frame(peer)[1]).traceparent == want
    context.is_valid = False
    conn.send_call("/m", b"")
    assert feed_pb2.Call.FromString(read_frame(peer)[1]).traceparent == ""


def test_large_payloads_are_sent_whole(ends):
    conn, peer = ends
    data = np.random.default_rng(1).integers(0, 256, 5_000_001, dtype=np.uint8)
    sender = threading.Thread(target=conn.send_call, args=("/m", b"x", data))
    sender.start()
    _, _, payload = read_frame(peer)
    sender.join()
    assert payload == data.tobytes()


def test_what_the_server_does_not_take_is_not_sent(ends):
    conn, peer = ends
    conn.hello.max_payload, conn.hello.max_meta = 100, 1000
    with pytest.raises(pydaos.TooBigError, match="payload of 101 bytes"):
        conn.send_call("/m", b"", bytes(101))
    with pytest.raises(pydaos.TooBigError, match="message"):
        conn.send_call("/m", bytes(1000))
    assert not conn.broken
    conn.send_call("/m", b"", bytes(100))
    assert read_frame(peer)[2] == bytes(100)


def test_a_batch_request_is_32_bytes_and_the_indices(ends):
    conn, peer = ends
    conn.send_batch(0x1122334455667788, struct.pack("<3Q", 3, 1, 2**40))
    head, meta, payload = read_frame(peer)
    assert head[4] == 8  # BATCH
    assert len(meta) == 32
    assert struct.unpack_from("<QII", meta) == (0x1122334455667788, 3, 0)
    assert meta[16:] == bytes(16)
    assert struct.unpack("<3Q", payload) == (3, 1, 2**40)


def test_a_batch_is_received_into_the_callers_memory(ends):
    conn, peer = ends
    meta = struct.pack("<IIII48x", 2, 2, 0, 0)
    meta += struct.pack("<BBHIQQQQ24x", 1, 0, 0, 4, 64, 8, 0, 0)
    meta += struct.pack("<BBHIQQQQ24x", 3, 1, 0, 1, 128, 5, 0, 192)
    body = bytes(range(200))
    call_id = conn.send_batch(1, bytes(16))
    peer.sendall(frame(9, call_id, meta, body))
    mine = np.zeros(300, np.uint8)
    asked = []

    def alloc(size):
        asked.append(size)
        return mine

    got, payload = conn.recv_batch(call_id, alloc)
    assert asked == [200]
    assert payload is mine
    assert mine[:200].tobytes() == body
    assert not mine[200:].any()
    assert got.samples == 2
    assert got.parts[0] == (1, False, 4, 64, 8, 0, 0)
    assert got.parts[1] == (3, True, 1, 128, 5, 0, 192)


def fixed_meta(count, item):
    """BatchMeta of one fixed column."""
    return struct.pack("<IIII48x", count, 1, 0, 0) + struct.pack("<BBHIQQQQ24x", 1, 0, 0, item, 0, count * item, 0, 0)


@pytest.mark.parametrize("spin", [0.0, 0.001, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_an_expected_batch_is_received_whatever_comes(ends, seed, spin, monkeypatch):
    """Answers as expected and otherwise, GOAWAY between them, arriving in pieces of any size."""
    for name in ("SPIN", "CALL_SPIN"):
        monkeypatch.setattr(feed, name, spin)  # waiting asleep, awake, and a little awake
    rng = random.Random(seed)
    conn, peer = ends
    meta = fixed_meta(4, 100)
    expected = feed.expect(meta, feed.parse_batch_meta(meta), 400)
    refused = common.Error(kind=common.KIND_INVALID, detail="no").SerializeToString()
    wire, answers = b"", []
    for call_id in range(1, 9):
        if rng.random() < 0.2:
            wire += frame(11)
        kind = rng.choice(["expected", "expected", "other size", "other layout", "refused", "empty"])
        body = rng.randbytes({"other size": rng.choice([300, 900]), "empty": 0}.get(kind, 400))
        answers.append((kind, body))
        if kind == "refused":
            wire += frame(6, call_id, refused, status=1)
        elif kind == "other layout":
            wire += frame(9, call_id, fixed_meta(2, 200), body)
        else:
            wire += frame(9, call_id, meta if kind == "expected" else fixed_meta(len(body) // 100, 100), body)

    def send():
        at = 0
        while at < len(wire):
            step = rng.choice([1, 63, 64, 100, 500, 5000])
            peer.sendall(wire[at : at + step])
            at += step

    for _ in answers:
        conn._new_id()
    sender = threading.Thread(target=send)
    sender.start()
    for call_id, (kind, body) in enumerate(answers, 1):
        room = np.zeros(400, np.uint8)
        if kind == "refused":
            with pytest.raises(pydaos.InvalidError):
                conn.recv_batch(call_id, np.empty, expected, room)
            continue
        got, payload = conn.recv_batch(call_id, lambda n: np.zeros(n, np.uint8), expected, room)
        assert bytes(payload) == body, (seed, call_id, kind)
        assert kind == "expected" or payload is not room
        assert got.parts[0].data_len == len(body)
        assert got.samples == (2 if kind == "other layout" else len(body) // 100)
    sender.join()
    assert not conn.broken


def test_an_expected_batch_needs_no_other_memory(ends):
    conn, peer = ends
    meta = fixed_meta(4, 100)
    expected = feed.expect(meta, feed.parse_batch_meta(meta), 400)
    for _ in range(3):
        call_id = conn.send_batch(1, bytes(32))
        peer.sendall(frame(9, call_id, meta, bytes([call_id] * 400)))
        room = np.zeros(400, np.uint8)
        got, payload = conn.recv_batch(call_id, pytest.fail, expected, room)
        assert payload is room
        assert set(room.tolist()) == {call_id}
        assert got.samples == 4


@pytest.mark.parametrize("awake", [False, True])
def test_an_expected_batch_that_breaks_off(ends, awake):
    conn, peer = ends
    conn._brisk = awake
    meta = fixed_meta(4, 100)
    expected = feed.expect(meta, feed.parse_batch_meta(meta), 400)
    call_id = conn.send_batch(1, bytes(32))
    peer.sendall(frame(9, call_id, meta, bytes(400))[:-1])
    peer.close()
    with pytest.raises(pydaos.UnreachableError):
        conn.recv_batch(call_id, np.empty, expected, np.zeros(400, np.uint8))
    assert conn.broken


@pytest.mark.parametrize(("what", "spin", "call_spin"), [("batch", 0.1, 0.0), ("call", 0.0, 0.1)])
def test_waiting_awake_ends_by_itself(ends, what, spin, call_spin, monkeypatch):
    monkeypatch.setattr(feed, "SPIN", spin)
    monkeypatch.setattr(feed, "CALL_SPIN", call_spin)
    conn, peer = ends
    meta = fixed_meta(4, 100)
    expected = feed.expect(meta, feed.parse_batch_meta(meta), 400)

    def receive(after):
        call_id = conn.send_batch(1, bytes(32))
        timer = threading.Timer(after, peer.sendall, [frame(9, call_id, meta, bytes(400))])
        # At once: however busy the machine is, it is there when it is looked for.
        timer.start() if after else timer.run()
        before = time.thread_time()
        if what == "batch":
            conn.recv_batch(call_id, np.empty, expected, np.zeros(400, np.uint8))
        else:
            assert conn.recv_frame().id == call_id
        if after:
            timer.join()
        return time.thread_time() - before

    receive(0)
    assert conn._brisk
    assert receive(0.8) < 0.4  # awake for a moment, then asleep
    assert not conn._brisk
    receive(0)
    assert conn._brisk


def test_who_waits_awake_lets_others_go_first(ends, monkeypatch):
    """Whoever shares the processor answers as soon as it is let; if it keeps it, the next wait is asleep."""
    monkeypatch.setattr(feed, "CALL_SPIN", 5.0)
    conn, peer = ends
    monkeypatch.setattr(feed, "CALM", 60.0)
    for kept, calm in ((0.0, False), (0.01, True)):
        monkeypatch.setattr(feed, "CROWDED", 0.005 if calm else 3600.0)
        call_id = conn.send_batch(1, bytes(32))

        def answer(call_id=call_id, kept=kept):
            time.sleep(kept)
            peer.sendall(frame(6, call_id, b"", b""))

        monkeypatch.setattr(os, "sched_yield", answer)
        conn._brisk, conn._calm_until = True, 0.0
        assert conn.recv_frame().id == call_id
        assert (conn._calm_until > time.perf_counter()) == calm
    begun = time.perf_counter()
    conn._calm_until = begun + 60
    assert conn._spin(5.0, memoryview(bytearray(1))) == 0
    assert time.perf_counter() - begun < 3


def test_what_is_expected_depends_on_no_sample():
    fixed = fixed_meta(4, 100)
    assert feed.expect(fixed, feed.parse_batch_meta(fixed), 400) is not None
    for layout, nulls in ((2, 0), (3, 0), (4, 0), (1, 1)):
        meta = fixed[:64] + bytes([layout, nulls]) + fixed[66:]
        assert feed.expect(meta, feed.parse_batch_meta(meta), 400) is None


def test_a_buffer_that_is_too_small_is_an_error_and_not_an_overflow(ends):
    conn, peer = ends
    call_id = conn.send_batch(1, bytes(8))
    peer.sendall(frame(9, call_id, struct.pack("<IIII48x", 1, 0, 0, 0), bytes(100)))
    with pytest.raises(pydaos.InvalidError, match="holds 10 bytes"):
        conn.recv_batch(call_id, lambda size: bytearray(10))
    assert conn.broken


def test_a_status_leaves_the_connection_whole(ends):
    conn, peer = ends
    wire = common.Error(kind=common.KIND_NOT_FOUND, detail="no such thing", resource="p/d")
    peer.sendall(frame(6, 1, wire.SerializeToString(), status=2) + frame(5, 2, b"fine", b"bytes"))
    with pytest.raises(pydaos.NotFoundError, match="p/d: no such thing"):
        conn.unary("/m", b"")
    assert not conn.broken
    assert conn.unary("/m", b"") == (b"fine", b"bytes")


def test_a_stream_ends_by_a_message_without_more_or_by_status_zero(ends):
    conn, peer = ends
    peer.sendall(frame(5, 1, b"a", b"1", flags=1) + frame(5, 1, b"b", b"22"))
    assert list(conn.stream("/m", b"")) == [(b"a", b"1"), (b"b", b"22")]
    peer.sendall(frame(5, 2, b"a", flags=1) + frame(6, 2))
    assert list(conn.stream("/m", b"")) == [(b"a", b"")]
    assert not conn.broken


def test_a_stream_left_early_breaks_the_connection(ends):
    conn, peer = ends
    peer.sendall(frame(5, 1, b"a", flags=1))
    stream = conn.stream("/m", b"")
    next(stream)
    stream.close()
    assert conn.broken


def test_goaway_is_noted_between_frames(ends):
    conn, peer = ends
    peer.sendall(frame(11) + frame(5, 1, b"ok"))
    assert conn.unary("/m", b"")[0] == b"ok"
    assert conn.draining
    assert not conn.broken


def test_an_answer_in_small_pieces(ends):
    conn, peer = ends
    data = frame(5, 1, b"m" * 130, bytes(range(256)) * 50)

    def dribble():
        for at in range(0, len(data), 97):
            peer.sendall(data[at : at + 97])

    sender = threading.Thread(target=dribble)
    sender.start()
    buffer = bytearray(12800)
    meta, payload = conn.unary("/m", b"", alloc=lambda size: buffer)
    sender.join()
    assert meta == b"m" * 130
    assert payload is buffer
    assert bytes(buffer) == bytes(range(256)) * 50


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 100, 128, 200])
def test_a_connection_that_ends_inside_an_answer_is_lost(cut):
    ours, theirs = socket.socketpair()
    conn = feed.FeedConnection(ours, "test", 5.0)
    theirs.sendall(frame(5, 1, b"m" * 10, bytes(100))[:cut])
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(pydaos.ConnectionLostError, match=r"the server closed it"):
        conn.unary("/m", b"", alloc=bytearray)
    assert conn.broken
    conn.close()
    theirs.close()


@pytest.mark.parametrize(
    "garbage",
    [frame(5, 1, magic=b"HTTP"), b"HTTP/1.1 400 Bad Request\r\n" + bytes(100), bytes(64)],
    ids=["magic", "http", "zeros"],
)
def test_another_protocol_is_said(ends, garbage):
    conn, peer = ends
    peer.sendall(garbage)
    with pytest.raises(pydaos.InternalError, match="does not speak"):
        conn.unary("/m", b"")
    assert conn.broken


def test_lengths_beyond_reason_are_refused(ends):
    conn, peer = ends
    head = bytearray(frame(5, 1))
    struct.pack_into("<Q", head, 24, 1 << 60)
    peer.sendall(bytes(head))
    with pytest.raises(pydaos.InternalError):
        conn.unary("/m", b"")


def test_the_answer_of_another_call_is_refused(ends):
    conn, peer = ends
    peer.sendall(frame(5, 99, b"x"))
    with pytest.raises(pydaos.InternalError, match="expected the answer of call 1"):
        conn.unary("/m", b"")
    assert conn.broken


def test_a_silent_server_is_a_deadline(ends):
    conn, _ = ends
    with pytest.raises(pydaos.DeadlineError, match=r"within 0\.05 s"):
        conn.unary("/m", b"", timeout=0.05)
    assert conn.broken


def test_a_server_that_stops_in_the_middle_is_a_deadline(ends):
    conn, peer = ends
    peer.sendall(frame(5, 1, b"m", bytes(1000))[:500])
    with pytest.raises(pydaos.DeadlineError):
        conn.unary("/m", b"", alloc=bytearray, timeout=0.05)
    assert conn.broken


def test_a_batch_without_description_is_refused():
    with pytest.raises(pydaos.InternalError):
        feed.parse_batch_meta(b"")
    with pytest.raises(pydaos.InternalError):
        feed.parse_batch_meta(struct.pack("<IIII48x", 1, 3, 0, 0))
