"""Tickets of Arrow Flight: the same rows at every retry, through restarts and writes; refused where they should be."""

import hashlib
import hmac
import os
import struct
import threading
import time

import numpy as np
import pyarrow.flight as fl
import pytest
from flightclient import ERRORS, Caller, command, connect, images, scan, upload

from pydaos._proto.daos.flight.v1 import flight_pb2
from pydaos._proto.daos.query.v1 import query_service_pb2 as query_pb2
from pydaos.testing import Server

FOREVER = "SELECT count(*) AS n FROM range(1000000000000) a, range(1000) b"


@pytest.fixture
def flight(server):
    client, options = connect(server)
    with client:
        yield Caller(client, options)


@pytest.fixture
def table(flight, client, pool):
    """A tensor dataset of 30,000 rows with a snapshot v1, of several endpoints."""
    d = client.create_dataset(f"{pool}/t", type="tensor")
    upload(flight, d.address, images(30_000, seed=2, width=1500))
    d.snapshot("v1")
    return d


def queries(client):
    reply = client.call("query.ListQueries", query_pb2.ListQueriesRequest(), query_pb2.ListQueriesResponse)
    return list(reply.queries)


def wait_until(true, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def field1(body):
    """A message whose field 1 is another."""
    n, size = len(body), b""
    while True:
        size += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return b"\x0a" + size + body


def cancel(caller, info):
    """Flight's own CancelFlightInfo, by hand: CancelFlightInfoRequest{info = 1}."""
    (result,) = caller.client.do_action(("CancelFlightInfo", field1(info.serialize())), caller.options)
    return result.body.to_pybytes()  # CancelFlightInfoResult{status = 1}: 1 cancelled, 3 not cancellable


def test_tickets_survive_a_killed_server(own_server):
    client, options = connect(own_server)
    data = images(30_000, seed=2, width=1500)
    with own_server.connect() as control, client:
        caller = Caller(client, options)
        control.create_pool("p")
        d = control.create_dataset("p/t", type="tensor")
        upload(caller, "p/t", data)
        d.snapshot("v1")
        descriptors = [
            scan("p/t@v1", columns=["_id", "image"], where="quality > 0.3"),
            scan("p/t@v1", columns=["_id"], sample={"n": 100, "seed": 5}),
            scan("p/t", columns=["_id", "label"], where="label in (1, 5)"),
            command(sql='SELECT label, avg(quality) AS q, count(*) AS n FROM "p/t" GROUP BY label'),
        ]
        infos = [caller.info(d) for d in descriptors]
        tickets = [e.ticket for info in infos for e in info.endpoints]
        before = [caller.get(t) for t in tickets]
        upload(caller, "p/t", images(500, seed=9, width=1500))
        assert [caller.get(t) for t in tickets] == before
        own_server.kill()
        own_server.start()
    client, options = connect(own_server)
    with client:
        caller = Caller(client, options)
        assert [caller.get(t) for t in reversed(tickets)] == before[::-1]


def mint(token, command, dataset_id):
    """A ticket as this server with this token would sign it."""
    key = hmac.new(token.encode(), b"daos flight tickets 1", hashlib.sha256).digest()
    body = command.SerializeToString(deterministic=True)
    mac = hmac.new(key, struct.pack("<IQ", 1, dataset_id) + body, hashlib.sha256).digest()[:16]
    return flight_pb2.Ticket(version=1, command=body, dataset_id=dataset_id, mac=mac)


def test_forged_and_foreign_tickets_are_refused(flight, server, table, own_server):
    info = flight.info(scan(f"{table.address}@v1"))
    good = flight_pb2.Ticket.FromString(info.endpoints[0].ticket.ticket)
    inner = flight_pb2.Command.FromString(good.command)
    # The signature is what the protocol says, so that the forgeries below fail for nothing else.
    assert mint(server.token, inner, good.dataset_id).SerializeToString() == info.endpoints[0].ticket.ticket
    inner.scan_part.scan.dataset = "other/dataset"
    forged = flight_pb2.Ticket()
    forged.CopyFrom(good)
    forged.command = inner.SerializeToString()
    with pytest.raises(ERRORS, match=r"not signed by this server"):
        flight.get(fl.Ticket(forged.SerializeToString()))
    forged.CopyFrom(good)
    forged.dataset_id += 1
    with pytest.raises(ERRORS, match=r"not signed by this server"):
        flight.get(fl.Ticket(forged.SerializeToString()))
    foreign, options = connect(own_server)
    with foreign, pytest.raises(ERRORS, match=r"not signed by this server"):
        Caller(foreign, options).get(info.endpoints[0].ticket)
    raw = bytearray(info.endpoints[0].ticket.ticket)
    rng = np.random.default_rng(3)
    for _ in range(60):
        at = int(rng.integers(len(raw)))
        changed = bytearray(raw)
        changed[at] ^= int(rng.integers(1, 256))
        with pytest.raises(ERRORS):
            flight.get(fl.Ticket(bytes(changed)))
    # A part that is none, signed as if an older server had given it out.
    inner = flight_pb2.Command.FromString(good.command)
    inner.scan_part.bounds += 1
    with pytest.raises(ERRORS, match=r"would cut the scan at other places"):
        flight.get(fl.Ticket(mint(server.token, inner, good.dataset_id).SerializeToString()))


def test_a_snapshot_that_is_gone_is_said(flight, client, table):
    scanned = flight.info(scan(f"{table.address}@v1"))
    stated = flight.info(command(sql=f'SELECT count(*) AS n FROM "{table.address}@v1"'))
    tickets = [scanned.endpoints[-1].ticket, stated.endpoints[0].ticket]
    assert all(flight.get(t).num_rows for t in tickets)
    table.destroy_snapshot("v1")
    for t in tickets:
        with pytest.raises(ERRORS, match=r"v1"):
            flight.get(t)
    upload(flight, table.address, images(10, seed=1, width=1500))
    table.snapshot("v1")
    for t in tickets:
        with pytest.raises(ERRORS, match=r"another one has its name now"):
            flight.get(t)
    client.destroy_dataset(table.address)
    for t in tickets:
        with pytest.raises(ERRORS, match=r"there is no such dataset"):
            flight.get(t)
    d = client.create_dataset(table.address, type="tensor")
    upload(flight, d.address, images(10, seed=1, width=1500))
    d.snapshot("v1")
    for t in tickets:
        with pytest.raises(ERRORS, match=r"was destroyed, another one has its name now"):
            flight.get(t)


def test_an_epoch_that_is_gone_is_an_error(runtime_folder, daos_binary, monkeypatch):
    monkeypatch.setenv("DAOS_ENGINE_WINDOW", "1s")
    monkeypatch.setenv("DAOS_ENGINE_SWEEP", "100ms")
    with Server(runtime_folder / f"gone-{os.getpid()}") as server, server.connect() as control:
        client, options = connect(server)
        with client:
            caller = Caller(client, options)
            control.create_pool("p")
            kv = control.create_dataset("p/kv", type="kv")
            kv.put_many({f"k{i}": b"old" for i in range(100)})
            info = caller.info(scan("p/kv"))
            # The pin of that ticket lasts ten minutes; one of a moment before has none.
            ticket = flight_pb2.Ticket.FromString(info.endpoints[0].ticket.ticket)
            inner = flight_pb2.Command.FromString(ticket.command)
            inner.scan_part.scan.epoch -= 1
            expired = fl.Ticket(mint(server.token, inner, ticket.dataset_id).SerializeToString())
            for _ in range(30):
                kv.put_many({f"k{i}": os.urandom(8) for i in range(100)})
                time.sleep(0.1)
            with pytest.raises(ERRORS, match=r"epoch"):
                caller.get(expired)
            with pytest.raises(ERRORS, match=r"epoch"):
                caller.info(scan("p/kv", epoch=str(inner.scan_part.scan.epoch)))
            assert caller.get(info.endpoints[0].ticket)["value"].to_pylist() == [b"old"] * 100


def cancel_a_statement(flight, client):
    """Return how many seconds it took."""
    info = flight.info(command(sql=FOREVER))
    failed = []

    def read():
        try:
            flight.get(info.endpoints[0].ticket)
        except ERRORS as e:
            failed.append(str(e))

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: any(q.text == FOREVER for q in queries(client)))
    time.sleep(0.2)  # it is in DuckDB's hands by now
    begun = time.monotonic()
    assert cancel(flight, info) == b"\x08\x01"
    wait_until(lambda: not any(q.text == FOREVER for q in queries(client)))
    ended = time.monotonic() - begun
    thread.join(10)
    assert failed and "cancelled by CancelFlightInfo" in failed[0]
    assert cancel(flight, info) == b"\x08\x03"
    return ended


def test_cancel_ends_a_statement_at_once(flight, client):
    took = [cancel_a_statement(flight, client)]
    while min(took) >= 0.1 and len(took) < 10:  # the machine may be busy
        took.append(cancel_a_statement(flight, client))
    assert min(took) < 0.1, took


@pytest.mark.parametrize("how", ["cancel", "drop", "kill"])
def test_a_scan_that_nobody_reads_on_ends(flight, server, client, table, how):
    """The client has stopped taking rows: the server waits for it, and holds little meanwhile."""
    fields = {"dataset": f"{table.address}@v1", "columns": ["image"], "limit": 29_999, "label": f"slow {how}"}
    info = flight.info(command(scan=fields))
    other, options = connect(server)
    reader = other.do_get(info.endpoints[0].ticket, options)
    assert reader.read_chunk().data.num_rows

    def running():
        return [q for q in queries(client) if q.dataset == f"{table.address}@v1"]

    (mine,) = running()
    if how == "cancel":
        assert cancel(flight, info) == b"\x08\x01"
    elif how == "kill":
        request = query_pb2.KillQueryRequest(id=mine.id)
        client.call("query.KillQuery", request, query_pb2.KillQueryResponse)
    else:
        reader.cancel()
    wait_until(lambda: not running())
    if how == "drop":
        return
    with pytest.raises(ERRORS, match=r"[Cc]ancel|was killed"):
        # pyarrow takes gRPC's CANCELLED here for a Ctrl-C: the server must not say it of itself.
        reader.read_all()
    other.close()


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) << 10


@pytest.mark.parametrize("kind", ["scan", "sql"])
def test_huge_results_take_little_memory_of_the_server(flight, server, client, pool, kind):
    arrays = client.create_dataset(f"{pool}/a", type="array")
    arrays.create_array("zeros", shape=(20_000_000,), dtype="float64", chunks=(1 << 16,))
    address = f"{arrays.address}/zeros"
    if kind == "scan":  # 480 MB
        info = flight.info(command(scan={"dataset": address, "limit": 20_000_000}))
    else:
        info = flight.info(command(sql=f'SELECT * FROM "{address}"'))
    before = resident(server.pid)
    most = rows = 0
    for chunk in flight.client.do_get(info.endpoints[0].ticket, flight.options):
        rows += chunk.data.num_rows
        most = max(most, resident(server.pid) - before)
        assert chunk.data.nbytes < 4 << 20
    assert rows == 20_000_000
    assert most < 250 << 20, f"{most >> 20} MiB"


def test_expiration_is_of_live_datasets_alone(flight, table):
    live = flight.info(scan(table.address, columns=["_id"]))
    assert 9 * 60 < live.endpoints[0].expiration_time.as_py().timestamp() - time.time() < 11 * 60
    kept = flight.info(scan(f"{table.address}@v1", columns=["_id"]))
    assert kept.endpoints[0].expiration_time is None

    def renew(endpoint):
        (result,) = flight.client.do_action(("RenewFlightEndpoint", field1(endpoint.serialize())), flight.options)
        return fl.FlightEndpoint.deserialize(result.body.to_pybytes())

    time.sleep(0.01)
    renewed = renew(live.endpoints[0])
    assert renewed.ticket == live.endpoints[0].ticket
    assert renewed.expiration_time.as_py() > live.endpoints[0].expiration_time.as_py()
    assert renew(kept.endpoints[0]).expiration_time is None
    table.destroy_snapshot("v1")
    with pytest.raises(ERRORS, match=r"v1"):
        renew(kept.endpoints[0])


def test_wrong_tokens_read_nothing(server, flight, table):
    ticket = flight.info(scan(f"{table.address}@v1")).endpoints[0].ticket
    options = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer " + b"0" * 64)], timeout=20)
    with fl.connect(f"grpc://{server.address}") as stranger:
        for call in (
            lambda: stranger.do_get(ticket, options).read_all(),
            lambda: stranger.get_flight_info(scan("p/t"), options),
        ):
            with pytest.raises(fl.FlightUnauthenticatedError):
                call()
