"""Where ours stands beside the peers from PyPI: a process for each peer and number of workers.

In each process take turns: local files read in the training process, the peer, ours
under the stock DataLoader with as many workers, and our ready batches. So the peers do
not disturb each other; some slow down the whole process they run in, ours and the
files with it, and then their ratios are better than they deserve.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from bench import ROOT, Bench
from pairs import quartiles
from sets import Population

__all__ = ["PEERS", "install", "run"]

PEERS = ["litdata", "mosaic", "webdataset", "lance", "hf"]

NAMES = {
    "litdata": "litData",
    "mosaic": "MosaicML Streaming",
    "webdataset": "WebDataset",
    "lance": "Lance, take",
    "hf": "Hugging Face datasets, Arrow",
}

#: Those that stream shards; the others take rows by index from a local file.
STREAMING = ["litdata", "mosaic", "webdataset"]

WORKERS = (0, 1, 2)


def install() -> str:
    """Make .venv/peers if it is not up to date; return its interpreter."""
    subprocess.run(
        [ROOT / "torch/bench/peers.sh"], env={**os.environ, "VENV": os.path.dirname(sys.executable)}, check=True
    )
    return os.path.join(os.environ.get("PEERS_VENV", str(ROOT / ".venv" / "peers")), "bin", "python")


def cap(bench: Bench) -> float:
    """Seconds after which a pass is stopped."""
    return 0.5 if bench.quick else 1.0


class Runner:
    """Runs `peer.py` for one population."""

    def __init__(self, bench: Bench, data: Population) -> None:
        self.bench = bench
        self.data = data
        self.failed: list[str] = []

    def folder(self, peer: str) -> str:
        return str(self.bench.scratch / f"{peer}-{self.data.shape.size}")

    def ask(self, operation: str, peer: str, workers: int = 0) -> dict[str, Any] | None:
        """Run one operation; None if the peer failed at it, which is noted."""
        data, bench = self.data, self.bench
        bench.say(f"{data.shape.name}: {NAMES[peer]}, {operation}, {workers} workers")
        job = {
            "peer": peer,
            "shape": asdict(data.shape),
            "count": data.count,
            "tree": str(data.tree),
            "packed": str(data.packed),
            "files": data.files,
            "tensors": data.tensors,
            "folder": self.folder(peer),
            "workers": workers,
            "rounds": bench.rounds,
            "cap": cap(bench),
            "server_pid": bench.server.pid,
            "addr": bench.server.unix,
        }
        path = bench.scratch / "job.json"
        path.write_text(json.dumps(job))
        # Hugging Face and litData keep caches at home and ask the network: not here.
        home = bench.scratch / "peer-home"
        quiet = {
            "HOME": str(home),
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "DATA_OPTIMIZER_CACHE_FOLDER": str(home / "litdata"),
            "DATA_OPTIMIZER_DATA_CACHE_FOLDER": str(home / "litdata-data"),
            "DISABLE_LITDATA_VERSION_CHECK": "1",
        }
        try:
            done = subprocess.run(
                [bench.python, os.path.join(os.path.dirname(__file__), "peer.py"), operation, str(path)],
                capture_output=True,
                text=True,
                timeout=1800,
                check=False,
                env={**os.environ, **quiet},
            )
        except subprocess.TimeoutExpired:
            self.failed.append(f"{NAMES[peer]}: {operation} with {workers} workers did not end within 30 minutes.")
            return None
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
            self.failed.append(f"{NAMES[peer]}: {operation} with {workers} workers failed: {why}")
            return None
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer


def run(bench: Bench, data: Population) -> None:
    """Print the peers' table of one shape."""
    if not bench.peers:
        return
    runner = Runner(bench, data)
    shape = data.shape
    lines = [
        f"### shuffled {shape.batch} x {shape.name}, beside other loaders",
        "Samples/s as a ratio to local files read in the training process, by number of workers; ours over the unix "
        f"socket, in the same process and rounds. First batch: from the loader's making, {NAMES['mosaic']}'s and the "
        "others' imports not counted.",
        "",
        "| loader | "
        + " | ".join(f"{w} workers" for w in WORKERS)
        + " | ours stock / it, "
        + ", ".join(f"{w}w" for w in WORKERS)
        + " | ours ready / it | first batch, 0w | conversion |",
        "|---|" + "---|" * (len(WORKERS) + 4),
    ]
    kept: list[dict[str, Any]] = []
    behind: list[str] = []
    versions: list[str] = []
    for peer in bench.peers:
        converted = runner.ask("convert", peer)
        if converted is None:
            continue
        versions.append(f"{NAMES[peer].split(',')[0]} {converted['version']}")
        cells, stock, ready, started = [], [], [], ""
        for w in WORKERS:
            answer = runner.ask("passes", peer, w)
            if answer is None:
                cells.append("failed")
                stock.append("-")
                ready.append("-")
                continue
            rates = answer["rates"]
            kept.append({"peer": peer, "size": shape.name, "workers": w, **answer})
            ratio, per = compare(rates[peer], rates["files"]), quartiles(rates[peer])[1]
            mine, best = compare(rates["stock"], rates[peer]), compare(rates["ready"], rates[peer])
            cells.append(f"{ratio[1]:.2f}x [{ratio[0]:.2f} - {ratio[2]:.2f}], {per:,.0f}/s")
            stock.append(f"{mine[1]:.1f}x")
            ready.append(f"{best[1]:.1f}x")
            if mine[1] < 1 and peer in STREAMING:
                behind.append(f"stock DataLoader, {w} workers: {mine[1]:.2f}x of {NAMES[peer]}")
            if w == 0:
                started = f"{answer['started']:.2f} s"
        again = ""
        if shape.size == 4096:
            saved = runner.ask("state", peer)
            if saved and saved["bytes"]:
                resumed = runner.ask("resume", peer)
                if resumed:
                    again = f"; resume {resumed['seconds']:.2f} s, {saved['bytes']} B"
        lines.append(
            f"| {NAMES[peer]} | {' | '.join(cells)} | {', '.join(stock)} | {', '.join(ready)} | {started}{again} "
            f"| {converted['seconds']:.0f} s, {converted['bytes'] / 2**20:,.0f} MiB |"
        )
        shutil.rmtree(runner.folder(peer), ignore_errors=True)
    bench.say("")
    lines.append("")
    if kept:
        lines.append(
            "Ahead of every streaming peer at every number of workers: "
            + ("**no**: " + "; ".join(behind) if behind else "met")
            + "."
        )
    lines += runner.failed
    lines.append(
        f"Versions: {', '.join(versions)}. A side that needs longer than {cap(bench):g} s for a pass is stopped then."
    )
    print("\n".join(lines) + "\n", flush=True)
    bench.rows.append({"what": f"peers, {shape.name}", "sides": kept, "failed": runner.failed})


def compare(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Quartiles of the same-round ratios."""
    return quartiles([x / y for x, y in zip(a, b, strict=True)])
