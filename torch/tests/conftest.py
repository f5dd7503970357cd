"""Fixtures: a real server, a client, pools and datasets of the test's own (pydaos.testing)."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numbers103 import N
from torch.utils.data._utils import signal_handling

from pydaos.testing import *  # noqa: F403
from pydaos.testing import Server
from pydaos.torch import Dataset, IterableDataset
from pydaos.torch._order import Order


def forget_dead_workers() -> None:
    """Let a stock loader's handler of SIGCHLD say nothing more of workers that were killed.

    Torch's handler raises for them at any end of a child, wherever the main thread is by then.
    """
    if signal_handling._SIGCHLD_handler_set:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal_handling._SIGCHLD_handler_set = False  # the next stock loader sets it again
    for _ in range(100):  # it raises once for each loader
        with contextlib.suppress(RuntimeError):
            signal_handling._error_if_any_worker_fails()
            return


@pytest.fixture(autouse=True)
def dead_workers_are_their_tests() -> Iterator[None]:
    """No test hears of the workers that another one has killed."""
    yield
    forget_dead_workers()


class Numbered:
    """103 samples that say their own index, as files of 8 bytes and as rows; snapshot v1."""

    n = 103

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pool = "numbered"
        with server.connect() as client:
            client.create_pool(self.pool)
            files = client.create_dataset(f"{self.pool}/files", type="posix")
            for i in range(self.n):
                files.write_bytes(f"{i:03d}", i.to_bytes(8, "little"))
            rows = client.create_dataset(f"{self.pool}/rows", type="tensor")
            table = {"id": np.arange(self.n, dtype=np.int64)}
            rows.define(table)
            rows.append(table)
            for d in (files, rows):
                d.snapshot("v1")

    def files(self, **options: Any) -> Dataset:
        """The files."""
        return Dataset(f"{self.pool}/files@v1", addr=self.server.unix, **options)

    def rows(self, **options: Any) -> Dataset:
        """The rows."""
        return Dataset(f"{self.pool}/rows@v1", addr=self.server.unix, **options)

    def iterable(self, **options: Any) -> IterableDataset:
        """The files, iterable style."""
        return IterableDataset(f"{self.pool}/files@v1", addr=self.server.unix, **options)

    @staticmethod
    def ids(batch: Any) -> list[int]:
        """The indices that a batch of either says."""
        if isinstance(batch, dict):
            return [int(i) for i in batch["id"]]
        return [int.from_bytes(bytes(sample), "little") for sample in batch]  # 8 bytes: no tensor of one element

    def order(self, seed: int, pass_: int = 0, start: int = 0) -> list[int]:
        """The shuffled order from a position on."""
        return [int(i) for i in Order("shuffle", self.n, seed, pass_).take(start, self.n)]


@pytest.fixture(scope="session")
def numbered(server: Server) -> Iterator[Numbered]:
    """Samples that say their own index; don't change them."""
    made = Numbered(server)
    yield made
    with server.connect() as client:
        client.destroy_pool(made.pool, force=True)


@pytest.fixture(scope="module")
def pool_of_numbers(server: Server) -> Any:
    """A pool with 103 files, each of which holds its number, and as many rows."""
    client = server.connect()
    name = "dataloader"
    client.create_pool(name)
    files = client.create_dataset(f"{name}/files", type="posix")
    for i in range(N):
        files.write_bytes(f"{'ab'[i >= 50]}/{i:03d}", i.to_bytes(8, "little"), parents=True)
    files.snapshot("v1")
    rows = client.create_dataset(f"{name}/rows", type="tensor")
    table = {"id": np.arange(N, dtype=np.int64), "x": np.ones((N, 3), np.float32)}
    rows.define(table)
    rows.append(table)
    rows.snapshot("v1")
    yield name, server
    client.destroy_pool(name, force=True)
    client.close()
