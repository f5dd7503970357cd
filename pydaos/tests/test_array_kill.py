"""Arrays against numpy's, while the server is killed and restarted under the calls.

Every call that is not answered is sent again by the client; a second append, or a lost
assignment, shows as a difference.
"""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from pydaos._arrays import Arrays
from pydaos.testing import Server


class Killer(threading.Thread):
    """Kills the server and starts it again, until told to stop."""

    def __init__(self, server: Server, pause: float, rng: np.random.Generator) -> None:
        super().__init__(daemon=True)
        self.server, self.pause, self.rng = server, pause, rng
        self.done = threading.Event()
        self.kills = 0

    def run(self) -> None:
        """Kill after random pauses."""
        while not self.done.wait(self.pause * (0.5 + self.rng.random())):
            self.server.kill()
            self.server.start()
            self.kills += 1


def _key(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[slice, ...]:
    key = []
    for n in shape:
        start = int(rng.integers(0, n + 1))
        stop = int(rng.integers(start, n + 1))
        key.append(slice(start, stop, int(rng.integers(1, 4))))
    return tuple(key)


def _run(server: Server, seconds: float, seed: int) -> int:
    print(f"seed {seed} (repeat with DAOS_TEST_SEED={seed})")
    rng = np.random.default_rng(seed)
    with server.connect(retry=120, timeout=60) as client:
        client.create_pool("p")
        made = client.create_dataset("p/a", type="array")
        assert isinstance(made, Arrays)
        fill = float(rng.integers(0, 2))
        a = made.create_array("x", shape=(10, 30), dtype="f8", chunks=(7, 11), fill_value=fill)
        x = np.full((10, 30), fill)
        killer = Killer(server, 0.6, np.random.default_rng(seed + 1))
        killer.start()
        try:
            end = time.monotonic() + seconds
            frozen: list[tuple[str, np.ndarray]] = []
            step = 0
            while time.monotonic() < end:
                step += 1
                match int(rng.integers(0, 8)):
                    case 0 | 1 | 2:
                        key = _key(rng, x.shape)
                        value = rng.normal(size=x[key].shape)
                        value[rng.random(value.shape) < rng.choice([0, 0.1, 1])] = np.nan
                        a[key] = value
                        x[key] = value
                    case 3 | 4:
                        axis = int(rng.integers(0, 2))
                        new = list(x.shape)
                        new[axis] = int(rng.integers(1, 9))
                        rows = rng.normal(size=new)
                        assert a.append(rows, axis) == range(x.shape[axis], x.shape[axis] + new[axis])
                        x = np.concatenate([x, rows], axis)
                    case 5:
                        shape = (int(rng.integers(0, 60)), int(rng.integers(1, 60)))
                        a.resize(shape)
                        y = np.full(shape, fill)
                        both = tuple(slice(0, min(n, m)) for n, m in zip(shape, x.shape))
                        y[both] = x[both]
                        x = y
                    case 6 if len(frozen) < 5:
                        made.snapshot(f"s{step}")
                        frozen.append((f"s{step}", x.copy()))
                    case _:
                        key = _key(rng, x.shape)
                        assert np.array_equal(a[key], x[key], equal_nan=True)
                if step % 10 == 0:
                    assert a.shape == x.shape and np.array_equal(a[...], x, equal_nan=True)
        finally:
            killer.done.set()
            killer.join(60)
        assert np.array_equal(a[...], x, equal_nan=True)
        for chunk in a.chunk_stats():
            part = x[tuple(slice(c * n, (c + 1) * n) for c, n in zip(chunk.coords, a.chunks))]
            nans = int(np.isnan(part).sum())
            assert part.size == chunk.elements
            assert chunk.nans == nans if chunk.exact else chunk.nans >= nans
            if nans < part.size:
                low, high = np.nanmin(part), np.nanmax(part)
                assert chunk.min <= low and chunk.max >= high
                assert not chunk.exact or (chunk.min, chunk.max) == (low, high)
        for name, want in frozen:
            assert np.array_equal(made.at(name)["x"][...], want, equal_nan=True)  # type: ignore[index]
        assert killer.kills > 0
        return step


def _seed() -> int:
    return int(os.environ.get("DAOS_TEST_SEED") or time.time_ns() % 2**32)


def test_the_server_is_killed_under_the_calls(own_server: Server) -> None:
    assert _run(own_server, 5.0, _seed()) > 20


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_server_is_killed_under_the_calls_for_long(own_server: Server) -> None:
    assert _run(own_server, 120.0, _seed()) > 500
