"""Arrow Flight from a stock pyarrow client that knows nothing of pydaos."""

import functools
import json
import os
import threading
from itertools import cycle

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flightclient import ERRORS
from flightclient import put as upload

from pydaos._proto.daos.flight.v1 import flight_pb2
from pydaos._proto.daos.scan.v1 import scan_service_pb2 as scan_pb2


@pytest.fixture
def flight(server):
    with fl.connect(f"grpc://{server.address}") as client:
        yield client


@pytest.fixture
def options(server):
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {server.token}".encode())], timeout=60)


def table(rows, seed=0, image=(28, 28)):
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 256, rows * int(np.prod(image)), dtype=np.uint8)
    return pa.table(
        {
            "image": pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(image))),
            "label": pa.array(rng.integers(0, 10, rows), pa.int64()),
            "score": pa.array(rng.random(rows), pa.float32()),
            "text": pa.array([None if i % 5 == 0 else f"row {i}" for i in range(rows)], pa.string()),
            "blob": pa.array([bytes(i % 90) for i in range(rows)], pa.binary()),
            "seq": pa.array([list(range(i % 7)) for i in range(rows)], pa.list_(pa.int32())),
        }
    )


def path(address):
    return fl.FlightDescriptor.for_path(*address.split("/"))


put = functools.partial(upload, batch=2000)


def get(flight, options, descriptor):
    info = flight.get_flight_info(descriptor, options)
    return pa.concat_tables(flight.do_get(e.ticket, options).read_all() for e in info.endpoints), info


def act(flight, options, action, **request):
    (result,) = flight.do_action((action, json.dumps(request).encode()), options)
    return json.loads(result.body.to_pybytes())


def same(got, want):
    """Values are equal; nullability and metadata of the fields are the server's."""
    assert got.column_names == want.column_names
    for name in want.column_names:
        assert got[name].to_pylist() == want[name].to_pylist(), name


def test_upload_and_download_of_all_layouts(flight, options, pool, tensor_dataset):
    data = table(10_000)
    address = f"{pool}/tensor"
    answer = put(flight, options, path(address), data)
    assert (answer["start"], answer["count"]) == (0, 10_000)
    got, info = get(flight, options, path(address))
    same(got, data)
    assert info.total_records == 10_000
    assert json.loads(info.app_metadata)["dataset"] == address
    assert flight.get_schema(path(address), options).schema == info.schema == got.schema
    got.validate(full=True)


def test_pydaos_sees_what_flight_wrote(flight, options, pool, tensor_dataset):
    data = table(500)
    put(flight, options, path(f"{pool}/tensor"), data)
    dataset = tensor_dataset
    assert len(dataset) == 500
    np.testing.assert_array_equal(dataset[7]["label"], data["label"][7].as_py())


def test_snapshot_stays_while_the_dataset_changes(flight, options, pool, tensor_dataset):
    address = f"{pool}/tensor"
    data = table(3000)
    put(flight, options, path(address), data)
    assert act(flight, options, "create-snapshot", dataset=address, name="s1")["snapshot"]["name"] == "s1"
    info = flight.get_flight_info(path(address), options)
    put(flight, options, path(address), table(10, seed=2), {"mode": "overwrite", "start": 5})
    put(flight, options, path(address), table(100, seed=3))
    same(get(flight, options, path(f"{address}@s1"))[0], data)
    # Tickets of the live dataset hold the epoch of their FlightInfo, at every use.
    for _ in range(2):
        same(pa.concat_tables(flight.do_get(e.ticket, options).read_all() for e in info.endpoints), data)
    now = get(flight, options, path(address))[0]
    assert now.num_rows == 3100
    assert now["label"][5:15].to_pylist() == table(10, seed=2)["label"].to_pylist()
    assert [s["name"] for s in act(flight, options, "list-snapshots", dataset=address)["snapshots"]] == ["s1"]


def test_large_messages_go_up_and_come_down_in_pieces(flight, options, pool, tensor_dataset):
    data = table(30_000)  # one message of about 28 MB
    address = f"{pool}/tensor"
    put(flight, options, path(address), data, batch=30_000)
    info = flight.get_flight_info(path(address), options)
    rows = 0
    for endpoint in info.endpoints:
        for chunk in flight.do_get(endpoint.ticket, options):
            assert chunk.data.nbytes < 4 << 20  # what foreign Go clients take
            rows += chunk.data.num_rows
    assert rows == 30_000
    same(get(flight, options, path(address))[0], data)


def test_retried_upload_happens_once(flight, options, pool, tensor_dataset):
    meta = {"request_id": os.urandom(16).hex()}
    first = put(flight, options, path(f"{pool}/tensor"), table(50), meta)
    again = put(flight, options, path(f"{pool}/tensor"), table(50), meta)
    assert again == {**first, "replayed": True}
    with pytest.raises(ERRORS, match="length is 50"):
        put(flight, options, path(f"{pool}/tensor"), table(50), {"expect_length": 0})
    assert get(flight, options, path(f"{pool}/tensor"))[0].num_rows == 50


def test_command_descriptor_selects_columns_and_rows(flight, options, pool, tensor_dataset):
    data = table(1000)
    put(flight, options, path(f"{pool}/tensor"), data)
    command = flight_pb2.Command(
        tensor=flight_pb2.TensorRead(dataset=f"{pool}/tensor", columns=["label", "text"], start=100, stop=130)
    )
    got, info = get(flight, options, fl.FlightDescriptor.for_command(command.SerializeToString()))
    same(got, data.select(["label", "text"]).slice(100, 30))
    assert info.total_records == 30


def test_exchange_by_index(flight, options, pool, tensor_dataset):
    data = table(2000)
    put(flight, options, path(f"{pool}/tensor"), data)
    writer, reader = flight.do_exchange(path(f"{pool}/tensor"), options)
    with writer:
        writer.write_metadata(json.dumps({"indices": [3, 1999, 3]}).encode())
        chunk = reader.read_chunk()
        same(pa.table(chunk.data), data.take([3, 1999, 3]))
        assert json.loads(chunk.app_metadata.to_pybytes()) == {"request": 0, "last": True}
        schema = pa.schema([("i", pa.int64())])
        writer.begin(schema)
        rng = np.random.default_rng(1)
        for k in range(1, 20):
            wanted = rng.integers(0, 2000, 32)
            writer.write_batch(pa.record_batch([pa.array(wanted)], schema=schema))
            chunk = reader.read_chunk()
            same(pa.table(chunk.data), data.take(wanted))
            assert json.loads(chunk.app_metadata.to_pybytes())["request"] == k
        writer.done_writing()


def test_scan_of_files(flight, options, client, pool, posix_dataset):
    for i in range(30):
        with posix_dataset.open(f"d{i % 3}/f{i}.bin", "wb", parents=True) as f:
            f.write(bytes(i))
    posix_dataset.snapshot("v1")
    posix_dataset.remove("d0", recursive=True)
    got, info = get(flight, options, path(f"{pool}/files@v1"))
    files = {row["path"]: row["size"] for row in got.to_pylist() if row["type"] == "file"}
    assert files == {f"d{i % 3}/f{i}.bin": i for i in range(30)}
    assert info.total_records == -1
    below, _ = get(flight, options, fl.FlightDescriptor.for_path(pool, "files@v1", "d1"))
    assert below.num_rows == 10
    command = flight_pb2.Command(
        entries=scan_pb2.ScanRequest(
            dataset=f"{pool}/files", columns=["name"], filter=scan_pb2.Filter(name="f2*.bin", min_size=21)
        )
    )
    live, _ = get(flight, options, fl.FlightDescriptor.for_command(command.SerializeToString()))
    assert sorted(live["name"].to_pylist()) == [f"f{i}.bin" for i in range(21, 30) if i % 3]


def test_list_flights(flight, options, pool, tensor_dataset, posix_dataset):
    listed = {b"/".join(f.descriptor.path).decode() for f in flight.list_flights(pool.encode(), options)}
    assert listed == {f"{pool}/tensor", f"{pool}/files"}
    (only,) = flight.list_flights(f"{pool}/t*".encode(), options)
    assert only.descriptor.path == [pool.encode(), b"tensor"]
    actions = {a.type for a in flight.list_actions(options)}
    assert actions >= {"create-snapshot", "list-snapshots", "dataset-info", "CancelFlightInfo"}


def test_token_is_required_and_basic_authentication_works(server, flight, options, pool, tensor_dataset):
    for headers in ([], [(b"authorization", b"Bearer " + b"0" * 64)], [(b"authorization", b"nonsense")]):
        wrong = fl.FlightCallOptions(headers=headers)
        with pytest.raises(fl.FlightUnauthenticatedError, match="token"):
            list(flight.list_flights(b"", wrong))
        with pytest.raises(fl.FlightUnauthenticatedError, match="token"):
            flight.get_flight_info(path(f"{pool}/tensor"), wrong)
    put(flight, options, path(f"{pool}/tensor"), table(3))
    header = flight.authenticate_basic_token("anybody", server.token)
    assert flight.get_flight_info(path(f"{pool}/tensor"), fl.FlightCallOptions(headers=[header])).total_records == 3
    with pytest.raises(fl.FlightUnauthenticatedError):
        flight.authenticate_basic_token("anybody", "0" * 64)


def test_unix_socket_needs_no_token(server, pool, tensor_dataset):
    with fl.connect("grpc+unix://" + server.unix.removeprefix("unix:")) as client:
        assert put(client, fl.FlightCallOptions(), path(f"{pool}/tensor"), table(3))["count"] == 3
        assert client.get_flight_info(path(f"{pool}/tensor")).total_records == 3


def test_errors_say_what_and_what_to_do(flight, options, pool, tensor_dataset, posix_dataset):
    put(flight, options, path(f"{pool}/tensor"), table(10))
    with pytest.raises(ERRORS, match="no such dataset"):
        flight.get_flight_info(path(f"{pool}/nope"), options)
    with pytest.raises(ERRORS, match="no such snapshot"):
        flight.get_flight_info(path(f"{pool}/tensor@nope"), options)
    with pytest.raises(ERRORS, match="ticket"):
        flight.do_get(fl.Ticket(b"made up"), options).read_all()
    info = flight.get_flight_info(path(f"{pool}/tensor"), options)
    forged = bytearray(info.endpoints[0].ticket.ticket)
    forged[-1] ^= 1
    with pytest.raises(ERRORS, match="ticket"):
        flight.do_get(fl.Ticket(bytes(forged)), options).read_all()
    with pytest.raises(ERRORS, match="label"):
        put(flight, options, path(f"{pool}/tensor"), table(1).set_column(1, "label", pa.array(["not a number"])))
    with pytest.raises(ERRORS, match="snapshot"):
        put(flight, options, path(f"{pool}/tensor@s"), table(1))
    with pytest.raises(ERRORS, match="tensor"):
        put(flight, options, path(f"{pool}/files"), table(1))
    with pytest.raises(ERRORS, match="action"):
        list(flight.do_action(("nope", b""), options))
    assert get(flight, options, path(f"{pool}/tensor"))[0].num_rows == 10


def test_abandoned_streams_do_not_disturb_others(flight, options, pool, tensor_dataset):
    put(flight, options, path(f"{pool}/tensor"), table(20_000), batch=5000)
    info = flight.get_flight_info(path(f"{pool}/tensor"), options)
    for _ in range(30):
        reader = flight.do_get(info.endpoints[0].ticket, options)
        reader.read_chunk()
        reader.cancel()
    results = []

    def read():
        results.append(get(flight, options, path(f"{pool}/tensor"))[0].num_rows)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [20_000] * 4


def test_upload_that_is_broken_off_leaves_nothing(server, flight, options, pool, tensor_dataset):
    put(flight, options, path(f"{pool}/tensor"), table(10))
    with fl.connect(f"grpc://{server.address}") as other:
        data = table(5000)
        bearer = (b"authorization", f"Bearer {server.token}".encode())
        short = fl.FlightCallOptions(headers=[bearer], timeout=0.5)
        with pytest.raises(ERRORS):
            writer, _ = other.do_put(path(f"{pool}/tensor"), data.schema, options=short)
            for part in cycle(data.to_batches(max_chunksize=500)):
                writer.write_batch(part)  # until the deadline of the call breaks it
    assert get(flight, options, path(f"{pool}/tensor"))[0].num_rows == 10
