"""What ends in the middle of a pass: a worker, the server, the user's patience. It goes on, or says where it was."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import pydaos
from pydaos.testing import Server
from pydaos.torch import DataLoader, Dataset
from pydaos.torch._order import Order

N = 200


def number(x: bytes) -> int:
    return int.from_bytes(x, "little")


def once(x: bytes, *, marker: str, at: int) -> int:
    """Kill this process at a sample, the first time only."""
    if number(x) == at and not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number(x)


def always(x: bytes, *, at: int, how: str = "kill") -> int:
    """End this process at a sample, each time."""
    if number(x) == at:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    return number(x)


def make_numbers(server: Server, pool: str = "faults", n: int = N) -> str:
    """Make a snapshot of n files that hold their numbers; return its address."""
    with server.connect() as client:
        client.create_pool(pool)
        files = client.create_dataset(f"{pool}/n", type="posix")
        for i in range(n):
            files.write_bytes(f"{i:04d}", i.to_bytes(8, "little"))
        files.snapshot("s")
    return f"{pool}/n@s"


@pytest.fixture(scope="module")
def numbers(server: Server) -> Any:
    address = make_numbers(server)
    yield address, server
    with server.connect() as client:
        client.destroy_pool("faults", force=True)


def open_numbers(numbers: Any, transform: Any = number, **options: Any) -> Dataset:
    address, server = numbers
    return Dataset(address, addr=server.unix, transform_fn=transform, **options)


def order(seed: int, n: int = N) -> list[int]:
    return [int(i) for i in Order("shuffle", n, seed, 0).take(0, n)]


def children() -> list[int]:
    """Return the processes that have this one as parent, less those of multiprocessing's own."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            line = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and "resource_tracker" not in line:
            found.append(int(stat.parent.name))
    return found


WAYS: list[dict[str, int]] = [{}, {"transform_threads": 4}, {"num_workers": 2}]


# -- a worker --------------------------------------------------------------------


@pytest.mark.timeout(300)  # spawned workers import torch
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_a_killed_worker_is_replaced(numbers: Any, context: str, caplog: pytest.LogCaptureFixture) -> None:
    data = open_numbers(numbers)
    loader = DataLoader(data, 8, shuffle=True, seed=5, num_workers=2, multiprocessing_context=context)
    before = set(children())
    seen: list[int] = []
    with caplog.at_level(logging.WARNING, "pydaos.torch"):
        for k, batch in enumerate(loader):
            seen += batch.tolist()
            assert loader.state_dict()["position"] == len(seen)
            if k == 3:
                os.kill(next(p for p in children() if p not in before), signal.SIGKILL)
                time.sleep(0.2)  # the loop is elsewhere when it happens; torch's error must not be raised there
    assert seen == order(5)
    assert loader.stats()["restarts"] == 1
    assert "started again at rank 0 of 1, batch 4 of pass 0" in caplog.text
    assert "killed by signal 9" in caplog.text


def test_a_worker_killed_by_its_transform_once(numbers: Any, tmp_path: Path) -> None:
    for at in (order(6)[0], order(6)[100], order(6)[N - 1]):
        marker = str(tmp_path / f"{at}")
        data = open_numbers(numbers, functools.partial(once, marker=marker, at=at))
        loader = DataLoader(data, 8, shuffle=True, seed=6, num_workers=2, persistent_workers=True)
        assert [i for b in loader for i in b.tolist()] == order(6)
        assert os.path.exists(marker)
        assert loader.stats()["restarts"] == 1
        assert len([i for b in loader for i in b.tolist()]) == N
        loader.close()


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_transform_that_always_kills_its_worker_ends_the_pass(numbers: Any, how: str) -> None:
    at = order(7)[70]
    data = open_numbers(numbers, functools.partial(always, at=at, how=how))
    loader = DataLoader(data, 8, shuffle=True, seed=7, num_workers=2, prefetch_factor=3)
    seen: list[int] = []
    said = "killed by signal 9" if how == "kill" else "exited with 3"
    with pytest.raises(RuntimeError, match=f"DataLoader worker.*batch 8 of pass 0.*samples.*{said}") as failed:
        for batch in loader:
            seen += batch.tolist()
    assert seen == order(7)[:64]  # all that come before it, though they were read ahead with it
    assert data.source.snapshot in str(failed.value)
    assert loader.state_dict()["position"] == 64


def test_stock_loader_raises_torchs_error_and_the_count_gives_the_token(numbers: Any) -> None:
    data = open_numbers(numbers)
    stock = torch.utils.data.DataLoader(
        data, 8, sampler=data.sampler(seed=5), num_workers=2, multiprocessing_context="fork"
    )
    before = set(children())
    seen: list[int] = []
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        for batch in stock:
            seen += batch.tolist()
            if len(seen) == 32:
                os.kill(next(p for p in children() if p not in before), signal.SIGKILL)
                time.sleep(1)
    state = data.state_dict(consumed=len(seen), seed=5)
    loader = DataLoader(data, 8)
    loader.load_state_dict(state)
    assert seen + [i for b in loader for i in b.tolist()] == order(5)


# A stock loader's handler of SIGCHLD, left by another test, may speak up in a finalizer; that is told and dropped,
# and the dead are found by looking.
in_finalizers = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def campaign(numbers: Any, kills: int) -> None:
    """Kill random workers at random times; every batch comes once, in order."""
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns() % 10**9))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)
    data = open_numbers(numbers)
    loader = DataLoader(
        data, 4, shuffle=True, seed=seed, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    before = set(children())
    done = 0
    while done < kills:
        number_of_pass = loader.epoch
        seen: list[int] = []
        for batch in loader:
            seen += batch.tolist()
            if rng.random() < 0.06 and (workers := [p for p in children() if p not in before]):
                time.sleep(rng.random() * 0.004)  # anywhere: reading, sending, idle
                os.kill(rng.choice(workers), signal.SIGKILL)
                done += 1
        assert seen == [int(i) for i in Order("shuffle", N, seed, number_of_pass).take(0, N)]
        if rng.random() < 0.3 and (workers := [p for p in children() if p not in before]):
            os.kill(rng.choice(workers), signal.SIGKILL)  # between two passes
            done += 1
    assert loader.stats()["restarts"] > 0
    loader.close()
    assert set(children()) <= before


@in_finalizers
@pytest.mark.timeout(300)
def test_workers_killed_at_random(numbers: Any) -> None:
    campaign(numbers, 10)


@in_finalizers
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_workers_killed_at_random_hundreds_of_times(numbers: Any) -> None:
    campaign(numbers, 60)


def test_a_worker_that_takes_too_long_is_named(numbers: Any) -> None:
    loader = DataLoader(open_numbers(numbers, slow), 8, num_workers=1, timeout=60, prefetch_factor=1)
    it: Any = iter(loader)
    assert next(it).tolist() == list(range(8))
    it._feed._crew._iterator._timeout = 0.5  # only now: to start a worker may take its time
    with pytest.raises(RuntimeError, match=r"timed out after 0.5 seconds: rank 0 of 1, batch 1 of pass 0"):
        next(it)
    it.close()


def slow(x: bytes) -> int:
    if number(x) == 8:
        time.sleep(2)
    return number(x)


def test_nothing_is_drawn_from_torchs_generator(numbers: Any) -> None:
    """A resumed run must draw what the other would have drawn (dropout, initial weights)."""
    torch.manual_seed(7)
    expected = torch.rand(1)
    for way in WAYS:
        torch.manual_seed(7)
        assert len(list(DataLoader(open_numbers(numbers), 50, shuffle=True, **way))) == 4
        assert torch.rand(1) == expected, way


# -- the server ------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_killed_server_costs_time_not_batches(own_server: Server) -> None:
    address = make_numbers(own_server, "killed")
    for way in WAYS:
        data = Dataset(address, addr=own_server.unix, transform_fn=number)
        loader = DataLoader(data, 8, shuffle=True, seed=1, **way)
        seen: list[int] = []
        for k, batch in enumerate(loader):
            seen += batch.tolist()
            if k in (2, 9, 10):
                own_server.restart()
        assert seen == order(1), way
        data.close()


@pytest.mark.timeout(300)
def test_ready_batches_go_on_after_an_error_that_was_caught(own_server: Server) -> None:
    data = Dataset(make_numbers(own_server, "caught"), addr=own_server.unix, retry=0.3)
    batches = data.batches(8, shuffle=True, seed=1)
    it = iter(batches)
    seen = [next(it)]
    own_server.kill()
    with pytest.raises(pydaos.UnreachableError):
        for _ in range(9):
            seen.append(next(it))
    own_server.start()
    seen += list(it)
    assert [i for b in seen for i in b.view(torch.int64).flatten().tolist()] == order(1)


@pytest.mark.timeout(300)
def test_a_first_connection_waits_for_the_server(own_server: Server) -> None:
    address = make_numbers(own_server, n=5)
    data = Dataset(address, addr=own_server.unix)
    copies = [pickle.loads(pickle.dumps(data)) for _ in range(2)]  # as a spawned worker has it
    hasty = pickle.loads(pickle.dumps(Dataset(address, addr=own_server.unix, retry=0.1)))
    own_server.kill()
    with pytest.raises(pydaos.UnreachableError):
        hasty[0]
    back = threading.Timer(0.5, own_server.start)
    back.start()
    try:
        assert number(copies[0][3]) == 3
    finally:
        back.join()
    assert number(copies[1][4]) == 4


@pytest.mark.parametrize("way", [{}, {"transform_threads": 2}], ids=["here", "threads"])
@pytest.mark.parametrize("made", [False, True], ids=["ready", "made"])
def test_what_a_sampler_should_not_have_named_is_said_at_its_place(
    numbers: Any, way: dict[str, int], made: bool
) -> None:
    data = open_numbers(numbers, number if made else None)

    def named() -> Iterator[int]:
        yield from (*range(33), 1000, *range(34, 64))
        raise ValueError("the sampler's own")

    loader = DataLoader(data, 8, sampler=named(), **way)
    walk, seen = iter(loader), []
    while (got := next_or_error(walk)) is not None:
        seen.append(got)
        assert len(seen) < 12
    want = [list(range(i, i + 8)) for i in range(0, 64, 8)]
    assert seen[:4] + seen[5:8] == want[:4] + want[5:]
    assert [type(e) for e in (seen[4], *seen[8:])] == [IndexError, ValueError]


def next_or_error(walk: Any) -> Any:
    """The next batch's numbers, or what it raised; None at the end."""
    try:
        batch = next(walk, None)
    except Exception as err:
        return err
    if batch is None or batch.dim() == 1:
        return None if batch is None else batch.tolist()
    return [number(bytes(row.tolist())) for row in batch]


def test_a_server_that_stays_away_is_an_error_that_says_where(own_server: Server) -> None:
    address = make_numbers(own_server, "away")
    for way in WAYS:
        data = Dataset(address, addr=own_server.unix, transform_fn=number, retry=0.5)
        loader = DataLoader(data, 8, shuffle=True, seed=1, world=(1, 2), uneven="keep", prefetch=2, **way)
        seen: list[int] = []
        it = iter(loader)
        for _ in range(3):
            seen += next(it).tolist()
        own_server.kill()
        with pytest.raises(pydaos.UnreachableError) as failed:
            for batch in it:
                seen += batch.tolist()
        text = str(failed.value)
        assert "rank 1 of 2" in text, text
        assert f"batch {len(seen) // 8} " in text, (len(seen), text)
        assert "away/n@s" in text
        assert isinstance(failed.value, ConnectionError)
        if "num_workers" in way:
            assert "of 2, batch" in text and "worker" in text
        # What was returned counts, what was read ahead does not: the state goes on exactly there.
        state = loader.state_dict()
        assert state["position"] == 2 * len(seen)
        own_server.start()
        # So does the iterator itself, for who has caught the error: with the batch that was due.
        at = state["position"]
        rest = [b.tolist() for b in it]
        assert rest[0] == order(1)[at + 8 : at + 16]
        assert [i for b in rest for i in b] == [i for k in range(at, N, 16) for i in order(1)[k + 8 : k + 16]]
        assert loader.epoch == 1
        if way == {}:
            assert loader.stats()["retries"] > 0
        again = DataLoader(data, 8, world=(0, 1), **way)
        again.load_state_dict(state)
        assert [i for b in again for i in b.tolist()] == order(1)[state["position"] :]
        data.close()


# -- Ctrl-C ----------------------------------------------------------------------------------

_SCRIPT = """
import signal, sys, threading
from pydaos.torch import DataLoader, Dataset

def number(x):
    return int.from_bytes(x, "little")

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    data = Dataset(sys.argv[1], addr=sys.argv[2], transform_fn=number)
    loader = DataLoader(data, 2, **eval(sys.argv[3]))
    try:
        while True:
            for k, batch in enumerate(loader):
                if k == 3:
                    print("walking", flush=True)
    except KeyboardInterrupt:
        import gc
        gc.collect()
        left = [t.name for t in threading.enumerate() if t.name.startswith("daos")]
        print("left", left, loader.state_dict()["position"] >= 0, flush=True)
"""


_ENDS = """
import sys
from pydaos.torch import DataLoader, Dataset

def number(x):
    return int.from_bytes(x, "little")

if __name__ == "__main__":
    data = Dataset(sys.argv[1], addr=sys.argv[2], transform_fn=number)
    walks = [iter(DataLoader(data, 2, **way)) for way in eval(sys.argv[3])]
    print([next(walk).tolist() for walk in walks], flush=True)
"""


def test_a_program_may_end_in_the_middle_of_a_pass(numbers: Any, tmp_path: Path) -> None:
    address, server = numbers
    script = tmp_path / "ends.py"
    script.write_text(_ENDS)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "ignore::DeprecationWarning",
            str(script),
            address,
            server.unix,
            repr(WAYS),
        ],
        capture_output=True,
        text=True,
        env=env,
        timeout=90,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (0, "[[0, 1], [0, 1], [0, 1]]\n"), done.stderr
    assert "Traceback" not in done.stderr and "ResourceWarning" not in done.stderr, done.stderr


def processes_of_group(group: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_interrupt_leaves_nothing_behind(numbers: Any, tmp_path: Path, way: dict[str, int]) -> None:
    address, server = numbers
    script = tmp_path / "walk.py"
    script.write_text(_SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, str(script), address, server.unix, repr(way)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "walking\n", process.stderr
        # Python drops an interrupt that arrives within a finalizer; who waits presses the keys again.
        for _ in range(4):
            os.killpg(process.pid, signal.SIGINT)
            try:
                out, err = process.communicate(timeout=20)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            raise AssertionError("four interrupts did not end the loop")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert out.splitlines()[-1] == "left [] True", (out, err)
    assert process.returncode == 0, err
    deadline = time.monotonic() + 10
    while processes_of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of_group(process.pid) == []
