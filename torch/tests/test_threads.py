"""Transforms on threads: order kept, reading ahead bounded, errors at their batch, nothing left behind."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pydaos.torch import DataLoader
from pydaos.torch._threads import OrderedThreads


def ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("daos-transform")]


class Numbers:
    """A job whose samples are its numbers."""

    def __init__(self, numbers: list[int], work: Callable[[int], int] = lambda i: i) -> None:
        self.numbers = numbers
        self.work = work
        self.count = len(numbers)

    def part(self, lo: int, hi: int, stopped: Callable[[], bool]) -> Sequence[int]:
        return [self.work(i) for i in self.numbers[lo:hi] if not stopped()]

    def whole(self, made: list[int]) -> list[int]:
        return made


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_results_come_in_the_order_submitted(threads: int) -> None:
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns() % 10**9))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)

    def work(i: int) -> int:
        time.sleep(rng.random() / 2000)
        return 2 * i

    pool = OrderedThreads(threads)
    sizes = [rng.randrange(0, 12) for _ in range(40)]
    jobs = [list(range(100 * k, 100 * k + n)) for k, n in enumerate(sizes)]
    for job in jobs:
        pool.submit(Numbers(job, work))
    assert len(pool) == 40
    assert [pool.take() for _ in jobs] == [[2 * i for i in job] for job in jobs]
    pool.close()
    assert ours() == []


def test_of_several_failed_samples_the_first_is_told_at_its_batch() -> None:
    pool = OrderedThreads(4)

    def work(i: int) -> int:
        if i in (13, 17, 18):
            time.sleep(0.001 * (20 - i))  # the later ones fail sooner
            raise ValueError(f"sample {i}")
        return i

    for k in range(4):
        pool.submit(Numbers(list(range(10 * k, 10 * k + 10)), work))
    assert pool.take() == list(range(10))
    with pytest.raises(ValueError, match="sample 13"):
        pool.take()
    assert pool.take() == list(range(20, 30))
    pool.submit_failure(KeyError("lost"))
    assert pool.take() == list(range(30, 40))
    with pytest.raises(KeyError, match="lost"):
        pool.take()
    pool.close()


def test_close_waits_for_one_sample_not_for_all() -> None:
    entered = threading.Semaphore(0)

    def work(i: int) -> int:
        entered.release()
        time.sleep(0.01)
        return i

    pool = OrderedThreads(2)
    for k in range(20):
        pool.submit(Numbers(list(range(100 * k, 100 * k + 100)), work))
    entered.acquire()
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 5  # all of it would take ten
    assert ours() == []
    with pytest.raises(RuntimeError, match="closed"):
        pool.take()
    pool.close()


def test_a_dropped_pool_ends_its_threads() -> None:
    pool = OrderedThreads(3)
    pool.submit(Numbers([1, 2, 3]))
    assert len(ours()) == 3
    del pool
    gc.collect()
    assert ours() == []


# -- under the loader, over a dataset that is not ours: no server is needed --------------


class Slow:
    """Forty numbers; notes which were asked for."""

    def __init__(self, work: Callable[[int], Any] = lambda i: i) -> None:
        self.work = work
        self.asked: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        self.asked.append(i)
        self.threads.add(threading.current_thread().name)
        return self.work(i)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_interrupted_close_is_gone_on_with(at: int) -> None:
    pool = OrderedThreads(4, "broken-off")
    threads = list(pool._threads)
    tasks = pool._shared.tasks

    class Interrupted:
        left = at

        def get(self) -> Any:
            return tasks.get()

        def put(self, task: Any) -> None:
            if self.left == 0:
                self.left -= 1
                raise KeyboardInterrupt
            self.left -= 1
            tasks.put(task)

    pool._shared.tasks = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        pool.close()
    del pool
    gc.collect()
    for t in threads:
        t.join(10)
    assert not any(t.is_alive() for t in threads)


def test_reading_ahead_is_bounded() -> None:
    data = Slow()
    loader = DataLoader(data, 2, transform_threads=3, prefetch=2)
    it = iter(loader)
    assert data.asked == []
    for k in range(1, 6):
        next(it)
        deadline = time.monotonic() + 5
        while len(data.asked) < min(40, 2 * (k + 1)) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        # The batch returned, and at most two more.
        assert 2 * (k + 1) <= len(data.asked) <= 2 * (k + 2)
    it.close()
    assert ours() == []
    assert all(name.startswith("daos-transform") for name in data.threads)


def test_an_error_comes_at_its_batch_and_the_loop_may_go_on() -> None:
    def work(i: int) -> int:
        if i == 9:
            raise LookupError("nine")
        return i

    loader = DataLoader(Slow(work), 4, transform_threads=3)
    it = iter(loader)
    assert [next(it).tolist() for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(LookupError, match="nine") as failed:
        next(it)
    notes = getattr(failed.value, "__notes__", None)
    assert notes is None or "batch 2 of pass 0, positions 8 to 12" in notes[0]
    assert loader.state_dict()["position"] == 8  # it was not returned
    assert next(it).tolist() == [12, 13, 14, 15]
    assert loader.state_dict()["position"] == 16
    assert len(list(it)) == 6
    assert ours() == []


@pytest.mark.parametrize("how", ["close", "del", "break", "exhaust", "error"])
def test_no_thread_is_left(how: str) -> None:
    def work(i: int) -> int:
        if how == "error" and i == 30:
            raise OSError("thirty")
        return i

    loader = DataLoader(Slow(work), 4, transform_threads=3)
    if how == "break":
        for _ in loader:
            assert len(ours()) == 3
            break
    elif how == "exhaust":
        assert len(list(loader)) == 10
    elif how == "error":
        with pytest.raises(OSError, match="thirty"):
            list(loader)
    else:
        it = iter(loader)
        next(it)
        assert len(ours()) == 3
        if how == "close":
            it.close()
            with pytest.raises(StopIteration):
                next(it)
        del it
    gc.collect()
    assert ours() == []
    assert loader.epoch == (1 if how == "exhaust" else 0)


def test_a_forked_child_refuses_and_begins_anew() -> None:
    loader = DataLoader(Slow(), 4, transform_threads=2)
    it = iter(loader)
    next(it)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b"wrong"
        try:
            next(it)
        except RuntimeError as err:
            if "forked" in str(err):
                it.close()  # touches nothing of the parent's
                said = b"right" if [b.tolist()[0] for b in loader][:2] == [0, 4] else b"other"
        finally:
            os.write(write, said)
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 16) == b"right"
    os.close(read), os.close(write)
    assert next(it).tolist() == [4, 5, 6, 7]
    it.close()


def test_threads_and_processes_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="choose one of them"):
        DataLoader(Slow(), transform_threads=2, num_workers=2)
    with pytest.raises(ValueError, match="give 0 or more"):
        DataLoader(Slow(), transform_threads=-1)
