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

from pkgutil import extend_path

# pydaos.torch lies in a source root of its own (torch/src).
__path__ = extend_path(__path__, __name__)

from pydaos import _errors
from pydaos._address import Address
from pydaos._client import Client, connect
from pydaos._dataset import Dataset, DatasetInfo, Snapshot
from pydaos._errors import *  # noqa: F403
from pydaos._manifest import BatchPipe, Column, Manifest
from pydaos._pool import Pool, PoolInfo
from pydaos._version import __version__

# Upstream's names.
PyDError = _errors.DaosError
DObjNotFound = _errors.NotFoundError

__all__ = [
    "Address",
    "BatchPipe",
    "Client",
    "Column",
    "DObjNotFound",
    "Dataset",
    "DatasetInfo",
    "Manifest",
    "Pool",
    "PoolInfo",
    "PyDError",
    "Snapshot",
    "__version__",
    "connect",
    *_errors.__all__,
]
