"""One other loader, in a process of its own: convert the samples, walk shuffled passes beside ours.

Run by `standing` with the interpreter of .venv/peers: ``peer.py OPERATION JOB.json``; the
last line of its output is JSON. Each peer is used as its own documentation does for
samples of one size on local disk, with batches made in the workers where it can:

litdata     ``optimize`` into 64 MB chunks, ``StreamingDataset(shuffle=True)``, its StreamingDataLoader
mosaic      MDS with an ``ndarray`` column of fixed shape, ``StreamingDataset(shuffle=True)``, its loader
webdataset  tar shards, shard shuffle and a buffer of 1000, batched in the pipeline, WebLoader
lance       fixed-size lists, ``take`` of a batch by ``__getitems__``
hf          Arrow on disk, ``with_format("arrow")``, a batch by ``__getitems__``, then numpy
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import walks
from pairs import Row, Side, measure
from sets import Population, Shape
from torch.utils.data import DataLoader

#: Module of each peer, for its version.
MODULES = {"litdata": "litdata", "mosaic": "streaming", "webdataset": "webdataset", "lance": "lance", "hf": "datasets"}


@dataclass
class Job:
    """What `standing` asks for."""

    peer: str
    shape: Shape
    count: int
    tree: str
    packed: str
    files: str
    tensors: str
    folder: str
    workers: int
    rounds: int
    cap: float
    server_pid: int
    addr: str

    @staticmethod
    def read(path: str) -> Job:
        """Read a job from its file."""
        fields = json.loads(Path(path).read_text())
        return Job(**{**fields, "shape": Shape(**fields["shape"])})

    @property
    def population(self) -> Population:
        """The samples as local files and in our datasets."""
        return Population(self.shape, self.count, Path(self.tree), Path(self.packed), self.files, self.tensors)


# -- conversion: each into the peer's own format ---------------------------------------


class RowAt:
    """Sample i of the packed file as a tensor."""

    def __init__(self, packed: str, count: int, size: int) -> None:
        self.where = packed, count, size
        self._rows: Any = None

    def __call__(self, i: int) -> torch.Tensor:
        if self._rows is None:
            packed, count, size = self.where
            self._rows = np.memmap(packed, np.uint8, "r", shape=(count, size))
        return torch.from_numpy(np.array(self._rows[i]))

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_rows": None}


def convert_litdata(job: Job) -> None:
    import litdata

    litdata.optimize(
        RowAt(job.packed, job.count, job.shape.size),
        list(range(job.count)),
        output_dir=job.folder,
        chunk_bytes="64MB",
        num_workers=2,
        verbose=False,
    )


def convert_mosaic(job: Job) -> None:
    from streaming import MDSWriter

    rows = job.population.mapped()
    with MDSWriter(out=job.folder, columns={"x": f"ndarray:uint8:{job.shape.size}"}) as out:
        for row in rows:
            out.write({"x": np.asarray(row)})


def convert_webdataset(job: Job) -> None:
    import webdataset

    folder = Path(job.folder)
    folder.mkdir()
    rows = job.population.mapped()
    # Shards for both workers, and of 64 MB at most.
    per_shard = max(1, min((64 << 20) // job.shape.size, -(-job.count // 8)))
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=per_shard, verbose=0) as out:
        for i, row in enumerate(rows):
            out.write({"__key__": f"{i:08d}", "bin": row.tobytes()})


def tables(job: Job) -> Any:
    """Yield the samples as Arrow record batches of 64 MB with a column x of fixed-size lists."""
    import pyarrow as pa

    rows, size = job.population.mapped(), job.shape.size
    step = max(1, (64 << 20) // size)
    schema = pa.schema([("x", pa.list_(pa.uint8(), size))])
    for i in range(0, job.count, step):
        flat = pa.array(np.asarray(rows[i : i + step]).reshape(-1))
        yield pa.record_batch([pa.FixedSizeListArray.from_arrays(flat, size)], schema=schema)


def convert_lance(job: Job) -> None:
    import lance
    import pyarrow as pa

    batches = tables(job)
    first = next(batches)

    def every() -> Any:
        yield first
        yield from batches

    lance.write_dataset(pa.RecordBatchReader.from_batches(first.schema, every()), job.folder)


def convert_hf(job: Job) -> None:
    import datasets
    import pyarrow as pa

    table = pa.Table.from_batches(list(tables(job)))
    datasets.disable_progress_bars()
    datasets.Dataset(datasets.table.InMemoryTable(table)).save_to_disk(job.folder)


# -- one shuffled pass ---------------------------------------------------------------


def loader_litdata(job: Job) -> Any:
    import litdata

    data = litdata.StreamingDataset(job.folder, shuffle=True, drop_last=False)
    return litdata.StreamingDataLoader(
        data, batch_size=job.shape.batch, num_workers=job.workers, persistent_workers=job.workers > 0
    )


def loader_mosaic(job: Job) -> Any:
    from streaming import StreamingDataLoader, StreamingDataset

    data = StreamingDataset(local=job.folder, shuffle=True, batch_size=job.shape.batch, num_canonical_nodes=1)
    return StreamingDataLoader(
        data, batch_size=job.shape.batch, num_workers=job.workers, persistent_workers=job.workers > 0
    )


def to_tensor(sample: dict[str, Any]) -> torch.Tensor:
    return torch.frombuffer(bytearray(sample["bin"]), dtype=torch.uint8)


def loader_webdataset(job: Job) -> Any:
    import webdataset

    shards = sorted(str(p) for p in Path(job.folder).glob("*.tar"))
    data = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=3).shuffle(1000).map(to_tensor)
    data = data.batched(job.shape.batch, collation_fn=torch.stack, partial=True)
    return webdataset.WebLoader(data, batch_size=None, num_workers=job.workers, persistent_workers=job.workers > 0)


def tensor_of(column: Any, size: int) -> torch.Tensor:
    """Return a column of fixed-size lists as a tensor ``[B, size]``, with one copy at most."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = array.flatten().to_numpy(zero_copy_only=True)
    return torch.from_numpy(np.array(flat).reshape(-1, size))


class LanceRows(torch.utils.data.Dataset[Any]):
    """``take`` of a whole batch; opened in the process that reads."""

    def __init__(self, folder: str, count: int, size: int) -> None:
        self.where = folder, count, size
        self._data: Any = None

    def __len__(self) -> int:
        return self.where[1]

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        if self._data is None:
            import lance

            self._data = lance.dataset(self.where[0])
        return tensor_of(self._data.take(indices, columns=["x"])["x"], self.where[2])

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_data": None}


def loader_lance(job: Job) -> Any:
    # Not fork-safe, as its documentation says.
    return DataLoader(
        LanceRows(job.folder, job.count, job.shape.size),
        job.shape.batch,
        shuffle=True,
        num_workers=job.workers,
        collate_fn=walks.keep,
        persistent_workers=job.workers > 0,
        multiprocessing_context="forkserver" if job.workers else None,
    )


class ArrowRows(torch.utils.data.Dataset[Any]):
    """A Hugging Face dataset in Arrow format, a batch at a time."""

    def __init__(self, folder: str, size: int) -> None:
        import datasets

        self.data = datasets.load_from_disk(folder).with_format("arrow")
        self.size = size

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        return tensor_of(self.data[indices]["x"], self.size)


def loader_hf(job: Job) -> Any:
    return DataLoader(
        ArrowRows(job.folder, job.shape.size),
        job.shape.batch,
        shuffle=True,
        num_workers=job.workers,
        collate_fn=walks.keep,
        persistent_workers=job.workers > 0,
    )


CONVERT: dict[str, Callable[[Job], None]] = {
    "litdata": convert_litdata,
    "mosaic": convert_mosaic,
    "webdataset": convert_webdataset,
    "lance": convert_lance,
    "hf": convert_hf,
}
LOADER: dict[str, Callable[[Job], Any]] = {
    "litdata": loader_litdata,
    "mosaic": loader_mosaic,
    "webdataset": loader_webdataset,
    "lance": loader_lance,
    "hf": loader_hf,
}


def convert(job: Job) -> dict[str, Any]:
    """Write the samples in the peer's format; return the seconds it took and the bytes on disk."""
    shutil.rmtree(job.folder, ignore_errors=True)
    begun = time.perf_counter()
    CONVERT[job.peer](job)
    took = time.perf_counter() - begun
    size = sum(p.stat().st_size for p in Path(job.folder).rglob("*") if p.is_file())
    return {"seconds": took, "bytes": size, "version": importlib.import_module(MODULES[job.peer]).__version__}


def passes(job: Job) -> dict[str, Any]:
    """Walk passes in turn: local files in the training process, the peer, ours the stock way and ready."""
    importlib.import_module(MODULES[job.peer])
    begun = time.perf_counter()
    loader = LOADER[job.peer](job)
    first = walks.samples_of(next(iter(loader)))
    started = time.perf_counter() - begun
    if first.shape != (job.shape.batch, job.shape.size) or first.dtype != torch.uint8:
        raise SystemExit(f"{job.peer} gave a batch of {tuple(first.shape)} {first.dtype}")
    data, address = job.population, f"{job.files}@v1"
    sides = [
        Side("files", walks.files_loop(data)),
        Side(job.peer, lambda: walks.drain(loader, cap=job.cap)),
        Side("stock", walks.ours_stock(address, job.addr, job.shape.batch, job.workers, cap=job.cap)),
        Side("ready", walks.ours_ready(address, job.addr, job.shape.batch)),
    ]
    for side in sides:
        side.work()
    row = measure(Row(job.peer, "samples/s", sides, "files"), job.rounds, job.server_pid, lambda text: None)
    return {
        "started": started,
        "rates": {s.name: s.rates for s in sides},
        "client_cpu": {s.name: s.client_cpu / s.units for s in row.sides},
    }


def state(job: Job) -> dict[str, Any]:
    """Walk 20 batches of a pass and keep the loader's state, for peers that have one."""
    loader = LOADER[job.peer](job)
    if not hasattr(loader, "state_dict"):
        return {"bytes": 0}
    it = iter(loader)
    for _ in range(20):
        next(it)
    text = json.dumps(loader.state_dict())
    Path(job.folder + ".state").write_text(text)
    return {"bytes": len(text)}


def resume(job: Job) -> dict[str, Any]:
    """Return the seconds from making a loader to the first batch after its state was loaded."""
    importlib.import_module(MODULES[job.peer])
    saved = json.loads(Path(job.folder + ".state").read_text())
    begun = time.perf_counter()
    loader = LOADER[job.peer](job)
    loader.load_state_dict(saved)
    next(iter(loader))
    return {"seconds": time.perf_counter() - begun}


def main() -> None:
    operation, path = sys.argv[1:]
    job = Job.read(path)
    torch.set_num_threads(1)
    if job.workers and job.peer == "lance":
        multiprocessing.set_forkserver_preload(["torch", "numpy", "pyarrow"])
    answer = {"convert": convert, "passes": passes, "state": state, "resume": resume}[operation](job)
    print("\n" + json.dumps(answer), flush=True)
    # Threads and workers of some peers outlive main for a long time.
    os._exit(0)


if __name__ == "__main__":
    main()
