"""Write to, rename in and remove from a live dataset until told to stop; count the changes."""

from __future__ import annotations

import json
import random
import signal
import sys
from types import FrameType

import numpy as np

import pydaos

stop = False


def on_term(signum: int, frame: FrameType | None) -> None:
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)
kind = sys.argv[1]
client = pydaos.connect()
changes = 0
rng = random.Random(0)
if kind == "files":
    live = client.dataset("demo/photos")
    names = sorted(f"train/{d.name}/{e.name}" for d in live.scandir("train") for e in live.scandir(f"train/{d.name}"))
    while not stop and len(names) > 10:
        name = names.pop(rng.randrange(len(names)))
        what = changes % 3
        if what == 0:
            live.write_bytes(name, b"overwritten")
        elif what == 1:
            live.rename(name, f"train/0-top/!renamed-{changes}.png")
        else:
            live.remove(name)
        changes += 1
        if changes == 1:
            print("changing", flush=True)
else:
    rows = client.dataset("demo/tensors")
    n = len(rows)
    while not stop:
        if changes % 2:
            rows.append({"image": np.zeros((8, 28, 28), np.uint8), "label": np.zeros(8, np.int64)})
        else:
            rows.overwrite(rng.randrange(n - 64), {"image": np.full((64, 28, 28), 255, np.uint8)})
        changes += 1
        if changes == 1:
            print("changing", flush=True)
print(json.dumps({"changes": changes}))
