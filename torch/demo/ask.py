"""The questions part: counts, the largest files, a join with metrics, and a view that training reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import parts
import torch
from screen import Screen, fail, timed
from torch import nn

import pydaos
from pydaos.torch import DataLoader, Dataset

__all__ = ["step_ask"]

BATCH = 64


def fit(net: nn.Module, loader: Iterable[Any], steps: int, rate: float = 0.05) -> None:
    """Train for so many steps, going round as often as needed."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    step = 0
    while step < steps:
        for batch in loader:
            loss = nn.functional.cross_entropy(net(batch["image"][:, None].float().div_(255)), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == steps:
                break


def right(net: nn.Module, loader: Iterable[Any]) -> np.ndarray[Any, Any]:
    """Return rows and right answers of each class, int64 [10, 2]."""
    counts = np.zeros((10, 2), np.int64)
    with torch.no_grad():
        for batch in loader:
            hits = net(batch["image"][:, None].float().div_(255)).argmax(1) == batch["label"]
            for label in range(10):
                mine = batch["label"] == label
                counts[label] += int(mine.sum()), int((hits & mine).sum())
    return counts


def step_ask(
    screen: Screen,
    daos: Callable[..., str],
    number: int,
    labels: np.ndarray[Any, Any],
    sizes: list[tuple[int, str]],
    steps: int,
) -> None:
    """Ask about what is stored, and let training read the answer.

    ``labels`` are those of the rows of demo/tensors, ``sizes`` (bytes, path) of the local files
    of demo/photos/train: what the answers are compared with.
    """
    screen.step(number, "Questions, answered next to the data; training reads the answer as a view")
    client = pydaos.connect()

    def ask(command: str) -> Any:
        screen.line(f"$ daos query {command}")
        took, out = timed(lambda: daos("query", *shlex.split(command), "--format", "json"))
        return f"{took * 1e3:.0f} ms with the process", json.loads(out)

    sql = 'SELECT label, count(*) AS images FROM "demo/tensors@v1" GROUP BY label ORDER BY label'
    took, rows = ask(f"sql '{sql}'")
    want = np.bincount(labels, minlength=10).tolist()
    if [r["images"] for r in rows] != [n for n in want if n]:
        fail(f"label counts {rows}, and there are {want}")
    screen.row("label counts by SQL", f"{len(rows)} classes, {sum(want):,} rows", took)

    took, rows = ask("find demo/photos@v1/train -w \"type = 'file'\" --top -size -k 3 -c path,size")
    largest = sorted((size for size, _ in sizes), reverse=True)[:3]
    if [r["size"] for r in rows] != largest:
        fail(f"largest files {rows}, and the sizes are {largest}")
    for row in rows:
        screen.line(f"  {row['size']:,} bytes  {row['path']}")
    screen.row("largest 3 files", f"of {len(sizes):,}", took)

    screen.line(f"training a CNN for {steps} steps, and counting its right answers by class ...")
    data = Dataset("demo/tensors@v1")
    torch.manual_seed(0)
    net = parts.model()
    fit(net, DataLoader(data, batch_size=BATCH, shuffle=True, seed=0), steps)
    counts = right(net, DataLoader(data, batch_size=1024))
    daos("dataset", "create", "demo/classes", "--type", "kv")
    classes = client.kv("demo/classes")
    classes.define({"label": "int64", "name": "string", "accuracy": "float64"})
    classes.put_many(
        {
            name: {"label": i, "name": name, "accuracy": float(counts[i, 1] / max(counts[i, 0], 1))}
            for i, name in enumerate(parts.NAMES)
        }
    )
    sql = (
        'SELECT c.name, c.label, c.accuracy, count(*) AS images FROM "demo/tensors@v1" t '
        'JOIN "demo/classes" c ON t.label = c.label GROUP BY ALL ORDER BY c.accuracy LIMIT 2'
    )
    took, weak = ask(f"sql '{sql}'")
    for row in weak:
        screen.line(f"  {row['name']}: {row['images']:,} images, {row['accuracy']:.1%} right")
    screen.row("join of rows with metrics", "the 2 weakest classes", took)
    order = counts[:, 1] / np.maximum(counts[:, 0], 1)
    if sorted(order)[:2] != [r["accuracy"] for r in weak]:
        fail(f"the join gave {weak}, and the shares of right answers are {order.tolist()}")

    chosen = [int(row["label"]) for row in weak]
    where = f"label in ({', '.join(map(str, chosen))})"
    screen.line(f"$ daos query find demo/tensors@v1 -w '{where}' --save-view weak")
    daos("query", "find", "demo/tensors@v1", "-w", where, "--save-view", "weak")
    screen.line('Dataset("demo/tensors", view="weak"): the same loader, sampler, resume ...')
    view = Dataset("demo/tensors", view="weak")
    if len(view) != int(np.isin(labels, chosen).sum()):
        fail(f"the view has {len(view)} samples, and there are {int(np.isin(labels, chosen).sum())}")
    before = right(net, DataLoader(view, batch_size=1024))[chosen].sum(0)
    fit(net, DataLoader(view, batch_size=BATCH, shuffle=True, seed=1), max(steps // 2, 1), 0.02)
    after = right(net, DataLoader(view, batch_size=1024))[chosen].sum(0)
    screen.row(
        "trained on from the view",
        f"{len(view):,} samples",
        f"right answers in it {before[1] / before[0]:.1%} -> {after[1] / after[0]:.1%}",
    )
    view.close()
    data.close()
    client.close()
