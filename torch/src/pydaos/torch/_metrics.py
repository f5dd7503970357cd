"""What a loader counts, and how OpenTelemetry sees it.

A `Counters` is one loader's; `snapshot()` is what ``loader.stats()`` returns.
Where the OpenTelemetry API is installed the same counts are instruments of the
meter ``pydaos.torch``, summed by data set and rank over the loaders of this
process. They are observed when a reader collects, so that a batch costs the
same with and without. docs/python.md lists the names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Counters", "attach", "nbytes"]

#: Instrument -> (field, unit, what it counts).
INSTRUMENTS = {
    "pydaos.torch.samples": ("samples", "{sample}", "Samples that loaders returned"),
    "pydaos.torch.batches": ("batches", "{batch}", "Batches that loaders returned"),
    "pydaos.torch.bytes": ("bytes", "By", "Bytes of the batches that loaders returned"),
    "pydaos.torch.wait": ("waited", "s", "Time that loops waited for a batch"),
    "pydaos.torch.active": ("active", "s", "Time from the begin of a loop to its last batch"),
    "pydaos.torch.restarts": ("restarts", "{restart}", "Worker processes that died and were started again"),
    "pydaos.torch.retries": ("retries", "{retry}", "Times that a lost server was waited for"),
}


class _Sums:
    """Counts of all loaders that have the same attributes."""

    def __init__(self) -> None:
        self.samples = self.batches = self.bytes = self.restarts = self.retries = 0
        self.waited = self.active = 0.0


class Counters(_Sums):
    """What one loader has counted since it was made.

    Attributes
    ----------
    samples, batches, bytes : int
        What next() has returned.
    waited, active : float
        Seconds spent in next(), and from the first next() of each pass to the
        return of the last.
    restarts : int
        How often dead worker processes were replaced.
    retries : int
        How often this process waited for a lost server (not the workers).
    """

    def __init__(self) -> None:
        super().__init__()
        self.total: _Sums | None = None

    def batch(self, samples: int, size: int, waited: float, active: float) -> None:
        """Count a batch: its samples and bytes, the seconds waited for it and since the one before."""
        self.samples += samples
        self.batches += 1
        self.bytes += size
        self.waited += waited
        self.active += active
        total = self.total
        if total is not None:
            total.samples += samples
            total.batches += 1
            total.bytes += size
            total.waited += waited
            total.active += active

    def restarted(self) -> None:
        """Count a restart."""
        self.restarts += 1
        if self.total is not None:
            self.total.restarts += 1

    def retried(self, times: int) -> None:
        """Count waits for a lost server."""
        self.retries += times
        if self.total is not None:
            self.total.retries += times

    def snapshot(self) -> dict[str, float]:
        """Return everything, with rates."""
        active = self.active or float("inf")
        return {
            "samples": self.samples,
            "batches": self.batches,
            "bytes": self.bytes,
            "seconds": self.active,
            "samples_per_second": self.samples / active,
            "bytes_per_second": self.bytes / active,
            "waited": self.waited,
            "wait_share": min(1.0, self.waited / active),
            "restarts": self.restarts,
            "retries": self.retries,
        }


def nbytes(batch: Any) -> int:
    """Return the bytes of the tensors, strings and arrays of a batch."""
    size = getattr(batch, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(batch, (bytes, bytearray, str)):
        return len(batch)
    if isinstance(batch, dict):
        return sum(map(nbytes, batch.values()))
    if isinstance(batch, (list, tuple)):
        return sum(map(nbytes, batch))
    parts = [getattr(batch, name, None) for name in ("values", "offsets")]  # Ragged
    return sum(nbytes(p) for p in parts if p is not None and not callable(p))


# -- OpenTelemetry --------------------------------------------------------------

Key = tuple[tuple[str, str], ...]

_lock = threading.Lock()
_sums: dict[Key, _Sums] = {}
_instruments: list[Any] = []
_pid = 0


def attach(counters: Counters, **attributes: str | int) -> None:
    """Let a loader's counts be seen by the meter; without the API, or in a forked worker, nothing."""
    if not _meter():
        return
    key = tuple(sorted((f"pydaos.{k}", str(v)) for k, v in attributes.items()))
    with _lock:
        counters.total = _sums.setdefault(key, _Sums())


def _meter() -> bool:
    """Make the instruments once a process; False without the OpenTelemetry API."""
    global _pid
    if _instruments and _pid == os.getpid():
        return True
    try:
        from opentelemetry import metrics
    except ImportError:
        return False
    with _lock:
        if _instruments and _pid == os.getpid():
            return True
        _pid = os.getpid()
        _instruments.clear()
        _sums.clear()
        meter = metrics.get_meter("pydaos.torch")
        for name, (field, unit, text) in INSTRUMENTS.items():
            make: Any = meter.create_observable_counter
            _instruments.append(make(name, callbacks=[_observer(field)], unit=unit, description=text))
    return True


def _observer(field: str) -> Callable[[Any], Iterable[Any]]:
    def observe(_options: Any) -> Iterable[Any]:
        from opentelemetry.metrics import Observation

        with _lock:
            return [Observation(getattr(sums, field), dict(key)) for key, sums in _sums.items()]

    return observe
