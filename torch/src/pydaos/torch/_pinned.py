"""The snapshot of a run that names none: made once, in the main process, and kept while it is used."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch.utils.data

import pydaos
from pydaos._proto.daos.dataset.v1 import dataset_service_pb2 as dspb
from pydaos.torch._world import World

if TYPE_CHECKING:
    from pydaos._client import Client

__all__ = ["AUTO_TTL", "pin", "unnamed"]

log = logging.getLogger("pydaos.torch")

#: Seconds for which an expiring snapshot lives after its last use.
AUTO_TTL = 7 * 24 * 3600


def unnamed(dataset: str, why: str) -> pydaos.InvalidError:
    """Return the error for a dataset of which a snapshot must be named."""
    return pydaos.InvalidError(
        f"{dataset}: no snapshot is named, and {why}",
        resource=dataset,
        resolution=f"make one, daos snapshot create {dataset}@NAME, and open {dataset}@NAME",
    )


def pin(client: Client, dataset: str, world: World) -> str:
    """Make the expiring snapshot of a run; return its name."""
    who = ""
    if world.size > 1:
        who = f"{world.size} ranks would each pin a state of its own"
    elif torch.utils.data.get_worker_info() is not None:
        who = "a worker process would pin a state of its own"
    if who:
        raise unnamed(dataset, who)
    request = dspb.CreateSnapshotRequest(dataset=dataset, ttl_seconds=AUTO_TTL, auto=True)
    name = client.call("dataset.CreateSnapshot", request, dspb.CreateSnapshotResponse).snapshot.name
    log.info("%s: pinned as snapshot %s, kept until %d days after its last use", dataset, name, AUTO_TTL // 86400)
    return name
