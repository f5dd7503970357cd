"""Batch memory: reused only when nobody holds it, whatever holds it."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from pydaos.torch._batch import LabeledSample, Ragged, ReadyList, Sample, SampleDict, from_samples
from pydaos.torch._buffers import BufferPool


def holders() -> dict[str, Any]:
    return {
        "tensor": lambda t: t,
        "slice": lambda t: t[10:20],
        "view of another dtype": lambda t: t[:64].view(torch.int64),
        "numpy of a slice": lambda t: t[3:9].numpy(),
        "view of that numpy": lambda t: t.numpy()[5:][2:4],
        "memoryview": lambda t: memoryview(t.numpy())[1:3],
        "storage": lambda t: t.untyped_storage(),
        "ragged": lambda t: Ragged(t, torch.tensor([0, 5]))[0],
        "detached": lambda t: t.detach().reshape(2, -1)[1],
    }


@pytest.mark.parametrize("what", holders())
def test_memory_is_reused_only_after_the_last_holder(what: str) -> None:
    pool = BufferPool()
    lease = pool.lease(4096)
    address = lease.ctypes.data
    held = holders()[what](torch.from_numpy(lease))
    del lease
    gc.collect()
    other = pool.lease(4096)
    assert other.ctypes.data != address, "a buffer was handed out while it is held"
    other_address = other.ctypes.data
    del held, other
    gc.collect()
    again = {pool.lease(4096).ctypes.data, address, other_address}
    assert len(again) == 2, "a buffer that nobody holds was not reused"
    assert pool.made == 2


def test_views_of_a_lease_keep_it() -> None:
    """numpy must not shorten a view's chain of bases past the lease."""
    pool = BufferPool()
    lease = pool.lease(100)
    view = lease[10:20][2:5]
    address = lease.ctypes.data
    del lease
    gc.collect()
    assert pool.lease(100).ctypes.data != address
    assert view.size == 3


def test_a_forked_child_neither_shares_nor_returns_memory() -> None:
    pool = BufferPool()
    lease = pool.lease(4096)
    lease[:] = 7
    idle_before = pool._idle_bytes
    child = os.fork()
    if child == 0:
        lease[:] = 9  # must not be seen by the parent
        del lease
        gc.collect()
        os._exit(0 if pool._idle_bytes == idle_before else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert set(lease.tolist()) == {7}


def test_a_lease_that_outlives_its_pool() -> None:
    pool = BufferPool()
    lease = pool.lease(4096)
    lease[:] = 5
    del pool
    gc.collect()
    other = BufferPool().lease(4096)
    other[:] = 6
    assert set(lease.tolist()) == {5}


def test_idle_memory_is_bounded() -> None:
    pool = BufferPool(idle_bytes=1 << 20)
    held = [pool.lease(300_000) for _ in range(10)]
    held.clear()
    gc.collect()
    assert 0 < pool._idle_bytes <= 1 << 20


def test_ragged() -> None:
    r = Ragged(torch.arange(6), torch.tensor([0, 2, 2, 6]))
    assert len(r) == 3
    assert [t.tolist() for t in r] == [[0, 1], [], [2, 3, 4, 5]]
    assert r[-1].tolist() == [2, 3, 4, 5]
    assert r.to_padded(pad=-1).tolist() == [[0, 1, -1, -1], [-1, -1, -1, -1], [2, 3, 4, 5]]
    assert r.to_nested()[2].tolist() == [2, 3, 4, 5]
    assert r.to(torch.float32).values.dtype == torch.float32
    assert r.to(torch.float32).offsets.dtype == torch.int64
    assert pickle.loads(pickle.dumps(r)) == r
    for beyond in (3, -4):
        with pytest.raises(IndexError, match=f"sample {beyond} of a batch of 3"):
            r[beyond]
    with pytest.raises(TypeError, match="integer"):
        r[0:2]  # type: ignore[index]
    import collections.abc

    assert not isinstance(r, (tuple, collections.abc.Sequence))
    kept = torch.utils.data._utils.collate.default_convert(r)
    assert kept is r, "default_convert must leave a Ragged alone"


def ready(n: int = 3) -> tuple[ReadyList, list[int]]:
    made: list[int] = []

    def make(i: int) -> Sample:
        made.append(i)
        return Sample(bytes([i] * 4), 4)

    return ReadyList("the ready batch", n, make, Sample(b"", 4)), made


def test_ready_list_gives_the_batch_to_default_collate_without_a_sample() -> None:
    batch, made = ready()
    assert default_collate(batch) == "the ready batch"
    assert made == []
    assert bytes(batch[0]) == bytes(4), "anybody else gets the sample"
    assert made == [0, 1, 2]


def test_ready_list_under_another_collation_map() -> None:
    """torch's collate with a map of the user's sees the samples, and only the type of element 0."""
    collate = torch.utils.data._utils.collate.collate
    joined = collate(ready()[0], collate_fn_map={bytes: lambda batch, *, collate_fn_map: b"".join(batch)})
    assert joined == b"\0\0\0\0\1\1\1\1\2\2\2\2"
    rows = [SampleDict({"x": torch.full((2,), float(i))}) for i in range(3)]
    listed = ReadyList("ready", 3, rows.__getitem__, SampleDict({"x": None}))
    assert collate(listed, collate_fn_map={torch.Tensor: lambda batch, *, collate_fn_map: torch.stack(batch)})[
        "x"
    ].tolist() == [[0, 0], [1, 1], [2, 2]]
    pairs = [LabeledSample(Sample(bytes([i]), 1), i) for i in range(3)]
    listed = ReadyList("ready", 3, pairs.__getitem__, LabeledSample(Sample(b"", 1), 0))
    x, y = collate(
        listed,
        collate_fn_map={
            bytes: lambda batch, *, collate_fn_map: b"".join(batch),
            int: lambda batch, *, collate_fn_map: list(batch),
        },
    )
    assert (x, y) == (b"\0\1\2", [0, 1, 2])


def test_ready_list_is_an_ordinary_list_to_a_users_collate() -> None:
    plain = [bytes([i] * 4) for i in range(3)]
    assert [bytes(s) for s in ready()[0]] == plain
    assert len(ready()[0]) == 3
    assert ready()[0][-1] == plain[-1]
    assert ready()[0][0:2] == plain[:2]
    assert list(reversed(ready()[0])) == plain[::-1]
    assert ready()[0] == plain
    assert plain[1] in ready()[0]
    assert ready()[0] + [b""] == [*plain, b""]
    assert pickle.loads(pickle.dumps(ready()[0])) == plain
    first, *rest = ready()[0]
    assert (first, rest) == (plain[0], plain[1:])
    assert list(zip(ready()[0], range(3), strict=True))[2] == (plain[2], 2)
    with pytest.raises(IndexError):
        ready()[0][3]


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x.sort(reverse=True),
        lambda x: x.append(b"z"),
        lambda x: x.extend([b"z"]),
        lambda x: x.insert(0, b"z"),
        lambda x: x.pop(),
        lambda x: [x.pop(0) for _ in range(3)],
        lambda x: x.remove(bytes([1] * 4)),
        lambda x: x.index(bytes([2] * 4)),
        lambda x: x.count(bytes([2] * 4)),
        lambda x: x.reverse(),
        lambda x: x.copy(),
        lambda x: x.clear(),
        lambda x: x.__setitem__(1, b"q"),
        lambda x: x.__setitem__(slice(0, 2), [b"q"]),
        lambda x: x.__delitem__(0),
        lambda x: x.__delitem__(slice(None)),
        lambda x: x.__iadd__([b"z"]),
        lambda x: x.__imul__(2),
        lambda x: x * 2,
        lambda x: 2 * x,
        lambda x: [b"z"] + x,  # noqa: RUF005
        lambda x: ([b"z"] < x, [b"z"] == x),  # noqa: SIM300
        lambda x: x != [bytes([i] * 4) for i in range(3)],
        lambda x: [x < [], x > [], x == ready()[0], x + ready()[0]],
        lambda x: random.Random(0).shuffle(x),
        lambda x: (len(x), bool(x), repr(x), x[1:], x[-1], sorted(x, reverse=True), tuple(x), copy.copy(x)),
    ],
)
def test_a_ready_list_does_what_a_list_does(act: Callable[[list[bytes]], Any]) -> None:
    """A collate function may sort, drop or replace samples before it does anything else."""
    plain = [bytes([i] * 4) for i in range(3)]
    listed = ready()[0]
    assert act(listed) == act(plain)
    assert list(listed) == plain
    assert len(listed) == len(plain)
    assert bool(listed) == bool(plain)


def test_what_a_collate_function_changes_is_collated() -> None:
    """It may hand on the list that it was given: torch's collation takes what is in it now."""
    rows = [SampleDict({"x": torch.full((2,), float(i))}) for i in range(3)]
    listed = ReadyList("the ready batch", 3, lambda i: SampleDict(dict(rows[i])), SampleDict({"x": None}))
    for row in listed:
        row["x"] = row["x"] + 1
    assert default_collate(listed)["x"].tolist() == [[1, 1], [2, 2], [3, 3]]
    listed = ReadyList("the ready batch", 3, lambda i: SampleDict(dict(rows[i])), SampleDict({"x": None}))
    listed[0]["x"] = torch.full((2,), 9.0)
    assert default_collate(listed)["x"].tolist() == [[9, 9], [1, 1], [2, 2]]
    files = ready()[0]
    files.pop(1)
    assert default_collate(files).tolist() == [[0] * 4, [2] * 4]
    files = ready()[0]
    files[:] = [torch.tensor([1]), torch.tensor([2])]
    assert default_collate(files).tolist() == [[1], [2]]
    files = ready()[0]
    assert max(len(s) for s in files) == 4
    assert default_collate(files) == "the ready batch", "bytes can't be changed"


def test_single_samples_collate_to_the_same_types() -> None:
    same = [Sample(b"abcd", 4), Sample(b"efgh", 4)]
    out = default_collate(same)
    assert isinstance(out, torch.Tensor)
    assert out.shape == (2, 4)
    mixed = default_collate([Sample(b"ab"), Sample(b""), Sample(b"cde")])
    assert isinstance(mixed, Ragged)
    assert [bytes(t.numpy()) for t in mixed] == [b"ab", b"", b"cde"]
    # Of one size by chance: the type is the manifest's, not the batch's.
    assert isinstance(default_collate([Sample(b"ab"), Sample(b"cd")]), Ragged)
    assert from_samples([Sample(b"", 0), Sample(b"", 0)]).shape == (2, 0)  # type: ignore[union-attr]
    x, y = default_collate([LabeledSample(Sample(b"ab", 2), 3), LabeledSample(Sample(b"cd", 2), 4)])
    assert (x.tolist(), y.tolist()) == ([[97, 98], [99, 100]], [3, 4])
    rows = default_collate(
        [
            SampleDict({"x": torch.zeros(2), "t": torch.arange(1), "s": "a"}, ("t",)),
            SampleDict({"x": torch.ones(2), "t": torch.arange(2), "s": None}, ("t",)),
        ]
    )
    assert rows["x"].shape == (2, 2)
    assert [t.tolist() for t in rows["t"]] == [[0], [0, 1]]
    assert rows["s"] == ["a", None]


def test_samples_pickle() -> None:
    s = pickle.loads(pickle.dumps(Sample(b"abc", 3)))
    assert (s, s.uniform, type(s)) == (b"abc", 3, Sample)
    pair = pickle.loads(pickle.dumps(LabeledSample(Sample(b"abc", 3), 1)))
    assert type(pair) is LabeledSample
    assert pair == (b"abc", 1)
    row = pickle.loads(pickle.dumps(SampleDict({"a": 1}, ("a",))))
    assert (row, row.ragged) == ({"a": 1}, ("a",))
    assert np.frombuffer(s, np.uint8).tolist() == [97, 98, 99]
