"""Ready batches: one request each, the next ones asked for ahead, one order for any number of workers."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

import torch.utils.data

from pydaos.torch._arguments import whole
from pydaos.torch._guard import guarded, stands_in_collation
from pydaos.torch._plan import (
    Maker,
    Pass,
    Slice,
    StreamLike,
    Taker,
    Walkable,
    batches_of,
    slices,
    uneven_rule,
    warn_of_none,
)
from pydaos.torch._shared import Shared
from pydaos.torch._specs import OrderSpec
from pydaos.torch._where import LOST, tell_where, words
from pydaos.torch._world import World, WorldArg, check_pins, check_reader, divides, refresh, resolve, undivided

__all__ = ["NEEDLESS_WORKERS", "BatchIterator", "Batches"]

NEEDLESS_WORKERS = (
    "num_workers={} over a dataset without a Python transform: a batch's way from a worker costs more than reading it; "
    "use num_workers=0, batches are read ahead without workers"
)


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
    """

    def __init__(
        self,
        source: Walkable,
        samples: Maker,
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
    ) -> None:
        batch_size = whole("batch_size", batch_size, 1, "a batch has at least one sample")
        prefetch = whole("prefetch", prefetch, 1, "requests in flight ahead of the loop")
        uneven_rule(uneven, 1)
        self.source = source
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._repeated = 0
        self._samples = samples
        self._world = resolve(world)
        check_pins(source, self._world)
        # How many batches accelerate takes in a row, where it is accelerate that divides.
        self._divided = 0
        self._uneven = uneven
        self._prefetch = prefetch
        self._with_index = with_index
        self._pass = Pass(source, order=order, shuffle=shuffle, seed=seed)
        self._shared = Shared()

    @property
    def world(self) -> World:
        """Which rank of how many is read for."""
        return self._world

    @property
    def uneven(self) -> str:
        """What becomes of a tail that does not fill all ranks."""
        return uneven_rule(self._uneven, self._world.size)

    def __len__(self) -> int:
        return batches_of(
            self._pass.samples, self.batch_size, self._world, drop_last=self.drop_last, uneven=self.uneven
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; the loaded one keeps the loaded position, another starts at 0."""
        self._set_epoch(epoch)

    def _set_epoch(self, epoch: int) -> None:
        # One function further down than set_epoch: `divides` looks at who called that.
        self._divided = divides()
        if self._divided:
            self._world = undivided(self._world)
        self._pass.set(epoch)
        self._shared.tell(self._pass)

    @property
    def epoch(self) -> int:
        """The pass that the next iteration walks."""
        return self._pass.number

    @property
    def repeated(self) -> int:
        """How many samples at the end of the batch given out last repeat others (``uneven="pad"``).

        RuntimeError where workers walk this pass: only they know which batch they made.
        """
        if self._shared.workers_began:
            raise RuntimeError(
                "the batches of this pass come from worker processes, which alone know how many samples of each are "
                "repeats; use pydaos.torch.DataLoader, whose `repeated` is of the batch that the loop got last"
            )
        return self._repeated

    def __getstate__(self) -> dict[str, Any]:
        if torch.utils.data.get_worker_info() is None and not self._divided:
            # On its way to a spawned worker, which has no process group to ask.
            self._world = refresh(self._world)
        return self.__dict__.copy()

    def __iter__(self) -> Iterator[Any]:
        return BatchIterator(self, guard=stands_in_collation())

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Return the resume token.

        Parameters
        ----------
        consumed : int, optional
            Samples of the global order consumed in this pass. Needed with
            workers, which read ahead in other processes.

        Raises
        ------
        ValueError
            Workers walk this pass, and ``consumed`` was not given.
        """
        if consumed is None and self._shared.workers_began:
            raise ValueError(
                "the batches of this pass come from worker processes, which are ahead of the loop: say how many "
                "samples of the global order it has consumed, state_dict(consumed=n), or use pydaos.torch.DataLoader"
            )
        return self._pass.token(consumed).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token at the next ``iter()``."""
        self._pass.load(state)
        if torch.utils.data.get_worker_info() is None:
            self._shared.tell(self._pass, loaded=True)


class BatchIterator:
    """Walks one worker's share of a pass, with requests in flight ahead of the loop.

    Parameters
    ----------
    batches : Batches
        What is walked; its pass is begun.
    samples : bool
        Give lists of samples, not batches.
    guard : bool
        Give types whose collation raises.
    """

    def __init__(self, batches: Batches, *, samples: bool = False, guard: bool = False) -> None:
        self._stream: StreamLike | None = None
        self._batches = batches
        self._as_samples = samples
        self._guard = guard
        self._pass = batches._pass
        info = torch.utils.data.get_worker_info()
        again = False
        if info is not None:
            self._share = info.id, info.num_workers
            again = batches._shared.begin_in_worker(info, self._pass)
            if batches._world.origin == "default":
                # Nobody had spoken of ranks; the process group that a forked worker inherits may be younger.
                batches._world = refresh(batches._world)
            check_reader(batches.source)
            if batches._samples.ready and info.id == 0 and batches._shared.warn_once():
                warnings.warn(NEEDLESS_WORKERS.format(info.num_workers), stacklevel=3)
        else:
            self._share = 0, 1
            batches._shared.begin_here(self._pass)
            if not batches._divided:
                batches._world = refresh(batches._world)
            check_pins(batches.source, batches._world)
        self._in_a_row = max(1, batches._divided) if samples else 1
        if info is None:
            batches._divided = 0  # said before each pass
        self._workers = (info.id, info.num_workers) if info is not None else (0, 0)
        self._begin(again)

    def _begin(self, again: bool = False, given: int = 0) -> None:
        batches = self._batches
        self._start = self._pass.begin(again=again)
        self._width = batches.batch_size * self._in_a_row
        self._given = given
        #: The slice given last.
        self.part: Slice | None = None
        self._order = self._pass.order()
        rules: Any = {"drop_last": batches.drop_last, "uneven": batches.uneven}
        if not self._share[0]:
            warn_of_none(self._order.n, self._width, batches._world, **rules)
        walk = slices(
            self._start,
            self._order.n,
            self._width,
            batches._world,
            self._share,
            **rules,
        )
        self._slices: Iterator[Slice] = islice(walk, given, None)
        worker, workers = self._share
        if given:
            self._pass.position = min(self.begin_of(worker + (given - 1) * workers + 1), self._order.n)
        self._taker = Taker(self._order)
        self._key = (self._pass.seed, self._pass.number)
        self._ahead: deque[tuple[Slice, Any]] = deque()

    def begin_of(self, step: int) -> int:
        """Return the position at which a global batch begins."""
        return self._start + step * self._width * self._batches.world.size

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> Any:
        part: Slice | None = None
        try:
            if self._stream is None:
                self._stream = self._batches.source.stream(self._batches._prefetch)
            self._fill(self._stream)
            if not self._ahead:
                self.close()
                self._pass.position = self._order.n
                raise StopIteration
            part, indices = self._ahead[0]
            raw = self._stream.take()
            self._ahead.popleft()
            self._fill(self._stream)
            batch = self._made(raw, indices)
        except StopIteration:
            raise
        except Exception as err:
            self._ask_again(part, err)
            tell_where(err, self._where(part))
            raise
        # By its number: a batch that raised, and that the loop went on after, counts too.
        self._given = (part.step - self._share[0]) // self._share[1] + 1
        self.part = part
        if not self._as_samples:
            self._pass.position = part.end
        self._batches._repeated = part.again
        return batch

    def _ask_again(self, failed: Slice | None, err: Exception) -> None:
        """Let go of the connection; what was asked ahead is asked for again if the loop goes on.

        The batch that failed is not, unless the server was lost.
        """
        ahead = [part for part, _ in self._ahead]
        if ahead and ahead[0] is failed and not isinstance(err, LOST):
            ahead = ahead[1:]
        self._slices = chain(ahead, self._slices)
        self._ahead.clear()
        self.close()

    def count(self, taken: int, of: int) -> None:
        """Count samples of the last slice that were given out one by one."""
        if self.part is None:
            return
        if taken >= of:
            self._pass.position = self.part.end
        elif self._batches.world.size == 1 and self._share[1] == 1:
            self._pass.position = self.part.start + taken

    def _made(self, raw: Any, indices: Any) -> Any:
        made = self._batches._samples
        if self._as_samples:
            return made.each(raw, indices, self._key)
        if made.ready:
            batch = self._batches.source.batch(raw)
        else:
            batch = torch.utils.data.default_collate(made.each(raw, indices, self._key))
        if self._batches._with_index:
            batch = torch.from_numpy(indices.astype("int64")), batch
        return guarded(batch) if self._guard else batch

    def _where(self, part: Slice | None) -> str:
        batches = self._batches
        return words(
            batches.source.snapshot,
            world=batches._world[:2],
            worker=self._workers,
            batch=part.step if part is not None else self._share[0] + self._given * self._share[1],
            pass_=self._key[1],
        )

    def _fill(self, stream: StreamLike) -> None:
        while stream.room:
            part = next(self._slices, None)
            if part is None:
                return
            indices = self._taker.take(part)
            stream.ask(indices)
            self._ahead.append((part, indices))

    def state_dict(self) -> dict[str, Any]:
        """Return where this worker is: the token it began with and the batches it gave (torchdata's Stateful).

        Flat, as torchdata wants it. ``width`` is the samples of a global batch, ``of``
        those of the pass, ``ranks`` how many share it: for `pydaos.torch.position`.
        """
        token = self._pass.token_of(self._key[1], self._start).to_dict()
        width, ranks = self.begin_of(1) - self._start, self._batches.world.size
        return {**token, "given": self._given, "width": width, "of": self._order.n, "ranks": ranks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, in a worker of the same number among as many."""
        given, token = split_state(state)
        width = self.begin_of(1) - self._start
        if state.get("width", width) != width:
            raise ValueError(
                f"the state counts global batches of {state['width']} samples and these have {width}; "
                "pydaos.torch.position(state) makes a token of it that any batch size goes on from"
            )
        self.close()
        self._pass.load(token)
        self._begin(given=given)

    def close(self) -> None:
        """Give the connection back."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __del__(self) -> None:
        try:
            self.close()
        except (AttributeError, TypeError):
            pass  # half made, or the interpreter is going down


def split_state(state: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return (batches given, token) of an iterator's state; ValueError if it is none."""
    token = {k: v for k, v in state.items() if k not in ("width", "of", "ranks")}
    given = token.pop("given", None)
    if not isinstance(given, int) or given < 0:
        raise ValueError("this is no state of an iterator of pydaos.torch: it does not say how many batches it gave")
    return given, token
