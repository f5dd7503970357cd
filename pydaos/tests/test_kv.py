"""KV datasets through the client: what users do with them, against a real server."""

import io
import os
import pickle
import random
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

import pydaos
from pydaos.testing import Server


@pytest.fixture
def kv(client, pool):
    return client.create_dataset(f"{pool}/kv", type="kv")


def test_a_dataset_of_another_type_says_so(client, pool, posix_dataset):
    for create in (False, True):
        with pytest.raises(pydaos.InvalidError, match=r"it is a dataset of type posix, not kv; open it with"):
            client.kv(posix_dataset.address, create=create)
    made = client.kv(f"{pool}/made", create=True)
    assert client.kv(f"{pool}/made", create=True).address == made.address


def test_is_a_mapping(kv):
    assert isinstance(kv, pydaos.KV)
    kv["lr"] = "0.1"
    kv[b"\x00\xff"] = b"\xff\x00"
    kv["ключ"] = "значение"
    kv["empty"] = b""
    assert kv["lr"] == b"0.1"
    assert kv[b"\x00\xff"] == b"\xff\x00"
    assert kv["ключ".encode()] == "значение".encode()
    assert kv["empty"] == b""
    assert "lr" in kv and "empty" in kv and "none" not in kv and 7 not in kv
    assert len(kv) == 4
    assert list(kv) == sorted(list(kv)) == list(kv.keys())
    assert dict(kv.items())[b"lr"] == b"0.1"
    assert list(kv.values(prefix="l")) == [b"0.1"]
    assert kv.get("none") is None and kv.get("none", 3) == 3
    del kv["lr"]
    with pytest.raises(KeyError) as e:
        kv["lr"]
    assert isinstance(e.value, pydaos.NotFoundError) and "'lr'" in str(e.value) and kv.address in str(e.value)
    with pytest.raises(KeyError):
        del kv["lr"]
    assert kv.pop("empty") == b"" and kv.pop("empty", b"x") == b"x"
    with pytest.raises(KeyError):
        kv.pop("empty")
    assert kv.setdefault("d", "1") == b"1" == kv.setdefault("d", "2")


def test_values_are_what_has_bytes(kv):
    x = np.arange(12, dtype="<f4").reshape(3, 4)
    kv["x"] = x
    assert np.array_equal(np.frombuffer(kv["x"], "<f4").reshape(3, 4), x)
    kv["t"] = x.T  # not contiguous
    assert kv["t"] == x.T.tobytes()
    kv["m"] = memoryview(b"abc")
    kv["s"] = np.float64(1.5)
    assert kv["m"] == b"abc" and kv["s"] == np.float64(1.5).tobytes()
    with pytest.raises(pydaos.InvalidError):
        kv["o"] = np.array([object()])
    with pytest.raises(pydaos.InvalidError):
        kv["o"] = 7
    for bad in ("", "k" * 1025):
        with pytest.raises(ValueError):
            kv[bad] = b"x"
    kv["k" * 1024] = b"x"
    with pytest.raises(TypeError):
        kv[7] = b"x"


def test_conditions(kv):
    v1 = kv.put("k", "1", if_absent=True)
    with pytest.raises(FileExistsError):
        kv.put("k", "2", if_absent=True)
    v2 = kv.update("k", "2", if_version=v1)
    assert kv.entry("k") == (b"k", b"", b"2", v2, 1)
    with pytest.raises(pydaos.ConflictError, match=str(v2)):
        kv.update("k", "3", if_version=v1)
    with pytest.raises(KeyError):
        kv.update("none", "1")
    with pytest.raises(pydaos.ConflictError):
        kv.delete("k", if_version=v1)
    assert kv.delete("k", if_version=v2) and not kv.delete("k")
    with pytest.raises(pydaos.InvalidError):
        kv.put("k", "1", if_absent=True, if_version=3)


def test_counters_and_appends(kv):
    assert [kv.add("n", 5), kv.add("n"), kv.add("n", -10)] == [5, 6, -4]
    assert kv["n"] == b"-4"
    assert kv.append("log", "ab") == 2 and kv.append("log", np.arange(2, dtype="u1")) == 4
    assert kv["log"] == b"ab\x00\x01"
    with pytest.raises(pydaos.InvalidError, match="log"):
        kv.add("log")
    with pytest.raises(pydaos.InvalidError):
        kv.add("n", -(1 << 63))


def test_batches_are_atomic(kv):
    kv["old"] = "x"
    with kv.batch() as b:
        b.put("a", "1")
        b.add("n", 3)
        b.append("a", "2")
        b.delete("old")
        b.delete_key("nothing")
    assert b.results == [3, 2, 1, 0] and kv.entry("a").version == b.version
    with pytest.raises(pydaos.ExistsError), kv.batch() as b:
        b.put("new", "1")
        b.put("a", "2", if_absent=True)
    assert "new" not in kv and kv["a"] == b"12"
    with pytest.raises(RuntimeError, match="mine"), kv.batch() as b:
        b.put("new", "1")
        raise RuntimeError("mine")
    assert "new" not in kv


def test_many(kv):
    pairs = {f"k{i:05d}": f"v{i}" for i in range(20_000)}
    kv.put_many(pairs)
    keys = random.Random(7).sample(list(pairs), 15_000)
    assert kv.multi_get([*keys, "none", keys[0]]) == [pairs[k].encode() for k in keys] + [None, pairs[keys[0]].encode()]
    assert list(kv.items(start="k00100", stop="k00103")) == [
        (b"k00100", b"v100"),
        (b"k00101", b"v101"),
        (b"k00102", b"v102"),
    ]
    assert list(kv.keys(prefix="k", reverse=True)) == sorted((k.encode() for k in pairs), reverse=True)
    assert [e.key for e in kv.entries(limit=3)] == [b"k00000", b"k00001", b"k00002"]
    assert list(kv.entries(limit=0)) == []
    kv.put_many([("twice", "small"), ("twice", bytes(9 << 20)), ("again", bytes(9 << 20)), ("again", "small")])
    assert len(kv.pop("twice")) == 9 << 20 and kv.pop("again") == b"small"
    assert pickle.loads(pickle.dumps(kv))["k00001"] == b"v1"
    assert kv.delete_many([*pairs, "none"]) == 20_000 and len(kv) == 0


def test_two_levels(kv):
    kv.put("run", "all", akey="state")
    kv.put("run", "0.5", akey="loss")
    kv["run"] = "default"
    assert kv.get("run", akey="loss") == b"0.5" and kv["run"] == b"default"
    assert [(e.key, e.akey) for e in kv.entries()] == [(b"run", b""), (b"run", b"loss"), (b"run", b"state")]
    assert list(kv.keys()) == [b"run"]
    assert kv.multi_get(["run", "walk"], akey="state") == [b"all", None]
    assert kv.delete_many(["run"], all_akeys=True) == 3


@pytest.mark.parametrize("size", [256 << 10, (256 << 10) + 1, 8 << 20, (8 << 20) + 1, 40 << 20])
def test_large_values(kv, size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    kv["big"] = data
    raw = data.tobytes()
    assert kv["big"] == raw and kv.stat_value("big").size == size
    assert kv.read("big", size // 2, 1000) == raw[size // 2 : size // 2 + 1000]
    assert kv.read("big", size - 3) == raw[-3:] and kv.read("big", size + 1) == b""
    kv["small"] = "s"
    assert kv.multi_get(["small", "big", "none", "small"]) == [b"s", raw, None, b"s"]
    assert [(k, len(v)) for k, v in kv.items()] == [(b"big", size), (b"small", 1)]
    assert kv.append("big", b"more") == size + 4 and kv.read("big", size - 2) == raw[-2:] + b"more"
    kv.put("big", io.BytesIO(raw[:100]))
    assert kv["big"] == raw[:100]


def test_files_as_values(kv, tmp_path):
    raw = random.Random(1).randbytes(20 << 20)
    (tmp_path / "f").write_bytes(raw)
    with open(tmp_path / "f", "rb") as f:
        kv.put("f", f)
    assert kv["f"] == raw


def test_snapshots(kv):
    kv.put_many({"a": "1", "b": "2"})
    kv.snapshot("s")
    kv["a"] = "new"
    del kv["b"]
    then = kv.at("s")
    assert isinstance(then, pydaos.KV)
    assert dict(then.items()) == {b"a": b"1", b"b": b"2"} and dict(kv.items()) == {b"a": b"new"}
    with pytest.raises(pydaos.ReadOnlyError):
        then["a"] = "x"


def test_listing_is_of_one_state(kv):
    kv.put_many({f"{i:05d}": "x" for i in range(9000)})
    pages = kv.items()
    first = next(pages)
    kv.delete_many(f"{i:05d}" for i in range(9000))
    assert first[0] == b"00000" and sum(1 for _ in pages) == 8999 and len(kv) == 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limits", [{}, {"prefix": "a"}, {"start": "a3", "stop": "b7"}])
def test_pages_go_on_behind_a_restart(own_server, reverse, limits):
    with own_server.connect() as client:
        client.create_pool("p")
        kv = client.create_dataset("p/kv", type="kv")
        kv.put_many({f"{c}{i}": f"{c}{i}" * 7 for c in "abc" for i in range(10)})
        kv.put("a5", b"x" * (9 << 20))  # too large for a page
        want = list(kv.entries(reverse=reverse, **limits))
        got, anchor = [], b""
        for n in range(99):
            page = kv.page(reverse=reverse, limit=4, anchor=anchor, **limits)
            got += page.entries
            anchor = page.anchor
            if not anchor:
                break
            if n == 1:  # what comes after is still of the first page's state
                own_server.kill()
                own_server.start()
            kv.put(f"a{n}x", "new")
            kv.delete(page.entries[-1].key)
        assert got == want and n > 1
        with pytest.raises(pydaos.InvalidError, match="direction"):
            kv.page(reverse=not reverse, anchor=kv.page(reverse=reverse, limit=1).anchor)
        with pytest.raises(pydaos.InvalidError, match="anchor"):
            kv.page(anchor=b"somewhere")
        with pytest.raises(pydaos.InvalidError, match="8192"):
            kv.page(limit=0)


@pytest.mark.parametrize("encoding", ["json", "struct"])
def test_fields(kv, encoding):
    assert kv.schema is None
    kv.define({"loss": "float64", "step": np.int32, "ok": bool, "note": "string?", "raw": "bytes?"}, encoding=encoding)
    row = {"loss": 0.25, "step": -7, "ok": True, "note": "naïve", "raw": b"\x00\xff"}
    kv["a"] = row
    kv["b"] = {"loss": float("nan"), "step": np.int64(1), "ok": False}
    assert kv.record("a") == row
    b = kv.record("b")
    assert np.isnan(b["loss"]) and b["note"] is None and b["raw"] is None and b["ok"] is False
    assert [k for k, _ in kv.records()] == [b"a", b"b"]
    with pytest.raises(pydaos.InvalidError, match="step"):
        kv["c"] = {"loss": 0.5, "ok": True}
    with pytest.raises(pydaos.InvalidError, match="'lss'"):
        kv["c"] = {"lss": 0.5}
    with pytest.raises(pydaos.InvalidError, match=r'"c".*"step"' if encoding == "json" else '"c"'):
        kv["c"] = b'{"loss": 1, "step": "x", "ok": true}'
    with pytest.raises(pydaos.ExistsError):
        kv.define({"x": "int8"})
    assert kv.client.dataset(kv.address).schema == kv.schema


@pytest.mark.parametrize("encoding", ["json", "struct"])
def test_fields_of_an_arrow_struct(kv, encoding):
    fields = [
        pa.field("loss", pa.float32()),
        pa.field("half", pa.float16() if encoding == "struct" else pa.int8()),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("ok", pa.bool_(), nullable=False),
        pa.field("note", pa.string()),
        pa.field("raw", pa.large_binary(), nullable=False),
    ]
    for wrong in (pa.schema([("at", pa.timestamp("us"))]), pa.struct([("at", pa.list_(pa.int8()))]), pa.int64()):
        with pytest.raises(pydaos.InvalidError, match=r"'at'|no fields"):
            kv.define(wrong, encoding=encoding)
    kv.define(pa.struct(fields) if encoding == "struct" else pa.schema(fields), encoding=encoding)
    row = {"loss": 0.25, "half": None, "step": 7, "ok": True, "note": None, "raw": b"\xff"}
    kv["a"] = row
    assert kv.record("a") == row
    with pytest.raises(pydaos.InvalidError, match="step"):
        kv["b"] = row | {"step": None}
    table = kv.client.query(kv.address, columns=[f.name for f in fields]).to_arrow()
    assert table.to_pylist() == [row]
    assert [t for f, t in zip(fields, table.schema.types) if f.name != "raw"] == [
        f.type for f in fields if f.name != "raw"
    ]


def test_packed_fields_are_numpys(kv):
    dtype = np.dtype([("loss", "<f4"), ("step", "<i8")])
    kv.define(dtype, encoding="struct")
    assert kv.schema.dtype == dtype
    rows = np.array([(0.5, 1), (0.25, 2)], dtype)
    kv.put_many({f"r{i}": rows[i] for i in range(2)})
    assert np.array_equal(np.frombuffer(b"".join(kv.values()), dtype), rows)
    with pytest.raises(pydaos.InvalidError):
        kv["r3"] = b"short"


def test_other_types_are_told_apart(client, pool, kv, posix_dataset):
    with pytest.raises(pydaos.InvalidError, match="posix"):
        client.kv(posix_dataset.address)
    with pytest.raises(pydaos.InvalidError, match="kv dataset"):
        kv.listdir()
    with pytest.raises(pydaos.NotFoundError):
        client.kv(f"{pool}/none")
    assert client.kv(f"{pool}/none", create=True).address == client.kv(f"{pool}/none", create=True).address


def test_quota(client, pool):
    kv = client.create_dataset(f"{pool}/q", type="kv", quota=1 << 20)
    kv["a"] = bytes(500_000)
    with pytest.raises(pydaos.NoSpaceError):
        kv["b"] = bytes(600_000)
    with pytest.raises(pydaos.NoSpaceError):
        kv["b"] = bytes(30 << 20)
    assert list(kv.keys()) == [b"a"]


class Model:
    """What a KV dataset must hold after random changes, each of which happens once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.pairs: dict[tuple[bytes, bytes], bytes] = {}

    def name(self) -> tuple[bytes, bytes]:
        key = self.rng.choice([b"a", b"a/b", b"b", b"\x00", b"\xff\xff", b"k" * 1024, "ключ".encode()])
        return key, self.rng.choice([b"", b"", b"x", b"\x00"])

    def value(self) -> bytes:
        return self.rng.randbytes(self.rng.choice([0, 5, 1000, 1024, 70_000, 300_000]))

    def step(self, kv: pydaos.KV) -> None:
        key, akey = name = self.name()
        have = self.pairs.get(name)
        match self.rng.randrange(11):
            case 9:  # in one request, which goes as columns
                some = {key: self.value() for key, _ in (self.name() for _ in range(4))}
                self.pairs.update({(k, akey): v for k, v in some.items()})
                kv.put_many(some, akey=akey)
            case 10:
                prefix, reverse = self.rng.choice([b"a", b"k", b"\xff"]), self.rng.randrange(2) == 1
                want = sorted((n for n in self.pairs if n[0].startswith(prefix)), reverse=reverse)
                got = kv.entries(prefix=prefix, reverse=reverse, limit=3)
                assert [((e.key, e.akey), e.value) for e in got] == [(n, self.pairs[n]) for n in want[:3]]
            case 0:
                self.pairs[name] = value = self.value()
                kv.put(key, value, akey=akey)
            case 1:
                assert kv.delete(key, akey=akey) is (self.pairs.pop(name, None) is not None)
            case 2:
                value = self.value()
                self.pairs[name] = (have or b"") + value
                assert kv.append(key, value, akey=akey) == len(self.pairs[name])
            case 3:
                self.pairs[name] = b"%d" % self.rng.randrange(-9, 9)
                kv.put(key, self.pairs[name], akey=akey)
                n = self.rng.randrange(-9, 9)
                self.pairs[name] = b"%d" % (int(self.pairs[name]) + n)
                assert kv.add(key, n, akey=akey) == int(self.pairs[name])
            case 4:  # a retry that met its own value would say that there is one
                if have is None:
                    self.pairs[name] = value = self.value()
                    kv.put(key, value, akey=akey, if_absent=True)
                else:
                    with pytest.raises(pydaos.ExistsError):
                        kv.put(key, b"x", akey=akey, if_absent=True)
            case 5:
                if have is not None:
                    self.pairs[name] = value = self.value()
                    version = kv.stat_value(key, akey=akey).version
                    assert kv.update(key, value, akey=akey, if_version=version) > version
            case 6:
                with kv.batch() as b:
                    wanted = []
                    for _ in range(self.rng.randrange(1, 6)):
                        k, a = n = self.name()
                        if self.rng.randrange(2):
                            self.pairs[n] = self.pairs.get(n, b"") + b"+"
                            b.append(k, b"+", akey=a)
                            wanted.append(len(self.pairs[n]))
                        else:
                            self.pairs[n] = value = self.value()
                            b.put(k, value, akey=a)
                assert b.results == wanted
            case 7:
                self.pairs[name] = value = self.rng.randbytes(17 << 20) if self.rng.randrange(4) == 0 else self.value()
                kv.put(key, io.BytesIO(value), akey=akey)
            case 8:
                gone = [n for n in self.pairs if n[0] == key]
                assert kv.delete_many([key], all_akeys=True) == len(gone)
                for n in gone:
                    del self.pairs[n]

    def check(self, kv: pydaos.KV) -> None:
        assert [(e.key, e.akey) for e in kv.entries(values=False)] == sorted(self.pairs)
        for e in kv.entries():
            assert e.value == self.pairs[e.key, e.akey]


def test_killed_server_loses_and_repeats_nothing(own_server: Server):
    """Random changes while the server is killed again and again: each happens once, what was answered stays."""
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns()))
    print("seed", seed)
    moments = random.Random(seed + 1)
    model = Model(random.Random(seed))
    done = threading.Event()
    kills = 0

    def killer() -> None:
        nonlocal kills
        while not done.wait(moments.uniform(0.05, 0.4)):
            own_server.kill()
            own_server.start()
            kills += 1

    with own_server.connect(retry=60) as client:
        client.create_pool("p")
        kv = client.create_dataset("p/kv", type="kv")
        kept = {}
        thread = threading.Thread(target=killer)
        thread.start()
        try:
            for i in range(3000):
                model.step(kv)
                if i % 50 == 49:
                    model.check(kv)
                    kept[kv.snapshot(f"s{i}").name] = dict(model.pairs)
                if kills >= 8 and i >= 150:
                    break
        finally:
            done.set()
            thread.join()
        model.check(kv)
        for name, pairs in kept.items():
            assert {(e.key, e.akey): e.value for e in kv.at(name).entries()} == pairs
        assert kills >= 3
