"""``make bench``: every row prints both sides, measured in one run.

Medians of interleaved rounds with their quartiles, own disk reads, CPU seconds of
client and server, versions. The other side is at its documented best; rows that we
lose stay. ``--only`` chooses rows, ``--quick`` is for looking, not for quoting.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pairs import Row, Side, measure
from torch.utils.data import DataLoader

import pydaos
from pydaos.testing import Server, find_binary
from pydaos.torch import Dataset
from pydaos.torch._order import Order

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"4 KiB": 4096, "100 KiB": 100 << 10, "1 MiB": 1 << 20}
GOALS = {"4 KiB": ">= 6x", "100 KiB": ">= 1.2x", "1 MiB": ">= 3x"}


class Bench:
    def __init__(self, scratch: Path, server: Server, rounds: int, quick: bool) -> None:
        self.scratch = scratch
        self.server = server
        self.rounds = rounds
        self.quick = quick
        self.client = pydaos.connect(server.unix)
        self.rows: list[Row] = []
        self.sizes: list[str] = []
        self.client.create_pool("bench")
        os.environ["DAOS_ADDR"] = server.unix

    def say(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def run(self, row: Row) -> None:
        measure(row, self.rounds, self.server.pid, self.say)
        self.say("")
        self.rows.append(row)
        print(row.markdown(), flush=True)

    def daos(self, *args: str) -> None:
        subprocess.run([find_binary(), *args], check=True, stdout=subprocess.DEVNULL)

    # -- loader rows ------------------------------------------------------

    def loader(self) -> None:
        """Shuffled batches of 32 files of one size, and 256 rows of 784 bytes."""
        budget = (64 << 20) if self.quick else (1 << 30)
        for name, size in SIZES.items():
            if self.sizes and name not in self.sizes:
                continue
            count = min(20_000, max(1024, budget // size))
            self.files_row(name, size, count, 32, GOALS[name])
        if not self.sizes or "784 B" in self.sizes:
            self.files_row("784 B", 784, 20_000 if self.quick else 60_000, 256, ">= 8x (later issue)")

    def files_row(self, name: str, size: int, count: int, batch: int, goal: str) -> None:
        tree = self.scratch / f"files-{size}"
        tree.mkdir()
        rng = np.random.default_rng(size)
        packed = self.scratch / f"packed-{size}"
        rows = np.memmap(packed, np.uint8, "w+", shape=(count, size))
        for i in range(count):
            rows[i] = rng.integers(0, 256, size, dtype=np.uint8)
            (tree / f"{i:08d}").write_bytes(rows[i].tobytes())
        rows.flush()
        label = f"f{size}"
        self.daos("dataset", "create", f"bench/{label}", "--type", "posix")
        self.daos("fs", "import", str(tree), f"bench/{label}/")
        self.daos("snapshot", "create", f"bench/{label}", "v1")
        tensors = self.client.create_dataset(f"bench/t{size}", type="tensor")
        step = max(1, (64 << 20) // size)
        tensors.define({"x": np.asarray(rows[:1])})
        for i in range(0, count, step):
            tensors.append({"x": np.asarray(rows[i : i + step])})
        self.daos("snapshot", "create", f"bench/t{size}", "v1")
        subprocess.run(["sync"], check=True)
        per_round = min(count, max(batch * 4, ((16 << 20) if self.quick else (256 << 20)) // size // batch * batch))
        passes = iter(range(10**6))
        files = [str(p) for p in sorted(tree.iterdir())]

        def order() -> np.ndarray:
            return Order("shuffle", count, 3, next(passes)).take(0, per_round).astype(np.int64)

        def local(_: int = 0) -> float:
            seen = 0
            ids = order()
            for i in range(0, per_round, batch):
                out = []
                for k in ids[i : i + batch]:
                    with open(files[k], "rb") as f:
                        out.append(torch.frombuffer(bytearray(f.read()), dtype=torch.uint8))
                seen += torch.stack(out).shape[0]
            return seen

        mapped = np.memmap(packed, np.uint8, "r", shape=(count, size))

        def memmap() -> float:
            ids = order()
            seen = 0
            for i in range(0, per_round, batch):
                seen += torch.from_numpy(mapped[ids[i : i + batch]]).shape[0]
            return seen

        descriptor = os.open(packed, os.O_RDONLY)

        def preadv() -> float:
            ids = order()
            out = torch.empty(batch, size, dtype=torch.uint8)
            views = [memoryview(out[j].numpy()) for j in range(batch)]
            seen = 0
            for i in range(0, per_round, batch):
                for j, k in enumerate(ids[i : i + batch]):
                    seen += os.preadv(descriptor, [views[j]], int(k) * size) // size
            return seen

        def ready(address: str, addr: str) -> Callable[[], float]:
            data = Dataset(address, addr=addr)
            batches = data.batches(batch, shuffle=True, seed=3)

            def work() -> float:
                batches.set_epoch(next(passes))
                seen = 0
                for b in batches:
                    seen += (b["x"] if isinstance(b, dict) else b).shape[0]
                    if seen >= per_round:
                        break
                return seen

            return work

        def stock(address: str) -> Callable[[], float]:
            data = Dataset(address)

            def work() -> float:
                generator = torch.Generator().manual_seed(next(passes))
                seen = 0
                for b in DataLoader(data, batch, shuffle=True, generator=generator):
                    seen += b.shape[0]
                    if seen >= per_round:
                        break
                return seen

            return work

        unix, tcp = self.server.unix, self.server.address
        sides = [
            Side("files: open + read + frombuffer + stack", local),
            Side("np.memmap of one packed file", memmap),
            Side("packed file, preadv into one buffer", preadv),
            Side("ours, ready batches, files, unix", ready(f"bench/{label}@v1", unix)),
            Side("ours, ready batches, tensors, unix", ready(f"bench/t{size}@v1", unix)),
            Side("ours, ready batches, files, TCP", ready(f"bench/{label}@v1", tcp)),
            Side("ours, stock DataLoader, files, unix", stock(f"bench/{label}@v1")),
        ]
        for s in sides:
            s.work()  # warm both sides' caches; not counted
        self.run(Row(f"shuffled batches of {batch} x {name}", "samples/s", sides, sides[0].name, goal))
        os.close(descriptor)
        del rows
        shutil.rmtree(tree)
        packed.unlink()
        for d in (label, f"t{size}"):
            self.client.destroy_dataset(f"bench/{d}")

    # -- namespace rows -----------------------------------------------------

    def namespace(self) -> None:
        """Scan beside os.scandir + stat, import beside cp + sync, manifest build."""
        entries = 50_000 if self.quick else 1_100_000
        per_dir = 1000
        tree = self.scratch / "tree"
        self.say(f"making {entries:,} files")
        for d in range(entries // per_dir):
            folder = tree / f"{d // 100:03d}" / f"{d:05d}"
            folder.mkdir(parents=True)
            for i in range(per_dir):
                os.close(os.open(folder / f"{i:06d}.jpg", os.O_CREAT | os.O_WRONLY))
        self.daos("dataset", "create", "bench/tree", "--type", "posix")
        self.daos("fs", "import", str(tree), "bench/tree/")
        self.daos("snapshot", "create", "bench/tree", "v1")
        handle = self.client.dataset("bench/tree@v1")

        def scandir() -> float:
            count, stack = 0, [os.fspath(tree)]
            while stack:
                with os.scandir(stack.pop()) as it:
                    for entry in it:
                        count += 1
                        if entry.is_dir(follow_symlinks=False):
                            stack.append(entry.path)
                        _ = entry.stat(follow_symlinks=False).st_size
            return count

        def find() -> float:
            out = subprocess.run(
                ["find", str(tree), "-mindepth", "1", "-printf", "%s %p\\n"], stdout=subprocess.PIPE, check=True
            ).stdout
            return out.count(b"\n")

        def scan() -> float:
            table: pa.Table = handle.scan(columns=["path", "size"])
            return table.num_rows

        sides = [
            Side("os.scandir + stat", scandir),
            Side("find -printf '%s %p'", find),
            Side("ours, scan(path, size) to pyarrow", scan),
        ]
        counts = {s.name: s.work() for s in sides}
        if len(set(counts.values())) != 1:
            raise SystemExit(f"the sides saw different trees: {counts}")
        self.run(
            Row(
                f"full scan of {int(counts[sides[0].name]):,} entries",
                "entries/s",
                sides,
                sides[0].name,
                ">= 5x and >= 1 M entries/s",
            )
        )

        globs = iter(range(1000))

        def build() -> float:
            # A new selection every time, so that nothing is found on disk.
            info = self.client.open_manifest(
                "bench/tree@v1", glob=f"**/*.jp[g{next(globs) % 10}]" + "*" * (next(globs) % 3)
            )
            return info.samples

        sides = [
            Side("os.walk + sorted, in Python", lambda: float(sum(len(f) for _, _, f in os.walk(tree)))),
            Side("ours, manifest build", build),
        ]
        self.run(Row("manifest build", "entries/s", sides, sides[0].name, ">= 1 M entries/s"))
        shutil.rmtree(tree)
        self.client.destroy_dataset("bench/tree")

        small = self.scratch / "small"
        count = 5_000 if self.quick else 70_000
        rng = np.random.default_rng(0)
        for i in range(count):
            folder = small / f"{i % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:05d}.png").write_bytes(rng.bytes(500))
        subprocess.run(["sync"], check=True)
        runs = iter(range(1000))

        def copy() -> float:
            to = self.scratch / f"copy-{next(runs)}"
            subprocess.run(["cp", "-r", str(small), str(to)], check=True)
            subprocess.run(["sync", "-f", str(to)], check=True)
            doomed.append(to)
            return count

        def tar() -> float:
            to = self.scratch / f"copy-{next(runs)}.tar"
            subprocess.run(["tar", "-cf", str(to), str(small)], check=True, stderr=subprocess.DEVNULL)
            subprocess.run(["sync", str(to)], check=True)
            doomed.append(to)
            return count

        def imported() -> float:
            name = f"bench/import{next(runs)}"
            self.daos("dataset", "create", name, "--type", "posix")
            self.daos("fs", "import", str(small), f"{name}/")
            return count

        doomed: list[Path] = []
        sides = [Side("cp -r + sync", copy), Side("tar + fsync", tar), Side("ours, daos fs import", imported)]
        self.run(Row(f"import of {count:,} files of 500 B, durable", "files/s", sides, sides[0].name, ">= 1x"))
        for path in doomed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    # -- Flight -----------------------------------------------------------------

    def checkpoint(self) -> None:
        """A save beside raw write + fsync, a load beside a local file."""
        from pydaos.torch import Checkpoint

        nbytes = (64 << 20) if self.quick else (1 << 30)
        blob = torch.empty(nbytes, dtype=torch.uint8).random_(generator=torch.Generator().manual_seed(0))
        view = memoryview(blob.numpy())
        target = self.scratch / "raw.bin"

        def raw() -> float:
            with open(target, "wb", buffering=0) as f:
                for i in range(0, nbytes, 8 << 20):
                    f.write(view[i : i + (8 << 20)])
                os.fsync(f.fileno())
            return nbytes / 2**20

        ckpt = Checkpoint("bench", "runs", create=True)

        def ours() -> float:
            with ckpt.writer("raw.bin") as f:
                for i in range(0, nbytes, 8 << 20):
                    f.write(view[i : i + (8 << 20)])
            return nbytes / 2**20

        sides = [Side("raw write + fsync", raw), Side("ours, Checkpoint.writer", ours)]
        self.run(
            Row(f"checkpoint save, {nbytes >> 20} MiB, durable", "MiB/s", sides, sides[0].name, ">= 0.7x (later issue)")
        )
        state = {f"w{i}": blob[i * (nbytes // 16) : (i + 1) * (nbytes // 16)] for i in range(16)}
        torch.save(state, target)
        with ckpt.writer("state.pt") as f:
            torch.save(state, f)
        sides = [
            Side("torch.load of a local file", lambda: sum(t.numel() for t in torch.load(target).values()) / 2**20),
            Side(
                "ours, torch.load of a reader",
                lambda: sum(t.numel() for t in torch.load(ckpt.reader("state.pt")).values()) / 2**20,
            ),
        ]
        self.run(Row("checkpoint load", "MiB/s", sides, sides[0].name, ">= 1x (later issue)"))
        ckpt.close()
        target.unlink()

    def starts(self) -> None:
        """First batch with the manifest built, and resume in the middle of a pass."""
        size, count = 4096, 5_000 if self.quick else 100_000
        tensors = self.client.create_dataset("bench/starts", type="tensor")
        tensors.define({"x": np.zeros((1, size), np.uint8)})
        tensors.append({"x": np.zeros((count, size), np.uint8)})
        self.daos("snapshot", "create", "bench/starts", "v1")
        Dataset("bench/starts@v1").close()

        def first() -> float:
            data = Dataset("bench/starts@v1")
            next(iter(data.batches(32, shuffle=True)))
            data.close()
            return 1

        def resume() -> float:
            data = Dataset("bench/starts@v1")
            batches = data.batches(32, shuffle=True)
            batches.load_state_dict(data.state_dict(count // 2 + 7, seed=0))
            next(iter(batches))
            data.close()
            return 1

        sides = [Side("open + first batch", first), Side("open + resume in mid pass", resume)]
        self.run(Row("starts", "starts/s", sides, sides[0].name, ">= 10/s (0.1 s each)"))


def versions(server: Server) -> Iterator[str]:
    yield f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, "
    yield f"pyarrow {pa.__version__}"
    yield subprocess.run([find_binary(), "version"], capture_output=True, text=True, check=True).stdout.strip()
    model = next(
        (s.split(":")[1].strip() for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s), "?"
    )
    yield f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="loader,namespace,checkpoint,starts", help="rows, separated by commas")
    parser.add_argument("--quick", action="store_true", help="small and few: for looking, not for quoting")
    parser.add_argument("--sizes", default="", help="only these loader rows: '4 KiB,100 KiB,1 MiB,784 B'")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--out", help="also write the rows as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base = Path(os.environ.get("BENCH_DIR", ROOT / ".scratch"))
    base.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    begun = time.monotonic()
    try:
        with Server(scratch / "server") as server:
            for line in versions(server):
                print(line)
            print()
            bench = Bench(scratch, server, args.rounds or (3 if args.quick else 7), args.quick)
            bench.sizes = [s.strip() for s in args.sizes.split(",") if s.strip()]
            for name in args.only.split(","):
                getattr(bench, name.strip())()
            if args.out:
                Path(args.out).write_text(json.dumps([r.as_dict() for r in bench.rows], indent=1))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"done in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
