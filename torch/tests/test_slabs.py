"""Slabs: shared memory that a worker fills again only when no process has the batch before."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch.utils.data import DataLoader as StockLoader
from torch.utils.data import default_collate

import pydaos
from pydaos.testing import Server
from pydaos.torch import DataLoader, Dataset, _slabs
from pydaos.torch._slabs import Memory, Slabs

N, SIZE = 96, 40_000


class Samples:
    """Files of one size, files of several and rows; each byte of sample i is i."""

    def __init__(self, server: Server, client: pydaos.Client) -> None:
        self.addr = server.unix
        client.create_pool("slabs")
        even, odd = (client.create_dataset(f"slabs/{name}", type="posix") for name in ("even", "odd"))
        for i in range(N):
            even.write_bytes(f"{i:03d}", bytes([i]) * SIZE)
            odd.write_bytes(f"{i:03d}", bytes([i]) * (SIZE + 331 * i))
        rows = client.create_dataset("slabs/rows", type="tensor")
        table = {"x": np.repeat(np.arange(N, dtype=np.int32), 5000).reshape(N, 5000), "id": np.arange(N)}
        rows.define(table)
        rows.append(table)
        for d in (even, odd, rows):
            d.snapshot("v1")

    def open(self, name: str) -> Dataset:
        return Dataset(f"slabs/{name}@v1", addr=self.addr)

    @staticmethod
    def check(name: str, batch: Any) -> list[int]:
        """The indices of a batch, each of whose bytes must say the same."""
        if name == "rows":
            ids = [int(i) for i in batch["id"]]
            assert torch.equal(batch["x"], torch.tensor(ids, dtype=torch.int32)[:, None].expand(-1, 5000))
            return ids
        ids = []
        for sample in batch:
            i = int(sample[0])
            assert len(sample) == SIZE + (331 * i if name == "odd" else 0)
            assert bool((sample == i).all()), f"sample {i} has bytes of another one"
            ids.append(i)
        return ids


@pytest.fixture(scope="module")
def samples(server: Server) -> Iterator[Samples]:
    client = server.connect()
    yield Samples(server, client)
    client.destroy_pool("slabs", force=True)
    client.close()


def address(memory: Any) -> int:
    return int(memory.__array_interface__["data"][0])


# -- one process -------------------------------------------------------------------------


def holders() -> dict[str, Any]:
    return {
        "tensor": lambda t: t,
        "slice": lambda t: t[10:20],
        "another dtype": lambda t: t[:64].view(torch.int64),
        "numpy of a slice": lambda t: t[3:9].numpy()[1:],
        "memoryview": lambda t: memoryview(t.numpy())[1:3],
        "storage": lambda t: t.untyped_storage(),
    }


@pytest.mark.parametrize("what", holders())
def test_a_slab_is_filled_again_only_after_the_last_holder(what: str) -> None:
    slabs = Slabs()
    filled = slabs.lease(5000)
    filled.room[:] = 1
    held, first = holders()[what](filled.tensor), address(filled.room)
    del filled
    gc.collect()
    other = slabs.lease(5000)
    assert address(other.room) != first, "a slab was handed out while it is held"
    other.room[:] = 2
    del held, other
    gc.collect()
    again = [slabs.lease(4097) for _ in range(3)]
    assert first in {address(a.room) for a in again}, "a slab that nobody holds was not used again"
    assert slabs.made == 3


def test_what_is_received_is_what_the_tensor_shows() -> None:
    slabs = Slabs()
    memory = Memory(slabs)
    room = memory.lease(100)
    room[:] = np.arange(100)
    tensor = memory.tensor(memoryview(room))
    assert tensor is not None
    assert tensor.is_shared()
    assert tensor.tolist() == list(range(100))
    assert memory.tensor(np.zeros(100, np.uint8)) is None
    empty = memory.lease(0)
    assert memory.tensor(empty) is None


def hold(inbox: Any, outbox: Any) -> None:
    held = inbox.get()
    outbox.put(int(held[0]))
    inbox.get()
    outbox.put(int(held[0]))


@pytest.mark.parametrize("ends", ["drops", "is killed"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_slab_that_another_process_has_is_not_filled(method: str, ends: str) -> None:
    slabs = Slabs()
    context = torch.multiprocessing.get_context(method)
    inbox, outbox = context.Queue(), context.Queue()
    child = context.Process(target=hold, args=(inbox, outbox))
    child.start()
    filled = slabs.lease(5000)
    filled.room[:] = 7
    first = address(filled.room)
    inbox.put(filled.tensor)
    del filled
    assert outbox.get(timeout=300) == 7
    gc.collect()
    for _ in range(3):
        other = slabs.lease(5000)
        assert address(other.room) != first
        other.room[:] = 9
        del other
    if ends == "drops":
        inbox.put(None)
        assert outbox.get(timeout=300) == 7, "the bytes have changed under who held them"
    else:
        os.kill(child.pid, signal.SIGKILL)
    child.join(300)
    assert child.exitcode is not None
    gc.collect()
    assert first in {address(f.room) for f in [slabs.lease(5000), slabs.lease(5000)]}


def test_a_forked_child_keeps_the_batch_of_its_parent() -> None:
    slabs = Slabs()
    filled = slabs.lease(5000)
    filled.room[:] = 7
    first = address(filled.room)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0 if int(filled.tensor[0]) == 7 else 1)
    os.close(reader)
    del filled
    gc.collect()
    other = slabs.lease(5000)
    assert address(other.room) != first
    other.room[:] = 9
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert address(slabs.lease(5000).room) == first


def test_slabs_and_descriptors_are_bounded() -> None:
    slabs = Slabs(kept_bytes=1 << 20)
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for i in range(200):
        filled = slabs.lease(4096)
        filled.room[:] = i
        kept.append(filled.tensor)
    # Each batch has a descriptor, as torch's shared memory has; each slab that is kept two more.
    assert len(os.listdir("/proc/self/fd")) - before <= len(kept) + 2 * _slabs.MOST
    assert [int(t[0]) for t in kept] == list(range(200))
    del filled
    kept.clear()
    gc.collect()
    for _ in range(20):
        slabs.lease(1 << 20)
    assert len(os.listdir("/proc/self/fd")) - before <= 2 * _slabs.FEWEST + 1
    assert slabs.made < 210


def test_without_descriptors_batches_have_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(Slabs())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
        with pytest.raises(OSError, match=r"Too many open files"):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        room = memory.lease(5000)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room[:] = 1
    assert memory.tensor(room) is None


def test_the_kernel_is_asked_before_it_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _slabs._told_by_kernel()
    with monkeypatch.context() as m:
        m.setattr(_slabs._Slab, "free", lambda self: True)
        assert not _slabs._told_by_kernel()
    with monkeypatch.context() as m:
        m.setattr(_slabs.sys, "platform", "darwin")
        assert not _slabs._told_by_kernel()
    with monkeypatch.context() as m:
        m.delattr(os, "memfd_create")  # as in a Python that was built for an older libc
        assert not _slabs._told_by_kernel()


def test_leases_that_are_switched_off_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    slabs = Slabs()
    held = [slabs.lease(5000) for _ in range(3)]
    before, real = len(os.listdir("/proc/self/fd")), fcntl.fcntl

    def refuse(fd: int, what: int, argument: int) -> int:
        if what == fcntl.F_SETLEASE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, what, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    held.clear()
    for _ in range(100):
        slabs.lease(5000)
    assert slabs.made == 103  # nobody knows whether one is free
    assert len(os.listdir("/proc/self/fd")) <= before + 2 * _slabs.MOST + 1


def test_half_of_the_descriptors_are_left_to_others() -> None:
    """A worker may keep as many batches as it likes, in a buffer to shuffle them for one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * used + 200, hard))
    try:
        slabs, kept, shared = Slabs(), [], 0
        for i in range(500):
            memory = Memory(slabs)
            room = memory.lease(4096)
            room[:] = i % 251
            tensor = memory.tensor(room)
            shared += tensor is not None
            kept.append(room if tensor is None else tensor.numpy())
        assert shared > 10
        assert len(os.listdir("/proc/self/fd")) <= used + 100 + 4
        assert [int(k[0]) for k in kept] == [i % 251 for i in range(500)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- workers -----------------------------------------------------------------------------


def counting(batch: Any) -> Any:
    """Collate as torch does; beside it the slabs that this worker has made."""
    slabs = _slabs.process_slabs()
    return default_collate(batch), slabs.made if slabs is not None else -1


@pytest.mark.parametrize(("name", "method"), [("even", "fork"), ("odd", "spawn"), ("rows", "fork")])
def test_batches_of_workers_stay_what_they_are(samples: Samples, name: str, method: str) -> None:
    """Some are kept, some dropped at once, over several passes of the same workers."""
    loader = StockLoader(
        samples.open(name),
        8,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        collate_fn=counting,
        multiprocessing_context=method,
        generator=torch.Generator().manual_seed(1),
    )
    kept: list[tuple[Any, list[int]]] = []
    made = 0
    for _ in range(4):
        seen: list[int] = []
        for k, (batch, slabs) in enumerate(loader):
            ids = samples.check(name, batch)
            seen += ids
            made = max(made, slabs)
            if k % 5 == 0:
                kept.append((batch, ids))
        assert sorted(seen) == list(range(N))
    for batch, ids in kept:
        assert samples.check(name, batch) == ids, "a batch that was kept has changed"
    # 24 batches a worker, of which 5 or so are kept; without reuse each would make one.
    assert 0 < made <= 20


def test_all_batches_kept(samples: Samples) -> None:
    loader = StockLoader(samples.open("even"), 4, num_workers=1, prefetch_factor=8)
    batches = list(loader)
    assert [i for b in batches for i in samples.check("even", b)] == list(range(N))
    batches[0][:] = 255  # theirs to change
    assert samples.check("even", batches[1]) == [4, 5, 6, 7]


def test_without_slabs_the_same_batches(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slabs, "_told_by_kernel", lambda: False)
    loader = StockLoader(samples.open("even"), 8, num_workers=1, collate_fn=counting)
    seen = []
    for batch, slabs in loader:
        assert slabs == -1
        seen += samples.check("even", batch)
    assert seen == list(range(N))


def test_sharing_by_file_name(samples: Samples) -> None:
    """Torch's other way of sharing knows no descriptors: batches are copied."""
    before = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    try:
        loader = StockLoader(samples.open("even"), 8, num_workers=1, collate_fn=counting)
        assert [i for batch, _ in loader for i in samples.check("even", batch)] == list(range(N))
    finally:
        torch.multiprocessing.set_sharing_strategy(before)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["even", "rows"])
def test_batches_that_are_moved_out_of_their_slabs(samples: Samples, name: str) -> None:
    """Torch's other way of sharing moves a batch's bytes: the slab is filled again while the batch is still there."""
    before = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    loader = iter(StockLoader(samples.open(name), 4, num_workers=1, collate_fn=counting))
    kept: list[Any] = []
    made: list[int] = []
    try:
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
        for batch, so_far in loader:
            made.append(so_far)
            for tensor in batch.values() if name == "rows" else [batch]:
                tensor.share_memory_()
            kept.append(batch)
    finally:
        torch.multiprocessing.set_sharing_strategy(before)  # type: ignore[no-untyped-call]
    assert 0 < made[-1] < len(kept)  # they are free in the kernel's eyes
    assert [i for b in kept for i in samples.check(name, b)] == list(range(N))


def test_columns_of_a_batch_share_its_storage(samples: Samples) -> None:
    for batch in StockLoader(samples.open("rows"), 8, num_workers=1):
        assert batch["x"].untyped_storage().data_ptr() == batch["id"].untyped_storage().data_ptr()


def test_our_loader_and_ready_batches_use_slabs(samples: Samples) -> None:
    ours = DataLoader(samples.open("odd"), 8, num_workers=1, collate_fn=counting)
    made = []
    for batch, slabs in ours:
        samples.check("odd", batch)
        made.append(slabs)
        del batch
    assert 0 < made[-1] < len(made)
    ready = StockLoader(samples.open("even").batches(8), batch_size=None, num_workers=1)
    seen: list[int] = []
    for batch in ready:
        assert batch.is_shared()
        seen += samples.check("even", batch)
    assert sorted(seen) == list(range(N))


def test_a_killed_worker_leaves_its_batches(samples: Samples) -> None:
    loader = iter(StockLoader(samples.open("even"), 8, num_workers=1))
    first = next(loader)
    (worker,) = loader._workers
    with contextlib.suppress(RuntimeError):  # torch's handler of the signal raises it, wherever we are
        worker.kill()
        worker.join(300)
    worker.join(300)
    gc.collect()
    assert samples.check("even", first) == list(range(8))
    del loader
    assert not list(Path("/dev/shm").glob("daos-*"))
