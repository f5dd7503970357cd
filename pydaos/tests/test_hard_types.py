"""KV and array datasets where it is hard: restarts in mid listing, forged messages, odd keys, large values."""

from __future__ import annotations

import hashlib
import io
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pydaos
from pydaos import KV
from pydaos._array import Array
from pydaos._arrays import Arrays
from pydaos._client import full_method
from pydaos._proto.daos.array.v1 import array_service_pb2 as apb
from pydaos._proto.daos.kv.v1 import kv_service_pb2 as kpb
from pydaos.testing import Server


@pytest.fixture
def rng() -> random.Random:
    """Random numbers that can be had again."""
    seed = int(os.environ.get("DAOS_TEST_SEED") or time.time_ns() % 2**32)
    print(f"seed {seed} (repeat with DAOS_TEST_SEED={seed})")
    return random.Random(seed)


def _pages(kv: KV, limit: int, **bounds: Any) -> Iterator[list[tuple[bytes, bytes, bytes]]]:
    """List a range, page by page, each from the anchor of the one before."""
    anchor = b""
    while True:
        request = kpb.ListRequest(dataset=kv.address, limit=limit, values=True, anchor=anchor, **bounds)
        reply, payload = kv.client.call_payload("kv.List", request, kpb.ListResponse)
        values = io.BytesIO(payload or b"")
        yield [(p.key, p.akey, values.read(p.size)) for p in reply.pairs]
        anchor = reply.anchor
        if not anchor:
            return


def test_a_listing_goes_on_over_kills(own_server: Server, rng: random.Random) -> None:
    """Anchors are good after a restart, in both directions, and of one state."""
    with own_server.connect(retry=60) as client:
        client.create_pool("p")
        kv = client.kv("p/kv", create=True)
        pairs: dict[tuple[bytes, bytes], bytes] = {}
        for akey in (b"", b"x", b"\0"):
            some = {
                rng.choice([b"a", b"b/", b"\0", b"\xff"]) + rng.randbytes(rng.randrange(4)): b"" for _ in range(150)
            }
            for key in some:
                some[key] = pairs[key, akey] = rng.randbytes(rng.choice([0, 3, 2000]))
            kv.put_many(some, akey=akey)
        for k in range(6):
            prefix = rng.choice([b"", b"a", b"b/", b"\xff"])
            start, stop = sorted([rng.randbytes(1), rng.randbytes(1)]) if rng.randrange(2) else (b"", b"")
            reverse = bool(k % 2)
            want = [
                (*name, value)
                for name, value in sorted(pairs.items(), reverse=reverse)
                if name[0].startswith(prefix) and start <= name[0] and (not stop or name[0] < stop)
            ]
            got = []
            bounds = {"prefix": prefix, "start": start, "stop": stop, "reverse": reverse}
            for i, page in enumerate(_pages(kv, rng.choice([1, 7, 50]), **bounds)):
                got += page
                if i == 1:
                    own_server.kill()
                    own_server.start()
                if i == 2:  # what comes meanwhile is not of that state
                    key = rng.choice(sorted(pairs))
                    value = kv.get(key[0], akey=key[1])
                    assert value == pairs[key]
                    kv.put(key[0], b"changed", akey=key[1])
                    changed = key
            assert got == want, (bounds, len(got), len(want))
            if i >= 2:
                pairs[changed] = b"changed"


def _asked(pool: str) -> list[tuple[str, Any, bytes]]:
    """Return valid calls of both services, with their payloads."""
    kv, arrays = f"{pool}/kv", f"{pool}/a"
    axes = [apb.Axis(start=1, count=2, step=1), apb.Axis(indices=[0, 2])]
    puts = kpb.Puts(keys=b"abcd", key_sizes=[1, 3], sizes=[2, 1], akey=b"x")
    schema = kpb.Schema(encoding=kpb.ENCODING_JSON, fields=[kpb.Field(name="x", type="int8")])
    spec = apb.ArraySpec(dtype="int8", shape=[9], chunks=[3])
    op = kpb.Op(kind=kpb.OP_KIND_APPEND, key=b"k", size=3, when=kpb.WHEN_PRESENT)
    return [
        ("kv.Apply", kpb.ApplyRequest(dataset=kv, ops=[op], puts=puts), b"123456"),
        ("kv.Get", kpb.GetRequest(dataset=kv, keys=[b"k", b"none"], names=[kpb.Name(key=b"k", akey=b"x")]), b""),
        ("kv.List", kpb.ListRequest(dataset=kv, prefix=b"k", limit=3, values=True, anchor=b"\1\0aaaaaaaa"), b""),
        ("kv.Define", kpb.DefineRequest(dataset=kv, schema=schema), b""),
        ("kv.Describe", kpb.DescribeRequest(dataset=kv, count=True), b""),
        ("array.Get", apb.GetRequest(dataset=arrays, path="x", axes=axes), b""),
        ("array.Write", apb.WriteRequest(dataset=arrays, path="x", axes=axes), bytes(16)),
        ("array.Append", apb.AppendRequest(dataset=arrays, path="x", axis=0, count=1), bytes(12)),
        ("array.Resize", apb.ResizeRequest(dataset=arrays, path="x", shape=[5, 3]), b""),
        ("array.Create", apb.CreateRequest(dataset=arrays, path="y", spec=spec, overwrite=True), b""),
        ("array.Chunks", apb.ChunksRequest(dataset=arrays, path="x", after=[0, 0]), b""),
        ("array.List", apb.ListRequest(dataset=arrays, after="x", recursive=True), b""),
        ("array.SetAttributes", apb.SetAttributesRequest(dataset=arrays, path="x", set={"a": b"1"}), b""),
    ]  # fmt: skip


def _forged(rng: random.Random, data: bytes) -> bytes:
    """Spoil a message: bits, lengths, numbers, pieces."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(5):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:]
            case 2:
                out[at:at] = rng.randbytes(rng.randrange(8))
            case 3:  # an enormous number
                out[at : at + 1] = rng.choice([b"\xff" * 9 + b"\x01", b"\x80\x80\x80\x80\x10", b"\xff\xff\xff\xff\x0f"])
            case _:
                out[at:at] = out[rng.randrange(len(out) + 1) :][:200]
    return bytes(out)


def test_forged_messages_are_refused(own_server: Server, rng: random.Random) -> None:
    """Whatever the bytes of a call are, it is answered; the server and other datasets stay whole."""
    with own_server.connect(timeout=20) as client:
        client.create_pool("p")
        client.create_pool("other")
        client.kv("p/kv", create=True)["k"] = b"v"
        aside = client.kv("other/kv", create=True)
        aside["k"] = b"v"
        arrays: Any = client.create_dataset("p/a", type="array")
        arrays.create_array("x", data=np.arange(12, dtype="i4").reshape(4, 3))
        calls = [(full_method(m), r.SerializeToString(), p) for m, r, p in _asked("p")]
        refused = done = 0
        for _ in range(1500):
            method, message, payload = rng.choice(calls)
            forged = _forged(rng, message)
            if rng.randrange(4) == 0:
                payload = rng.randbytes(rng.randrange(40))
            with client.connection() as conn:
                try:
                    conn.unary(method, forged, payload)
                    done += 1
                except pydaos.DaosError as e:
                    assert not isinstance(e, (pydaos.InternalError, pydaos.DeadlineError)), (method, forged, e)
                    assert not conn.broken, (method, forged, payload, e)
                    refused += 1
        assert refused > done / 4
        client.ping()
        assert aside["k"] == b"v"
        assert [d.name for d in client.datasets("other")] == ["kv"]


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "zarr.json",
        "c/0/0",
        ".zarray",
        "..",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        " ",
        "ä/日",
        "%2F",
        "\\",
        "\1",
        "x" * 1024,
    ],
)
def test_odd_keys_of_zarr(client: pydaos.Client, pool: str, key: str) -> None:
    """A key is a name and nothing else: none is a path that could lead elsewhere."""
    pytest.importorskip("zarr", minversion="3")
    import asyncio

    from zarr.core.buffer import cpu, default_buffer_prototype

    from pydaos.zarr import DaosStore

    store = DaosStore(client.create_dataset(f"{pool}/z", type="array"))  # type: ignore[arg-type]

    async def run() -> None:
        other = cpu.Buffer.from_bytes(b"other")
        await store.set("b", other)
        await store.set(key, cpu.Buffer.from_bytes(b"value"))
        got = await store.get(key, default_buffer_prototype())
        assert got is not None and got.to_bytes() == b"value"
        assert sorted([k async for k in store.list()]) == sorted(["b", key])
        assert await store.exists(key)
        await store.delete(key)
        assert await store.get(key, default_buffer_prototype()) is None
        assert [k async for k in store.list()] == ["b"]

    asyncio.run(run())


@pytest.mark.parametrize("key", ["", "x" * 1025, "a\0b", "\ud800"])
def test_keys_that_can_not_be(client: pydaos.Client, pool: str, key: str) -> None:
    """They are refused as what they are, not as a failure inside."""
    pytest.importorskip("zarr", minversion="3")
    import asyncio

    from zarr.core.buffer import cpu

    from pydaos.zarr import DaosStore

    store = DaosStore(client.create_dataset(f"{pool}/z", type="array"))  # type: ignore[arg-type]
    with pytest.raises((pydaos.InvalidError, ValueError)):
        asyncio.run(store.set(key, cpu.Buffer.from_bytes(b"value")))


def test_a_quota_is_met_in_mid_stream(client: pydaos.Client, pool: str) -> None:
    """What was sent of a value that does not fit is given back, and the rest goes on."""
    kv: Any = client.create_dataset(f"{pool}/q", type="kv", quota=40 << 20)
    kv["a"] = bytes(1000)
    for _ in range(3):
        with pytest.raises(pydaos.NoSpaceError):
            kv.put("b", io.BytesIO(bytes(60 << 20)))
        assert list(kv.keys()) == [b"a"] and kv["a"] == bytes(1000)
    arrays: Any = client.create_dataset(f"{pool}/qa", type="array", quota=8 << 20)
    a: Array = arrays.create_array("x", shape=(0, 1000), dtype="f8", chunks=(100, 1000))
    done = 0
    with pytest.raises(pydaos.NoSpaceError):
        while True:
            a.append(np.full((100, 1000), done, "f8"))
            done += 1
    assert 0 < done < 11
    assert a.shape == (100 * done, 1000) and [a[100 * i, 7] for i in range(done)] == list(range(done))
    assert sum(c.elements for c in a.chunk_stats()) == 100_000 * done


def test_values_that_do_not_fit_their_schema(client: pydaos.Client, pool: str) -> None:
    """They are refused however they come, and a batch with one of them leaves nothing."""
    kv = client.kv(f"{pool}/fields", create=True)
    kv.define({"n": "int8", "s": "string"})
    kv["ok"] = {"n": 1, "s": "x"}
    for value in (
        b"",
        b"[]",
        b'{"n": 128, "s": "x"}',
        b'{"n": 1.5, "s": "x"}',
        b'{"n": 1}',
        b'{"n": 1, "s": 2}',
        b"\xff",
    ):
        for put in (
            lambda v: kv.put("bad", v),
            lambda v: kv.put_many({"fine": {"n": 2, "s": ""}, "bad": v}),
            lambda v: kv.put("bad", io.BytesIO(v)),
        ):
            with pytest.raises(pydaos.InvalidError):
                put(value)
    with pytest.raises(pydaos.InvalidError):
        kv.append("ok", b"}")
    with pytest.raises(pydaos.InvalidError):
        kv.add("ok", 1)
    assert list(kv.items()) == [(b"ok", kv["ok"])]


def test_statistics_right_after_overwrites(client: pydaos.Client, pool: str, rng: random.Random) -> None:
    """NaNs come and go; what is said of a chunk is never wrong, and exact where it is said to be."""
    arrays = client.create_dataset(f"{pool}/stats", type="array")
    assert isinstance(arrays, Arrays)
    for dtype in ("f4", "f8", "i2"):
        a = arrays.create_array(dtype, shape=(40, 30), dtype=dtype, chunks=(16, 16), fill_value=1)
        x = np.ones((40, 30), dtype)
        for _ in range(25):
            key = tuple(slice(rng.randrange(n // 2), rng.randrange(n // 2, n), rng.randrange(1, 3)) for n in x.shape)
            value = np.array([rng.choice([-0.0, 0.0, 5, -7, 100]) for _ in range(x[key].size)], dtype).reshape(
                x[key].shape
            )
            if dtype != "i2" and rng.randrange(2):
                value[np.array([rng.random() < 0.5 for _ in range(value.size)]).reshape(value.shape)] = np.nan
            a[key] = value
            x[key] = value
            for chunk in a.chunk_stats():
                part = x[tuple(slice(c * n, (c + 1) * n) for c, n in zip(chunk.coords, a.chunks))]
                nans = int(np.isnan(part.astype("f8")).sum())
                assert part.size == chunk.elements and chunk.nulls == 0
                assert chunk.nans == nans if chunk.exact else chunk.nans >= nans
                if nans == part.size:
                    continue
                low, high = np.nanmin(part), np.nanmax(part)
                assert chunk.min <= low and chunk.max >= high
                assert not chunk.exact or (chunk.min, chunk.max) == (low, high)


class _Pattern(io.RawIOBase):
    """A file of so many bytes that are nowhere at once."""

    def __init__(self, size: int) -> None:
        self.size, self.at, self.sum = size, 0, hashlib.blake2b()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        n = min(size, self.size - self.at)
        data = (self.at // 4096).to_bytes(8, "little") * (n // 8)
        self.at += n
        self.sum.update(data)
        return data


def _held(pid: int, what: str) -> int:
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith(what))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_value_of_a_gib_goes_both_ways(own_server: Server) -> None:
    """Neither side holds it."""
    with own_server.connect(timeout=300) as client:
        client.create_pool("p")
        kv = client.kv("p/kv", create=True)
        before, here = _held(own_server.pid, "RssAnon"), _held(os.getpid(), "RssAnon")
        source = _Pattern(1 << 30)
        kv.put("large", source)
        most = _held(own_server.pid, "RssAnon")
        with pytest.raises(pydaos.TooBigError):
            kv.append("large", b"x")
        back = hashlib.blake2b()
        for at in range(0, 1 << 30, 16 << 20):
            back.update(kv.read("large", at, 16 << 20))
            most = max(most, _held(own_server.pid, "RssAnon"))
        assert back.digest() == source.sum.digest()
        assert most - before < 400 << 20 and _held(os.getpid(), "RssAnon") - here < 200 << 20
        with pytest.raises(pydaos.TooBigError):
            kv.put("larger", _Pattern((1 << 30) + 4096))
        assert list(kv.keys()) == [b"large"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_array_of_100_000_chunks(client: pydaos.Client, pool: str) -> None:
    """All of it, a column through it, its statistics, at a snapshot too; then it is cut off."""
    arrays = client.create_dataset(f"{pool}/many", type="array")
    assert isinstance(arrays, Arrays)
    a = arrays.create_array("x", shape=(100_000, 8), dtype="i4", chunks=(1, 8))
    x = np.arange(800_000, dtype="i4").reshape(100_000, 8)
    a[...] = x
    arrays.snapshot("s")
    frozen = arrays.at("s")["x"]  # type: ignore[index]
    for source in (a, frozen):
        for key in (np.s_[...], np.s_[:, 3], np.s_[7::1000], np.s_[99_999], np.s_[[5, 70_000, 6]]):
            assert np.array_equal(source[key], x[key])
    stats = a.chunk_stats()
    assert len(stats) == 100_000 and stats[-1].coords == (99_999, 0) and stats[-1].max == 799_999
    a.resize(10, 8)
    assert np.array_equal(a[...], x[:10]) and len(a.chunk_stats()) == 10
    assert np.array_equal(frozen[:, 3], x[:, 3])
