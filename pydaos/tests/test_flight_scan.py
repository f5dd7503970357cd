"""Scans, SQL and Flight SQL as Flight descriptors, from a stock pyarrow client that knows nothing of pydaos."""

import concurrent.futures
import json
import re
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl
import pytest
from flightclient import ERRORS, ROWS, Caller, command, connect, flat, images, scan, upload

from pydaos._proto.daos.flight.v1 import flight_pb2
from pydaos._proto.daos.query.v1 import query_service_pb2 as query_pb2


@pytest.fixture
def flight(server):
    client, options = connect(server)
    with client:
        yield Caller(client, options)


@pytest.fixture(scope="session")
def session_flight(server):
    client, options = connect(server)
    with client:
        yield Caller(client, options)


@pytest.fixture(scope="session")
def train(server, session_flight):
    """A tensor dataset of 60,000 rows with a snapshot: its address and its rows."""
    data = images()
    with server.connect() as client:
        client.create_pool("flightscan")
        d = client.create_dataset("flightscan/train", type="tensor")
        upload(session_flight, d.address, data)
        d.snapshot("v1")
    return "flightscan/train@v1", data


@pytest.fixture(scope="session")
def tree(server):
    """A POSIX dataset of 900 files in 30 folders, with a snapshot."""
    with server.connect() as client:
        client.create_pool("flighttree")
        d = client.create_dataset("flighttree/photos", type="posix")
        for c in range(30):
            d.mkdir(f"c{c:02d}")
        files = {f"c{i % 30:02d}/{i}.{'jpg' if i % 3 else 'txt'}": bytes(i % 997) for i in range(900)}
        for name, content in files.items():
            d.write_bytes(name, content)
        d.snapshot("v1")
    return "flighttree/photos@v1", files


def test_scan_by_hand_in_json(flight, train):
    address, data = train
    got = flight.read(scan(address, columns=["_id", "label"], where="label = 3 and quality > 0.5"))
    keep = pc.and_(pc.equal(data["label"], 3), pc.greater(data["quality"], 0.5))
    want = data.append_column("_id", pa.array(np.arange(ROWS, dtype=np.uint64))).filter(keep)
    assert got["_id"].to_pylist() == want["_id"].to_pylist()
    assert got["label"].to_pylist() == want["label"].to_pylist()


def test_scan_as_a_serialized_message_is_the_same(flight, train):
    address, _ = train
    message = flight_pb2.Command(scan=query_pb2.ScanRequest(dataset=address, columns=["name"], where="_id < 1000"))
    by_message = flight.read(fl.FlightDescriptor.for_command(message.SerializeToString()))
    assert by_message == flight.read(scan(address, columns=["name"], where="_id < 1000"))
    assert by_message.num_rows == 1000


def test_endpoints_are_the_scan_in_their_order(flight, train):
    address, data = train
    info = flight.info(scan(address))
    assert len(info.endpoints) > 1
    assert info.ordered
    assert info.total_records == ROWS
    whole = pa.concat_tables(flight.get(e.ticket) for e in info.endpoints)
    assert whole["_id"].to_pylist() == list(range(ROWS))
    assert np.array_equal(flat(whole["image"]), flat(data["image"]))
    # Out of order, side by side, and each of them twice.
    order = list(range(len(info.endpoints))) * 2
    np.random.default_rng(4).shuffle(order)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda k: (k, flight.get(info.endpoints[k].ticket)), order))
    for k, part in parts:
        assert part == parts[order.index(k)][1]
    again = dict(parts)
    assert pa.concat_tables(again[k] for k in sorted(again)) == whole


def test_endpoints_of_a_tree_are_the_tree(flight, tree):
    address, files = tree
    info = flight.info(scan(address, columns=["path", "size", "mtime"], where="type = 'file' and ext = 'jpg'"))
    assert len(info.endpoints) > 1
    tables = [flight.get(e.ticket) for e in reversed(info.endpoints)][::-1]
    got = pa.concat_tables(tables)
    assert all(t.num_rows for t in tables)
    assert sorted(zip(got["path"].to_pylist(), got["size"].to_pylist(), strict=True)) == sorted(
        (name, len(content)) for name, content in files.items() if name.endswith("jpg")
    )
    assert got["mtime"].type == pa.timestamp("ns", "UTC")
    below = flight.read(scan(f"{address}/c07", columns=["path"]))
    assert sorted(below["path"].to_pylist()) == sorted(name for name in files if name.startswith("c07/"))


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({"limit": 7}, 7),
        ({"limit": 7, "offset": ROWS - 3}, 3),
        ({"top": {"column": "quality", "descending": True, "k": 12}}, 12),
        ({"sample": {"n": 25, "seed": 7}}, 25),
        ({"group_by": ["label"], "aggregates": ["count", "avg(quality)"]}, 10),
        ({"aggregates": ["count(*)", {"function": "AGGREGATE_FUNCTION_MAX", "column": "_id"}]}, 1),
    ],
)
def test_what_has_its_result_as_a_whole_is_one_endpoint(flight, train, fields, rows):
    address, data = train
    if "aggregates" not in fields:
        fields = {"columns": ["_id", "quality"], **fields}
    info = flight.info(scan(address, **fields))
    assert len(info.endpoints) == 1
    got = flight.get(info.endpoints[0].ticket)
    assert got.num_rows == rows
    assert got == flight.get(info.endpoints[0].ticket)
    if "group_by" not in fields:
        assert info.total_records == rows
    if "top" in fields:
        assert got["quality"].to_pylist() == sorted(data["quality"].to_pylist(), reverse=True)[:12]
    if "group_by" in fields:
        assert got["count(*)"].to_pylist() == np.bincount(data["label"].to_numpy(), minlength=10).tolist()


def test_a_fraction_is_drawn_alike_in_all_endpoints(flight, train):
    address, _ = train
    info = flight.info(scan(address, columns=["_id", "image"], sample={"fraction": 0.5, "seed": 3}))
    assert len(info.endpoints) > 1
    got = pa.concat_tables(flight.get(e.ticket) for e in info.endpoints)["_id"].to_pylist()
    assert 0.45 * ROWS < len(got) < 0.55 * ROWS
    assert got == sorted(set(got))
    one = flight.read(scan(address, columns=["_id"], sample={"fraction": 0.5, "seed": 3}, limit=ROWS))
    assert one["_id"].to_pylist() == got


def test_statistics_and_counters(flight, train):
    address, data = train
    info = flight.info(scan(address, columns=["label", "quality"]))
    meta = json.loads(info.app_metadata)
    assert (meta["dataset"], meta["type"], meta["snapshot"]) == ("flightscan/train", "tensor", "v1")
    assert info.total_records == ROWS
    assert info.total_bytes == ROWS * 16
    stats = meta["statistics"]
    assert stats["rows_at_most"] == ROWS
    assert stats["columns"]["label"] == {"min": 0, "max": 9, "nulls": False, "nans": False}
    assert stats["columns"]["quality"]["min"] <= min(data["quality"].to_pylist())
    # What can't match is known before anything is read.
    info = flight.info(scan(address, columns=["label", "image"], where="_id >= 50000 and quality > 0.5"))
    stats = json.loads(info.app_metadata)["statistics"]
    assert info.total_records == -1
    assert 0 < stats["chunks_pruned"] < stats["chunks"]
    want = int(np.sum(data["quality"].to_numpy()[50_000:] > 0.5))
    assert want <= stats["rows_at_most"] < ROWS
    lasts = []
    for e in info.endpoints:
        chunks = list(flight.client.do_get(e.ticket, flight.options))
        lasts.append(json.loads(chunks[-1].app_metadata.to_pybytes()))
    assert all(last["last"] for last in lasts)
    assert sum(last["rows_out"] for last in lasts) == want
    assert sum(last["chunks_pruned"] for last in lasts) == stats["chunks_pruned"]


def test_an_empty_result_has_a_schema(flight, train):
    address, _ = train
    got = flight.read(scan(address, columns=["_id", "name", "image"], where="label = 77"))
    assert got.num_rows == 0
    assert got.column_names == ["_id", "name", "image"]


def test_get_schema_is_that_of_the_info(flight, train):
    address, _ = train
    for descriptor in [scan(address, columns=["name", "_id"]), command(sql=f'SELECT name, 1.5 AS x FROM "{address}"')]:
        schema = flight.client.get_schema(descriptor, flight.options).schema
        assert schema == flight.info(descriptor).schema


def test_kv_and_array_tables(flight, client, pool):
    kv = client.create_dataset(f"{pool}/kv", type="kv")
    kv.put_many({f"k{i:04d}".encode(): bytes(i) for i in range(1000)})
    got = flight.read(scan(kv.address, columns=["key_text", "size"], where="key_text >= 'k0500' and size < 503"))
    assert got.to_pydict() == {"key_text": ["k0500", "k0501", "k0502"], "size": [500, 501, 502]}
    arrays = client.create_dataset(f"{pool}/arrays", type="array")
    values = np.arange(2400, dtype=np.float32).reshape(40, 60)
    a = arrays.create_array("grid", shape=values.shape, dtype="float32", chunks=(10, 10))
    a[...] = values
    got = flight.read(scan(f"{arrays.address}/grid", where="value >= 2395"))
    assert got["value"].to_pylist() == [2395, 2396, 2397, 2398, 2399]
    assert got["dim_1"].to_pylist() == [55, 56, 57, 58, 59]


@pytest.mark.parametrize(
    ("of", "says"),
    [
        ({"scan": {"dataset": "flightscan/train@v1", "where": "lable = 3"}}, r"did you mean \W*label"),
        ({"scan": {"dataset": "flightscan/train@v1", "where": "label ="}}, r"label ="),
        ({"scan": {"dataset": "flightscan/train@v1", "columns": ["lable"]}}, r"no column"),
        ({"scan": {"dataset": "flightscan/train@v1", "colums": ["label"]}}, r'unknown field "colums"'),
        ({"scan": {"dataset": "flightscan/none"}}, r"there is no such dataset"),
        ({"scan": {"dataset": "flightscan/train@none"}}, r"no such snapshot|no snapshot"),
        ({"scan": {"dataset": ""}}, r"."),
        ({"scan": {"dataset": "flightscan/train@v1", "aggregates": ["median(label)"]}}, r"not an aggregate"),
        ({"scan": {"dataset": "flightscan/train@v1", "batch_rows": 1 << 20}}, r"rows a batch"),
        ({"scan": {"dataset": "flightscan/train@v1"}, "sql": "SELECT 1"}, r"2 parts"),
        ({"scna": {}}, r"no command is called"),
        ({}, r"0 parts"),
        ({"scan": {"dataset": "flightscan/train@v1"}, "params": {}}, r"go with sql"),
        ({"sql": "SELECT * FROM"}, r"syntax|end of input"),
        ({"sql": "DROP TABLE x"}, r"only SELECT"),
        ({"sql": 'SELECT nope FROM "flightscan/train@v1"'}, r"nope"),
        ({"sql": "SELECT $k"}, r"no value"),
        ({"sql": "SELECT 1", "params": {"k": {"deep": 1}}}, r"parameters are not understood"),
        ({"sql": "SELECT random()"}, r"random has another value at every run"),
        ({"sql": "SELECT current_date"}, r"current_date has another value"),
        ({"sql": 'SELECT * FROM "flightscan/train@v1" USING SAMPLE 5'}, r"sample without a seed"),
        ({"scan_part": {"scan": {"dataset": "flightscan/train@v1"}}}, r"no command is called"),
    ],
)
def test_wrong_commands_say_what_is_wrong(flight, train, of, says):
    with pytest.raises(ERRORS, match=says):
        flight.info(command(**of))


def test_commands_that_are_nothing(flight):
    rng = np.random.default_rng(8)
    for raw in [b"", b"{", b"{}", b" {", b"[1]", b"nothing", b"\n{", b"{" * 5000, *(rng.bytes(40) for _ in range(50))]:
        with pytest.raises(ERRORS):
            flight.info(fl.FlightDescriptor.for_command(raw))
    part = flight_pb2.Command(scan_part=flight_pb2.ScanPart(scan=query_pb2.ScanRequest(dataset="p/t")))
    with pytest.raises(ERRORS, match=r"only tickets have"):
        flight.info(fl.FlightDescriptor.for_command(part.SerializeToString()))
    with pytest.raises(ERRORS, match=r"at most 1048576"):
        flight.info(command(sql="SELECT " + "1 + " * 300_000 + "1"))


def test_sql(flight, train):
    address, data = train
    statement = f'SELECT label, count(*) AS n, avg(quality) AS q FROM "{address}" WHERE quality > $least GROUP BY label'
    info = flight.info(command(sql=statement, params={"least": 0.25}))
    assert len(info.endpoints) == 1
    (source,) = json.loads(info.app_metadata)["sources"]
    assert (source["dataset"], source["snapshot"]) == ("flightscan/train", "v1")
    tables = [flight.get(info.endpoints[0].ticket) for _ in range(3)]
    assert tables[0].schema == info.schema
    assert tables[0] == tables[1] == tables[2]
    want = data.filter(pc.greater(data["quality"], 0.25)).group_by("label").aggregate([([], "count_all")])
    assert sorted(zip(*tables[0].select(["label", "n"]).to_pydict().values(), strict=True)) == sorted(
        zip(want["label"].to_pylist(), want["count_all"].to_pylist(), strict=True)
    )
    statement = "SELECT ?::INTEGER + 1 AS x, ?::VARCHAR AS t"
    plain = flight.read(command(sql=statement, params=[41, "a"]))
    assert plain.to_pydict() == {"x": [42], "t": ["a"]}


def test_sql_joins_of_many_rows_come_back_alike(flight, train):
    address, _ = train
    statement = (
        f'SELECT a._id, b.name, a.quality + b.quality AS s FROM "{address}" a JOIN "{address}" b '
        "ON a._id = b._id WHERE a.label < 7 AND b.name LIKE '%1%'"
    )
    ticket = flight.info(command(sql=statement)).endpoints[0].ticket
    first = flight.get(ticket)
    assert first.num_rows > 10_000
    assert flight.get(ticket) == first


def test_tickets_are_pinned_while_others_write(flight, client, pool):
    d = client.create_dataset(f"{pool}/live", type="tensor")
    upload(flight, d.address, images(20_000, seed=1, width=900))
    scanned = flight.info(scan(d.address))
    stated = flight.info(command(sql=f'SELECT count(*) AS n, sum(label) AS s FROM "{d.address}"'))
    before = [flight.get(e.ticket) for e in scanned.endpoints]
    counted = flight.get(stated.endpoints[0].ticket)
    stop = threading.Event()

    def write():
        k = 0
        while not stop.is_set():
            upload(flight, d.address, images(500, seed=k, width=900))
            k += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(4):
            assert [flight.get(e.ticket) for e in scanned.endpoints] == before
            assert flight.get(stated.endpoints[0].ticket) == counted
    finally:
        stop.set()
        thread.join()
    assert flight.info(scan(d.address)).total_records > 20_000


def test_flight_sql_statement(flight, train):
    address, _ = train
    any_pb2 = pytest.importorskip("google.protobuf.any_pb2")
    query = f'SELECT max(_id) AS m FROM "{address}"'.encode()
    body = b"\x0a" + bytes([len(query)]) + query  # CommandStatementQuery{query = 1}
    url = "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    descriptor = fl.FlightDescriptor.for_command(any_pb2.Any(type_url=url, value=body).SerializeToString())
    assert flight.read(descriptor).to_pydict() == {"m": [ROWS - 1]}
    # Names as GetTables gives them: the pool is the catalog.
    query = f'SELECT max(_id) AS m FROM "{address.split("/")[0]}"."{address}"'.encode()
    body = b"\x0a" + bytes([len(query)]) + query
    named = fl.FlightDescriptor.for_command(any_pb2.Any(type_url=url, value=body).SerializeToString())
    assert flight.read(named).to_pydict() == {"m": [ROWS - 1]}
    tables = any_pb2.Any(type_url=url.replace("StatementQuery", "GetTables")).SerializeToString()
    listed = flight.read(fl.FlightDescriptor.for_command(tables)).to_pylist()
    pool, live = address.split("/")[0], address.partition("@")[0]
    want = {"catalog_name": pool, "db_schema_name": "", "table_name": live, "table_type": "TABLE"}
    assert want in listed
    other = any_pb2.Any(type_url=url.replace("StatementQuery", "StatementUpdate"), value=body)
    with pytest.raises(ERRORS, match=r"not served"):
        flight.info(fl.FlightDescriptor.for_command(other.SerializeToString()))


def test_flight_sql_prepared_statement(flight, train):
    address, _ = train
    any_pb2 = pytest.importorskip("google.protobuf.any_pb2")
    sql = "type.googleapis.com/arrow.flight.protocol.sql."

    def field(number, value):
        assert len(value) < 128
        return bytes([8 * number + 2, len(value)]) + value

    def action(name, body):
        packed = any_pb2.Any(type_url=f"{sql}Action{name}Request", value=body).SerializeToString()
        return [r.body.to_pybytes() for r in flight.client.do_action((name, packed), flight.options)]

    query = f'SELECT max(_id) AS m FROM "{address}"'.encode()
    (body,) = action("CreatePreparedStatement", field(1, query))
    made = any_pb2.Any.FromString(body)
    assert made.type_url == sql + "ActionCreatePreparedStatementResult"
    assert made.value[0] == 0x0A  # the handle
    handle = made.value[2 : 2 + made.value[1]]
    command = any_pb2.Any(type_url=f"{sql}CommandPreparedStatementQuery", value=field(1, handle)).SerializeToString()
    for _ in range(2):
        assert flight.read(fl.FlightDescriptor.for_command(command)).to_pydict() == {"m": [ROWS - 1]}
    assert action("ClosePreparedStatement", field(1, handle)) == []
    with pytest.raises(ERRORS, match=r"there is no such pool"):
        action("CreatePreparedStatement", field(1, b'SELECT 1 FROM "nope/t"'))


def test_the_example_of_the_docs_runs(server, client, session_flight, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "query.md").read_text()
    (code,) = re.findall(r"## From any Arrow client\n.*?```python\n(.*?)```", page, re.DOTALL)
    data = images(2000, seed=6, width=4)
    client.create_pool("p")
    try:
        d = client.create_dataset("p/train", type="tensor")
        upload(session_flight, "p/train", data)
        d.snapshot("v1")
        monkeypatch.setenv("DAOS", server.address)
        monkeypatch.setenv("TOKEN", server.token)
        names = {}
        exec(compile(code, "query.md", "exec"), names)
    finally:
        client.destroy_pool("p", force=True)
    keep = np.flatnonzero((data["label"].to_numpy() == 3) & (data["quality"].to_numpy() > 0.8))
    assert names["hits"]["_id"].to_pylist() == keep.tolist()
    assert len(keep) > 10
    assert sum(names["counts"]["n"].to_pylist()) == int(np.sum(data["quality"].to_numpy() > 0.8))
