"""The main job, from nothing to a resumed training run, on a server of its own.

Run it with ``make demo``. It imports Fashion-MNIST as files and as tensors,
trains from a snapshot while the dataset is changed, kills the trainer and then the
server in mid pass, saves and restores a checkpoint, trains a language model on text in an
array dataset with its metrics in a KV dataset, asks questions and trains on the answer, and
compares speeds. Everything lies in one scratch folder; everything that it starts it stops.
With KEEP=1 the server is left running.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import parts
import torch
from ask import step_ask
from language import step_language
from screen import Screen, fail, timed
from ways import ways

import pydaos
from pydaos.torch import DataLoader, Dataset

#: int64 [images]
Labels = np.ndarray[Any, Any]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DAOS = Path(os.environ.get("DAOS_BIN", ROOT / "bin" / "daos"))


def daos(*args: str, quiet: bool = True) -> str:
    """Run the command line; progress bars go straight to the terminal."""
    done = subprocess.run(
        [str(DAOS), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True, check=False
    )
    if done.returncode:
        fail(f"daos {' '.join(args)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Served:
    """The demo's server: one process on a folder, that can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root.parent / "server.log"
        # A runtime folder of its own: clients elsewhere must not find this server, whose data goes away,
        # before the one that their user started.
        self.runtime = tempfile.mkdtemp(prefix="daos-demo-")
        self.listen = "127.0.0.1:0"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process and wait for its ready line; the address stays that of the first start."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [str(DAOS), "serve", "--root", str(self.root), "--listen", self.listen],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**os.environ, "XDG_RUNTIME_DIR": self.runtime},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready"):
            self.process.kill()
            fail(f"the server did not get ready; see {self.log}\n{self.log.read_text()[-2000:]}")
        fields = dict(f.split("=", 1) for f in line.split()[1:] if "=" in f)
        self.listen = fields["listen"]
        os.environ["DAOS_ADDR"] = "unix:" + fields["socket"] if "socket" in fields else self.listen
        os.environ["DEMO_TCP"] = self.listen
        os.environ["DEMO_TOKEN"] = (self.root / "token").read_text().strip()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """Kill it as a crash does, with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Let it drain and end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        shutil.rmtree(self.runtime, ignore_errors=True)


@contextmanager
def server(root: Path) -> Iterator[Served]:
    """Start a server on loopback, stop it at the end."""
    served = Served(root)
    try:
        served.start()
        yield served
    finally:
        if not os.environ.get("KEEP"):
            served.stop()


def python(script: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *args], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def result(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=600)
    if process.returncode:
        fail(f"{' '.join(map(str, process.args))} ended with {process.returncode}")  # type: ignore[arg-type]
    return json.loads(out.splitlines()[-1])


# -- the steps ------------------------------------------------------------------


def step_import(screen: Screen, scratch: Path, limit: int) -> tuple[float, Labels]:
    """Return the seconds that the import of the files took, and the labels of the images."""
    screen.step(1, "Import Fashion-MNIST: as a tree of PNG files, and as columns of a tensor dataset")
    images, labels, note = parts.fashion_mnist(scratch, limit)
    screen.line(note)
    tree = scratch / "fashion-mnist"
    screen.line(f"writing {len(images):,} PNG files to import ...")
    bar = screen.bar("writing PNG files", len(images))
    parts.write_tree(tree, images, labels, bar)
    npz = scratch / "fashion-mnist.npz"
    np.savez(npz, image=images, label=labels)
    daos("pool", "create", "demo", "--quota", "20GiB")
    daos("dataset", "create", "demo/photos", "--type", "posix")
    daos("dataset", "create", "demo/tensors", "--type", "tensor")
    files = len(images)
    seconds, _ = timed(lambda: daos("fs", "import", str(tree), "demo/photos/", quiet=not screen.tty))
    screen.line(f"{files:,} files are in demo/photos, durable, after {seconds:.1f} s")
    took, _ = timed(lambda: daos("tensor", "import", str(npz), "demo/tensors", quiet=not screen.tty))
    screen.line(f"{files:,} rows of image [28, 28] uint8 and label int64 are in demo/tensors after {took:.1f} s")
    for name in ("photos", "tensors"):
        daos("snapshot", "create", f"demo/{name}", "v1")
    screen.line("snapshot v1 of each: training reads these, whatever happens to the datasets")
    return seconds, labels


def step_train(screen: Screen, steps: int) -> None:
    screen.step(
        2, f"Train a small CNN for {steps} steps from the snapshot, quiet and while the dataset is being changed"
    )
    addresses = ["demo/photos@v1/train", "demo/tensors@v1"]
    total = steps * len(addresses)

    def train(what: str) -> Any:
        process = python("train.py", *addresses, "--steps", str(steps))
        assert process.stdout is not None
        bar, done, last = screen.bar(what, total), 0, ""
        for line in process.stdout:
            last = line
            if '"step":' in line:
                done += 10
                bar(min(done, total))
        if process.wait():
            fail(f"train.py ended with {process.returncode}")
        return json.loads(last)

    screen.line("training once from the files and once from the rows, with nothing else going on ...")
    quiet = train("training, quiet")
    changers = {kind: python("change.py", kind) for kind in ("files", "tensors")}
    for changer in changers.values():
        assert changer.stdout is not None
        changer.stdout.readline()  # the first change is in
    screen.line("the same again, while two processes change both datasets ...")
    busy = train("training, busy ")
    for (kind, changer), before, after in zip(changers.items(), quiet, busy, strict=True):
        changer.send_signal(signal.SIGTERM)
        changes = json.loads(changer.communicate(timeout=120)[0].splitlines()[-1])["changes"]
        same = before["loss_bits"] == after["loss_bits"]
        sort = "writes, renames and removals" if kind == "files" else "overwrites and appends"
        screen.line(f"{kind}: {changes:,} {sort} meanwhile")
        screen.row(
            f"loss at step {steps}, {kind}",
            f"{before['loss']:.6f} = {after['loss']:.6f}" if same else f"{before['loss']!r} != {after['loss']!r}",
            "bit-equal" if same else "DIFFERENT",
        )
        if not same:
            fail("the snapshot did not keep the run from seeing the changes")
        if not changes:
            fail("nothing was changed during the busy run")


def step_resume(screen: Screen, scratch: Path, steps: int) -> None:
    screen.step(3, "Kill the trainer with -9 in the middle of a pass, resume with another number of workers")
    screen.line(f"reading with 2 workers until batch {steps}, then kill -9 ...")
    token_file = scratch / "token.json"
    trainer = python("resume.py", "--token", str(token_file), "--workers", "2", "--steps", "100000")
    assert trainer.stdout is not None
    for line in trainer.stdout:
        if json.loads(line).get("step", 0) >= steps:
            break
    os.killpg(trainer.pid, signal.SIGKILL)
    trainer.wait()
    token = token_file.read_text()
    screen.line(f"the token ({len(token)} bytes):")
    screen.line(token)
    state = json.loads(token)
    data = Dataset("demo/photos@v1/train")
    from pydaos.torch._order import Order

    order = Order(state["order"], len(data), state["seed"], state["pass"])
    expected = order.take(state["position"], state["position"] + 6).tolist()
    seen = result(python("resume.py", "--token", str(token_file), "--workers", "3", "--steps", "1", "--resume"))
    screen.line(f"next sample ids expected: {expected}")
    screen.line(f"next sample ids seen:     {seen['ids'][:6]}")
    if expected != seen["ids"][:6]:
        fail("the resumed run did not go on at the right sample")
    screen.row(
        "resume in mid pass, 2 -> 3 workers",
        f"{seen['millis']:.0f} ms",
        f"position {state['position']:,} of {len(data):,}; open + first batch",
    )
    plain = result(python("resume.py", "--token", str(token_file), "--workers", "0", "--steps", "1", "--resume"))
    screen.row("the same without workers", f"{plain['millis']:.0f} ms", "the way to read fast: no worker processes")
    data.close()


def step_server(screen: Screen, served: Served, batch: int) -> None:
    screen.step(4, "Kill the server with -9 in the middle of a pass; the pass goes on at the same batch")
    screen.line('DataLoader(Dataset("demo/photos@v1/train", labels="dirname"), batch_size=..., shuffle=True, seed=3)')
    data = Dataset("demo/photos@v1/train", labels="dirname")
    loader = DataLoader(data, batch_size=batch, shuffle=True, seed=3)
    quiet = [parts.fingerprint(b) for b in loader]
    loader.set_epoch(0)
    middle, seen, longest, before = len(quiet) // 2, [], 0.0, served.pid
    successor = threading.Thread(target=lambda: (time.sleep(0.5), served.start()))
    walk = iter(loader)
    for k in range(len(quiet)):
        waited, b = timed(lambda: next(walk))
        seen.append(parts.fingerprint(b))
        if k > middle:
            longest = max(longest, waited)
        if k == middle:
            screen.line(
                f"batch {k} of {len(quiet)} is there: kill -9 {before}; another server starts half a second later"
            )
            served.kill()
            successor.start()
    successor.join()
    same = seen == quiet
    screen.line(f"no batch was missed, repeated or changed; server {before} was followed by {served.pid}")
    screen.row(
        "server killed in mid pass",
        f"all {len(quiet)} batches equal" if same else "DIFFERENT",
        f"the loop waited {longest:.1f} s and went on",
    )
    if not same:
        fail("the pass did not go on at the same batch")
    data.close()


def step_checkpoint(screen: Screen) -> None:
    screen.step(5, "Save a checkpoint, kill a later save halfway, restore the whole one")
    screen.line("three processes in turn: one saves, one is killed while it saves, one restores ...")
    daos("dataset", "create", "demo/runs", "--type", "posix")
    saved = result(python("checkpoint.py", "save"))
    victim = python("checkpoint.py", "save-half")
    assert victim.stdout is not None
    half = json.loads(victim.stdout.readline())
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    screen.line(
        f"saved {saved['bytes'] / 2**20:.1f} MiB; a second save was killed after {half['written'] / 2**20:.1f} MiB"
    )
    restored = result(python("checkpoint.py", "restore"))
    good = restored["digest"] == saved["digest"] and restored["position"] == saved["position"]
    screen.row(
        "checkpoint restored",
        f"{restored['tensors']} tensors equal" if good else "DIFFERENT",
        f"loader position {restored['position']}",
    )
    if not good:
        fail("the restored checkpoint differs from the saved one")


def step_speeds(screen: Screen, scratch: Path, imported: tuple[float, int]) -> None:
    screen.step(8, "Speeds, each beside the usual way on the local file system")
    seconds, files = imported
    tree = scratch / "fashion-mnist"
    copy = scratch / "copy"
    screen.line(f"copying {files:,} files with cp -r, then sync, to compare ...")
    took, _ = timed(
        lambda: (
            subprocess.run(["cp", "-r", str(tree), str(copy)], check=True),
            subprocess.run(["sync", "-f", str(copy)], check=True),
        )
    )
    screen.row("import, files/s", f"{files / seconds:,.0f}", f"cp -r + sync {files / took:,.0f}: {took / seconds:.1f}x")
    shutil.rmtree(copy)

    client = pydaos.connect()
    took_scan, table = timed(lambda: client.dataset("demo/photos@v1").scan(columns=["path", "size"]))
    took_dir, entries = timed(lambda: parts.scandir_stat(tree))
    rows = table.num_rows
    if rows != entries:
        fail(f"the scan found {rows} entries, os.scandir {entries}")
    screen.row(
        "scan, entries/s",
        f"{rows / took_scan:,.0f}",
        f"os.scandir + stat {entries / took_dir:,.0f}: {took_dir / took_scan:.1f}x",
    )

    data = Dataset("demo/photos@v1/train")
    batches = data.batches(256, shuffle=True, seed=1)
    for _ in batches:
        pass
    batches.set_epoch(1)
    ours, n = timed(lambda: sum(len(b) for b in batches))
    theirs, m = timed(lambda: parts.local_loop(tree / "train", 256))
    screen.row(
        "samples/s, batches of 256 files",
        f"{n / ours:,.0f}",
        f"open + read of local files {m / theirs:,.0f}: {theirs / m * n / ours:.1f}x",
    )
    data.close()
    ways(screen, scratch)

    flight = result(python("stock_flight.py"))
    screen.row(
        "stock pyarrow.flight client",
        f"{flight['rows']:,} rows",
        f"{flight['seconds']:.2f} s, without pydaos",
    )
    screen.line(f"its schema: {flight['schema']}")
    if flight["rows"] != files:
        fail("the stock Flight client read another number of rows")
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=0, help="use only so many images (for tests)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--victim-steps", type=int, default=60, help="batches before the trainer is killed")
    args = parser.parse_args()
    if not DAOS.exists():
        fail(f"{DAOS} is not there; run make build")
    base = Path(os.environ.get("DEMO_DIR", ROOT / ".scratch"))
    base.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="demo-", dir=base))
    os.environ.setdefault("DEMO_CACHE", str(base / "cache"))
    screen = Screen()
    begun = time.monotonic()
    print(f"The DAOS dataset service, first light. Everything lies in {scratch}.")
    torch.set_num_threads(1)
    keep = bool(os.environ.get("KEEP"))
    try:
        with server(scratch / "server") as served:
            screen.line(
                f"daos serve is ready (process {served.pid}), listening on {os.environ['DEMO_TCP']} and a unix socket"
            )
            seconds, labels = step_import(screen, scratch, args.limit)
            step_train(screen, args.steps)
            step_resume(screen, scratch, args.victim_steps)
            step_server(screen, served, 64 if args.limit else 256)
            step_checkpoint(screen)
            step_language(screen, daos, 6, 10 if args.limit else 80)
            sizes = parts.sizes_below(scratch / "fashion-mnist" / "train")
            step_ask(screen, daos, 7, labels, sizes, args.steps)
            step_speeds(screen, scratch, (seconds, len(labels)))
            screen.table()
            print(f"\ndone in {time.monotonic() - begun:.0f} s")
            if keep:
                print(
                    f"""
The server is still running (process {served.pid}). Look around:
    export DAOS_ADDR={os.environ["DAOS_ADDR"]}
    {DAOS} pool list
    {DAOS} fs ls demo/photos@v1/train
    {DAOS} tensor head demo/tensors@v1
    {DAOS} query find demo/photos --top -size -k 5 -c path,size
    {DAOS} query shell
    {DAOS} system status
Stop it with: kill {served.pid}; its data: rm -r {scratch}"""
                )
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
