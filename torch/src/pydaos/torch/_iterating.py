"""One iteration over our `DataLoader`: hands on what is made, counts it, and ends what it has running.

Beyond that it does what Hugging Face accelerate's own wrapper does to a loader
besides sharding, for one that accelerate has prepared.
"""

from __future__ import annotations

import functools
import os
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from pydaos.torch._book import Ours
from pydaos.torch._metrics import Counters, attach, nbytes
from pydaos.torch._progress import make_progress, rate

if TYPE_CHECKING:
    from pydaos.torch._drawn import Drawn
    from pydaos.torch._here import Here
    from pydaos.torch._loader import DataLoader
    from pydaos.torch._workers import Turn

__all__ = ["PassIterator"]


class PassIterator:
    """One iteration over a `DataLoader`."""

    def __init__(self, loader: DataLoader) -> None:
        self._feed: Here | Turn | Drawn | None = None
        self._bar: Any = None
        self._pid = os.getpid()
        self._loader = loader
        self._run = loader._book.begin()
        self._counters = loader._counters
        self._feed = loader._run(self._run)
        try:
            self._begin(self._feed)
        except BaseException:
            self._feed.leave()  # a traceback would keep it
            raise

    def _begin(self, feed: Here | Turn | Drawn) -> None:
        loader = self._loader
        # Not __del__: in a cycle of somebody else's the sockets might be finalized first.
        self._cleanup: list[Callable[[], None]] = [functools.partial(_leave, feed, self._counters)]
        self._finalize = weakref.finalize(self, _clean_up, self._pid, self._cleanup)
        self._last: float | None = None
        self._began = 0.0
        self._samples, self._waited = 0, 0.0
        making = loader._making
        if self._counters.total is None:
            what = making.walk.snapshot if making is not None else type(loader.dataset).__name__
            attach(self._counters, snapshot=what, rank=making.world.rank if making is not None else 0)
        if loader.progress and self._run.total is not None:
            self._bar = make_progress(loader.progress, f"pass {self._run.number}", self._run.total)
            if self._bar is not None:
                self._cleanup.append(self._bar.close)
        self._device: Any = None
        if loader._accelerate:
            self._begin_accelerate()

    def __iter__(self) -> PassIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        feed = self._feed
        if feed is None:
            raise StopIteration
        if self._pid != os.getpid():
            raise RuntimeError(
                "this iterator belongs to the process that this one was forked from; call iter() on the loader here"
            )
        began = time.perf_counter()
        try:
            part, batch = feed.next()
        except StopIteration:
            self._end()
            raise
        except Exception:
            raise  # of one batch: the loop may go on with the next one
        except BaseException:
            # Ctrl-C: the traceback keeps this frame alive, but neither threads nor processes.
            self.close()
            raise
        now = time.perf_counter()
        self._run.returned(part)
        last = self._last
        if last is None:
            self._began = last = began
        self._last = now
        count, waited = part.samples, now - began
        self._counters.batch(count, nbytes(batch), waited, now - last)
        if self._bar is not None:
            self._samples += count
            self._waited += waited
            self._bar.update(rate(self._samples, now - self._began, self._waited))
        if self._loader._accelerate:
            batch = self._place(batch)
        return batch

    def _end(self) -> None:
        self._loader._book.end(self._run)
        self.close()

    def close(self) -> None:
        """End threads and processes of this iteration; persistent workers stay."""
        self._feed = None
        self._finalize()

    def __getstate__(self) -> NoReturn:
        raise NotImplementedError("an iterator can't be pickled; pickle the loader and its state_dict()")

    # -- what accelerate's wrapper does beyond sharding -----------------------------------

    def _begin_accelerate(self) -> None:
        from accelerate.state import PartialState

        loader, book = self._loader, self._loader._book
        loader.end_of_dataloader, loader.remainder = False, -1
        if isinstance(book, Ours):
            tail = (book.pass_.samples - self._run.position) % loader.total_batch_size
            loader.remainder = 0 if book.walk.drop_last or book.walk.uneven == "drop" else tail
        self._device = PartialState().device
        _gradient_state()._add_dataloader(loader)
        self._cleanup.append(functools.partial(_forget, loader))

    def _place(self, batch: Any) -> Any:
        from accelerate.utils import send_to_device

        self._loader.end_of_dataloader = self._run.complete
        return send_to_device(batch, self._device) if self._device is not None else batch


def _clean_up(pid: int, what: list[Callable[[], None]]) -> None:
    """End what an iteration has running, in the process that it runs in."""
    if pid == os.getpid():
        for end in what:
            end()


def _leave(feed: Here | Turn | Drawn, counters: Counters) -> None:
    counters.retried(feed.retries)
    feed.leave()


def _forget(loader: DataLoader) -> None:
    _gradient_state()._remove_dataloader(loader)


def _gradient_state() -> Any:
    from accelerate.state import GradientState

    return GradientState()
