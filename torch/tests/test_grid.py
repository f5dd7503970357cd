"""The grid: ways of reading x worker processes x ranks x start methods x types, under writers and kills.

What is promised about the order, with `uneven="keep"`:

=============  =======================================  ===================  ==========================
way            order                                    same for any         after a killed worker
               (given seed and pass)                    number of workers
=============  =======================================  ===================  ==========================
stock          torch's (RandomSampler, or among ranks   yes                  torch's error
               its DistributedSampler)
sampler        ours                                     yes                  torch's error; exact from
                                                                             ``Dataset.state_dict(n)``
iterable       ours                                     yes, when its        torch's error; exact from
                                                        batch_size is that   ``state_dict(consumed=n)``
                                                        of the DataLoader
batches        ours                                     yes                  the same
loader         ours                                     yes                  goes on by itself
stateful       ours; goes on from a state taken in      yes                  torch's error
               mid pass
=============  =======================================  ===================  ==========================

Ours: rank r of n takes the r-th contiguous slice of each global batch of ``B * n``
samples of the pass's order; batch boundaries are part of it. Ways with our order can be
resumed by any other of them. Everywhere: nothing lost or repeated, whatever is written
meanwhile, and a killed server is waited for and the pass goes on at the same batch.

`test_pairs` runs a pairwise cover of the grid, `test_whole_grid` (long) all of it. Ranks
are those of ``world=(r, n)``, one after the other; ranks that are processes are in
test_users_ddp.py.

torch's loader itself may wait for ever for a lock that its killed worker held. Such a hang
(`hangs.Watch` tells it from ours) is ended, said as a warning, and the case begun anew; a
case that only hangs, or more than a few in all, fail.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hangs import TorchHung, Watch
from torch.utils.data import DataLoader, DistributedSampler

from pydaos import torch as ours
from pydaos.testing import Server
from pydaos.torch._order import Order
from pydaos.torch._processes import kill

N = 331
BATCH = 10
SEED = 20
PASS = 3

FACTORS: dict[str, tuple[Any, ...]] = {
    "way": ("stock", "sampler", "iterable", "batches", "loader", "stateful-batches", "stateful-sampler"),
    "workers": (0, 1, 2, 3),
    "world": (1, 2, 4),
    "context": ("fork", "spawn", "forkserver"),
    "kind": ("files", "tensors"),
    "kill": ("nothing", "worker", "server"),
}


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    way: str
    workers: int
    world: int
    context: str
    kind: str
    kill: str

    @property
    def possible(self) -> bool:
        """Without workers there is no start method and nobody to kill."""
        return self.workers > 0 or (self.context == "fork" and self.kill != "worker")

    def __str__(self) -> str:
        return f"{self.way}-w{self.workers}-of{self.world}-{self.context}-{self.kind}-{self.kill}"


def every_case() -> list[Case]:
    """All of the grid."""
    cases = [Case(*values) for values in itertools.product(*FACTORS.values())]
    return [c for c in cases if c.possible]


def pairwise(cases: list[Case], seed: int = 1) -> list[Case]:
    """Choose cases so that each pair of values that some case has is in one of those chosen.

    Greedy (as in AETG): always the case with most pairs that are still missing,
    ties broken by a seeded shuffle. The same list at every call.
    """

    def pairs(c: Case) -> set[tuple[Any, ...]]:
        values = [(k, getattr(c, k)) for k in FACTORS]
        return set(itertools.combinations(values, 2))

    order = random.Random(seed).sample(cases, len(cases))
    of = {c: pairs(c) for c in order}
    missing = set().union(*of.values())
    chosen = []
    while missing:
        best = max(order, key=lambda c: len(of[c] & missing))
        chosen.append(best)
        missing -= of[best]
    return chosen


# -- the datasets --------------------------------------------------------------------


class Grid:
    """A server of this module's own, two datasets at a snapshot, and a writer that changes them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with server.connect() as client:
            client.create_pool("grid")
            files = client.create_dataset("grid/files", type="posix")
            for folder in "abc":
                files.mkdir(folder)
            for i in range(N):
                # Sample i in depth-first order: a, b, c take contiguous runs.
                files.write_bytes(f"{'abc'[i * 3 // N]}/{i:05d}", i.to_bytes(8, "little") + bytes(i * 37 % 200))
            rows = client.create_dataset("grid/tensors", type="tensor")
            table = {"id": np.arange(N, dtype=np.int64), "pad": np.zeros((N, 5), np.uint8)}
            rows.define(table)
            rows.append(table)
            for kind in ("files", "tensors"):
                client.dataset(f"grid/{kind}").snapshot("v1")

    def address(self, kind: str) -> str:
        return f"grid/{kind}@v1"

    def dataset(self, kind: str, **options: Any) -> Any:
        return ours.Dataset(self.address(kind), addr=self.server.address, token=self.server.token, **options)

    def ids(self, batch: Any) -> list[int]:
        """The sample ids of a batch of any type."""
        if isinstance(batch, dict):
            return batch["id"].tolist()
        return [int.from_bytes(bytes(t[:8].numpy()), "little") for t in batch]


@pytest.fixture(scope="module")
def grid(runtime_folder: Path, daos_binary: str) -> Iterator[Grid]:
    # torch is imported once by the forkserver, not by every worker that it forks.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "pydaos.torch"])
    with Server(runtime_folder / "grid") as server:
        made = Grid(server)
        writer = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("changing.py")), "grid/files", "grid/tensors"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DAOS_ADDR": server.address, "DAOS_TOKEN": server.token},
        )
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "changed\n"
        yield made
        out, _ = writer.communicate("", timeout=90)
        assert writer.returncode == 0
        assert int(out) > 10, "the writer did nothing meanwhile"


# -- what is expected, and how it is read -------------------------------------------


def slices_of(order: list[int], world: tuple[int, int], batch: int = BATCH) -> list[list[int]]:
    """The batches of a rank: its slice of each global batch, as far as there are samples."""
    rank, size = world
    cut = [order[at + rank * batch : at + (rank + 1) * batch] for at in range(0, len(order), batch * size)]
    return [c for c in cut if c]


def our_order(start: int = 0) -> list[int]:
    return Order("shuffle", N, SEED, PASS).take(start, N).tolist()


def load(loader: Any, state: dict[str, Any] | None) -> Any:
    if state is not None:
        loader.load_state_dict(state)
    return loader


def open_way(
    grid: Grid, way: str, kind: str, world: tuple[int, int], *, state: Any = None, batch: int = BATCH, **options: Any
) -> tuple[Any, Callable[[int], dict[str, Any]], Callable[[], None]]:
    """Return a loader, a function from samples consumed to the resume token, and what closes it."""
    ask = {"seed": SEED, "world": world, "uneven": "keep"}
    if way == "iterable":
        walked = ours.IterableDataset(
            grid.address(kind),
            batch_size=batch,
            shuffle=True,
            addr=grid.server.address,
            token=grid.server.token,
            **ask,
        )
        if state is None:
            walked.set_epoch(PASS)
        return DataLoader(load(walked, state), batch, **options), walked.state_dict, walked.close
    data = grid.dataset(kind)
    if way == "loader":
        loader = ours.DataLoader(data, batch_size=batch, shuffle=True, **ask, **options)
        if state is None:
            loader.set_epoch(PASS)
        return load(loader, state), lambda consumed: loader.state_dict(), data.close
    if way.endswith("batches"):
        ready = data.batches(batch, shuffle=True, **ask)
        if state is None:
            ready.set_epoch(PASS)
        if way == "stateful-batches":
            return opened_stateful(load(ready, state), data, batch_size=None, **options)
        return DataLoader(load(ready, state), batch_size=None, **options), ready.state_dict, data.close
    sampler = data.sampler(shuffle=True, batch_size=batch, **ask)
    if state is None:
        sampler.set_epoch(PASS)
    if way == "stateful-sampler":
        return opened_stateful(data, data, batch_size=batch, sampler=load(sampler, state), **options)

    def token(consumed: int) -> dict[str, Any]:
        return data.state_dict(consumed)

    return DataLoader(data, batch, sampler=load(sampler, state), **options), token, data.close


def opened_stateful(walked: Any, data: Any, **options: Any) -> Any:
    loader = stateful()(walked, **options)
    return loader, lambda consumed: ours.position(loader.state_dict()), data.close


def stateful() -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader


def open_stock(grid: Grid, kind: str, world: tuple[int, int], **options: Any) -> tuple[Any, Callable[[], None]]:
    data = grid.dataset(kind)
    if world[1] == 1:
        generator = torch.Generator().manual_seed(SEED)
        return DataLoader(data, BATCH, shuffle=True, generator=generator, **options), data.close
    sampler: Any = DistributedSampler(data, world[1], world[0], seed=SEED)
    sampler.set_epoch(PASS)
    return DataLoader(data, BATCH, sampler=sampler, **options), data.close


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Workers over data without a transform warn, and so do more workers than cores; both are meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*num_workers=.*")
        warnings.filterwarnings("ignore", message=".*worker processes in total.*")
        warnings.filterwarnings("ignore", message=".*fork.*deadlock", category=DeprecationWarning)
        yield


def kill_a_worker(rng: random.Random) -> None:
    victim = rng.choice(multiprocessing.active_children())
    victim.kill()
    victim.join()


def walk(
    grid: Grid, it: Iterator[Any], case: Case, at: int, rng: random.Random, watch: Watch
) -> tuple[list[list[int]], bool]:
    """Walk a rank's pass, kill what the case says after batch ``at``; return its batches, and whether it broke off."""
    seen: list[list[int]] = []
    try:
        for batch in it:
            seen.append(grid.ids(batch))
            del batch
            if len(seen) == at:
                if case.kill == "server":
                    grid.server.restart()
                elif case.kill == "worker":
                    watch.killed = True
                    kill_a_worker(rng)
    except TorchHung:
        kill(it)  # its own end would wait for the same lock
        raise
    except (RuntimeError, ConnectionResetError, EOFError):
        # torch's word for a dead worker; now and then its pipe is what it trips over.
        assert case.kill == "worker", "a pass broke off for another reason"
        return seen, True
    return seen, False


#: How often a case that torch hangs in is begun, and how many of all may hang.
TRIES, MOST_HUNG = 3, 0.1


def check(grid: Grid, case: Case, lean: bool) -> int:
    """Check a case, anew if torch itself hung in it; return how often that did."""
    hung = 0
    for left in reversed(range(TRIES)):
        with Watch() as watch:
            try:
                check_once(grid, case, lean, watch)
                again = False
            except TorchHung:
                if not left:
                    raise
                again = True
        for stack in watch.found:
            hung += 1
            warnings.warn(f"torch's own hang in {case}, not counted as passed:\n{stack}", stacklevel=2)
        if not again:
            break
    return hung


def check_once(grid: Grid, case: Case, lean: bool, watch: Watch) -> None:
    """Walk the pass of every rank and compare it with what is promised."""
    seed = int(os.environ.get("DAOS_TEST_SEED", "0")) + hash_of(case)
    rng = random.Random(seed)
    hit = rng.randrange(case.world)
    options: dict[str, Any] = {"num_workers": case.workers}
    if case.workers:
        options["multiprocessing_context"] = case.context
    at = rng.randint(1, len(slices_of(our_order(), (case.world - 1, case.world))) - 2)
    for rank in range(case.world):
        world = (rank, case.world)
        mine = options
        if lean and case.context == "spawn" and rank != hit:
            # Spawned workers import torch anew, for seconds each: one rank has them, the others none.
            mine = {"num_workers": 0}
        this = case if rank == hit else Case(case.way, case.workers, case.world, case.context, case.kind, "nothing")
        what = f"rank {rank}, after batch {at}, seed {seed}"
        with expected_warnings():
            if case.way == "stock":
                loader, close = open_stock(grid, case.kind, world)
                expected = [grid.ids(b) for b in loader]
                close()
                if case.world == 1:
                    assert sorted(itertools.chain(*expected)) == list(range(N)), what
                loader, close = open_stock(grid, case.kind, world, **mine)
                seen, broke = walk(grid, iter(loader), this, at, rng, watch)
                close()
            else:
                expected = slices_of(our_order(), world)
                seen, broke = walk_ours(grid, this, world, at, rng, mine, watch)
        if broke:
            assert case.way != "loader", f"our DataLoader did not go on without its worker: {what}"
            assert seen == expected[: len(seen)], what
            assert len(seen) >= at, what
        else:
            assert seen == expected, what


def walk_ours(
    grid: Grid,
    case: Case,
    world: tuple[int, int],
    at: int,
    rng: random.Random,
    options: dict[str, Any],
    watch: Watch,
) -> tuple[list[list[int]], bool]:
    loader, token, close = open_way(grid, case.way, case.kind, world, **options)
    if case.way.startswith("stateful"):
        # A state taken in mid pass, loaded into another loader of as many workers.
        it, seen = iter(loader), []
        for _ in range(max(1, at // 2)):
            seen.append(grid.ids(next(it)))
        state = loader.state_dict()
        del it
        close()
        loader, token, close = open_way(grid, case.way, case.kind, world, **options)
        loader.load_state_dict(state)
        rest, broke = walk(grid, iter(loader), case, max(1, at - len(seen)), rng, watch)
        seen += rest
    else:
        seen, broke = walk(grid, iter(loader), case, at, rng, watch)
    close()
    if broke and case.way in ("sampler", "iterable", "batches"):
        # What the loop has consumed of the global order makes the token; the rest is exact.
        state = json.loads(json.dumps(token(min(len(seen) * BATCH * world[1], N))))
        loader, token, close = open_way(grid, case.way, case.kind, world, state=state, **options)
        rest, broke = walk(grid, iter(loader), Case(**{**vars(case), "kill": "nothing"}), 0, rng, watch)
        seen += rest
        close()
    return seen, broke


def hash_of(case: Case) -> int:
    """A number that is the same in every process, unlike hash()."""
    return zlib.crc32(str(case).encode())


COVER = pairwise(every_case())


def test_the_cover_is_one() -> None:
    """Every pair of values that can come together does, in far fewer cases than the grid has."""

    def pairs(cases: list[Case]) -> set[tuple[Any, ...]]:
        return {p for c in cases for p in itertools.combinations([(k, getattr(c, k)) for k in FACTORS], 2)}

    assert pairs(COVER) == pairs(every_case())
    assert len(COVER) < 45 < 500 < len(every_case())
    assert pairwise(every_case()) == COVER


@pytest.mark.timeout(300)  # spawned workers import torch, one after the other where others use the machine
@pytest.mark.parametrize("case", COVER, ids=str)
def test_pairs(grid: Grid, case: Case) -> None:
    check(grid, case, lean=True)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("way", FACTORS["way"])
@pytest.mark.parametrize("context", FACTORS["context"])
def test_whole_grid(grid: Grid, way: str, context: str) -> None:
    cases = [c for c in every_case() if (c.way, c.context) == (way, context)]
    hung = 0
    for case in cases:
        print(case)
        hung += check(grid, case, lean=False)
    kills = sum(c.kill == "worker" for c in cases)
    print(f"{len(cases)} cases, a worker killed in {kills} of them, torch's own hangs {hung}")
    assert hung <= max(1, MOST_HUNG * kills), "torch hangs too often for its own fault; see the warnings"


# -- elastic resume --------------------------------------------------------------------


RESUMABLE = ("sampler", "iterable", "batches", "loader", "stateful-batches", "stateful-sampler")


def elastic(grid: Grid, seed: int, workers: tuple[int, ...]) -> None:
    """4 -> 2 -> 3 ranks, each leg another way, batch size and number of workers; then the rest alone."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    order, position, state = our_order(), 0, None
    kind = rng.choice(("files", "tensors"))
    for size in (4, 2, 3, 1):
        way, batch = rng.choice(RESUMABLE), rng.choice((1, 3, 4, 7))
        count = rng.choice(workers)
        steps = rng.randint(1, 5) if size > 1 else None
        legs, tokens = [], []
        for rank in range(size):
            with expected_warnings():
                options: dict[str, Any] = {"num_workers": count}
                if count:
                    options["multiprocessing_context"] = "fork"
                loader, token, close = open_way(grid, way, kind, (rank, size), state=state, batch=batch, **options)
                it = iter(loader)
                legs.append([grid.ids(b) for b in (itertools.islice(it, steps) if steps else it)])
                consumed = min(position + (steps or N) * batch * size, N)
                tokens.append(json.dumps(token(consumed), sort_keys=True))
                del it, loader
                close()
        what = f"{way}, {size} ranks, batch {batch}, {count} workers, from {position}, seed {seed}"
        for rank, seen in enumerate(legs):
            assert seen == slices_of(order[position:], (rank, size), batch)[:steps], f"rank {rank}: {what}"
        assert len(set(tokens)) == 1, what
        state, position = json.loads(tokens[0]), consumed
        assert len(tokens[0]) < 300
        # After a whole pass our DataLoader stands at the begin of the next.
        assert (state["pass"], state["position"]) in ((PASS, position), (PASS + 1, position - N)), what
    assert position == N


@pytest.mark.parametrize("seed", range(6))
def test_elastic_resume(grid: Grid, seed: int) -> None:
    elastic(grid, seed, (0, 0, 2))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_elastic_resume_often(grid: Grid) -> None:
    for seed in range(1000, 1300):
        elastic(grid, seed, (0, 1, 2, 3))
