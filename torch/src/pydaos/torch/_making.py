"""How a batch is made of what was received: samples, collation, page-locking, and the name of where it failed.

One `Making` is shared by the loop, the threads and the worker processes of a
loader; it pickles and has no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import torch.utils.data
from torch.utils.data import _utils

import pydaos
from pydaos.torch._plan import Maker, Slice, Walkable
from pydaos.torch._world import World

__all__ = ["Making", "MakingJob", "Task", "name_and_raise", "named", "pinned"]


class Task(NamedTuple):
    """One batch to be made: its place in the pass, its sample indices, and (seed, pass)."""

    part: Slice
    indices: Any
    key: tuple[int, int]
    ordered: bool = True


@dataclass
class Making:
    """What is made of a task's answer.

    Attributes
    ----------
    walk, maker
        What is read, and what a sample is made into.
    collate_fn : callable, optional
        The user's; None for torch's own, which lets ready batches through.
    world : World
        For whom, in errors.
    with_index : bool
        Batches are ``(indices, batch)``.
    single : bool
        There are no batches (``batch_size=None``): one sample each, converted.
    """

    walk: Walkable
    maker: Maker
    collate_fn: Callable[[Any], Any] | None
    world: World
    with_index: bool = False
    single: bool = False

    @property
    def ready(self) -> bool:
        """Whether a batch comes ready: nothing is done to its samples."""
        return self.maker.ready and self.collate_fn is None and not self.single

    def samples(self, task: Task, raw: Any, lo: int, hi: int, stopped: Callable[[], bool] | None = None) -> list[Any]:
        """Return what samples lo to hi are made into; none of a batch that is ready."""
        if self.ready:
            return []
        some = getattr(self.maker, "some", None)
        if some is not None:
            made: list[Any] = some(raw, lo, hi)
            return made
        one, indices, key = self.maker.one, task.indices, task.key
        out = []
        for i in range(lo, hi):
            if stopped is not None and stopped():
                break
            index = int(indices[i])
            out.append(one(raw, i, index if index >= 0 else index + self.walk.samples, key))
        return out

    def batch(self, task: Task, raw: Any, samples: Sequence[Any]) -> Any:
        """Return the batch."""
        if self.ready:
            batch = self.walk.batch(raw)
        elif self.single:
            batch = (self.collate_fn or torch.utils.data.default_convert)(samples[0])
        elif self.collate_fn is not None:
            batch = self.collate_fn(samples)
        else:
            batch = torch.utils.data.default_collate(list(samples))
        if self.with_index:
            return torch.as_tensor([int(i) for i in task.indices], dtype=torch.int64), batch
        return batch

    def where(self, task: Task, worker: str) -> str:
        """Say which batch of which rank this is, for errors."""
        rank = f"rank {self.world.rank} of {self.world.size}"
        part = task.part
        at = f"batch {part.step}"
        if task.ordered:
            at += f" (positions {part.start} to {part.stop} of pass {task.key[1]})"
        return ", ".join(s for s in (rank, worker, at) if s) + f" of {self.walk.snapshot}"


class MakingJob:
    """A received batch, to be made on threads."""

    __slots__ = ("_making", "_pin", "_raw", "_task", "count")

    def __init__(self, making: Making, task: Task, raw: Any, pin: bool) -> None:
        self._making = making
        self._task = task
        self._raw = raw
        self._pin = pin
        self.count = 0 if making.ready else raw.count

    def part(self, lo: int, hi: int, stopped: Callable[[], bool]) -> Sequence[Any]:
        """Return what samples lo to hi are made into."""
        try:
            return self._making.samples(self._task, self._raw, lo, hi, stopped)
        except Exception as err:
            name_and_raise(err, self._making.where(self._task, ""))

    def whole(self, made: list[Any]) -> Any:
        """Return the batch made of them all, page-locked if that is wanted."""
        try:
            batch = self._making.batch(self._task, self._raw, made)
        except Exception as err:
            name_and_raise(err, self._making.where(self._task, ""))
        return pinned(batch) if self._pin else batch


def pinned(batch: Any) -> Any:
    """Return a copy of a batch in page-locked memory of torch's own allocator."""
    return _utils.pin_memory.pin_memory(batch)  # type: ignore[no-untyped-call]


def named(err: Exception, where: str) -> Exception:
    """Return the error with the place where it happened, its type kept.

    Ours are built again with the place in their text, so that it survives the
    trip from a worker. Others are the user's: they stay the object that they
    are, with a note where Python has notes.
    """
    if isinstance(err, pydaos.DaosError):
        if where in str(err):
            return err
        known = {k: getattr(err, k) for k in ("op", "resource", "retry_after")}
        again = type(err)(f"{err} [{where}]", **known)
        again.resolution = err.resolution
        return again
    add_note = getattr(err, "add_note", None)
    if add_note is not None and where not in str(getattr(err, "__notes__", "")):
        add_note(f"in {where}")
    return err


def name_and_raise(err: Exception, where: str) -> NoReturn:
    """Raise the error with the place where it happened; to be called where it is handled."""
    again = named(err, where)
    if again is err:
        raise err
    raise again from err
