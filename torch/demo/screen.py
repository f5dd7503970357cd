"""What the demo prints: headlines, lines, bars, the closing table; how it fails and times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Screen", "fail", "timed"]


class Screen:
    """Headlines, lines, bars and the closing table."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.tty = sys.stderr.isatty()

    def step(self, n: int, text: str) -> None:
        print(f"\n\033[1m{n}. {text}\033[0m" if sys.stdout.isatty() else f"\n{n}. {text}", flush=True)

    def line(self, text: str) -> None:
        print("   " + text, flush=True)

    def row(self, what: str, value: str, beside: str = "") -> None:
        self.rows.append((what, value, beside))
        self.line(f"{what}: {value}" + (f"   ({beside})" if beside else ""))

    def bar(self, what: str, total: int) -> Callable[[int], None]:
        begun = time.monotonic()
        shown = 0.0

        def update(done: int) -> None:
            nonlocal shown
            now = time.monotonic()
            if not self.tty or (now - shown < 0.1 and done < total):
                return
            shown = now
            filled = int(30 * done / max(total, 1))
            rate = done / max(now - begun, 1e-9)
            end = "\n" if done >= total else ""
            sys.stderr.write(
                f"\r   {what} [{'#' * filled}{'.' * (30 - filled)}] {done:,}/{total:,}  {rate:,.0f}/s  {end}"
            )
            sys.stderr.flush()

        return update

    def table(self) -> None:
        wide = [max(len(r[i]) for r in self.rows) for i in range(3)]
        print("\nSummary")
        print("-" * (sum(wide) + 4))
        for what, value, beside in self.rows:
            print(f"{what:<{wide[0]}}  {value:<{wide[1]}}  {beside}".rstrip())


def fail(text: str) -> None:
    print(f"\nthe demo failed: {text}", file=sys.stderr)
    raise SystemExit(1)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    value = work()
    return time.perf_counter() - begun, value
