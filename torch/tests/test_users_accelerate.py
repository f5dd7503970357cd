"""Hugging Face accelerate with two ranks that are processes: nothing is sharded twice, state is saved and loaded.

Run as a program it is one rank.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import ranks
from ranks import BATCH, SEED, N, answer, digest, expected, model, taken

from pydaos.testing import Server


@pytest.mark.timeout(300)
def test_two_ranks_under_accelerate(server: Server, pool: str) -> None:
    seen = ranks.run_ranks(__file__, 2, server, [ranks.make_rows(server, pool)])
    whole, again = expected(2), expected(2, pass_=1)
    for rank, was in enumerate(seen):
        assert was["loader"] == [whole[rank], again[rank]]
        # What accelerate's own wrapper does is done: the end is known, for gradient accumulation.
        assert was["ends"] == [False] * (len(whole[0]) - 1) + [True]
        assert was["resumed"] == was["loader, skipped"] == whole[rank][5:]
        assert was["digests"] == [was["digests"][0]] * 2
    assert seen[0]["digests"] == seen[1]["digests"]
    # gather_for_metrics leaves out what was repeated to make the ranks even.
    assert sorted(seen[0]["gathered"]) == list(range(N))
    order = [i for batch in zip(whole[0], whole[1], strict=True) for part in batch for i in part]
    for how in ("stock, sampler", "stock, batches", "stock, iterable"):
        check_shared([was[how] for was in seen], order[:N], how)
    # torch's shuffle is drawn by accelerate alike on both ranks.
    check_shared([was["stock, shuffle"] for was in seen], None, "stock, shuffle")
    check_shared([was["stock, sampler, skipped"] for was in seen], order[5 * 2 * BATCH : N], "skipped")


def check_shared(shares: list[list[list[int]]], order: list[int] | None, how: str) -> None:
    """Both ranks together see each sample once, then less than a global batch that makes them even."""
    assert len(shares[0]) == len(shares[1]), how
    walked = [i for batches in zip(*shares, strict=True) for b in batches for i in b]
    if order is None:
        assert sorted(set(walked)) == list(range(N)), how
        assert len(walked) < N + 2 * BATCH, how
    else:
        # accelerate's shares are ours: slices (or whole batches) in turn, of one order.
        assert walked[: len(order)] == order, how
        assert len(walked) < len(order) + 2 * BATCH, how


def main(address: str, folder: str) -> None:
    """One rank."""
    import torch
    from accelerate import Accelerator, skip_first_batches
    from torch.utils.data import DataLoader as Stock

    from pydaos.torch import DataLoader, IterableDataset

    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    data = ranks.rows(address)
    out: dict[str, Any] = {"digests": [], "ends": []}

    def fresh() -> tuple[Any, Any, Any]:
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        loader = DataLoader(data, batch_size=BATCH, shuffle=True, seed=SEED)
        return accelerator.prepare(net, optimizer, loader)

    def step(net: Any, optimizer: Any, batch: Any) -> list[int]:
        loss = torch.nn.functional.cross_entropy(net(batch["x"]), batch["y"])
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        return batch["id"].tolist()

    net, optimizer, loader = fresh()
    first, gathered = [], []
    for batch in loader:
        first.append(step(net, optimizer, batch))
        out["ends"].append(loader.end_of_dataloader)
        gathered += accelerator.gather_for_metrics(batch["id"]).tolist()
    out["digests"].append(digest(accelerator.unwrap_model(net)))
    out["gathered"] = gathered
    out["loader"] = [first, taken(loader)]

    out["loader, skipped"] = taken(skip_first_batches(fresh()[2], 5))

    # Five steps, everything saved by accelerate, and loaded into what is made anew.
    for loaded in (False, True):
        accelerator.free_memory()
        net, optimizer, loader = fresh()
        if loaded:
            accelerator.load_state(f"{folder}/state")
            out["resumed"] = [step(net, optimizer, b) for b in loader]
            out["digests"].append(digest(accelerator.unwrap_model(net)))
        else:
            it = iter(loader)
            for _ in range(5):
                step(net, optimizer, next(it))
            accelerator.save_state(f"{folder}/state")
            del it

    # torch's own loader, which accelerate shards: with our sampler, ready batches, an iterable, and torch's shuffle.
    accelerator.free_memory()
    stock = accelerator.prepare(Stock(data, BATCH, sampler=data.sampler(seed=SEED, batch_size=BATCH)))
    out["stock, sampler"] = taken(stock)
    out["stock, sampler, skipped"] = taken(skip_first_batches(stock, 5))
    ready = data.batches(BATCH, shuffle=True, seed=SEED)
    out["stock, batches"] = taken(accelerator.prepare(Stock(ready, batch_size=None)))
    walked = IterableDataset(address, batch_size=BATCH, shuffle=True, seed=SEED)
    out["stock, iterable"] = taken(accelerator.prepare(Stock(walked, BATCH)))
    out["stock, shuffle"] = taken(accelerator.prepare(Stock(data, BATCH, shuffle=True)))
    answer(out)
    accelerator.wait_for_everyone()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
