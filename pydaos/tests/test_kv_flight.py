"""KV datasets over Arrow Flight, from a stock pyarrow client that knows nothing of pydaos."""

import base64
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flightclient import ERRORS, put

from pydaos._proto.daos.flight.v1 import flight_pb2


@pytest.fixture
def kv(client, pool):
    return client.create_dataset(f"{pool}/kv", type="kv")


@pytest.fixture
def flight(server):
    with fl.connect(f"grpc://{server.address}") as client:
        yield client


@pytest.fixture
def options(server):
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {server.token}".encode())], timeout=60)


def read(flight, options, descriptor):
    info = flight.get_flight_info(descriptor, options)
    tables = [flight.do_get(e.ticket, options).read_all() for e in info.endpoints]
    assert all(t.schema == info.schema for t in tables)
    return pa.concat_tables(tables)


def path(address, *more):
    return fl.FlightDescriptor.for_path(*address.split("/"), *more)


def command(**fields):
    read = flight_pb2.KvRead(**fields)
    return fl.FlightDescriptor.for_command(flight_pb2.Command(kv=read).SerializeToString())


def test_pairs(flight, options, kv):
    rng = np.random.default_rng(1)
    want = {f"k{i:05d}".encode(): rng.bytes(int(rng.integers(0, 3000))) for i in range(5000)}
    want |= {b"\xff\x00": b"bytes", b"large": rng.bytes(9 << 20)}
    kv.put_many(want)
    kv.put("k00007", "second", akey="x")
    kv.snapshot("s1")
    kv.put_many(dict.fromkeys(want, b"changed"))
    got = read(flight, options, path(f"{kv.address}@s1"))
    assert got.column_names == ["key", "akey", "value", "version"]
    rows = got.to_pylist()
    assert [(r["key"], r["akey"]) for r in rows] == sorted([(k, b"") for k in want] + [(b"k00007", b"x")])
    assert {r["key"]: r["value"] for r in rows if not r["akey"]} == want
    live = read(flight, options, path(kv.address))
    assert set(live["value"].to_pylist()) == {b"changed", b"second"}
    part = read(flight, options, path(f"{kv.address}@s1", "k0001"))
    assert part["key"].to_pylist() == [f"k0001{i}".encode() for i in range(10)]


def test_command(flight, options, kv):
    kv.put_many({f"{i:03d}": str(i) for i in range(100)})
    got = read(
        flight,
        options,
        command(dataset=kv.address, start=b"010", stop=b"090", reverse=True, limit=3, columns=["version", "key"]),
    )
    assert got.column_names == ["version", "key"]
    assert got["key"].to_pylist() == [b"089", b"088", b"087"]
    assert got["version"].to_pylist() == [kv.entry("089").version] * 3
    info = flight.get_flight_info(command(dataset=kv.address), options)
    kv["000"] = "new"
    assert flight.do_get(info.endpoints[0].ticket, options).read_all()["value"][0].as_py() == b"0"
    assert json.loads(info.app_metadata)["type"] == "kv"
    with pytest.raises(ERRORS, match="nope"):
        flight.get_flight_info(command(dataset=kv.address, columns=["nope"]), options)
    tensor = flight_pb2.Command(tensor=flight_pb2.TensorRead(dataset=kv.address)).SerializeToString()
    with pytest.raises(ERRORS, match="tensor command"):
        flight.get_flight_info(fl.FlightDescriptor.for_command(tensor), options)


@pytest.mark.parametrize("encoding", ["json", "struct"])
def test_fields_are_columns(flight, options, kv, encoding):
    kv.define(
        {"loss": "float32", "step": "int64", "note": "string?", "ok": "bool", "version": "uint8"}, encoding=encoding
    )
    kv["a"] = {"loss": 0.5, "step": -3, "note": "naïve", "ok": True, "version": 9}
    kv["b"] = {"loss": float("inf"), "step": 1 << 60, "ok": False, "version": 0}
    got = read(flight, options, path(kv.address))
    assert got.schema.field("loss").type == pa.float32() and got.schema.field("note").nullable
    assert got.drop_columns(["version"]).to_pylist() == [
        {"key": b"a", "akey": b"", "loss": 0.5, "step": -3, "note": "naïve", "ok": True, "value.version": 9},
        {
            "key": b"b",
            "akey": b"",
            "loss": float("inf"),
            "step": 1 << 60,
            "note": None,
            "ok": False,
            "value.version": 0,
        },
    ]


def test_many_pairs_are_several_endpoints(flight, options, kv):
    rows = 60_000
    want = {f"{i * 2654435761 % (1 << 32):08x}".encode(): str(i).encode() for i in range(rows)}
    kv.put_many(want)
    keys = sorted(want)
    info = flight.get_flight_info(path(kv.address), options)
    assert len(info.endpoints) > 1 or os.cpu_count() == 1
    kv.put_many({f"{i:07x}": "later" for i in range(0, 1 << 28, 1 << 14)})  # tickets read the epoch they were made at
    for _ in range(2):
        parts = [flight.do_get(e.ticket, options).read_all() for e in info.endpoints]
        assert max(p.num_rows for p in parts) < rows * 3 / len(parts)
        got = pa.concat_tables(parts)
        assert got["key"].to_pylist() == keys
        assert got["value"].to_pylist() == [want[k] for k in keys]
    reverse = read(flight, options, command(dataset=kv.address, reverse=True, prefix=b"f", columns=["key"]))
    assert [k for k in reverse["key"].to_pylist() if k in want] == [k for k in reversed(keys) if k.startswith(b"f")]
    assert len(flight.get_flight_info(command(dataset=kv.address, limit=20_000), options).endpoints) == 1
    scan = fl.FlightDescriptor.for_command(
        json.dumps({"scan": {"dataset": kv.address, "columns": ["key"], "where": "value != x'6c61746572'"}}).encode()
    )
    assert len(flight.get_flight_info(scan, options).endpoints) == len(info.endpoints)
    assert read(flight, options, scan)["key"].to_pylist() == keys


def test_empty_and_listed(flight, options, kv):
    assert read(flight, options, path(kv.address)).num_rows == 0
    mine = [i for i in flight.list_flights(kv.address.encode(), options)]
    assert len(mine) == 1 and mine[0].schema.names == ["key", "akey", "value", "version"]


def test_pairs_are_put(flight, options, kv):
    rng = np.random.default_rng(7)
    want = {f"run/{i:06d}".encode(): rng.bytes(int(rng.integers(0, 200))) for i in range(40_000)}
    want[b"large"] = rng.bytes(20 << 20)
    data = pa.table({"key": pa.array(list(want), pa.binary()), "value": pa.array(list(want.values()), pa.binary())})
    for _ in range(2):  # a retry puts the same
        answer = put(flight, options, kv.address, data)
        assert answer["count"] == len(want)
        got = read(flight, options, path(kv.address))
        assert dict(zip(got["key"].to_pylist(), got["value"].to_pylist(), strict=True)) == want
    assert kv["run/000007"] == want[b"run/000007"]
    two = pa.table({"value": ["b", "c"], "akey": ["", "x"], "key": ["a", "a"]})
    assert put(flight, options, kv.address, two)["count"] == 2
    assert kv.get("a", akey="x") == b"c"
    assert kv["a"] == b"b"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pa.table({"key": ["a"]}), r"columns key and value"),
        (pa.table({"key": [1], "value": ["x"]}), r"column \W*key\W* of this type"),
        (pa.table({"key": ["a"], "value": ["x"], "extra": ["y"]}), r"extra"),
        (pa.table({"key": ["a", None], "value": ["x", "y"]}), r"a null among the keys"),
        (pa.table({"key": [""], "value": ["x"]}), r"empty key"),
        (pa.table({"key": ["k" * 2000], "value": ["x"]}), r"1024|key"),
    ],
)
def test_uploads_that_are_no_pairs(flight, options, kv, data, says):
    with pytest.raises(ERRORS, match=says):
        put(flight, options, kv.address, data)
    assert len(list(kv)) == 0
    with pytest.raises(ERRORS, match=r"no places"):
        put(
            flight,
            options,
            kv.address,
            pa.table({"key": ["a"], "value": ["b"]}),
            meta={"mode": "overwrite", "start": 3},
        )


def test_an_upload_that_fails_says_what_is_stored(flight, options, kv):
    rows = 16_384 + 2  # a transaction, and what is left
    keys = [f"{i:05d}" for i in range(rows)] + [None]
    data = pa.table({"key": keys, "value": ["v"] * len(keys)})
    with pytest.raises(ERRORS, match=r"16384 pairs before that are stored"):
        put(flight, options, kv.address, data, batch=1000)
    assert sum(1 for _ in kv) == 16_384
    # Less than that is put as a whole, or not at all.
    with pytest.raises(ERRORS, match=r"a null among the keys"):
        put(flight, options, kv.address, pa.table({"key": ["x", "y", None], "value": ["1", "2", "3"]}), batch=1)
    assert "x" not in kv


def test_a_retried_upload_happens_once(flight, options, kv):
    rows = 40_000  # three transactions
    data = pa.table({"key": [f"{i:05d}" for i in range(rows)], "value": [f"v{i}" for i in range(rows)]})
    terms = {"request_id": "000102030405060708090a0b0c0d0e0f"}
    first = put(flight, options, kv.address, data, batch=30_000, meta=terms)
    assert first["count"] == rows and "replayed" not in first
    kv.put_many({"00000": "changed", "39999": "changed"})
    del kv["20000"]
    again = put(flight, options, kv.address, data, batch=777, meta=terms)  # the messages may be cut elsewhere
    assert again == {**first, "replayed": True}
    assert kv["00000"] == kv["39999"] == b"changed" and "20000" not in kv
    # The command write says the same.
    write = {"dataset": kv.address, "request_id": base64.b64encode(bytes(range(16))).decode()}
    third = put(flight, options, fl.FlightDescriptor.for_command(json.dumps({"write": write}).encode()), data)
    assert third["replayed"] and kv["00000"] == b"changed"
    with pytest.raises(ERRORS, match=r"request id"):
        put(flight, options, kv.address, data.slice(1), meta=terms)  # it names another upload
    without = put(flight, options, kv.address, data)
    assert "replayed" not in without and kv["00000"] == b"v0"


def test_an_upload_that_broke_off_goes_on_where_it_was(flight, options, kv):
    rows = 40_000
    data = pa.table({"key": [f"{i:05d}" for i in range(rows)], "value": ["v"] * rows})
    terms = json.dumps({"request_id": "ff" * 16}).encode()
    bad = pa.table({"key": pa.array([None], pa.string()), "value": ["v"]})
    writer, reader = flight.do_put(path(kv.address), data.schema, options=options)
    with pytest.raises(ERRORS, match=r"32768 pairs before that are stored"), writer:
        writer.write_with_metadata(data.to_batches()[0], terms)
        writer.write_table(bad)
        writer.done_writing()
        reader.read()
    kv["00000"] = "changed"
    answer = put(flight, options, kv.address, data, batch=5000, meta=json.loads(terms))
    assert answer["count"] == rows and "replayed" not in answer
    assert kv["00000"] == b"changed" and sum(1 for _ in kv) == rows
