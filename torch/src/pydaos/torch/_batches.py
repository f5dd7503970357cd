"""Ready batches: one request each, the next ones asked for ahead, one order for any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch.utils.data

from pydaos.torch._order import BLOCK
from pydaos.torch._plan import Pass, World, check_world, slices

if TYPE_CHECKING:
    from pydaos.torch._map import Samples
    from pydaos.torch._source import Source, Stream

__all__ = ["Batches"]


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
    """

    def __init__(
        self,
        source: Source,
        samples: Samples,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        world: World | None,
        prefetch: int,
        with_index: bool = False,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r}: a batch has at least one sample")
        self.source = source
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._samples = samples
        self._world = check_world(world)
        self._prefetch = prefetch
        self._with_index = with_index
        self._pass = Pass(source, shuffle=shuffle, seed=seed)
        # What workers must learn after they were started, or tell each other: the
        # pass (set_epoch reaches persistent ones so), and the base seed of the
        # iteration that has used the loaded state.
        self._shared = torch.zeros(2, dtype=torch.int64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        n, step = self.source.samples, self.batch_size * self._world[1]
        if self.drop_last:
            return n // step
        whole, rest = divmod(n, step)
        return whole + (1 if rest > self._world[0] * self.batch_size else 0)

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
        elif int(self._shared[1]):
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
        if consumed is not None and not 0 <= consumed <= self.source.samples:
            raise ValueError(f"consumed={consumed} is not within the {self.source.samples} samples of a pass")
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
        self._slices = slices(start, self._order.n, batches.batch_size, batches._world, share, batches.drop_last)
        self._rank, self._size = batches._world
        self._stream: Stream | None = None
        self._ahead: list[tuple[int, int]] = []
        self._block_start = 0
        self._block = self._order.take(0, 0)

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
        start, stop = self._ahead.pop(0)
        self._fill(self._stream)
        # The global batch that this slice belongs to ends here.
        step = self._batches.batch_size * self._size
        self._pass.position = min(start - self._rank * self._batches.batch_size + step, self._order.n)
        source, made = self._batches.source, self._batches._samples
        if self._as_samples:
            return [made.apply(source.sample_at(raw, i)) for i in range(raw.count)]
        if made.ready:
            batch = source.batch(raw)
        else:
            batch = torch.utils.data.default_collate([made.apply(source.sample_at(raw, i)) for i in range(raw.count)])
        if self._batches._with_index:
            return torch.from_numpy(self._order.take(start, stop).astype("int64")), batch
        return batch

    def _fill(self, stream: Stream) -> None:
        while stream.room:
            bounds = next(self._slices, None)
            if bounds is None:
                return
            stream.ask(self._indices(*bounds))
            self._ahead.append(bounds)

    def _indices(self, start: int, stop: int) -> Any:
        lo, hi = self._block_start, self._block_start + self._block.size
        if not (lo <= start and stop <= hi):
            self._block = self._order.take(start, min(max(stop, start + BLOCK), self._order.n))
            self._block_start = lo = start
        return self._block[start - lo : stop - lo]

    def close(self) -> None:
        """Give the connection back."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __del__(self) -> None:
        self.close()
