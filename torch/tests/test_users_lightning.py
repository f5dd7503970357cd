"""Lightning with two ranks that are processes: our loader keeps its place in Lightning's own checkpoints.

Run as a program it is one rank.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import pytest
import ranks
from ranks import BATCH, SEED, N, answer, digest, expected, model

from pydaos.testing import Server


@pytest.mark.timeout(300)
def test_two_ranks_under_lightning(server: Server, pool: str) -> None:
    seen = ranks.run_ranks(__file__, 2, server, [ranks.make_rows(server, pool)])
    whole, again = expected(2), expected(2, pass_=1)
    for rank, was in enumerate(seen):
        assert was["whole"] == whole[rank] + again[rank]
        assert was["begun"] == whole[rank][:5]
        # Lightning saves and loads the state of a loader that has one: the rest of the pass, then the next.
        assert was["resumed"] == whole[rank][5:] + again[rank]
        assert was["digests"] == [was["digests"][0]] * 2
        # Lightning puts no sampler of its own in the place of ours.
        assert was["stock, sampler"] == whole[rank]
        assert was["stock, batches"] == whole[rank]
    assert seen[0]["digests"] == seen[1]["digests"]
    # And with torch's shuffle it puts one there, which shards once.
    shuffled = [i for was in seen for b in was["stock, shuffle"] for i in b]
    assert set(shuffled) == set(range(N))
    assert len(shuffled) < N + 2


def main(address: str, folder: str) -> None:
    """One rank."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch.utils.data import DataLoader as Stock

    from pydaos.torch import DataLoader

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()
            self.seen: list[list[int]] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.append(batch["id"].tolist())
            return torch.nn.functional.cross_entropy(self.net(batch["x"]), batch["y"])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    data = ranks.rows(address)

    def ours() -> Any:
        return DataLoader(data, batch_size=BATCH, shuffle=True, seed=SEED)

    def fit(loader: Any, ckpt_path: str | None = None, save: bool = False, **limits: int) -> Module:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            logger=False,
            enable_checkpointing=save,
            callbacks=[ModelCheckpoint(folder, "last", every_n_train_steps=5)] if save else [],
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            **limits,
        )
        module = Module()
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=False if ckpt_path else None)
        return module

    out: dict[str, Any] = {}
    module = fit(ours(), max_epochs=2)
    out["whole"], out["digests"] = module.seen, [digest(module)]
    module = fit(ours(), save=True, max_steps=5)
    out["begun"] = module.seen
    module = fit(ours(), f"{folder}/last.ckpt", max_epochs=2)
    out["resumed"] = module.seen
    out["digests"].append(digest(module))
    sampler = data.sampler(seed=SEED, batch_size=BATCH)
    out["stock, sampler"] = fit(Stock(data, BATCH, sampler=sampler), max_epochs=1).seen
    ready = data.batches(BATCH, shuffle=True, seed=SEED)
    out["stock, batches"] = fit(Stock(ready, batch_size=None), max_epochs=1).seen
    out["stock, shuffle"] = fit(Stock(data, BATCH, shuffle=True), max_epochs=1).seen
    answer(out)
    torch.distributed.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
