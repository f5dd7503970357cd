"""Ranges of files read by a few threads side by side."""

import errno
import os
import random
import threading
import time

import pytest

from pydaos import _side as side

MIB = 1 << 20


@pytest.fixture
def files(tmp_path):
    """Two open files, and what is in them."""
    made = random.Random(5)
    content = [made.randbytes(9 * MIB + 123), made.randbytes(3 * MIB)]
    opened = []
    for i, data in enumerate(content):
        (tmp_path / str(i)).write_bytes(data)
        opened.append(os.open(tmp_path / str(i), os.O_RDONLY))
    yield opened, content
    for f in opened:
        os.close(f)


def draw(files, seed):
    """Return parts over one buffer, the buffer, and what it is to hold."""
    opened, content = files
    made = random.Random(seed)
    ranges = []
    for _ in range(made.randrange(1, 40)):
        i = made.randrange(2)
        start = made.randrange(len(content[i]))
        ranges.append((i, start, min(made.choice([1, 700, 300_000, MIB, 4 * MIB]), len(content[i]) - start)))
    want = b"".join(content[i][start : start + n] for i, start, n in ranges)
    room = bytearray(len(want))
    parts, at = [], 0
    for i, start, n in ranges:
        parts.append(side.Part(opened[i], start, memoryview(room)[at : at + n]))
        at += n
    return parts, room, want


def test_rows_of_a_chunk_are_read_together(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 2)
    opened, content = files
    # Four chunks of eight rows; the memory has the first rows of all of them, then the second ones.
    row = 100_003
    room = bytearray(32 * row)
    view = memoryview(room)
    parts = [
        side.Part(opened[0], (c * 8 + r) * row, view[(r * 4 + c) * row :][:row]) for r in range(8) for c in range(4)
    ]
    pieces = side._pieces(parts)
    assert [len(p.views) for p in pieces] == [10, 10, 10, 2]
    assert side.read(parts, new=True) == -1
    for p in parts:
        assert p.view == content[0][p.offset : p.offset + row]


def draw_rows(files, seed):
    """Return rows of several shapes over one buffer, between them other parts, and what the buffer is to hold."""
    opened, content = files
    made = random.Random(seed)
    shapes = []
    for _ in range(made.randrange(1, 9)):
        row = made.choice([1, 700, 2000, 100_000])
        stride = row + made.choice([0, 1, 900, 300_000])
        stretches = []
        for _ in range(made.randrange(1, 9)):
            i = made.randrange(2)
            rows = made.randrange(1, 1 + min(400, len(content[i]) // stride, MIB // 2 // row))
            stretches.append((i, made.randrange(len(content[i]) - (rows - 1) * stride - row + 1), rows))
        shapes.append((row, stride, stretches))
    want = b"".join(
        content[i][at + k * stride :][:row]
        for row, stride, stretches in shapes
        for i, at, rows in stretches
        for k in range(rows)
    )
    room = bytearray(len(want) + 10)
    view, parts = memoryview(room), []
    end = 0
    for row, stride, stretches in shapes:
        parts.append(side.Rows(view, end, row, stride))
        for i, at, rows in stretches:
            parts[-1].stretches.append((opened[i], at, rows))
        end += parts[-1].size
    parts.append(side.Part(opened[1], 5, view[end:]))
    return parts, room, want + content[1][5:15]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("drawn", [draw, draw_rows])
def test_every_part_is_filled(files, drawn, threads, monkeypatch):
    monkeypatch.setattr(side, "THREADS", threads)
    for seed in range(15):
        parts, room, want = drawn(files, seed)
        assert side.read(parts, new=True) == -1, seed
        assert room == want, seed


def test_rows_are_sorted_out_while_others_are(files, monkeypatch):
    """A signal handler may read as well, between any two steps."""
    opened, content = files
    inner, outer = (side.Rows(memoryview(bytearray(100 * 1000)), 0, 1000, 3000) for _ in range(2))
    inner.stretches.append((opened[1], 0, 100))
    outer.stretches.append((opened[0], 0, 100))
    real = os.preadv

    def preadv(file, views, offset):
        got = real(file, views, offset)
        if file == opened[0]:
            assert inner.fill() == -1
        return got

    monkeypatch.setattr(os, "preadv", preadv)
    for _ in range(3):
        assert outer.fill() == -1
        assert outer._view == b"".join(content[0][k * 3000 :][:1000] for k in range(100))
    assert 0 < len(side._scratch) <= side.THREADS


def test_rows_that_end_too_early(files, monkeypatch):
    opened, content = files
    room = memoryview(bytearray(4 * MIB))
    for threads in (1, 2):
        monkeypatch.setattr(side, "THREADS", threads)
        for row, stride in ((1000, 2048), (1000, 200_000), (1000, 300_000)):
            count = len(content[1]) // stride + 2
            rows = side.Rows(room, 3, row, stride)
            rows.stretches.append((opened[0], 0, 3))
            rows.stretches.append((opened[1], 0, count))
            rows.stretches.append((opened[0], 0, 3))
            end = side.read([rows, side.Part(opened[0], 0, room[2 * MIB :])], new=True)
            assert len(content[1]) <= end < len(content[1]) + stride, (row, stride)


def test_what_the_kernel_gives_in_small_bits(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 2)
    real, made = os.preadv, random.Random(1)

    def preadv(file, views, offset):
        left, some = made.choice([1, 700, 200_000, 1 << 20]), []
        for v in views:
            some.append(v[:left])
            left -= len(some[-1])
        return real(file, some, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    for seed in range(20):
        parts, room, want = draw(files, seed)
        assert side.read([p for p in parts if len(p.view) > 700], new=True) == -1
        assert side._in_turn([p for p in parts if len(p.view) <= 700]) == -1
        assert room == want
        parts, room, want = draw_rows(files, seed)
        assert side.read(parts, new=True) == -1
        assert room == want


def test_several_readers_at_a_time(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 3)
    wrong = []

    def reader(first):
        for seed in range(first, first + 10):
            parts, room, want = draw(files, seed)
            if side.read(parts, new=True) != -1 or room != want:
                wrong.append(seed)

    readers = [threading.Thread(target=reader, args=(100 * i,)) for i in range(4)]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    assert wrong == []


def test_where_a_file_ends_too_early_is_said(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 2)
    opened, content = files
    room = memoryview(bytearray(8 * MIB))
    assert side.read([side.Part(opened[1], 0, room[: 4 * MIB])], new=True) == len(content[1])
    assert side.read([side.Part(opened[1], 2 * MIB + 5, room[:MIB])], new=True) == len(content[1])
    assert (
        side.read([side.Part(opened[0], 0, room[: 4 * MIB]), side.Part(opened[1], 3 * MIB, room[4 * MIB :])], True) >= 0
    )


def test_a_failure_of_any_thread_is_raised(files, tmp_path, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 4)
    opened, _ = files
    unreadable = os.open(tmp_path / "0", os.O_WRONLY)
    try:
        for at in range(9):
            room = memoryview(bytearray(9 * MIB))
            parts = [
                side.Part(unreadable if i == at else opened[0], i * MIB, room[i * MIB : (i + 1) * MIB])
                for i in range(9)
            ]
            with pytest.raises(OSError, match="descriptor") as caught:
                side.read(parts, new=True)
            assert caught.value.errno == errno.EBADF
    finally:
        os.close(unreadable)


def test_nobody_writes_any_more_when_an_interrupt_is_raised(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 2)
    real, wait, reader = side._fill, side._Job.left, threading.current_thread()
    begun, waited_for, gone_on = threading.Event(), threading.Event(), []

    def fill(piece):
        if threading.current_thread() is reader:
            assert begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        assert waited_for.wait(10)  # the reader is interrupted meanwhile
        time.sleep(0.05)  # long enough for who does not wait
        gone_on.append(real(piece))
        return gone_on[-1]

    def left(job):
        waited_for.set()
        return wait(job)

    monkeypatch.setattr(side, "_fill", fill)
    monkeypatch.setattr(side._Job, "left", left)
    room = memoryview(bytearray(8 * MIB))
    with pytest.raises(KeyboardInterrupt):
        side.read([side.Part(files[0][0], 0, room)], new=True)
    assert gone_on == [-1]  # the piece that was under way, and no other
    after = bytes(room)
    begun.clear()
    assert not begun.wait(0.1)
    assert room == after


def test_without_a_thread_to_help_the_reader_does_it_alone(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 4)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(side, "_here", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for seed in range(5):
        parts, room, want = draw(files, seed)
        assert side.read(parts, new=True) == -1
        assert room == want


def test_threads_end_and_begin_again(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 3)
    monkeypatch.setattr(side, "IDLE", 0.01)
    monkeypatch.setattr(side, "_here", None)
    for seed in range(5):
        parts, room, want = draw(files, seed)
        assert side.read(parts, new=True) == -1
        assert room == want
        for t in threading.enumerate():
            if t.name == "pydaos-side":
                t.join(10)
        assert side._here._threads == 0


def test_a_forked_child_has_threads_of_its_own(files, monkeypatch):
    monkeypatch.setattr(side, "THREADS", 2)
    parts, room, want = draw(files, 1)
    assert side.read(parts, new=True) == -1
    child = os.fork()
    if not child:
        status = 1
        try:
            parts, room, want = draw(files, 2)
            status = 0 if side.read(parts, new=True) == -1 and room == want else 2
            if not any(t.name == "pydaos-side" for t in threading.enumerate()):
                status = 3  # the parent's are not here
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
