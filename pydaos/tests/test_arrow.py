"""numpy to the Arrow streams of tensor datasets and back, without a server."""

import numpy as np
import pyarrow as pa
import pytest

import pydaos
from pydaos import _arrow as arrow
from pydaos._manifest import BYTES, FIXED, RAGGED, STRING

DTYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]


def there_and_back(data, limit=1 << 30):
    columns = arrow.columns_of(data)
    answers = []
    for stream in arrow.streams_of(arrow.table_of(data, columns), limit):
        joined = arrow.Joined()
        for at in range(0, len(stream), 1000):
            piece = stream[at : at + 1000]
            joined.alloc(len(piece))[:] = piece
        answers.append(joined.answer())
    return columns, arrow.Answer.joined(answers).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
@pytest.mark.parametrize("limit", [1 << 30, 200])
def test_fixed(dtype, shape, limit):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2, (41, *shape)).astype(dtype)
    columns, back = there_and_back({"x": data}, limit)
    assert columns == (pydaos.Column("x", FIXED, np.dtype(dtype), shape),)
    assert back["x"].dtype == data.dtype
    np.testing.assert_array_equal(back["x"], data)
    back["x"][...] = 0  # the caller's memory, writable


def test_variable_length():
    data = {
        "text": ["a", "", "häß", "x" * 300],
        "bytes": [b"1", b"", b"\xff\0", memoryview(b"mm")],
        "ragged": [np.arange(n, dtype="i2") for n in (0, 3, 1, 7)],
    }
    columns, back = there_and_back(data)
    assert [c.layout for c in columns] == [STRING, BYTES, RAGGED]
    assert back["text"] == data["text"]
    assert back["bytes"] == [bytes(b) for b in data["bytes"]]
    for got, want in zip(back["ragged"], data["ragged"]):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def test_nulls():
    data = {
        "fixed": np.ma.MaskedArray(np.arange(4.0), [0, 1, 0, 0]),
        "shaped": np.ma.MaskedArray(np.ones((4, 2), "i4"), [[0, 0], [1, 1], [0, 0], [0, 0]]),
        "listed": [1, None, 3, 4],
        "text": [None, "b", "c", None],
        "ragged": [np.zeros(2), None, np.zeros(0), np.ones(1)],
    }
    columns, back = there_and_back(data)
    assert all(c.nullable for c in columns)
    np.testing.assert_array_equal(back["fixed"].mask, data["fixed"].mask)
    np.testing.assert_array_equal(back["shaped"].mask, data["shaped"].mask)
    assert back["listed"].tolist() == [1, None, 3, 4]
    assert back["text"] == data["text"]
    assert back["ragged"][1] is None
    assert len(back["ragged"][2]) == 0


def test_arrow_data_keeps_its_types():
    table = pa.table({"a": pa.array([1, 2], pa.int16()), "b": pa.array(["x", "y"]), "c": [[1.0], [2.0, 3.0]]})
    columns = {c.name: c for c in arrow.columns_of(table)}
    assert columns["a"].dtype == np.int16
    assert columns["b"].layout == STRING
    assert columns["c"].layout == RAGGED
    assert arrow.table_of(table, tuple(columns.values())) is table


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"x": np.zeros((2, 2), complex)}, "complex"),
        ({"x": [{}, {}]}, "dict|object"),
        ({"x": np.array([object()])}, "object"),
        ({"x": []}, "no column type"),
        ({"x": ["a", 1]}, "no column type"),
    ],
)
def test_data_without_a_column_type_is_refused(data, match):
    with pytest.raises((pydaos.InvalidError, pydaos.UnsupportedError), match=match):
        arrow.columns_of(data)


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        (pydaos.Column("x", FIXED, np.dtype("f4"), (3,)), np.zeros((2, 4), "f4"), "shape"),
        (pydaos.Column("x", FIXED, np.dtype("i4")), np.zeros(2, "f4"), "dtype"),
        (pydaos.Column("x", FIXED, np.dtype("u1")), np.array([256]), "can't hold"),
        (pydaos.Column("x", STRING, np.dtype("u1")), [1], "column 'x'"),
        (pydaos.Column("y", FIXED, np.dtype("f4")), np.zeros(2), "not one of"),
    ],
)
def test_data_that_does_not_fit_its_column_is_refused(column, values, match):
    with pytest.raises(pydaos.InvalidError, match=match):
        arrow.table_of({"x": values}, (column,))


def test_pieces_are_cut_by_bytes():
    blobs = [b""] * 1000 + [bytes(1000)] * 20 + [b"x"] * 500
    table = pa.table({"b": pa.array(blobs, pa.binary())})
    pieces = list(arrow.pieces_of(table, 4000))
    assert [b for p in pieces for b in p["b"].to_pylist()] == blobs
    assert max(p.nbytes for p in pieces) <= 4000
    assert [p.num_rows for p in arrow.pieces_of(table.slice(1000, 1), 10)] == [1]


def test_columns_of_different_length_are_refused():
    data = {"x": np.zeros(2), "y": np.zeros(3)}
    with pytest.raises(pydaos.InvalidError, match="different lengths"):
        arrow.table_of(data, arrow.columns_of(data))
