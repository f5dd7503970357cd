"""Torch's worker processes, started and ended whole: an interrupt leaves none behind.

`StockLoader` is the stock ``DataLoader`` that `_workers.Crew` drives. Its
iterator is torch's own but for four things: what is started of it is ended
where starting fails or is interrupted, dead workers are found by who waits for
a batch and not by a signal handler in the middle of a training step, nothing
waits for a dead one: neither for the rest of what it was sending (`Inbox`) nor
for a lock that it held (`_Done`), and a batch that can't be sent is an error
(`_Results`), where torch waits for it for ever.
"""

from __future__ import annotations

import multiprocessing.queues
import os
import signal
import threading
import time
import traceback
from typing import Any

import torch.utils.data
from torch._utils import ExceptionWrapper

from pydaos.torch._inbox import Inbox

__all__ = ["UNSENT", "StockLoader", "kill"]

#: What the error of a batch says that was made and can't be sent.
UNSENT = "on the way from a worker process, which must pickle what transform_fn and collate_fn return"

#: torch's table of worker processes whose death is an error at once.
_watch: Any = torch.utils.data._utils.signal_handling

#: How long killed workers are waited for, all together.
_END_SECONDS = 60.0

_Stock: Any = torch.utils.data.dataloader._MultiProcessingDataLoaderIter


class StockLoader(torch.utils.data.DataLoader[Any]):
    """A stock loader with worker processes."""

    def _get_iterator(self) -> Any:
        self.check_worker_number_rationality()
        return _Iterator(self)


class _Iterator(_Stock):  # type: ignore[misc]
    def __init__(self, loader: StockLoader) -> None:
        self._held = _HeldBack()
        try:
            self._held.begin()
            super().__init__(loader)
        except BaseException:
            self._held.end(quiet=True)
            kill(self)
            raise

    @property
    def _worker_result_queue(self) -> Any:
        return self._results

    @_worker_result_queue.setter
    def _worker_result_queue(self, queue: Any) -> None:
        if type(queue) is multiprocessing.queues.Queue:
            queue.__class__ = _Results  # before it goes to the workers
        if self._pin_memory:
            # A thread will receive, and look again some seconds later; who waits for it looks at the workers.
            queue.get = Inbox(queue).get
        self._results = queue

    @property
    def _workers_done_event(self) -> Any:
        return self._done

    @_workers_done_event.setter
    def _workers_done_event(self, event: Any) -> None:
        self._done = _Done()  # of an Event a worker that is killed may hold the lock

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        if first_iter:
            _unwatch(self)
            if not self._pin_memory:
                self._data_queue = Inbox(self._worker_result_queue, [w.sentinel for w in self._workers])
            # From here on an exception finds all of them.
            self._held.end()
        super()._reset(loader, first_iter)


class _Results(multiprocessing.queues.Queue):  # type: ignore[type-arg]
    """What workers send batches by.

    A thread of the queue pickles them. What it fails in is printed and forgotten by
    ``multiprocessing``; here it goes in the place of the batch.
    """

    def _on_queue_feeder_error(self, err: Exception, message: Any) -> None:
        pickled = any(frame.name == "dumps" for frame in traceback.extract_tb(err.__traceback__))
        if not pickled or not isinstance(message, tuple):
            # Half a message may be under way, or the receiver is gone.
            traceback.print_exception(err)
            return
        instead = ExceptionWrapper((type(err), err, err.__traceback__), UNSENT)  # type: ignore[no-untyped-call]
        if isinstance(message[1], ExceptionWrapper):
            # An error whose class can't be sent, one of a function's own say: its text can.
            instead.exc_type, instead.exc_msg, instead.where = RuntimeError, message[1].exc_msg, message[1].where
        self.put((message[0], instead))


class _Done:
    """Whether the workers are to end: a byte that they share with the process that says so, without a lock."""

    def __init__(self) -> None:
        self._byte = torch.zeros(1, dtype=torch.uint8)
        self._byte.share_memory_()  # type: ignore[no-untyped-call]

    def set(self) -> None:
        self._byte[0] = 1

    def is_set(self) -> bool:
        return bool(self._byte[0])


class _HeldBack:
    """Ctrl-C, held back: a worker that is being started is in no list yet that it could be ended by."""

    def __init__(self) -> None:
        self._before: Any = None
        self._came: tuple[Any, Any] | None = None
        self._pid = os.getpid()

    def begin(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() == self._pid:
            self._came = (number, frame)
        else:
            self._before(number, frame)  # a worker that has inherited this

    def end(self, *, quiet: bool = False) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        signal.signal(signal.SIGINT, before)
        if self._came is not None and not quiet:
            before(*self._came)


def _unwatch(iterator: Any) -> None:
    """Take workers out of torch's table.

    It would raise a dead worker's error from a signal handler, wherever the main
    thread happens to be: in the middle of a training step, or of a lock.
    """
    if getattr(iterator, "_worker_pids_set", False):
        _watch._remove_worker_pids(id(iterator))
        iterator._worker_pids_set = False


def kill(iterator: Any) -> None:
    """End the workers of an iterator, a half made one too, and wait for nothing that a dead one may hold."""
    iterator._shutdown = True  # its own shutdown would talk to the dead
    workers = list(getattr(iterator, "_workers", ()))
    for w in workers:
        w.kill()
    _unwatch(iterator)
    # Nothing refuses this signal; on a machine that is busy an end takes its time, and who is not waited for stays.
    deadline = time.monotonic() + _END_SECONDS
    for w in workers:
        w.join(max(0.0, deadline - time.monotonic()))
    event = getattr(iterator, "_pin_memory_thread_done_event", None)
    if event is not None:
        event.set()
    results = getattr(iterator, "_worker_result_queue", None)
    for q in [*getattr(iterator, "_index_queues", ()), results]:
        if q is not None:
            q.cancel_join_thread()
            q.close()
    if results is not None:
        results._writer.close()  # the last one: who still waits for a message finds the end of file
