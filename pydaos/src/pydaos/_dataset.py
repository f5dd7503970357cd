"""Datasets and their snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydaos import _errors as errors
from pydaos._address import Address
from pydaos._posix import PosixDataset
from pydaos._proto.daos.dataset.v1 import dataset_service_pb2 as dspb
from pydaos._scan import ScanDataset
from pydaos._tensor import TensorDataset

if TYPE_CHECKING:
    from pydaos._client import Client

_TYPES = {
    "posix": dspb.TYPE_POSIX,
    "kv": dspb.TYPE_KV,
    "array": dspb.TYPE_ARRAY,
    "tensor": dspb.TYPE_TENSOR,
}
_TYPE_NAMES: dict[int, str] = {int(number): name for name, number in _TYPES.items()}


def type_number(name: str) -> dspb.Type:
    """Return the number of a dataset type; InvalidError lists the names there are."""
    try:
        return _TYPES[name]
    except KeyError:
        raise errors.InvalidError(
            f"{name!r} is not a type of dataset", resource=name, resolution=f"use one of {', '.join(_TYPES)}"
        ) from None


class DatasetInfo(NamedTuple):
    """What a dataset is and holds; sizes in bytes."""

    pool: str
    name: str
    id: int
    type: str
    object_class: str
    chunk_bytes: int
    quota: int
    used: int
    records: int
    attributes: Mapping[str, bytes]
    created_unix_nanos: int
    epoch: int
    snapshot: str
    snapshots: int


class Snapshot(NamedTuple):
    """A named epoch of a dataset; `expires_unix_nanos` is 0 for one that stays."""

    name: str
    epoch: int
    created_unix_nanos: int
    expires_unix_nanos: int
    auto: bool

    @classmethod
    def from_proto(cls, s: dspb.Snapshot) -> Snapshot:
        """Make it from its message."""
        return cls(s.name, s.epoch, s.created_unix_nanos, s.expires_unix_nanos, s.auto)


def open_dataset(client: Client, address: Address, message: dspb.Dataset) -> Dataset:
    """Return a dataset as the class of its type."""
    if message.type == dspb.TYPE_KV:
        from pydaos._kv import KV

        return KV(client, address, message)
    if message.type == dspb.TYPE_ARRAY:
        from pydaos._arrays import Arrays

        return Arrays(client, address, message)
    return Dataset(client, address, message)


class Dataset(PosixDataset, ScanDataset, TensorDataset):
    """A dataset, or its frozen state at a snapshot; from `Client.dataset`.

    Examples
    --------
    >>> photos = client.dataset("p/photos")
    >>> photos.snapshot("v2").name
    'v2'
    >>> photos.at("v2")
    <pydaos.Dataset p/photos@v2 (posix)>
    """

    def __init__(self, client: Client, address: Address, message: dspb.Dataset) -> None:
        self.client = client
        self.pool = address.pool
        self.name = address.dataset
        self.snapshot_name = address.snapshot
        self.type = _TYPE_NAMES.get(int(message.type), "unknown")
        # "POOL/DATASET[@SNAPSHOT]", as every request names it.
        self.address = str(address.root)

    def info(self) -> DatasetInfo:
        """Describe the dataset as it is now."""
        request = dspb.GetDatasetRequest(dataset=self.address)
        d = self.client.call("dataset.GetDataset", request, dspb.GetDatasetResponse).dataset
        return DatasetInfo(
            d.pool,
            d.name,
            d.id,
            _TYPE_NAMES.get(int(d.type), "unknown"),
            d.object_class,
            d.chunk_bytes,
            d.quota_bytes,
            d.used_bytes,
            d.records,
            dict(d.attributes),
            d.created_unix_nanos,
            d.epoch,
            d.snapshot,
            d.snapshots,
        )

    @property
    def attributes(self) -> Mapping[str, bytes]:
        """The user attributes, as they are now."""
        return self.info().attributes

    def set_attributes(self, attributes: Mapping[str, bytes | None]) -> None:
        """Set user attributes; those with the value None are removed."""
        request = dspb.SetDatasetRequest(
            dataset=self.address,
            set_attributes={k: v for k, v in attributes.items() if v is not None},
            remove_attributes=[k for k, v in attributes.items() if v is None],
        )
        self.client.call("dataset.SetDataset", request, dspb.SetDatasetResponse)

    def set_quota(self, quota: int) -> None:
        """Set the quota in bytes; 0: only the pool's."""
        request = dspb.SetDatasetRequest(dataset=self.address, quota_bytes=quota, set_quota=True)
        self.client.call("dataset.SetDataset", request, dspb.SetDatasetResponse)

    # Snapshots.

    def snapshots(self) -> list[Snapshot]:
        """List the snapshots, oldest first."""
        request = dspb.ListSnapshotsRequest(dataset=f"{self.pool}/{self.name}")
        reply = self.client.call("dataset.ListSnapshots", request, dspb.ListSnapshotsResponse)
        return [Snapshot.from_proto(s) for s in reply.snapshots]

    def snapshot(self, name: str = "", *, ttl: int = 0) -> Snapshot:
        """Name the present state; it has every write that was answered before.

        Parameters
        ----------
        name
            Name of the snapshot; empty: the server makes one up.
        ttl
            Seconds after its last use when it ends; 0: never.
        """
        request = dspb.CreateSnapshotRequest(
            dataset=self.address, name=name, auto=not name, ttl_seconds=ttl, seen=self.client._seen
        )
        reply = self.client.call("dataset.CreateSnapshot", request, dspb.CreateSnapshotResponse)
        return Snapshot.from_proto(reply.snapshot)

    def destroy_snapshot(self, name: str, *, force: bool = False) -> None:
        """Remove a snapshot; with `force` also one that views read, which can't be read any more then."""
        request = dspb.DestroySnapshotRequest(dataset=f"{self.pool}/{self.name}@{name}", force=force)
        self.client.call("dataset.DestroySnapshot", request, dspb.DestroySnapshotResponse)

    def at(self, snapshot: str) -> Dataset:
        """Return this dataset as it was at a snapshot; NotFoundError if there is none of that name."""
        return self.client.dataset(f"{self.pool}/{self.name}@{snapshot}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and other.address == self.address and other.client is self.client

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"<pydaos.Dataset {self.address} ({self.type})>"
