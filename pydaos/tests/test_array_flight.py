"""Arrays over Arrow Flight, from a stock pyarrow client that knows nothing of pydaos."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest

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
