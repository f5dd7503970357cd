"""What goes wrong in statements: each of them alone, and never as fewer rows."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

import pydaos
from pydaos._client import Client
from pydaos._proto.daos.query.v1 import query_service_pb2 as pb
from pydaos.testing import Server

FOREVER = "select count(*) from range(1000000000000) a, range(1000) b where a.range + b.range < 0"
N = 400_000


class Running(threading.Thread):
    """Runs a statement, and keeps its rows and its error."""

    def __init__(self, client: Client, text: str) -> None:
        super().__init__(daemon=True)
        self.client, self.text = client, text
        self.rows = 0
        self.error: BaseException | None = None
        self.ended = 0.0
        self.start()

    def run(self) -> None:
        try:
            for batch in self.client.sql(self.text):
                self.rows += batch.num_rows
        except BaseException as e:
            self.error = e
        self.ended = time.monotonic()

    def wait(self) -> None:
        self.join(60)
        assert not self.is_alive()


def until(what: Callable[[], object]) -> object:
    deadline = time.monotonic() + 60
    while not (got := what()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return got


def queries(client: Client, text: str) -> list[pb.Query]:
    running = client.call("query.ListQueries", pb.ListQueriesRequest(), pb.ListQueriesResponse).queries
    return [q for q in running if q.text == text]


def processes(server: Server, name: str) -> list[psutil.Process]:
    """Return the processes of a server that are called so."""
    found = []
    for p in psutil.Process(server.pid).children(recursive=True):
        try:
            if "sql-worker" in p.cmdline() and Path(f"/proc/{p.pid}/comm").read_text().strip() == name:
                found.append(p)
        except (psutil.NoSuchProcess, OSError):
            pass
    return found


def workers(server: Server) -> list[psutil.Process]:
    """Return the processes of a server's statements."""
    return processes(server, "daos-sql")


def spares(server: Server) -> list[psutil.Process]:
    """Return those that wait for a statement."""
    return processes(server, "daos-sql-spare")


def spilled(server: Server) -> list[str]:
    """Return the folders of statements that are there, but for those of processes that wait for one."""
    waiting = []
    for p in psutil.Process(server.pid).children(recursive=True):
        try:
            if p not in workers(server):
                waiting.append(p.cwd())
        except psutil.NoSuchProcess:
            pass
    return [str(f) for f in Path(server.root, "query").glob("sql-*") if str(f) not in waiting]


def rows_table(client: Client, pool: str) -> str:
    tensor = client.create_dataset(f"{pool}/t", type="tensor")
    rows = pa.table({"id": np.arange(N), "x": np.arange(N) / 7, "s": pa.array([f"row {i % 1000}" for i in range(N)])})
    tensor.define(rows)
    tensor.append(rows)
    return f'"{pool}/t"'


@pytest.fixture
def mine(own_server: Server) -> Iterator[tuple[Server, Client, str]]:
    with own_server.connect() as client:
        pool = f"faults{random.randrange(10**9)}"
        client.create_pool(pool)
        yield own_server, client, pool


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_ends_its_statement_alone(mine: tuple[Server, Client, str], how: signal.Signals) -> None:
    server, client, pool = mine
    table = rows_table(client, pool)
    other = Running(client, f"select count(*) from {table} a, range(300) b where a.id + b.range < 0")
    until(lambda: queries(client, other.text))
    (spared,) = until(lambda: workers(server))
    victim = Running(client, FOREVER)
    found = until(lambda: [p for p in workers(server) if p.pid != spared.pid])
    until(lambda: queries(client, FOREVER))
    found[0].send_signal(how)
    victim.wait()
    assert isinstance(victim.error, pydaos.DaosError) and "died" in str(victim.error), victim.error
    assert victim.rows == 0
    assert client.sql(f"select count(*) as n from {table}").to_arrow().to_pylist() == [{"n": N}]
    other.wait()
    assert other.error is None and other.rows == 1
    until(lambda: not workers(server))
    until(lambda: not spilled(server))  # what it spilled is gone


def test_deep_and_broken_statements_are_errors(mine: tuple[Server, Client, str]) -> None:
    server, client, pool = mine
    rng = random.Random(4)
    table = rows_table(client, pool)
    n = 2000
    deep = [
        "select " + "(" * n + "1" + ")" * n,
        "select " + "1 + " * n + "1",
        "select " + "not " * n + "true",
        "select * from (" * 900 + "select 1" + ")" * 900,
        "select " + "[" * 100 + "1" + "]" * 100,
        f"select * from {table} where " + " and ".join(f"id <> {i}" for i in range(n)),
        f"select * from {table} where id in ({', '.join(map(str, range(2 * n)))}) and id < 3",
        "select 1 " + "union all select 1 " * 3000,
        "with " + ", ".join(f"a{i} as (select {i} as x)" for i in range(300)) + " select * from a299",
        "select '" + "x" * 900_000 + "' as s",
        "select " + ", ".join(f"{i} as c{i}" for i in range(3000)),
        'select "' + "x" * 100_000 + f'" from {table}',
    ]
    words = [
        *["(", ")", ",", ".", "*", "'a'", "1", "1e9", "::", "[", "]", "{", "}", "$1"],
        *["select", "from", "where", "group", "by", "order", "limit", "int", "and", "or", "not"],
    ]
    words += [*["join", "on", "as", "with", "union", "case", "when", "end"], table]
    deep += [" ".join(rng.choices(words, k=rng.randint(1, 25))) for _ in range(40)]
    deep += ["", ";", "--", "/*", "select $$", "\x00", "select '\ud7ff'", "select 1;;"]
    for text in deep:
        try:
            client.sql(text).to_arrow()
        except pydaos.DaosError as e:
            assert "daos_scan" not in str(e) and "exception_type" not in str(e) and len(str(e)) < 4000, text[:200]
            assert "goroutine" not in str(e), text[:200]
    assert client.sql(f"select count(*) as n from {table}").to_arrow().to_pylist() == [{"n": N}]
    assert server.pid in psutil.pids()


def test_what_it_may_use_is_bounded(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name, value in (("MEMORY", "128MiB"), ("TEMP", "8MiB"), ("TIME", "60s"), ("STATEMENTS", "2")):
        monkeypatch.setenv(f"DAOS_QUERY_{name}", value)
    server: Server = request.getfixturevalue("own_server")
    with server.connect() as client:
        with pytest.raises(pydaos.TooBigError, match=r"query\.temp"):  # a sort that spills
            client.sql("select range as i, hash(range) as h from range(20000000) order by h").to_arrow()
        with pytest.raises(pydaos.TooBigError, match=r"query\.memory"):
            client.sql("select len(list(range)) from range(100000000)").to_arrow()
        two = [Running(client, FOREVER) for _ in range(2)]
        until(lambda: len(queries(client, FOREVER)) == 2)
        with server.connect(retry=0.2) as hasty, pytest.raises(pydaos.OverloadedError, match=r"daos query ps"):
            hasty.sql("select 1 as one").to_arrow()
        for query in queries(client, FOREVER):
            client.call("query.KillQuery", pb.KillQueryRequest(id=query.id), pb.KillQueryResponse)
        for running in two:
            running.wait()
            assert "was killed" in str(running.error)
        assert client.sql("select 1 as one").to_arrow().to_pylist() == [{"one": 1}]
        until(lambda: not spilled(server))


def test_one_process_waits_for_the_next_statement(mine: tuple[Server, Client, str]) -> None:
    server, client, _ = mine
    assert not spares(server)  # none before the first statement
    served = set()
    for i in range(4):
        assert client.sql("select $1 + 1 as x", [i]).to_arrow().to_pylist() == [{"x": i + 1}]
        (spare,) = until(lambda: spares(server))
        assert spare.pid not in served  # each serves one statement
        served.add(spare.pid)
        assert not client.call("query.ListQueries", pb.ListQueriesRequest(), pb.ListQueriesResponse).queries
    spare.kill()  # it is not missed
    psutil.wait_procs([spare], 30)
    assert client.sql("select 7 as x").to_arrow().to_pylist() == [{"x": 7}]
    (spare,) = until(lambda: spares(server))
    settings = (
        "select name, value from duckdb_settings() where name in ('memory_limit', 'lock_configuration', 'threads')"
    )
    bounded = client.sql(settings + " order by 1", memory=200 << 20).to_arrow().to_pylist()
    assert [r["value"] for r in bounded] == ["true", "200.0 MiB", "2"]  # of this statement, not of the process
    with pytest.raises(pydaos.DaosError):
        client.sql("select * from read_csv('/etc/passwd')").to_arrow()
    (spare,) = until(lambda: spares(server))
    running = Running(client, FOREVER)
    until(lambda: workers(server))
    until(lambda: spares(server))  # beside a statement that takes long, too
    (query,) = until(lambda: queries(client, FOREVER))
    client.call("query.KillQuery", pb.KillQueryRequest(id=query.id), pb.KillQueryResponse)
    running.wait()
    (spare,) = until(lambda: spares(server))
    server.stop()
    assert not spare.is_running()


def test_a_kill_is_obeyed_at_once(mine: tuple[Server, Client, str]) -> None:
    server, client, pool = mine
    table = rows_table(client, pool)
    texts = [
        FOREVER,
        f"select count(*) from {table} a, {table} b where a.x + b.x < 0",
        f"select * from {table} a, {table} b",
    ]
    for text in texts:
        took: list[float] = []
        while not took or (min(took) >= 0.1 and len(took) < 10):  # the machine may be busy now and then
            running = Running(client, text)
            until(lambda: workers(server))
            (query,) = until(lambda text=text: queries(client, text))
            time.sleep(0.2)  # so that DuckDB is at work
            begun = time.monotonic()
            client.call("query.KillQuery", pb.KillQueryRequest(id=query.id), pb.KillQueryResponse)
            running.wait()
            took.append(running.ended - begun)
            assert f"{query.id} was killed" in str(running.error), running.error
            until(lambda: not workers(server))
        assert min(took) < 0.1, (text, took)


@pytest.mark.parametrize("kind", ["query", "sql"])
def test_a_kill_is_obeyed_while_the_client_takes_nothing(mine: tuple[Server, Client, str], kind: str) -> None:
    server, client, pool = mine
    arrays = client.create_dataset(f"{pool}/{kind}", type="array")
    arrays.create_array("zeros", shape=(50_000_000,), dtype="float64", chunks=(1 << 16,))  # more than any buffer
    address = f"{arrays.address}/zeros"
    with server.connect() as slow:
        rows = iter(slow.query(address) if kind == "query" else slow.sql(f'select * from "{address}"'))
        next(rows)

        def running() -> list[pb.Query]:
            return list(client.call("query.ListQueries", pb.ListQueriesRequest(), pb.ListQueriesResponse).queries)

        def stuck() -> bool:
            before = [q.counters.rows_scanned for q in running()]
            time.sleep(0.3)
            return before == [q.counters.rows_scanned for q in running()]

        until(stuck)
        killed = [q.id for q in running()]
        client.call("query.KillQuery", pb.KillQueryRequest(id=killed[0]), pb.KillQueryResponse)
        until(lambda: not running())
        with pytest.raises(pydaos.DaosError, match=f"{killed[0]} was killed"):
            list(rows)


def test_a_client_that_goes_away_ends_its_statement(mine: tuple[Server, Client, str]) -> None:
    server, client, _ = mine
    gone = server.connect()
    stream = iter(gone.sql("select range as i from range(1000000000)"))
    next(stream)
    assert workers(server)
    stream.close()
    gone.close()
    until(lambda: not workers(server))
    until(lambda: not client.call("query.ListQueries", pb.ListQueriesRequest(), pb.ListQueriesResponse).queries)


def test_a_killed_server_is_an_error_and_never_fewer_rows(mine: tuple[Server, Client, str]) -> None:
    server, client, pool = mine
    table = rows_table(client, pool)
    address = table.strip('"')
    rng = random.Random(9)
    makers: list[Callable[[Client], Iterator[pa.RecordBatch]]] = [
        lambda c: iter(c.sql(f"select a.id, b.s from {table} a, range(20) r join {table} b on a.id = b.id")),
        lambda c: iter(c.sql(f"select * from {table} a, range(50)")),
        lambda c: iter(c.query(address, batch_rows=64)),
        lambda c: iter(c.query(address, where="x > 3 or isnan(x)", batch_rows=100)),
    ]
    for make in makers:
        with server.connect(retry=5) as reader:
            rows = 0
            with pytest.raises(pydaos.DaosError) as caught:
                batches = make(reader)
                for _ in range(rng.randint(1, 3)):
                    rows += next(batches).num_rows
                children = workers(server) + spares(server)
                server.kill()
                for batch in batches:
                    rows += batch.num_rows
            assert str(caught.value), rows
            psutil.wait_procs(children, timeout=30)
            assert not any(p.is_running() for p in children)  # nobody is left behind
        server.start()
    with server.connect() as again:
        (row,) = again.sql(f"select count(*) as n from {table}").to_arrow().to_pylist()
        assert row == {"n": N}
        until(lambda: not spilled(server))


def test_a_statement_reads_what_its_client_has_seen(client: Client, pool: str) -> None:
    pairs = client.kv(f"{pool}/kv", create=True)
    count = client.sql(f'select count(*) as n from "{pool}/kv"')
    for i in range(5):
        pairs[f"{i}"] = b"x"
        assert count.to_arrow().to_pylist() == [{"n": i + 1}]
    ahead = client._seen + (100_000 << 12)  # by 100 ms
    for name, request, answer in (
        ("query.Sql", pb.SqlRequest(text=f'select 1 from "{pool}/kv"', seen=ahead), pb.SqlResponse),
        ("query.Scan", pb.ScanRequest(dataset=f"{pool}/kv", seen=ahead), pb.ScanResponse),
    ):
        last = [reply for reply, _ in client.stream(name, request, answer)][-1]
        epochs = list(last.epochs.values()) if name == "query.Sql" else [last.epoch]
        assert epochs[0] >= ahead, name
    schema = client.call("query.Schema", pb.SchemaRequest(dataset=f"{pool}/kv", seen=ahead + 1000), pb.SchemaResponse)
    assert schema.epoch >= ahead + 1000


def test_nulls_in_lists_arrive(client: Client, pool: str) -> None:
    text = (
        "select [1, null, 3] as l, [1.5, null]::double[2] as a, [true, null] as b, {'x': [null]} as s, ['q', null] as t"
    )
    table = client.sql(text).to_arrow()
    (row,) = table.to_pylist()
    assert row["l"] == [1, None, 3] and row["b"] == [True, None]
    assert list(row["a"]) == [1.5, None]
    assert row["s"] == "{'x': [NULL]}" and row["t"] == "[q, NULL]"
    many = client.sql("select case when i % 3 = 0 then null else [i, null] end as l from range(200000) t(i) order by i")
    got = many.to_arrow()["l"].to_pylist()
    assert got == [None if i % 3 == 0 else [i, None] for i in range(200_000)]


def test_columns_that_differ_in_case_alone(client: Client, pool: str) -> None:
    tensor = client.create_dataset(f"{pool}/c", type="tensor")
    rows = pa.table({"Label": [1, 2, 3], "label": [10, 20, 30], "LABEL_1": [7, 8, 9]})
    tensor.define(rows)
    tensor.append(rows)
    statement = client.sql(f'select Label, label_2 as l, label_1 as one from "{pool}/c" where label_2 >= 20 order by 1')
    assert statement.to_arrow().to_pylist() == [{"Label": 2, "l": 20, "one": 8}, {"Label": 3, "l": 30, "one": 9}]
    assert statement.stats.rows_matched == 2
    assert client.query(f"{pool}/c", where="label > 10", columns=["label"]).to_numpy("label").tolist() == [20, 30]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'select lable from "{0}/t"',
            'no column "lable"\n  select lable from "{0}/t"\n         ^\n  did you mean "label"?',
        ),
        ('select 1 from "{0}/tt"', '\n  select 1 from "{0}/tt"\n                ^\n  did you mean "{0}/t"?'),
        ('select 1 from "{0}/t@v2"', 'did you mean "{0}/t@v1"?'),
        ('select lenght(name) from "{0}/t"', 'no function "lenght"'),
        ('select 1.5, name::int from "{0}/t"', "Could not convert string 'n' to INT32"),
    ],
)
def test_errors_have_the_writers_words(client: Client, pool: str, text: str, says: str) -> None:
    tensor = client.create_dataset(f"{pool}/t", type="tensor")
    rows = pa.table({"label": [1], "name": ["n"]})
    tensor.define(rows)
    tensor.append(rows)
    tensor.snapshot("v1")
    with pytest.raises(pydaos.DaosError) as caught:
        client.sql(text.format(pool)).to_arrow()
    assert says.format(pool) in str(caught.value)
    assert "daos_scan" not in str(caught.value)
