"""Ranks: who says which one this is, what each reads, and that nothing is divided twice."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import random
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

import pydaos
from pydaos.torch import DataLoader as Ours
from pydaos.torch import Dataset, IterableDataset, Mixture
from pydaos.torch._world import ONE, World, refresh, resolve


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone, that says it is rank 0 of 1."""
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_what_the_caller_says_wins(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert resolve((2, 3))[:2] == (2, 3)
    assert resolve() == World(0, 1, "torch.distributed")
    dist.destroy_process_group()
    try:
        assert resolve() == World(1, 4, "RANK and WORLD_SIZE")
        monkeypatch.delenv("WORLD_SIZE")
        assert resolve() == ONE
    finally:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def test_worlds_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ((4, 4), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=r"rank lies in 0\.\.size-1"):
            resolve(bad)
    for odd in ((1,), "01", 3, (0.5, 2)):
        with pytest.raises(ValueError, match=r"give \(rank, size\)"):
            resolve(odd)  # type: ignore[arg-type]
    monkeypatch.setenv("RANK", "one")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="RANK='one' and WORLD_SIZE='4' are not numbers"):
        resolve()


def test_one_log_line_says_which(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, numbered: Any
) -> None:
    size = random.randrange(1 << 20, 1 << 30)  # one that no other test has had
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", str(size))
    with caplog.at_level(logging.INFO, "pydaos.torch"):
        data = numbered.files()
        data.batches(10)
        data.sampler(batch_size=10)
    lines = [r.getMessage() for r in caplog.records if "rank" in r.getMessage()]
    assert lines == [f"this process reads as rank 1 of {size}, said by RANK and WORLD_SIZE"]


def test_it_is_asked_again_before_a_pass_but_not_where_the_caller_said_it(
    monkeypatch: pytest.MonkeyPatch, numbered: Any
) -> None:
    data = numbered.files()
    ready, said, sampler = data.batches(10), data.batches(10, world=(0, 1)), data.sampler(shuffle=False, batch_size=10)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert numbered.ids(next(iter(ready))) == list(range(10, 20))
    assert next(iter(sampler)) == 10
    assert numbered.ids(next(iter(said))) == list(range(10))
    monkeypatch.delenv("RANK")
    assert refresh(ready.world) == ready.world == World(1, 2, "RANK and WORLD_SIZE")


def test_workers_keep_what_the_main_process_was_told(numbered: Any) -> None:
    """Even where a worker's environment says something else, as that of a launcher may."""
    ready = numbered.files().batches(10, world=(1, 2), uneven="keep", with_index=True)

    def lie(worker: int) -> None:
        os.environ.update(RANK="0", WORLD_SIZE="7")

    for context in ("fork", "spawn"):
        init = lie if context == "fork" else None
        loader = DataLoader(ready, batch_size=None, num_workers=2, worker_init_fn=init, multiprocessing_context=context)
        starts = [int(ids[0]) for ids, _ in loader]
        assert starts == [10, 30, 50, 70, 90]


@pytest.mark.parametrize("uneven", ["pad", "drop", "keep", None])
@pytest.mark.parametrize("way", ["batches", "sampler", "iterable"])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_each_rank_reads(uneven: str | None, way: str, workers: int, numbered: Any) -> None:
    """103 samples in batches of 10 for 3 ranks: three whole global batches, and a tail of 13."""
    size, batch = 3, 10
    order = numbered.order(4)
    tail = order[90:]
    parts = {
        "pad": [tail[:5], tail[5:10], tail[10:] + order[:2]],
        "drop": [tail[:4], tail[4:8], tail[8:12]],
        "keep": [tail[:10], tail[10:], []],
    }[uneven or "pad"]
    for rank in range(size):
        want = [order[s * 30 + rank * 10 : s * 30 + rank * 10 + 10] for s in range(3)] + [p for p in [parts[rank]] if p]
        options = {"seed": 4, "world": (rank, size), "uneven": uneven}
        data = numbered.files()
        if way == "batches":
            what = data.batches(batch, shuffle=True, **options)
            loader: DataLoader[Any] = DataLoader(what, batch_size=None, num_workers=workers)
            assert len(loader) == len(want)
        elif way == "sampler":
            sampler = data.sampler(batch_size=batch, **options)
            loader = DataLoader(data, batch, sampler=sampler, num_workers=workers)
            assert len(loader) == len(want)
            assert len(sampler) == sum(map(len, want))
        else:
            samples = numbered.iterable(batch_size=batch, shuffle=True, **options)
            loader = DataLoader(samples, batch, num_workers=workers)
        assert [numbered.ids(b) for b in loader] == want
        if way == "sampler":
            assert sampler.repeated == (2 if rank == 2 and uneven in ("pad", None) else 0)


def test_repeats_are_flagged_and_drop_last_leaves_out_the_tail(numbered: Any) -> None:
    data = numbered.files()
    flags = []
    for rank in range(3):
        ready = data.batches(10, world=(rank, 3))
        flags.append([ready.repeated for _ in ready])
    assert flags == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]]
    for uneven in ("pad", "drop", "keep"):
        counts = [len(list(data.batches(10, world=(r, 3), uneven=uneven, drop_last=True))) for r in range(3)]
        assert counts == [3, 3, 3]
    with pytest.raises(ValueError, match="uneven='even': use one of pad, drop, keep"):
        data.batches(10, uneven="even")


def test_more_ranks_than_samples(server: Any, pool: str) -> None:
    with server.connect() as client:
        files = client.create_dataset(f"{pool}/f", type="posix")
        for i in range(2):
            files.write_bytes(str(i), bytes([i]))
        files.snapshot("s")
    data = Dataset(f"{pool}/f@s", addr=server.unix)
    got = [[b.flatten().tolist() for b in data.batches(4, world=(r, 5))] for r in range(5)]
    assert got == [[[0]], [[1]], [[0]], [[1]], [[0]]]
    assert [len(list(data.batches(4, world=(r, 5), uneven="drop"))) for r in range(5)] == [0] * 5


@pytest.mark.parametrize("way", ["batches", "sampler"])
def test_elastic_resume_keeps_the_exact_remaining_order(way: str, numbered: Any) -> None:
    """4 ranks, then 2, then 3, each with another batch size, stopping after some steps; then alone."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    data = numbered.files()
    token, seen = data.state_dict(0, seed=6), []
    for size, batch in ((4, 3), (2, 7), (3, 4), (1, 5)):
        steps = rng.randrange(1, 3) if size > 1 else 99
        rows: list[list[list[int]]] = []
        states = []
        for rank in range(size):
            if way == "batches":
                what: Any = data.batches(batch, world=(rank, size), uneven="keep")
                what.load_state_dict(token)
                it: Any = iter(what)
                rows.append([numbered.ids(b) for _, b in zip(range(steps), it, strict=False)])
            else:
                what = data.sampler(batch_size=batch, world=(rank, size), uneven="keep")
                what.load_state_dict(token)
                it = iter(DataLoader(data, batch, sampler=what))
                rows.append([numbered.ids(b) for _, b in zip(range(steps), it, strict=False)])
            states.append(what.state_dict())
        assert all(s == states[0] for s in states), seed
        token = states[0]
        seen += [i for step in range(min(steps, len(rows[0]))) for r in rows if step < len(r) for i in r[step]]
    assert seen == numbered.order(6), seed


def test_a_dataset_without_a_snapshot_is_refused_with_ranks(
    server: Any, client: Any, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = client.create_dataset(f"{pool}/live", type="posix")
    files.write_bytes("x", b"1")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(pydaos.InvalidError, match=rf"2 ranks .* daos snapshot create {pool}/live@NAME"):
        Dataset(f"{pool}/live", addr=server.unix)
    monkeypatch.delenv("RANK")
    with pytest.raises(ValueError, match="daos snapshot create"):
        IterableDataset(f"{pool}/live", world=(0, 2), addr=server.unix)
    assert files.snapshots() == []
    files.snapshot("v1")
    IterableDataset(f"{pool}/live@v1", world=(0, 2), addr=server.unix).close()


def test_ranks_that_are_named_later_are_refused_too(
    server: Any, client: Any, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset that was pinned before anybody spoke of ranks is another state in each of them."""
    files = client.create_dataset(f"{pool}/live", type="posix")
    for i in range(6):
        files.write_bytes(f"{i}", bytes([i]))
    data = Dataset(f"{pool}/live", addr=server.unix)
    later = Ours(data, batch_size=2), data.batches(2), data.sampler(batch_size=2)
    for make in (
        lambda: Ours(data, batch_size=2, world=(0, 2)),
        lambda: Ours(torch.utils.data.Subset(data, range(4)), batch_size=2, world=(0, 2)),
        lambda: data.batches(2, world=(0, 2)),
        lambda: data.sampler(batch_size=2, world=(0, 2)),
        lambda: Ours(Mixture([(data, 1)], seed=0), batch_size=2, world=(0, 2)),
    ):
        with pytest.raises(pydaos.InvalidError, match=rf"2 ranks .* daos snapshot create {pool}/live@NAME"):
            make()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for walked in later:
        with pytest.raises(pydaos.InvalidError, match="daos snapshot create"):
            next(iter(walked))
    # A rank that was started with a copy of the dataset reads what the one that made it pinned.
    child = os.fork()
    if child == 0:
        os._exit(0 if len(list(data.batches(2))) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let this process be rank 1 of 2 of a process group, from when it is called."""

    def make() -> None:
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_rank", lambda group=None: 1)
        monkeypatch.setattr(dist, "get_world_size", lambda group=None: 2)

    return make


@pytest.mark.timeout(300)  # spawned workers import torch
def test_a_process_group_that_is_younger_than_the_dataset_is_noticed(
    server: Any, client: Any, pool: str, grouped: Any
) -> None:
    """Also where torch's sampler divides, which asks nobody: each rank would read a state of its own."""
    files = client.create_dataset(f"{pool}/live", type="posix")
    for i in range(6):
        files.write_bytes(f"{i}", bytes([i]))
    data = Dataset(f"{pool}/live", addr=server.unix, transform_fn=bytes)
    samples = IterableDataset(f"{pool}/live", addr=server.unix, transform_fn=bytes, batch_size=2)
    mixed = Mixture([(data, 1)], seed=0)
    assert [len(b) for b in DataLoader(data, 2, sampler=DistributedSampler(data, 2, 1))] == [2, 1]
    grouped()
    for walk in (
        lambda: data[0],
        lambda: mixed[0],
        lambda: next(iter(DataLoader(data, 2, sampler=DistributedSampler(data)))),
        lambda: next(iter(DataLoader(data, 2, sampler=DistributedSampler(data), num_workers=1))),
        lambda: iter(DataLoader(data, 2, sampler=DistributedSampler(data), num_workers=1, **SPAWNED)),
        lambda: next(iter(Ours(data, 2, sampler=DistributedSampler(data)))),
        lambda: next(iter(Ours(data, 2, sampler=DistributedSampler(data), num_workers=1))),
        lambda: next(iter(DataLoader(mixed, 2, sampler=DistributedSampler(mixed)))),
        lambda: next(iter(DataLoader(samples, 2, num_workers=1))),
    ):
        with pytest.raises(pydaos.InvalidError, match=rf"2 ranks .* daos snapshot create {pool}/live@NAME"):
            walk()


SPAWNED: Any = {"multiprocessing_context": "spawn"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_learn_of_a_younger_process_group(numbered: Any, grouped: Any, context: str) -> None:
    def open_both() -> tuple[Any, Any]:
        ready = numbered.files().batches(10, shuffle=True, seed=1)
        return numbered.iterable(batch_size=10, shuffle=True, seed=1), ready

    before = open_both()
    grouped()
    for walked, told in zip(before, open_both(), strict=True):
        size = None if walked is before[1] else 10
        options: Any = {"num_workers": 1, "multiprocessing_context": context}
        want = [numbered.ids(b) for b in DataLoader(told, size)]
        assert sum(map(len, want)) == 52
        assert [numbered.ids(b) for b in DataLoader(walked, size, **options)] == want


def test_repeats_are_not_known_where_workers_make_the_batches(numbered: Any) -> None:
    ready = numbered.files().batches(10, world=(2, 3))
    walk = iter(DataLoader(ready, batch_size=None, num_workers=1))
    next(walk)
    with pytest.raises(RuntimeError, match=r"use pydaos.torch.DataLoader, whose `repeated`"):
        _ = ready.repeated
    del walk
    ours = Ours(ready, batch_size=None, num_workers=1)
    assert [ours.repeated for _ in ours] == [0, 0, 0, 2]
    assert [ready.repeated for _ in ready] == [0, 0, 0, 2]


def test_torchs_distributed_sampler_simply_works(numbered: Any) -> None:
    """Map style never divides by itself: what DistributedSampler gives out is what comes."""
    data = numbered.files()
    seen = []
    for rank in range(2):
        sampler: DistributedSampler[int] = DistributedSampler(data, 2, rank, shuffle=True, seed=3)
        seen.append([i for b in DataLoader(data, 10, sampler=sampler) for i in numbered.ids(b)])
        assert seen[-1] == list(sampler)
    assert set(seen[0]) | set(seen[1]) == set(range(103))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def accelerated(rank: int, size: int, port: int, blob: bytes, out: Any) -> None:
    """One rank under accelerate: what each kind of loader gives it."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    warnings.simplefilter("ignore")
    from accelerate import Accelerator

    torch.set_num_threads(1)
    data, samples, ready = pickle.loads(blob)
    accelerator = Accelerator(cpu=True)
    got: dict[str, Any] = {}

    def numbers(loader: Any) -> list[list[int]]:
        return [[int(row.view(torch.int64)) for row in batch] for batch in loader]

    stock = DataLoader(data, 10, sampler=data.sampler(seed=4, batch_size=10))
    got["not prepared"] = numbers(stock)
    got["sampler"] = numbers(accelerator.prepare(stock))
    plain = DataLoader(data, 10)
    got["stock"] = numbers(accelerator.prepare(plain))
    got["iterable, dispatched"] = numbers(accelerator.prepare(DataLoader(samples, 10)))
    got["batches, dispatched"] = numbers(accelerator.prepare(DataLoader(ready, batch_size=None)))
    accelerator = Accelerator(cpu=True, dataloader_config=_not_dispatched())
    for workers in (0, 2):
        got[f"iterable {workers}"] = numbers(accelerator.prepare(DataLoader(samples, 10, num_workers=workers)))
    samples.set_epoch(0)  # not by accelerate: what it divided in workers is ours to divide again
    got["iterable, not prepared"] = numbers(DataLoader(samples, 10))
    told = data.sampler(seed=4, batch_size=10, world=(rank, size))
    try:
        list(accelerator.prepare(DataLoader(data, 10, sampler=told)))
    except ValueError as err:
        got["told"] = str(err)
    out.put((rank, got))
    accelerator.end_training()


def _not_dispatched() -> Any:
    from accelerate.utils import DataLoaderConfiguration

    return DataLoaderConfiguration(dispatch_batches=False)


@pytest.mark.timeout(300)
def test_accelerate_does_not_divide_twice(numbered: Any) -> None:
    """Two ranks: every sample comes once, whoever divides; the tail is filled up or not by whoever does."""
    import accelerate  # noqa: F401  # once, not in each rank: it takes seconds

    size = 2
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    data = numbered.files()
    samples = numbered.iterable(batch_size=10, shuffle=True, seed=4)
    blob = pickle.dumps((data, samples, data.batches(10, shuffle=True, seed=4)))
    port = free_port()
    ranks = [context.Process(target=accelerated, args=(r, size, port, blob, out)) for r in range(size)]
    for process in ranks:
        process.start()
    got = dict(out.get(timeout=240) for _ in ranks)
    for process in ranks:
        process.join(30)
    order = numbered.order(4)
    for kind in got[0]:
        if kind == "told":
            assert all("accelerate" in got[r][kind] for r in range(size))
            continue
        want = list(range(103)) if kind == "stock" else order
        for r in range(size):
            whole = [want[s * 20 + r * 10 : s * 20 + r * 10 + 10] for s in range(5)]
            assert got[r][kind][:5] == whole, (kind, r)
        tail = [i for r in range(size) for b in got[r][kind][5:] for i in b]
        assert set(tail) >= set(want[100:]), kind
        assert len(tail) <= 2 * 10, kind
