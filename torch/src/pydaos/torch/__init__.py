"""PyTorch over the DAOS dataset service: ``Dataset``, ``IterableDataset``, ``Checkpoint``.

>>> from pydaos.torch import Dataset
>>> data = Dataset("p/photos@v1/train", labels="dirname", decode="image")  # doctest: +SKIP
>>> loader = torch.utils.data.DataLoader(data, 32, shuffle=True)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from torch.utils.data import DataLoader as _probe  # an empty folder can pass for torch
except ImportError as err:
    raise ImportError(
        "pydaos.torch needs PyTorch, which is not installed here; install it with: pip install torch"
    ) from err
del _probe

from pydaos.torch._batch import Ragged  # noqa: E402
from pydaos.torch._batches import Batches  # noqa: E402
from pydaos.torch._checkpoint import Checkpoint, WriteBuffer  # noqa: E402
from pydaos.torch._iterable import IterableDataset  # noqa: E402
from pydaos.torch._loader import DataLoader  # noqa: E402
from pydaos.torch._map import Dataset  # noqa: E402
from pydaos.torch._mixture import Mixture  # noqa: E402
from pydaos.torch._sampler import PassSampler  # noqa: E402
from pydaos.torch._specs import (  # noqa: E402
    BlockShuffle,
    OrderSpec,
    Sequential,
    Shuffle,
    Stratified,
    Weighted,
    WindowShuffle,
)
from pydaos.torch._stateful import position  # noqa: E402
from pydaos.torch._token import Token  # noqa: E402
from pydaos.torch._tokens import TokenBlocks  # noqa: E402

__all__ = [
    "Batches",
    "BlockShuffle",
    "Checkpoint",
    "DaosNode",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "Mixture",
    "OrderSpec",
    "PassSampler",
    "Ragged",
    "Sequential",
    "Shuffle",
    "Stratified",
    "Token",
    "TokenBlocks",
    "Weighted",
    "WindowShuffle",
    "WriteBuffer",
    "position",
]

if TYPE_CHECKING:
    from pydaos.torch._node import DaosNode


def __getattr__(name: str) -> Any:
    if name == "DaosNode":  # torchdata is imported when it is asked for
        from pydaos.torch._node import DaosNode

        return DaosNode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
