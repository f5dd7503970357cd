"""SQL over datasets of all types, run by a real server in processes of its own."""

from __future__ import annotations

import datetime
import random
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pydaos
from pydaos._client import Client
from pydaos._proto.daos.query.v1 import query_service_pb2 as pb

N = 5000


@pytest.fixture(scope="module")
def data(server: object) -> tuple[Client, str, pa.Table]:
    client = pydaos.connect()
    pool = f"sql{random.randrange(10**9)}"
    client.create_pool(pool)
    rng = np.random.default_rng(3)
    rows = pa.table(
        {
            "id": np.arange(N),
            "label": pa.array(rng.integers(0, 9, N).astype(np.int32)),
            "x": pa.array(np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N)), mask=rng.random(N) < 0.1),
            "name": pa.array([f"n{i % 97}" for i in range(N)]),
        }
    )
    tensor = client.create_dataset(f"{pool}/t", type="tensor")
    tensor.define(rows)
    tensor.append(rows)
    tensor.snapshot("s")
    tensor.append(rows.slice(0, 10))
    files = client.create_dataset(f"{pool}/f")
    for i in range(12):
        files.write_bytes(f"d/n{i}", b"x" * i, parents=True)
    pairs = client.kv(f"{pool}/kv", create=True)
    for i in range(9):
        pairs[f"label/{i}"] = f"class {i}".encode()
    return client, pool, rows


def check(data: tuple[Client, str, pa.Table], text: str) -> list[tuple[object, ...]]:
    """Run over the snapshot, and by DuckDB over the same rows."""
    duckdb = pytest.importorskip("duckdb")
    client, pool, rows = data
    db = duckdb.connect()
    db.register("given", rows.append_column("_id", pa.array(np.arange(N, dtype=np.uint64))))
    db.execute("create table t as select * from given")
    want = db.execute(text.replace("T", "t")).fetchall()
    got = [tuple(r.values()) for r in client.sql(text.replace("T", f'"{pool}/t@s"')).to_arrow().to_pylist()]
    assert repr(got) == repr(want)  # NaN is itself
    return got


@pytest.mark.parametrize(
    "text",
    [
        "select count(*) as n from T",
        "select id, name from T where label = 3 and x > 1 order by id",
        "select label, count(*) as n, min(x) as m from T where id between 100 and 4000 group by label order by label",
        "select a.id from T a join T b on a.id = b.id where a.label = 1 and b.x < 0 order by 1 limit 20",
        "select id from T where x is null or isnan(x) order by id desc limit 7 offset 3",
        "select id from T limit 5 offset 2",
        "with c as (select * from T where label in (1, 2)) select name, count(*) as n from c group by 1 order by 1",
        "select a.id, b.id from T a left join T b on a.id = b.id + 4990 where a.id > 4980 order by 1",
        "select id from T where x > (select avg(x) from T where x < 1e9 and not isnan(x)) order by id limit 9",
        "select sum(id) as s, avg(label) as a from T where name like 'n1%'",
    ],
)
def test_the_answers_are_duckdbs(data: tuple[Client, str, pa.Table], text: str) -> None:
    assert check(data, text)


def test_a_live_dataset_is_read_at_one_epoch(data: tuple[Client, str, pa.Table]) -> None:
    client, pool, _ = data
    both = f'select (select count(*) from "{pool}/t") as a, (select count(*) from "{pool}/t") as b'
    (row,) = client.sql(both).to_arrow().to_pylist()
    assert row["a"] == row["b"] == N + 10


def test_types_are_joined(data: tuple[Client, str, pa.Table]) -> None:
    client, pool, _ = data
    text = f"""
        select t.label, p.value, count(*) as n, any_value(f.size) as size from "{pool}/t@s" t
        join "{pool}/kv" p on p.key_text = 'label/' || t.label
        join "{pool}/f/d" f on f.name = t.name
        where f.size > 2 and t.label < 2 group by all order by 1, 3
    """
    got = client.sql(text).to_arrow().to_pylist()
    assert got and all(r["value"] == f"class {r['label']}".encode() and r["size"] > 2 for r in got)


def test_what_leaves_the_targets_is_what_matches(data: tuple[Client, str, pa.Table]) -> None:
    client, pool, rows = data
    statement = client.sql(f'select id from "{pool}/t@s" where label = 3 and lower(name) = $n', {"n": "n5"})
    got = statement.to_arrow().num_rows
    labels = rows["label"].to_numpy()
    assert got == sum(labels[i] == 3 and i % 97 == 5 for i in range(N))
    assert statement.stats.rows_matched == int((labels == 3).sum())
    plan = {c.conjunct: c for c in statement.explain()}
    assert plan["label = 3"].pushed
    (kept,) = (c for c in plan.values() if not c.pushed)
    assert "lower is left to SQL" in kept.why and kept.conjunct.startswith("lower(name)")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("selec 1", "at or near"),
        ("select * from nothing", "no table"),
        ("select * from p/d", "double quotes"),
        ('select * from "none/x"', "no such"),
        ("create table x (i int)", "only SELECT"),
        ("select 1; select 2", "2 statements"),
        ("select * from read_csv('/etc/passwd')", "is a file"),
        ("select $a", "parameter a"),
    ],
)
def test_errors_say_where(data: tuple[Client, str, pa.Table], text: str, says: str) -> None:
    client, _, _ = data
    with pytest.raises(pydaos.DaosError) as caught:
        client.sql(text).to_arrow()
    assert says in str(caught.value)


def test_an_unknown_column_names_the_nearest(data: tuple[Client, str, pa.Table]) -> None:
    client, pool, _ = data
    with pytest.raises(pydaos.InvalidError, match="label"):
        client.sql(f'select lable from "{pool}/t"').to_arrow()


def test_too_much_memory_ends_that_statement_alone(data: tuple[Client, str, pa.Table]) -> None:
    client, _, _ = data
    with pytest.raises(pydaos.DaosError):
        client.sql("select len(list(range)) from range(40000000)", memory=64 << 20).to_arrow()
    assert client.sql("select 1 as one").to_arrow().to_pylist() == [{"one": 1}]


def test_a_statement_is_killed(data: tuple[Client, str, pa.Table]) -> None:
    client, _, _ = data
    caught: list[BaseException] = []

    def forever() -> None:
        try:
            client.sql("select count(*) from range(1000000000000) a, range(1000) b").to_arrow()
        except pydaos.DaosError as e:
            caught.append(e)

    thread = threading.Thread(target=forever)
    thread.start()
    deadline = time.monotonic() + 60
    while not (running := client.call("query.ListQueries", pb.ListQueriesRequest(), pb.ListQueriesResponse).queries):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.call("query.KillQuery", pb.KillQueryRequest(id=running[0].id), pb.KillQueryResponse)
    thread.join(60)
    assert len(caught) == 1 and "was killed" in str(caught[0])


def test_a_statement_has_its_time(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("DAOS_QUERY_TIME", "700ms")
    client = pydaos.connect(request.getfixturevalue("own_server").unix)
    began = time.monotonic()
    with pytest.raises(pydaos.DeadlineError, match=r"query\.time"):
        client.sql("select count(*) from range(1000000000000) a, range(1000) b").to_arrow()
    assert time.monotonic() - began < 30
    assert client.sql("select 3 as three").to_arrow().to_pylist() == [{"three": 3}]


def test_columns_whose_types_only_the_parameters_say(client):
    text = "SELECT ?::INTEGER + 1 AS x, ?::VARCHAR AS t, ? IS NULL AS n, ? AS f"
    table = client.sql(text, [1, "a", None, 0.5]).to_arrow()
    assert table.to_pylist() == [{"x": 2, "t": "a", "n": True, "f": 0.5}]
    assert [str(t) for t in table.schema.types] == ["int32", "string", "bool", "double"]


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (datetime.datetime(2020, 1, 2, 3, 4, 5, 678901), "2020-01-02 03:04:05.678901"),
        (
            datetime.datetime(1969, 12, 31, 23, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            "1969-12-31 21:00:00",
        ),
        (datetime.date(1960, 2, 29), "1960-02-29 00:00:00"),
        (np.datetime64("2020-01-02T03:04:05.123456789"), "2020-01-02 03:04:05.123456789"),
        (np.datetime64("2020-01"), "2020-01-01 00:00:00"),
        (pd.Timestamp("2020-01-02T03:04:05.123456789"), "2020-01-02 03:04:05.123456789"),
        (pd.Timestamp("1969-12-31T23:00:00.000000001+02:00"), "1969-12-31 21:00:00.000000001"),
        (np.float32(0.5), "0.5"),
        (np.True_, "true"),
        ("a\0b", "a\0b"),
        ("\0", "\0"),
    ],
)
def test_parameters_of_many_types(client: Client, value: object, want: str) -> None:
    assert client.sql("SELECT $v::VARCHAR AS v, $v AS w", {"v": value}).to_arrow()["v"].to_pylist() == [want]


def test_parameters_that_are_no_values(client: Client) -> None:
    for value in (
        datetime.timedelta(1),
        np.datetime64("NaT"),
        pd.NaT,
        np.datetime64("9999-01-01"),
        datetime.date(9999, 1, 1),
        [1],
    ):
        with pytest.raises(pydaos.InvalidError, match=r"parameter v: .* is not a value of SQL"):
            client.sql("SELECT $v", {"v": value}).to_arrow()
    with pytest.raises(pydaos.InvalidError, match="no NUL characters"):
        client.sql("SELECT 1 AS x \0 WHERE false").to_arrow()
