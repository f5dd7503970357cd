"""kill -9 of the client and of the server at every stage of a save.

Afterwards the file is the previous one or the complete new one, and nothing has to be
cleaned up. The short form kills at the border of every request of a save; the long one
(marker `long`) at random moments of larger ones.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import pydaos
from pydaos._feed import FeedConnection
from pydaos.testing import Server
from pydaos.torch import Checkpoint

PIECE = 256 << 10
PIECES = 8
NAME = "deep/last.pt"

# Where a save of several pieces can be cut: a method, the how manieth call of it, and
# whether the request is about to be sent, has been sent, or has been answered.
STAGES = [
    ("Stage", 1, "before"),
    ("Stage", 1, "sent"),
    ("Stage", 1, "answered"),
    ("WriteStaged", 1, "before"),
    ("WriteStaged", 1, "sent"),
    ("WriteStaged", 1, "answered"),
    ("WriteStaged", PIECES // 2, "sent"),
    ("WriteStaged", PIECES // 2, "answered"),
    ("WriteStaged", PIECES, "sent"),
    ("WriteStaged", PIECES, "answered"),
    ("Publish", 1, "before"),
    ("Publish", 1, "sent"),
    ("Publish", 1, "answered"),
]


def stages(small: bool) -> list[tuple[str, int, str]]:
    return [s for s in STAGES if not small or s[1] == 1]


def content(version: int, size: int) -> bytes:
    return np.random.default_rng(version).bytes(size)


class Tripwire:
    """Calls `act` once, when a connection reaches a stage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stage: tuple[str, int, str], act: Callable[[], None]) -> None:
        self.method, self.nth, self.when = stage
        self.act = act
        self.seen = 0
        self.tripped = False
        self.lock = threading.Lock()
        self.at: dict[int, int] = {}  # the call that a thread is in the middle of
        send, unary = FeedConnection.send_call, FeedConnection.unary

        def sends(conn: FeedConnection, method: str, *args: Any, **kwargs: Any) -> int:
            mine = method.endswith("/" + self.method)
            if mine:
                with self.lock:
                    self.seen += 1
                    self.at[threading.get_ident()] = self.seen
                self.reach("before")
            call_id = send(conn, method, *args, **kwargs)
            if mine:
                self.reach("sent")
            return call_id

        def calls(conn: FeedConnection, method: str, *args: Any, **kwargs: Any) -> Any:
            answer = unary(conn, method, *args, **kwargs)
            if method.endswith("/" + self.method):
                self.reach("answered")
            return answer

        monkeypatch.setattr(FeedConnection, "send_call", sends)
        monkeypatch.setattr(FeedConnection, "unary", calls)

    def reach(self, when: str) -> None:
        if when != self.when or self.at[threading.get_ident()] != self.nth:
            return
        with self.lock:
            if self.tripped:
                return
            self.tripped = True
        self.act()


def save(
    server: Server,
    version: int,
    size: int,
    piece: int = PIECE,
    retry: float = 30.0,
    begin: Callable[[], object] = lambda: None,
) -> None:
    with Checkpoint(
        "p", "runs", prefix="r", create=True, addr=server.unix, transfer_chunk_size=piece, workers=2, retry=retry
    ) as c:
        data = content(version, size)
        begin()
        with c.writer(NAME) as f:
            for at in range(0, size, 100_000):
                f.write(data[at : at + 100_000])


def check(server: Server, size: int, *allowed: int) -> int:
    with Checkpoint("p", "runs", prefix="r", addr=server.unix) as c:
        found = c.reader(NAME).read()
        assert c.list() == [NAME]
        versions = [v for v in allowed if content(v, size) == found]
        assert versions, f"{len(found)} bytes that are none of the versions {allowed}"
        return versions[0]


@pytest.fixture
def place(own_server: Server) -> Server:
    with own_server.connect() as client:
        client.create_pool("p")
    return own_server


def in_child(work: Callable[[], None]) -> int:
    """Run work in a forked process; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("small", [False, True], ids=["pieces", "one piece"])
def test_the_client_is_killed(place: Server, small: bool) -> None:
    size = 100_000 if small else PIECE * PIECES - 1000
    save(place, 1, size)
    now = 1
    for version, stage in enumerate(stages(small), start=2):

        def work(version: int = version, stage: tuple[str, int, str] = stage) -> None:
            with pytest.MonkeyPatch.context() as m:
                Tripwire(m, stage, lambda: os.kill(os.getpid(), signal.SIGKILL))
                save(place, version, size)

        assert in_child(work) == signal.SIGKILL, f"stage {stage} was not reached"
        if stage == ("Publish", 1, "sent"):
            # The server may be at it still: a save behind it has the last word.
            check(place, size, now, version)
            save(place, now := version, size)
        elif stage == ("Publish", 1, "answered"):
            now = version
        assert check(place, size, now) == now, stage


@pytest.mark.parametrize("small", [False, True], ids=["pieces", "one piece"])
def test_the_server_is_killed(place: Server, small: bool) -> None:
    size = 100_000 if small else PIECE * PIECES - 1000
    save(place, 1, size)
    now = 1
    for version, stage in enumerate(stages(small), start=2):

        def act() -> None:
            place.kill()
            place.start()

        answered = False
        with pytest.MonkeyPatch.context() as m:
            wire = Tripwire(m, stage, act)
            try:
                save(place, version, size)
                answered = True
            except pydaos.StaleError as e:
                assert "previous file is kept" in str(e) or "restarted" in str(e)
        assert wire.tripped, stage
        now = check(place, size, version) if answered else check(place, size, now, version)
        if not answered:
            # Only a publication whose answer was lost may have happened.
            assert now != version or stage[0] == "Publish", stage
        if (stage[0] == "Stage" and stage[2] == "before") or stage[:3:2] == ("Publish", "answered"):
            assert answered, stage


def test_save_outlives_the_server(place: Server) -> None:
    """`Checkpoint.save` begins again after a restart: the new file is there in the end."""
    with Checkpoint(
        "p", "runs", prefix="r", create=True, addr=place.unix, transfer_chunk_size=PIECE, workers=2, retry=30
    ) as c:
        for version, stage in enumerate([s for s in STAGES if s[2] == "sent"]):
            state = {"w": torch.full((PIECE * PIECES // 4 - 1000,), float(version)), "version": version}

            def act() -> None:
                place.kill()
                place.start()

            with pytest.MonkeyPatch.context() as m:
                wire = Tripwire(m, stage, act)
                c.save(state, NAME)
            assert wire.tripped, stage
            found = c.load(NAME)
            assert found["version"] == version
            assert torch.equal(found["w"], state["w"])
            assert c.list() == [NAME]


def test_a_save_after_every_kind_of_end(place: Server) -> None:
    """What is left of saves that have died is in nobody's way, and goes by itself at a restart."""
    size = PIECE * PIECES
    save(place, 1, size)
    for _ in range(3):

        def dies() -> None:
            with pytest.MonkeyPatch.context() as m:
                Tripwire(m, ("WriteStaged", PIECES // 2, "answered"), lambda: os.kill(os.getpid(), signal.SIGKILL))
                save(place, 9, size)

        assert in_child(dies) == signal.SIGKILL
    place.kill()
    place.start()
    save(place, 2, size)
    assert check(place, size, 2) == 2


@pytest.mark.long
@pytest.mark.parametrize("who", ["client", "server"])
def test_killed_at_random_moments(place: Server, who: str) -> None:
    seed = int(os.environ.get("DAOS_KILL_SEED") or time.time_ns())
    print(f"DAOS_KILL_SEED={seed}")
    rng = random.Random(seed)
    size, piece = 64 << 20, 4 << 20
    begun = [0.0]
    usual = []
    for _ in range(3):
        save(place, 1, size, piece, begin=lambda: begun.__setitem__(0, time.monotonic()))
        usual.append(time.monotonic() - begun[0])
    now = 1
    ends = {True: 0, False: 0}
    for version in range(2, 42):
        delay = rng.uniform(0, 2 * sorted(usual)[1])
        answered = False
        if who == "client":
            ready, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    save(place, version, size, piece, begin=functools.partial(os.write, told, b"x"))
                finally:
                    os._exit(0)
            os.read(ready, 1)
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(ready)
            os.close(told)
        else:
            timer = threading.Timer(delay, lambda: (place.kill(), place.start()))
            try:
                save(place, version, size, piece, begin=timer.start)
                answered = True
            except pydaos.StaleError:
                pass
            timer.join()
        now = check(place, size, version) if answered else check(place, size, now, version)
        ends[now == version] += 1
    assert all(ends.values()), f"all saves ended the same way: {ends}"
