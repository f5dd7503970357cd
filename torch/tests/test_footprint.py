"""Memory of a training process and of a worker does not grow with the number of samples.

`torch/bench/footprint.py` is one such process; here it runs with few and with many
samples, and beside the same loop over samples made of nothing. Private memory only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pydaos
from pydaos.testing import Server, find_binary

PROGRAM = Path(__file__).resolve().parents[1] / "bench" / "footprint.py"

#: What a process may need more than torch alone.
OVER_MB = 25
#: What it may differ by between few samples and many: noise of the allocator.
GROWTH_MB = 5


@pytest.fixture
def measure(server: Server) -> Callable[[str, str, int], dict[str, float]]:
    def run(way: str, address: str, workers: int) -> dict[str, float]:
        env = {**os.environ, "DAOS_ADDR": server.unix, "DAOS_TOKEN": server.token}
        env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        out = subprocess.run(
            [sys.executable, str(PROGRAM), way, address, str(workers)], stdout=subprocess.PIPE, check=True, env=env
        )
        answer: dict[str, float] = json.loads(out.stdout.splitlines()[-1])
        return answer

    return run


def tiny_rows(client: pydaos.Client, pool: str, count: int) -> str:
    """Make so many rows of 16 bytes."""
    name = f"{pool}/rows{count}"
    rows = client.create_dataset(name, type="tensor")
    rows.define({"x": np.zeros((1, 16), np.uint8)})
    for i in range(0, count, 1_000_000):
        rows.append({"x": np.zeros((min(1_000_000, count - i), 16), np.uint8)})
    rows.snapshot("v1")
    return f"{name}@v1"


def tiny_files(server: Server, client: pydaos.Client, pool: str, count: int, scratch: Path) -> str:
    """Make so many files with one byte each, imported from a tree."""
    tree = scratch / f"tree{count}"
    for i in range(count):
        if i % 1000 == 0:
            folder = tree / f"{i // 1000:04d}"
            folder.mkdir(parents=True)
        (folder / f"a-file-with-a-name-{i:08d}.bin").write_bytes(b"x")
    name = f"{pool}/files{count}"
    client.create_dataset(name, type="posix")
    env = {**os.environ, "DAOS_ADDR": server.unix, "DAOS_TOKEN": server.token}
    subprocess.run(
        [find_binary(), "fs", "import", str(tree), f"{name}/"], check=True, env=env, stdout=subprocess.DEVNULL
    )
    client.dataset(name).snapshot("v1")
    return f"{name}@v1"


def check(measure: Callable[[str, str, int], dict[str, float]], few: str, many: str, ways: list[str]) -> None:
    plain = measure("dummy", "-", 1)
    for way in ways:
        small, large = measure(way, few, 1), measure(way, many, 1)
        for part in ("main_mb", "worker_mb"):
            over = [round(was[part] - plain[part], 1) for was in (small, large)]
            assert max(over) < OVER_MB, f"{way}, {part}: {over} MB over torch alone"
            assert over[1] - over[0] < GROWTH_MB, f"{way}, {part}: {over} MB over torch alone, few and many samples"


@pytest.mark.timeout(240)
def test_a_million_rows_cost_what_a_thousand_do(
    client: pydaos.Client, pool: str, measure: Callable[[str, str, int], dict[str, float]]
) -> None:
    check(measure, tiny_rows(client, pool, 1_000), tiny_rows(client, pool, 1_000_000), ["loader", "stock"])


@pytest.mark.timeout(240)
def test_many_files_cost_what_few_do(
    server: Server,
    client: pydaos.Client,
    pool: str,
    tmp_path: Path,
    measure: Callable[[str, str, int], dict[str, float]],
) -> None:
    few = tiny_files(server, client, pool, 1_000, tmp_path)
    many = tiny_files(server, client, pool, 50_000, tmp_path)
    check(measure, few, many, ["ready"])
    # A list of paths would be seen: torch's way over the same tree has one.
    lists = [measure("files", str(tmp_path / f"tree{n}"), 0)["main_mb"] for n in (1_000, 50_000)]
    assert lists[1] - lists[0] > GROWTH_MB


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_million_rows_and_300_000_files(
    server: Server,
    client: pydaos.Client,
    pool: str,
    tmp_path: Path,
    measure: Callable[[str, str, int], dict[str, float]],
) -> None:
    ways = ["loader", "stock", "ready"]
    check(measure, tiny_rows(client, pool, 1_000), tiny_rows(client, pool, 10_000_000), ways)
    few = tiny_files(server, client, pool, 1_000, tmp_path)
    check(measure, few, tiny_files(server, client, pool, 300_000, tmp_path), ways)
