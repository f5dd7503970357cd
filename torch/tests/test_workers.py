"""Worker processes that end at the worst moment: in the middle of a message, or of being started."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import queue
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from test_faults import children, processes_of_group

from pydaos.torch import DataLoader
from pydaos.torch._inbox import Inbox

# -- Inbox -----------------------------------------------------------------------------------


def opened(ends: list[int] | None = None) -> tuple[Any, Inbox, int]:
    """A queue, its inbox, and the end that a worker would write to."""
    source = multiprocessing.get_context("fork").Queue()
    return source, Inbox(source, ends or ()), source._writer.fileno()


def test_an_inbox_receives_what_a_queue_sends() -> None:
    source, inbox, _ = opened()
    assert inbox.empty()
    with pytest.raises(queue.Empty):
        inbox.get(block=False)
    sent: list[Any] = [1, b"x" * 5_000_000, {"a": "b" * 20_000}, b"y" * 16384, None]
    for message in sent:
        source.put(message)  # a thread writes: much of it does not fit into the pipe
    assert [inbox.get(timeout=30) for _ in sent] == sent
    assert inbox.empty()
    source.close()


def test_an_inbox_takes_its_time_and_no_more() -> None:
    source, inbox, writer = opened()
    message = pickle.dumps(list(range(1000)))
    framed = struct.pack("!i", len(message)) + message
    for at in (0, 2, 4, 5, len(framed) - 1):
        source._sem.acquire()  # as Queue.put does
        os.write(writer, framed[:at])
        began = time.monotonic()
        with pytest.raises(queue.Empty):
            inbox.get(timeout=0.05)  # the rest is not there: it must not wait for it
        assert 0.04 < time.monotonic() - began < 5
        os.write(writer, framed[at:])
        assert inbox.get(timeout=5) == list(range(1000))
    # A message of 2 GiB and more says so, and has a longer header.
    source._sem.acquire()
    os.write(writer, struct.pack("!iQ", -1, len(message)) + message)
    assert inbox.get() == list(range(1000))


def test_an_inbox_looks_at_who_sends() -> None:
    alive, end = os.pipe()
    _, inbox, writer = opened([alive])
    os.write(writer, struct.pack("!i", 9) + pickle.dumps(7)[:3])
    message = pickle.dumps(8)
    threading.Timer(0.2, os.close, [end]).start()
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        inbox.get(timeout=60)
    assert time.monotonic() - began < 30
    # What was sent whole before is received all the same.
    source, inbox, writer = opened([alive])
    source._sem.acquire()
    os.write(writer, struct.pack("!i", len(message)) + message)
    assert inbox.get(timeout=60) == 8
    with pytest.raises(queue.Empty):
        inbox.get(timeout=60)
    os.close(alive)


# -- killed in the middle of a message -----------------------------------------------------------

SIZE, LARGE = 8, 3_000_000


def large(x: bytes) -> bytes:
    """A sample that is no tensor: it goes through the pipe, in pieces of its 64 KiB."""
    return x * (LARGE // 8)


def first_bytes(batch: list[bytes]) -> list[int]:
    return [int.from_bytes(x[:8], "little") for x in batch]


def as_list(samples: list[bytes]) -> list[bytes]:
    return samples


class Killer(threading.Thread):
    """Stops a worker of this process while it works, looks whether the loop waits for it, and kills it."""

    def __init__(self, rng: random.Random, before: set[int], times: int) -> None:
        super().__init__(daemon=True)
        self.rng, self.before, self.times = rng, before, times
        self.killed = 0
        self.over = threading.Event()

    def run(self) -> None:
        while self.killed < self.times and not self.over.wait(self.rng.random() * 0.12):
            workers = [p for p in children() if p not in self.before]
            if not workers:
                continue
            victim = self.rng.choice(workers)
            try:
                # Stopped first: whoever has begun to read its message waits for the rest of it.
                os.kill(victim, signal.SIGSTOP)
                time.sleep(0.02 + self.rng.random() * 0.02)
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.killed += 1


def kill_senders(numbered: Any, times: int, **options: Any) -> None:
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns() % 10**9))
    print(f"DAOS_TEST_SEED={seed}")
    data = numbered.files(transform_fn=large)
    options |= {"num_workers": 2, "collate_fn": as_list, "multiprocessing_context": "fork"}
    loader = DataLoader(data, SIZE, shuffle=True, seed=seed, **options)
    before, files = set(children()), len(os.listdir("/proc/self/fd"))
    killer = Killer(random.Random(seed), before, times)
    killer.start()
    try:
        while killer.is_alive():
            number = loader.epoch
            seen: list[int] = []
            walk = iter(loader)
            while True:
                at = len(seen)
                try:
                    batch = next(walk, None)
                except RuntimeError as err:
                    # Four in a row without a batch between them end a pass; it is gone on with.
                    assert "times in a row" in str(err), err
                    assert loader.state_dict()["position"] == at
                    state = loader.state_dict()
                    loader.load_state_dict(state)
                    walk = iter(loader)
                    continue
                if batch is None:
                    break
                seen += first_bytes(batch)
            assert seen == numbered.order(seed, number)
    finally:
        killer.over.set()
        killer.join()
        loader.close()
    assert killer.killed == times
    assert loader.stats()["restarts"] > 0
    data.close()
    del walk, loader
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files + 4  # of a queue and its pipe nothing stays


@pytest.mark.timeout(180)
def test_workers_killed_while_they_send(numbered: Any) -> None:
    kill_senders(numbered, 8)


def hand_on(results: Any, out: Any, device: int, done: threading.Event, *_: Any) -> None:
    """Do what torch's thread does that page-locks, but for the page-locking."""
    while not done.is_set():
        try:
            message = results.get(timeout=5)
        except queue.Empty:
            continue
        out.put(message)


@pytest.mark.timeout(180)
def test_workers_killed_while_they_send_to_a_thread(numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)
    monkeypatch.setattr(torch.utils.data._utils.pin_memory, "_pin_memory_loop", hand_on)
    threads = set(threading.enumerate())
    kill_senders(numbered, 8, pin_memory=True)
    deadline = time.monotonic() + 20
    while (left := set(threading.enumerate()) - threads) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left  # though they may have waited for the rest of a message


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_workers_killed_while_they_send_hundreds_of_times(numbered: Any) -> None:
    kill_senders(numbered, 400)


def test_no_lock_is_shared_that_a_dead_worker_may_hold(numbered: Any) -> None:
    """torch's loop asks an Event for every batch, and holds its lock then; a worker killed there would keep it."""
    data = numbered.files(transform_fn=slowly)
    loader = DataLoader(data, 8, num_workers=2, multiprocessing_context="fork", persistent_workers=True)
    walk = iter(loader)
    seen = next(walk).tolist()
    assert loader._crew is not None
    event = loader._crew._iterator._workers_done_event
    assert not hasattr(event, "_cond") and not event.is_set()
    seen += [i for b in walk for i in b.tolist()]
    assert seen == list(range(numbered.n))
    workers = loader._crew._iterator._workers
    loader.close()
    assert event.is_set()
    assert [w.exitcode for w in workers] == [0, 0]  # they were told, and ended by themselves
    data.close()


# -- interrupted while they are started -------------------------------------------------------------

_STARTS = """
import os, random, signal, sys, threading, time
from multiprocessing import process
from pydaos.torch import DataLoader, Dataset
from pydaos.torch import _processes

def number(x):
    return int.from_bytes(x, "little")

def interrupt(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGINT)

def children():
    of = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    return [p for p in open(of).read().split() if b"resource_tracker" not in open(f"/proc/{p}/cmdline", "rb").read()]

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    rng = random.Random(int(sys.argv[4]))
    data = Dataset(sys.argv[1], addr=sys.argv[2], transform_fn=number)
    options = {"num_workers": 3, "multiprocessing_context": "fork", "persistent_workers": sys.argv[3] == "persistent"}
    began = time.perf_counter()
    next(iter(DataLoader(data, 2, **options)))
    whole = time.perf_counter() - began
    came = 0
    for _ in range(int(sys.argv[5])):
        loader = DataLoader(data, 2, **options)
        it = kept = None
        thread = threading.Thread(target=interrupt, args=(rng.random() * whole,))
        try:
            try:
                thread.start()
                it = iter(loader)
                next(it)
                thread.join()
                time.sleep(0.001)
            except KeyboardInterrupt as err:
                came += 1
                kept = err  # as a debugger or an interactive session does
            thread.join()
            if it is not None:
                it.close()  # it may have come outside of the loader's own code
            loader.close()
            deadline = time.monotonic() + 10
            while children() and time.monotonic() < deadline:
                time.sleep(0.01)
            left = children()
            if left:
                import traceback
                traceback.print_exception(kept)
                print("left behind", left, flush=True)
                sys.exit(1)
        except KeyboardInterrupt:
            pass
        it = loader = None
    print("interrupted", came, flush=True)
"""


def interrupts(numbered: Any, tmp_path: Path, kind: str, times: int) -> None:
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns() % 10**9))
    print(f"DAOS_TEST_SEED={seed}")
    script = tmp_path / "starts.py"
    script.write_text(_STARTS)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, str(script), "numbered/files@v1", numbered.server.unix, kind, str(seed), str(times)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=60 + 6 * times)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, (out, err[-4000:])
    word, came = out.split()
    assert word == "interrupted" and int(came) > times // 4, (out, err[-4000:])
    deadline = time.monotonic() + 10
    while processes_of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of_group(process.pid) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["fresh", "persistent"])
def test_an_interrupt_while_workers_start_leaves_none(numbered: Any, tmp_path: Path, kind: str) -> None:
    interrupts(numbered, tmp_path, kind, 12)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_hundreds_of_interrupts_while_workers_start(numbered: Any, tmp_path: Path) -> None:
    interrupts(numbered, tmp_path, "fresh", 300)


def unsendable(x: bytes) -> Any:
    number = int.from_bytes(x[:8], "little")
    return (lambda: number) if number == 57 else number


@pytest.mark.timeout(180)
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_batch_that_can_not_be_sent_is_an_error(numbered: Any, context: str) -> None:
    """Torch's queue prints it and forgets the batch, which the loop would wait for for ever."""
    data = numbered.files(transform_fn=unsendable)
    loader = DataLoader(data, 10, num_workers=2, multiprocessing_context=context, collate_fn=as_list)
    walked, got = iter(loader), []
    for _ in range(5):
        got += next(walked)
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"must pickle what transform_fn") as failed:
        next(walked)
    assert "batch 5 of pass 0" in failed.value.where  # type: ignore[attr-defined]
    for batch in walked:
        got += batch
    assert got == [i for i in range(numbered.n) if not 50 <= i < 60]
    data.close()


def fails_in_its_own_way(x: bytes) -> int:
    class Unknown(Exception):
        """Nobody else can import it."""

    number = int.from_bytes(x[:8], "little")
    if number == 57:
        raise Unknown(f"number {number}")
    return number


@pytest.mark.timeout(180)
def test_an_error_that_can_not_be_sent_says_what_it_said(numbered: Any) -> None:
    data = numbered.files(transform_fn=fails_in_its_own_way)
    loader = DataLoader(data, 10, num_workers=2, multiprocessing_context="fork")
    walked = iter(loader)
    got = [i for _ in range(5) for i in next(walked).tolist()]
    with pytest.raises(RuntimeError, match=r"Unknown: number 57(.|\n)*batch 5 of pass 0"):
        next(walked)
    got += [i for batch in walked for i in batch.tolist()]
    assert got == [i for i in range(numbered.n) if not 50 <= i < 60]
    data.close()


class Sent:
    """What can be sent, and can't always be received."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        if 57 in self.numbers:
            raise LookupError("57")


def as_sent(samples: list[int]) -> Sent:
    return Sent(samples)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("persistent", [False, True])
def test_a_batch_that_can_not_be_received_is_an_error(numbered: Any, persistent: bool) -> None:
    """Torch has lost its message, and would wait for it for ever if the loop went on."""
    data = numbered.files(transform_fn=int_of)
    options: Any = {"num_workers": 2, "persistent_workers": persistent, "multiprocessing_context": "fork"}
    loader = DataLoader(data, 10, collate_fn=as_sent, **options)
    for _ in range(2):
        walked, got, failed = iter(loader), [], []
        while True:
            try:
                batch = next(walked, None)
            except LookupError as err:
                failed.append(err)
                assert len(failed) == 1
                continue
            if batch is None:
                break
            got += batch.numbers
        assert got == [i for i in range(numbered.n) if not 50 <= i < 60]
        assert "batch 5 of pass" in failed[0].where  # type: ignore[attr-defined]
    loader.close()
    data.close()


def int_of(x: bytes) -> int:
    return int.from_bytes(x[:8], "little")


def slowly(x: bytes) -> int:
    time.sleep(0.02)
    return int.from_bytes(x, "little")


@pytest.mark.parametrize("persistent", [False, True])
def test_a_loader_goes_on_after_an_interrupt(numbered: Any, persistent: bool) -> None:
    """Where it came is unknown, perhaps in the middle of a message: also workers that persist are others then."""
    data = numbered.files(transform_fn=slowly)
    options: Any = {"num_workers": 2, "persistent_workers": persistent, "multiprocessing_context": "fork"}
    loader = DataLoader(data, 8, shuffle=True, seed=4, **options)
    before, handler = set(children()), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(3):
            walk, seen = iter(loader), []
            seen += next(walk).tolist()
            timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                while True:
                    seen += next(walk).tolist()
            timer.join()
            assert set(children()) <= before
            state = loader.state_dict()
            # It may have come when the loop had its batch and had not noted it yet.
            assert state["position"] - len(seen) in (0, 8)
            assert seen == numbered.order(4)[: len(seen)]
            loader.load_state_dict(state)
            assert [i for b in loader for i in b.tolist()] == numbered.order(4, 0, state["position"])
            loader.set_epoch(0)
    finally:
        signal.signal(signal.SIGINT, handler)
        loader.close()
    data.close()


def test_workers_that_can_not_all_be_started_are_ended(numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = numbered.files(transform_fn=len)
    before, started = set(children()), 0
    start = multiprocessing.context.ForkProcess.start

    def third_time_unlucky(self: Any) -> None:
        nonlocal started
        started += 1
        if started == 3:
            raise OSError(12, "Cannot allocate memory")
        start(self)

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", third_time_unlucky)
    for persistent in (False, True):
        started = 0
        loader = DataLoader(
            data, 8, num_workers=4, multiprocessing_context="fork", persistent_workers=persistent, seed=1
        )
        with pytest.raises(OSError, match="Cannot allocate memory") as failed:
            next(iter(loader))
        assert set(children()) <= before, failed  # though the traceback is held
        started = 10
        assert sum(len(b) for b in loader) == numbered.n  # there is memory again
        loader.close()
    data.close()
