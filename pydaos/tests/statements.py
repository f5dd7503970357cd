"""Random SELECTs over the tables of `differential`, written ``@t``."""

from __future__ import annotations

import random

from differential import KEYS, KINDS, Conditions

PLAIN = {  # what a select list can show of each table
    "t": [
        *(
            "id",
            "*",
            "id, s, f",
            "id AS k",
            "k AS id, f AS g",
            "k + 1 AS k, id",
            "* EXCLUDE (s)",
            "* REPLACE (k AS id)",
        ),
        *(
            "id, vec, tok",
            "id, [k, i8]",
            "id, h, -f",
            "Label, bl, b",
            "id, {'a': k, 'b': [f, NULL]}::VARCHAR AS st",
            "id, u64, i64 // 3",
        ),
    ],
    "a": ["*", "id, value", "value AS id, id AS value"],
    "n": ["*", "x, value", "y AS x, x AS y, value"],
    "p": ["key, size, loss", "key_text, note AS key, step", "key, ok, value"],
    "d": ["path, name, size", "name AS path, ext, depth", "path, type, mtime"],
}
PLAIN["u"] = PLAIN["e"] = PLAIN["t"]
TENSORS = ["t", "t", "u", "u", "e"]
AGGREGATES = [
    *("count(*)", "min(g)", "max(i64)", "count(DISTINCT s)", "sum(k)", "avg(i8)", "min(s)", "max(bl)", "min(h)"),
    *("bool_or(b)", "count(vec)"),
]
GROUPS = {  # GROUP BY: what it shows
    **{by: by for by in ("k", "k, b", "h", "f", "g, b", "tok")},
    **{"CUBE (k, b)": "k, b", "ROLLUP (Label)": "Label", "ALL": "k", "GROUPING SETS ((k), (b), ())": "k, b"},
}
# What the targets can group by and aggregate: whole statements of it are theirs.
PUSHED: dict[str, tuple[list[str], list[str]]] = {
    "t": (
        ["k", "b", "s", "Label", "i8", "bl", "i64", "u64"],
        [
            *("count(*)", "count()", "count(s)", "count(vec)", "sum(k)", "sum(i8)", "sum(Label)", "avg(k)", "avg(i8)"),
            *("avg(Label)", "avg(i64)", "mean(k)", "sum(id)", "avg(id)", "min(i64)", "max(u64)", "min(g)", "max(f)"),
            *("min(h)", "max(s)", "min(bl)", "min(b)", "sum(i64)", "sum(u64)", "avg(u64)", "sum(g)", "avg(f)"),
            *("sum(h)", "min(_id)", "sum(b)", "COUNT(z.k)", "count(DISTINCT k)", "sum(k + 1)", "min(k, 2)"),
            *("sum(k) FILTER (id > 3)", "first(id ORDER BY id)"),
        ],
    ),
    "a": (["value"], ["count(*)", "min(id)", "max(value)", "sum(id)", "avg(id)"]),
    "n": (["x", "value"], ["count(*)", "sum(value)", "avg(value)", "max(y)"]),
    "p": (["ok", "note", "step"], ["count(*)", "count(loss)", "sum(step)", "avg(step)", "max(loss)", "sum(size)"]),
    "d": (["ext", "type", "depth", "size"], ["count(*)", "sum(size)", "max(path)", "min(mtime)", "avg(depth)"]),
}
PUSHED["u"] = PUSHED["e"] = PUSHED["t"]
LISTS = [
    *(f"list({c} ORDER BY id)" for c in ("k", "f", "b", "h", "vec[2]")),
    *(
        "list(tok ORDER BY id)[:3]::VARCHAR",
        "list(s ORDER BY id)::VARCHAR",
        "[min(k), NULL, max(i8)]",
        "list(Label ORDER BY id)[2:]",
    ),
]
ON = [  # a dataset of another type, and what joins it with a tensor dataset
    *(("a", "x.id = z.id"), ("n", "x.x = z.id AND x.value = z.k"), ("p", "x.step = z.k")),
    *(("p", "x.note = z.s"), ("d", "x.size = z.k"), ("d", "x.ext = z.s")),
]
SIDES = ["", "LEFT ", "RIGHT ", "FULL "]


class Statements:
    """Makes statements; all of them mean one thing only, whatever order rows are read in."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.conditions = Conditions(rng)

    def make(self) -> str:
        kinds = [self.rows] * 4 + [self.groups, self.pushed, self.pushed] + [self.joined] * 3 + [self.types, self.sets]
        return self.rng.choice([*kinds, self.named, self.within, self.windows, self.lists, self.counted])()

    def c(self, table: str, *prefixes: str) -> str:
        """Return a condition."""
        return self.conditions.make(table, prefixes or ("",))

    def tensor(self) -> str:
        return self.rng.choice(TENSORS)

    def table(self) -> str:
        return self.rng.choice([*TENSORS, *KINDS])

    def limit(self, most: int) -> str:
        k, n = (self.rng.randint(0, most) for _ in range(2))
        return self.rng.choice(["", f" LIMIT {k}", f" LIMIT {k} OFFSET {n}"])

    def rows(self) -> str:
        rng, t = self.rng, self.table()
        alias, prefixes = rng.choice([("", [""]), (" z", ["", "z."]), (" AS Z", ["", "z."])])
        where = f" WHERE {self.c(t, *prefixes)}" if rng.random() < 0.85 else ""
        if rng.random() < 0.6:
            return f"SELECT {rng.choice(PLAIN[t])} FROM @{t}{alias}{where}"
        order = ", ".join(c.strip() + rng.choice(["", " DESC"]) for c in KEYS[t].split(","))
        what = rng.choice(["*", KEYS[t], KEYS[t] + ", 1.5"])
        return f"SELECT {what} FROM @{t}{alias}{where} ORDER BY {order}{self.limit(9)} /* ordered */"

    def counted(self) -> str:
        t = self.table()
        what = self.rng.choice([*PLAIN[t], "DISTINCT *", "count(*)", "1 AS one"])
        return f"SELECT count(*) FROM (SELECT {what} FROM @{t} WHERE {self.c(t)}{self.limit(20)})"

    def groups(self) -> str:
        rng, t = self.rng, self.tensor()
        where = f" WHERE {self.c(t)}"
        if rng.random() < 0.1:
            return f"SELECT s AS ss, min(f), max(i64), count(*) FROM @{t}{where} GROUP BY ss HAVING count(*) > 1"
        by = rng.choice(list(GROUPS))
        some = rng.sample([*AGGREGATES, f"sum(k) FILTER (WHERE {self.c(t)})"], 4)
        limit = rng.choice(["", "", " LIMIT 100"])
        return f"SELECT {GROUPS[by]}, {', '.join(some)} FROM @{t}{where} GROUP BY {by}{limit}"

    def pushed(self) -> str:
        """Return groups and aggregates of one dataset, mostly such as the targets make by themselves."""
        rng, t = self.rng, self.table()
        keys, aggregates = PUSHED[t]
        by = rng.sample(keys, rng.randrange(min(3, len(keys) + 1)))
        items = [f"{rng.choice(['', '', 'z.'])}{c}" for c in by if rng.random() < 0.8]
        items += rng.sample(aggregates, rng.randint(0 if items else 1, 3))
        rng.shuffle(items)
        items = [f"{x} AS n{i}" if rng.random() < 0.2 else x for i, x in enumerate(items)]
        where = rng.choice(["", f" WHERE {self.c(t, '', 'z.')}", f" WHERE {self.c(t)} AND {self.c(t)}"])
        text = f"SELECT {', '.join(items)} FROM @{t} z{where}"
        if by:
            positions = [str(i + 1) for i, x in enumerate(items) if x == by[-1]]
            named = [*by[:-1], rng.choice([by[-1], f'z."{by[-1]}"', *positions])]
            text += f" GROUP BY {', '.join(named)}"
        if by and rng.random() < 0.1:
            return text + " HAVING count(*) > 2"
        how = [f"{i + 1}{rng.choice(['', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST'])}" for i in range(len(items))]
        if rng.random() < 0.4:
            return (
                f"{text} ORDER BY {', '.join(how)} LIMIT {rng.randint(0, 9)} OFFSET {rng.randint(0, 2)} /* ordered */"
            )
        if rng.random() < 0.2:
            return f"{text} ORDER BY {rng.choice([*by, 'count(*)', items[0].partition(' AS ')[0], 'random()'])}"
        return text

    def sets(self) -> str:
        rng, one, two = self.rng, self.tensor(), self.tensor()
        how = rng.choice(["UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL", "UNION BY NAME"])
        what = rng.choice(["k", "s, b", "h", "id, Label"])
        return f"SELECT {what} FROM @{one} WHERE {self.c(one)} {how} SELECT {what} FROM @{two} WHERE {self.c(two)}"

    def named(self) -> str:
        rng, t = self.rng, self.tensor()
        name = rng.choice(["@u", "@u", "x2"])  # it may hide the dataset itself
        return rng.choice(
            [
                f"WITH x AS ({self.rows()}), y AS (SELECT id AS one FROM @u WHERE {self.c('u')}) "
                "SELECT x.*, y.one FROM x, y WHERE y.one < 4",
                f"WITH {name} AS (SELECT id, k FROM @{t} WHERE {self.c(t)}) SELECT * FROM {name} WHERE k = 1",
                f"WITH {name} AS (SELECT id + 7 AS id, 2 AS k FROM @u), c AS (SELECT * FROM {name}) "
                f"SELECT c.id FROM c JOIN @t z USING (id) WHERE {self.c('t', 'z.')}",
                f"SELECT q.id FROM (SELECT * FROM @{t} WHERE {self.c(t)}) q WHERE {self.c(t, '', 'q.')}",
                f"FROM @{t} SELECT id, k WHERE {self.c(t)}",
                "WITH RECURSIVE r AS (SELECT id, 0 AS n FROM @u WHERE id < 3 UNION ALL SELECT r.id + 1, n + 1 "
                f"FROM r JOIN @t z ON z.id = r.id WHERE n < 5 AND {self.c('t', 'z.')}) SELECT * FROM r",
            ]
        )

    def within(self) -> str:
        rng, t, i = self.rng, self.tensor(), self.tensor()
        no = rng.choice(["", "NOT "])
        return rng.choice(
            [
                f"SELECT id FROM @{t} o WHERE {self.c(t, 'o.', '')} AND {no}EXISTS "
                f"(SELECT 1 FROM @{i} i WHERE i.k = o.i8 AND {self.c(i, 'i.', 'o.', '')})",
                f"SELECT id FROM @{t} WHERE k {no}IN (SELECT i8 FROM @{i} WHERE {self.c(i)})",
                f"SELECT id, (SELECT max(i.id) FROM @{i} i WHERE i.k = o.k AND {self.c(i, 'i.')}) FROM @u o",
                f"SELECT id FROM @{t} WHERE id > (SELECT avg(id) FROM @{i} WHERE {self.c(i)})",
                f"SELECT o.id, l.m FROM @u o, LATERAL "
                f"(SELECT max(i.id) AS m FROM @{i} i WHERE i.k = o.k AND {self.c(i, 'i.', '')}) l",
                f"SELECT id FROM @{t} WHERE k > ANY (SELECT k FROM @{i} WHERE {self.c(i)})",
            ]
        )

    def windows(self) -> str:
        rng, t = self.rng, self.tensor()
        over = rng.choice(
            ["PARTITION BY k ORDER BY id", "ORDER BY id", "PARTITION BY s", "PARTITION BY b ORDER BY id DESC"]
        )
        what = rng.choice(["row_number()", "lag(id)", "sum(k)", "count(*)", "first_value(f)"])
        if "ORDER" not in over:
            what = "count(*)"
        cut = rng.choice(["", " QUALIFY n > 1", " LIMIT 2000"])
        return f"SELECT id, {what} OVER ({over}) AS n FROM @{t} WHERE {self.c(t)}{cut}"

    def lists(self) -> str:
        rng, t = self.rng, self.tensor()
        what = rng.choice(["k, ", ""]) + rng.choice(LISTS)
        return f"SELECT {what} FROM @{t} WHERE {self.c(t)} GROUP BY {rng.choice(['k', 'k, Label'])}"

    def joined(self) -> str:
        rng, a, b = self.rng, self.tensor(), self.tensor()
        where = f" WHERE {self.c(a, rng.choice(['a.', 'b.']))}"
        if rng.random() < 0.4:
            where = f" WHERE {self.c(a, 'a.', 'b.')} AND {self.c(a, 'a.')} AND {self.c(b, 'b.')}"
        on = f"a.id = b.id + {rng.choice([0, 5, -7])}"
        if rng.random() < 0.4:
            on += f" AND {self.conditions.make(a, ['a.', 'b.'], 2)}"
        third = f" {rng.choice(SIDES)}JOIN @u c ON c.id = a.id" if rng.random() < 0.25 else ""
        kind = rng.choice(SIDES)
        return rng.choice(
            [
                f"SELECT a.id, b.id FROM @{a} a {kind}JOIN @{b} b ON {on}{third}{where}",
                f"SELECT a.id, b.id FROM @{a} a {kind}JOIN @{b} b ON {on}{third}{where}",
                f"SELECT * FROM @{a} a {rng.choice(['SEMI', 'ANTI'])} JOIN @{b} b ON {on} WHERE {self.c(a, 'a.', '')}",
                f"SELECT a.id, b.id FROM @{a} a ASOF {kind}JOIN @{b} b ON a.k = b.k AND a.id >= b.id{where}",
                f"SELECT a.id, b.id FROM @{a} a CROSS JOIN @{b} b{where} AND a.id = b.id",
                f"SELECT a.id, b.id FROM @{a} a, @{b} b{where} AND a.id = b.id",
                f"SELECT id, a.k, b.s FROM @{a} a {kind}JOIN @{b} b USING (id){where}",
                f"SELECT a.id, b.id FROM @{a} a POSITIONAL JOIN @{b} b{where}",
                f"SELECT id FROM (SELECT id, k FROM @{a} WHERE {self.c(a)}) a "
                f"NATURAL {kind}JOIN (SELECT id, s FROM @{b}) b",
                f"SELECT @{a}.id FROM @{a} JOIN @{b} b USING (id) WHERE {self.c(a, f'@{a}.')}",
            ]
        )

    def types(self) -> str:
        """Return a join of datasets of different types."""
        rng, t = self.rng, self.tensor()
        one, on = rng.choice(ON)
        where = self.c(t, "z.")
        if rng.random() < 0.6:
            where += f" AND {self.c(one, 'x.')}"
        shown = ", ".join(f"x.{k.strip()}" for k in KEYS[one].split(","))
        return f"SELECT {shown}, z.id FROM @{one} x {rng.choice(SIDES)}JOIN @{t} z ON {on} WHERE {where}"
