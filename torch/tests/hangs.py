"""Tells a hang of torch's own from one of ours, and ends both.

A stock DataLoader shares an Event and queues with its workers, whose locks a worker
that is killed may hold for ever: the main process then waits for them in
``is_set()``, ``set()`` or in the middle of a message, whatever the dataset. `Watch`
interrupts the main thread now and then, to look where it is. One that stands still there, called
by torch, with no frame of ours on the stack and after a worker was killed, is
torch's: it is noted in ``found`` and ended by `TorchHung`. Anything else that takes
too long is ended by `Hung`, which fails a test. The stack is in both.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Hung", "TorchHung", "Watch", "torchs_own"]

#: How often one and the same call is seen before the thread in it stands still.
LOOKS = 20

_TORCH = ("torch.utils.data", "torchdata")
_WAITS = ("multiprocessing", "threading", "queue", "selectors")


class TorchHung(BaseException):
    """The main thread stood still in a lock that torch's DataLoader shares with a dead worker."""


class Hung(BaseException):
    """The main thread stood still, or took too long, and it was not torch's."""


def _of(module: str, packages: Sequence[str]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def torchs_own(modules: Sequence[str]) -> bool:
    """Whether a stack, given as its modules from the innermost frame on, waits in torch's locks.

    It stands in multiprocessing, that was called by torch's loader, and nothing of
    ours is anywhere in it: neither waiting nor driving torch.
    """
    if any(_of(m, ["pydaos"]) for m in modules):
        return False
    inner = 0
    while inner < len(modules) and _of(modules[inner], _WAITS):
        inner += 1
    return any(_of(m, ["multiprocessing"]) for m in modules[:inner]) and _of(next(iter(modules[inner:]), ""), _TORCH)


def _modules(frame: FrameType | None) -> list[str]:
    out = []
    while frame is not None:
        out.append(str(frame.f_globals.get("__name__", "")))
        frame = frame.f_back
    return out


class Watch:
    """Watches the main thread, which enters and leaves it.

    Parameters
    ----------
    patience : float
        Seconds in one and the same call after which it stands still. torch itself looks
        around every five seconds, so that more than that is a wait without end.
    limit : float
        Seconds that the whole may take.

    Attributes
    ----------
    killed : bool
        To be set when a worker of torch's was killed: before, no hang is torch's.
    found : list of str
        Stacks of hangs of torch's own, also of those in a finalizer, which end nothing.
    """

    def __init__(self, patience: float = 20.0, limit: float = 400.0) -> None:
        self.killed = False
        self.found: list[str] = []
        self._patience = patience
        self._limit = limit
        self._over = threading.Event()
        # Counted, not timed: a process that was stopped as a whole has not stood still.
        self._looks = self._same = 0
        self._before: FrameType | None = None  # kept, so that no other frame has its identity
        self._at = -1
        self._thread = threading.Thread(target=self._interrupt, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._main = threading.get_ident()
        # In the main thread: another one that has its frames may be the last to hold what they held,
        # and hang in the finalizer.
        self._handler = signal.signal(signal.SIGUSR1, self._look)
        # Raised in a finalizer it is said nowhere but in `found`.
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._swallow
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._before = None  # as long as somebody watches: it may be the last that holds an iterator
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._handler)
        sys.unraisablehook = self._unraisable

    def _swallow(self, raised: Any) -> None:
        if not isinstance(raised.exc_value, TorchHung):
            self._unraisable(raised)

    def _interrupt(self) -> None:
        while not self._over.wait(self._patience / LOOKS):
            signal.pthread_kill(self._main, signal.SIGUSR1)

    def _look(self, number: int, frame: FrameType | None) -> None:
        # A semaphore's wait comes back for a signal, and raises what its handler does.
        if self._over.is_set():
            return
        self._looks += 1
        self._same += 1
        if frame is None or frame is not self._before or frame.f_lasti != self._at:
            self._before, self._at, self._same = frame, frame.f_lasti if frame is not None else -1, 0
        if self._same >= LOOKS and self.killed and torchs_own(_modules(frame)):
            self._before = None
            self.found.append(_text(frame))
            raise TorchHung(self.found[-1])
        if self._looks * self._patience / LOOKS >= self._limit:
            self._before, self._looks = None, 0
            raise Hung(f"{self._limit:.0f} seconds, and not torch's own:\n{_text(frame)}")


def _text(frame: FrameType | None) -> str:
    return "".join(traceback.format_stack(frame)[-12:])
