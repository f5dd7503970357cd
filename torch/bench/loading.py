"""Loader rows: shuffled passes of four sizes, when ready and as floats, and with a transform."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import standing
import torch
import walks
from bench import Bench
from goals import LOADER, TRANSFORM
from pairs import Row, Side, best_of, quartiles, verdict
from sets import SHAPES, Population

__all__ = ["run", "transforms"]

FILES = "files: open + read + frombuffer + stack"
STOCK_FILES = "files, stock DataLoader, {} workers"


def run(bench: Bench) -> None:
    """Measure every shape: the local ways and ours, then beside the peers."""
    for shape in SHAPES:
        if not bench.wants(shape.name):
            continue
        data = Population.make(bench, shape)
        for use in (walks.ready, walks.as_float):
            shuffled(bench, data, use)
        standing.run(bench, data)
        data.drop(bench)


def shuffled(bench: Bench, data: Population, use: walks.Use) -> None:
    """One shape: local ways, ours three ways over both sockets."""
    shape, want = data.shape, LOADER[data.shape.name]
    unix, tcp = bench.server.unix, bench.server.address
    plain = use is walks.ready
    files, tensors, batch = f"{data.files}@v1", f"{data.tensors}@v1", shape.batch
    sides = [Side(FILES, walks.files_loop(data, use))]
    sides += [Side(STOCK_FILES.format(w), walks.files_loader(data, w, use)) for w in ((0, 1, 2, 4) if plain else (0,))]
    sides += [
        Side("np.memmap, __getitems__, stock DataLoader", walks.mapped_loader(data, use)),
        Side("packed file, preadv into one buffer", walks.packed_loop(data, use)),
        Side(
            "ours, stock DataLoader, files, unix", walks.ours_stock(files, unix, batch, 0, use), want.stock, want.unix
        ),
        Side("ours, our DataLoader, files, unix", walks.ours_loader(files, unix, batch, 0, 0, use), None, want.unix),
        Side("ours, ready batches, files, unix", walks.ours_ready(files, unix, batch, use), want.ready, want.unix),
        Side("ours, ready batches, tensors, unix", walks.ours_ready(tensors, unix, batch, use), None, want.unix),
    ]
    if plain:
        sides += [
            Side("ours, stock DataLoader, tensors, unix", walks.ours_stock(tensors, unix, batch), None, want.unix),
            Side("ours, stock DataLoader, files, TCP", walks.ours_stock(files, tcp, batch), None, want.tcp),
            Side("ours, our DataLoader, files, TCP", walks.ours_loader(files, tcp, batch), None, want.tcp),
            Side("ours, ready batches, files, TCP", walks.ours_ready(files, tcp, batch), None, want.tcp),
        ]
    else:
        # What a batch costs to turn into floats is the same on both sides and
        # dilutes the ratio: floors are of the batch when it is ready.
        for s in sides:
            s.floor = s.goal = None
    how = "when ready" if plain else "after .float().div_(255)"
    row = bench.measure(Row(f"shuffled {batch} x {shape.name}, {how}", "samples/s", sides, FILES))
    if plain:
        best = best_of(row, [FILES, *(STOCK_FILES.format(w) for w in (0, 1, 2, 4))])
        row.notes.append(f"Best of files: *{best.name}*. To it:")
    else:
        best = row.side(STOCK_FILES.format(0))
        row.notes.append("To files under the stock DataLoader without workers:")
    row.notes.append(
        "; ".join(f"{s.name} {row.ratio(s, best.name)[1]:.2f}x" for s in sides if s.name != best.name) + "."
    )
    if plain:
        costs = (
            f"{s.name} {s.server_cpu / (s.units * shape.size / 1e9):.2f}" for s in sides if s.name.startswith("ours")
        )
        row.notes.append(f"Server CPU, s/GB: {'; '.join(costs)}.")
    bench.show(row)


# -- a transform of 200 us a sample ---------------------------------------------------


class PythonWork:
    """200 us of interpreted Python: it holds the interpreter's lock."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def __call__(self, data: bytes) -> torch.Tensor:
        total = 0
        for i in range(self.rounds):
            total += i & 7
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)


class NativeWork:
    """200 us of native code that lets the interpreter's lock go, as image decoders do."""

    def __init__(self, size: int) -> None:
        self.blob = b"\0" * size

    def __call__(self, data: bytes) -> torch.Tensor:
        hashlib.sha256(self.blob).digest()
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def calibrated(make: Callable[[int], Callable[[bytes], Any]], seconds: float = 200e-6) -> Callable[[bytes], Any]:
    """Return the transform whose call takes ``seconds`` on this machine when nothing else runs."""
    size, sample = 4096, bytes(4096)
    for _ in range(4):
        work = make(size)
        took = []
        for _ in range(200):
            begun = time.perf_counter()
            work(sample)
            took.append(time.perf_counter() - begun)
        size = max(1, int(size * seconds / statistics.median(took)))
    return make(size)


def transforms(bench: Bench) -> None:
    """The best setting of each side for two kinds of transform."""
    if not bench.wants("4 KiB"):
        return
    shape = SHAPES[0]
    short = type(shape)(shape.name, shape.size, 1920 if bench.quick else 16_000, shape.batch)
    data = Population.make(bench, short)
    files, unix = f"{data.files}@v1", bench.server.unix
    for what, make in (("in Python", PythonWork), ("in native code without the lock", NativeWork)):
        work = calibrated(make)
        sides = [Side(STOCK_FILES.format(w), walks.files_loader(data, w, transform=work)) for w in (0, 1, 2, 4)]
        theirs = [s.name for s in sides]
        for w in (0, 1, 2):
            name = f"ours, stock DataLoader, {w} workers"
            sides.append(Side(name, walks.ours_stock(files, unix, short.batch, w, transform=work)))
        for threads in (0, 1, 2, 4):
            name = f"ours, our DataLoader, {threads} threads"
            sides.append(Side(name, walks.ours_loader(files, unix, short.batch, 0, threads, transform=work)))
        name = "ours, our DataLoader, 2 workers"
        sides.append(Side(name, walks.ours_loader(files, unix, short.batch, 2, transform=work)))
        row = bench.measure(Row(f"a transform of 200 us {what}, 32 x 4 KiB", "samples/s", sides, theirs[0]))
        best, mine = best_of(row, theirs), best_of(row, [s.name for s in sides if s.name not in theirs])
        low, middle, high = quartiles([a / b for a, b in zip(mine.rates, best.rates, strict=True)])
        row.notes.append(
            f"Best of each side: *{mine.name}* against *{best.name}*: {middle:.2f}x [{low:.2f} - {high:.2f}], "
            f"goal {verdict(middle, TRANSFORM)}."
        )
        bench.show(row)
    data.drop(bench)
