"""Ranks that are processes, for tests: each runs one program and prints what it saw as JSON.

Also the dataset and the model that the tests of users' frameworks train with. Nothing
here imports a framework; `run_ranks` is for the test, the rest is for its programs.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pydaos.testing import Server
from pydaos.torch._order import Order

__all__ = ["BATCH", "SEED", "N", "answer", "digest", "expected", "make_rows", "model", "rows", "run_ranks", "taken"]

N = 203
BATCH = 8
SEED = 11


def make_rows(server: Server, pool: str) -> str:
    """Make 203 rows of x [4], y and id, and files of the same; return the rows' address."""
    rng = np.random.default_rng(0)
    table = {
        "id": np.arange(N, dtype=np.int64),
        "x": rng.standard_normal((N, 4)).astype(np.float32),
        "y": rng.integers(0, 3, N),
    }
    with server.connect() as client:
        made = client.create_dataset(f"{pool}/rows", type="tensor")
        made.define(table)
        made.append(table)
        made.snapshot("v1")
        made.append(table)  # not in the snapshot
    return f"{pool}/rows@v1"


def expected(size: int, start: int = 0, pass_: int = 0, batch: int = BATCH) -> list[list[list[int]]]:
    """Return the ids of every rank's batches in our order, the tail padded with the first samples of the pass."""
    order = Order("shuffle", N, SEED, pass_).take(0, N).tolist()
    ranks: list[list[list[int]]] = [[] for _ in range(size)]
    for at in range(start, N, batch * size):
        part = order[at : at + batch * size]
        each = -(-len(part) // size)
        part += order[: each * size - len(part)]
        for rank in range(size):
            ranks[rank].append(part[rank * each : (rank + 1) * each])
    return ranks


def run_ranks(program: str | Path, size: int, server: Server, args: list[str], timeout: float = 240) -> list[Any]:
    """Run a program as ranks 0..size-1 of one job; return what each printed last, as JSON."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = {
        **os.environ,
        "DAOS_ADDR": server.unix,
        "DAOS_TOKEN": server.token,
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "ranks",
        "GROUP_RANK": "0",
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"rank{r}" for r in range(size)]
        processes = []
        for rank, log in enumerate(logs):
            env = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            if size == 1:
                # Alone: no launcher has said anything.
                for name in (
                    "RANK",
                    "WORLD_SIZE",
                    "LOCAL_RANK",
                    "LOCAL_WORLD_SIZE",
                    "TORCHELASTIC_RUN_ID",
                    "GROUP_RANK",
                ):
                    env.pop(name)
            with log.open("wb") as out:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, str(program), *args, folder], stdout=out, stderr=subprocess.STDOUT, env=env
                    )
                )
        try:
            codes = [p.wait(timeout) for p in processes]
        finally:
            for p in processes:
                if p.poll() is None:
                    p.kill()
                    p.wait()
        texts = [log.read_text(errors="replace") for log in logs]
    assert codes == [0] * size, "\n".join(f"rank {r}: {c}\n{t[-5000:]}" for r, (c, t) in enumerate(zip(codes, texts)))
    return [json.loads(t.strip().splitlines()[-1]) for t in texts]


# -- for the programs ------------------------------------------------------------------


def answer(value: Any) -> None:
    """Print what `run_ranks` is to return, as the last line."""
    print("\n" + json.dumps(value), flush=True)


def rows(address: str) -> Any:
    """Open the rows."""
    from pydaos.torch import Dataset

    return Dataset(address)


def model() -> Any:
    """A linear classifier, the same at every call."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


def step(net: Any, optimizer: Any, batch: Any) -> list[int]:
    """Train one step on a batch; return its ids."""
    import torch

    loss = torch.nn.functional.cross_entropy(net(batch["x"]), batch["y"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return batch["id"].tolist()


def digest(net: Any) -> str:
    """A digest of all parameters, to the bit."""
    h = hashlib.sha256()
    for p in net.parameters():
        h.update(p.detach().numpy().tobytes())
    return h.hexdigest()


def taken(batches: Any, count: int | None = None) -> list[list[int]]:
    """Walk batches (so many of them); return the ids of each."""
    out = []
    for batch in batches:
        out.append(batch["id"].tolist())
        if count is not None and len(out) == count:
            break
    return out
