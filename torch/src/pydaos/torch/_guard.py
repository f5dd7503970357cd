"""Batches that refuse to be collated again.

``DataLoader(data.batches(32), batch_size=32)`` would stack ready batches into
batches of batches. A DataLoader that does so is found when it begins to
iterate; where something stands between (ChainDataset, a wrapper of the
user's), batches come as the types below, which are what they were but for
their entry in torch's collation. A plain loop gets plain tensors.
"""

from __future__ import annotations

import sys
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

import torch
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import _utils

from pydaos.torch._batch import Ragged

__all__ = ["guarded", "stands_in_collation"]

REFUSAL = (
    "these are ready batches, and this DataLoader collates them again: pass batch_size=None, "
    "DataLoader(data.batches(32), batch_size=None)"
)


class _Tensor(torch.Tensor):
    """A tensor; what is computed from it is a plain one."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class _Dict(dict[str, Any]):
    pass


class _Tuple(tuple[Any, ...]):
    __slots__ = ()


class _List(list[Any]):
    pass


def guarded(batch: Any) -> Any:
    """Return the batch as a type whose collation raises."""
    if isinstance(batch, torch.Tensor):
        return batch.as_subclass(_Tensor)
    for plain, kind in ((dict, _Dict), (tuple, _Tuple), (list, _List)):
        if type(batch) is plain:
            return kind(batch)
    return batch


def stands_in_collation() -> bool:
    """Whether what iterates here is a DataLoader that collates; TypeError if it does so directly.

    Asked once when iteration begins: torch's fetcher is on the stack then, and
    it is the direct caller unless something wraps the iterable.
    """
    frame = sys._getframe(2)
    direct = True
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, _utils.fetch._BaseDatasetFetcher):
            collates = bool(getattr(caller, "auto_collation", False))
            if collates and direct:
                raise TypeError(REFUSAL)
            return collates
        direct = False
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _refuse(batch: Any, *, collate_fn_map: Any = None) -> NoReturn:
    raise TypeError(REFUSAL)


def _plain(tensor: _Tensor) -> Any:
    return reduce_tensor(tensor.as_subclass(torch.Tensor))  # type: ignore[no-untyped-call]


for _kind in (_Tensor, _Dict, _Tuple, _List, Ragged):
    _utils.collate.default_collate_fn_map[_kind] = _refuse
ForkingPickler.register(_Tensor, _plain)
