"""Arrays over Arrow Flight, from a stock pyarrow client that knows nothing of pydaos."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flightclient import ERRORS, put

import pydaos
from pydaos._arrays import Arrays
from pydaos._proto.daos.array.v1 import array_service_pb2
from pydaos._proto.daos.flight.v1 import flight_pb2
from pydaos.testing import Server


@pytest.fixture
def arrays(client: pydaos.Client, pool: str) -> Arrays:
    made = client.create_dataset(f"{pool}/arrays", type="array")
    assert isinstance(made, Arrays)
    return made


@pytest.fixture
def flight(server: Server) -> Iterator[fl.FlightClient]:
    with fl.connect(f"grpc://{server.address}") as client:
        yield client


@pytest.fixture
def options(server: Server) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {server.token}".encode())], timeout=60)


def _read(flight: fl.FlightClient, options: fl.FlightCallOptions, descriptor: fl.FlightDescriptor) -> pa.Table:
    info = flight.get_flight_info(descriptor, options)
    tables = [flight.do_get(e.ticket, options).read_all() for e in info.endpoints]
    assert all(t.schema == info.schema for t in tables)
    got = pa.concat_tables(tables)
    assert got.num_rows == info.total_records
    return got


def _path(address: str, *more: str) -> fl.FlightDescriptor:
    return fl.FlightDescriptor.for_path(*address.split("/"), *more)


def _command(**fields: Any) -> fl.FlightDescriptor:
    read = flight_pb2.ArrayRead(**fields)
    return fl.FlightDescriptor.for_command(flight_pb2.Command(array=read).SerializeToString())


def _numpy(table: pa.Table) -> np.ndarray[Any, Any]:
    parts = [np.asarray(c.to_numpy_ndarray()) for c in table.column(0).chunks]
    return np.concatenate(parts)


def test_an_array_is_rows_of_a_tensor_column(
    flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays
) -> None:
    x = np.random.default_rng(0).normal(size=(6000, 50, 40)).astype("f4")
    live = arrays.create_array("g/x", data=x, chunks=(500, 25, 40), dims=("t", "y", "x"))
    arrays.snapshot("s1")
    live[...] = 0
    descriptor = _path(f"{arrays.address}@s1", "g", "x")
    info = flight.get_flight_info(descriptor, options)
    assert info.total_bytes == x.nbytes and len(info.endpoints) > 1
    got = _read(flight, options, descriptor)
    assert got.column_names == ["x"] and got.schema.field(0).type.shape == [50, 40]
    assert np.array_equal(_numpy(got), x)
    axes = [
        array_service_pb2.Axis(start=1, count=900, step=3),
        array_service_pb2.Axis(indices=[4, 4, 0]),
        array_service_pb2.Axis(start=39, count=1),
    ]
    part = _read(flight, options, _command(dataset=f"{arrays.address}@s1", path="g/x", axes=axes))
    assert np.array_equal(_numpy(part), x[1:2701:3][:, [4, 4, 0], 39:40])


def test_element_types_are_arrows(flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    for name, values, type_, want in (
        ("b", np.array([True, False, True] * 5), pa.bool_(), [True, False, True] * 5),
        ("t", np.array([when, when], "M8[us]"), pa.timestamp("us"), [when, when]),
        ("h", np.array([1.5, -2], "f2"), pa.float16(), [1.5, -2]),
        ("s", np.array([b"abc", b"xyz"], "S3"), pa.binary(3), [b"abc", b"xyz"]),
        ("i", np.int64(7), pa.int64(), [7]),
    ):
        arrays.create_array(name, data=values)
        got = _read(flight, options, _path(arrays.address, name))
        assert got.schema.field(0).type == type_ and got.column(0).to_pylist() == want
    for name, type_ in (
        ("date32", pa.date32()),
        ("decimal128(10, 2)", pa.decimal128(10, 2)),
        ("timestamp[s, tz=UTC]", pa.timestamp("s", "UTC")),
        ("time64[ns]", pa.time64("ns")),
        ("duration[ms]", pa.duration("ms")),
        ("bfloat16", pa.uint16()),
        ("interval[month_day_nano]", pa.month_day_nano_interval()),
    ):
        arrays.create_array("typed", shape=(2,), dtype=name, overwrite=True)
        field = _read(flight, options, _path(arrays.address, "typed")).schema.field(0)
        assert field.type == type_ and field.metadata[b"daos.dtype"].decode() == name
    arrays.create_array("flags", data=np.arange(12).reshape(3, 4) % 3 == 0)
    assert _read(flight, options, _path(arrays.address, "flags")).column(0).to_pylist()[2] == [
        False,
        True,
        False,
        False,
    ]


def test_what_is_wrong_is_said(flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays) -> None:
    arrays.create_array("x", shape=(4,), dtype="f4")
    for descriptor, why in (
        (_path(arrays.address), "named"),
        (_path(arrays.address, "nope"), "no such array"),
        (_command(dataset=arrays.address, path="x", axes=[array_service_pb2.Axis(start=3, count=2)]), "out of range"),
        (_command(dataset=f"{arrays.address}@gone", path="x"), "gone"),
    ):
        with pytest.raises((fl.FlightError, pa.ArrowException), match=why):
            flight.get_flight_info(descriptor, options)
    listed = [i.descriptor.path for i in flight.list_flights(arrays.address.encode(), options)]
    assert listed == [[p.encode() for p in arrays.address.split("/")]]


def _put(
    flight: fl.FlightClient,
    options: fl.FlightCallOptions,
    descriptor: fl.FlightDescriptor,
    data: pa.Table,
    rows: int | None = None,
    **meta: Any,
) -> Any:
    return put(flight, options, descriptor, data, meta, rows)


def _rows(values: np.ndarray[Any, Any]) -> pa.Table:
    """Rows as any client has them: a tensor column, or plain elements."""
    if values.ndim == 1:
        return pa.table({"x": pa.array(values)})
    return pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(values)})


def _write(**fields: Any) -> fl.FlightDescriptor:
    return fl.FlightDescriptor.for_command(json.dumps({"array_write": fields}).encode())


def test_uploads_are_appended(flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays) -> None:
    rng = np.random.default_rng(3)
    made = arrays.create_array("obs/t2m", shape=(3, 20, 30), dtype="float32", chunks=(4, 7, 30))
    want = rng.random((3, 20, 30), dtype=np.float32)
    made[...] = want
    more = rng.random((50, 20, 30), dtype=np.float32)
    terms = {"request_id": "0f" * 16, "expect_length": 3}
    answer = _put(flight, options, _path(arrays.address, "obs", "t2m"), _rows(more), rows=7, **terms)
    assert (answer["start"], answer["count"]) == (3, 50) and "replayed" not in answer
    want = np.concatenate([want, more])
    np.testing.assert_array_equal(arrays["obs/t2m"][...], want)
    again = _put(flight, options, _path(arrays.address, "obs", "t2m"), _rows(more), **terms)
    assert again == {**answer, "replayed": True}
    np.testing.assert_array_equal(arrays["obs/t2m"][...], want)
    with pytest.raises(ERRORS, match=r"request id"):
        _put(flight, options, _path(arrays.address, "obs", "t2m"), _rows(more[1:]), **terms)
    with pytest.raises(ERRORS, match=r"the length is 53, not 3"):
        _put(flight, options, _write(dataset=arrays.address, path="obs/t2m", expect_length=3), _rows(more))
    # What a reader got can be sent back.
    table = _read(flight, options, _path(arrays.address, "obs", "t2m"))
    assert _put(flight, options, _write(dataset=arrays.address, path="obs/t2m"), table)["count"] == 53
    np.testing.assert_array_equal(arrays["obs/t2m"][...], np.concatenate([want, want]))


def test_a_large_upload_is_seen_whole(flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays) -> None:
    arrays.create_array("big", shape=(5, 1000), dtype="int32", chunks=(64, 1000))
    values = np.arange(30_000_000, dtype=np.int32).reshape(-1, 1000)  # 120 MB: staged
    data = _rows(values)
    writer, reader = flight.do_put(_path(arrays.address, "big"), data.schema, options=options)
    with writer:
        for part in data.to_batches(max_chunksize=2_500):
            writer.write_batch(part)
            assert arrays["big"].shape == (5, 1000)
        writer.done_writing()
        answer = json.loads(reader.read().to_pybytes())
    assert answer["start"] == 5 and answer["count"] == 30_000
    got = arrays["big"]
    assert got.shape == (30_005, 1000)
    np.testing.assert_array_equal(got[5:], values)
    # One that fails half way leaves nothing.
    kind = data.schema.field(0).type
    bad = pa.table({"x": pa.ExtensionArray.from_storage(kind, pa.array([None], kind.storage_type))})
    writer, reader = flight.do_put(_path(arrays.address, "big"), data.schema, options=options)
    with pytest.raises(ERRORS, match=r"a null"), writer:
        for part in data.slice(0, 12_000).to_batches(max_chunksize=2_500):
            writer.write_batch(part)
        writer.write_table(bad)
        writer.done_writing()
        reader.read()
    assert arrays["big"].shape == (30_005, 1000)


def test_uploads_to_a_place(flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays) -> None:
    want = np.zeros((40, 6), np.float64)
    arrays.create_array("x", shape=want.shape, dtype="float64")
    rows = np.arange(60.0).reshape(10, 6)
    assert _put(flight, options, _path(arrays.address, "x"), _rows(rows), mode="overwrite", start=12)["start"] == 12
    want[12:22] = rows
    axes = [{"start": 1, "count": 4, "step": 3}, {"indices": [5, 0]}]
    part = np.arange(8.0).reshape(4, 2)
    answer = _put(flight, options, _write(dataset=arrays.address, path="x", axes=axes), _rows(part))
    assert (answer["start"], answer["count"]) == (1, 4)
    want[1:13:3, [5, 0]] = part
    np.testing.assert_array_equal(arrays["x"][...], want)
    with pytest.raises(ERRORS, match=r"out of range"):
        _put(flight, options, _path(arrays.address, "x"), _rows(rows), mode="overwrite", start=35)
    with pytest.raises(ERRORS, match=r"3 rows for a selection of 4"):
        _put(flight, options, _write(dataset=arrays.address, path="x", axes=axes), _rows(part[:3]))
    np.testing.assert_array_equal(arrays["x"][...], want)


@pytest.mark.parametrize(
    ("dtype", "column"),
    [
        ("bool", pa.array([True, False, True])),
        ("bfloat16", pa.array([1, 2, 3], pa.uint16())),
        ("timestamp[ns]", pa.array([1, 2, 3], pa.timestamp("ns"))),
        ("complex64", pa.array([b"12345678"] * 3, pa.binary(8))),
        ("uint8", pa.array([1, 2, 3], pa.uint8())),
    ],
)
def test_element_types_are_uploaded(
    flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays, dtype: str, column: Any
) -> None:
    arrays.create_array("x", shape=(0,), dtype=dtype)
    assert _put(flight, options, _path(arrays.address, "x"), pa.table({"any": column}))["count"] == 3
    got = _read(flight, options, _path(arrays.address, "x"))
    assert got.column(0).combine_chunks().equals(column)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pa.table({"x": pa.array([1.0, 2.0])}), r"rows of shape \[\], the array takes \[6\]"),
        (_rows(np.zeros((2, 6), np.float32)), r"elements of type float32, the array's are float64"),
        (_rows(np.zeros((2, 2, 3))), r"rows of shape \[2 3\], the array takes \[6\]"),
        (pa.table({"x": ["a"]}), r"no type of elements"),
        (pa.table({"x": [1], "y": [2]}), r"2 columns"),
        (pa.table({"x": pa.array([1], pa.int8()).dictionary_encode()}), r"no type of elements|dictionar"),
    ],
)
def test_uploads_that_do_not_fit(
    flight: fl.FlightClient, options: fl.FlightCallOptions, arrays: Arrays, data: Any, says: str
) -> None:
    arrays.create_array("x", shape=(4, 6), dtype="float64")
    with pytest.raises(ERRORS, match=says):
        _put(flight, options, _path(arrays.address, "x"), data)
    with pytest.raises(ERRORS, match=r"has to be named"):
        _put(flight, options, _path(arrays.address), _rows(np.zeros((1, 6))))
    with pytest.raises(ERRORS, match=r"no such array"):
        _put(flight, options, _path(arrays.address, "nope"), _rows(np.zeros((1, 6))))
    assert arrays["x"].shape == (4, 6)
