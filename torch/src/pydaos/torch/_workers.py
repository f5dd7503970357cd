"""Batches made in torch's worker processes, with workers that die replaced.

The processes, queues and page-locking are those of a stock ``DataLoader`` that
this module drives: it gives it tasks (`Task`: which samples, in which step) and
takes finished batches, in order. When a worker is killed torch's error is
caught, the other workers are ended too (what the dead one held of their queue
is unknown), and a fresh set begins at the oldest task that was not handed out:
every batch once, none left out. A task that kills its workers again and again
is found by running one at a time, and ends with torch's error.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

import torch.utils.data

from pydaos.torch._making import Making, Task
from pydaos.torch._plan import Slice
from pydaos.torch._processes import UNSENT, StockLoader
from pydaos.torch._processes import kill as discard
from pydaos.torch._where import LOST, tell_where

__all__ = ["Crew", "Turn"]

log = logging.getLogger("pydaos.torch")

#: Restarts without a batch between them after which one task runs at a time, and after which it is over.
ALONE_AFTER = 2
LIMIT = 4


def as_is(batch: Any) -> Any:
    """Collate what is collated already."""
    return batch


class _Fetch(torch.utils.data.Dataset[Any]):
    """What a worker runs: a task in, a batch out, errors named."""

    def __init__(self, making: Making, dataset: Any) -> None:
        self._making = making
        self.dataset = dataset  # pickled with it: the worker's copy of both is one

    def __getitems__(self, task: Task) -> Any:
        info = torch.utils.data.get_worker_info()
        worker = (info.id, info.num_workers) if info is not None else (0, 0)
        making = self._making
        try:
            task = making.checked(task)
            raw = making.walk.fetch(task.indices)
            return making.batch(task, raw, making.samples(task, raw, 0, raw.count))
        except Exception as err:
            tell_where(err, making.where(task, worker))
            raise

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("asked by tasks, not by index")


class _Begin:
    """What a worker calls first: ``get_worker_info().dataset`` is the user's from then on, as under a stock loader."""

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self._then = worker_init_fn

    def __call__(self, worker: int) -> None:
        info = torch.utils.data.get_worker_info()
        if info is not None and isinstance(info.dataset, _Fetch) and info.dataset.dataset is not None:
            object.__setattr__(info, "dataset", info.dataset.dataset)  # it refuses to be changed
        if self._then is not None:
            self._then(worker)


@dataclass
class _Tasks:
    """The batch sampler of the stock loader: first what a dead crew left undone, then what comes next.

    torch calls ``iter()`` twice before the first task; both draw from here.
    """

    source: Iterator[Task]
    again: deque[Task] = field(default_factory=deque)
    out: deque[Task] = field(default_factory=deque)

    def __iter__(self) -> Iterator[Task]:
        return _TaskIterator(self)


class _TaskIterator:
    def __init__(self, tasks: _Tasks) -> None:
        self._tasks = tasks

    def __iter__(self) -> _TaskIterator:
        return self

    def __next__(self) -> Task:
        tasks = self._tasks
        task = tasks.again.popleft() if tasks.again else next(tasks.source)
        tasks.out.append(task)
        return task


class Crew:
    """The worker processes of one loader.

    Parameters
    ----------
    making : Making
        What they make of a task.
    options : dict
        Arguments of the stock ``DataLoader``: num_workers, prefetch_factor,
        persistent_workers, multiprocessing_context, ...
    restarted : callable
        Called once for each restart.
    dataset : optional
        The user's, for code in workers that asks for it.
    """

    def __init__(
        self, making: Making, options: dict[str, Any], restarted: Callable[[], None], dataset: Any = None
    ) -> None:
        self._making = making
        self._dataset = dataset
        self._options = options
        self._restarted = restarted
        self._tasks = _Tasks(iter(()))
        self._loader: StockLoader | None = None
        self._iterator: Any = None
        self._fails = 0
        self._alone = 0
        self._stopped = False
        self.turn = 0  # passes begun

    def begin(self, source: Iterator[Task], seed: int | None) -> Turn:
        """Begin with the tasks of a pass; workers that persist are used again, and their pass before is over.

        Parameters
        ----------
        seed : int, optional
            What torch seeds the workers by, so that it draws nothing from the
            generator of this process; None leaves that as torch does it.
        """
        self.turn += 1
        self._fails = self._alone = 0
        self._stopped = False
        self._tasks.source = source
        self._tasks.again.clear()
        self._tasks.out.clear()
        if seed is not None:
            self._options["generator"] = self._options["generator"] or torch.Generator()
            self._options["generator"].manual_seed(seed)
        try:
            if not self._options.get("persistent_workers"):
                self._loader = self._make(self._options)
                self._iterator = iter(self._loader)
            elif not self._enter_again():
                log.warning("persistent workers ended between two passes; others are started")  # they had no batch
                self._end(kill=True)
                self._restarted()
                self._resume(self._options)
        except BaseException:
            self._end(kill=True)  # half begun: what persistent workers will answer next is unknown
            raise
        return Turn(self)

    def _enter_again(self) -> bool:
        """Begin a pass with the workers of the one before; False if some of them have died."""
        if self._dead():
            return False
        if self._loader is None:
            self._loader = self._make(self._options)
        try:
            self._iterator = iter(self._loader)
        except (RuntimeError, OSError, EOFError) as err:
            # They answer that they are ready; one that is killed just now does not.
            self._iterator = self._loader._iterator
            if not is_death(err) and not self._some_died():
                raise
            return False
        return True

    def next(self) -> tuple[Slice, Any]:
        """Return the next batch and its place; StopIteration after the last one."""
        while True:
            if self._stopped:
                self._stopped = False
                self._resume(self._options)
            if self._iterator is None:
                raise RuntimeError("this iterator is closed; call iter() on the loader again")
            if self._alone and self._fails == 0:
                self._alone -= 1
                if not self._alone:
                    self._end(kill=True)
                    self._resume(self._options)
            at = self._iterator._rcvd_idx
            try:
                batch = self._wait()
            except StopIteration:
                self._iterator = None if not self._options.get("persistent_workers") else self._iterator
                raise
            except Exception as err:
                if is_death(err) or (isinstance(err, (OSError, EOFError)) and self._some_died()):
                    self._start_again(err)
                    continue
                where = self._making.where(self._tasks.out[0])
                if is_timeout(err):
                    raise RuntimeError(f"{err}: {where}") from err
                unread = self._iterator._rcvd_idx == at
                if unread and not self._alone:
                    # A message that could not be unpickled, of whichever batch: one at a time tells.
                    self._end(kill=True)
                    self._restarted()
                    log.warning("a batch could not be received: %r; started again at %s, one at a time", err, where)
                    self._stopped = True  # should the start fail, the next call tries again
                    self._resume_alone()
                    self._stopped = False
                    continue
                if unread:
                    self._end(kill=True)
                    self._stopped, self._alone = True, 0
                    self._tasks.out.popleft()
                    tell_where(err, where)
                elif isinstance(err, LOST):
                    # The server's, not the batch's: who goes on gets the same one, from fresh workers.
                    self._end(kill=False)
                    self._stopped = True
                else:
                    self._tasks.out.popleft()
                    if UNSENT in str(err):  # others were told where when they were raised
                        tell_where(err, where)
                raise
            except BaseException:
                self._end(kill=True)  # Ctrl-C, perhaps in the middle of a message
                raise
            self._fails = 0
            return self._tasks.out.popleft().part, batch

    def close(self) -> None:
        """End the processes, persistent ones too."""
        self._stopped = False
        self._end(kill=False)

    def leave(self) -> None:
        """End a pass early: only persistent workers stay."""
        if not self._options.get("persistent_workers"):
            self.close()

    # -- starting, waiting ---------------------------------------------------------

    def _make(self, options: dict[str, Any]) -> StockLoader:
        return StockLoader(
            _Fetch(self._making, self._dataset),
            batch_sampler=self._tasks,  # type: ignore[arg-type]
            collate_fn=as_is,
            **{**options, "worker_init_fn": _Begin(options.get("worker_init_fn"))},
        )

    def _wait(self) -> Any:
        iterator = self._iterator
        began = time.monotonic()
        limit = iterator._timeout
        while True:
            dead = self._dead()
            if dead:
                raise RuntimeError(f"DataLoader worker (pid(s) {', '.join(map(str, dead))}) exited unexpectedly")
            if not isinstance(iterator._data_queue, queue.Queue):
                break  # an Inbox, which looks at the workers while it waits
            # With page-locking a thread receives, and its queue can only be asked.
            due = iterator._task_info.get(iterator._rcvd_idx, ())
            if len(due) != 1 or not iterator._data_queue.empty():
                break  # it is here, or there is no more
            connection.wait([w.sentinel for w in iterator._workers], 0.002)
            if limit and time.monotonic() - began > limit:
                raise RuntimeError(f"DataLoader timed out after {limit} seconds")
        return next(iterator)

    # -- when one dies ----------------------------------------------------------------

    def _dead(self) -> list[int]:
        if getattr(self._iterator, "_shutdown", True):
            return []
        return [w.pid for w in getattr(self._iterator, "_workers", ()) if not w.is_alive()]

    def _some_died(self) -> bool:
        # A batch's memory is fetched from the worker that made it; one killed just then
        # shows as a refused connection a little before it shows as a dead process.
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            if self._dead():
                return True
            time.sleep(0.02)
        return False

    def _start_again(self, err: BaseException) -> None:
        """Replace all workers and go on at the oldest task that was not handed out, or give up."""
        how = _how_they_ended(self._iterator) or str(err)
        self._end(kill=True)
        self._fails += 1
        due = self._tasks.out[0] if self._tasks.out else None
        if self._fails >= LIMIT and due is not None:
            where = self._making.where(due)
            shown = ", ".join(str(int(i)) for i in list(due.indices)[:8])
            more = ", ..." if len(due.indices) > 8 else ""
            raise RuntimeError(
                f"{err}; {self._fails} times in a row, the last ones alone, at {where} (samples {shown}{more}): {how}. "
                "The transform kills its process there, or memory or /dev/shm runs out; "
                "state_dict() has the position of the last batch that was returned"
            ) from err
        self._restarted()
        at = f" at {self._making.where(due)}" if due is not None else ""
        # Not the error itself: a handler that keeps records would keep the crew by its traceback.
        log.warning("%s: %s; started again%s, attempt %d of %d", str(err), how, at, self._fails, LIMIT - 1)
        if self._fails >= ALONE_AFTER:
            self._resume_alone()
        else:
            self._resume(self._options)

    def _resume_alone(self) -> None:
        """Go on with one process and one task: what fails now is the task that is due, not one after it."""
        workers = int(self._options["num_workers"]) * int(self._options.get("prefetch_factor") or 2)
        self._alone = workers + 1
        self._resume({**self._options, "num_workers": 1, "prefetch_factor": 1, "persistent_workers": False})

    def _resume(self, options: dict[str, Any]) -> None:
        tasks = self._tasks
        tasks.again.extendleft(reversed(tasks.out))
        tasks.out.clear()
        self._loader = self._make(options)
        self._iterator = iter(self._loader)

    def _end(self, *, kill: bool) -> None:
        """End this crew. Of one with a dead worker nothing is waited for: the dead may hold its locks."""
        iterator, self._iterator = self._iterator, None
        loader, self._loader = self._loader, None
        if loader is not None:
            loader._iterator = None
        if iterator is None or getattr(iterator, "_shutdown", True):
            return
        if not kill:
            iterator._shutdown_workers()
            return
        discard(iterator)


class Turn:
    """One pass of a crew, until the next one begins: with workers that persist there is one at a time."""

    retries = 0  # the workers' waits are not known here

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._number = crew.turn

    def next(self) -> tuple[Slice, Any]:
        """Return the next batch and its place; StopIteration after the last one."""
        if self._crew.turn != self._number:
            raise RuntimeError(
                "another iter() over this loader has begun, and persistent workers walk one pass at a time: this "
                "iterator is over; use a second loader, or persistent_workers=False, for two passes at once"
            )
        return self._crew.next()

    def leave(self) -> None:
        """End the pass early: only persistent workers stay."""
        if self._crew.turn == self._number:
            self._crew.leave()


def is_death(err: BaseException) -> bool:
    """Whether this is torch's error for a worker process that is gone."""
    return isinstance(err, RuntimeError) and str(err).startswith("DataLoader worker (pid")


def is_timeout(err: BaseException) -> bool:
    """Whether this is torch's error for ``timeout=``."""
    return isinstance(err, RuntimeError) and str(err).startswith("DataLoader timed out")


def _how_they_ended(iterator: Any) -> str:
    said = []
    for i, w in enumerate(getattr(iterator, "_workers", ())):
        code = w.exitcode
        if code is not None and code != 0:
            said.append(f"worker {i} was killed by signal {-code}" if code < 0 else f"worker {i} exited with {code}")
    return ", ".join(said)
