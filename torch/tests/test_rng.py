"""Random augmentation: a transform that takes ``rng`` resumes exactly, whoever runs it."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from pydaos.torch import Dataset
from pydaos.torch._samples import sample_rng, takes_rng


def augment(x: bytes, rng: np.random.Generator) -> torch.Tensor:
    """Each sample's number, and two numbers that only it gets in this pass."""
    return torch.tensor([int.from_bytes(x, "little"), *rng.integers(0, 1 << 40, 2).tolist()])


def expected(order: list[int], seed: int, pass_: int) -> list[list[int]]:
    return [[i, *sample_rng(seed, pass_, i).integers(0, 1 << 40, 2).tolist()] for i in order]


@pytest.fixture
def data(numbered: Any) -> Any:
    with numbered.files(transform_fn=augment) as opened:
        yield opened


def flat(batches: Any) -> list[list[int]]:
    return [row for batch in batches for row in batch.tolist()]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("way", ["sampler", "batches", "iterable"])
def test_the_same_bytes_for_any_workers_and_after_a_resume(
    workers: int, way: str, data: Dataset, numbered: Any
) -> None:
    def loader(token: dict[str, Any] | None, pass_: int, batch_size: int) -> DataLoader[Any]:
        if way == "sampler":
            sampler = data.sampler(seed=5)
            what: Any = sampler
            made: DataLoader[Any] = DataLoader(data, batch_size, sampler=sampler, num_workers=workers)
        elif way == "batches":
            what = data.batches(batch_size, shuffle=True, seed=5)
            made = DataLoader(what, batch_size=None, num_workers=workers)
        else:
            what = numbered.iterable(batch_size=batch_size, shuffle=True, seed=5, transform_fn=augment)
            made = DataLoader(what, batch_size, num_workers=workers)
        if token is not None:
            what.load_state_dict(token)
        what.set_epoch(pass_)
        return made

    for pass_ in (0, 2):
        want = expected(numbered.order(5, pass_), 5, pass_)
        assert flat(loader(None, pass_, 10)) == want
        token = data.state_dict(30, seed=5, pass_=pass_)
        assert flat(loader(token, pass_, 7)) == want[30:]


@pytest.mark.timeout(300)  # spawned workers import torch
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_the_pass_reaches_spawned_persistent_workers(context: str, data: Dataset, numbered: Any) -> None:
    sampler = data.sampler(seed=5)
    loader = DataLoader(
        data, 10, sampler=sampler, num_workers=2, multiprocessing_context=context, persistent_workers=True
    )
    for pass_ in (0, 1):
        sampler.set_epoch(pass_)
        assert flat(loader) == expected(numbered.order(5, pass_), 5, pass_)


def test_two_samplers_of_one_dataset_do_not_disturb_each_other(data: Dataset, numbered: Any) -> None:
    a, b = data.sampler(seed=1), data.sampler(seed=2)
    b.set_epoch(3)
    mixed = list(zip(DataLoader(data, 10, sampler=a), DataLoader(data, 10, sampler=b), strict=True))
    assert flat(x for x, _ in mixed) == expected(numbered.order(1), 1, 0)
    assert flat(y for _, y in mixed) == expected(numbered.order(2, 3), 2, 3)


def test_without_our_sampler_seed_and_pass_are_0(data: Dataset) -> None:
    assert data[7].tolist() == expected([7], 0, 0)[0]
    assert data[-1].tolist() == expected([102], 0, 0)[0]
    got = flat(DataLoader(data, 10, shuffle=True))
    assert sorted(got) == expected(list(range(103)), 0, 0)
    assert flat(DataLoader(Subset(data, [5, 3]), 2)) == expected([5, 3], 0, 0)


def test_labels_and_rows_get_it_too(numbered: Any, server: Any, pool: str) -> None:
    rows = numbered.rows(transform_fn=lambda row, *, rng: (int(row["id"]), int(rng.integers(1 << 40))))
    got = [(i, r) for ids, draws in rows.batches(10, seed=3) for i, r in zip(ids.tolist(), draws.tolist(), strict=True)]
    assert got == [(i, int(sample_rng(3, 0, i).integers(1 << 40))) for i in range(103)]
    with server.connect() as client:
        files = client.create_dataset(f"{pool}/f", type="posix")
        for name in ("a/0", "b/1"):
            files.mkdir(name[0])
            files.write_bytes(name, b"x")
        files.snapshot("s")
    data = Dataset(f"{pool}/f@s", labels="dirname", transform_fn=lambda x, rng: int(rng.integers(99)), addr=server.unix)
    assert [data[i] for i in (0, 1)] == [(int(sample_rng(0, 0, i).integers(99)), i) for i in (0, 1)]


def test_who_takes_rng() -> None:
    class Callable_:
        def __call__(self, x: Any, rng: Any = None) -> Any:
            return x

    def other(x: Any, random: Any = None) -> Any:
        return x

    def positional(x: Any, rng: Any, /) -> Any:
        return x

    assert takes_rng(augment)
    assert takes_rng(Callable_())
    assert takes_rng(lambda x, *, rng: x)
    assert takes_rng(functools.partial(augment))
    for fn in (None, len, bytes, other, positional, functools.partial(augment, rng=1), lambda x, **rng: x):
        assert not takes_rng(fn), fn


def test_streams_of_samples_are_independent() -> None:
    """Different seed, pass or index: different numbers; negative and huge seeds too."""
    seed = random.randrange(1 << 64)
    keys = [(s, p, i) for s in (seed, seed + 1, -1, 1 << 70) for p in (0, 1) for i in (0, 1, 1 << 40)]
    draws = {k: tuple(sample_rng(*k).integers(0, 1 << 62, 4).tolist()) for k in keys}
    assert len(set(draws.values())) == len(keys), seed
    many = np.array([sample_rng(seed, 0, i).random() for i in range(2000)])
    assert abs(float(many.mean()) - 0.5) < 0.05, seed
