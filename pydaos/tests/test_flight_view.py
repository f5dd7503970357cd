"""Views as Flight descriptors, from a stock pyarrow client that knows nothing of pydaos."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flightclient import ERRORS, Caller, command, connect, flat, images, upload


@pytest.fixture
def flight(server):
    client, options = connect(server)
    with client:
        yield Caller(client, options)


def path(*components):
    return fl.FlightDescriptor.for_path(*components)


def test_a_view_of_a_tensor_dataset(flight, client, pool):
    data = images(30_000, seed=5, width=1500)
    d = client.create_dataset(f"{pool}/t", type="tensor")
    upload(flight, d.address, data)
    d.snapshot("v1")
    client.query(f"{d.address}@v1", where="quality > 0.2", save_view="good")
    keep = np.flatnonzero(data["quality"].to_numpy() > 0.2)
    info = flight.info(path(d.address, "view", "good"))
    assert len(info.endpoints) > 1
    assert info.total_records == len(keep)
    meta = json.loads(info.app_metadata)
    assert (meta["view"], meta["revision"], meta["snapshot"], meta["dataset"]) == ("good", 1, "v1", d.address)
    got = pa.concat_tables([flight.get(e.ticket) for e in reversed(info.endpoints)][::-1])
    assert got.schema == info.schema
    assert got["name"].to_pylist() == data["name"].take(keep).to_pylist()
    assert np.array_equal(flat(got["image"]), flat(data["image"].take(keep)))
    # Some of it, by a command.
    part = {"dataset": d.address, "name": "good", "columns": ["label"], "start": 10, "stop": 15}
    some = flight.read(command(view=part))
    assert some.to_pydict() == {"label": data["label"].take(keep[10:15]).to_pylist()}
    # In an order of its own.
    client.sql(f'SELECT _id FROM "{d.address}@v1" ORDER BY quality LIMIT 50', save_view="worst")
    worst = np.argsort(data["quality"].to_numpy(), kind="stable")[:50]
    assert flight.read(path(d.address, "view", "worst"))["name"].to_pylist() == data["name"].take(worst).to_pylist()


def test_a_view_of_files_has_their_paths_and_bytes(flight, client, pool):
    files = client.create_dataset(f"{pool}/f", type="posix")
    want = {f"c{i % 3}/{i:03d}.bin": bytes([i]) * (i * 40) for i in range(90)}
    for name, content in want.items():
        files.write_bytes(name, content, parents=True)
    files.snapshot("v1")
    client.query(f"{files.address}@v1", where="size > 2000 and type = 'file'", save_view="large")
    got = flight.read(path(files.address, "view", "large"))
    assert got.column_names[0] == "path"
    expected = {k: v for k, v in want.items() if len(v) > 2000}
    assert dict(zip(got["path"].to_pylist(), got[got.column_names[1]].to_pylist(), strict=True)) == {
        k.encode(): v for k, v in expected.items()
    }
    assert got["path"].to_pylist() == sorted(k.encode() for k in expected)


def test_views_that_are_gone_or_changed_are_said(flight, client, pool):
    d = client.create_dataset(f"{pool}/t", type="tensor")
    upload(flight, d.address, images(500, seed=5, width=8))
    d.snapshot("v1")
    client.query(f"{d.address}@v1", where="label = 3", save_view="three")
    info = flight.info(path(d.address, "view", "three"))
    assert flight.get(info.endpoints[0].ticket) == flight.get(info.endpoints[0].ticket)
    with pytest.raises(ERRORS, match=r"nope"):
        flight.info(path(d.address, "view", "nope"))
    with pytest.raises(ERRORS, match=r"has its own snapshot"):
        flight.info(path(f"{d.address}@v1", "view", "three"))
    client.query(f"{d.address}@v1", where="label = 4", save_view="three", replace=True)
    with pytest.raises(ERRORS, match=r"has other samples than when this ticket was given out"):
        flight.get(info.endpoints[0].ticket)
    assert set(flight.read(path(d.address, "view", "three"))["label"].to_pylist()) == {4}
    d.destroy_snapshot("v1", force=True)
    with pytest.raises(ERRORS, match=r"the snapshot of view \W*three\W* is gone"):
        flight.info(path(d.address, "view", "three"))
