"""kill -9 of the real server, again and again, under mixed writes with every unanswered call retried.

Everything acknowledged must be there exactly once, nothing half, and a snapshot
must not change. The short run is part of ``make test``; the marker ``long``
has the campaign of hundreds of kills. The seed is printed; DAOS_TEST_SEED sets it.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pydaos
from pydaos.testing import Server
from pydaos.torch import Checkpoint, Dataset

RETRY = 120.0


class Campaign:
    """Writers with an oracle each, a killer, and the comparison at the end."""

    def __init__(self, server: Server, kills: int, seed: int) -> None:
        self.server = server
        self.kills = kills
        self.seed = seed
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.done: dict[str, int] = {}
        setup = server.connect()
        setup.create_pool("kill")
        setup.create_dataset("kill/files", type="posix")
        setup.create_dataset("kill/rows", type="tensor")
        setup.create_dataset("kill/runs", type="posix")
        setup.dataset("kill/rows").define({"id": np.zeros(1, np.int64), "pad": np.zeros((1, 64), np.uint8)})
        setup.close()
        self.checks: list[Callable[[pydaos.Client], None]] = []

    def client(self) -> pydaos.Client:
        return self.server.connect(retry=RETRY)

    def worker(self, name: str, body: Callable[[pydaos.Client, random.Random], None]) -> threading.Thread:
        def run() -> None:
            rng = random.Random(f"{self.seed}-{name}")
            client = self.client()
            try:
                while not self.stop.is_set():
                    body(client, rng)
                    self.done[name] = self.done.get(name, 0) + 1
            except BaseException as err:
                self.failures.append(f"{name}: {type(err).__name__}: {err}")
            finally:
                client.close()

        return threading.Thread(target=run, name=name)

    # -- writers ----------------------------------------------------------

    def appender(self, k: int) -> Callable[[pydaos.Client, random.Random], None]:
        """Appends numbered records of random length; the file must be exactly their sequence."""
        path = f"log-{k}"
        expected = bytearray()
        count = 0

        def body(client: pydaos.Client, rng: random.Random) -> None:
            nonlocal count
            files = client.dataset("kill/files")
            if count == 0:
                files.write_bytes(path, b"")
            payload = rng.randbytes(rng.choice((1, 100, 2000, 70_000)))
            record = struct.pack("<II", count, len(payload)) + payload
            with files.open(path, "ab", buffering=0) as f:
                f.write(record)
            expected.extend(record)
            count += 1

        def check(client: pydaos.Client) -> None:
            if count:
                found = client.dataset("kill/files").read_bytes(path)
                assert found == bytes(expected), f"{path}: {len(found)} bytes found, {len(expected)} acknowledged"

        self.checks.append(check)
        return body

    def overwriter(self, k: int) -> Callable[[pydaos.Client, random.Random], None]:
        """Replaces a file whole; it must be the last acknowledged version, whole at any time."""
        path = f"whole-{k}"
        last = b""

        def body(client: pydaos.Client, rng: random.Random) -> None:
            nonlocal last
            files = client.dataset("kill/files")
            data = rng.randbytes(rng.choice((10, 900, 5000, 300_000)))
            whole = hashlib.sha256(data).digest() + data
            files.write_bytes(path, whole)
            last = whole
            seen = files.read_bytes(path)
            assert seen == whole, f"{path}: an acknowledged write is not what is read"

        def check(client: pydaos.Client) -> None:
            if last:
                assert client.dataset("kill/files").read_bytes(path) == last, path

        self.checks.append(check)
        return body

    def renamer(self, k: int) -> Callable[[pydaos.Client, random.Random], None]:
        """Moves one file around: it is at exactly one place. Exclusive creates happen once."""
        folder = f"moves-{k}"
        at = ""
        made = 0

        def body(client: pydaos.Client, rng: random.Random) -> None:
            nonlocal at, made
            files = client.dataset("kill/files")
            if not at:
                files.mkdir(folder, parents=True)
                files.write_bytes(f"{folder}/0", b"the one")
                at = "0"
            to = str(rng.randrange(1000))
            if to != at:
                files.rename(f"{folder}/{at}", f"{folder}/{to}")
                at = to
            # Without a request id the retry of an answered create would be ExistsError.
            files.write_bytes(f"{folder}.once-{made}", b"x", exclusive=True)
            made += 1

        def check(client: pydaos.Client) -> None:
            files = client.dataset("kill/files")
            if at:
                assert files.listdir(folder) == [at], (folder, files.listdir(folder), at)
            prefix = f"{folder}.once-"
            names = [n for n in files.listdir("") if n.startswith(prefix)]
            assert len(names) == made, f"{prefix}: {len(names)} files, {made} acknowledged"

        self.checks.append(check)
        return body

    def row_appender(self, k: int) -> Callable[[pydaos.Client, random.Random], None]:
        """Appends numbered rows; each number must be there exactly once."""
        count = 0

        def body(client: pydaos.Client, rng: random.Random) -> None:
            nonlocal count
            n = rng.randrange(1, 50)
            ids = np.arange(count, count + n, dtype=np.int64) + k * 10**9
            client.dataset("kill/rows").append({"id": ids, "pad": np.full((n, 64), k, np.uint8)})
            count += n

        def check(client: pydaos.Client) -> None:
            rows = client.dataset("kill/rows")
            ids = np.asarray(rows[0 : len(rows)]["id"])
            mine = ids[(ids >= k * 10**9) & (ids < (k + 1) * 10**9)] - k * 10**9
            assert np.array_equal(mine, np.arange(count)), f"rows of {k}: {len(mine)} found, {count} acknowledged"

        self.checks.append(check)
        return body

    def saver(self) -> Callable[[pydaos.Client, random.Random], None]:
        """Saves checkpoints of many chunks; the newest acknowledged one is there, whole."""
        last = b""
        ckpt = Checkpoint("kill", "runs", prefix="/r", addr=self.server.unix, transfer_chunk_size=1 << 20, retry=RETRY)

        def body(client: pydaos.Client, rng: random.Random) -> None:
            nonlocal last
            data = rng.randbytes(rng.choice((1000, 3_000_000)))
            try:
                with ckpt.writer("last.pt") as f:
                    for i in range(0, len(data), 400_000):
                        f.write(data[i : i + 400_000])
            except pydaos.StaleError:
                return  # the server restarted meanwhile: nothing was published, the last one must be there
            last = data
            with ckpt.reader("last.pt") as r:
                assert r.read() == data

        def check(client: pydaos.Client) -> None:
            if last:
                assert client.dataset("kill/runs").read_bytes("r/last.pt") == last
                assert client.dataset("kill/runs").listdir("r") == ["last.pt"]

        self.checks.append(check)
        return body

    def snapshot_reader(self) -> Callable[[pydaos.Client, random.Random], None]:
        """Reads a snapshot over and over: its digest must not change; takes a new one now and then."""
        pinned: dict[str, str] = {}

        def digest(client: pydaos.Client, name: str) -> str:
            files = client.dataset(f"kill/files@{name}")
            h = hashlib.sha256()
            for top, dirs, names in files.walk(""):
                dirs.sort()
                for n in sorted(names):
                    h.update(f"{top}/{n}".encode() + files.read_bytes(f"{top}/{n}" if top else n))
            return h.hexdigest()

        def body(client: pydaos.Client, rng: random.Random) -> None:
            if len(pinned) < 5:
                name = f"s{len(pinned)}"
                client.dataset("kill/files").snapshot(name)
                pinned[name] = digest(client, name)
            name = rng.choice(list(pinned))
            assert digest(client, name) == pinned[name], f"snapshot {name} changed"

        def check(client: pydaos.Client) -> None:
            for name, value in pinned.items():
                assert digest(client, name) == value, f"snapshot {name} changed"

        self.checks.append(check)
        return body

    # -- the run ------------------------------------------------------------

    def run(self) -> None:
        workers = [
            self.worker("append-0", self.appender(0)),
            self.worker("append-1", self.appender(1)),
            self.worker("overwrite", self.overwriter(0)),
            self.worker("rename", self.renamer(0)),
            self.worker("rows-0", self.row_appender(0)),
            self.worker("rows-1", self.row_appender(1)),
            self.worker("save", self.saver()),
            self.worker("snapshots", self.snapshot_reader()),
        ]
        rng = random.Random(self.seed)
        for w in workers:
            w.start()
        try:
            for _ in range(self.kills):
                time.sleep(rng.choice((0.05, 0.2, 0.5)) * rng.random() + 0.02)
                self.server.restart()
                if self.failures:
                    break
        finally:
            self.stop.set()
            for w in workers:
                w.join(RETRY + 60)
        assert not self.failures, self.failures
        assert not any(w.is_alive() for w in workers)
        with self.client() as client:
            for check in self.checks:
                check(client)
        # Once more from a fresh start: what was found is on disk.
        self.server.restart()
        with self.client() as client:
            for check in self.checks:
                check(client)
            assert client.call("system.Scrub", _scrub_request(), _scrub_response()).errors == []
        idle = [w.name for w in workers if not self.done.get(w.name)]
        assert not idle, f"these never finished one round: {idle}"


def _scrub_request() -> Any:
    from pydaos._proto.daos.system.v1 import system_service_pb2 as spb

    return spb.ScrubRequest()


def _scrub_response() -> Any:
    from pydaos._proto.daos.system.v1 import system_service_pb2 as spb

    return spb.ScrubResponse


def campaign(server: Server, kills: int) -> None:
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns() % 10**9))
    print(f"DAOS_TEST_SEED={seed}")
    Campaign(server, kills, seed).run()


@pytest.mark.timeout(400)
def test_kills(own_server: Server) -> None:
    campaign(own_server, 20)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_hundreds_of_kills(own_server: Server) -> None:
    campaign(own_server, 400)


@pytest.mark.timeout(300)
def test_a_killed_server_does_not_end_a_pass(own_server: Server) -> None:
    """The pass goes on at the same batch, in the same order."""
    client = own_server.connect()
    client.create_pool("p")
    files = client.create_dataset("p/d", type="posix")
    for i in range(200):
        files.write_bytes(f"{i:03d}", bytes([i]) * (1 + i))
    files.snapshot("s")
    data = Dataset("p/d@s", addr=own_server.unix)
    batches = data.batches(8, shuffle=True, seed=1, with_index=True)
    quiet = [(ids.tolist(), [bytes(t.numpy()) for t in b]) for ids, b in batches]
    batches.set_epoch(0)
    seen = []
    for k, (ids, b) in enumerate(batches):
        seen.append((ids.tolist(), [bytes(t.numpy()) for t in b]))
        if k in (3, 11, 12):
            own_server.restart()
    assert seen == quiet
    data.close()
    client.close()
