"""Parquet files inside POSIX datasets as tables of SQL, against DuckDB on the same files."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pydaos
from pydaos._client import Client

N = 9000
GROUP = 1000

WHERES = [
    "id < 100",
    "id between 3500 and 3600",
    "f64 > 1",
    "f64 > 1e300",
    "isnan(f64)",
    "not isnan(f64)",
    "s = 'é5'",
    "s >= 'é8' and id > 8000",
    "dec9 > 1.5",
    "ts_us > TIMESTAMP '2000-01-01'",
    "ts_ms < TIMESTAMP '1950-01-01' and id % 2 = 0",
    "ts_ns = TIMESTAMP '1970-01-01'",
    "li[1] = 0",
    "st.a > 50",
    "m['k1'] = 1",
    "b",
    "not b",
    "u64 > 4611686018427387904",
    "u32 > 4000000000",
    "i8 is null and id > 8000",
    "i8 = -128 or i16 < -29990",
    "id in (5, 8999)",
    "id is null",
    "dict like 'c1%'",
    "day < DATE '1930-01-01'",
]


def every_type(seed: int) -> pa.Table:
    """Columns of all types that Parquet has, with nulls."""
    rng = np.random.default_rng(seed)

    def ints(low: int, high: int, kind: pa.DataType) -> pa.Array:
        return pa.array([None if i % 7 == 3 else int(x) for i, x in enumerate(rng.integers(low, high, N))], kind)

    def each(make: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([None if i % 7 == 3 else make(int(x)) for i, x in enumerate(rng.integers(0, 99, N))], kind)

    def decimals(digits: int, scale: int) -> pa.Array:
        top = 10 ** min(digits, 18) - 1
        with decimal.localcontext() as exact:
            exact.prec = 60
            step = decimal.Decimal(10) ** max(0, digits - 18)
            values = [decimal.Decimal(int(x)) * step for x in rng.integers(-top, top, N)]
            return pa.array(
                [None if i % 7 == 3 else v.scaleb(-scale) for i, v in enumerate(values)], pa.decimal128(digits, scale)
            )

    return pa.table(
        {
            "id": np.arange(N),
            "i8": ints(-128, 127, pa.int8()),
            "i16": ints(-30000, 30000, pa.int16()),
            "u8": ints(0, 255, pa.uint8()),
            "u32": ints(0, 2**32 - 1, pa.uint32()),
            "u64": ints(0, 2**63 - 1, pa.uint64()),
            "f32": pa.array(rng.normal(size=N).astype(np.float32)),
            "f64": pa.array(
                [
                    None if i % 7 == 3 else float("nan") if i % 11 == 0 else float(x)
                    for i, x in enumerate(rng.normal(size=N))
                ]
            ),
            "b": each(lambda x: x % 2 == 1, pa.bool_()),
            "s": each(lambda x: f"é{x}" * (x % 9), pa.string()),
            "ls": each(lambda x: "x" * x, pa.large_string()),
            "bin": each(lambda x: bytes([x]) * (x % 30), pa.binary()),
            "fsb": each(lambda x: bytes([x]) * 5, pa.binary(5)),
            "dec4": decimals(4, 2),
            "dec9": decimals(9, 3),
            "dec18": decimals(18, 4),
            "dec38": decimals(38, 10),
            "day": each(lambda x: datetime.date(1970, 1, 1) + datetime.timedelta(days=x * 400 - 20000), pa.date32()),
            "t32": ints(0, 86_400_000, pa.time32("ms")),
            "t64": ints(0, 86_400_000_000, pa.time64("us")),
            "ts_s": ints(-(10**9), 10**9, pa.timestamp("s")),
            "ts_ms": ints(-(10**12), 10**12, pa.timestamp("ms")),
            "ts_us": ints(-(10**15), 10**15, pa.timestamp("us")),
            "ts_ns": ints(-(10**18), 10**18, pa.timestamp("ns")),
            "ts_tz": ints(-(10**15), 10**15, pa.timestamp("us", tz="UTC")),
            "li": each(lambda x: [y if y % 5 else None for y in range(x % 6)], pa.list_(pa.int32())),
            "lstr": each(lambda x: [f"a long text {y}" for y in range(x % 4)], pa.list_(pa.string())),
            "st": each(
                lambda x: {"a": x, "b": None if x % 3 == 0 else f"t{x}"},
                pa.struct([("a", pa.int64()), ("b", pa.string())]),
            ),
            "lst": each(
                lambda x: [{"k": y, "v": [float(y)] * y} for y in range(x % 3)],
                pa.list_(pa.struct([("k", pa.int32()), ("v", pa.list_(pa.float64()))])),
            ),
            "m": each(lambda x: [(f"k{y}", y) for y in range(x % 4)], pa.map_(pa.string(), pa.int32())),
            "fsl": each(lambda x: [float(x)] * 3, pa.list_(pa.float32(), 3)),
            "sfsl": each(lambda x: {"v": None if x % 2 else [x, x]}, pa.struct([("v", pa.list_(pa.int16(), 2))])),
            "dict": each(lambda x: f"c{x % 20}", pa.string()).dictionary_encode(),
        }
    )


def written(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def tables(server: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[Client, str, Path]:
    client = pydaos.connect()
    pool = f"parquet{random.randrange(10**9)}"
    client.create_pool(pool)
    files = client.create_dataset(f"{pool}/f")
    local = tmp_path_factory.mktemp("parquet")
    for k in range(2):
        data = written(every_type(k), row_group_size=GROUP)
        (local / f"x{k}.parquet").write_bytes(data)
        files.write_bytes(f"tables/x{k}.parquet", data, parents=True)
    files.write_bytes(
        "labels.parquet", written(pa.table({"id": np.arange(10) * 100, "text": [f"label {i}" for i in range(10)]}))
    )
    files.write_bytes("tables/deep/readme.txt", b"no table", parents=True)
    files.snapshot("v1")
    files.write_bytes("tables/x1.parquet", written(pa.table({"id": [1]})))
    tensor = client.create_dataset(f"{pool}/t", type="tensor")
    tensor.define(pa.table({"label": np.arange(1000)}))
    tensor.append(pa.table({"label": np.arange(1000)}))
    client.kv(f"{pool}/kv", create=True)
    return client, pool, local


@pytest.mark.parametrize("column", every_type(0).schema.names)
def test_every_type_is_read_as_duckdb_reads_it(tables: tuple[Client, str, Path], column: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    client, pool, local = tables
    text = f"""select md5(string_agg(coalesce({column}::varchar, '-'), '|' order by id)) as h,
               any_value(typeof({column})) as t, count({column}) as n from @T@"""
    want = duckdb.sql(text.replace("@T@", f"'{local}/x0.parquet'")).fetchone()
    (got,) = client.sql(text.replace("@T@", f'"{pool}/f@v1/tables/x0.parquet"')).to_arrow().to_pylist()
    assert tuple(got.values()) == want


@pytest.mark.parametrize("where", WHERES)
def test_conditions_keep_what_duckdb_keeps(tables: tuple[Client, str, Path], where: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    client, pool, local = tables
    text = f"select count(*) as n, sum(id) as s from @T@ where {where}"
    db = duckdb.connect()  # a table of its own: its reader prunes by statistics that leave out NaN, the greatest
    db.execute(f"create table t as select * from '{local}/x*.parquet'")
    want = db.execute(text.replace("@T@", "t")).fetchone()
    (got,) = client.sql(text.replace("@T@", f'"{pool}/f@v1/tables/x*.parquet"')).to_arrow().to_pylist()
    assert tuple(got.values()) == want


def test_random_ranges_keep_what_duckdb_keeps(tables: tuple[Client, str, Path]) -> None:
    duckdb = pytest.importorskip("duckdb")
    client, pool, local = tables
    seed = int(os.environ.get("DAOS_TEST_SEED", random.randrange(10**6)))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)
    bounds = {"i16": 30000, "u32": 2**32, "f32": 3, "f64": 3, "ts_us": 10**9, "id": N}
    parts = []
    for k in range(24):
        column = rng.choice(sorted(bounds))
        value = str(rng.randrange(bounds[column])) if column not in ("f32", "f64") else f"{rng.uniform(-3, 3):.3f}e0"
        if column == "ts_us":
            value = f"TIMESTAMP '{datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(value))}'"
        op = rng.choice(["<", "<=", ">", ">=", "=", "<>"])
        parts.append(
            f"select {k} as k, count(*) as n, sum(id) as s from @T@ "
            f"where {column} {op} {value} and id >= {rng.randrange(N)}"
        )
    text = " union all ".join(parts) + " order by 1"
    db = duckdb.connect()
    db.execute(f"create table t as select * from '{local}/x0.parquet'")
    want = db.execute(text.replace("@T@", "t")).fetchall()
    got = [
        tuple(r.values())
        for r in client.sql(text.replace("@T@", f'"{pool}/f@v1/tables/x0.parquet"')).to_arrow().to_pylist()
    ]
    assert got == want


def test_row_groups_and_columns_that_nobody_needs_are_not_read(tables: tuple[Client, str, Path]) -> None:
    client, pool, local = tables
    statement = client.sql(
        f'select sum(f32) as s from "{pool}/f@v1/tables/x0.parquet" '
        "where id between 3500 and 3600 and lower(s) <> 'q'"
    )
    statement.to_arrow()
    assert (statement.stats.chunks, statement.stats.chunks_pruned, statement.stats.chunks_read) == (
        N // GROUP,
        N // GROUP - 1,
        1,
    )
    assert statement.stats.rows_scanned == GROUP
    assert 0 < statement.stats.bytes_read < (local / "x0.parquet").stat().st_size // 20
    plan = statement.explain()
    assert [(c.pushed, "row groups" in c.why) for c in plan] == [(True, True), (False, False), (False, False)]
    assert plan[-1].conjunct == "sum(...)"  # the groups are SQL's
    counted = client.sql(f'select count(*) as n from "{pool}/f@v1/tables/x0.parquet"')
    assert counted.to_arrow().to_pylist() == [{"n": N}]


def test_a_limit_ends_the_reading(tables: tuple[Client, str, Path]) -> None:
    client, pool, _ = tables
    statement = client.sql(f'select id from "{pool}/f@v1/tables/x*.parquet" limit 3 offset 2')
    assert statement.to_arrow()["id"].to_pylist() == [2, 3, 4]
    assert statement.stats.chunks_read == 1


def test_files_are_named_by_glob_folder_and_list(tables: tuple[Client, str, Path]) -> None:
    client, pool, _ = tables

    def count(source: str) -> int:
        return client.sql(f"select count(*) as n from {source}").to_arrow()["n"][0].as_py()

    assert count(f'"{pool}/f@v1/tables/x[01].parquet"') == 2 * N
    assert count(f"read_parquet('{pool}/f@v1/tables')") == 2 * N
    assert count(f"parquet_scan('{pool}/f@v1/**/x1.parquet')") == N
    assert count(f"read_parquet(['{pool}/f@v1/tables/x0.parquet', '{pool}/f/tables/x1.parquet'])") == N + 1
    assert count(f"\"{pool}/f/tables/x1.parquet\" at (version => 'v1')") == N
    assert count(f'"{pool}/f/tables/x1.parquet"') == 1
    (row,) = (
        client.sql("select count(*) as n from read_parquet($files)", {"files": f"{pool}/f@v1/tables/*.parquet"})
        .to_arrow()
        .to_pylist()
    )
    assert row["n"] == 2 * N
    assert "size" in client.schema(f"{pool}/f@v1/tables")  # a folder itself is a table of its files


def test_files_are_joined_with_datasets(tables: tuple[Client, str, Path]) -> None:
    client, pool, _ = tables
    text = f"""select t.label, l.text, x.st.b from "{pool}/t" t join "{pool}/f/labels.parquet" l on l.id = t.label
               join "{pool}/f@v1/tables/x0.parquet" x on x.id = t.label where t.label > 350 order by 1"""
    got = client.sql(text).to_arrow().to_pylist()
    assert [(r["label"], r["text"]) for r in got] == [(i * 100, f"label {i}") for i in range(4, 10)]


def test_names_that_differ_only_in_case_are_told_apart(tables: tuple[Client, str, Path]) -> None:
    client, pool, _ = tables
    files = client.dataset(f"{pool}/f")
    files.write_bytes("case.parquet", written(pa.table({"Label": [1, 2], "label": [3, 4]})))
    got = client.sql(f'select label_1 from "{pool}/f/case.parquet" where "Label" = 2').to_arrow().to_pylist()
    assert got == [{"label_1": 4}]


def test_formats_of_other_writers(tables: tuple[Client, str, Path]) -> None:
    client, pool, _ = tables
    files = client.dataset(f"{pool}/f")
    table = every_type(5).select(["id", "s", "f64", "li", "st", "dec38", "ts_ns"])
    for k, options in enumerate(
        [
            {"compression": "gzip", "data_page_version": "2.0"},
            {"compression": "brotli", "use_dictionary": False, "write_statistics": False},
            {"compression": "lz4", "data_page_size": 2000},
            {"compression": "none", "version": "1.0", "use_deprecated_int96_timestamps": True},
            {
                "compression": "zstd",
                "column_encoding": {"id": "DELTA_BINARY_PACKED", "s": "DELTA_BYTE_ARRAY"},
                "use_dictionary": False,
            },
        ]
    ):
        files.write_bytes(f"o/{k}.parquet", written(table, **options), parents=True)
        text = f"""select sum(id) as i, sum(len(s)) as s, sum(li[2]) as l, sum(st.a) as a, max(dec38)::varchar as d,
                   max(ts_ns)::varchar as t from "{pool}/f/o/{k}.parquet\""""
        (got,) = client.sql(text).to_arrow().to_pylist()
        want = {
            "i": N * (N - 1) // 2,
            "s": sum(len(x) for x in table["s"].to_pylist() if x),
            "l": sum(x[1] for x in table["li"].to_pylist() if x and len(x) > 1),
            "a": sum(x["a"] for x in table["st"].to_pylist() if x),
            "d": str(max(x for x in table["dec38"].to_pylist() if x is not None)),
        }
        assert {name: got[name] for name in want} == want, options
        assert got["t"][:19] == str(max(x for x in table["ts_ns"].to_pylist() if x is not None))[:19]


def test_errors_name_the_file(tables: tuple[Client, str, Path]) -> None:
    client, pool, local = tables
    files = client.dataset(f"{pool}/f")
    whole = (local / "x0.parquet").read_bytes()
    files.write_bytes("bad/short.parquet", b"PAR1", parents=True)
    files.write_bytes("bad/random.parquet", random.Random(1).randbytes(5000))
    files.write_bytes("bad/footer.parquet", whole[:-8] + b"\xff\xff\xff\x7fPAR1")
    files.write_bytes(
        "bad/text.parquet",
        written(pa.table({"s": pa.array([b"\xff\xfe"], pa.binary())}).cast(pa.schema([("s", pa.binary())]))),
    )
    for source, says in [
        (f'"{pool}/f/bad/short.parquet"', "no Parquet file is that short"),
        (f'"{pool}/f/bad/random.parquet"', "does not end as a Parquet file"),
        (f'"{pool}/f/bad/footer.parquet"', "metadata has 2147483647 bytes"),
        (f'"{pool}/f/none.parquet"', "no such file"),
        (f'"{pool}/f/none*.parquet"', "no file matches"),
        (f"read_parquet('{pool}/f/tables/deep')", "no file below it"),
        (f"read_parquet('{pool}/kv/x.parquet')", "lie in POSIX datasets"),
        (f"read_parquet('{pool}/ff/x.parquet')", "no such dataset"),
        ("read_parquet(7)", "is not the address of a file"),
        ("read_parquet([])", "the list is empty"),
        (
            f"read_parquet(['{pool}/f/labels.parquet', '{pool}/f@v1/tables/x0.parquet'])",
            'no column "text" of type utf8',
        ),
        (f"read_parquet('{pool}/f/labels.parquet', union_by_name := true)", "no argument named"),
    ]:
        with pytest.raises(pydaos.DaosError) as caught:
            client.sql(f"select * from {source}").to_arrow()
        assert says in str(caught.value), source
    got = client.sql("select 1 as one").to_arrow().to_pylist()
    assert got == [{"one": 1}]


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip"])
def test_a_damaged_page_names_its_file(tables: tuple[Client, str, Path], compression: str) -> None:
    client, pool, _ = tables
    rows = pa.table({"s": pa.array([{"a": i * 7919 % 1000003, "b": f"row {i}"} for i in range(5000)])})
    files = client.dataset(f"{pool}/f")
    whole = io.BytesIO()
    pq.write_table(rows, whole, compression=compression, use_dictionary=False)
    files.write_bytes("page/a.parquet", whole.getvalue(), parents=True)
    broken = bytearray(whole.getvalue())
    broken[1000:1064] = random.Random(1).randbytes(64)
    files.write_bytes("page/b.parquet", bytes(broken))
    beside = iter(client.sql("select range as i from range(20000000)"))
    rows_beside = next(beside).num_rows  # it runs, and waits until its rows are taken
    with pytest.raises(pydaos.DaosError, match=rf"{pool}/f/page/b\.parquet") as caught:
        client.sql(f"select * from read_parquet('{pool}/f/page')").to_arrow()
    said = str(caught.value)
    assert "page/a.parquet" not in said and "goroutine" not in said and "write it anew" in said
    assert rows_beside + sum(batch.num_rows for batch in beside) == 20_000_000
    assert client.sql(f'select s.a as a from "{pool}/f/page/a.parquet"').to_arrow().num_rows == 5000


def test_damage_is_an_error_of_that_statement_alone(tables: tuple[Client, str, Path]) -> None:
    client, pool, _ = tables
    files = client.dataset(f"{pool}/f")
    small = written(every_type(3).slice(0, 300), compression="none")
    seed = int(os.environ.get("DAOS_TEST_SEED", random.randrange(10**6)))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)
    for _ in range(25):
        broken = bytearray(small)
        for _ in range(rng.randint(1, 30)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        files.write_bytes("broken.parquet", bytes(broken))
        with contextlib.suppress(pydaos.DaosError):
            client.sql(f'select * from "{pool}/f/broken.parquet"').to_arrow()
    assert client.sql(f'select count(*) as n from "{pool}/f/labels.parquet"').to_arrow()["n"][0].as_py() == 10
