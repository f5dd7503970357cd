"""The README's training loop, run as it stands there: stopped in mid pass, and started again."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pydaos.torch import Dataset
from pydaos.torch._order import Order
from pydaos.torch._samples import sample_rng

N, BATCH, PASSES = 700, 256, 10


class Stop(Exception):
    """The run is killed here."""


def block() -> str:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    (found,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "loader_pass" in b)
    return str(found)


@pytest.fixture
def photos(own_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from test_samples import png

    monkeypatch.setenv("DAOS_ADDR", own_server.unix)
    monkeypatch.setenv("DAOS_TOKEN", own_server.token)
    with own_server.connect() as client:
        client.create_pool("p")
        files = client.create_dataset("p/photos", type="posix")
        for i in range(N):
            # Sample i says its number in its pixels, once in either direction.
            pixels = np.array([[i // 256, i % 256, 0, 255, i // 256, i % 256]], np.uint8)
            files.write_bytes(f"train/{'abc'[i * 3 // N]}/{i:04d}.png", png(pixels), parents=True)
        files.snapshot("v1")
    return own_server


def test_the_quickstart(photos: Any) -> None:
    code = compile(block(), "README.md", "exec")
    seen: list[tuple[int, int, bool]] = []
    model = torch.nn.Linear(1, 1)

    def run(stop_at: int | None) -> dict[str, Any]:
        """Run the block; at a step it saves as the block does, and is killed."""
        steps = 0
        names: dict[str, Any] = {"model": model}

        def step(x: torch.Tensor, y: torch.Tensor) -> None:
            nonlocal steps
            for image, label in zip(x[:, 0, 0].tolist(), y.tolist(), strict=True):
                flipped = image[2] == 255
                row = image[::-1] if flipped else image
                seen.append((row[0] * 256 + row[1], label, flipped))
            steps += 1
            if steps == stop_at:
                with names["ckpt"].writer("last.pt") as f:
                    torch.save({"model": model.state_dict(), "loader": names["loader"].state_dict()}, f)
                raise Stop

        names["step"] = step
        try:
            exec(code, names)
        except Stop:
            assert steps == stop_at
        else:
            assert stop_at is None
        names["data"].close()
        return names

    for stop_at in (1, 4, 3):
        run(stop_at)
    names = run(None)
    order = [Order("shuffle", N, 0, p).take(0, N).tolist() for p in range(PASSES)]
    with Dataset("p/photos@v1/train", labels="dirname") as plain:
        labels = [plain[i][1] for i in range(N)]
    want = [(i, labels[i], bool(sample_rng(0, p, i).random() < 0.5)) for p in range(PASSES) for i in order[p]]
    assert seen == want
    assert names["loader"].epoch == PASSES
    seen.clear()
    run(None)  # a run that has ended has nothing left to do
    assert seen == []


def test_questions_and_the_answer_as_a_view(photos: Any, daos_binary: str) -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    commands = [line for line in re.findall(r"^    (daos query .*)$", text, re.M) if not line.endswith(" shell")]
    sql, find = (
        subprocess.run([daos_binary, *shlex.split(c)[1:]], check=True, capture_output=True, text=True).stdout
        for c in commands
    )
    groups = [json.loads(line) for line in sql.splitlines()]
    assert {"ext": "png", "count_star()": N}.items() <= max(groups, key=lambda g: g["count_star()"]).items()
    assert find.startswith(f"view small of p/photos: {N} samples")
    (block_,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "view=" in b)
    names: dict[str, Any] = {"Dataset": Dataset}
    exec(compile(block_, "README.md", "exec"), names)
    assert len(names["small"]) == N
    names["small"].close()
