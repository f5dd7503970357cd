"""Save model, optimizer and loader position; save half and wait; restore and digest."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any

import parts
import torch

from pydaos.torch import Checkpoint, Dataset

parts.prepare()
data = Dataset("demo/photos@v1/train")


def digest(state: Any) -> tuple[str, int]:
    """Hash every tensor of a nested state, in order of its keys."""
    h, count = hashlib.sha256(), 0

    def walk(value: Any, at: str) -> None:
        nonlocal count
        if isinstance(value, torch.Tensor):
            h.update(at.encode() + str(value.dtype).encode() + value.contiguous().numpy().tobytes())
            count += 1
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                walk(value[key], f"{at}/{key}")
        elif isinstance(value, (list, tuple)):
            for i, v in enumerate(value):
                walk(v, f"{at}/{i}")
        else:
            h.update(f"{at}={value!r}".encode())

    walk(state, "")
    return h.hexdigest(), count


def trained(steps: int) -> dict[str, Any]:
    net = parts.model()
    extra = torch.nn.Linear(1024, 4096)
    optimizer = torch.optim.AdamW([*net.parameters(), *extra.parameters()])
    for step in range(steps):
        x = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(step))
        loss = net(x).square().mean() + extra.weight.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    token = data.state_dict(consumed=64 * steps, seed=7)
    return {
        "model": net.state_dict(),
        "extra": extra.state_dict(),
        "optimizer": optimizer.state_dict(),
        "loader": token,
    }


with Checkpoint("demo", "runs", prefix="/r1") as ckpt:
    if sys.argv[1] == "save":
        state = trained(5)
        with ckpt.writer("last.pt") as f:
            torch.save(state, f)
        print(json.dumps({"bytes": f.written, "digest": digest(state)[0], "position": state["loader"]["position"]}))
    elif sys.argv[1] == "save-half":
        import io

        buffer = io.BytesIO()
        torch.save(trained(9), buffer)
        whole = buffer.getbuffer()
        f = ckpt.writer("last.pt")
        f.write(whole[: len(whole) // 2])
        f.flush()
        print(json.dumps({"written": len(whole) // 2}), flush=True)
        time.sleep(600)
    else:
        state = torch.load(ckpt.reader("last.pt"))
        value, count = digest(state)
        print(json.dumps({"digest": value, "tensors": count, "position": state["loader"]["position"]}))
