"""Tensor datasets through the real server."""

import numpy as np
import pyarrow as pa
import pytest

import pydaos
from pydaos import Column
from pydaos._manifest import FIXED

RNG = np.random.default_rng(11)


def samples(count, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (count, 4, 5), dtype=np.uint8),
        "label": rng.integers(0, 10, count),
        "score": rng.standard_normal(count).astype("f4"),
        "flag": rng.integers(0, 2, count).astype(bool),
        "text": [f"sample {i} häß" for i in range(count)],
        "blob": [rng.bytes(int(rng.integers(0, 40))) for _ in range(count)],
        "tokens": [np.arange(int(n), dtype="i4") for n in rng.integers(0, 9, count)],
    }


def same(got, want):
    assert list(got) == list(want)
    for name, values in want.items():
        if isinstance(values, list) and len(values) and isinstance(values[0], np.ndarray):
            assert len(got[name]) == len(values)
            for a, b in zip(got[name], values):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
        elif isinstance(values, list):
            assert got[name] == values
        else:
            assert got[name].dtype == values.dtype
            np.testing.assert_array_equal(got[name], values)


def pick(data, indices):
    at = np.asarray(indices, int)
    return {k: v[at] if isinstance(v, np.ndarray) else [v[i] for i in at] for k, v in data.items()}


@pytest.fixture
def filled(tensor_dataset):
    data = samples(100)
    assert tensor_dataset.append(data) == range(100)
    return tensor_dataset, data


def test_columns_come_from_the_data(filled):
    dataset, _ = filled
    assert len(dataset) == 100
    assert [(c.name, c.dtype.name, c.shape) for c in dataset.columns] == [
        ("image", "uint8", (4, 5)),
        ("label", "int64", ()),
        ("score", "float32", ()),
        ("flag", "bool", ()),
        ("text", "uint8", ()),
        ("blob", "uint8", ()),
        ("tokens", "int32", ()),
    ]


@pytest.mark.parametrize(
    "index", [slice(None), slice(10, 20), slice(90, 500), slice(5, 50, 7), slice(-10, None), slice(None, None, -3),
              slice(20, 10), slice(0, 0)]
)  # fmt: skip
def test_slices(filled, index):
    dataset, data = filled
    got = dataset[index]
    same(got, pick(data, list(range(100))[index]))


def test_reading_by_index(filled):
    dataset, data = filled
    order = [*RNG.permutation(100).tolist(), 3, 3, 3]
    same(dataset.take(order), pick(data, order))
    same(dataset[np.array(order)], pick(data, order))
    same(dataset[[-1, 0]], pick(data, [99, 0]))
    same(dataset[np.arange(100) % 2 == 0], pick(data, range(0, 100, 2)))
    same(dataset.take([]), pick(data, np.array([], int)))
    assert list(dataset.take([1, 2], columns=["label", "text"])) == ["label", "text"]


def test_one_sample(filled):
    dataset, data = filled
    one = dataset[7]
    np.testing.assert_array_equal(one["image"], data["image"][7])
    assert one["label"] == data["label"][7]
    assert one["text"] == data["text"][7]
    assert dataset[-1]["text"] == data["text"][99]
    with pytest.raises(IndexError):
        dataset[100]


def test_iteration(filled):
    dataset, data = filled
    texts = [sample["text"] for sample in dataset]
    assert texts == data["text"]


def test_wrong_reads(filled):
    dataset, _ = filled
    with pytest.raises(pydaos.InvalidError, match="100"):
        dataset.take([0, 100])
    with pytest.raises(pydaos.InvalidError):
        dataset.take([-101])
    with pytest.raises(pydaos.InvalidError, match="integers"):
        dataset.take([0.5])
    with pytest.raises(pydaos.DaosError, match="nocolumn"):
        dataset.read(columns=["nocolumn"])
    with pytest.raises(pydaos.InvalidError, match="step"):
        dataset[::0]


def test_arrow_out_and_in(filled, client, pool):
    dataset, data = filled
    table = dataset.to_arrow()
    assert isinstance(table, pa.Table)
    assert table.num_rows == 100
    assert table["text"].to_pylist() == data["text"]
    copy = client.create_dataset(f"{pool}/copy", type="tensor")
    copy.append(table)
    same(copy[:], data)
    copy.append(table.slice(10, 5).to_batches()[0])
    same(copy[100:], pick(data, range(10, 15)))
    assert dataset.to_arrow([3, 1]).column("label").to_pylist() == [int(data["label"][3]), int(data["label"][1])]


def test_appends_add_up_and_snapshots_stay(filled):
    dataset, data = filled
    dataset.snapshot("v1")
    more = samples(50, seed=1)
    assert dataset.append(more) == range(100, 150)
    same(dataset[100:], more)
    frozen = dataset.at("v1")
    assert len(frozen) == 100
    same(frozen[:], data)
    with pytest.raises(pydaos.ReadOnlyError):
        frozen.append(more)
    with pytest.raises(pydaos.ConflictError):
        dataset.append(more, expect_length=100)
    assert len(dataset) == 150
    assert dataset.append({k: v[:0] for k, v in more.items()}) == range(150, 150)


def test_overwriting(filled):
    dataset, data = filled
    dataset.overwrite(10, {"label": np.full(5, -1), "text": ["new"] * 5})
    data["label"][10:15] = -1
    data["text"][10:15] = ["new"] * 5
    same(dataset[:], data)
    with pytest.raises(pydaos.InvalidError, match="nocolumn"):
        dataset.overwrite(0, {"nocolumn": np.zeros(1)})
    with pytest.raises(pydaos.DaosError):
        dataset.overwrite(99, {"label": np.zeros(5, "i8")})
    same(dataset[:], data)


def test_wrong_appends_change_nothing(filled):
    dataset, data = filled
    good = samples(3)
    for wrong, error in (
        ({k: v for k, v in good.items() if k != "label"}, pydaos.DaosError),
        ({**good, "extra": np.zeros(3)}, pydaos.InvalidError),
        ({**good, "image": np.zeros((3, 4, 6), "u1")}, pydaos.InvalidError),
        ({**good, "label": np.zeros(3)}, pydaos.InvalidError),
        ({**good, "label": np.zeros(2, "i8")}, pydaos.InvalidError),
        ({**good, "text": [1, 2, 3]}, pydaos.InvalidError),
    ):
        with pytest.raises(error):
            dataset.append(wrong)
    same(dataset[:], data)


def test_define(tensor_dataset):
    tensor_dataset.define([Column("x", FIXED, np.dtype("f2"), (3,), True), Column("y", FIXED, np.dtype("u8"))])
    assert [(c.name, c.shape, c.nullable) for c in tensor_dataset.columns] == [("x", (3,), True), ("y", (), False)]
    assert len(tensor_dataset) == 0
    assert tensor_dataset
    assert tensor_dataset[:]["x"].shape == (0, 3)
    x = np.ma.MaskedArray(np.ones((2, 3), "f2"), [[1] * 3, [0] * 3])
    tensor_dataset.append({"x": x, "y": [1, 2**64 - 1]})
    got = tensor_dataset[:]
    np.testing.assert_array_equal(got["x"].mask, x.mask)
    assert got["y"].tolist() == [1, 2**64 - 1]


@pytest.mark.parametrize("dtype", ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
def test_every_dtype(tensor_dataset, dtype):
    data = {
        "scalar": RNG.integers(0, 2, 30).astype(dtype),
        "shaped": RNG.integers(0, 2, (30, 2, 3)).astype(dtype),
        "ragged": [RNG.integers(0, 2, n % 4).astype(dtype) for n in range(30)],
    }
    tensor_dataset.append(data)
    same(tensor_dataset[:], data)
    same(tensor_dataset.take([29, 0, 7]), pick(data, [29, 0, 7]))


def test_nulls(tensor_dataset):
    tensor_dataset.append({"t": ["a", None, ""], "n": [1, None, 3]})
    got = tensor_dataset[:]
    assert got["t"] == ["a", None, ""]
    assert got["n"].tolist() == [1, None, 3]
    (chunk,) = tensor_dataset.stats("n")
    assert (chunk.samples, chunk.nulls, chunk.min, chunk.max) == (3, 1, 1, 3)


def test_statistics(filled):
    dataset, data = filled
    chunks = dataset.stats("score")
    assert sum(c.samples for c in chunks) == 100
    assert min(c.min for c in chunks) == data["score"].min()
    assert max(c.max for c in chunks) == data["score"].max()
    text = dataset.stats("text")
    assert min(c.min for c in text) <= min(data["text"])
    with pytest.raises(pydaos.NotFoundError, match="label"):
        dataset.stats("none")


def test_samples_that_are_too_big_change_nothing(tensor_dataset):
    tensor_dataset.append({"b": [b"first"]})
    with pytest.raises(pydaos.TooBigError):
        tensor_dataset.append({"b": [b"second", bytes(20 << 20), bytes(65 << 20)]})
    assert tensor_dataset[:]["b"] == [b"first"]
    assert tensor_dataset.append({"b": [b"second"]}) == range(1, 2)


def test_large_appends(tensor_dataset):
    x = RNG.standard_normal((200_000, 32)).astype("f4")  # 25 MB, several messages
    tensor_dataset.append({"x": x})
    np.testing.assert_array_equal(tensor_dataset.read()["x"], x)
    order = RNG.permutation(200_000)[:40_000]  # several requests
    np.testing.assert_array_equal(tensor_dataset.take(order)["x"], x[order])


def test_arrays_are_the_callers_own(filled):
    dataset, _ = filled
    a, b = dataset[0:10], dataset[0:10]
    a["image"][...] = 0
    assert a["image"].flags.writeable
    assert b["image"].any()
