"""A progress line of a pass: batches, samples a second, the share of time spent waiting for data.

tqdm's where tqdm is installed (it knows notebooks), else one line on stderr,
drawn at most ten times a second. Where stderr is no terminal nothing is drawn
unless it is asked for by ``progress="always"``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["make_progress"]

_INTERVAL = 0.1
_WIDTH = 24


class _Line:
    """Our own: ``pass 3 [######------] 512/1024 12.3k samples/s, waiting 4 %``."""

    def __init__(self, label: str, total: int, unit_scale: bool = True) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._drawn = 0.0
        self._length = 0

    def update(self, note: str) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._drawn >= _INTERVAL or self._done == self._total:
            self._drawn = now
            self._draw(note)

    def _draw(self, note: str) -> None:
        filled = _WIDTH * min(self._done, self._total) // max(self._total, 1)
        bar = "#" * filled + "-" * (_WIDTH - filled)
        text = f"{self._label} [{bar}] {self._done}/{self._total} {note}"
        # Blanks over what the line before was longer by.
        sys.stderr.write("\r" + text.ljust(self._length))
        sys.stderr.flush()
        self._length = len(text)

    def close(self) -> None:
        if self._length:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._length = 0


class _Tqdm:
    def __init__(self, tqdm: Any, label: str, total: int) -> None:
        self._bar = tqdm(total=total, desc=label, unit="batch", file=sys.stderr)
        self._noted = 0.0

    def update(self, note: str) -> None:
        now = time.monotonic()
        if now - self._noted >= _INTERVAL:
            self._noted = now
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        self._bar.close()


def make_progress(asked: bool | str, label: str, total: int) -> _Line | _Tqdm | None:
    """Return a progress line for a pass of ``total`` batches, or None.

    Parameters
    ----------
    asked : bool or "always"
        True draws on a terminal only.
    """
    if not asked or (asked != "always" and not sys.stderr.isatty()):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Line(label, total)
    return _Tqdm(tqdm, label, total)


def rate(samples: float, seconds: float, waited: float) -> str:
    """Return ``12.3k samples/s, waiting 4 %``."""
    per_second = samples / seconds if seconds > 0 else 0.0
    text = f"{per_second / 1000:.1f}k" if per_second >= 10_000 else f"{per_second:.0f}"
    share = min(1.0, waited / seconds) if seconds > 0 else 0.0
    return f"{text} samples/s, waiting {100 * share:.0f} %"
