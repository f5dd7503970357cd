"""Python client of the DAOS dataset service.

Start at `connect`, which returns a `Client`; its datasets have files, tensors and
scans. ``pydaos.torch`` is the PyTorch side, ``pydaos.fs`` the fsspec file system.

Examples
--------
>>> import pydaos
>>> with pydaos.connect() as client:
...     table = client.dataset("p/photos@v1").scan(name="*.png", min_size=4096)
>>> table.num_rows
64
"""

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING

# pydaos.torch lies in a source root of its own (torch/src).
__path__ = extend_path(__path__, __name__)

from pydaos import _errors
from pydaos._address import Address
from pydaos._array import Array
from pydaos._arrays import Arrays
from pydaos._client import Client, connect
from pydaos._darray import DArray
from pydaos._dataset import Dataset, DatasetInfo, Snapshot
from pydaos._errors import *  # noqa: F403
from pydaos._kv import KV, KVEntry, KVPage, KVStat
from pydaos._kv_batch import KVBatch
from pydaos._kv_schema import KVField, KVSchema
from pydaos._manifest import BatchPipe, Column, Manifest
from pydaos._pool import Pool, PoolInfo
from pydaos._upstream import DaosClient, DCont, DDict, InvalidModeError, ObjClassID, check
from pydaos._version import __version__
from pydaos._view import Refreshed, View

# Upstream's names.
PyDError = _errors.DaosError
DObjNotFound = _errors.NotFoundError

__all__ = [
    "Address",
    "Array",
    "Arrays",
    "BatchPipe",
    "Client",
    "Column",
    "DArray",
    "DCont",
    "DDict",
    "DObjNotFound",
    "DaosClient",
    "Dataset",
    "DatasetInfo",
    "InvalidModeError",
    "KV",
    "KVBatch",
    "KVEntry",
    "KVField",
    "KVPage",
    "KVSchema",
    "KVStat",
    "Manifest",
    "ObjClassID",
    "Pool",
    "PoolInfo",
    "PyDError",
    "Refreshed",
    "Snapshot",
    "View",
    "__version__",
    "check",
    "connect",
    *_errors.__all__,
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import ``pydaos.torch`` and ``pydaos.fs`` at their first use: both are too large to come with pydaos."""
        if name in ("fs", "torch"):
            return importlib.import_module(f"pydaos.{name}")
        raise AttributeError(f"module 'pydaos' has no attribute {name!r}")
