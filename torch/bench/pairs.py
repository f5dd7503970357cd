"""Interleaved rounds: the sides of a row take turns in one process, and ratios are of the same round."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()


def cpu_of(pid: int) -> float:
    """CPU seconds, user and system, of a process."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def family() -> list[int]:
    """This process and its descendants: the workers of a DataLoader belong to its side."""
    out = [os.getpid()]
    for pid in out:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                out += [int(p) for p in task.read_text().split()]
            except OSError:
                pass  # that thread has ended
    return out


@dataclass
class Usage:
    """CPU seconds and bytes read from disk of this process, its workers and those that have ended."""

    cpu: float
    reads: int

    @staticmethod
    def now() -> Usage:
        """Return the sums up to now; an evicted page cache shows in ``reads``."""
        ended = os.times()
        cpu, reads = ended.children_user + ended.children_system, 0
        for pid in family():
            try:
                cpu += cpu_of(pid)
                with open(f"/proc/{pid}/io") as f:
                    reads += next(int(line.split()[1]) for line in f if line.startswith("read_bytes"))
            except OSError:
                pass  # ended in between: its CPU is in children_user then
        return Usage(cpu, reads)


@dataclass
class Side:
    """One column of a row: a name, and work that returns how many units it did.

    ``floor`` and ``goal`` are ratios to the row's base that this side is to reach.
    """

    name: str
    work: Callable[[], float]
    floor: float | None = None
    goal: float | None = None
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    client_cpu: float = 0.0
    server_cpu: float = 0.0
    reads: int = 0
    units: float = 0.0


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, median and upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[1], q[2]


def verdict(ratio: float, want: float | None, *, at_most: bool = False) -> str:
    """Say whether a figure is where it has to be: ``>= 5x: met`` or ``>= 5x: short, 0.71 of it``."""
    if want is None:
        return ""
    text = f"{'<=' if at_most else '>='} {want:g}"
    if (ratio <= want) if at_most else (ratio >= want):
        return f"{text}: met"
    return f"{text}: **short**, {(want / ratio if at_most else ratio / want):.2f} of it"


@dataclass
class Row:
    """A measured row. ``best`` lists names of sides whose best one is said below the table."""

    what: str
    unit: str
    sides: list[Side]
    base: str
    goal: str = ""
    notes: list[str] = field(default_factory=list)

    def side(self, name: str) -> Side:
        """Return a side by its name."""
        return next(s for s in self.sides if s.name == name)

    def ratio(self, side: Side, base: str = "") -> tuple[float, float, float]:
        """Quartiles of the same-round ratios to the base side."""
        other = self.side(base or self.base)
        return quartiles([a / b for a, b in zip(side.rates, other.rates, strict=True)])

    def as_dict(self) -> dict[str, Any]:
        out = []
        for s in self.sides:
            lo, mid, hi = quartiles(s.rates)
            r = self.ratio(s)
            out.append(
                {
                    "side": s.name,
                    "rate": mid,
                    "rate_quartiles": [lo, hi],
                    "ratio": r[1],
                    "ratio_quartiles": [r[0], r[2]],
                    "floor": s.floor,
                    "goal": s.goal,
                    "client_cpu_s": round(s.client_cpu, 3),
                    "server_cpu_s": round(s.server_cpu, 3),
                    "disk_read_bytes": s.reads,
                    "units": s.units,
                    "rounds": len(s.rates),
                }
            )
        return {
            "what": self.what,
            "unit": self.unit,
            "base": self.base,
            "goal": self.goal,
            "sides": out,
            "notes": self.notes,
        }

    def markdown(self) -> str:
        wanted = any(s.floor or s.goal for s in self.sides)
        lines = [
            f"### {self.what}",
            f"Ratios to *{self.base}*, same round; [quartiles]." + (f" Goal: {self.goal}." if self.goal else ""),
            "",
            f"| side | {self.unit} | ratio | client CPU s | server CPU s | own disk reads |"
            + (" floor | goal |" if wanted else ""),
            "|---|---|---|---|---|---|" + ("---|---|" if wanted else ""),
        ]
        for s in self.sides:
            lo, mid, hi = quartiles(s.rates)
            r = self.ratio(s)
            digits = 0 if mid >= 100 else 2
            line = (
                f"| {s.name} | {mid:,.{digits}f} [{lo:,.{digits}f} - {hi:,.{digits}f}] "
                f"| {r[1]:.2f}x [{r[0]:.2f} - {r[2]:.2f}] "
                f"| {s.client_cpu:.2f} | {s.server_cpu:.2f} | {s.reads / 2**20:.1f} MiB |"
            )
            if wanted:
                line += f" {verdict(r[1], s.floor)} | {verdict(r[1], s.goal)} |"
            lines.append(line)
        if self.notes:
            lines += ["", *self.notes]
        return "\n".join(lines) + "\n"


def measure(row: Row, rounds: int, server_pid: int | None, progress: Callable[[str], None]) -> Row:
    """Run all sides in turn, `rounds` times, the order of the sides reversed every other round."""
    for i in range(rounds):
        for side in row.sides if i % 2 == 0 else list(reversed(row.sides)):
            progress(f"{row.what}: round {i + 1}/{rounds}, {side.name}")
            before = Usage.now()
            server = cpu_of(server_pid) if server_pid else 0.0
            begun = time.perf_counter()
            units = side.work()
            took = time.perf_counter() - begun
            after = Usage.now()
            side.client_cpu += after.cpu - before.cpu
            side.server_cpu += (cpu_of(server_pid) - server) if server_pid else 0.0
            side.reads += after.reads - before.reads
            side.seconds.append(took)
            side.rates.append(units / took)
            side.units += units
    return row


def best_of(row: Row, names: list[str]) -> Side:
    """Return the side of the highest median rate among those named."""
    return max((row.side(n) for n in names), key=lambda s: quartiles(s.rates)[1])
