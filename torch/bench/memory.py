"""Memory of a training process and of a worker over torch alone, with few and with many samples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from bench import Bench
from goals import MEMORY_MB
from pairs import verdict

__all__ = ["run"]

WAYS = {"ready": "ready batches", "loader": "our DataLoader", "stock": "stock DataLoader, our sampler"}


def probe(way: str, address: str, workers: int) -> dict[str, float]:
    """Run `footprint.py` once."""
    script = Path(__file__).with_name("footprint.py")
    out = subprocess.run(
        [sys.executable, str(script), way, address, str(workers)], stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, float] = json.loads(out.stdout.strip().splitlines()[-1])
    return answer


def run(bench: Bench) -> None:
    """1 k and 10 M rows of 16 bytes; three runs each, the median."""
    times = 1 if bench.quick else 3
    sizes = {"1 k": 1_000, "100 k" if bench.quick else "10 M": 100_000 if bench.quick else 10_000_000}
    for count in sizes.values():
        rows = bench.client.create_dataset(f"bench/m{count}", type="tensor")
        rows.define({"x": np.zeros((1, 16), np.uint8)})
        step = 1_000_000
        for i in range(0, count, step):
            rows.append({"x": np.zeros((min(step, count - i), 16), np.uint8)})
        bench.daos("snapshot", "create", f"bench/m{count}", "v1")
    lines = [
        "### memory of a training process over torch alone",
        "Private memory in MB beyond the same loop over samples made of nothing; batches of 32 x 16 B, so that no "
        f"buffers count; median of {times} processes. Goal: <= {MEMORY_MB} MB, equal for few and many samples.",
        "",
        "| way | " + " | ".join(f"{n} samples, main | {n}, a worker" for n in sizes) + " | goal |",
        "|---|" + "---|---|" * len(sizes) + "---|",
    ]
    plain = {w: [probe("dummy", "-", w) for _ in range(times)] for w in (0, 1)}
    base, base_worker = (sorted(p[k] for p in plain[w])[times // 2] for w, k in ((0, "main_mb"), (1, "worker_mb")))
    kept = []
    for way, title in WAYS.items():
        cells, worst = [], 0.0
        for count in sizes.values():
            address = f"bench/m{count}@v1"
            main = sorted(probe(way, address, 0)["main_mb"] for _ in range(times))[times // 2] - base
            worker = sorted(probe(way, address, 1)["worker_mb"] for _ in range(times))[times // 2] - base_worker
            worst = max(worst, main, worker)
            cells += [f"{main:.1f}", f"{worker:.1f}"]
            kept.append({"way": way, "samples": count, "main_mb": main, "worker_mb": worker})
        lines.append(f"| ours, {title} | {' | '.join(cells)} | {verdict(worst, MEMORY_MB, at_most=True)} |")
    bench.say("")
    print("\n".join(lines) + "\n", flush=True)
    bench.rows.append({"what": "memory", "base_mb": base, "base_worker_mb": base_worker, "sides": kept})
    for count in sizes.values():
        bench.client.destroy_dataset(f"bench/m{count}")
