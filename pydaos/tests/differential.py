"""Random tables, conditions and statements, for test_differential.

`Tables` puts random rows into datasets of all four types, and the same rows by way of
Parquet files into tables of DuckDB's own. `Conditions` makes conditions that both
understand, `Statements` whole SELECTs; in them a table is written ``@t``. `rows_of`
makes results comparable.
"""

from __future__ import annotations

import datetime
import decimal
import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pydaos._client import Client

TEXTS = ["", "a", "A", "ä", "é", "e\u0301", "a%", "a_b", "\\", "'", '"x"', "ab", "abc", "B", "日本", "😀", "n1", "1"]
TEXTS += ["-1", "NaN", "\u212a", "k", "K", " ", "a\nb", "[x]", "*", "?", "]", "\x7f", "ß", "\u0130"]
FLOATS = [math.nan, 0.0, -0.0, 1.0, -1.0, 0.1, 2.5, math.inf, -math.inf, 1e300, 5e-324, 16777217.0, 3.0]
INTEGERS = [-(2**63), 2**63 - 1, 0, 1, -1, 2, 3, 9007199254740993]
BLOBS = [b"", b"A", b"\\x41", b"\xff", b"\x00", b"a", b"ab"]
TIMES = [
    0,
    1,
    -1,
    10**9,
    -(10**9),
    1_767_225_600 * 10**9,
    1_767_225_600 * 10**9 + 1,
    2**62,
    -(2**62),
    951_782_400 * 10**9,
]

# Columns of the tables, by what conditions can say about them.
KINDS = {
    "t": {"int": ["id", "k", "i8", "i64", "u64", "Label"], "float": ["f", "g", "h"], "text": ["s"], "bool": ["b"],
          "blob": ["bl"], "list": ["vec", "tok"], "time": []},
    "a": {"int": ["id"], "float": [], "text": [], "bool": [], "blob": [], "list": [], "time": ["value"]},
    "n": {"int": ["x", "y", "value"], "float": [], "text": [], "bool": [], "blob": [], "list": [], "time": []},
    "p": {"int": ["size", "step"], "float": ["loss"], "text": ["key_text", "note"], "bool": ["ok"], "blob": ["key"],
          "list": [], "time": []},
    "d": {"int": ["size", "depth"], "float": [], "text": ["path", "name", "ext", "type"], "bool": [], "blob": [],
          "list": [], "time": ["mtime"]},
}  # fmt: skip
KINDS["u"] = KINDS["e"] = KINDS["t"]
# What tells the rows of a table apart.
KEYS = {"t": "id", "u": "id", "e": "id", "a": "id", "n": "x, y", "p": "key", "d": "path"}


def _table(rng: random.Random, n: int) -> pa.Table:
    draw = np.random.default_rng(rng.randrange(1 << 30))

    def some(values: Sequence[Any], kind: pa.DataType, nulls: float = 0.2) -> pa.Array:
        picked = [rng.choice(values) for _ in range(n)]
        return pa.array([None if m else v for v, m in zip(picked, draw.random(n) < nulls, strict=True)], kind)

    small = [x if not math.isfinite(x) or abs(x) < 1e4 else 3.0 for x in FLOATS]
    vectors = [[float(rng.choice([0, 1, -2, 3])) for _ in range(3)] for _ in range(12)]
    words = [[rng.randrange(-3, 4) for _ in range(rng.randrange(4))] for _ in range(12)]
    return pa.table(
        {
            "id": pa.array(np.arange(n), pa.int64()),
            "k": some([0, 1, 2, 3], pa.int32()),
            "i8": some([-128, 127, 0, 1, 2], pa.int8()),
            "i64": some(INTEGERS, pa.int64()),
            "u64": some([0, 1, 2**64 - 1, 2**63, 3], pa.uint64()),
            "f": some(FLOATS, pa.float64()),
            "g": some([float(np.float32(x)) if abs(x) < 1e38 else 3.0 for x in FLOATS], pa.float32()),
            "h": some([np.float16(x) for x in small] + [np.float16(6e-8)], pa.float16()),
            "s": some(TEXTS, pa.string()),
            "b": some([True, False], pa.bool_()),
            "bl": some(BLOBS, pa.binary()),
            "Label": some([0, 1, 2], pa.int16()),
            "vec": some(vectors, pa.list_(pa.float32(), 3)),
            "tok": some(words, pa.list_(pa.int16())),
        }
    )


class Tables:
    """Datasets with random rows, and tables of DuckDB with the same ones."""

    def __init__(self, client: Client, pool: str, rng: random.Random, folder: Path) -> None:
        self.client = client
        self.pool = pool
        self.db = duckdb.connect()
        self.address = {name: f"{pool}/{name}" for name in KINDS}
        for name, n in (("t", 900), ("u", 60), ("e", 0)):
            rows = _table(rng, n)
            tensor = client.create_dataset(self.address[name], type="tensor")
            tensor.define(rows)
            for at in range(0, n, 250):  # several chunks
                tensor.append(rows.slice(at, 250))
            self._copy(name, rows.append_column("_id", pa.array(np.arange(n, dtype=np.uint64))), folder)
        self._arrays(rng, folder)
        self._pairs(rng, folder)
        self._files(rng, folder)

    def _copy(self, name: str, rows: pa.Table, folder: Path) -> None:
        for i, field in enumerate(rows.schema):
            if pa.types.is_timestamp(field.type):  # as SQL has it: with a time zone it would lose nanoseconds
                rows = rows.set_column(i, field.name, rows.column(i).cast(pa.timestamp("ns")))
        path = folder / f"{name}.parquet"
        pq.write_table(rows, path)
        lists = " REPLACE (vec::FLOAT[3] AS vec)" if "vec" in rows.column_names else ""
        # Not over the file itself: DuckDB prunes by its statistics, in which NaN is no number.
        self.db.execute(f"CREATE TABLE {name} AS SELECT *{lists} FROM read_parquet('{path}')")

    def _arrays(self, rng: random.Random, folder: Path) -> None:
        arrays = self.client.create_dataset(f"{self.pool}/arrays", type="array")
        times = np.array([rng.choice(TIMES) + rng.choice([0, 0, 60 * 10**9]) for _ in range(300)])
        arrays.create_array("a", data=times.astype("M8[ns]"), chunks=(64,), dims=("id",))
        grid = np.array([[rng.choice([-32768, 32767, 0, 1, 2]) for _ in range(9)] for _ in range(11)], np.int16)
        arrays.create_array("n", data=grid, chunks=(4, 5), dims=("x", "y"))
        self.address |= {"a": f"{self.pool}/arrays/a", "n": f"{self.pool}/arrays/n"}
        self._as_read("a", folder)
        self._as_read("n", folder)

    def _pairs(self, rng: random.Random, folder: Path) -> None:
        pairs = self.client.kv(self.address["p"], create=True)
        pairs.define({"loss": "float64?", "step": "int32?", "ok": "bool", "note": "string?"}, encoding="struct")
        for i in range(80):
            row: dict[str, Any] = {"ok": rng.random() < 0.5}
            for field, values in (("loss", FLOATS), ("step", [0, 1, 2, 3, -(2**31)]), ("note", TEXTS)):
                if rng.random() < 0.8:
                    row[field] = rng.choice(values)
            name = rng.choice(TEXTS) + str(i)
            pairs[name.encode() + rng.choice([b"", b"", b"\xff"])] = row
        self._as_read("p", folder)

    def _files(self, rng: random.Random, folder: Path) -> None:
        files = self.client.create_dataset(self.address["d"])
        names = [t for t in TEXTS if t and "\n" not in t]
        for i in range(70):
            where = "/".join(rng.sample(["d", "é", "D", "x y"], rng.randrange(3)))
            name = f"{where}/{i}{rng.choice(names)}{rng.choice(['', '.png', '.PNG', '.tar.gz'])}".lstrip("/")
            files.write_bytes(name, b"x" * rng.choice([0, 1, 2, 3, 300]), parents=True)
        self._as_read("d", folder)

    def _as_read(self, name: str, folder: Path) -> None:
        self._copy(name, self.client.query(self.address[name]).to_arrow(), folder)

    def ours(self, text: str) -> str:
        """Return a statement with the datasets' addresses."""
        return re.sub(r"@(\w+)", lambda m: f'"{self.address[m[1]]}"', _blobs(text))

    def theirs(self, text: str) -> str:
        """Return a statement, or a condition, for DuckDB."""
        return _blobs(text).replace("@", "")


def _blobs(text: str) -> str:
    """Write the byte strings of conditions as SQL has them."""
    return re.sub(r"(?<!\w)x'([0-9a-f]*)'", r"unhex('\1')", text)


def _plain(value: Any, exact: bool) -> Any:
    if isinstance(value, list):
        return [_plain(v, exact) for v in value]
    if isinstance(value, decimal.Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return str(value)
    if isinstance(value, np.floating):
        value = float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return "-0" if exact and value == 0 and math.copysign(1, value) < 0 else int(value)
    return value


def _values(column: pa.ChunkedArray) -> list[Any]:
    if isinstance(column.type, pa.FixedShapeTensorType):
        column = pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    if pa.types.is_timestamp(column.type):
        unit = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[column.type.unit]
        return [None if v is None else v * unit for v in column.cast(pa.int64()).to_pylist()]
    return column.to_pylist()  # type: ignore[no-any-return]


def rows_of(table: pa.Table, text: str) -> list[str]:
    """Return rows as texts; sorted, unless the statement orders all of them.

    Zeros lose their sign where rows are merged: which of two equal ones is kept is not
    said.
    """
    exact = not re.search(r"GROUP|DISTINCT|UNION|EXCEPT|INTERSECT|OVER|\bm(in|ax)\(", text)
    rows = [repr([_plain(v, exact) for v in row]) for row in zip(*map(_values, table.columns), strict=True)]
    return rows if "/* ordered */" in text else sorted(rows)


class Conditions:
    """Random conditions over the columns of a table."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def number(self) -> str:
        small = ["0", "1", "-1", "2", "3", "127", "-128", "300", "0.1", "2.5", "1e0", "0.1e0", "-0.0", "NULL"]
        large = ["9007199254740993", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e19"]
        return self.rng.choice([*small, *small, *large, "1e400", "16777217", "16777217.0", "0.10000000000000000000001"])

    def text(self) -> str:
        return self.rng.choice(
            ["''", "'a'", "'A'", "'ä'", "'%'", "'a%'", "'_'", "'k'", "'1'", "'ab%'", "'😀'", "'%b_'"]
        )

    def blob(self) -> str:
        return self.rng.choice(["x'41'", "x'ff'", "x''", "x'00'", "'A'", "'a'"])

    def time(self) -> str:
        days = ["1970-01-01", "1969-12-31 23:59:59", "2026-01-01 00:00:00", "2000-02-29", "1970-01-01 00:00:00.000001"]
        if self.rng.random() < 0.2:
            return "DATE '1970-01-01'"
        if self.rng.random() < 0.3:  # a text is a TIMESTAMP_NS
            return f"'{self.rng.choice([*days, '1970-01-01 00:00:00.000000001', '1970-01-01 00:01:00+00:01'])}'"
        return f"TIMESTAMP '{self.rng.choice(days)}'"

    def compare(self) -> str:
        return self.rng.choice(["=", "<>", "<", "<=", ">", ">="])

    def column(self, prefixes: Sequence[str], names: Sequence[str]) -> str:
        name = self.rng.choice(names)
        if self.rng.random() < 0.2:
            name = name.upper()
        if self.rng.random() < 0.2:
            name = f'"{name}"'
        return self.rng.choice(prefixes) + name

    def make(self, table: str, prefixes: Sequence[str] = ("",), depth: int = 0) -> str:
        rng, kinds = self.rng, KINDS[table]
        if depth < 3 and rng.random() < 0.3:
            both = [self.make(table, prefixes, depth + 1) for _ in range(2)]
            return f"({both[0]} {rng.choice(['AND', 'OR'])} {both[1]})"
        if depth < 3 and rng.random() < 0.08:
            return f"(NOT {self.make(table, prefixes, depth + 1)})"
        kind = rng.choice([k for k, names in kinds.items() if names for _ in range(3 if k in ("int", "float") else 1)])

        def c() -> str:
            return self.column(prefixes, kinds[kind])

        if rng.random() < 0.1:
            return f"{c()} IS {rng.choice(['', 'NOT '])}NULL"
        return str(getattr(self, "_" + kind)(c))

    def _int(self, c: Callable[[], str]) -> str:
        rng = self.rng
        some = ", ".join(self.number() for _ in range(rng.randint(1, 4)))
        return rng.choice(
            [
                f"{c()} {self.compare()} {self.number()}",
                f"{self.number()} {self.compare()} {c()}",
                f"{c()} {self.compare()} {c()}",
                f"{c()} BETWEEN {self.number()} AND {self.number()}",
                f"{c()} {rng.choice(['', 'NOT '])}IN ({some})",
            ]
        )

    def _float(self, c: Callable[[], str]) -> str:
        return f"isnan({c()})" if self.rng.random() < 0.2 else self._int(c)

    def _text(self, c: Callable[[], str]) -> str:
        rng = self.rng
        return rng.choice(
            [
                f"{c()} {rng.choice(['=', '<', '>=', '<>', 'LIKE', 'NOT LIKE', 'GLOB'])} {self.text()}",
                f"{c()} IN ({self.text()}, {self.text()})",
                f"{rng.choice(['contains', 'prefix', 'suffix'])}({c()}, {self.text()})",
                f"length({c()}) {self.compare()} {rng.randint(0, 3)}",
            ]
        )

    def _blob(self, c: Callable[[], str]) -> str:
        return f"{c()} {self.compare()} {self.blob()}"

    def _bool(self, c: Callable[[], str]) -> str:
        return c() + self.rng.choice([" = true", " = false", " IS NULL", ""])

    def _time(self, c: Callable[[], str]) -> str:
        if self.rng.random() < 0.2:
            return f"{c()} BETWEEN {self.time()} AND {self.time()}"
        return f"{c()} {self.compare()} {self.time()}"

    def _list(self, c: Callable[[], str]) -> str:
        if self.rng.random() < 0.4:
            return f"length({c()}) {self.compare()} {self.rng.randint(0, 3)}"
        return f"{c()}[{self.rng.choice([1, 2, 3, -1])}] {self.compare()} {self.rng.choice(['0', '1', '-2', '2.5e0'])}"
