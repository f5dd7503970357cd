"""Rows of queries: filters and a GROUP BY beside DuckDB over Parquet and Lance; `find` beside find(1)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bench import Bench
from goals import FIND, FIND_PRUNED, QUERY, QUERY_GROUPS
from pairs import Row, Side, verdict

__all__ = ["run"]

#: Rows of one append, and of one group of what is generated.
PIECE = 1_000_000
DAY = 86_400 * 10**9


def pieces(count: int) -> Iterator[pa.Table]:
    """Yield the rows in the order in which all sides are given them.

    ``ts`` rises with the rows, with jitter, as what is appended over time does; the others
    are random. ``caption`` and ``image`` are the wide columns that only survivors need.
    """
    words = np.array(
        ["a", "dog", "cat", "on", "the", "mat", "red", "blue", "street", "in", "rain", "two", "people", "with"], object
    )
    for first in range(0, count, PIECE):
        n = min(PIECE, count - first)
        rng = np.random.default_rng(first)
        picks = rng.integers(0, len(words), (n, 6))
        captions = words[picks[:, 0]]
        for k in range(1, 6):
            captions = captions + " " + words[picks[:, k]]
        image = pa.py_buffer(rng.bytes(n * 48))
        yield pa.table(
            {
                "id": np.arange(first, first + n, dtype="i8"),
                "ts": np.sort(rng.integers(first, first + n, n)) * 1_000 + rng.integers(0, 10_000_000, n),
                "label": rng.integers(0, 1000, n, dtype="i4"),
                "quality": rng.random(n, dtype="f4"),
                "score": rng.normal(size=n),
                "size": rng.lognormal(10, 2, n).astype("i8"),
                "caption": pa.array(captions, pa.string()),
                "image": pa.Array.from_buffers(pa.binary(48), n, [None, image]).cast(pa.binary()),
            }
        )


@dataclass
class Ask:
    """One query: a condition and columns, or groups; in all three dialects the same."""

    name: str
    where: str
    columns: tuple[str, ...] = ()
    group: str = ""
    aggregates: tuple[str, ...] = ()
    floor: float = 1.0

    def sql(self, table: str) -> str:
        """Return it as SQL."""
        shown = ", ".join(self.columns or (self.group, *self.aggregates))
        where = f" WHERE {self.where}" if self.where else ""
        group = f" GROUP BY {self.group}" if self.group else ""
        return f"SELECT {shown} FROM {table}{where}{group}"


def asks(count: int) -> list[Ask]:
    """Return the queries: 5 % and 0.1 %, of columns in no order and of one that rises, narrow and wide."""
    at = count * 1_000 // 2
    five, tenth = QUERY
    slim, wide = ("id", "label", "size"), ("id", "caption", "image")
    return [
        Ask("5 % by a float32", "quality > 0.95", slim, floor=five),
        Ask("5 % by an int64 and a float64", "size > 100000 and score < 0.0 and label < 440", slim, floor=five),
        Ask("5 % by a rising int64", f"ts >= {at} and ts < {at + count * 50}", slim, floor=five),
        Ask("0.1 % by a float32, wide columns", "quality > 0.999", wide, floor=tenth),
        Ask("0.1 % by an int32, wide columns", "label = 7", wide, floor=tenth),
        Ask("0.1 % by a rising int64, wide columns", f"ts >= {at} and ts < {at + count}", wide, floor=tenth),
        Ask(
            "GROUP BY an int32",
            "",
            group="label",
            aggregates=("count(*)", "avg(score)", "max(size)"),
            floor=QUERY_GROUPS,
        ),
    ]


class Lance:
    """Lance in a process of its own, with the interpreter of .venv/peers."""

    def __init__(self, bench: Bench, source: Path) -> None:
        self.child = subprocess.Popen(
            [
                bench.python,
                os.path.join(os.path.dirname(__file__), "lance_queries.py"),
                str(source),
                str(source) + ".lance",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        """Send one query and wait for its answer."""
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write(json.dumps(job) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit("the process that queries Lance has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait()


def run(bench: Bench) -> None:
    """Measure filters, groups and `find`."""
    tables(bench)
    finds(bench)


def tables(bench: Bench) -> None:
    """Filters and a GROUP BY over 10 M rows, results as Arrow tables."""
    import duckdb

    count = 1_000_000 if bench.quick else 10_000_000
    parquet = bench.scratch / "rows.parquet"
    bench.say(f"making {count:,} rows")
    dataset: Any = bench.client.create_dataset("bench/rows", type="tensor")
    for i, piece in enumerate(pieces(count)):
        if not i:
            dataset.define(piece)
        dataset.append(piece)
    dataset.snapshot("v1")
    duck = duckdb.connect()
    duck.execute("SET threads = 2; SET parquet_metadata_cache = true; SET preserve_insertion_order = true")
    schema = next(pieces(1)).schema
    incoming = pa.RecordBatchReader.from_batches(schema, (b for piece in pieces(count) for b in piece.to_batches()))
    duck.register("incoming", incoming)
    duck.execute(f"COPY incoming TO '{parquet}' (FORMAT parquet, COMPRESSION zstd)")
    lance = Lance(bench, parquet) if "lance" in bench.peers else None
    try:
        for ask in asks(count):
            one(bench, ask, count, duck, f"'{parquet}'", lance)
    finally:
        if lance:
            lance.close()
        duck.close()
        bench.client.destroy_dataset("bench/rows")
        parquet.unlink()


def one(bench: Bench, ask: Ask, count: int, duck: Any, parquet: str, lance: Lance | None) -> None:
    """Measure one query; a side that gives something else ends the run."""
    client = bench.client

    def ours() -> pa.Table:
        return client.query(
            "bench/rows@v1", where=ask.where, columns=ask.columns, group_by=ask.group or (), aggregates=ask.aggregates
        ).to_arrow()

    def sql() -> pa.Table:
        return client.sql(ask.sql('"bench/rows@v1"')).to_arrow()

    def ducks() -> pa.Table:
        return duck.execute(ask.sql(parquet)).to_arrow_table()

    first = ask.columns[0] if ask.columns else ask.group
    want = ducks().sort_by(first)
    for name, other in ("ours", ours()), ("ours, SQL", sql()):
        got = other.sort_by(first)
        if got.num_rows != want.num_rows or got.column(0).to_pylist() != want.column(0).to_pylist():
            raise SystemExit(f"{ask.name}: {name} gives {got.num_rows} rows, DuckDB {want.num_rows}")

    def rows(work: Any) -> Any:
        def done() -> float:
            work()
            return count

        return done

    sides = [
        Side("DuckDB, Parquet (zstd), 2 threads", rows(ducks)),
        Side("ours, client.query", rows(ours), floor=ask.floor, goal=ask.floor),
        Side("ours, client.sql", rows(sql)),
    ]
    if lance:
        job = {"where": ask.where, "columns": ask.columns, "sql": ask.sql("data") if ask.group else ""}
        if lance.ask(**job)["rows"] != want.num_rows:
            raise SystemExit(f"{ask.name}: Lance gives other rows")
        sides.insert(1, Side("Lance, 2 threads", rows(lambda: lance.ask(**job))))
    share = f", {want.num_rows:,} rows out" if ask.columns else f", {want.num_rows:,} groups"
    row = bench.measure(Row(f"query: {ask.name} of {count:,} rows{share}", "rows/s", sides, sides[0].name))
    if lance:
        ratio = row.ratio(row.side("ours, client.query"), "Lance, 2 threads")[1]
        row.notes.append(f"client.query to Lance: {ratio:.2f}x, goal {verdict(ratio, 1.0)}.")
    bench.show(row)


def finds(bench: Bench) -> None:
    """1 M files: by size and by name, below a directory, of a day."""
    entries = 50_000 if bench.quick else 1_000_000
    per_dir = 1000
    tree = bench.scratch / "find"
    bench.say(f"making {entries:,} files")
    begin = 1_700_000_000 * 10**9
    for d in range(entries // per_dir):
        folder = tree / f"{d // 100:03d}" / f"{d:05d}"
        folder.mkdir(parents=True)
        for i in range(per_dir):
            fd = os.open(folder / f"{i:06d}.{'jpg' if i % 10 else 'json'}", os.O_CREAT | os.O_WRONLY)
            if i % 50 == 0:
                os.write(fd, b"x" * (i + 1))
            stamp = begin + d * DAY + i * 10**9  # a directory a day
            os.utime(fd, ns=(stamp, stamp))
            os.close(fd)
    bench.daos("dataset", "create", "bench/find", "--type", "posix")
    bench.daos("fs", "import", str(tree), "bench/find/")
    bench.daos("snapshot", "create", "bench/find", "v1")
    day = entries // per_dir // 2
    low, high = begin + day * DAY, begin + (day + 1) * DAY
    folder = f"{day // 100:03d}/{day:05d}"

    def find(*arguments: str, top: Path = tree) -> Any:
        def work() -> float:
            done = subprocess.run(["find", str(top), *arguments], stdout=subprocess.PIPE, check=True)
            found[0] = done.stdout.count(b"\n")
            return entries

        return work

    found = [0]

    def stamp(ns: int) -> str:
        return f"@{ns // 10**9 - 1}.999999999"

    def ours(where: str) -> Any:
        def work() -> float:
            table = bench.client.query("bench/find@v1", where=where, columns=["path"]).to_arrow()
            found[0] = table.num_rows
            return entries

        return work

    cases: list[tuple[str, list[Side], str, float]] = [
        (
            "by size and name",
            [Side("find -size +0c -name '*.json'", find("-type", "f", "-size", "+0c", "-name", "*.json"))],
            "type = 'file' and size > 0 and name like '%.json'",
            FIND,
        ),
        (
            "by size below a directory",
            [
                Side("find -path 'DIR/*' -size +0c", find("-type", "f", "-path", f"{tree}/{folder}/*", "-size", "+0c")),
                Side("find DIR -size +0c, started there", find("-type", "f", "-size", "+0c", top=tree / folder)),
            ],
            f"path like '{folder}/%' and type = 'file' and size > 0",
            FIND_PRUNED,
        ),
        (
            "of one day",
            [
                Side(
                    "find -newermt A ! -newermt B",
                    find("-type", "f", "-newermt", stamp(low), "!", "-newermt", stamp(high)),
                )
            ],
            f"type = 'file' and mtime >= {literal(low)} and mtime < {literal(high)}",
            FIND_PRUNED,
        ),
    ]
    for what, sides, where, floor in cases:
        mine = Side("ours, client.query", ours(where), floor=floor, goal=floor)
        counts = []
        for side in (*sides, mine):
            side.work()
            counts.append(found[0])
        if len(set(counts)) != 1 or not counts[0]:
            raise SystemExit(f"find {what}: the sides found {counts}")
        bench.run(Row(f"find {what}: {counts[0]:,} of {entries:,} files", "entries/s", [*sides, mine], sides[0].name))
    shutil.rmtree(tree)
    bench.client.destroy_dataset("bench/find")


def literal(ns: int) -> str:
    """Return a time as a condition writes it."""
    return "timestamp '" + str(np.datetime64(ns, "ns")).replace("T", " ") + "'"
