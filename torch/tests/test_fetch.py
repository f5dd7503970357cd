"""One request a batch: over kept connections, from threads, through forks and failures."""

from __future__ import annotations

import gc
import os
import pickle
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Numbered
from torch.utils.data import DataLoader

import pydaos
from pydaos._feed import FeedConnection
from pydaos.testing import Server
from pydaos.torch import Dataset, TokenBlocks


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each connection that is opened."""
    seen: list[int] = []
    real = FeedConnection.open.__func__  # type: ignore[attr-defined]

    def counting(cls: type[FeedConnection], *args: Any, **options: Any) -> FeedConnection:
        seen.append(os.getpid())
        return real(cls, *args, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(FeedConnection, "open", classmethod(counting))
    return seen


def ids(data: Dataset, indices: Sequence[int]) -> list[int]:
    """What a batch says, collated as the stock DataLoader does it."""
    return Numbered.ids(torch.utils.data.default_collate(data.__getitems__(list(indices))))


def test_a_connection_is_kept_between_batches(numbered: Numbered, opened: list[int]) -> None:
    data = numbered.files()
    before = len(opened)
    for _ in range(3):
        assert sorted(i for b in DataLoader(data, 32, shuffle=True) for i in Numbered.ids(b)) == list(range(103))
    data[5], data[6]
    assert len(opened) <= before + 1
    data.close()
    assert ids(data, [3, 4]) == [3, 4], "a closed dataset opens again when it is read"


@pytest.mark.parametrize("kind", ["files", "rows"])
def test_indices_of_every_kind(numbered: Numbered, kind: str) -> None:
    data: Dataset = getattr(numbered, kind)()
    for wanted in (
        [3, 1, 2],
        [0] * 5,
        [-1, -103, 102],
        [True, np.int64(7), torch.tensor(8)],
        np.array([9, 10], np.uint64),
        np.array([11, -1]),
        torch.tensor([12, 13]),
        range(20, 30),
        list(range(103)) * 20,  # more than are packed at once
    ):
        batch = data.__getitems__(wanted)  # type: ignore[arg-type]
        assert Numbered.ids(torch.utils.data.default_collate(batch)) == [int(i) % 103 for i in wanted]
    for bad in ([0, 103], [-104], [2**63], [2**70]):
        with pytest.raises((IndexError, OverflowError)):
            data.__getitems__(bad)
    with pytest.raises(TypeError):
        data.__getitems__(["a"])  # type: ignore[list-item]
    assert ids(data, [1, 2]) == [1, 2]


def test_batches_of_one_length_and_of_another(numbered: Numbered) -> None:
    """What a batch looks like is known from the second of a length on; memory is never shared."""
    data = numbered.files()
    rng = random.Random(5)
    kept: list[tuple[list[int], Any]] = []
    for _ in range(60):
        wanted = rng.choices(range(103), k=rng.choice([1, 2, 32, 33, 100]))
        kept.append((wanted, torch.utils.data.default_collate(data.__getitems__(wanted))))
        if rng.random() < 0.3:
            kept.pop(rng.randrange(len(kept)))
        gc.collect(0)
    for wanted, batch in kept:
        assert Numbered.ids(batch) == wanted


def test_threads_fetch_at_the_same_time(numbered: Numbered) -> None:
    data = numbered.files()
    wrong: list[Any] = []
    start = threading.Barrier(6)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        start.wait()
        for _ in range(50):
            wanted = rng.choices(range(103), k=rng.choice([8, 16]))
            if ids(data, wanted) != wanted:
                wrong.append((seed, wanted))

    threads = [threading.Thread(target=work, args=(s,)) for s in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_forked_child_has_connections_of_its_own(numbered: Numbered, opened: list[int]) -> None:
    data = numbered.files()
    assert ids(data, [1, 2, 3]) == [1, 2, 3]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            good = all(ids(data, [k, k + 1]) == [k, k + 1] for k in range(50))
            gc.collect()
            code = 0 if good and os.getpid() in opened else 2
        finally:
            os._exit(code)
    for k in range(50):
        assert ids(data, [100 - k]) == [100 - k]
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ids(data, [7]) == [7]
    assert ids(pickle.loads(pickle.dumps(data)), [8]) == [8]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_batch_is_not_mistaken_for_the_next(
    numbered: Numbered, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    data = numbered.files()
    assert ids(data, [1, 2]) == [1, 2]
    with monkeypatch.context() as patch:

        def fail(*args: Any) -> Any:
            raise error("interrupted")

        patch.setattr(FeedConnection, "recv_batch", fail)
        with pytest.raises(error):
            data.__getitems__([3, 4])
    for k in range(10):
        assert ids(data, [10 + k, 20 + k]) == [10 + k, 20 + k]


@pytest.mark.timeout(240)
def test_another_server_is_started_meanwhile(
    own_server: Server, runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server started last is found by itself; what was opened before goes on where it was opened."""
    monkeypatch.delenv("DAOS_ADDR", raising=False)
    with own_server.connect() as client:
        client.create_pool("p")
        files = client.create_dataset("p/d", type="posix")
        rows = client.create_dataset("p/t", type="tensor")
        for i in range(20):
            files.write_bytes(f"{i:02d}", bytes([i]))
        rows.append({"tokens": [np.arange(40, dtype="i4")]})
        files.snapshot("s")
        rows.snapshot("s")
    data, documents = Dataset("p/d@s"), Dataset("p/t@s")
    assert data[3] == b"\3"
    wanted = [[i] for i in range(20)]
    with Server(runtime_folder / "later"):
        with pydaos.connect() as newest:
            assert newest.pools() == []
        data.close()
        again = pickle.loads(pickle.dumps(data))
        for opened in (data, again):
            for context in ("fork", "spawn") if opened is data else ("fork",):
                loader = DataLoader(opened, 7, num_workers=1, multiprocessing_context=context)
                assert [row for batch in loader for row in batch.tolist()] == wanted
            assert [row for batch in opened.batches(7) for row in batch.tolist()] == wanted
        assert len(TokenBlocks(documents, 10)) == 4
        own_server.restart()
        assert again[4] == b"\4"
        fresh = pickle.loads(pickle.dumps(again))
        assert fresh[5] == b"\5"
        for opened in (data, again, fresh, documents):
            opened.close()
