"""What a query answers is what DuckDB answers over the same rows: random data, conditions and statements.

Each test prints its seed; DAOS_TEST_SEED gives it another. The long one runs for
DAOS_FUZZ_SECONDS, with a random seed.
"""

from __future__ import annotations

import os
import random
import time

import duckdb
import pyarrow as pa
import pytest
from differential import KEYS, KINDS, Conditions, Tables, rows_of
from statements import Statements

import pydaos
from pydaos.testing import Server

# DuckDB may meet a row that can't be cast before the condition that drops it; we drop it first.
DEPENDS_ON_ROWS = (duckdb.ConversionException, duckdb.OutOfRangeException)


def seed_of(default: int | None) -> random.Random:
    seed = int(os.environ.get("DAOS_TEST_SEED") or (time.time_ns() % 10**9 if default is None else default))
    print(f"DAOS_TEST_SEED={seed}")
    return random.Random(seed)


def long_seconds() -> float:
    return float(os.environ.get("DAOS_FUZZ_SECONDS") or 600)


@pytest.fixture(scope="module")
def tables(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    rng = seed_of(5)
    client = server.connect()
    pool = f"differ{random.randrange(10**9)}"
    client.create_pool(pool)
    return Tables(client, pool, rng, tmp_path_factory.mktemp("differ"))


def check(tables: Tables, text: str) -> int | None:
    """Run a statement on both sides and return the number of rows; None where both refuse it."""
    want = got = None
    refused: Exception | None = None
    try:
        want = rows_of(tables.db.execute(tables.theirs(text)).to_arrow_table(), text)
    except duckdb.Error as e:
        refused = e
    try:
        got = rows_of(tables.client.sql(tables.ours(text)).to_arrow(), text)
    except pydaos.DaosError as e:
        if want is not None and "does not fit into 64 bits" not in str(e):  # sums of our results are BIGINT
            raise AssertionError(f"only we refuse {tables.ours(text)}: {e}") from e
        return None
    if want is None:
        assert isinstance(refused, DEPENDS_ON_ROWS), f"only DuckDB refuses {tables.ours(text)}: {refused}"
        return None
    assert got == want, f"{tables.ours(text)}\n{len(got)} rows, not {len(want)}; {differ(got, want)}"
    return len(got)


def differ(got: list[str], want: list[str]) -> str:
    return f"not there: {[r for r in want if r not in got][:3]}; too many: {[r for r in got if r not in want][:3]}"


def run(tables: Tables, rng: random.Random, most: int, seconds: float) -> None:
    statements, began = Statements(rng), time.monotonic()
    done = refused = filled = 0
    while done < most and time.monotonic() - began < seconds:
        n = check(tables, statements.make())
        done += 1
        refused += n is None
        filled += bool(n)
    print(f"{done} statements, {refused} refused by both, {filled} with rows")
    assert filled > done // 4 and refused < done // 3  # else they say nothing


def test_statements(tables: Tables) -> None:
    run(tables, seed_of(11), 80, 240)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_statements_for_long(tables: Tables) -> None:
    run(tables, seed_of(None), 10**9, long_seconds())


def conditions(tables: Tables, rng: random.Random, most: int, seconds: float) -> None:
    where, began = Conditions(rng), time.monotonic()
    tried = done = kept = 0
    while tried < most and time.monotonic() - began < seconds:
        tried += 1
        name = rng.choice(["t", "t", "t", *KINDS])
        text, keys = where.make(name), KEYS[name].replace(" ", "").split(",")
        cut = rng.choice(
            [{}, {}, {"limit": rng.randint(1, 20)}, {"limit": rng.randint(1, 20), "offset": rng.randint(0, 9)}]
        )
        query = tables.client.query(tables.address[name], where=text, columns=keys, **cut)
        try:
            got = query.to_arrow()
        except pydaos.InvalidError:
            continue  # what can't be given DuckDB's meaning is refused
        # The order of a table is its own: chunk by chunk for arrays.
        order = {"d": "", "n": ""}.get(name, f" ORDER BY {KEYS[name]}")
        try:
            everything = tables.db.execute(
                f"SELECT {KEYS[name]} FROM {name} WHERE {tables.theirs(text)}{order}"
            ).to_arrow_table()
        except DEPENDS_ON_ROWS:
            continue
        want = rows_of(everything, "/* ordered */")
        mine = rows_of(got, "/* ordered */")
        first = cut.get("offset", 0)
        if order:
            assert mine == want[first : first + cut.get("limit", len(want))], f"{name}: {text} {cut}"
        else:
            assert len(mine) == len(want[first : first + cut.get("limit", len(want))]), f"{name}: {text} {cut}"
            assert set(mine) <= set(want), f"{name}: {text} {cut}"
        assert query.stats.rows_out == len(mine)
        if not cut:
            assert query.stats.rows_matched == len(want), f"{name}: {text}"
        done += 1
        kept += bool(want)
    print(f"{done} conditions of {tried}, {kept} kept rows")
    assert done > tried // 3 and kept > done // 4


def test_conditions(tables: Tables) -> None:
    conditions(tables, seed_of(3), 500, 60)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_conditions(tables: Tables) -> None:
    conditions(tables, seed_of(None), 10**9, long_seconds())


def test_groups_and_tops(tables: Tables) -> None:
    rng = seed_of(7)
    where = Conditions(rng)
    done = 0
    for _ in range(120):
        name = rng.choice(["t", "t", "u", "e"])
        text = where.make(name)
        by = rng.sample(["k", "b", "s", "Label", "i8", "bl", "h"], rng.randrange(3))
        wanted = rng.sample(
            [
                "count",
                "count(s)",
                "sum(k)",
                "min(i64)",
                "max(f)",
                "min(g)",
                "avg(i8)",
                "max(s)",
                "min(bl)",
                "max(h)",
                "min(b)",
            ],
            3,
        )
        try:
            got = tables.client.query(tables.address[name], where=text, group_by=by, aggregates=wanted).to_arrow()
        except pydaos.InvalidError:
            continue
        shown = ", ".join([*by, *("count(*)" if w == "count" else w for w in wanted)])
        grouped = f" GROUP BY {', '.join(by)}" if by else ""
        try:
            want = tables.db.execute(
                f"SELECT {shown} FROM {name} WHERE {tables.theirs(text)}{grouped}"
            ).to_arrow_table()
        except DEPENDS_ON_ROWS:
            continue
        assert rows_of(got, "GROUP") == rows_of(want, "GROUP"), f"{name}: {shown} {text}{grouped}"
        column = rng.choice(["i64", "f", "g", "u64", "s", "h"])
        sign, k = rng.choice(["", "-"]), rng.randint(1, 40)
        top = tables.client.query(
            tables.address[name], where=text, order_by=sign + column, k=k, columns=[column]
        ).to_arrow()
        first = tables.db.execute(
            f"SELECT {column} FROM {name} WHERE {tables.theirs(text)} "
            f"ORDER BY {column} {'DESC' if sign else ''} NULLS LAST LIMIT {k}"
        ).to_arrow_table()
        assert rows_of(top, "GROUP /* ordered */") == rows_of(first, "GROUP /* ordered */"), (
            f"{name}: {sign}{column} {k} {text}"
        )
        done += 1
    assert done > 40


def test_what_leaves_the_targets_is_what_matches(tables: Tables) -> None:
    rng = seed_of(13)
    where = Conditions(rng)
    pushed = 0
    for _ in range(45):
        name = rng.choice(["t", "t", "a", "n", "p", "d"])
        text = f"{where.make(name)} AND {where.make(name)}"
        try:
            (want,) = tables.db.execute(f"SELECT count(*) FROM {name} WHERE {tables.theirs(text)}").fetchone() or (0,)
        except DEPENDS_ON_ROWS:
            continue
        statement = tables.client.sql(tables.ours(f"SELECT count(*) FROM @{name} WHERE {text}"))
        plan = statement.explain(analyze=True)
        if all(c.pushed for c in plan):
            assert statement.stats.rows_matched == want, text
            pushed += 1
        else:
            assert all(c.why for c in plan) and statement.stats.rows_matched >= want, text
    assert pushed > 10


def test_groups_that_the_targets_make(tables: Tables) -> None:
    rng = seed_of(17)
    statements = Statements(rng)
    pushed = kept = 0
    for _ in range(100):
        text = statements.pushed()
        if check(tables, text) is None:
            continue
        statement = tables.client.sql(tables.ours(text))
        row = statement.explain(analyze=True)[-1]
        assert row.why and ("(" in row.conjunct or "GROUP BY" in row.conjunct), text
        assert row.pushed == statement.explain()[-1].pushed or "the targets can't" in row.why, f"{text}: {row.why}"
        pushed += row.pushed
        kept += not row.pushed
    print(f"{pushed} pushed, {kept} not")
    assert pushed > 25 and kept > 10


def test_a_filter_beside_other_columns(server: Server, client: pydaos.Client, pool: str) -> None:
    """The rows that a ready-made bridge gets wrong: it says that it filters and projects, and doesn't."""
    n = 200_000
    ids = pa.array(range(n), pa.int64())
    rows = pa.table(
        {
            "id": ids,
            "label": pa.array([i % 10 for i in range(n)], pa.int32()),
            "size": pa.array([i * 7 % 1_000_003 for i in range(n)], pa.int64()),
            "quality": pa.array([i / n for i in range(n)], pa.float64()),
            "path": pa.array([f"a/{i:06d}" for i in range(n)]),
        }
    )
    tensor = client.create_dataset(f"{pool}/t", type="tensor")
    tensor.define(rows)
    tensor.append(rows)
    table = f'"{pool}/t"'
    want = [i for i in range(n) if i * 7 % 1_000_003 > 500_000 and i % 10 == 3]
    query = client.sql(
        f"SELECT label, count(*) AS n, avg(size) AS s FROM {table} WHERE size > 500000 AND label = 3 GROUP BY label"
    )
    (row,) = query.to_arrow().to_pylist()
    assert row == {"label": 3, "n": len(want), "s": pytest.approx(sum(i * 7 % 1_000_003 for i in want) / len(want))}
    assert query.stats.rows_matched == len(want)
    got = (
        client.sql(f"SELECT path FROM {table} WHERE size > 500000 AND label = 3 ORDER BY path")
        .to_arrow()["path"]
        .to_pylist()
    )
    assert got == [f"a/{i:06d}" for i in want]
    joined = f"FROM {table} a JOIN {table} b ON a.id = b.id + 1 WHERE a.label = 3 AND b.size < 1000"
    both = f"SELECT a.id, b.path {joined} ORDER BY 1"
    pairs = [(i, f"a/{i - 1:06d}") for i in range(1, n) if i % 10 == 3 and (i - 1) * 7 % 1_000_003 < 1000]
    assert [tuple(r.values()) for r in client.sql(both).to_arrow().to_pylist()] == pairs
