"""Which rank of how many this process is, asked in the main process and kept from then on.

``world=(rank, size)`` wins, else ``torch.distributed`` if it is initialised,
else the environment's RANK and WORLD_SIZE (torchrun sets them), else the one
rank that there is. A worker process keeps what its main process was told: it
has no process group of its own.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, NamedTuple

import torch.distributed

__all__ = ["ONE", "World", "check_pins", "check_reader", "refresh", "resolve"]

log = logging.getLogger("pydaos.torch")

WorldArg = tuple[int, int]


class World(NamedTuple):
    """One rank of ``size``; ``origin`` says who said so."""

    rank: int
    size: int
    origin: str = "world="

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


#: Alone, because nobody said otherwise.
ONE = World(0, 1, "default")


def resolve(world: WorldArg | World | None = None) -> World:
    """Find out which rank this process is.

    Parameters
    ----------
    world : (rank, size), optional
        What the caller says; it wins.

    Raises
    ------
    ValueError
        The rank does not lie in 0..size-1, or RANK and WORLD_SIZE make no sense.
    """
    if isinstance(world, World):
        return world
    if world is not None:
        try:
            rank, size = (n.__index__() for n in world)
        except (TypeError, ValueError, AttributeError):
            raise ValueError(f"world={world!r}: give (rank, size), two integers") from None
        return _said(rank, size, "world=")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return _said(torch.distributed.get_rank(), torch.distributed.get_world_size(), "torch.distributed")
    text = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if text[0] is None or text[1] is None:
        return ONE
    try:
        rank, size = int(text[0]), int(text[1])
    except ValueError:
        raise ValueError(f"RANK={text[0]!r} and WORLD_SIZE={text[1]!r} are not numbers; unset them") from None
    return _said(rank, size, "RANK and WORLD_SIZE")


def refresh(world: World) -> World:
    """Ask again before a pass: a process group may have been made, or the object unpickled in a rank of its own.

    What the caller said stays, and so does the last answer where nobody says
    anything now.
    """
    if world.origin == "world=":
        return world
    now = resolve()
    return world if now.origin == "default" else now


def divides() -> int:
    """Whether accelerate is about to divide what is iterated next among ranks by itself: 0 if not.

    Asked in ``set_epoch``, which its prepared loaders call in the main process
    before each pass: a shard of ours would be divided once more. accelerate
    then takes rank r's r-th batch (or slice) of ``size``, which is our rule too.
    It does so within each worker: the number returned is how many batches must
    come from one worker in a row for that.
    """
    frame = sys._getframe(3)
    for _ in range(2):
        if frame is None or frame.f_globals.get("__name__") != "accelerate.data_loader":
            return 0
        caller: Any = frame.f_locals.get("self")
        kind = type(caller).__name__
        if kind == "IterableDatasetShard":
            return 1 if caller.split_batches else int(caller.num_processes)
        if kind == "DataLoaderDispatcher" or type(getattr(caller, "batch_sampler", None)).__name__ == (
            "BatchSamplerShard"
        ):
            return 1
        frame = frame.f_back  # type: ignore[assignment]
    return 0


def sharded() -> bool:
    """Whether a sampler is being drawn from by accelerate's BatchSamplerShard, which divides by itself.

    Asked at the first index of a pass: what ``skip_first_batches`` makes of a
    prepared loader calls no sampler's ``set_epoch``.
    """
    if "accelerate.data_loader" not in sys.modules:
        return False
    frame = sys._getframe(2)
    for _ in range(8):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == "accelerate.data_loader":
            return type(frame.f_locals.get("self")).__name__ == "BatchSamplerShard"
        frame = frame.f_back  # type: ignore[assignment]
    return False


def undivided(world: World) -> World:
    """Return the world of a pass that accelerate divides: all of it; ValueError if the caller named a rank."""
    if world.origin == "world=" and world.size > 1:
        raise ValueError(
            f"world=({world.rank}, {world.size}) divides the samples among ranks, and so does a loader prepared by "
            "accelerate: leave out one of the two"
        )
    return World(0, 1, "accelerate")


def check_pins(source: Any, world: World) -> None:
    """InvalidError if ranks share a pass and this one pinned the state itself: each would read another.

    Asked where ``world=`` is said and before each pass: the dataset was opened
    without knowing of either, or before there was a process group.
    """
    size = resolve().size if world.origin == "accelerate" else world.size
    if size < 2:
        return
    check = getattr(source, "check_world", None)
    if check is not None:
        check(size)
    for part in (getattr(source, "base", None), *getattr(source, "walks", ())):
        if part is not None:
            check_pins(part, world)


def check_reader(source: Any) -> None:
    """`Source.check_reader` of all that a source is made of."""
    check = getattr(source, "check_reader", None)
    if check is not None:
        check()
    for part in (getattr(source, "base", None), *getattr(source, "walks", ())):
        if part is not None:
            check_reader(part)


_told: set[World] = set()


def _said(rank: int, size: int, origin: str) -> World:
    if size < 1 or not 0 <= rank < size:
        raise ValueError(f"{origin}: rank {rank} of {size}: a rank lies in 0..size-1")
    world = World(rank, size, origin)
    if size > 1 and world not in _told:
        # Once a process and answer, not once for every dataset and pass.
        _told.add(world)
        log.info("this process reads as rank %d of %d, said by %s", rank, size, origin)
    return world
