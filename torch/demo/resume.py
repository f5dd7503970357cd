"""Walk a pass and keep a resume token beside it; with --resume, go on from the token."""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings

import torch
from torch.utils.data import DataLoader

from pydaos.torch import Dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--token", required=True)
parser.add_argument("--workers", type=int, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--resume", action="store_true")
args = parser.parse_args()

torch.set_num_threads(1)
warnings.filterwarnings("ignore", message=".*worker processes in total")  # two cores are enough for this
begun = time.perf_counter()
data = Dataset("demo/photos@v1/train", labels="dirname", decode="image")
batches = data.batches(args.batch, shuffle=True, seed=7, with_index=True)
consumed = 0
if args.resume:
    with open(args.token) as f:
        state = json.load(f)
    batches.load_state_dict(state)
    consumed = state["position"]
for step, (ids, _) in enumerate(DataLoader(batches, batch_size=None, num_workers=args.workers), 1):
    if args.resume:
        print(json.dumps({"ids": ids.tolist(), "millis": 1000 * (time.perf_counter() - begun)}), flush=True)
    consumed += len(ids)
    # Replaced whole, so that a kill leaves the one before or the one after.
    with open(args.token + ".new", "w") as f:
        json.dump(batches.state_dict(consumed=consumed), f, separators=(",", ":"))
    os.replace(args.token + ".new", args.token)
    if not args.resume:
        print(json.dumps({"step": step}), flush=True)
    if step == args.steps:
        break
