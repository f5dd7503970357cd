"""Five ways to read the same samples in the same order, each with its line of code and its speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parts
import torch.utils.data
from screen import Screen, fail, timed

from pydaos.torch import DataLoader, Dataset

__all__ = ["ways"]


def ways(screen: Screen, scratch: Path) -> None:
    """The same samples in the same order five ways, in this process."""
    screen.line("the 28 x 28 pixels of all images five ways: same order, same batch, same process")
    data = Dataset("demo/tensors@v1", columns=["image"])
    images = np.load(scratch / "fashion-mnist.npz")["image"]
    folder, mapped = scratch / "raw", scratch / "raw.npy"
    parts.write_raw(folder, images, screen.bar("writing one file an image", len(images)))
    np.save(mapped, images)
    size = 256
    ids = np.array(list(data.sampler(seed=1)))
    stock = torch.utils.data.DataLoader(data, size, sampler=data.sampler(seed=1))
    ours = DataLoader(data, batch_size=size, shuffle=True, seed=1)
    ready = data.batches(size, shuffle=True, seed=1)
    array = np.load(mapped, mmap_mode="r")
    sides: list[tuple[str, str, Callable[[], Iterator[Any]]]] = [
        (
            "local files, open + read",
            "stack([frombuffer(bytearray(open(p, 'rb').read())) for p in batch])",
            lambda: parts.raw_batches(folder, ids, size),
        ),
        ("memory-mapped numpy", "torch.from_numpy(images[batch])", lambda: parts.mapped_batches(array, ids, size)),
        (
            "ours, stock DataLoader",
            "DataLoader(data, 256, sampler=data.sampler(seed=1))",
            lambda: (b["image"] for b in stock),
        ),
        (
            "ours, our DataLoader",
            "pydaos.torch.DataLoader(data, 256, shuffle=True, seed=1)",
            lambda: (b["image"] for b in ours),
        ),
        (
            "ours, ready batches",
            "data.batches(256, shuffle=True, seed=1)",
            lambda: (b["image"] for b in ready),
        ),
    ]
    prints = set()
    base = 0.0
    for what, line, walk in sides:
        for loader in (stock.sampler, ours, ready):
            loader.set_epoch(0)
        # A pass that is looked at, and warms; then the one that is timed.
        prints.add(tuple(parts.fingerprint(b) for b in walk()))
        for loader in (stock.sampler, ours, ready):
            loader.set_epoch(0)
        took, seen = timed(lambda walk=walk: sum(len(b) for b in walk()))  # type: ignore[misc]
        rate = seen / took
        base = base or rate
        screen.row(f"samples/s, {what}", f"{rate:,.0f}", f"{rate / base:.1f}x   {line}")
    if len(prints) != 1:
        fail("the ways gave different samples, or another order")
    screen.line("55 MB fit into memory, where nothing is as fast as an array: this shows order, resume and safety;")
    screen.line("make bench shows speed, from 784 bytes to 1 MiB a sample and beside other loaders")
    data.close()
