"""What our DataLoader stands over, and what it is beside torch's: wrappers, samplers, arguments, counters."""

from __future__ import annotations

import gc
import io
import json
import pickle
import sys
import threading
import warnings
from typing import Any

import pytest
import torch
from numbers103 import WAYS, N, drain, expected, flat, ids, noisy, number, open_numbers
from torch.utils.data import ConcatDataset, Subset, random_split

from pydaos.torch import DataLoader, Dataset, IterableDataset, Mixture, Ragged
from pydaos.torch._drawn import samples_of
from pydaos.torch._order import Order

# -- datasets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_torchs_wrappers(pool_of_numbers: Any, way: dict[str, int]) -> None:
    data = open_numbers(pool_of_numbers, noisy)
    part = Subset(data, list(range(90, 20, -2)))
    whole = [int(x) for x in flat(drain(DataLoader(part, 8, seed=1, **way)))]
    assert whole == list(range(90, 20, -2))
    one, other = random_split(data, [60, 43], generator=torch.Generator().manual_seed(0))
    loader = DataLoader(one, 7, shuffle=True, seed=1, **way)
    it = iter(loader)
    first = flat([ids(next(it)) for _ in range(3)])
    state = loader.state_dict()
    rest = flat([ids(b) for b in it])
    assert [int(x) for x in first + rest] == [one.indices[i] for i in Order("shuffle", 60, 1, 0).take(0, 60)]
    # A sample is what it is through any subset: what it draws by (seed, pass, sample) too.
    direct = {int(x): x for x in flat(drain(DataLoader(data, 8, shuffle=True, seed=1)))}
    assert all(x == direct[int(x)] for x in first + rest)
    again = DataLoader(one, 4, **way)
    again.load_state_dict(state)
    assert flat(drain(again)) == rest
    with pytest.raises(ValueError, match="same parts of the same snapshots"):
        DataLoader(other, 7).load_state_dict(state)
    both = ConcatDataset([other, one])
    loader = DataLoader(both, 10, shuffle=True, seed=3, **way)
    assert sorted(int(x) for x in flat(drain(loader))) == list(range(N))
    ordered = [int(x) for x in flat(drain(DataLoader(both, 10, **way)))]
    assert ordered == [*other.indices, *one.indices]


def test_wrappers_of_ready_batches(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers, None)
    part = Subset(data, [5, 3, -1])
    (batch,) = DataLoader(part, 8)
    assert batch.shape == (3, 8)
    assert ids(batch) == [5, 3, N - 1]
    assert ids(next(iter(DataLoader(ConcatDataset([part, data]), 5)))) == [5, 3, N - 1, 0, 1]
    with pytest.raises(IndexError, match="do not have"):
        DataLoader(Subset(data, [N]), 8)


def test_a_concatenation_has_one_type_of_batch(own_server: Any) -> None:
    """Parts whose files have one size each: what a batch is follows from all of them, not from where it lies."""
    with own_server.connect() as client:
        client.create_pool("p")
        files = client.create_dataset("p/d", type="posix")
        for folder, size in (("a", 4), ("b", 8), ("c", 4)):
            files.mkdir(folder)
            for i in range(6):
                files.write_bytes(f"{folder}/{i}", bytes([i]) * size)
        files.snapshot("s")
    token = {"addr": own_server.unix, "token_file": own_server.token_file}
    a, b, c = (Dataset(f"p/d@s/{folder}", **token) for folder in "abc")
    assert [type(x) for x in DataLoader(ConcatDataset([a, b]), 3)] == [Ragged] * 4
    assert [tuple(x.shape) for x in DataLoader(ConcatDataset([a, c]), 3)] == [(3, 4)] * 4
    nested = ConcatDataset([Subset(a, [1, 2]), ConcatDataset([c, b])])
    assert [type(x) for x in DataLoader(nested, 2)] == [Ragged] * 7
    mixed = DataLoader(Mixture([(ConcatDataset([a, c]), 1), (b, 1)], seed=0), 4)
    assert {type(x) for x in mixed} == {Ragged}


def test_iterables_and_batches_of_ours(pool_of_numbers: Any) -> None:
    name, server = pool_of_numbers
    data = Dataset(f"{name}/rows@v1", addr=server.unix)
    samples = IterableDataset(f"{name}/rows@v1", addr=server.unix, shuffle=True, seed=2)
    loader = DataLoader(samples, 8)
    assert flat(drain(loader)) == expected(2, 0)
    assert samples.epoch == loader.epoch == 1
    loader = DataLoader(data.batches(9, shuffle=True, seed=2, drop_last=True, with_index=True), batch_size=None)
    assert len(loader) == 11
    for k, (index, batch) in enumerate(loader):
        assert index.tolist() == batch["id"].tolist() == expected(2, 0)[9 * k : 9 * k + 9]
    with pytest.raises(ValueError, match="pass batch_size=None"):
        DataLoader(data.batches(9), 9)
    for wrong in ({"seed": 1}, {"order": "shuffle"}, {"world": (0, 2)}, {"uneven": "keep"}, {"shuffle": True}):
        with pytest.raises(ValueError, match="the order of an iterable dataset is its own; give"):
            DataLoader(samples, 8, **wrong)


def test_a_sampler_of_ours_is_the_order(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers)
    sampler = data.sampler(seed=6)
    loader = DataLoader(data, 8, sampler=sampler, num_workers=1)
    it = iter(loader)
    assert ids(next(it)) == expected(6, 0)[:8]
    assert loader.state_dict()["position"] == 8
    assert flat([ids(b) for b in it]) == expected(6, 0)[8:]
    assert sampler.epoch == 1
    with pytest.warns(UserWarning, match="the order is the sampler's; seed="):
        DataLoader(data, 8, sampler=data.sampler(), seed=5)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_samplers_of_others_are_counted(pool_of_numbers: Any, way: dict[str, int]) -> None:
    data = open_numbers(pool_of_numbers)
    backwards = [[-1, -2], [N - 3], list(range(10))]
    loader = DataLoader(data, batch_sampler=backwards, **way)
    assert len(loader) == 3
    assert drain(loader) == [[N - 1, N - 2], [N - 3], list(range(10))]
    it = iter(loader)
    next(it), next(it)
    state = json.loads(json.dumps(loader.state_dict()))
    assert state == {"v": 1, "order": "sampler", "pass": 1, "batches": 2}
    again = DataLoader(data, batch_sampler=backwards, **way)
    again.load_state_dict(state)
    assert again.epoch == 1
    assert drain(again) == [list(range(10))]
    assert len(drain(again)) == 3
    distributed = torch.utils.data.DistributedSampler(data, num_replicas=2, rank=1, seed=3)
    loader = DataLoader(data, 8, sampler=distributed, **way)
    loader.set_epoch(5)
    distributed_alone = torch.utils.data.DistributedSampler(data, num_replicas=2, rank=1, seed=3)
    distributed_alone.set_epoch(5)
    assert flat(drain(loader)) == list(distributed_alone)
    with pytest.raises(ValueError, match="order is that of its sampler"):
        loader.load_state_dict(data.state_dict(consumed=1, seed=0))
    with pytest.raises(ValueError, match="resume token"):
        DataLoader(data, 8).load_state_dict(state)
    part = Subset(data, [9, 8, 7])
    assert drain(DataLoader(part, batch_sampler=[[-1, 0]], **way)) == [[7, 9]]
    with pytest.raises(IndexError, match=r"batch 0 .*beyond"):
        drain(DataLoader(data, batch_sampler=[[200]], **way))


class Other(torch.utils.data.Dataset[int]):
    """A map-style dataset of somebody else's."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> int:
        return i * i


class Stream(torch.utils.data.IterableDataset[int]):
    """An iterable of somebody else's."""

    def __iter__(self) -> Any:
        info = torch.utils.data.get_worker_info()
        share, of = (info.id, info.num_workers) if info else (0, 1)
        return iter(range(share, 40, of))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_datasets_of_others(way: dict[str, int]) -> None:
    loader = DataLoader(Other(), 6, shuffle=True, seed=1, **way)
    order = [int(i) ** 2 for i in Order("shuffle", 20, 1, 0).take(0, 20)]
    it = iter(loader)
    first = next(it).tolist()
    again = DataLoader(Other(), 3)
    again.load_state_dict(loader.state_dict())
    assert first + [i for b in again for i in b.tolist()] == order
    with pytest.raises(ValueError, match="manifest"):
        DataLoader(list(range(20)), 3).load_state_dict(loader.state_dict())
    with pytest.raises(TypeError, match="no len"):
        DataLoader({1: 2}.items().__iter__(), 3)  # neither map nor iterable
    if "transform_threads" in way:
        with pytest.raises(ValueError, match="transform_threads"):
            DataLoader(Stream(), 5, **way)
        return
    loader = DataLoader(Stream(), 5, **way)
    whole = [b.tolist() for b in loader]
    assert sorted(flat(whole)) == list(range(40))
    assert loader.epoch == 1
    it = iter(loader)
    next(it)
    again = DataLoader(Stream(), 5, **way)
    again.load_state_dict(loader.state_dict())
    assert [b.tolist() for b in again] == whole[1:]


def test_samples_of_others_are_counted() -> None:
    """As far as it shows: not those of what somebody's own function has collated."""
    loader = DataLoader(Stream(), 7)  # 40 samples, five of them in the last batch
    assert [len(b) for b in loader] == [7, 7, 7, 7, 7, 5]
    assert loader.stats()["samples"] == 40
    x = torch.zeros(3, 2)
    for batch in (x, [x, x], {"a": x, "b": ["p", "q", "r"]}, (["p", "q", "r"], x), [{"a": (x, x)}]):
        assert samples_of(batch, 8) == 3
    for batch in (None, torch.tensor(1), [], object()):
        assert samples_of(batch, 8) == 8
    packed = DataLoader(Stream(), 7, collate_fn=lambda samples: torch.tensor([samples]))
    assert [len(b) for b in packed] == [1] * 6
    assert packed.stats()["samples"] == 42


def test_batch_size_none_gives_samples(pool_of_numbers: Any) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), batch_size=None, shuffle=True, seed=1)
    it = iter(loader)
    assert [next(it) for _ in range(5)] == expected(1, 0)[:5]
    assert loader.state_dict()["position"] == 5
    assert len(loader) == N
    (x, *_) = iter(DataLoader(open_numbers(pool_of_numbers, None), batch_size=None))
    assert bytes(x) == bytes(8)


# -- what torch's loader is ------------------------------------------------------------------


def test_arguments_and_attributes_are_torchs(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers)
    loader = DataLoader(data, 8, True, drop_last=True, seed=4)
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert (loader.batch_size, loader.drop_last, loader.num_workers, loader.dataset) == (8, True, 0, data)
    assert isinstance(loader.sampler, torch.utils.data.DistributedSampler)
    assert isinstance(loader.batch_sampler, torch.utils.data.BatchSampler)
    assert flat(list(loader.batch_sampler)) == expected(4, 0)[: N // 8 * 8]
    for name in ("batch_size", "dataset", "sampler", "drop_last", "seed", "order", "world", "transform_threads"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is init"):
            setattr(loader, name, 1)
    for wrong, words in (
        ({"in_order": False}, "in_order"),
        ({"timeout": 3}, "worker processes"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"batch_size": 0}, "at least one sample"),
        ({"prefetch": 0}, "prefetch"),
        ({"uneven": "cut"}, "pad, drop, keep"),
        ({"world": (2, 2)}, "rank"),
        ({"prefetch_factor": 2}, "multiprocessing"),
        ({"persistent_workers": True}, "num_workers"),
        ({"sampler": [1], "shuffle": True}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "drop_last": True}, "mutually exclusive"),
        ({"multiprocessing_context": "fork"}, "num_workers"),
    ):
        with pytest.raises(ValueError, match=words):
            DataLoader(data, **wrong)
    loader = DataLoader(data, 8, num_workers=1, multiprocessing_context="fork", timeout=30, prefetch_factor=3)
    assert loader.prefetch_factor == 3
    assert len(flat(drain(loader))) == N


def test_own_collate_and_worker_init(pool_of_numbers: Any) -> None:
    for way in WAYS:
        data = open_numbers(pool_of_numbers, None)
        assert flat(list(DataLoader(data, 8, collate_fn=numbers_of, **way))) == list(range(N))
    loader = DataLoader(open_numbers(pool_of_numbers), 8, num_workers=1, worker_init_fn=fail_at_start)
    with pytest.raises(RuntimeError, match="worker 0 does not like it"):
        next(iter(loader))


def numbers_of(samples: list[bytes]) -> list[int]:
    return [number(s) for s in samples]


def fail_at_start(worker: int) -> None:
    raise RuntimeError(f"worker {worker} does not like it")


def test_a_loader_pickles_without_what_runs(pool_of_numbers: Any) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), 8, shuffle=True, seed=4, transform_threads=1)
    it = iter(loader)
    next(it)
    buffer = io.BytesIO()
    pickle.dump(loader, buffer)
    copy = pickle.loads(buffer.getvalue())
    assert copy.state_dict() == loader.state_dict()
    assert flat(drain(copy)) == expected(4, 0)
    with pytest.raises(NotImplementedError, match="state_dict"):
        pickle.dumps(it)


def test_batches_are_yours_to_keep(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers, None)
    assert flat([ids(b) for b in list(DataLoader(data, 4, prefetch=8))]) == list(range(N))
    first, second = list(DataLoader(data, 4, transform_threads=2))[:2]
    assert ids(first) == [0, 1, 2, 3] and ids(second) == [4, 5, 6, 7]


def test_needless_workers_are_told_once(pool_of_numbers: Any) -> None:
    with pytest.warns(UserWarning, match="num_workers=1 over a dataset without a Python transform"):
        loader = DataLoader(open_numbers(pool_of_numbers, None), 8, num_workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flat(drain(loader)) == list(range(N))


# -- counters, progress, metrics ---------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_stats_count_what_was_returned(pool_of_numbers: Any, way: dict[str, int]) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), 8, **way)
    assert loader.stats()["samples"] == 0
    it = iter(loader)
    next(it), next(it)
    stats = loader.stats()
    assert (stats["samples"], stats["batches"], stats["bytes"]) == (16, 2, 128)
    drain(loader)
    stats = loader.stats()
    assert (stats["samples"], stats["batches"], stats["restarts"], stats["retries"]) == (16 + N, 15, 0, 0)
    assert 0 < stats["wait_share"] <= 1
    assert stats["samples_per_second"] == pytest.approx(stats["samples"] / stats["seconds"])


def test_progress_is_drawn_where_it_is_wanted(
    pool_of_numbers: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_numbers(pool_of_numbers)
    drain(DataLoader(data, 8, progress=True))
    assert capsys.readouterr().err == ""  # a pipe
    drain(DataLoader(data, 8, progress="always"))
    text = capsys.readouterr().err
    assert "13/13" in text and "samples/s" in text and "pass 0" in text
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    loader = DataLoader(data, 8, progress="always")
    drain(loader)
    text = capsys.readouterr().err
    assert text.startswith("\rpass 0 [") and text.endswith("\n")
    assert "] 13/13 " in text and "samples/s, waiting" in text
    for _ in loader:
        break
    gc.collect()
    assert capsys.readouterr().err.endswith("\n")


def test_metrics_of_opentelemetry(pool_of_numbers: Any) -> None:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from pydaos.torch import _metrics

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    data = open_numbers(pool_of_numbers)
    before = collected(reader)
    for rank in (0, 1):
        drain(DataLoader(data, 8, world=(rank, 2)))
    gc.collect()  # what loaders counted outlives them
    after = collected(reader)
    for rank in ("0", "1"):
        key = (data.source.snapshot, rank)
        grown = {k: after[k, key] - before.get((k, key), 0) for k in _metrics.INSTRUMENTS}
        assert grown["pydaos.torch.samples"] == 52
        assert grown["pydaos.torch.batches"] == 7
        assert grown["pydaos.torch.bytes"] == 52 * 8
        assert 0 < grown["pydaos.torch.wait"] <= grown["pydaos.torch.active"]
        assert grown["pydaos.torch.restarts"] == grown["pydaos.torch.retries"] == 0


def collected(reader: Any) -> dict[Any, float]:
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            assert scope.scope.name == "pydaos.torch"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    key = (point.attributes["pydaos.snapshot"], point.attributes["pydaos.rank"])
                    found[metric.name, key] = point.value
    return found


def test_no_thread_or_connection_is_left(pool_of_numbers: Any) -> None:
    before = threading.active_count()
    data = open_numbers(pool_of_numbers)
    for way in WAYS[:2]:
        for _ in DataLoader(data, 8, **way):
            break
    gc.collect()
    assert threading.active_count() == before


# -- other people's machinery --------------------------------------------------------------------


def test_pinning_is_asked_for_in_the_thread_that_makes_the_batch(
    pool_of_numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no accelerator here: who pins is recorded, the tensors stay."""
    pinned_by: list[str] = []

    def pin(batch: Any, device: Any = None) -> Any:
        pinned_by.append(threading.current_thread().name)
        return batch

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.utils.data._utils.pin_memory, "pin_memory", pin)
    data = open_numbers(pool_of_numbers)
    assert flat(drain(DataLoader(data, 8, pin_memory=True))) == list(range(N))
    assert set(pinned_by) == {"MainThread"} and len(pinned_by) == 13
    assert flat(drain(DataLoader(data, 8, pin_memory=True, transform_threads=2))) == list(range(N))
    assert len(pinned_by) == 26
    assert all(name.startswith("daos-transform") for name in pinned_by[13:])


def test_a_distributed_checkpoint_keeps_the_position(pool_of_numbers: Any, tmp_path: Any) -> None:
    import torch.distributed.checkpoint as dcp

    data = open_numbers(pool_of_numbers)
    loader = DataLoader(data, 8, shuffle=True, seed=4)
    it = iter(loader)
    first = flat([ids(next(it)) for _ in range(3)])
    dcp.save({"loader": loader}, checkpoint_id=tmp_path / "c", no_dist=True)
    again = DataLoader(data, 5)
    dcp.load({"loader": again}, checkpoint_id=tmp_path / "c", no_dist=True)
    assert first + flat(drain(again)) == expected(4, 0)


def test_lightning_may_make_it_again(pool_of_numbers: Any) -> None:
    """Lightning builds loaders anew from their attributes, to track indices or to take out the shuffle."""
    from lightning.fabric.utilities.data import _replace_dunder_methods
    from lightning.pytorch.trainer.states import RunningStage
    from lightning.pytorch.utilities.data import _is_dataloader_shuffled, _update_dataloader

    data = open_numbers(pool_of_numbers)
    options = {"shuffle": True, "seed": 4, "world": (1, 2), "uneven": "keep", "transform_threads": 1}
    own = flat(drain(DataLoader(data, 8, **options)))
    plain = DataLoader(data, 8, **options)
    wrap = _replace_dunder_methods
    with wrap(torch.utils.data.DataLoader, "dataset"), wrap(torch.utils.data.BatchSampler):
        hooked = DataLoader(data, batch_size=8, **options)  # by name: Lightning can't replace it by position
    assert not _is_dataloader_shuffled(plain)  # its order is no business of Lightning's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for loader in (plain, hooked):
            tracked = _update_dataloader(loader, loader.sampler, mode=RunningStage.PREDICTING)
            assert type(tracked) is DataLoader
            assert tracked.transform_threads == 1
            assert flat(drain(tracked)) == own
            assert len(tracked.batch_sampler.seen_batch_indices) == len(loader)
            straight = _update_dataloader(loader, torch.utils.data.SequentialSampler(data))
            assert flat(drain(straight)) == list(range(N))
