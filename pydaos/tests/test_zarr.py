"""zarr's own suite for stores, and zarr, xarray and Dask over `DaosStore`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pydaos
from pydaos._arrays import Arrays
from pydaos._embedded import find_binary
from pydaos.testing import Server

pytest.importorskip("zarr", minversion="3")
import zarr
from zarr.core.buffer import Buffer, cpu, default_buffer_prototype
from zarr.errors import ContainsArrayError
from zarr.testing.store import StoreTests

from pydaos.zarr import DaosStore


@pytest.fixture
def arrays(client: pydaos.Client, pool: str) -> Arrays:
    """An empty array dataset."""
    made = client.create_dataset(f"{pool}/zarr", type="array")
    assert isinstance(made, Arrays)
    return made


def _run_to_end(test: Callable[..., Any]) -> Callable[..., Any]:
    """Return a test that runs a coroutine to its end: zarr's suite expects a plugin for that."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class _AsyncTests(StoreTests[DaosStore, cpu.Buffer]):
    """zarr's tests, with its coroutines as plain tests."""


for _name, _test in inspect.getmembers(StoreTests, inspect.iscoroutinefunction):
    if _name.startswith("test_"):
        setattr(_AsyncTests, _name, _run_to_end(_test))


class TestStore(_AsyncTests):
    """zarr's own suite."""

    store_cls = DaosStore
    buffer_cls = cpu.Buffer

    async def set(self, store: DaosStore, key: str, value: Buffer) -> None:
        """Write a key past the store."""
        writer = DaosStore(store.dataset)
        await writer.set(key, value)

    async def get(self, store: DaosStore, key: str) -> Buffer:
        """Read a key past the store."""
        found = await DaosStore(store.dataset).get(key, default_buffer_prototype())
        assert found is not None
        return found

    @pytest.fixture
    def store_kwargs(self, arrays: Arrays) -> dict[str, Any]:
        """Arguments of the store."""
        return {"dataset": arrays}

    @pytest.fixture
    def store(self, open_kwargs: dict[str, Any]) -> DaosStore:
        """An open store."""
        return asyncio.run(self.store_cls.open(**open_kwargs))

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> DaosStore:
        """A store that is not open yet."""
        return self.store_cls(**store_kwargs)

    def test_store_repr(self, store: DaosStore) -> None:
        """The address is in it."""
        assert repr(store) == f"DaosStore('daos://{store.dataset.address}')"

    def test_store_supports_writes(self, store: DaosStore) -> None:
        """It does."""
        assert store.supports_writes

    def test_store_supports_listing(self, store: DaosStore) -> None:
        """It does."""
        assert store.supports_listing


def test_zarr_writes_and_reads(arrays: Arrays) -> None:
    store = DaosStore(arrays)
    x = np.arange(100 * 70, dtype="f4").reshape(100, 70)
    group = zarr.create_group(store)
    a = group.create_array("sub/x", shape=x.shape, dtype=x.dtype, chunks=(30, 20), shards=(60, 40))
    a[...] = x
    a.attrs["unit"] = "m"
    a[5:50:3, 7] = -1
    x[5:50:3, 7] = -1
    again = zarr.open_group(DaosStore(arrays, read_only=True), mode="r")["sub/x"]
    assert np.array_equal(again[...], x) and dict(again.attrs) == {"unit": "m"}
    arrays.snapshot("s1")
    a[0] = 0
    frozen = zarr.open_group(DaosStore(arrays.at("s1")), mode="r")["sub/x"]
    assert np.array_equal(frozen[...], x)
    with pytest.raises(ValueError, match="read-only"):
        frozen[0] = 1
    nested = zarr.open_array(DaosStore(arrays, path="sub"), path="x")
    assert nested.shape == x.shape


def test_the_command_line_says_that_arrays_are_zarrs(server: Server, arrays: Arrays) -> None:
    def ls() -> str:
        env = os.environ | {"DAOS_ADDR": server.address, "DAOS_TOKEN": server.token}
        command = [find_binary(), "array", "ls", arrays.address]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    assert "no arrays; `daos array create" in ls()
    zarr.create_array(DaosStore(arrays), name="t2m", shape=(3,), dtype="f4")
    assert f'the keys of a zarr store; open it with pydaos.zarr.DaosStore("{arrays.address}")' in ls()
    arrays.create_array("own", shape=(3,), dtype="f4")
    assert "own" in ls() and "zarr" not in ls().replace(arrays.address, "")


def test_zarr_reads_the_datasets_own_arrays(arrays: Arrays) -> None:
    x = np.arange(35 * 9, dtype="i2").reshape(35, 9)
    arrays.create_array("g/x", data=x, chunks=(8, 4), dims=("t", "y"), attrs={"unit": "m"}, fill_value=-1)
    arrays["g/x"].resize(40, 9)
    arrays.create_array("g/f", shape=(3,), dtype="f8", fill_value=np.nan)
    store = DaosStore(arrays)
    group = zarr.open_group(store, mode="r")
    a = group["g/x"]
    assert np.array_equal(a[...], arrays["g/x"][...]) and (a[35:] == -1).all()
    assert dict(a.attrs) == {"unit": "m"} and a.metadata.dimension_names == ("t", "y")
    assert np.isnan(group["g/f"][...]).all()
    assert sorted(group["g"].array_keys()) == ["f", "x"]
    with pytest.raises(ContainsArrayError):
        zarr.create_array(store, name="g/x", shape=(1,), dtype="i4", overwrite=False)
    with pytest.raises(pydaos.ExistsError, match=r"pydaos\.Array"):
        asyncio.run(store.set("g/x/zarr.json", cpu.Buffer.from_bytes(b"{}")))
    keys = [key for key, _ in store._native_keys("g/x/")]
    assert keys[0] == "g/x/zarr.json" and "g/x/c/4/2" in keys and len(keys) == 1 + 5 * 3


def test_xarray_and_dask_go_there_and_back(arrays: Arrays) -> None:
    xr = pytest.importorskip("xarray")
    da = pytest.importorskip("dask.array")
    t2m = np.random.default_rng(0).normal(280, 10, (24, 18, 36)).astype("f4")
    ds = xr.Dataset(
        {"t2m": (("time", "lat", "lon"), t2m, {"units": "K"})},
        coords={"time": np.arange(24).astype("M8[h]").astype("M8[ns]"), "lat": np.linspace(-85, 85, 18)},
        attrs={"title": "test"},
    )
    store = DaosStore(arrays)
    ds.chunk({"time": 6, "lat": 9}).to_zarr(store)
    arrays.snapshot("v1")
    back = xr.open_zarr(DaosStore(arrays.at("v1")))
    xr.testing.assert_identical(back.load(), ds)
    ds.isel(time=slice(0, 2)).assign_coords(time=ds.time[:2] + np.timedelta64(24, "h")).to_zarr(
        store, append_dim="time"
    )
    assert xr.open_zarr(store).sizes["time"] == 26

    x = da.from_array(t2m, chunks=(6, 18, 12))
    da.to_zarr(x, DaosStore(arrays), component="dask")
    y = da.from_zarr(DaosStore(arrays), component="dask")
    assert np.allclose((y + 1).mean(axis=0).compute(), (t2m + 1).mean(axis=0))
    own = arrays.create_array("own", data=t2m, chunks=(6, 18, 36))
    z = da.from_array(own, chunks=(6, 18, 36))
    assert np.array_equal(z[::2].compute(), t2m[::2])
