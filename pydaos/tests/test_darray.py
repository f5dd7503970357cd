"""Arrays of upstream's containers, which upstream only announces: they work here."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pydaos
from pydaos._darray import DArray
from pydaos.testing import Server


@pytest.fixture
def neo(client: pydaos.Client, server: Server, pool: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pydaos.DCont]:
    """A container ``pool/neo``."""
    client.create_dataset(f"{pool}/neo", type="kv")
    monkeypatch.setenv("DAOS_ADDR", server.unix)
    pydaos.DaosClient.cleanup()
    yield pydaos.DCont(pool, "neo")
    pydaos.DaosClient.cleanup()


def test_made_and_found_by_name(neo: pydaos.DCont) -> None:
    x = np.arange(12, dtype="i4").reshape(4, 3)
    a = neo.array("grid", x)
    assert str(a) == "grid" and isinstance(neo["grid"], DArray)
    again = neo.get("grid")
    assert (again.shape, again.dtype, again.ndim, again.size, again.nbytes, len(again)) == (
        (4, 3),
        x.dtype,
        2,
        12,
        48,
        4,
    )
    assert np.array_equal(again, x)
    with pytest.raises(pydaos.PyDError, match=r"^failed to create DAOS array: DER_EXIST$"):
        neo.array("grid", x)
    with pytest.raises(pydaos.PyDError, match="DER_EXIST"):
        neo.dict("grid")
    neo.destroy("grid")
    with pytest.raises(pydaos.DObjNotFound):
        neo.get("grid")
    empty = neo.array("empty")
    assert empty.shape == (0,) and empty[:].shape == empty[0:2].shape == np.asarray(empty).shape == (0,)
    empty[:] = 7
    assert empty[...].shape == (0,)
    for wrong in (0, -1):
        with pytest.raises(IndexError):
            empty[wrong]
    with pytest.raises(pydaos.PyDError, match="DER_NOTSUPPORTED"):
        neo.array("objects", [object()])


def test_indexed_as_numpy(neo: pydaos.DCont) -> None:
    x = np.random.default_rng(5).normal(size=(3000, 7, 20))  # more than one piece of 1 MiB
    a = neo.array("x", x)
    assert len(list(neo._kv.keys(prefix=b"x\0"))) == 4
    for key in (
        np.s_[5],
        np.s_[-1, 2],
        np.s_[10:2900:7, ::2],
        np.s_[::-3],
        np.s_[..., 3],
        np.s_[[1, 2900]],
        x[:, 0, 0] > 1,
    ):
        assert np.array_equal(a[key], x[key])
    for key, value in ((np.s_[900:1000], 1.0), (np.s_[::5, 3], np.arange(20)), (np.s_[2999, 6, 19], -1), (x > 2, 0)):
        a[key] = value
        x[key] = value
        assert np.array_equal(np.asarray(neo.get("x")), x)
    with pytest.raises(IndexError):
        a[3000]
    scalar = neo.array("s", 2.5)
    scalar[...] = 3
    assert float(scalar[()]) == 3


def test_numpys_functions_take_it(neo: pydaos.DCont) -> None:
    x = np.arange(10.0)
    a = neo.array("x", x)
    assert np.array_equal(a + 1, x + 1) and np.array_equal(2 * a, 2 * x) and (a > 4).sum() == 5
    assert np.mean(a) == 4.5 and np.add.reduce(a) == 45
    assert np.array_equal(np.concatenate([a, a]), np.concatenate([x, x]))
    np.multiply(a, 3, out=a)
    assert np.array_equal(neo["x"], 3 * x)
    a += 1
    assert np.array_equal(neo["x"], 3 * x + 1)


def test_parts_written_at_once_all_stay(neo: pydaos.DCont, pool: str) -> None:
    a = neo.array("x", np.zeros(64, "i8"))

    def write(start: int) -> None:
        for i in range(start, 64, 4):
            a[i] = i

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert np.array_equal(a, np.arange(64))
    reader = pydaos.DCont(pool, "neo", open_mode="RO")
    with pytest.raises(pydaos.PyDError, match="DER_NO_PERM"):
        reader["x"][0] = 1
