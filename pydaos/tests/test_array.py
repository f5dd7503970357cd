"""Arrays, as users of numpy know them, over a real server."""

from __future__ import annotations

import decimal
import os
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pydaos
from pydaos._arrays import Arrays
from pydaos._proto.daos.array.v1 import array_service_pb2 as pb


@pytest.fixture
def arrays(client: pydaos.Client, pool: str) -> Arrays:
    """An empty array dataset."""
    made = client.create_dataset(f"{pool}/arrays", type="array")
    assert isinstance(made, Arrays)
    return made


def test_a_slice_is_what_numpy_gives(arrays: Arrays) -> None:
    x = np.arange(24 * 31 * 17, dtype="f4").reshape(24, 31, 17)
    a = arrays.create_array("g/x", shape=x.shape, dtype=x.dtype, chunks=(5, 8, 17))
    a[...] = x
    assert a.shape == x.shape and a.dtype == x.dtype and a.chunks == (5, 8, 17) and a.ndim == 3
    for key in (
        ...,
        np.s_[0:24, ::2, 5],
        np.s_[3],
        np.s_[-1, ..., ::-3],
        np.s_[2:20:7, 30:3:-2],
        np.s_[5:5],
        np.s_[:, [3, 1, 30, 3]],
        np.s_[np.arange(24) % 5 == 2],
        np.s_[1, 2, 3],
        np.s_[:: 10**30, :: -(10**30), -(10**40) : 10**40],
        np.s_[10**30 :],
    ):
        got = a[key]
        assert np.shape(got) == np.shape(x[key]), key
        assert np.array_equal(got, x[key]), key
    assert np.array_equal(a.oindex[[1, 20], :, [0, 16, 2]], x[np.ix_([1, 20], range(31), [0, 16, 2])])
    assert np.array_equal(np.asarray(a), x)
    assert isinstance(a[0, 0, 0], np.float32)
    with pytest.raises(IndexError):
        a[24]
    with pytest.raises(IndexError):
        a[0, 0, 0, 0]


def test_an_assignment_is_what_numpy_does(arrays: Arrays) -> None:
    x = np.full((20, 33), 7, "i4")
    a = arrays.create_array("x", shape=x.shape, dtype=x.dtype, chunks=(6, 10), fill_value=7)
    assert np.array_equal(a[...], x)
    for key, value in (
        (np.s_[2:9, 3:30], np.arange(27)),
        (np.s_[::3, ::-4], np.arange(7 * 9).reshape(7, 9)),
        (np.s_[4], 5),
        (np.s_[:, 8], np.arange(20)[::-1]),
        (np.s_[[1, 15, 3]], np.arange(33)),
        (np.s_[19, 32], -1),
        (np.s_[:, [5, 5, 2]], np.arange(60).reshape(20, 3)),
        (np.s_[...], 3.0),
    ):
        x[key] = value
        a[key] = value
        assert np.array_equal(a[...], x), key


def test_a_large_array_goes_in_pieces(arrays: Arrays) -> None:
    x = np.random.default_rng(1).integers(0, 255, (70, 1000, 1000), dtype="u1")
    a = arrays.create_array("big", data=x, chunks=(4, 500, 1000))
    assert np.array_equal(a[...], x)
    assert np.array_equal(a[:, ::2, 3:900], x[:, ::2, 3:900])


def test_append_and_resize(arrays: Arrays) -> None:
    a = arrays.create_array("log", shape=(0, 3), dtype="f8", chunks=(4, 2), fill_value=np.nan, dims=("t", ""))
    assert a.append(np.arange(9).reshape(3, 3)) == range(0, 3)
    assert a.append([1.0, 2.0, 3.0]) == range(3, 4)
    with pytest.raises(pydaos.ConflictError):
        a.append([[0, 0, 0]], expect_length=3)
    assert a.shape == (4, 3) and len(a) == 4 and a.dims == ("t", "")
    a.resize(2, 5)
    assert np.array_equal(a[...], [[0, 1, 2, np.nan, np.nan], [3, 4, 5, np.nan, np.nan]], equal_nan=True)
    a.resize((4, 3))
    assert np.isnan(a[2:]).all()


def test_snapshots_are_frozen(client: pydaos.Client, arrays: Arrays) -> None:
    a = arrays.create_array("x", data=np.arange(10))
    arrays.snapshot("s1")
    a[3] = 99
    a.append([1, 2])
    frozen = client.dataset(f"{arrays.address}@s1")["x"]
    assert np.array_equal(frozen[...], np.arange(10))
    assert a[3] == 99 and len(a) == 12
    with pytest.raises(pydaos.ReadOnlyError):
        frozen[0] = 1


def test_an_array_that_grew_elsewhere_is_read_whole(client: pydaos.Client, arrays: Arrays) -> None:
    a = arrays.create_array("x", data=np.arange(4))
    b = client.dataset(arrays.address)["x"]
    assert len(b[:]) == 4
    a.append([4, 5])
    assert np.array_equal(b[:], np.arange(6))
    a.resize(2)
    assert np.array_equal(b[:], [0, 1])
    assert b[-1] == 1


@pytest.mark.parametrize("shape", [(40,), (3000, 2000)])
def test_an_array_that_was_made_anew_is_another_one(arrays: Arrays, shape: tuple[int, ...]) -> None:
    """Also where as many bytes come, or more, or fewer: never its bits for numbers of the old type."""
    for old, new in (("f4", "i4"), ("f8", "f4"), ("f4", "f8"), ("f4", "f4")):
        x = arrays.create_array("x", data=np.full(shape, 7, old), overwrite=True)
        assert (x[...] == 7).all()
        arrays.create_array("x", data=np.full(shape, 9, new), overwrite=True)
        for key in (np.s_[...], np.s_[5:30], 3, [1, 2]):
            with pytest.raises(pydaos.StaleError, match="another array now"):
                x[key]
        assert (arrays["x"][...] == 9).all()


def test_a_snapshot_that_is_made_anew_is_not_mixed_with_the_one_before(
    client: pydaos.Client, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = arrays.create_array("x", data=np.full((5000, 2000), 1, "f4"))
    arrays.snapshot("v1")
    frozen = arrays.at("v1")["x"]
    plain, times = client.call_many, []

    def call_many(method: str, calls: Any, response: Any, *, into: Any = None, **more: Any) -> Any:
        times.append(len(calls))
        if len(times) > 1:
            return plain(method, calls, response, into=into, **more)
        begun = plain(method, calls[:1], response, into=into[:1], **more)
        x[...] = 2
        arrays.destroy_snapshot("v1")
        arrays.snapshot("v1")
        return begun + plain(method, calls[1:], response, into=into[1:], **more)

    monkeypatch.setattr(frozen.client, "call_many", call_many)
    assert (frozen[...] == 2).all()
    assert len(times) == 2 and times[0] > 1


_HANDLER = """
import signal, sys, time
import numpy as np
import pydaos
from pydaos import _side
_side.IDLE = 0.002  # threads begin again and again
with pydaos.connect(sys.argv[1]) as client:
    x = client.dataset(sys.argv[2])["x"]
    inside = [0]
    def handler(*_):
        if inside[0] < 1:
            inside[0] += 1
            assert (x[3] == 3).all() and (np.asarray(x[:16]).sum(axis=1)[5] == 5 * 2**18)
            inside[0] -= 1
            times[0] += 1
    times = [0]
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.003)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert (x[7] == 7).all()
        assert (x[:20][9] == 9).all()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(times[0])
"""


def test_a_signal_handler_may_read_too(server: Any, arrays: Arrays) -> None:
    """Wherever its thread is: it waits for nothing that this one has."""
    rows = np.arange(20, dtype="f4")[:, None]
    arrays.create_array("x", data=np.broadcast_to(rows, (20, 1 << 18)), chunks=(4, 1 << 16))
    arrays.snapshot("v1")
    done = subprocess.run(
        [sys.executable, "-c", _HANDLER, server.unix, f"{arrays.address}@v1"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_long_lists_go_in_pieces(arrays: Arrays) -> None:
    x = arrays.create_array("x", data=np.arange(3_000_000, dtype="i4"))
    mask = np.arange(3_000_000) % 3 > 0
    np.testing.assert_array_equal(x[mask], np.flatnonzero(mask))
    y = arrays.create_array("y", data=np.arange(600_000, dtype="i4").reshape(2, 300_000))
    many = np.arange(299_999, 0, -1)
    np.testing.assert_array_equal(y.oindex[[1, 0, 1], many], np.arange(600_000).reshape(2, 300_000)[[1, 0, 1]][:, many])


def test_groups_and_attributes(arrays: Arrays) -> None:
    arrays.create_array("a/b/x", shape=3, dtype="u2", attrs={"unit": "K", "range": [0, 1.5]})
    arrays.create_array("a/y", shape=(), dtype="?")
    arrays.create_group("a/c", attrs={"k": None})
    assert list(arrays) == ["a/b/x", "a/y"]
    assert [g.path for g in arrays.groups()] == ["a", "a/b", "a/c"]
    x = arrays["a/b/x"]
    assert x.attrs == {"unit": "K", "range": [0, 1.5]}
    x.attrs["n"] = 4
    del x.attrs["unit"]
    assert x.attrs.asdict() == {"n": 4, "range": [0, 1.5]}
    with pytest.raises(KeyError):
        del x.attrs["nope"]
    arrays.group().attrs["title"] = "all"
    assert arrays.group().attrs["title"] == "all"
    with pytest.raises(KeyError):
        arrays["nope"]
    with pytest.raises(pydaos.NotEmptyError):
        arrays.remove_array("a")
    with pytest.raises(pydaos.ExistsError):
        arrays.create_array("a/y", shape=1, dtype="f4")
    arrays.remove_array("a", recursive=True)
    assert not list(arrays) and "a" not in arrays
    scalar = arrays.create_array("s", shape=(), dtype="f8")
    scalar[...] = 2.5
    assert scalar[()] == 2.5 and scalar[...] == 2.5


@pytest.mark.parametrize(
    "dtype",
    [
        *("?", "i1", "u8", "f2", "f8", "c8", "c16", "M8[ns]", "m8[s]", "S7", "V3", ">i4"),
        *("bfloat16", "float8_e4m3fn", "float8_e5m2", "date32", "decimal128(10, 2)", "timestamp[us, tz=UTC]"),
    ],
)
def test_element_types(arrays: Arrays, dtype: str) -> None:
    a = arrays.create_array("x", shape=(40,), dtype=dtype, chunks=(7,))
    raw = np.frombuffer(os.urandom(40 * a.itemsize), "u1")
    if a.type_name == "bool":
        raw = raw % 2
    x = raw.view(a.dtype)
    a[...] = x
    assert a[3:39:2].tobytes() == x[3:39:2].tobytes()
    assert pickle.loads(pickle.dumps(a))[5:7].tobytes() == x[5:7].tobytes()


@pytest.mark.parametrize(
    ("dtype", "value", "raw"),
    [
        ("date32", np.array(["1970-01-08", "1969-12-31T23:59:59.5"], "M8[ms]"), np.array([7, -1], "i4")),
        ("date32", [7, -1], np.array([7, -1], "i4")),
        ("time64[us]", np.array([1500], "m8[ms]"), np.array([1_500_000])),
        ("decimal128(10, 2)", [decimal.Decimal("1.25"), 3], np.array([125, 0, 300, 0], "u8")),
        ("decimal128(10, 2)", [decimal.Decimal("-0.01")], np.array([-1, -1])),
        ("bfloat16", np.array([0x3F80], "u2"), np.array([0x3F80], "u2")),
        ("float8_e5m2", [0.0, 0], np.zeros(2, "u1")),
        ("fixed_size_binary[4]", [b"ab", b"wxyz"], np.array([b"ab", b"wxyz"], "S4")),
        ("interval[month]", [5], np.array([5], "i4")),
    ],
)
def test_what_stands_for_an_element_is_that_element(arrays: Arrays, dtype: str, value: Any, raw: Any) -> None:
    x = arrays.create_array("x", shape=(len(value),), dtype=dtype)
    x[:] = value
    assert x[:].tobytes() == raw.tobytes()
    x.append(value)
    assert x[len(value) :].tobytes() == raw.tobytes()
    assert arrays.create_array("y", data=value, dtype=dtype)[:].tobytes() == raw.tobytes()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("date32", [1.5]),
        ("time32[s]", np.array(["2024-01-01"], "M8[s]")),
        ("decimal128(10, 2)", [1.25]),
        ("decimal128(4, 1)", [decimal.Decimal("123456789.5")]),
        ("decimal128(4, 1)", [None]),
        ("fixed_size_binary[2]", [b"abc"]),
        ("fixed_size_binary[8]", [1.5]),
        ("interval[day_time]", [7]),
        ("interval[month]", [1.5]),
    ],
)
def test_numbers_that_are_no_elements_are_refused(arrays: Arrays, dtype: str, value: Any) -> None:
    x = arrays.create_array("x", shape=(1,), dtype=dtype)
    before = x[:].tobytes()
    for write in (
        lambda: x.__setitem__(0, value[0]),
        lambda: x.append(value),
        lambda: x.__setitem__(slice(None), value),
    ):
        with pytest.raises(pydaos.InvalidError, match=re.escape(f"can't be made {dtype}")):
            write()
    with pytest.raises(pydaos.InvalidError, match="can't be made"):
        arrays.create_array("y", data=value, dtype=dtype)
    if value[0] is not None:
        with pytest.raises(pydaos.InvalidError, match="can't be made"):
            arrays.create_array("y", shape=(1,), dtype=dtype, fill_value=value[0])
    assert x.shape == (1,)
    assert x[:].tobytes() == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_small_floats(arrays: Arrays, dtype: str) -> None:
    """They are numbers with ml_dtypes, and bits without it: never one taken for the other."""
    x = arrays.create_array("x", shape=(3,), dtype=dtype)
    values = [0.25, 0.5, -1.5]
    if x.dtype.kind == "u":
        for wrong in (values, [1, 2, 3], np.array([1, 2, 3], "f4")):
            with pytest.raises(pydaos.InvalidError, match="install ml_dtypes, or give the bits") as caught:
                x[:] = wrong
            assert dtype in str(caught.value)
        assert not x[:].any()
    else:
        x[:] = values
        np.testing.assert_array_equal(x[:].astype("f4"), values)


def test_statistics_of_chunks(arrays: Arrays) -> None:
    a = arrays.create_array("x", shape=(10,), dtype="f4", chunks=(4,))
    a[0:6] = [3, np.nan, -1, 2, 5, 6]
    first, second = a.chunk_stats()
    assert first[:-1] == ((0,), 4, 0, 1, -1, 3) and first.exact
    assert (second.coords, second.min, second.max, second.nans) == ((1,), 0, 6, 0) and second.exact
    a[0] = 1
    assert not a.chunk_stats()[0].exact
    a[0:4] = 1
    assert a.chunk_stats()[0][:-1] == ((0,), 4, 0, 0, 1, 1)


def test_wrong_use_says_what_is_right(client: pydaos.Client, arrays: Arrays, pool: str) -> None:
    a = arrays.create_array("x", shape=(4, 4), dtype="i4")
    with pytest.raises(ValueError):
        a[0:2] = np.zeros(3)
    with pytest.raises(pydaos.UnsupportedError, match="oindex"):
        a[[0, 1], [0, 1]]
    with pytest.raises(pydaos.UnsupportedError):
        a[None]
    with pytest.raises(pydaos.InvalidError, match="append"):
        a.append(np.zeros((1, 3)))
    with pytest.raises(pydaos.InvalidError):
        arrays.create_array("../x", shape=1, dtype="f4")
    with pytest.raises(pydaos.TooBigError):
        arrays.create_array("y", shape=(1 << 30,), chunks=(1 << 30,), dtype="f8")
    with pytest.raises(pydaos.UnsupportedError):
        arrays.create_array("y", shape=1, dtype=object)
    posix = client.create_dataset(f"{pool}/files")
    with pytest.raises(pydaos.InvalidError, match="posix dataset"):
        client.call("array.Describe", pb.DescribeRequest(dataset=posix.address), pb.DescribeResponse)


def test_a_full_dataset_says_so_and_keeps_what_it_has(client: pydaos.Client, pool: str) -> None:
    arrays = client.create_dataset(f"{pool}/small", type="array", quota=1 << 20)
    a = arrays.create_array("x", shape=(1 << 20,), dtype="u1", chunks=(1 << 16,))
    a[: 1 << 18] = 7
    with pytest.raises(pydaos.NoSpaceError, match="full"):
        a[:] = 8
    with pytest.raises(pydaos.NoSpaceError):
        a.append(np.ones(1 << 20, "u1"))
    assert a.shape == (1 << 20,) and (a[: 1 << 18] == 7).all() and not a[1 << 18 :].any()


def test_what_is_too_much_is_refused(client: pydaos.Client, arrays: Arrays) -> None:
    huge = arrays.create_array("huge", shape=(1 << 40,), dtype="u1", chunks=(1,))
    axis = pb.Axis(count=1 << 22)
    with pytest.raises(pydaos.TooBigError):
        client.call("array.Get", pb.GetRequest(dataset=arrays.address, path="huge", axes=[axis]), pb.GetResponse)
    with pytest.raises(pydaos.TooBigError):
        whole = [pb.Axis(count=1 << 40)]
        client.call("array.Get", pb.GetRequest(dataset=arrays.address, path="huge", axes=whole), pb.GetResponse)
    with pytest.raises(pydaos.TooBigError):
        write = pb.WriteRequest(dataset=arrays.address, path="huge", axes=[axis], broadcast=True)
        client.call("array.Write", write, pb.WriteResponse, b"\1")
    with pytest.raises(pydaos.InvalidError):
        client.call(
            "array.Write", pb.WriteRequest(dataset=arrays.address, path="huge", axes=[axis]), pb.WriteResponse, b"\1"
        )
    huge[5:100_000] = 3  # more chunks than one transaction takes: cut by the client
    assert huge[99_990:100_010].tolist() == [3] * 10 + [0] * 10
