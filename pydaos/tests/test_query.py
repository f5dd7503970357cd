"""Queries against a real server, and against DuckDB over the same rows."""

from __future__ import annotations

import math
import random

import numpy as np
import pyarrow as pa
import pytest

import pydaos
from pydaos._client import Client

N = 3000


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    rng = np.random.default_rng(5)
    quality = rng.normal(size=N)
    quality[rng.random(N) < 0.1] = math.nan
    quality[rng.random(N) < 0.1] = -0.0
    words = ["", "cat", "dog", "日本", "a%b", "zebra"]
    return pa.table(
        {
            "label": pa.array(np.sort(rng.integers(-3, 8, N)).astype(np.int32)),
            "quality": pa.array(quality, mask=rng.random(N) < 0.1),
            "small": pa.array(rng.normal(size=N).astype(np.float32)),
            "big": pa.array(rng.integers(0, 2**64 - 1, N, dtype=np.uint64)),
            "name": pa.array([words[i] for i in rng.integers(0, 6, N)], mask=rng.random(N) < 0.1),
        }
    )


@pytest.fixture(scope="module")
def table(server: object, rows: pa.Table) -> tuple[Client, str]:
    client = pydaos.connect()
    pool = f"query{random.randrange(10**9)}"
    client.create_pool(pool)
    data = client.create_dataset(f"{pool}/t", type="tensor")
    data.define(rows)
    for at in range(0, N, 700):
        data.append(rows.slice(at, 700))
    data.snapshot("s")
    return client, f"{pool}/t@s"


def predicates(rng: random.Random) -> str:
    leaf = [
        lambda: f"label {rng.choice(['=', '<>', '<', '>='])} {rng.randrange(-4, 9)}",
        lambda: f"quality {rng.choice(['<', '<=', '>', '>=', '=', '<>'])} {rng.choice(['0', '0.5', '-1e0', '1e9'])}",
        lambda: f"small > {rng.choice(['0.1', '1', '-0.25'])}",
        lambda: f"big {rng.choice(['<', '>='])} {rng.choice(['9223372036854775808', '5', '18446744073709551615'])}",
        lambda: f"name {rng.choice(['like', 'not like'])} '{rng.choice(['%a%', 'c_t', '', '日%'])}'",
        lambda: f"name in ('cat', 'zebra'{rng.choice(['', ', NULL'])})",
        lambda: rng.choice(["quality is null", "name is not null", "isnan(quality)", "length(name) = 3"]),
        lambda: "label between 0 and 3",
    ]
    parts = [f"{rng.choice(['', 'not '])}({rng.choice(leaf)()})" for _ in range(rng.randrange(1, 4))]
    return rng.choice([" and ", " or "]).join(parts)


def test_the_meaning_is_duckdbs(table: tuple[Client, str], rows: pa.Table) -> None:
    duckdb = pytest.importorskip("duckdb")
    client, dataset = table
    seed = 11
    rng = random.Random(seed)
    db = duckdb.connect()
    # A table of DuckDB's own: over a registered Arrow table filters are Arrow's, to whom NaN >= 0 is false.
    db.register("given", rows.append_column("_id", pa.array(np.arange(N, dtype=np.uint64))))
    db.execute("create table t as select * from given")
    for _ in range(60):
        where = predicates(rng)
        want = [i for (i,) in db.execute(f"select _id from t where {where} order by _id").fetchall()]
        query = client.query(dataset, where=where, columns=["_id"])
        assert query.to_numpy("_id").tolist() == want, f"seed {seed}: {where}"
        assert query.stats.rows_out == len(want)


def test_groups_are_duckdbs(table: tuple[Client, str], rows: pa.Table) -> None:
    duckdb = pytest.importorskip("duckdb")
    client, dataset = table
    db = duckdb.connect()
    db.register("given", rows)
    db.execute("create table t as select * from given")
    wanted = ["count", "sum(label)", "avg(small)", "min(name)", "max(big)"]
    got = client.query(
        dataset,
        where="big > 5",
        group_by=["label", "name"],
        aggregates=wanted,
    ).to_arrow()
    want = db.execute(
        "select label, name, count(*), sum(label)::bigint, avg(small), min(name), max(big) from t where big > 5"
        " group by label, name order by label nulls last, name nulls last"
    ).fetchall()
    mine = [tuple(r.values()) for r in got.to_pylist()]
    assert len(mine) == len(want)
    for a, b in zip(mine, want, strict=True):
        assert a[:4] == b[:4] and a[5:] == b[5:]
        assert a[4] == pytest.approx(b[4])


def test_statistics_prune_and_the_counters_say_so(table: tuple[Client, str]) -> None:
    client, dataset = table
    query = client.query(dataset, where="label = 100", columns=["_id"])
    assert query.to_arrow().num_rows == 0
    assert query.stats.chunks_pruned == query.stats.chunks > 0
    (row,) = query.explain()
    assert row.pushed and "prunes" in row.why and row.conjunct == "label = 100"


def test_top_and_samples(table: tuple[Client, str], rows: pa.Table) -> None:
    client, dataset = table
    top = client.query(dataset, order_by="-big", k=5, columns=["big"]).to_numpy("big").tolist()
    assert top == sorted(rows["big"].to_pylist(), reverse=True)[:5]
    one = client.query(dataset, sample=50, seed=3, columns=["_id"]).to_numpy("_id").tolist()
    assert one == client.query(dataset, sample=50, seed=3, columns=["_id"]).to_numpy("_id").tolist()
    assert one == sorted(one) and len(set(one)) == 50
    assert one != client.query(dataset, sample=50, seed=4, columns=["_id"]).to_numpy("_id").tolist()
    by = client.query(dataset, sample=2, stratify="label", columns=["label"]).to_numpy("label")
    assert np.unique(by, return_counts=True)[1].tolist() == [2] * 11


def test_files_are_rows(client: Client, pool: str) -> None:
    data = client.create_dataset(f"{pool}/files")
    for i in range(20):
        data.write_bytes(f"train/{i % 3}/{i:02d}.{'png' if i % 2 else 'txt'}", b"x" * i, parents=True)
    got = client.query(f"{pool}/files/train", where="ext = 'png' and size > 4", columns=["path", "size"]).to_arrow()
    assert sorted(got["size"].to_pylist()) == [5, 7, 9, 11, 13, 15, 17, 19]
    assert all(p.startswith("train/") for p in got["path"].to_pylist())
    assert client.schema(f"{pool}/files")["mtime"] == "timestamp"


def test_paths_and_times_leave_files_unread(client: Client, pool: str) -> None:
    address = f"{pool}/many"
    files = client.create_dataset(address, type="posix")
    for d in range(12):
        for f in range(25):
            files.write_bytes(f"d{d:02d}/f{f:02d}", b"x" * f, parents=True)
            files.setattr(f"d{d:02d}/f{f:02d}", mtime_ns=(d * 1000 + f) * 10**9)

    def ask(where: str) -> tuple[list[str], int, str]:
        q = client.query(address, where=where, columns=["path"])
        found = sorted(q.to_arrow()["path"].to_pylist())
        return found, q.stats.rows_scanned, q.explain()[0].why

    below, scanned, why = ask("path like 'd03/%' and size > 22")
    assert below == ["d03/f23", "d03/f24"]
    assert scanned == 25
    assert why == "only the directories that it leaves over are read"
    at = "timestamp '1970-01-01 01:23:2{}'"  # 5000 s and more
    times, _, why = ask(f"mtime >= {at.format(0)} and mtime < {at.format(3)}")
    assert times == ["d05/f00", "d05/f01", "d05/f02"]
    assert why == "stretches of the index without such times are not read"
    # A file that changes is found by its new time, and no longer by its old one.
    files.setattr("d05/f01", mtime_ns=1)
    files.setattr("d11/f24", mtime_ns=5002 * 10**9)
    files.remove("d05/f02")
    times, _, _ = ask(f"mtime between {at.format(0)} and {at.format(2)}")
    assert times == ["d05/f00", "d11/f24"]
    assert ask("mtime < timestamp '1970-01-01 00:00:00.000000005'")[0] == ["d00/f00", "d05/f01"]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("lable = 3", 'did you mean "label"?'),
        ("label = 'x'", "can't be compared"),
        ("label = ", "the end where"),
        ("(" * 200 + "true", "nested deeper"),
    ],
)
def test_bad_conditions_say_where(table: tuple[Client, str], where: str, says: str) -> None:
    client, dataset = table
    with pytest.raises(pydaos.DaosError) as caught:
        client.query(dataset, where=where).to_arrow()
    assert says in str(caught.value)
    assert isinstance(caught.value, ValueError | OSError)


def test_bad_arguments(table: tuple[Client, str]) -> None:
    client, dataset = table
    with pytest.raises(pydaos.InvalidError, match="median"):
        client.query(dataset, aggregates="median(label)")
    with pytest.raises(pydaos.InvalidError, match="nulls"):
        client.query(dataset, columns=["quality"]).to_numpy("quality")
    with pytest.raises(pydaos.NotFoundError, match="did you mean"):
        client.query(dataset, columns=["qualty"]).to_arrow()
    with pytest.raises(ValueError, match="has not run"):
        _ = client.query(dataset).stats


def test_a_killed_server_is_an_error_never_a_shorter_result(own_server: object) -> None:
    server = own_server
    client = pydaos.connect(server.unix, retry=0)  # type: ignore[attr-defined]
    client.create_pool("p")
    data = client.create_dataset("p/t", type="tensor")
    data.define({"x": np.zeros((0, 2000), np.float64)})
    for _ in range(8):
        data.append({"x": np.zeros((1000, 2000), np.float64)})
    batches = iter(client.query("p/t", batch_rows=64))
    next(batches)
    server.kill()  # type: ignore[attr-defined]
    with pytest.raises(pydaos.DaosError):
        for _ in batches:
            pass


def test_columns_of_a_result(table: tuple[Client, str]) -> None:
    client, address = table
    assert client.query(address, columns=["_id"], limit=2).to_numpy().tolist() == [0, 1]
    with pytest.raises(KeyError, match=r"the result has no column 'lable'; did you mean 'label'\?"):
        client.query(address, limit=1).to_numpy("lable")
    with pytest.raises(pydaos.NotFoundError, match=r"which column\?; it has label, quality, small, big, name, _id"):
        client.query(address, limit=1).to_numpy()


def test_a_name_that_is_nearly_right(table: tuple[Client, str]) -> None:
    client, address = table
    pool = address.partition("/")[0]
    for wrong, meant in (
        (f"{pool[:-1]}/t", f"{pool}\\?"),
        (f"{pool}/tt", f"{pool}/t\\?"),
        (f"{pool}/t@ss", f"{pool}/t@s\\?"),
    ):
        with pytest.raises(pydaos.NotFoundError, match=rf"there is no such \w+; did you mean {meant}"):
            client.dataset(wrong)
        with pytest.raises(pydaos.NotFoundError, match=rf"there is no such \w+; did you mean {meant}"):
            client.query(wrong).to_arrow()


def test_a_lone_surrogate_is_an_error_of_the_argument(table: tuple[Client, str]) -> None:
    client, address = table
    half = "name = '\ud800'"
    for call in (
        lambda: client.query(address, where=half),
        lambda: client.open_manifest(f"{address}@s", where=half),
        lambda: client.sql(f'select * from "{address}" where {half}'),
        lambda: client.sql("select $x", {"x": "\ud800"}),
    ):
        with pytest.raises(pydaos.InvalidError, match=r"has a lone surrogate, at character \d+"):
            call()
