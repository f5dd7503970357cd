"""Train for some steps from each address; print the last losses, to the bit."""

from __future__ import annotations

import argparse
import json
import struct

import parts
import torch
from torch import nn
from torch.utils.data import DataLoader

from pydaos.torch import Dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("addresses", nargs="+")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--batch", type=int, default=64)
args = parser.parse_args()


def train(address: str) -> dict[str, object]:
    """Train from nothing; return the last loss and its bits."""
    files = "photos" in address
    data = Dataset(address, labels="dirname", decode="image") if files else Dataset(address)
    loader = DataLoader(data, batch_size=args.batch, sampler=data.sampler(shuffle=True, seed=0))
    net = parts.model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    loss = torch.zeros(())
    step = 0
    while step < args.steps:
        for batch in loader:
            x, y = batch if files else (batch["image"][:, None], batch["label"])
            loss = nn.functional.cross_entropy(net(x.float().div_(255)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 10 == 0:
                print(json.dumps({"step": step}), flush=True)
            if step == args.steps:
                break
    data.close()
    value = float(loss.detach())
    return {"loss": value, "loss_bits": struct.pack("<f", value).hex(), "steps": step}


parts.prepare()
print(json.dumps([train(a) for a in args.addresses]))
