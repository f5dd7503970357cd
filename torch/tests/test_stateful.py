"""Resume in mid pass under other people's loaders: torchdata's StatefulDataLoader and torchdata.nodes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from torchdata.nodes import BaseNode, Loader, ParallelMapper, Prefetcher
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.stateful import Stateful

from pydaos.testing import Server
from pydaos.torch import DaosNode, DataLoader, Dataset, IterableDataset, position
from pydaos.torch._order import Order
from pydaos.torch._sampler import RankBatches

N = 103
B = 8


# Bare iterables and samplers stay on their pass, and say so once; that is not what is tested here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:pass 0 is walked again", "ignore:num_workers=", "ignore:This DataLoader", "ignore:.set_vital"
)


@pytest.fixture(scope="module")
def rows(server: Server) -> Any:
    """A snapshot of 103 rows that hold their numbers."""
    client = server.connect()
    client.create_pool("stateful")
    data = client.create_dataset("stateful/rows", type="tensor")
    table = {"id": np.arange(N, dtype=np.int64)}
    data.define(table)
    data.append(table)
    data.snapshot("v1")
    yield "stateful/rows@v1", server
    client.destroy_pool("stateful", force=True)
    client.close()


def order(seed: int = 1, pass_: int = 0) -> list[int]:
    return [int(i) for i in Order("shuffle", N, seed, pass_).take(0, N)]


def ids(batch: Any) -> list[int]:
    return batch["id"].tolist()


def make(rows: Any, way: str, workers: int, *, batch: int = B, every: int = 1) -> StatefulDataLoader:
    """Make a StatefulDataLoader over one of our ways to be read."""
    address, server = rows
    options: dict[str, Any] = {"num_workers": workers, "snapshot_every_n_steps": every}
    if workers:
        options["multiprocessing_context"] = "fork"
    if way == "batches":
        data = Dataset(address, addr=server.unix)
        return StatefulDataLoader(data.batches(batch, shuffle=True, seed=1), batch_size=None, **options)
    if way == "iterable":
        samples = IterableDataset(address, addr=server.unix, batch_size=B, shuffle=True, seed=1)
        return StatefulDataLoader(samples, batch_size=batch, **options)
    data = Dataset(address, addr=server.unix)
    if way == "sampler":
        return StatefulDataLoader(data, batch, sampler=data.sampler(seed=1), **options)
    return StatefulDataLoader(data, batch_sampler=RankBatches(data.source, batch, seed=1), **options)


WAYS = ["batches", "iterable", "sampler", "batch_sampler"]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_resume_in_mid_pass(rows: Any, way: str, workers: int) -> None:
    for stop in (1, 5):
        loader = make(rows, way, workers)
        it = iter(loader)
        seen = [i for _ in range(stop) for i in ids(next(it))]
        state = json.loads(json.dumps(loader.state_dict()))  # small leaves of simple types
        rest = [i for b in it for i in ids(b)]
        assert seen + rest == order()

        again = make(rows, way, workers)
        again.load_state_dict(state)
        assert [i for b in again for i in ids(b)] == order()[stop * B :]

        # The same state with other workers and another batch size, through the token.
        token = position(state)
        assert token["position"] == stop * B
        address, server = rows
        ours = DataLoader(Dataset(address, addr=server.unix), 5)
        ours.load_state_dict(token)
        assert [i for b in ours for i in ids(b)] == order()[stop * B :]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_state_before_the_first_and_after_the_last_batch(rows: Any, way: str, workers: int) -> None:
    loader = make(rows, way, workers)
    assert position(loader.state_dict())["position"] == 0
    assert [i for b in loader for i in ids(b)] == order()
    assert position(loader.state_dict())["position"] == N
    # A state of the end makes the next iteration a pass of its own, and only that.
    again = make(rows, way, workers)
    again.load_state_dict(loader.state_dict())
    assert sorted(i for b in again for i in ids(b)) == list(range(N))


def test_loaded_state_is_used_once(rows: Any) -> None:
    """HF #7447: with workers every pass after a resume replayed only the rest."""
    for way in WAYS:
        loader = make(rows, way, 2)
        it = iter(loader)
        next(it)
        again = make(rows, way, 2)
        again.load_state_dict(loader.state_dict())
        assert len([i for b in again for i in ids(b)]) == N - B
        assert len([i for b in again for i in ids(b)]) == N, way


@pytest.mark.parametrize("workers", [0, 2])
def test_snapshots_now_and_then(rows: Any, workers: int) -> None:
    loader = make(rows, "batches", workers, every=4)
    it = iter(loader)
    for _ in range(6):
        next(it)
    state = loader.state_dict()
    assert position(state)["position"] == 6 * B
    again = make(rows, "batches", workers, every=4)
    again.load_state_dict(state)
    assert [i for b in again for i in ids(b)] == order()[6 * B :]
    if workers:
        loader = make(rows, "sampler", workers, every=4)
        it = iter(loader)
        for _ in range(6):
            next(it)
        with pytest.raises(ValueError, match="snapshot_every_n_steps=1"):
            position(loader.state_dict())


def test_samples_that_are_no_prefix_are_refused(rows: Any) -> None:
    loader = make(rows, "iterable", 2, batch=5)
    it = iter(loader)
    next(it)
    with pytest.raises(ValueError, match="no prefix of the order"):
        position(loader.state_dict())
    alone = make(rows, "iterable", 0, batch=5)
    it = iter(alone)
    next(it), next(it)
    assert position(alone.state_dict())["position"] == 10
    again = make(rows, "iterable", 0, batch=5)
    again.load_state_dict(alone.state_dict())
    assert [i for b in again for i in ids(b)] == order()[10:]


def test_another_batch_size_is_refused_and_position_is_not(rows: Any) -> None:
    loader = make(rows, "batches", 0)
    it = iter(loader)
    next(it)
    other = make(rows, "batches", 0, batch=5)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(ValueError, match=r"pydaos.torch.position"):
        iter(other)


def test_position_says_what_it_can_not_read(rows: Any) -> None:
    stock = StatefulDataLoader(list(range(10)), 2)
    it = iter(stock)
    next(it)
    with pytest.raises(ValueError, match="is not one of"):
        position(stock.state_dict())
    with pytest.raises(ValueError, match="0 positions of ours"):
        position({"a": {"b": 1}})
    with pytest.raises(ValueError, match="a dict"):
        position([])  # type: ignore[arg-type]
    address, server = rows
    token = Dataset(address, addr=server.unix).state_dict(consumed=7, seed=3)
    assert position(token) == token


def test_ours_is_stateful_in_torchdatas_sense(rows: Any) -> None:
    address, server = rows
    data = Dataset(address, addr=server.unix)
    batches = data.batches(4)
    for part in (batches, iter(batches), data.sampler(), iter(data.sampler()), DataLoader(data)):
        assert isinstance(part, Stateful), type(part)
    # A map dataset has no state of its own: torchdata must not ask it for one.
    assert not isinstance(data, Stateful)


# -- torchdata.nodes ---------------------------------------------------------------------


def twice(batch: Any) -> list[int]:
    return [2 * i for i in ids(batch)]


def graph(rows: Any, kind: str, **options: Any) -> BaseNode[Any]:
    address, server = rows
    node: Any = DaosNode(Dataset(address, addr=server.unix), batch_size=B, shuffle=True, seed=1, **options)
    if kind == "mapper":
        node = ParallelMapper(node, twice, num_workers=3, method="thread")
    elif kind == "prefetcher":
        node = Prefetcher(node, prefetch_factor=4)
    elif kind == "both":
        node = Prefetcher(ParallelMapper(node, twice, num_workers=3, method="thread"), prefetch_factor=2)
    return node


def numbers(kind: str, batch: Any) -> list[int]:
    return [i // 2 for i in batch] if kind in ("mapper", "both") else ids(batch)


@pytest.mark.parametrize("kind", ["alone", "mapper", "prefetcher", "both"])
def test_nodes_resume_exactly(rows: Any, kind: str) -> None:
    loader: Any = Loader(graph(rows, kind))
    seen: list[int] = []
    states = []
    for batch in loader:
        seen += numbers(kind, batch)
        states.append((len(seen), json.loads(json.dumps(loader.state_dict()))))
    assert seen == order()
    assert [i for b in loader for i in numbers(kind, b)] == order(pass_=1)
    for at, state in (states[0], states[6], states[-1]):
        again: Any = Loader(graph(rows, kind))
        again.load_state_dict(state)
        if at < N:
            assert [i for b in again for i in numbers(kind, b)] == order()[at:]
        assert [i for b in again for i in numbers(kind, b)] == order(pass_=1)
        if kind == "alone":
            assert position(state)["position"] == at % N or at == N


def test_a_node_takes_batches_and_loaders(rows: Any) -> None:
    address, server = rows
    data = Dataset(address, addr=server.unix)
    by_batches = DaosNode(data.batches(B, shuffle=True, seed=1), prefetch=2)
    by_loader = DaosNode(DataLoader(data, B, shuffle=True, seed=1, transform_threads=2))
    for node in (by_batches, by_loader):
        assert [i for b in Loader(node) for i in ids(b)] == order()
        node.shutdown()
    with pytest.raises(TypeError, match="batch_size"):
        DaosNode(data)
    with pytest.raises(TypeError, match="has its batch size"):
        DaosNode(DataLoader(data), batch_size=3)
