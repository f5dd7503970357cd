"""Odd uses that must not end in silence: StopIteration in a transform, two loops over one loader, odd indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.utils.data
from numbers103 import open_numbers
from torch.utils.data import ConcatDataset, Subset
from torch.utils.data import DataLoader as Stock

from pydaos import InvalidError
from pydaos.torch import DataLoader, IterableDataset, Mixture
from pydaos.torch._batch import SampleDict
from pydaos.torch._sampler import RankBatches
from pydaos.torch._source import Selection

WORKERS: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "fork"}


def ends_at_seven(x: bytes) -> int:
    """A transform with a bug that reads as the end of something: ``next()`` of an empty iterator."""
    number = int.from_bytes(x, "little")
    return next(iter([number] if number != 7 else []))


class EndsAtSeven(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> int:
        return next(iter([i] if i != 7 else []))


class EndsAtSevenAtOnce(EndsAtSeven):
    def __getitems__(self, indices: list[int]) -> list[int]:
        return [self[i] for i in indices]


def ends(samples: list[bytes]) -> list[int]:
    return [ends_at_seven(x) for x in samples]


@pytest.mark.parametrize("options", [{}, {"transform_threads": 2}, WORKERS], ids=["here", "threads", "workers"])
@pytest.mark.parametrize("what", ["transform", "collate_fn", "dataset", "at once", "single"])
def test_a_stop_iteration_does_not_end_a_pass(numbered: Any, what: str, options: dict[str, Any]) -> None:
    """A loop would take it for the end, and what is left of the pass would be lost without a word."""
    data = numbered.files(transform_fn=ends_at_seven if what in ("transform", "single") else None)
    read: Any = {"dataset": EndsAtSeven(), "at once": EndsAtSevenAtOnce()}.get(what, data)
    loader = DataLoader(
        read,
        None if what == "single" else 4,
        collate_fn=ends if what == "collate_fn" else None,
        **options,
    )
    walk = iter(loader)
    step = 1 if what == "single" else 4
    before = [next(walk) for _ in range(7 // step)]
    with pytest.raises(RuntimeError, match="raised StopIteration") as failed:
        next(walk)
    if what == "transform":
        assert "sample 7, 007," in str(failed.value)
        assert f"batch {7 // step} of pass 0" in str(getattr(failed.value, "__notes__", failed.value))
    assert loader.epoch == 0
    assert loader.state_dict()["position"] == len(before) * step
    rest = list(walk)  # the batch is lost, as with any other error of a batch, and no more
    assert len(before) + 1 + len(rest) == len(loader)
    walk.close()
    data.close()


@pytest.mark.parametrize("options", [{}, WORKERS], ids=["here", "workers"])
@pytest.mark.parametrize("what", ["map", "batches", "iterable"])
def test_nor_under_a_stock_loader(numbered: Any, what: str, options: dict[str, Any]) -> None:
    data = numbered.files(transform_fn=ends_at_seven)
    walked: IterableDataset = numbered.iterable(transform_fn=ends_at_seven, batch_size=4)
    read: Any = {"map": data, "batches": data.batches(4), "iterable": walked}[what]
    loader = Stock(read, None if what == "batches" else 4, **options)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(loader)
    data.close()
    walked.close()


def number(x: bytes) -> int:
    return int.from_bytes(x, "little")


@pytest.mark.parametrize("persistent", [False, True])
def test_two_loops_over_one_loader(numbered: Any, persistent: bool) -> None:
    """Workers that persist walk one pass: the earlier loop is told so, and gets nothing of the later one's."""
    data = numbered.files(transform_fn=number)
    loader = DataLoader(data, 8, shuffle=True, seed=2, persistent_workers=persistent, **WORKERS)
    first = iter(loader)
    seen = next(first).tolist()
    second = iter(loader)
    if persistent:
        with pytest.raises(RuntimeError, match="one pass at a time"):
            next(first)
        first.close()  # takes nothing from the other
    else:
        assert seen + [i for b in first for i in b.tolist()] == numbered.order(2)
    assert [i for b in second for i in b.tolist()] == numbered.order(2)
    assert loader.epoch == 1
    assert [i for b in loader for i in b.tolist()] == numbered.order(2, 1)
    loader.close()
    data.close()


@pytest.mark.parametrize("index", [1.0, "1", None, slice(0, 2), [1, 2]], ids=str)
def test_what_is_no_index(numbered: Any, index: Any) -> None:
    data = numbered.files()
    for read in (data, Mixture([(data, 1)])):
        with pytest.raises(TypeError, match="integer"):
            read[index]
    assert number(data[np.int64(3)]) == number(data[torch.tensor(3)]) == 3
    data.close()


def test_what_torch_refuses_beside_a_sampler_is_refused_beside_ours(numbered: Any) -> None:
    data = numbered.files()
    with pytest.raises(ValueError, match="sampler option is mutually exclusive with shuffle"):
        DataLoader(data, 4, sampler=data.sampler(), shuffle=True)
    ours = RankBatches(data.source, 4)
    assert [len(b) for b in DataLoader(data, batch_sampler=ours)][:2] == [4, 4]
    for more in ({"batch_size": 8}, {"drop_last": True}, {"shuffle": True}, {"sampler": data.sampler()}):
        with pytest.raises(ValueError, match="batch_sampler option is mutually exclusive"):
            DataLoader(data, batch_sampler=ours, **more)
    data.close()


class Offset(torch.utils.data.Dataset[int]):
    """A dataset that its workers change."""

    base = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> int:
        return self.base + i


def change(worker: int) -> None:
    info = torch.utils.data.get_worker_info()
    assert info is not None
    info.dataset.base = 100 * (1 + worker)


def look(worker: int) -> None:
    info = torch.utils.data.get_worker_info()
    assert info is not None
    info.dataset.source.selection = Selection("nobody/reads", "this")


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_a_worker_shows_the_dataset(numbered: Any, context: str) -> None:
    """``worker_init_fn`` finds it where torch's loader has it, and what it changes there is what is read."""
    options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": context, "worker_init_fn": change}
    expected = [100, 101, 102, 203, 204, 205, 106, 107]
    for kind in (Stock, DataLoader):
        assert [i for b in kind(Offset(), 3, **options) for i in b.tolist()] == expected
    data = numbered.files(transform_fn=ends_at_seven)
    with pytest.raises(RuntimeError, match="nobody/reads@this"):
        list(DataLoader(data, 4, **options | {"worker_init_fn": look}))
    data.close()


def test_parts_that_make_no_batch_together(numbered: Any, pool_of_numbers: Any) -> None:
    files, rows = numbered.files(), numbered.rows()
    labelled = open_numbers(pool_of_numbers, None, labels="dirname")
    for parts, match in (
        ([files, rows], r"a batch of files and rows of \(id\)"),
        ([rows, files], r"a batch of rows of \(id\) and files"),
        ([labelled, files], "a batch of files with labels and files"),
        ([files, labelled], "a batch of files and files with labels"),
    ):
        mixed = ConcatDataset([Subset(parts[0], [0, 1]), Subset(parts[1], [0, 1])])
        for kind in (Stock, DataLoader):
            with pytest.raises(ValueError, match=match):
                list(kind(mixed, 4))
    other = SampleDict({"id": torch.tensor(1), "x": torch.tensor(2)})
    for batch in ([rows[0], other], [other, rows[0]]):
        with pytest.raises(ValueError, match=r"rows of \(id, x\)"):
            torch.utils.data.default_collate(batch)
    for data in (files, rows, labelled):
        data.close()


@pytest.mark.parametrize("options", [{}, {"transform_threads": 1}, WORKERS], ids=["here", "threads", "workers"])
def test_a_batch_of_too_many_samples_says_where(numbered: Any, options: dict[str, Any]) -> None:
    data = numbered.files(transform_fn=number)
    loader = DataLoader(data, 70_000, sampler=[1] * 70_000, **options)
    with pytest.raises(InvalidError, match=r"1 to 65536 .*batch 0 of pass 0") as failed:
        next(iter(loader))
    assert "batch_size" in str(failed.value)
    data.close()
