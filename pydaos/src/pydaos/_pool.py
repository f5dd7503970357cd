"""Pools: named shares of the storage with a quota."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydaos._proto.daos.pool.v1 import pool_service_pb2 as ppb

if TYPE_CHECKING:
    from pydaos._client import Client
    from pydaos._dataset import Dataset


class PoolInfo(NamedTuple):
    """What a pool holds; sizes in bytes, `quota` 0 where there is none."""

    name: str
    quota: int
    used: int
    records: int
    datasets: int
    created_unix_nanos: int


class Pool:
    """A pool, from `Client.pool`, `Client.pools` or `Client.create_pool`.

    Examples
    --------
    >>> client.pool("p").info().datasets
    2
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    def info(self) -> PoolInfo:
        """Describe the pool as it is now."""
        p = self.client.call("pool.GetPool", ppb.GetPoolRequest(name=self.name), ppb.GetPoolResponse).pool
        return PoolInfo(p.name, p.quota_bytes, p.used_bytes, p.records, p.datasets, p.created_unix_nanos)

    def datasets(self) -> list[Dataset]:
        """List the datasets, by name."""
        return self.client.datasets(self.name)

    def set_quota(self, quota: int) -> None:
        """Set the quota in bytes; 0: none."""
        self.client.call("pool.SetPool", ppb.SetPoolRequest(name=self.name, quota_bytes=quota), ppb.SetPoolResponse)

    def __repr__(self) -> str:
        return f"<pydaos.Pool {self.name}>"
