"""Makes duckdb.json: what DuckDB keeps of random rows for random predicates.

    python query/expr/testdata/expectations.py >query/expr/testdata/duckdb.json

The Go test evaluates the same text over the same rows. Where DuckDB reports an
error (an integer overflow), the expectation is "error".
"""

import json
import math
import random

import duckdb

COLUMNS = {
    "a8": "TINYINT",
    "a16": "SMALLINT",
    "a32": "INTEGER",
    "a64": "BIGINT",
    "u8": "UTINYINT",
    "u32": "UINTEGER",
    "u64": "UBIGINT",
    "f32": "FLOAT",
    "f64": "DOUBLE",
    "t": "VARCHAR",
    "b": "BOOLEAN",
    "ts": "TIMESTAMP_NS",
    "l": "INTEGER[]",
}
BITS = {"a8": 8, "a16": 16, "a32": 32, "a64": 64}
UBITS = {"u8": 8, "u32": 32, "u64": 64}
TEXTS = ["", "a", "A", "ab", "aB", "abc", "train/a.png", "train/b.png", "Test"]
TEXTS += ["ä", "äb", "日本", "a%b", "a_b", "z", "[a]", "\u0000x"]
TIMES = ["2026-01-01 00:00:00", "2026-01-01 12:00:00.123456789", "1970-01-01 00:00:00"]
TIMES += ["1999-12-31 23:59:59.5", "2200-01-01 00:00:00"]
FLOATS = [0.0, -0.0, 1.0, -1.5, 0.1, 0.5, 2.5, 3.0, 127.0, 1e10, -1e300, math.nan, math.inf, -math.inf, 16777217.0]


def integers(rng, name):
    if name in BITS:
        k = BITS[name] - 1
        return rng.choice([0, 1, -1, 2, 3, 5, 2**k - 1, -(2**k), rng.randrange(-(2**k), 2**k)])
    k = UBITS[name]
    return rng.choice([0, 1, 2, 3, 2**k - 1, rng.randrange(2**k)])


def cell(rng, name):
    if rng.random() < 0.15:
        return None
    if name in BITS or name in UBITS:
        return integers(rng, name)
    if name == "f32":
        v = rng.choice(FLOATS)
        return v if abs(v) < 1e38 or not math.isfinite(v) else 7.25
    if name == "f64":
        return rng.choice(FLOATS)
    if name == "t":
        return rng.choice(TEXTS)
    if name == "b":
        return rng.random() < 0.5
    if name == "ts":
        return rng.choice(TIMES)
    return [rng.randrange(5) for _ in range(rng.randrange(4))]


def quote(s):
    return "'" + s.replace("'", "''") + "'"


def number(rng):
    return rng.choice(
        [
            *["0", "1", "-1", "2", "3", "5", "127", "128", "-128", "-129", "255", "256", "32767", "32768"],
            *["2147483647", "4294967296", "9223372036854775807", "-9223372036854775808", "18446744073709551615"],
            *["0.5", "-0.5", "0.1", "2.5", "3.0", "-1.5"],
            *["1e0", "5e-1", "1e10", "-1e300", "'nan'::double", "'inf'::double", "16777216", "16777217", "1e-1"],
        ]
    )


OPS = ["=", "<>", "<", "<=", ">", ">="]
NUMERIC = [*BITS, *UBITS, "f32", "f64"]
INTS = ["a8", "a16", "a32", "u8", "u32"]


def leaf(rng):
    k = rng.randrange(15)
    n = rng.choice(NUMERIC)
    op = rng.choice(OPS)
    if k <= 2:
        return f"{n} {op} {number(rng)}"
    if k == 3:
        return f"{number(rng)} {op} {n}"
    if k == 4:
        return f"{n} {op} {rng.choice(NUMERIC)}"
    if k == 5:
        return f"{rng.choice([*COLUMNS])} is {rng.choice(['', 'not '])}null"
    if k == 6:
        return f"t {op} {quote(rng.choice(TEXTS[:-1]))}"
    if k == 7:
        likes = ["a%", "%b", "%a%", "_", "a_", "%", "", "train/%.png", "a\\%b", "%_b%", "日%", "__", "ab"]
        pattern = rng.choice(likes)
        return f"t {rng.choice(['', 'not '])}like {quote(pattern)}"
    if k == 8:
        pattern = rng.choice(["a*", "*b", "?", "*", "train/*.png", "[a-c]*", "[!a]*", "*[ab]", "a?", "ab"])
        return f"t glob {quote(pattern)}"
    if k == 9:
        some = [rng.choice(TEXTS[:-1]) for _ in range(rng.randrange(1, 7))]
        words = [quote(s) for s in some] + (["NULL"] if rng.random() < 0.2 else [])
        return f"t {rng.choice(['', 'not '])}in ({', '.join(words)})"
    if k == 10:
        some = [str(rng.choice([0, 1, 2, 3, 5, -1, 127, 70000])) for _ in range(rng.randrange(1, 8))]
        if rng.random() < 0.2:
            some.append("NULL")
        return f"{n} {rng.choice(['', 'not '])}in ({', '.join(some)})"
    if k == 11:
        lo, hi = rng.choice([("0", "3"), ("-1", "127"), ("0.5", "2.5"), ("-1e0", "5e0"), ("3", "0")])
        return f"{n} {rng.choice(['', 'not '])}between {lo} and {hi}"
    if k == 12:
        return rng.choice(
            [
                f"b = {rng.choice(['true', 'false'])}",
                "b",
                "not b",
                f"ts {op} timestamp {quote(rng.choice(TIMES))}",
                f"isnan({rng.choice(['f32', 'f64'])})",
                f"length(t) {op} {rng.randrange(5)}",
                f"len(l) {op} {rng.randrange(4)}",
                f"l[{rng.choice([1, 2, -1, 4])}] {op} {rng.randrange(5)}",
                "starts_with(t, 'a')",
                "ends_with(t, 'b')",
                "contains(t, 'a')",
                f"lower(t) {op} 'ab'",
                f"upper(t) {op} 'AB'",
            ]
        )
    if k == 13:
        x, y = rng.choice(INTS), rng.choice([1, 2, 3, 7])
        return f"{x}::BIGINT {rng.choice(['+', '-', '*', '%'])} {y} {op} {rng.randrange(-3, 200)}"
    by = rng.choice(["2e0", "1e1", "0e0"])
    return f"f64 {rng.choice(['+', '-', '*', '/'])} {by} {op} {rng.choice(['1e0', '0e0', '2.5', '7'])}"


def predicate(rng, depth=0):
    if depth > 2 or rng.random() < 0.5:
        return leaf(rng)
    k = rng.randrange(5)
    if k == 0:
        return f"not ({predicate(rng, depth + 1)})"
    word = " and " if k < 3 else " or "
    return word.join(f"({predicate(rng, depth + 1)})" for _ in range(rng.randrange(2, 4)))


def plain(v):
    """A value as JSON has it: floats as text, where NaN and -0 keep."""
    return repr(v) if isinstance(v, float) else v


def main():
    rng = random.Random(20)
    rows = [[cell(rng, name) for name in COLUMNS] for _ in range(120)]
    db = duckdb.connect()
    db.execute("create table r (i integer, " + ", ".join(f"{n} {t}" for n, t in COLUMNS.items()) + ")")
    marks = ", ".join("?" * (len(COLUMNS) + 1))
    db.executemany(f"insert into r values ({marks})", [[i, *row] for i, row in enumerate(rows)])
    cases = []
    while len(cases) < 2000:
        text = predicate(rng)
        try:
            kept = [i for (i,) in db.execute(f"select i from r where {text} order by i").fetchall()]
        except duckdb.Error as err:
            kept = f"error: {err}".split("\n")[0]
        cases.append([text.replace("::BIGINT", ""), kept])
    out = {"duckdb": duckdb.__version__, "columns": COLUMNS, "rows": [[plain(v) for v in row] for row in rows]}
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    print(json.dumps(out, ensure_ascii=False)[:-1] + ', "cases": [\n' + lines + "\n]}")


main()
