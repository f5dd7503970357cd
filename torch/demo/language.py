"""The text part: token blocks of an array dataset train a small language model, its numbers go into a KV dataset."""

from __future__ import annotations

import shlex
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from screen import Screen, fail
from torch import nn

import pydaos
from pydaos.torch import DataLoader, Dataset, TokenBlocks

__all__ = ["step_language"]

#: Tokens of a block, blocks of a batch, bytes of text.
LENGTH, BATCH, TEXT = 128, 16, 4 << 20


def sources(limit: int) -> np.ndarray[Any, Any]:
    """Return the Python standard library's own sources as bytes, uint8 [n], in the order of their paths."""
    top = Path(sysconfig.get_paths()["stdlib"])
    text = bytearray()
    for path in sorted(top.glob("*.py")) + sorted(top.glob("[a-z]*/*.py")):
        if "site-packages" not in path.parts:
            text += path.read_bytes()
        if len(text) >= limit:
            break
    return np.frombuffer(bytes(text[:limit]), np.uint8)


def unigram(tokens: np.ndarray[Any, Any]) -> float:
    """Return the loss of a model that knows nothing but how frequent each token is, in nats."""
    share = np.bincount(tokens, minlength=256) / len(tokens)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


class Model(nn.Module):
    """A byte at a time: embedding, one recurrent layer, logits of the next byte."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 64)
        self.step = nn.GRU(64, 128, batch_first=True)
        self.logits = nn.Linear(128, 256)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.step(self.embed(tokens))
        return self.logits(hidden)


def step_language(screen: Screen, daos: Callable[..., str], number: int, steps: int) -> None:
    """Text into an array dataset, a model from its blocks, settings and metrics into KV datasets."""
    screen.step(number, "Text as token blocks of an array, settings and metrics as keys and values")
    client = pydaos.connect()
    text = sources(TEXT)
    for name, kind in (("text", "array"), ("settings", "kv"), ("metrics", "kv")):
        daos("dataset", "create", f"demo/{name}", "--type", kind)
    tokens = client.dataset("demo/text").create_array("tokens", shape=[0], dtype="uint8", chunks=[1 << 18])  # type: ignore[attr-defined]
    for at in range(0, len(text), 1 << 20):
        tokens.append(text[at : at + (1 << 20)])
    daos("snapshot", "create", "demo/text", "v1")
    screen.line(
        f"{len(text):,} bytes of the standard library's sources are array demo/text/tokens, in chunks of 256 KiB"
    )

    settings = client.kv("demo/settings")
    settings.put_many({"lr": "0.003", "length": str(LENGTH), "batch": str(BATCH), "data": "demo/text@v1/tokens"})
    metrics = client.kv("demo/metrics")
    metrics.define({"run": "string", "step": "int64", "loss": "float64", "tokens_per_s": "float64"})

    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=float(settings["lr"]))
    blocks = TokenBlocks(Dataset(settings["data"].decode()), int(settings["length"]))
    loader = DataLoader(blocks, batch_size=int(settings["batch"]), shuffle=True, seed=0)
    bar, begun, losses = screen.bar("training on text", steps), time.monotonic(), []
    for step, batch in enumerate(loader, 1):
        x = batch["tokens"].long()
        loss = nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        rate = step * BATCH * LENGTH / (time.monotonic() - begun)
        metrics[f"lm/{step:06d}"] = {"run": "lm", "step": step, "loss": losses[-1], "tokens_per_s": rate}
        settings.add("steps")
        bar(step)
        if step == steps:
            break
    know = unigram(text)
    screen.row(
        f"language model, loss of step 1 and {steps}",
        f"{losses[0]:.2f} -> {losses[-1]:.2f} nats",
        f"{len(blocks):,} blocks of {LENGTH}; frequencies alone: {know:.2f}",
    )
    if losses[-1] >= losses[0] or (steps >= 60 and losses[-1] >= know):
        fail("the language model learned nothing from its blocks")
    if settings.add("steps", 0) != steps or len(metrics) != steps:
        fail(f"{settings.add('steps', 0)} steps are counted and {len(metrics)} have metrics, of {steps}")
    bound = know if losses[-1] < know else losses[0]
    command = f"find demo/metrics -w 'loss < {bound:.2f}' --top step -k 1 -c step,loss --format json"
    screen.line(f"$ daos query {command}")
    screen.line(f"  {daos('query', *shlex.split(command)).strip()}")
    blocks.close()
    client.close()
