"""The Hugging Face Trainer with two ranks that are processes: shards once, resumes in mid pass.

Run as a program it is one rank.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import ranks
from ranks import BATCH, SEED, N, answer, digest, expected, model

from pydaos.testing import Server

STOP = 5


@pytest.mark.timeout(400)
def test_two_ranks_under_the_trainer(server: Server, pool: str) -> None:
    seen = ranks.run_ranks(__file__, 2, server, [ranks.make_rows(server, pool)], timeout=380)
    whole, again = expected(2), expected(2, pass_=1)
    for rank, was in enumerate(seen):
        # Our loader, with its state in the Trainer's checkpoint, and by the Trainer's own skipping.
        assert was["ours"]["whole"] == whole[rank] + again[rank]
        assert was["ours"]["begun"] == whole[rank][:STOP]
        assert was["ours"]["resumed"] == was["ours"]["skipped"] == whole[rank][STOP:] + again[rank]
        assert was["ours"]["digests"] == [was["ours"]["digests"][0]] * 3
        # A dataset of ours in train_dataset=: torch's order; the Trainer skips what was seen.
        plain = was["plain"]
        assert plain["begun"] + plain["skipped"] == plain["whole"]
        assert plain["digests"] == [plain["digests"][0]] * 2
    for k in range(2):
        steps = len(seen[0]["plain"]["whole"]) // 2
        walked = [i for was in seen for b in was["plain"]["whole"][k * steps : (k + 1) * steps] for i in b]
        assert set(walked) == set(range(N))
        assert len(walked) < N + 2 * BATCH


def main(address: str, folder: str) -> None:
    """One rank."""
    warnings.simplefilter("ignore")
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from pydaos.torch import DataLoader

    torch.set_num_threads(1)
    data = ranks.rows(address)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()
            self.seen: list[list[int]] = []

        def forward(self, x: Any, y: Any, id: Any) -> Any:
            self.seen.append(id.tolist())
            return {"loss": torch.nn.functional.cross_entropy(self.net(x), y)}

    class OurTrainer(Trainer):
        def get_train_dataloader(self) -> Any:
            self.loader = DataLoader(data, batch_size=BATCH, shuffle=True, seed=SEED)
            if place is not None and (place / "loader.json").exists():
                self.loader.load_state_dict(json.loads((place / "loader.json").read_text()))
            return self.loader

    class KeepPlace(TrainerCallback):
        """Puts the loader's state into the checkpoint that the Trainer has just written."""

        def on_save(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **more: Any) -> None:
            if args.process_index == 0:
                where = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                (where / "loader.json").write_text(json.dumps(train_dataloader.state_dict()))

    place: Path | None = None

    def train(kind: str, *, steps: int = -1, resume: bool = False, own_state: bool = False) -> Net:
        nonlocal place
        place = Path(folder) / kind / f"checkpoint-{STOP}" if own_state else None
        net = Net()
        args = TrainingArguments(
            output_dir=f"{folder}/{kind}",
            per_device_train_batch_size=BATCH,
            num_train_epochs=2,
            max_steps=steps,
            save_strategy="steps" if steps > 0 else "no",
            save_steps=STOP,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            ignore_data_skip=own_state,
            ddp_find_unused_parameters=False,
            lr_scheduler_type="constant",
            optim="sgd",
            learning_rate=0.1,
            seed=7,
        )
        make = OurTrainer if kind == "ours" else Trainer
        trainer = make(net, args, train_dataset=data, callbacks=[KeepPlace()] if kind == "ours" else [])
        trainer.train(resume_from_checkpoint=f"{folder}/{kind}/checkpoint-{STOP}" if resume else None)
        return net

    out: dict[str, Any] = {}
    for kind in ("ours", "plain"):
        whole = train(kind)
        begun = train(kind, steps=STOP)
        skipped = train(kind, resume=True)
        out[kind] = {"whole": whole.seen, "begun": begun.seen, "skipped": skipped.seen}
        out[kind]["digests"] = [digest(whole), digest(skipped)]
    resumed = train("ours", resume=True, own_state=True)
    out["ours"]["resumed"] = resumed.seen
    out["ours"]["digests"].append(digest(resumed))
    answer(out)
    torch.distributed.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
