"""Views: named, ordered sets of samples of one dataset at one snapshot, made by a query.

A view is kept in its dataset: it is there whole or not at all, counts towards the quota
(8 bytes a sample) and goes with the dataset. Loaders read it by its name:
``pydaos.torch.Dataset("p/photos", view="large")``.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, NamedTuple

from pydaos._proto.daos.query.v1 import query_service_pb2 as qpb
from pydaos._proto.daos.view.v1 import view_service_pb2 as pb
from pydaos._scan import SILENCE

if TYPE_CHECKING:
    from pydaos._client import Client

#: Most names of added, and of removed samples, that a refresh tells.
MAX_NAMES = 1000


class Refreshed(NamedTuple):
    """What a refresh changed: samples are told apart by their paths, keys or numbers.

    `added_names` and `removed_names` are the first of them, numbers as digits. Where
    the old snapshot was gone nothing could be compared: `compared` is False then, and
    the rest is 0 and empty.
    """

    added: int
    removed: int
    added_names: list[bytes]
    removed_names: list[bytes]
    compared: bool


class View:
    """A view; made by `Client.query` or `Client.sql` with ``save_view=``, found by `Client.view`.

    Attributes
    ----------
    dataset, name
        ``"POOL/DATASET"``, and the view's name within it.
    revision
        1, and one more with each refresh and each replacement.
    snapshot, epoch
        What its samples are read at. `owns_snapshot`: the view made the snapshot and
        removes it. `snapshot_gone`: it was destroyed, and the samples can't be read.
    path
        Below which samples are numbered: a directory, a prefix of keys, an array.
    samples
        How many there are. `ordered`: in the order of the query, else in their own.
    left_out
        Rows of the result that are no samples, such as directories.
    kind, query
        ``"scan"`` or ``"sql"``, and the query as text.
    user, created, refreshed, refreshed_by
        Who made it and when, and who ran its query again (None, ``""``: nobody).
    digest
        SHA-256 of the sample numbers, 8 bytes each, little-endian.
    """

    def __init__(self, client: Client, message: pb.View) -> None:
        self._client = client
        self._assign(message)

    def _assign(self, m: pb.View) -> None:
        self.dataset = m.dataset
        self.name = m.name
        self.revision = int(m.revision)
        self.snapshot = m.snapshot
        self.owns_snapshot = m.owns_snapshot
        self.epoch = int(m.epoch)
        self.snapshot_gone = m.snapshot_gone
        self.path = m.path
        self.samples = int(m.samples)
        self.ordered = m.ordered
        self.digest = m.digest
        self.left_out = int(m.left_out)
        self.kind = m.kind
        self.query = m.query
        self.user = m.user
        self.created = _time(m.created_unix_nanos)
        self.refreshed = _time(m.refreshed_unix_nanos) if m.refreshed_unix_nanos else None
        self.refreshed_by = m.refreshed_by

    def __len__(self) -> int:
        return self.samples

    def __repr__(self) -> str:
        return f"<pydaos.View {self.dataset} {self.name!r}: {self.samples} samples at {self.snapshot}>"

    def refresh(self, snapshot: str = "", *, names: int = 20) -> Refreshed:
        """Run its query again, and say what was added and removed.

        Parameters
        ----------
        snapshot
            Of which snapshot; by default of the present state, of which the view makes
            a snapshot. The one that it made before expires a day after its last use.
        names
            At most so many names of each, up to 1000.

        Returns
        -------
        Refreshed
            The view itself is that of the new revision from now on.
        """
        request = pb.RefreshViewRequest(dataset=self.dataset, name=self.name, snapshot=snapshot, names=names)
        reply = self._client.call("view.RefreshView", request, pb.RefreshViewResponse, timeout=SILENCE)
        self._assign(reply.view)
        return Refreshed(
            int(reply.added),
            int(reply.removed),
            list(reply.added_names),
            list(reply.removed_names),
            not reply.not_compared,
        )

    def remove(self) -> None:
        """Remove it, and its snapshot if it made that."""
        request = pb.RemoveViewRequest(dataset=self.dataset, name=self.name)
        self._client.call("view.RemoveView", request, pb.RemoveViewResponse)


def _time(nanos: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(nanos / 1e9, datetime.timezone.utc)


def views_of(client: Client, dataset: str) -> list[View]:
    """Return the views of a dataset, by name; see `Client.views`."""
    reply = client.call("view.ListViews", pb.ListViewsRequest(dataset=dataset), pb.ListViewsResponse)
    return [View(client, v) for v in reply.views]


def view_of(client: Client, dataset: str, name: str) -> View:
    """Return a view; see `Client.view`."""
    reply = client.call("view.GetView", pb.GetViewRequest(dataset=dataset, name=name), pb.GetViewResponse)
    return View(client, reply.view)


def save_view(
    client: Client,
    name: str,
    query: qpb.ScanRequest | qpb.SqlRequest,
    *,
    of: str = "",
    replace: bool = False,
) -> View:
    """Run a query and keep the samples that it names; see `Client.query`."""
    request = pb.SaveViewRequest(name=name, of=of, replace=replace)
    if isinstance(query, qpb.SqlRequest):
        request.sql.CopyFrom(query)
    else:
        request.scan.CopyFrom(query)
    reply = client.call("view.SaveView", request, pb.SaveViewResponse, timeout=SILENCE)
    return View(client, reply.view)
