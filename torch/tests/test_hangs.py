"""A hang of torch's own loader is told from any other, and both are ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import pytest
import torch
from conftest import forget_dead_workers
from hangs import Hung, TorchHung, Watch, torchs_own

from pydaos.torch._processes import kill

LOCK = ["multiprocessing.synchronize", "multiprocessing.synchronize"]


@pytest.mark.parametrize(
    ("modules", "torchs"),
    [
        ([*LOCK, "torch.utils.data.dataloader", "torch.utils.data.dataloader", "test_grid"], True),
        (["multiprocessing.connection", "multiprocessing.queues", "torch.utils.data.dataloader", "test_grid"], True),
        ([*LOCK, "torchdata.stateful_dataloader.stateful_dataloader", "test_grid"], True),
        ([*LOCK, "torch.utils.data.dataloader", "pydaos.torch._workers", "test_grid"], False),  # we drive it
        ([*LOCK, "pydaos.torch._inbox", "torch.utils.data.dataloader", "test_grid"], False),  # we wait
        (["threading", "torch.utils.data.dataloader", "test_grid"], False),  # no process can have taken it
        ([*LOCK, "torchvision.models", "test_grid"], False),
        (["torch.utils.data.dataloader", "test_grid"], False),
        (LOCK, False),
        ([], False),
    ],
)
def test_which_stack_is_torchs(modules: list[str], torchs: bool) -> None:
    assert torchs_own(modules) == torchs


def started() -> Any:
    """An iterator of torch's, with the lock of its Event held for ever, as by a worker killed in is_set()."""
    loader = torch.utils.data.DataLoader(range(100), num_workers=1, multiprocessing_context="fork", timeout=60)
    it: Any = iter(loader)
    next(it)
    it._timeout = 0.2  # so that torch looks around that often, not only every five seconds
    it._workers_done_event._cond._lock.acquire()
    return it


def end_worker(it: Any) -> None:
    (worker,) = it._workers
    with contextlib.suppress(RuntimeError):  # torch's handler of the signal raises it, wherever we are
        worker.kill()
        worker.join()
    worker.join()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("said", [True, False])
def test_a_hang_in_torchs_lock(said: bool) -> None:
    it = started()
    with pytest.raises(TorchHung if said else Hung, match="is_set"), Watch(patience=1, limit=8) as watch:
        watch.killed = said  # before a worker was killed nothing is torch's fault
        end_worker(it)
        try:
            for _ in it:
                pass
        except (TorchHung, Hung):
            kill(it)
            raise
    assert len(watch.found) == said


def hold(it: Any) -> None:
    """Be seen with it."""
    time.sleep(0.2)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("held", [False, True])
def test_a_hang_in_a_finalizer(held: bool) -> None:
    """It can raise nothing; it is ended and noted all the same, also where the frame that was seen last held it."""
    it = started()
    with Watch(patience=1, limit=30) as watch:
        watch.killed = True
        end_worker(it)
        if held:
            hold(it)
        del it
    assert len(watch.found) == 1
    assert "_shutdown_workers" in watch.found[0]


@pytest.mark.timeout(60)
def test_a_hang_of_somebody_elses() -> None:
    lock = multiprocessing.get_context("fork").Lock()
    lock.acquire()
    began = time.monotonic()
    with pytest.raises(Hung, match="acquire"), Watch(patience=0.5, limit=2) as watch:
        watch.killed = True
        lock.acquire()
    assert time.monotonic() - began < 30
    assert watch.found == []
    assert threading.active_count() < 20


def test_no_test_hears_of_another_ones_workers() -> None:
    it: Any = iter(torch.utils.data.DataLoader(range(100), num_workers=1, multiprocessing_context="fork"))
    next(it)
    (worker,) = it._workers
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    worker.kill()
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    signal.signal(signal.SIGCHLD, handler)
    forget_dead_workers()
    os.kill(os.getpid(), signal.SIGCHLD)  # as if a child of the next test had ended
    worker.join()
