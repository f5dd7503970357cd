"""``make bench``: every row prints both sides, measured in one run.

Medians of interleaved rounds with their quartiles, own disk reads, CPU seconds of
client and server, versions; the floor and the goal beside each ratio, and whether it is
met. The other side is at its documented best; rows that we lose stay. ``--only``
chooses rows, ``--quick`` is for looking, not for quoting, ``--peers`` chooses the
loaders from PyPI to stand beside ours (in an environment of their own, .venv/peers).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import loading
import memory
import namespace
import numpy as np
import pyarrow as pa
import queries
import saving
import slices
import standing
import starting
import torch
from bench import ROOT, Bench

from pydaos.testing import Server, find_binary

ROWS: dict[str, Callable[[Bench], None]] = {
    "loader": loading.run,
    "transform": loading.transforms,
    "starts": starting.run,
    "memory": memory.run,
    "checkpoint": saving.run,
    "namespace": namespace.run,
    "slices": slices.run,
    "queries": queries.run,
}


def versions() -> Iterator[str]:
    """Yield lines that say what was measured on what."""
    yield f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, "
    yield f"pyarrow {pa.__version__}"
    yield subprocess.run([find_binary(), "version"], capture_output=True, text=True, check=True).stdout.strip()
    model = next(
        (s.split(":")[1].strip() for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s), "?"
    )
    yield f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, separated by commas: " + ", ".join(ROWS))
    parser.add_argument("--peers", default="all", help="none, all, or some of: " + ", ".join(standing.PEERS))
    parser.add_argument("--quick", action="store_true", help="small and few: for looking, not for quoting")
    parser.add_argument("--sizes", default="", help="only these loader rows: '4 KiB,100 KiB,1 MiB,784 B'")
    parser.add_argument("--rounds", type=int, default=0, help="7 by default, 3 with --quick")
    parser.add_argument("--out", help="also write the rows as JSON")
    args = parser.parse_args()
    chosen = [name.strip() for name in args.only.split(",") if name.strip()]
    peers = {"none": [], "all": standing.PEERS}.get(args.peers, [p.strip() for p in args.peers.split(",")])
    for name, known in [*((n, ROWS) for n in chosen), *((p, standing.PEERS) for p in peers)]:
        if name not in known:
            parser.error(f"{name!r} is none of: {', '.join(known)}")
    torch.set_num_threads(1)
    # Measured with workers and without.
    warnings.filterwarnings("ignore", message=".*num_workers=|.*worker processes in total")
    base = Path(os.environ.get("BENCH_DIR", ROOT / ".scratch"))
    base.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    begun = time.monotonic()
    try:
        with Server(scratch / "server") as server:
            for line in versions():
                print(line)
            print(flush=True)
            bench = Bench(scratch, server, args.rounds or (3 if args.quick else 7), args.quick)
            bench.sizes = [s.strip() for s in args.sizes.split(",") if s.strip()]
            if ("loader" in chosen or "queries" in chosen) and peers:
                bench.peers, bench.python = peers, standing.install()
            for name in chosen:
                ROWS[name](bench)
                if args.out:
                    Path(args.out).write_text(json.dumps(bench.rows, indent=1))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"done in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
