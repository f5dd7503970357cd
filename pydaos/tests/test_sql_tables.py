"""Table functions, tables of the server, and differences of snapshots in SQL."""

from __future__ import annotations

import os
import random
from typing import Any

import flightclient
import numpy as np
import pyarrow as pa
import pytest

import pydaos
from pydaos._client import Client


@pytest.fixture(scope="module")
def held(server: object) -> tuple[Client, str]:
    """A dataset of each type with a snapshot v1, and changes after it."""
    client = pydaos.connect()
    pool = f"tables{random.randrange(10**9)}"
    client.create_pool(pool)
    files = client.create_dataset(f"{pool}/f")
    for i in range(9):
        files.write_bytes(f"d/n{i}.png", b"x" * i, parents=True)
    files.write_bytes("d/sub/kept.txt", b"kept", parents=True)
    files.write_bytes("gone/deep/a", b"1", parents=True)
    files.symlink("d/n1.png", "link")
    files.snapshot("v1")
    files.write_bytes("d/n1.png", b"now longer")
    files.remove("d/n2.png")
    files.remove("gone", recursive=True)
    files.write_bytes("gone", b"now a file")
    files.rename("d/n3.png", "d/n3.jpg")
    files.write_bytes("new/x/y", b"yy", parents=True)
    files.snapshot("v2")

    pairs = client.kv(f"{pool}/kv", create=True)
    for i in range(30):
        pairs[f"label/{i:02}"] = b"c%d" % i
    pairs[b"\xff\x00"] = b"no text"
    pairs["other"] = b"z"
    pairs.snapshot("v1")
    pairs["label/03"] = b"again"
    del pairs["label/04"]
    pairs["zz"] = b"1"

    tensor = client.create_dataset(f"{pool}/t", type="tensor")
    rows = pa.table(
        {
            "x": pa.array(
                [None if i % 7 == 3 else float("nan") if i % 11 == 2 else i / 2 for i in range(5000)], pa.float64()
            ),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(15000, dtype=np.int16)), 3),
            "name": pa.array([f"n{i}" for i in range(5000)]),
        }
    )
    tensor.define(rows)
    tensor.append(rows)
    tensor.snapshot("v1")
    tensor.overwrite(100, {"x": np.array([-1.0, -2.0])})
    tensor.append(rows.slice(0, 3))
    tensor.snapshot("v2")

    arrays = client.create_dataset(f"{pool}/a", type="array")
    data = np.arange(24 * 10 * 6, dtype=np.float32).reshape(24, 10, 6)
    data[3, 4, 5] = np.nan
    arrays.create_array("g/temp", data=data, chunks=(7, 4, 6), dims=("time", "lat", "lon"))
    arrays.create_array("g/old", data=np.arange(4))
    arrays.snapshot("v1")
    arrays["g/temp"][0, 0, 0] = 99
    arrays.create_array("h/new", data=np.arange(5), chunks=2)
    arrays.remove_array("g/old")
    return client, pool


def rows_of(held: tuple[Client, str], text: str, **params: Any) -> list[dict[str, Any]]:
    client, pool = held
    return client.sql(text.replace("POOL", pool), params).to_arrow().to_pylist()


def test_files_are_those_whose_names_match(held: tuple[Client, str]) -> None:
    got = rows_of(held, "select path, size from files('POOL/f@v1/d', '*.png') where size between 2 and 5 order by path")
    assert [(r["path"], r["size"]) for r in got] == [(f"d/n{i}.png", i) for i in range(2, 6)]
    assert rows_of(held, "select count(*) as n from files($where)", where=f"{held[1]}/f@v1/d")[0]["n"] == 11
    assert len(rows_of(held, "from files('POOL/f@v1', name := 'n?.png') limit 4")) == 4


def test_pairs_are_those_of_a_prefix_or_range(held: tuple[Client, str]) -> None:
    got = rows_of(held, "select key_text, value from kv('POOL/kv@v1', 'label/0') order by 1")
    assert [r["key_text"] for r in got] == [f"label/0{i}" for i in range(10)]
    assert [r["key_text"] for r in rows_of(held, "from kv('POOL/kv@v1', start := 'label/28', stop := 'p')")] == [
        "label/28",
        "label/29",
        "other",
    ]
    assert [r["key"] for r in rows_of(held, "from kv('POOL/kv@v1', '\\xff'::blob)")] == [b"\xff\x00"]


@pytest.mark.parametrize(
    ("call", "where"),
    [
        ("slice('POOL/a@v1/g/temp[0:24, ::2, 5]')", np.s_[0:24, ::2, 5:6]),
        ("slice('POOL/a@v1/g/temp', '3, ..., -2:')", np.s_[3:4, :, -2:]),
        ("slice('POOL/a@v1/g/temp', lat := [1, 9, 3], lon := 2)", np.s_[:, 1:9:3, 2:3]),
        ("slice('POOL/a@v1/g/temp[time=5:, lon=::5]')", np.s_[5:, :, ::5]),
        ("slice('POOL/a@v1/g/temp', '::9, ::9')", np.s_[::9, ::9]),
        ("slice('POOL/a@v1/g/temp')", np.s_[:]),
        ("slice('POOL/a@v1/g/temp[5:5]')", np.s_[5:5]),
    ],
)
def test_a_slice_is_numpys(held: tuple[Client, str], call: str, where: Any) -> None:
    client, pool = held
    got = rows_of(held, f"select * from {call} order by _id")
    whole = client.dataset(f"{pool}/a@v1")["g/temp"][...]
    number = np.arange(whole.size).reshape(whole.shape)
    assert [r["_id"] for r in got] == number[where].ravel().tolist()
    np.testing.assert_array_equal(np.array([r["value"] for r in got], np.float32), whole[where].ravel())
    for r in got:
        assert r["_id"] == np.ravel_multi_index((r["time"], r["lat"], r["lon"]), whole.shape)


def test_a_slice_reads_what_it_touches(held: tuple[Client, str]) -> None:
    client, pool = held
    statement = client.sql(f"select avg(value) from slice('{pool}/a@v1/g/temp[0:7]') where lat < 4")
    statement.to_arrow()
    assert (statement.stats.chunks, statement.stats.chunks_pruned) == (3, 2)
    assert statement.stats.rows_scanned == 7 * 4 * 6


def test_random_slices_are_numpys(held: tuple[Client, str]) -> None:
    seed = int(os.environ.get("DAOS_TEST_SEED", random.randrange(10**6)))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)
    number = np.arange(24 * 10 * 6).reshape(24, 10, 6)
    parts = []
    want = []
    for k in range(12):
        axes = []
        for n in number.shape:
            a, b = sorted((rng.randrange(n + 1), rng.randrange(n + 1)))
            axes.append(slice(a, b, rng.randint(1, n)) if rng.random() < 0.7 else slice(None))
        text = ", ".join(
            f"{'' if s.start is None else s.start}:{'' if s.stop is None else s.stop}:{s.step or ''}" for s in axes
        )
        parts.append(f"select {k} as k, _id from slice('POOL/a@v1/g/temp[{text}]')")
        want += [(k, int(i)) for i in sorted(number[tuple(axes)].ravel())]
    got = rows_of(held, " union all ".join(parts) + " order by 1, 2")
    assert [(r["k"], r["_id"]) for r in got] == want


def test_chunks_of_a_tensor_dataset(held: tuple[Client, str]) -> None:
    by = {r["column"]: r for r in rows_of(held, "from chunks('POOL/t@v1') where \"first\" = 0")}
    assert set(by) == {"x", "v", "name"}
    x = by["x"]
    assert (x["chunk"], x["rows"], x["nulls"]) == ([0], 5000, len(range(3, 5000, 7)))
    assert (x["nans"], x["min"], x["max"]) == (sum(i % 11 == 2 and i % 7 != 3 for i in range(5000)), "0", "2499.5")
    assert (by["v"]["min"], by["v"]["max"], by["v"]["bytes"]) == ("0", "14999", 30000)
    assert by["name"]["exact"] is False


def test_chunks_of_an_array(held: tuple[Client, str]) -> None:
    got = rows_of(held, "from chunks('POOL/a@v1/g/temp') order by \"first\"")
    assert len(got) == 4 * 3
    one = next(r for r in got if r["chunk"] == [0, 1, 0])
    assert (one["first"], one["rows"], one["nans"], one["min"], one["bytes"]) == (24, 7 * 4 * 6, 1, "24", 7 * 4 * 6 * 4)
    assert sum(r["rows"] for r in got) == 24 * 10 * 6


def test_snapshots(held: tuple[Client, str]) -> None:
    _, pool = held
    got = rows_of(held, "select address, name, epoch, auto, expires from snapshots('POOL/f')")
    assert [(r["address"], r["name"], r["auto"], r["expires"]) for r in got] == [
        (f"{pool}/f@v1", "v1", False, None),
        (f"{pool}/f@v2", "v2", False, None),
    ]
    assert got == rows_of(
        held, "select address, name, epoch, auto, expires from sys.snapshots where dataset = 'POOL/f'"
    )


FILES = [
    ("changed", "d/n1.png", "file", 1, 10),
    ("removed", "d/n2.png", "file", 2, None),
    ("added", "d/n3.jpg", "file", None, 3),
    ("removed", "d/n3.png", "file", 3, None),
    ("removed", "gone", "directory", 0, None),
    ("added", "gone", "file", None, 10),
    ("removed", "gone/deep", "directory", 0, None),
    ("removed", "gone/deep/a", "file", 1, None),
    ("added", "new", "directory", None, 0),
    ("added", "new/x", "directory", None, 0),
    ("added", "new/x/y", "file", None, 2),
]


def test_a_difference_of_files(held: tuple[Client, str]) -> None:
    text = "select change, path, type, size_before, size_after from diff('POOL/f@v1', 'POOL/f@v2')"
    assert [tuple(r.values()) for r in rows_of(held, text)] == FILES
    swap = {"added": "removed", "removed": "added", "changed": "changed"}
    back = [tuple(r.values()) for r in rows_of(held, text.replace("v1", "v0").replace("v2", "v1").replace("v0", "v2"))]
    assert sorted(back) == sorted((swap[c], p, t, b, a) for c, p, t, a, b in FILES)
    only = rows_of(held, "select path from diff('POOL/f@v1/d', 'POOL/f') where change = 'changed'")
    assert only == [{"path": "d/n1.png"}]


def test_a_difference_of_deep_and_wide_trees(held: tuple[Client, str]) -> None:
    client, pool = held
    tree = client.create_dataset(f"{pool}/deep")
    path = ""
    for depth in range(45):
        path += f"d{depth:02}/"
        for name in ("a", "z"):
            tree.write_bytes(f"{path}{name}", b"1", parents=True)
    for i in range(2300):
        tree.write_bytes(f"wide/{i:04}", b"", parents=True)
    tree.snapshot("v1")
    tree.write_bytes(f"{path}z", b"22")
    tree.write_bytes("d00/z", b"22")
    tree.write_bytes("wide/1500", b"22")
    tree.remove("wide/0999")
    got = rows_of(held, "select change, path from diff('POOL/deep@v1', 'POOL/deep')")
    assert [tuple(r.values()) for r in got] == [
        ("changed", f"{path}z"),
        ("changed", "d00/z"),
        ("removed", "wide/0999"),
        ("changed", "wide/1500"),
    ]


def test_a_difference_of_pairs(held: tuple[Client, str]) -> None:
    got = rows_of(
        held,
        "select change, key_text, size_before, size_after, version_after > version_before as later "
        "from diff('POOL/kv@v1', 'POOL/kv')",
    )
    assert [tuple(r.values()) for r in got] == [
        ("changed", "label/03", 2, 5, True),
        ("removed", "label/04", 2, None, None),
        ("added", "zz", None, 1, None),
    ]


def test_a_difference_goes_on_page_by_page(held: tuple[Client, str]) -> None:
    client, pool = held
    many = client.kv(f"{pool}/many", create=True)
    many.put_many({f"k{i:04}": b"x" for i in range(0, 5200, 2)})
    many.snapshot("v1")
    gone = {f"k{i:04}" for i in range(0, 5200, 14)}
    new = {f"k{i:04}" for i in range(1, 5200, 6)}
    again = {f"k{i:04}" for i in range(2, 5200, 10)} - gone
    many.delete_many(gone)
    many.put_many({k: b"yy" for k in new | again})
    got = rows_of(held, "select key_text, change from diff('POOL/many@v1', 'POOL/many')")
    keys = [r["key_text"] for r in got]
    assert keys == sorted(keys)
    for change, want in [("removed", gone), ("added", new), ("changed", again)]:
        assert {r["key_text"] for r in got if r["change"] == change} == want
    chunked = client.create_dataset(f"{pool}/chunked", type="array")
    array = chunked.create_array("x", data=np.arange(2600), chunks=1)
    chunked.snapshot("v1")
    array[1300] = -1
    array[2599] = -1
    got = rows_of(held, "select change, chunk from diff('POOL/chunked@v1', 'POOL/chunked')")
    assert [tuple(r.values()) for r in got] == [("changed", [1300]), ("changed", [2599])]
    assert rows_of(held, "select count(*) as n, sum(rows) as r from chunks('POOL/chunked/x')") == [
        {"n": 2600, "r": 2600}
    ]


def test_a_difference_of_samples(held: tuple[Client, str]) -> None:
    got = rows_of(held, "from diff('POOL/t@v1', 'POOL/t@v2')")
    assert [tuple(r.values()) for r in got] == [
        ("changed", 100, "x", 8 + 6 + 4, 8 + 6 + 4),
        ("changed", 101, "x", 8 + 6 + 4, 8 + 6 + 4),
        ("added", 5000, None, None, 8 + 6 + 2),
        ("added", 5001, None, None, 8 + 6 + 2),
        ("added", 5002, None, None, 8 + 6 + 2),
    ]


def test_a_difference_of_arrays(held: tuple[Client, str]) -> None:
    got = rows_of(held, "from diff('POOL/a@v1', 'POOL/a')")
    assert [tuple(r.values()) for r in got] == [
        ("removed", "g/old", None, 32, None),
        ("removed", "g/old", [0], 32, None),
        ("changed", "g/temp", [0, 0, 0], 672, 672),
        ("added", "h/new", None, None, 40),
        ("added", "h/new", [0], None, 16),
        ("added", "h/new", [1], None, 16),
        ("added", "h/new", [2], None, 8),
    ]
    assert len(rows_of(held, "from diff('POOL/a@v1/g/temp', 'POOL/a')")) == 1


def test_views_are_tables_in_their_order(held: tuple[Client, str]) -> None:
    client, pool = held
    client.sql(f'select _id from "{pool}/t@v1" where _id % 700 = 5 order by _id desc', save_view="some")
    want = list(range(4905, 0, -700))
    got = rows_of(held, "select position, _id, name, v from view('POOL/t', 'some') order by position")
    assert [(r["position"], r["_id"], r["name"]) for r in got] == [(k, i, f"n{i}") for k, i in enumerate(want)]
    assert [r["v"] for r in got] == [[3 * i, 3 * i + 1, 3 * i + 2] for i in want]
    assert rows_of(held, "select _id from view('POOL/t', 'some') where position >= 3 and name <> 'n1405' limit 2") == [
        {"_id": 2805},
        {"_id": 2105},
    ]
    client.query(f"{pool}/f@v1", where="size > 2", columns=["path"], save_view="large")
    got = rows_of(
        held, "select v.path, v.size, f.size as now from view('POOL/f', 'large') v left join \"POOL/f\" f using (path)"
    )
    assert {(r["path"], r["size"], r["now"]) for r in got} == {
        ("d/n3.png", 3, None),
        *((f"d/n{i}.png", i, i) for i in range(4, 9)),
        ("d/sub/kept.txt", 4, 4),
    }
    client.query(f"{pool}/kv@v1", where="key_text like 'label/1%'", columns=["key"], save_view="tens")
    got = rows_of(held, "select key_text, value from view('POOL/kv', 'tens') order by position")
    assert [(r["key_text"], r["value"]) for r in got] == [(f"label/{i}", b"c%d" % i) for i in range(10, 20)]
    listed = rows_of(
        held, "select name, samples, ordered, snapshot from sys.views where dataset like 'POOL/%' order by 1"
    )
    assert [tuple(r.values()) for r in listed] == [
        ("large", 6 + 1, False, "v1"),
        ("some", len(want), True, "v1"),
        ("tens", 10, False, "v1"),
    ]
    for text, says in [
        ("from view('POOL/t', 'sme')", "there is no view"),
        ("from view('POOL/t')", "the name of the view is missing"),
        ("from view('POOL/t@v1', 'some')", "name the dataset alone"),
        ("from view('POOL/t', 3)", "is not the name of a view"),
    ]:
        with pytest.raises(pydaos.DaosError) as caught:
            rows_of(held, text)
        assert says in str(caught.value)


def test_views_of_arrays_are_tables(client: Client, pool: str) -> None:
    arrays = client.create_dataset(f"{pool}/arr", type="array")
    x = np.arange(60, dtype="i4").reshape(10, 3, 2)
    arrays.create_array("g/x", data=x, chunks=(4, 3, 2), dims=("time", "y", "x"))
    arrays.create_array("line", data=np.linspace(0, 1, 50, dtype="f4"))
    half = arrays.create_array("half", shape=(5,), dtype="bfloat16")
    half[...] = (np.array([0.5, 1.5, 2.5, 3.5, 4.5], "f4").view("u4") >> 16).astype("u2").view(half.dtype)
    arrays.create_array("odd", data=np.zeros((3, 2), "c8"))
    view = client.query(f"{pool}/arr/g/x", where="value % 13 = 0").save_view("some")
    want = [i for i in range(10) if (x[i] % 13 == 0).any()]
    arrays["g/x"][...] = 0  # it is read at its snapshot
    got = rows_of((client, pool), "select * from view('POOL/arr', 'some') order by position")
    assert list(got[0]) == ["position", "time", "value"] and view.samples == len(want)
    assert [(r["position"], r["time"]) for r in got] == list(enumerate(want))
    assert [r["value"] for r in got] == [x[i].ravel().tolist() for i in want]
    client.query(f"{pool}/arr/line", where="value > 0.5", order_by="-value", k=4).save_view("top")
    got = rows_of(
        (client, pool), "select _id, dim_0, value from view('POOL/arr', 'top') where value < 1 order by position"
    )
    assert [(r["_id"], r["dim_0"]) for r in got] == [(48, 48), (47, 47), (46, 46)]
    assert got[0]["value"] == np.linspace(0, 1, 50, dtype="f4")[48]
    client.query(f"{pool}/arr/half", where="value > 1 and value < 4").save_view("half")
    assert [r["value"] for r in rows_of((client, pool), "from view('POOL/arr', 'half')")] == [1.5, 2.5, 3.5]


def test_chunks_are_of_what_has_statistics(held: tuple[Client, str]) -> None:
    for text, says in [
        ("from chunks('POOL/f')", r"files have no chunks with statistics: .*ask for the rows: FROM files\('\w+/f'\)"),
        ("from chunks('POOL/kv')", r"pairs have no chunks with statistics: .*ask for the rows: FROM kv\('\w+/kv'\)"),
    ]:
        with pytest.raises(pydaos.UnsupportedError, match=f"(?s){says}"):
            rows_of(held, text)


def test_tables_of_the_server(held: tuple[Client, str]) -> None:
    got = rows_of(
        held, "select name, type, snapshots from sys.datasets where pool = 'POOL' and length(name) < 3 order by 1"
    )
    assert [tuple(r.values()) for r in got] == [
        ("a", "array", 1),
        ("f", "posix", 2),
        ("kv", "kv", 1),
        ("t", "tensor", 2),
    ]
    assert rows_of(held, "select used_bytes > 0 as used from sys.pools where name = 'POOL'") == [{"used": True}]
    assert any("sys.queries" in r["text"] for r in rows_of(held, "select text from sys.queries"))
    assert rows_of(held, "select count(*) as n from sys.targets where state = 'up'")[0]["n"] > 0
    assert rows_of(held, "select version, epoch from sys.server")[0]["epoch"] > 0
    named = {r["name"] for r in rows_of(held, "from sys.tables")}
    assert {"pools", "datasets", "snapshots", "views", "queries", "targets", "server", "functions"} <= named
    for name in named:
        rows_of(held, f"from sys.{name}")
    joined = rows_of(
        held,
        "select s.name from sys.datasets d join sys.snapshots s on s.dataset = d.address "
        "where d.address = 'POOL/t' order by 1",
    )
    assert [r["name"] for r in joined] == ["v1", "v2"]


def test_describe_and_show(held: tuple[Client, str]) -> None:
    got = rows_of(held, 'describe "POOL/t"')
    assert [(r["column_name"], r["column_type"]) for r in got] == [
        ("x", "DOUBLE"),
        ("v", "SMALLINT[3]"),
        ("name", "VARCHAR"),
        ("_id", "UBIGINT"),
    ]
    assert f"{held[1]}/kv" in {r["address"] for r in rows_of(held, "show tables")}
    assert held[1] in {r["name"] for r in rows_of(held, "show databases")}
    assert {r["column_name"]: r["count"] for r in rows_of(held, 'summarize select name from "POOL/t@v1"')}[
        "name"
    ] == 5000


def test_what_is_lifted_to_functions(held: tuple[Client, str]) -> None:
    client, pool = held
    plan = client.sql(f"select * from chunks('{pool}/t@v1') where nulls > 0 and lower(\"column\") = 'x'").explain()
    assert [(c.table, c.pushed) for c in plan] == [(f"chunks({pool}/t@v1)", True), ("", False)]
    statement = client.sql(f"select address from sys.datasets where pool = '{pool}' limit 1")
    assert statement.to_arrow().num_rows == 1
    assert [c.pushed for c in statement.explain()] == [True]
    assert statement.stats.rows_out == 1


def test_arguments_are_conditions_of_the_plan(held: tuple[Client, str]) -> None:
    client, pool = held
    plan = client.sql(f"from kv('{pool}/kv', start := 'label/28', stop := 'p') where size > 1").explain()
    assert [(c.conjunct, c.pushed) for c in plan] == [
        ("key >= x'6c6162656c2f3238'", True),
        ("key < x'70'", True),
        ("size > 1", True),
    ]


def test_any_flight_client_reads_them_where_they_stay_the_same(held: tuple[Client, str], server: Any) -> None:
    _, pool = held
    client, options = flightclient.connect(server)
    with client:
        flight = flightclient.Caller(client, options)
        text = f"select change, path from diff('{pool}/f@v1', '{pool}/f@v2')"
        got = flight.read(flightclient.command(sql=text)).to_pylist()
        assert [tuple(r.values()) for r in got] == [f[:2] for f in FILES]
        got = flight.read(flightclient.command(sql=f"select _id from slice('{pool}/a@v1/g/temp[3, 4]')"))
        assert got["_id"].to_pylist() == list(range(3 * 60 + 4 * 6, 3 * 60 + 5 * 6))
        for source in ("sys.datasets", f"snapshots('{pool}/f')"):
            with pytest.raises(flightclient.ERRORS, match=r"shows what is there now"):
                flight.info(flightclient.command(sql=f"from {source}"))
        with pytest.raises(flightclient.ERRORS, match=r"no descriptor of its own"):
            flight.info(flightclient.scan(f"{pool}/t", function={"name": "chunks"}))


def test_all_mentions_of_a_live_dataset_are_of_one_epoch(held: tuple[Client, str]) -> None:
    client, pool = held
    live = client.create_dataset(f"{pool}/live")
    for i in range(5):
        live.write_bytes(f"d/{i}", b"", parents=True)
        text = f"""select (select count(*) from "{pool}/live") as a, (select count(*) from files('{pool}/live/d')) as b,
                   (select max(epoch) from "{pool}/live/d") as c, (select max(epoch) from files('{pool}/live')) as d"""
        (row,) = client.sql(text).to_arrow().to_pylist()
        assert (row["a"], row["b"]) == (i + 2, i + 1) and row["c"] == row["d"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("from files('POOL/kv')", "is a dataset of type kv, not posix"),
        ("from files()", "first argument"),
        ("from files(3)", "is not the address"),
        ("from files('POOL/f', 1)", "a pattern of names is a text"),
        ("from files('POOL/f', '*', '*')", "at most 2 arguments"),
        ("from files('POOL/f', nme := 'x')", "did you mean name"),
        ("from file('POOL/f')", 'did you mean "files"'),
        ("from files($p)", "parameter p"),
        ("from files('POOL/' || 'f')", "a constant or a parameter"),
        ("from (values ('POOL/f')) v(a), files(v.a)", "a constant or a parameter"),
        ("from kv('POOL/kv', prefx := 'x')", "did you mean prefix"),
        ("from kv('POOL/kv', 3)", "a key is a text or bytes"),
        ("from slice('POOL/a@v1/g/temp[0:2, 0:3, 0:4, 5]')", "4 indices for an array of 3 axes"),
        ("from slice('POOL/a@v1/g/temp[24]')", "out of range"),
        ("from slice('POOL/a@v1/g/temp[::-1]')", "a step is 1 or more"),
        ("from slice('POOL/a@v1/g/temp[x]')", "neither a position"),
        ("from slice('POOL/a@v1/g/temp', tim := 3)", 'did you mean "time"'),
        ("from slice('POOL/a@v1/g/temp', lat := [1])", "has 1 numbers"),
        ("from slice('POOL/a@v1/g/temp[1]', '2')", "given twice"),
        ("from slice('POOL/a@v1/g/temp[time=1, 1]')", "given twice"),
        ("from slice('POOL/f/d')", "of type posix"),
        ("from slice('POOL/a@v1/g')", "group"),
        ("from chunks('POOL/f')", "of type posix"),
        ("from snapshots('POOL/ff')", "did you mean"),
        ("from diff('POOL/f@v1')", "two addresses"),
        ("from diff('POOL/f', 'POOL/f')", "both are the live dataset"),
        ("from diff('POOL/f@v1', 'POOL/kv')", "two datasets"),
        ("from diff('POOL/f@v1/d', 'POOL/f/e')", "are not the same"),
        ("from diff('POOL/f@v1/nope', 'POOL/f')", "no such directory"),
        ("from diff('POOL/f@v9', 'POOL/f')", "there is no such snapshot"),
        ("from diff('POOL/kv@v1/x', 'POOL/kv')", "no paths"),
        ("from sys.dataset", "did you mean sys.datasets"),
        ("from sys.datasets at (version => 'v1')", "not a snapshot"),
    ],
)
def test_errors_say_what_is_wrong_with_an_argument(held: tuple[Client, str], text: str, says: str) -> None:
    with pytest.raises(pydaos.DaosError) as caught:
        rows_of(held, text)
    assert says in str(caught.value)
