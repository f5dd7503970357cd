"""Pools, datasets, attributes, snapshots."""

import pytest

import pydaos


def test_pools(client, pool_name):
    made = client.create_pool(pool_name, quota=1 << 30)
    try:
        assert pool_name in [p.name for p in client.pools()]
        info = made.info()
        assert (info.name, info.quota, info.used, info.datasets) == (pool_name, 1 << 30, 0, 0)
        made.set_quota(2 << 30)
        assert client.pool(pool_name).info().quota == 2 << 30
        with pytest.raises(pydaos.ExistsError):
            client.create_pool(pool_name)
        client.create_dataset(f"{pool_name}/d")
        with pytest.raises(pydaos.NotEmptyError):
            client.destroy_pool(pool_name)
    finally:
        client.destroy_pool(pool_name, force=True)
    with pytest.raises(pydaos.NotFoundError):
        made.info()


def test_datasets(client, pool):
    made = client.create_dataset(f"{pool}/d", type="posix", attributes={"a": b"1"}, chunk_bytes=1 << 16)
    assert made.type == "posix"
    assert made.address == f"{pool}/d"
    info = made.info()
    assert (info.pool, info.name, info.type, info.chunk_bytes) == (pool, "d", "posix", 1 << 16)
    assert info.attributes == {"a": b"1"}
    assert client.create_dataset(f"{pool}/d", exist_ok=True) == made
    with pytest.raises(pydaos.ExistsError):
        client.create_dataset(f"{pool}/d")
    with pytest.raises(pydaos.ExistsError):
        client.create_dataset(f"{pool}/d", type="tensor", exist_ok=True)
    client.create_dataset(f"{pool}/t", type="tensor")
    assert [d.name for d in client.datasets(pool)] == ["d", "t"]
    assert [d.type for d in client.pool(pool).datasets()] == ["posix", "tensor"]
    client.destroy_dataset(f"{pool}/d")
    assert [d.name for d in client.datasets(pool)] == ["t"]


def test_types(client, pool):
    with pytest.raises(pydaos.InvalidError, match="posix"):
        client.create_dataset(f"{pool}/d", type="blob")
    with pytest.raises(pydaos.InvalidError, match="kv"):
        client.create_dataset(f"{pool}/d", type="kv", chunk_bytes=1 << 20)


def test_attributes(posix_dataset):
    posix_dataset.set_attributes({"owner": b"me", "n": b"\x00\xff"})
    posix_dataset.set_attributes({"n": None, "more": b""})
    assert posix_dataset.attributes == {"owner": b"me", "more": b""}


def test_snapshots_freeze(client, posix_dataset):
    posix_dataset.write_bytes("a", b"one")
    made = posix_dataset.snapshot("v1")
    assert made.name == "v1"
    posix_dataset.write_bytes("a", b"two")
    posix_dataset.write_bytes("b", b"new")
    frozen = posix_dataset.at("v1")
    assert frozen.read_bytes("a") == b"one"
    assert frozen.listdir() == ["a"]
    assert posix_dataset.read_bytes("a") == b"two"
    assert client.dataset(f"{posix_dataset.address}@v1") == frozen
    assert frozen.info().snapshot == "v1"
    assert frozen.info().epoch == made.epoch
    assert [s.name for s in posix_dataset.snapshots()] == ["v1"]
    with pytest.raises(pydaos.ExistsError):
        posix_dataset.snapshot("v1")
    posix_dataset.destroy_snapshot("v1")
    assert posix_dataset.snapshots() == []
    with pytest.raises(pydaos.NotFoundError):
        posix_dataset.at("v1")


def test_a_snapshot_is_read_only(posix_dataset):
    posix_dataset.write_bytes("a", b"one")
    posix_dataset.snapshot("v1")
    frozen = posix_dataset.at("v1")
    for change in (
        lambda: frozen.write_bytes("a", b"x"),
        lambda: frozen.mkdir("d"),
        lambda: frozen.remove("a"),
        lambda: frozen.rename("a", "b"),
        lambda: frozen.truncate("a", 0),
        lambda: frozen.setxattr("a", "user.x", b""),
        lambda: frozen.open("a", "r+b").write(b"x" * (4 << 20)),
    ):
        with pytest.raises(pydaos.ReadOnlyError):
            change()
    assert frozen.read_bytes("a") == b"one"


def test_a_snapshot_without_a_name_is_named_by_the_server(posix_dataset):
    made = posix_dataset.snapshot(ttl=3600)
    assert made.name
    assert made.auto
    assert made.expires_unix_nanos > 0
    assert posix_dataset.at(made.name).listdir() == []


def test_quota(client, pool_name):
    client.create_pool(pool_name, quota=1 << 20)
    try:
        dataset = client.create_dataset(f"{pool_name}/d")
        dataset.write_bytes("a", bytes(1 << 19))
        with pytest.raises(pydaos.NoSpaceError, match="quota"):
            dataset.write_bytes("b", bytes(1 << 20))
        assert dataset.listdir() == ["a"]
    finally:
        client.destroy_pool(pool_name, force=True)


def test_usage_is_exact(client, pool, posix_dataset):
    before = client.pool(pool).info().used
    posix_dataset.write_bytes("a", bytes(12345))
    assert posix_dataset.info().used >= 12345
    assert client.pool(pool).info().used - before >= 12345


def test_type_confusion_is_clear(posix_dataset, tensor_dataset):
    with pytest.raises(pydaos.DaosError) as caught:
        tensor_dataset.listdir()
    assert "tensor" in str(caught.value)
    with pytest.raises(pydaos.DaosError) as caught:
        posix_dataset.take([0])
    assert "posix" in str(caught.value)
