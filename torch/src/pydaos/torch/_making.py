"""How a batch is made of what was received: samples, collation, page-locking, and the name of where it failed.

One `Making` is shared by the loop, the threads and the worker processes of a
loader; it pickles and has no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch.utils.data
from torch.utils.data import _utils

from pydaos.torch._plan import Maker, Slice, Walkable
from pydaos.torch._views import PlainView
from pydaos.torch._where import no_end, tell_where, words
from pydaos.torch._world import World

__all__ = ["Making", "MakingJob", "Task", "pinned"]


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

    def checked(self, task: Task) -> Task:
        """Return the task with indices that can be asked for: a sampler of somebody else's may give anything.

        IndexError names the batch of one that is beyond the samples.
        """
        if task.ordered or isinstance(self.walk, PlainView):
            return task
        n = self.walk.samples
        out = np.fromiter((i.__index__() for i in task.indices), np.int64, len(task.indices))
        out[out < 0] += n
        if out.size and not (int(out.min()) >= 0 and int(out.max()) < n):
            raise IndexError(f"batch {task.part.step} of the sampler names samples beyond the {n} of the dataset")
        return task._replace(indices=out.astype(np.uint64))

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
            out.append(one(raw, i, int(indices[i]), key))
        return out

    def batch(self, task: Task, raw: Any, samples: Sequence[Any]) -> Any:
        """Return the batch."""
        if self.ready:
            batch = self.walk.batch(raw)
        elif self.collate_fn is not None:
            try:
                batch = self.collate_fn(samples[0] if self.single else samples)
            except StopIteration as err:
                raise no_end(err, "collate_fn") from err
        elif self.single:
            batch = torch.utils.data.default_convert(samples[0])  # type: ignore[no-untyped-call]
        else:
            batch = torch.utils.data.default_collate(list(samples))
        if self.with_index:
            return torch.as_tensor([int(i) for i in task.indices], dtype=torch.int64), batch
        return batch

    def where(self, task: Task, worker: tuple[int, int] = (0, 0)) -> str:
        """Say which batch of which rank this is, for errors; ``worker`` is (number, of how many)."""
        part = task.part
        return words(
            self.walk.snapshot,
            world=(self.world.rank, self.world.size),
            worker=worker,
            batch=part.step,
            pass_=task.key[1],
            samples=f"positions {part.start} to {part.stop}" if task.ordered else "",
        )


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
            tell_where(err, self._making.where(self._task))
            raise

    def whole(self, made: list[Any]) -> Any:
        """Return the batch made of them all, page-locked if that is wanted."""
        try:
            batch = self._making.batch(self._task, self._raw, made)
        except Exception as err:
            tell_where(err, self._making.where(self._task))
            raise
        return pinned(batch) if self._pin else batch


def pinned(batch: Any) -> Any:
    """Return a copy of a batch in page-locked memory of torch's own allocator."""
    return _utils.pin_memory.pin_memory(batch)  # type: ignore[no-untyped-call]
