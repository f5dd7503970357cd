"""Samplers over a pass that somebody has begun: what torch, and Lightning, find at our `DataLoader`."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler

from pydaos.torch._sampler import PassSampler, RankBatches, _Walk

__all__ = ["BatchSamplerOver", "sampler_over", "walk_over"]


class BatchSamplerOver(RankBatches, BatchSampler):  # type: ignore[override]
    """The batches of a walk, as what torch calls a batch sampler: made of a sampler of ours, like torch's own.

    Of another sampler it makes torch's own: Lightning builds these again, by
    (sampler, batch_size, drop_last).
    """

    def __new__(cls, sampler: Any, batch_size: int, drop_last: bool) -> Any:
        if not isinstance(sampler, PassSampler):
            return BatchSampler(sampler, batch_size, drop_last)
        return super().__new__(cls)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.sampler, self.batch_size, self.drop_last)

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        own: _Walk = sampler._walk
        self.sampler = sampler
        if (own.batch_size, own.drop_last) != (batch_size, drop_last):
            own = walk_over(own.source, batch_size, own.pass_, own.world, own._uneven, drop_last)
        self._walk = own
        self.repeated = 0


def sampler_over(walk: _Walk) -> PassSampler:
    sampler = PassSampler.__new__(PassSampler)
    sampler._walk = walk
    sampler.repeated = 0
    return sampler


def walk_over(source: Any, size: int, pass_: Any, world: Any, uneven: str | None, drop_last: bool) -> _Walk:
    """Return a walk of a pass that somebody has begun."""
    walk = _Walk(
        source,
        size,
        order=None,
        shuffle=False,
        seed=0,
        world=world,
        uneven=uneven,
        drop_last=drop_last,
        keyed=True,
    )
    walk.pass_ = pass_
    return walk
