"""DistributedDataParallel over gloo with two ranks that are processes: shards, passes, a resume in mid pass.

Run as a program it is one rank.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import pytest
import ranks
from ranks import BATCH, SEED, N, answer, digest, expected, model, step, taken

from pydaos.testing import Server


@pytest.mark.timeout(300)
def test_two_ranks_train_and_resume(server: Server, pool: str) -> None:
    address = ranks.make_rows(server, pool)
    seen = ranks.run_ranks(__file__, 2, server, [address, pool])
    whole, again = expected(2), expected(2, pass_=1)
    for rank, was in enumerate(seen):
        assert was["loader"] == [whole[rank], again[rank]]
        assert was["repeated"] == rank  # 203 samples: one is repeated, by the last rank
        assert was["origin"] == "torch.distributed"
        # Killed after five steps and resumed: the same samples, the same model to the bit.
        assert was["resumed"] == whole[rank][5:]
        assert was["digests"] == [was["digests"][0]] * 3
        # And with another batch size, from the same token.
        assert was["smaller"] == expected(2, 5 * 2 * BATCH, batch=5)[rank]
        assert was["stock"] == whole[rank]
        assert was["stock resumed"] == whole[rank][5:]
        assert was["ready"] == whole[rank]
        assert was["iterable"] == whole[rank]
    assert seen[0]["digests"] == seen[1]["digests"]
    assert seen[0]["tokens"] == seen[1]["tokens"]
    # Datasets of datasets: each sample once, but for those that make the ranks even.
    for what, samples in (("concat", 2 * N), ("subset", 50)):
        ids = [i for was in seen for b in was[what] for i in b]
        distinct = set(range(N)) if what == "concat" else set(range(100, 150))
        assert set(ids) == distinct
        assert samples <= len(ids) < samples + 2


def main(address: str, pool: str) -> None:
    """One rank."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import ConcatDataset, Subset
    from torch.utils.data import DataLoader as Stock

    from pydaos.torch import Checkpoint, DataLoader, IterableDataset

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    data = ranks.rows(address)
    out: dict[str, Any] = {"digests": []}

    def fresh() -> tuple[Any, Any, Any]:
        net = DistributedDataParallel(model())
        loader = DataLoader(data, batch_size=BATCH, shuffle=True, seed=SEED)
        return net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), loader

    def everywhere(value: Any) -> list[Any]:
        found: list[Any] = [None] * size
        dist.all_gather_object(found, value)
        return found

    # Two passes without a break; the model after the first.
    net, optimizer, loader = fresh()
    out["loader"] = [[step(net, optimizer, b) for b in loader]]
    out["repeated"] = loader.repeated
    out["digests"].append(digest(net))
    out["loader"].append(taken(loader))
    out["origin"] = loader.sampler._walk.world.origin

    # Five steps, a checkpoint, and then everything made anew.
    net, optimizer, loader = fresh()
    it = iter(loader)
    for _ in range(5):
        step(net, optimizer, next(it))
    out["tokens"] = loader.state_dict()
    with Checkpoint(pool, "runs", prefix="/ddp", create=True) as ckpt:
        if rank == 0:
            with ckpt.writer("last.pt") as f:
                state = {"net": net.module.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save({**state, "loader": loader.state_dict()}, f)
        dist.barrier()
        del it, net, optimizer, loader
        for k in range(2):
            net, optimizer, loader = fresh()
            # The second time with this rank's own token, not that of rank 0.
            with ckpt.reader("last.pt") as r:
                saved = torch.load(io.BytesIO(r.read()) if k else r)
            net.module.load_state_dict(saved["net"])
            optimizer.load_state_dict(saved["optimizer"])
            loader.load_state_dict(out["tokens"] if k else saved["loader"])
            out["resumed"] = [step(net, optimizer, b) for b in loader]
            out["digests"].append(digest(net))

    smaller = DataLoader(data, batch_size=5, shuffle=True, seed=SEED)
    smaller.load_state_dict(everywhere(out["tokens"])[1 - rank])
    out["smaller"] = taken(smaller)

    # torch's own loader with our sampler, and what is made of batches.
    sampler = data.sampler(seed=SEED, batch_size=BATCH)
    stock = Stock(data, BATCH, sampler=sampler)
    out["stock"] = taken(stock)
    sampler.load_state_dict(data.state_dict(5 * BATCH * size))
    out["stock resumed"] = taken(stock)
    out["ready"] = taken(Stock(data.batches(BATCH, shuffle=True, seed=SEED), batch_size=None))
    walked = IterableDataset(address, batch_size=BATCH, shuffle=True, seed=SEED)
    out["iterable"] = taken(Stock(walked, BATCH))

    out["concat"] = taken(DataLoader(ConcatDataset([data, data]), batch_size=BATCH, shuffle=True, seed=1))
    out["subset"] = taken(DataLoader(Subset(data, range(100, 150)), batch_size=BATCH, shuffle=True, seed=1))
    answer(out)
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:3])
