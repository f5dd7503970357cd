"""What is read: one dataset at one snapshot, through its manifest.

A Source is made in the main process, pickles as a few strings and numbers, and
opens its own connection in every process (DataLoader workers, forked, spawned
or from a forkserver). It holds no list of paths.
"""

from __future__ import annotations

import functools
import logging
import operator
import os
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

import pydaos
from pydaos import _process
from pydaos._address import Address
from pydaos._client import DEFAULT_RETRY, Client
from pydaos._discovery import RuntimeEndpoint
from pydaos._manifest import BYTES, FIXED, RAGGED, STRING
from pydaos._proto.daos.dataset.v1 import dataset_service_pb2 as dspb
from pydaos._proto.daos.loader.v1 import loader_service_pb2 as lpb
from pydaos._retry import Patience
from pydaos.torch._batch import LabeledSample, Ragged, ReadyList, Sample, SampleDict
from pydaos.torch._columns import Raw, bytes_at, column_of, data_of, offsets_of, torch_dtype
from pydaos.torch._pinned import AUTO_TTL, pin, unnamed
from pydaos.torch._slabs import batch_memory
from pydaos.torch._stream import Stream
from pydaos.torch._token import Token
from pydaos.torch._world import WorldArg, resolve

if TYPE_CHECKING:
    from pydaos._manifest import BatchPipe, Manifest

__all__ = ["Raw", "Source"]

log = logging.getLogger("pydaos.torch")

U64 = npt.NDArray[np.uint64]

#: Samples named by one request.
PAGE = 4096

#: Indices that are packed as arguments of one call.
PACKED = 1024


@functools.lru_cache(maxsize=PACKED)
def _format(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}Q")


@dataclass(frozen=True)
class Selection:
    """Which samples of a dataset: its address without the snapshot, and filters."""

    dataset: str
    snapshot: str
    path: bytes = b""
    glob: str = ""
    columns: tuple[str, ...] = ()
    label_dirname: bool = False
    view: str = ""
    where: str = ""


class Source:
    """One dataset at one snapshot, ready to be read by sample index.

    Parameters
    ----------
    address : str
        ``POOL/DATASET[@SNAPSHOT][/PATH]``. Without a snapshot one is made that
        ends seven days after its last use; `snapshot` names it.
    glob : str
        Which files below the path.
    columns : sequence of str
        Which columns of a tensor dataset; all by default.
    label_dirname : bool
        Label every file by its first directory below the path.
    view : str
        Samples of a view, in its order; its snapshot is taken, and its path.
    where : str
        Samples that meet a condition.
    connect : dict
        Arguments of `pydaos.connect`.
    world : (rank, size), optional
        For which rank is read, if the caller says so.

    Attributes
    ----------
    handed_out : bool
        The user gets batches as they are received, not samples made of them.
        Set by who knows.

    Raises
    ------
    pydaos.InvalidError
        There is no snapshot in the address, and several ranks or worker
        processes would each make their own.
    """

    def __init__(
        self,
        address: str,
        *,
        glob: str = "",
        columns: Sequence[str] = (),
        label_dirname: bool = False,
        view: str = "",
        where: str = "",
        connect: dict[str, Any] | None = None,
        world: WorldArg | None = None,
    ) -> None:
        self._connect = dict(connect or {})
        self.handed_out = False
        at = Address.parse(address)
        self._client_cache: tuple[int, Client] | None = None
        self._pipes: deque[BatchPipe] = deque()
        self._pipes_of = _process.forks
        # The process that pinned the state itself; copies of this object in others share that state.
        self._pinned_by = 0
        try:
            self._find(at, glob, tuple(columns), label_dirname, view, where, world)
        except Exception:
            self.close()
            raise
        if self.symlinks_skipped:
            log.warning("%s: %d symbolic links are left out, only files are samples", address, self.symlinks_skipped)

    def _find(
        self,
        at: Address,
        glob: str,
        columns: tuple[str, ...],
        label_dirname: bool,
        view: str,
        where: str,
        world: WorldArg | None,
    ) -> None:
        client = self.client()
        dataset = f"{at.pool}/{at.dataset}"
        request = dspb.GetDatasetRequest(dataset=dataset)
        kind = client.call("dataset.GetDataset", request, dspb.GetDatasetResponse).dataset.type
        self.is_files = kind in (dspb.TYPE_POSIX, dspb.TYPE_KV)  # a value by key is a sample as a file is
        if label_dirname and not self.is_files:
            raise ValueError(f'labels="dirname" is for files; {dataset} is a tensor dataset, its labels are a column')
        snapshot = at.snapshot
        if not snapshot and not view:
            snapshot = pin(client, dataset, resolve(world))
            self._pinned_by = os.getpid()
        self.selection = Selection(dataset, snapshot, at.path, glob, columns, label_dirname, view, where)
        self._info = self._open()
        if view:  # it says where its samples lie
            self.selection = replace(self.selection, snapshot=self._info.snapshot, path=self._info.path)

    # -- identity ---------------------------------------------------------

    @property
    def address(self) -> str:
        """``POOL/DATASET@SNAPSHOT[/PATH]``."""
        s = self.selection
        tail = "/" + s.path.decode("utf-8", "surrogateescape") if s.path else ""
        return f"{s.dataset}@{s.snapshot}{tail}"

    @property
    def snapshot(self) -> str:
        """``POOL/DATASET@SNAPSHOT``."""
        return f"{self.selection.dataset}@{self.selection.snapshot}"

    @property
    def what(self) -> str:
        """The snapshot, and the view and the condition that choose samples of it."""
        s = self.selection
        view = f", view {s.view!r}" if s.view else ""
        return self.snapshot + view + (f", where {s.where!r}" if s.where else "")

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self._info.samples)

    @property
    def manifest_id(self) -> str:
        """Digest of what is read and in which order samples are numbered."""
        return str(self._info.id)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their labels; what is not UTF-8 in them as `os.fsdecode` has it."""
        names = list(self._info.classes)
        first = 0
        for label, size in enumerate(self._info.class_sizes):
            # Of a name that is not UTF-8 only this is known here; its samples' paths have it whole.
            if "\ufffd" in names[label] and size:
                names[label] = self.paths([first])[0].partition("/")[0]
            first += size
        return tuple(names)

    @property
    def symlinks_skipped(self) -> int:
        """Symbolic links below the path; they are no samples."""
        return self._info.symlinks_skipped

    @property
    def class_sizes(self) -> list[int]:
        """Samples of each class; a class is one run of the index space, runs come in the order of the labels.

        ValueError where they are none: a view in an order of its own.
        """
        if self._info.classes_scattered:
            raise ValueError(
                f"{self.what}: the view has an order of its own, in which its classes are no stretches of samples; "
                "give the order labels or weights of each sample, or save the view without an order"
            )
        return list(self._info.class_sizes)

    @property
    def info(self) -> Manifest:
        """The manifest's description."""
        return self._info

    @functools.cached_property
    def uniform(self) -> int | None:
        """Size in bytes that every file has, if they are all of one size."""
        column = self._info.columns[0]
        if self.is_files and column.layout == FIXED:
            return int(np.prod(column.shape, dtype=np.int64))
        return None

    def check_token(self, token: Token) -> None:
        """ValueError unless the token is of this manifest; it says so where the token's snapshot is gone."""
        if token.manifest == self.manifest_id:
            return
        mine = f"this dataset reads {self.what} (manifest {self.manifest_id[:12]})"
        if token.snapshot != self.snapshot and self._gone(token.snapshot):
            raise ValueError(
                f"the resume token is of snapshot {token.snapshot}, which is gone: it was destroyed, or has expired "
                f"{AUTO_TTL // 86400} days after its last use; {mine}. Start the pass anew, and name a snapshot "
                f"for runs that pause longer: daos snapshot create {self.selection.dataset}@NAME"
            )
        raise ValueError(
            f"the resume token is of {token.snapshot} (manifest {token.manifest[:12]}), {mine}; "
            "open the dataset at the token's snapshot and with the same path, glob, columns, view and where"
            + ("; a view that was refreshed has other samples" if self.selection.view else "")
        )

    def check_world(self, size: int) -> None:
        """InvalidError where so many ranks share a pass, and this one pinned a state of its own for it."""
        if size > 1 and self._pinned_by == os.getpid():
            raise unnamed(self.selection.dataset, f"{size} ranks would each read a state of its own")

    def check_reader(self) -> None:
        """InvalidError where this process, or that of this worker, pinned a state of its own and is one of ranks.

        Asked at each read of map style: a sampler of torch's divides without asking, and a
        process group may have been made after the dataset.
        """
        if not self._pinned_by:
            return
        worker = torch.utils.data.get_worker_info() is not None
        if self._pinned_by == (os.getppid() if worker else os.getpid()) and (size := resolve().size) > 1:
            raise unnamed(self.selection.dataset, f"{size} ranks would each read a state of its own")

    def _gone(self, snapshot: str) -> bool:
        try:
            self.client().call("dataset.GetDataset", dspb.GetDatasetRequest(dataset=snapshot), dspb.GetDatasetResponse)
        except (pydaos.NotFoundError, pydaos.InvalidError):
            return True
        except pydaos.DaosError:
            return False  # not known: the message for another snapshot is true as well
        return False

    # -- connection ---------------------------------------------------------

    def client(self) -> Client:
        """Return this process's client."""
        pid = os.getpid()
        patience: Patience | None = None
        while self._client_cache is None or self._client_cache[0] != pid:
            try:
                self._client_cache = (pid, self._connected())
            except (pydaos.UnreachableError, pydaos.OverloadedError) as err:
                if not hasattr(self, "_info"):
                    raise  # never opened: a wrong address is said at once
                # The first connection of a worker, say, whose server is being restarted.
                patience = patience or Patience(self._connect.get("retry", DEFAULT_RETRY))
                patience.wait(err)
        return self._client_cache[1]

    def _connected(self) -> Client:
        """Connect; to the server that was found first, in copies too: their user may have started another one since."""
        options = dict(self._connect)
        found: RuntimeEndpoint | None = options.pop("found", None)
        if found is None or not found.here() or os.environ.get("DAOS_ADDR"):
            client = pydaos.connect(**options)
        else:
            client = Client(found, **{k: options[k] for k in ("timeout", "retry") if k in options})
            client._pool.run(lambda conn: None, retry=0.0)  # as connect() does
        if isinstance(client._endpoint, RuntimeEndpoint):
            self._connect["found"] = client._endpoint
        return client

    def close(self) -> None:
        """Close this process's connections."""
        if self._pipes_of == _process.forks:
            while self._pipes:
                self._pipes.pop().close()
        if self._client_cache is not None and self._client_cache[0] == os.getpid():
            self._client_cache[1].close()
        self._client_cache = None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_client_cache"] = None
        state["_pipes"], state["_pipes_of"] = deque(), -1
        return state

    def _open(self) -> Manifest:
        s = self.selection
        return self.client().open_manifest(
            f"{s.dataset}@{s.snapshot}" if s.snapshot else s.dataset,  # a view knows its own
            path=s.path,
            glob=s.glob,
            columns=s.columns,
            label_dirname=s.label_dirname,
            view=s.view,
            where=s.where,
        )

    # -- reading --------------------------------------------------------------

    def fetch(self, indices: Sequence[int] | U64) -> Raw:
        """Read samples by index in one request."""
        wanted = self._packed(indices)
        pipe = self._pipe()
        try:
            pipe.send(wanted)
            memory = batch_memory(handed_out=self.handed_out)
            meta, payload = pipe.recv_batch(memory.lease)
        except BaseException:
            pipe.close()
            raise
        self._pipes.append(pipe)
        return Raw(meta, payload, memory.tensor(payload))

    def fetch_ready(self, indices: Sequence[int]) -> ReadyList:
        """Read a batch in one request, as a list of samples that carries it ready.

        What the batch is made of, its memory and the tensors over it, is made while the
        request is on its way, where it is known what the batch will look like.
        """
        wanted = self._packed(indices)
        pipe = self._pipe()
        memory = batch_memory()
        room = None
        try:
            pipe.send(wanted)
            hope = pipe.expected()
            if hope is not None:
                room = memory.lease(hope.size)
                listed = self.ready_list(Raw(hope.described, room, memory.tensor(room)))
            meta, payload = pipe.recv_batch(memory.lease, room)
        except BaseException:
            pipe.close()
            raise
        self._pipes.append(pipe)
        if room is None or payload is not room:
            listed = self.ready_list(Raw(meta, payload, memory.tensor(payload)))
        return listed

    def _pipe(self) -> BatchPipe:
        """Take a pipe for one request; it is given back by appending it to `_pipes`.

        A pipe keeps its connection between requests. There are as many as threads that
        have ever fetched at the same time.
        """
        if self._pipes_of != _process.forks:
            # Inherited by fork: their connections are the parent's.
            self._pipes, self._pipes_of = deque(), _process.forks
        try:
            return self._pipes.pop()
        except IndexError:
            return self.client().open_pipe(self._info)

    def stream(self, depth: int = 2) -> Stream:
        """Return a pipelined reader with up to ``depth`` requests in flight."""
        return Stream(self.client().open_pipe(self._info), depth, handed_out=self.handed_out)

    def paths(self, indices: Sequence[int] | U64) -> list[str]:
        """Return the paths of samples, relative to the dataset's path."""
        return [os.fsdecode(name) for name, _ in self.describe(indices)]

    def describe(self, indices: Sequence[int] | U64) -> list[tuple[bytes, int]]:
        """Return (path, size in bytes) of samples."""
        wanted = self._indices(indices).tolist()
        out: list[tuple[bytes, int]] = []
        for at in range(0, len(wanted), PAGE):
            page = lpb.SamplesRequest(handle=self._info.handle, indices=wanted[at : at + PAGE])
            try:
                reply = self.client().call("loader.Samples", page, lpb.SamplesResponse)
            except pydaos.StaleError:
                self._info.reopen(self.client())
                page.handle = self._info.handle
                reply = self.client().call("loader.Samples", page, lpb.SamplesResponse)
            out.extend(zip(reply.paths, reply.sizes, strict=True))
        return out

    def _packed(self, indices: Sequence[int] | U64) -> bytes:
        """Return indices as the feed wants them: little-endian numbers of 8 bytes."""
        if type(indices) is list and 0 < len(indices) <= PACKED:
            try:
                packed = _format(len(indices)).pack(*indices)
                if max(indices) < self._info.samples:
                    return packed
            except struct.error:
                pass  # negative, or no int
        return self._indices(indices).astype("<u8", copy=False).tobytes()

    def _indices(self, indices: Sequence[int] | U64) -> U64:
        if isinstance(indices, np.ndarray) and indices.dtype == np.uint64:
            return indices
        n = self.samples
        out = np.fromiter(map(operator.index, indices), np.int64, len(indices))
        out[out < 0] += n
        if out.size and not (int(out.min()) >= 0 and int(out.max()) < n):
            bad = int(next(i for i, k in zip(indices, out, strict=True) if not 0 <= k < n))
            raise IndexError(f"sample {bad} of {self.address}, which has {n} samples")
        return out.astype(np.uint64)

    # -- samples and batches ----------------------------------------------------

    def batch(self, raw: Raw) -> Any:
        """Return the ready batch: tensor or Ragged, (x, y), or a dict of columns."""
        if not self.is_files:
            return {c.name: column_of(raw, c, d) for c, d in zip(self._info.columns, raw.columns, strict=True)}
        files = self._info.columns[0], raw.columns[0]
        data = (
            column_of(raw, *files)
            if files[1].layout == FIXED
            else Ragged(data_of(raw, files[1]), offsets_of(raw, files[1]))
        )
        if self.selection.label_dirname:
            return data, column_of(raw, self._info.columns[1], raw.columns[1])
        return data

    def sample_at(self, raw: Raw, i: int) -> Any:
        """Return one sample of a batch, which owns its memory."""
        if self.is_files:
            data = Sample(bytes_at(raw, raw.columns[0], i), self.uniform)
            if self.selection.label_dirname:
                d = raw.columns[1]
                label = raw.payload[d.data_offset + 8 * i : d.data_offset + 8 * i + 8].view(torch.int64)
                return LabeledSample(data, int(label))
            return data
        values: dict[str, Any] = {}
        ragged = []
        for c, d in zip(self._info.columns, raw.columns, strict=True):
            if c.layout == RAGGED:
                ragged.append(c.name)
            if d.nulls and not raw.payload[d.validity_offset + i]:
                values[c.name] = None
            elif c.layout in (BYTES, STRING):
                view = bytes_at(raw, d, i)
                values[c.name] = bytes(view) if c.layout == BYTES else str(view, "utf-8")
            elif c.layout == RAGGED:
                own = bytearray(bytes_at(raw, d, i))
                empty = torch.empty(0, dtype=torch_dtype(c.dtype))
                values[c.name] = torch.frombuffer(own, dtype=torch_dtype(c.dtype)) if own else empty
            else:
                start = d.data_offset + i * d.item_size
                part = raw.payload[start : start + d.item_size].clone()
                values[c.name] = part.view(torch_dtype(c.dtype)).view(tuple(c.shape))
        return SampleDict(values, tuple(ragged))

    def ready_list(self, raw: Raw) -> ReadyList:
        """Return the batch as a list of samples that carries it ready."""
        return ReadyList(self.batch(raw), raw.count, functools.partial(self.sample_at, raw), self._kind)

    @functools.cached_property
    def _kind(self) -> Sample | LabeledSample | SampleDict:
        """A sample of the type that all have, with nothing in it."""
        if not self.is_files:
            columns = self._info.columns
            return SampleDict({c.name: None for c in columns}, tuple(c.name for c in columns if c.layout == RAGGED))
        empty = Sample(b"", self.uniform)
        return LabeledSample(empty, 0) if self.selection.label_dirname else empty
