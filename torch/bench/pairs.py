"""Interleaved pairs: the sides of a row take turns in one process, and ratios are of the same round."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def disk_reads() -> int:
    """Bytes that this process has had read from disk: an evicted cache shows here."""
    with open("/proc/self/io") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("read_bytes"))


def cpu_of(pid: int) -> float:
    """CPU seconds, user and system, of a process."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Side:
    """One column of a row: a name and work that returns how many units it did."""

    name: str
    work: Callable[[], float]
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


@dataclass
class Row:
    """A measured row."""

    what: str
    unit: str
    sides: list[Side]
    base: str
    goal: str = ""

    def ratio(self, side: Side) -> tuple[float, float, float]:
        """Quartiles of the same-round ratios to the base side."""
        base = next(s for s in self.sides if s.name == self.base)
        return quartiles([a / b for a, b in zip(side.rates, base.rates, strict=True)])

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
                    "client_cpu_s": round(s.client_cpu, 3),
                    "server_cpu_s": round(s.server_cpu, 3),
                    "disk_read_bytes": s.reads,
                }
            )
        return {"what": self.what, "unit": self.unit, "base": self.base, "goal": self.goal, "sides": out}

    def markdown(self) -> str:
        lines = [
            f"### {self.what}",
            f"Ratios to *{self.base}*, same round; [quartiles]." + (f" Goal: {self.goal}." if self.goal else ""),
            "",
            f"| side | {self.unit} | ratio | client CPU s | server CPU s | own disk reads |",
            "|---|---|---|---|---|---|",
        ]
        for s in self.sides:
            lo, mid, hi = quartiles(s.rates)
            r = self.ratio(s)
            lines.append(
                f"| {s.name} | {mid:,.0f} [{lo:,.0f} - {hi:,.0f}] | {r[1]:.2f}x [{r[0]:.2f} - {r[2]:.2f}] "
                f"| {s.client_cpu:.2f} | {s.server_cpu:.2f} | {s.reads / 2**20:.1f} MiB |"
            )
        return "\n".join(lines) + "\n"


def measure(row: Row, rounds: int, server_pid: int | None, progress: Callable[[str], None]) -> Row:
    """Run all sides in turn, `rounds` times, the order of the sides reversed every other round."""
    for i in range(rounds):
        for side in row.sides if i % 2 == 0 else list(reversed(row.sides)):
            progress(f"{row.what}: round {i + 1}/{rounds}, {side.name}")
            reads = disk_reads()
            server = cpu_of(server_pid) if server_pid else 0.0
            client = time.process_time()
            begun = time.perf_counter()
            units = side.work()
            took = time.perf_counter() - begun
            side.client_cpu += time.process_time() - client
            side.server_cpu += (cpu_of(server_pid) - server) if server_pid else 0.0
            side.reads += disk_reads() - reads
            side.seconds.append(took)
            side.rates.append(units / took)
            side.units += units
    return row
