"""Ready batches: one request each, the next ones asked for ahead, one order for any number of workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch.utils.data

from pydaos.torch._plan import Maker, Pass, Slice, StreamLike, Taker, Walkable, batches_of, slices, uneven_rule
from pydaos.torch._world import WorldArg, refresh, resolve

__all__ = ["BatchIterator", "Batches"]


def worker_share() -> tuple[int, int]:
    """Return (worker, workers) of this process, (0, 1) in the main one."""
    info = torch.utils.data.get_worker_info()
    return (info.id, info.num_workers) if info is not None else (0, 1)


class Batches(torch.utils.data.IterableDataset[Any]):
    """An iterable of ready batches; see `Dataset.batches`.

    Worker w of W makes global batches w, w + W, ...: under
    ``DataLoader(batches, batch_size=None, num_workers=W)`` the stream is the
    same for every W. ``state_dict`` counts the batches that a plain loop (or
    ``num_workers=0``) has been given; with workers the main process says how
    many samples it consumed: ``state_dict(consumed=n)``.

    Attributes
    ----------
    source : Walkable
        What is read.
    batch_size : int
        Samples of this rank's batch.
    repeated : int
        How many samples at the end of the batch given out last repeat others
        (``uneven="pad"``).
    """

    def __init__(
        self,
        source: Walkable,
        samples: Maker,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        order: Any = None,
        drop_last: bool = False,
        world: WorldArg | None = None,
        uneven: str | None = None,
        prefetch: int = 4,
        with_index: bool = False,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r}: a batch has at least one sample")
        uneven_rule(uneven, 1)
        self.source = source
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.repeated = 0
        self._samples = samples
        self._world = resolve(world)
        self._uneven = uneven
        self._prefetch = prefetch
        self._with_index = with_index
        self._pass = Pass(source, order=order, shuffle=shuffle, seed=seed)
        # What workers must learn after they were started, or tell each other: the
        # pass (set_epoch reaches persistent ones so), and the base seed of the
        # iteration that has used the loaded state.
        self._shared = torch.zeros(2, dtype=torch.int64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def world(self) -> tuple[int, int]:
        """(rank, size) that is read for."""
        return self._world.rank, self._world.size

    @property
    def uneven(self) -> str:
        """What becomes of a tail that does not fill all ranks."""
        return uneven_rule(self._uneven, self._world.size)

    def __len__(self) -> int:
        n = self._pass.order().n
        return batches_of(n, self.batch_size, self._world, drop_last=self.drop_last, uneven=self.uneven)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; the loaded one keeps the loaded position, another starts at 0."""
        self._pass.set(epoch)
        self._shared[0] = epoch

    @property
    def epoch(self) -> int:
        """The pass that the next iteration walks."""
        return self._pass.number

    def __iter__(self) -> Iterator[Any]:
        return self._walk(samples=False)

    def _walk(self, *, samples: bool) -> BatchIterator:
        info = torch.utils.data.get_worker_info()
        if info is not None:
            told = int(self._shared[0])
            if told != self._pass.number:
                self._pass.set(told)
            # Fresh workers inherit the loaded state again at every iter() of their
            # DataLoader; torch draws a base seed for each, which tells them apart.
            base = info.seed - info.id
            if int(self._shared[1]) not in (0, base):
                self._pass.unload()
            elif self._pass.loaded:
                self._shared[1] = base
        else:
            self._world = refresh(self._world)
            if int(self._shared[1]):
                self._pass.unload()
        return BatchIterator(self, worker_share(), samples=samples)

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Return the resume token.

        Parameters
        ----------
        consumed : int, optional
            Samples of the global order consumed in this pass. Needed with
            workers, which read ahead in other processes.
        """
        if consumed is not None and not 0 <= consumed <= self._pass.order().n:
            raise ValueError(f"consumed={consumed} is not within the {self._pass.order().n} samples of a pass")
        return self._pass.token(consumed).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token at the next ``iter()``."""
        self._pass.load(state)
        self._shared[0] = self._pass.number
        self._shared[1] = 0


class BatchIterator:
    """Walks one worker's share of a pass, with requests in flight ahead of the loop."""

    def __init__(self, batches: Batches, share: tuple[int, int], *, samples: bool) -> None:
        self._batches = batches
        self._as_samples = samples
        self._pass = batches._pass
        start = self._pass.begin()
        self._order = self._pass.order()
        self._slices = slices(
            start,
            self._order.n,
            batches.batch_size,
            batches._world,
            share,
            drop_last=batches.drop_last,
            uneven=batches.uneven,
        )
        self._taker = Taker(self._order)
        self._key = (self._pass.seed, self._pass.number)
        self._stream: StreamLike | None = None
        self._ahead: deque[tuple[Slice, Any]] = deque()

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> Any:
        if self._stream is None:
            self._stream = self._batches.source.stream(self._batches._prefetch)
        self._fill(self._stream)
        if not self._ahead:
            self.close()
            self._pass.position = self._order.n
            raise StopIteration
        raw = self._stream.take()
        part, indices = self._ahead.popleft()
        self._fill(self._stream)
        self._pass.position = part.end
        self._batches.repeated = part.again
        source, made = self._batches.source, self._batches._samples
        if self._as_samples or not made.ready:
            batch = made.each(raw, indices, self._key)
            if self._as_samples:
                return batch
            batch = torch.utils.data.default_collate(batch)
        else:
            batch = source.batch(raw)
        if self._batches._with_index:
            return torch.from_numpy(indices.astype("int64")), batch
        return batch

    def _fill(self, stream: StreamLike) -> None:
        while stream.room:
            part = next(self._slices, None)
            if part is None:
                return
            indices = self._taker.take(part)
            stream.ask(indices)
            self._ahead.append((part, indices))

    def close(self) -> None:
        """Give the connection back."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __del__(self) -> None:
        self.close()
