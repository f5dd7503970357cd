"""What `Mixture` and `TokenBlocks` have in common: a map-style dataset over a walkable of their own."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex

import torch.utils.data

from pydaos.torch._batch import ReadyList
from pydaos.torch._batches import Batches
from pydaos.torch._plan import Maker, Pass, Walkable
from pydaos.torch._sampler import PassSampler
from pydaos.torch._samples import key_of
from pydaos.torch._specs import OrderSpec
from pydaos.torch._where import tell_where, words
from pydaos.torch._world import WorldArg, check_reader, resolve

__all__ = ["WalkedDataset"]


class WalkedDataset(torch.utils.data.Dataset[Any]):
    """A map-style dataset with the surface of `Dataset`: samples by index, ``sampler()``, ``batches()``.

    Attributes
    ----------
    source : Walkable
        What is walked; its manifest id goes into the token.
    """

    source: Walkable
    _samples: Maker

    def __len__(self) -> int:
        return self.source.samples

    def _index(self, index: SupportsIndex) -> int:
        """Return a sample's number from 0 on; IndexError if there is none."""
        k, n = operator.index(index), len(self)
        if not -n <= k < n:
            raise IndexError(f"sample {k} of {self!r}")
        return k + n if k < 0 else k

    def __getitem__(self, index: SupportsIndex) -> Any:
        k = self._index(index)
        check_reader(self.source)
        try:
            return self._samples.one(self.source.fetch([k]), 0, k, getattr(index, "key", (0, 0)))
        except Exception as err:
            tell_where(err, self._where(f"sample {k}"))
            raise

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        wanted = [self._index(i) for i in indices]
        check_reader(self.source)
        try:
            raw = self.source.fetch(wanted)
            if self._samples.ready:
                return ReadyList(self.source.batch(raw), raw.count, lambda i: self.source.sample_at(raw, i))
            return self._samples.each(raw, wanted, key_of(indices))
        except Exception as err:
            first = f", the first of them sample {wanted[0]}" if wanted else ""
            tell_where(err, self._where(f"a batch of {len(wanted)} samples{first}"))
            raise

    def _where(self, samples: str) -> str:
        info = torch.utils.data.get_worker_info()
        world = resolve()
        return words(
            self.source.snapshot,
            world=world[:2] if world.size > 1 else None,
            worker=(info.id, info.num_workers) if info is not None else (0, 0),
            samples=samples,
        )

    def __iter__(self) -> Iterator[Any]:
        for k in range(len(self)):
            yield self[k]

    def sampler(
        self,
        *,
        shuffle: bool = True,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        world: WorldArg | None = None,
        batch_size: int = 1,
        uneven: str | None = None,
        drop_last: bool = False,
    ) -> PassSampler:
        """Return a stateful sampler of our order; see `Dataset.sampler`."""
        return PassSampler(
            self.source,
            shuffle=shuffle,
            seed=seed,
            order=order,
            world=world,
            batch_size=batch_size,
            uneven=uneven,
            drop_last=drop_last,
            keyed=self._samples.keyed,
        )

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        drop_last: bool = False,
        world: WorldArg | None = None,
        uneven: str | None = None,
        prefetch: int = 4,
        with_index: bool = False,
    ) -> Batches:
        """Return an iterable of ready batches; see `Dataset.batches`."""
        return Batches(
            self.source,
            self._samples,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            order=order,
            drop_last=drop_last,
            world=world,
            uneven=uneven,
            prefetch=prefetch,
            with_index=with_index,
        )

    def state_dict(
        self,
        consumed: int,
        *,
        seed: int = 0,
        pass_: int = 0,
        shuffle: bool = True,
        order: OrderSpec | str | None = None,
    ) -> dict[str, Any]:
        """Return the resume token of a run that has consumed so many samples of a pass; see `Dataset.state_dict`."""
        walk = Pass(self.source, order=order, shuffle=shuffle, seed=seed)
        walk.set(pass_)
        return walk.token(consumed).to_dict()

    def close(self) -> None:
        """Close this process's connections."""
        for part in (self.source, getattr(self.source, "base", None), *getattr(self.source, "walks", ())):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
