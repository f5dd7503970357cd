"""The columns of a tensor dataset: what `Dataset` does with samples.

Samples travel as Arrow IPC streams; `_arrow` turns them into numpy and back. What is
read is received into one buffer, over which the arrays lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pydaos import _arrow as arrow
from pydaos import _errors as errors
from pydaos._manifest import BYTES, STRING, Column
from pydaos._proto.daos.common.v1 import common_pb2 as common
from pydaos._proto.daos.dataset.v1 import dataset_service_pb2 as dspb
from pydaos._proto.daos.tensor.v1 import tensor_service_pb2 as pb
from pydaos._retry import Patience, new_request_id

if TYPE_CHECKING:
    import pyarrow as pa

    from pydaos._client import Client

# Bytes of one message of an append, and sample indices of one read.
PIECE = 16 << 20
INDICES = 1 << 15
_END = (1 << 63) - 1


class ChunkStats(NamedTuple):
    """A summary of `samples` samples of a column from `first` on.

    `min` and `max` are over all elements, None where they are unknown; those of bytes and
    strings are bounds, cut to 64 bytes.
    """

    first: int
    samples: int
    nulls: int
    nans: int
    bytes: int
    min: Any
    max: Any


class TensorDataset:
    """Columns along a sample axis; a part of `Dataset`."""

    client: Client
    address: str
    # The columns once there are some: they never change afterwards.
    _known: tuple[Column, ...] = ()

    # Description.

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in order; none before the first `define` or `append`."""
        if not self._known:
            self._known = tuple(Column.from_proto(c) for c in self._describe().columns)
        return self._known

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self._describe().length)

    def __bool__(self) -> bool:
        return True

    def stats(self, column: str) -> list[ChunkStats]:
        """Return the statistics of each chunk of a column."""
        columns = self.columns
        found = next((c for c in columns if c.name == column), None)
        if found is None:
            raise errors.NotFoundError(
                f"{self.address}: there is no column {column!r}",
                resource=self.address,
                resolution=f"the columns are {', '.join(c.name for c in columns) or 'none yet'}",
            )
        reply = self._describe(column)
        return [
            ChunkStats(c.first, c.count, c.nulls, c.nans, c.bytes, _bound(found, c.min), _bound(found, c.max))
            for c in reply.stats[column].chunks
        ]

    def _describe(self, *stats: str) -> pb.DescribeResponse:
        request = pb.DescribeRequest(dataset=self.address, stats=stats)
        try:
            return self.client.call("tensor.Describe", request, pb.DescribeResponse)
        except errors.NotFoundError:
            # No columns yet, if there is such a dataset.
            get = dspb.GetDatasetRequest(dataset=self.address)
            self.client.call("dataset.GetDataset", get, dspb.GetDatasetResponse)
            return pb.DescribeResponse()

    # Writing. Each call is one durable transaction, carried out once.

    def define(self, columns: Sequence[Column] | pa.Schema | Mapping[str, Any] | pa.Table) -> None:
        """Set the columns of an empty tensor dataset.

        Parameters
        ----------
        columns
            `Column` values, an Arrow schema, or data that has these columns (which is not
            written; `append` defines the columns by itself).
        """
        request = pb.DefineRequest(dataset=self.address, columns=[c.to_proto() for c in arrow.columns_of(columns)])
        self.client.call("tensor.Define", request, pb.DefineResponse)

    def append(self, data: Mapping[str, Any] | pa.Table | pa.RecordBatch, *, expect_length: int | None = None) -> range:
        """Add samples at the end, all of them or none.

        Parameters
        ----------
        data
            For each column an array of shape ``(samples, ...)``, or a list of strings, bytes or
            1-D arrays (None: null); or an Arrow table. An empty dataset gets its columns
            from it.
        expect_length
            ConflictError unless the dataset has so many samples.

        Returns
        -------
        range
            Indices of the new samples.

        Examples
        --------
        >>> table.append({"x": np.zeros((8, 3), "f4"), "name": ["a"] * 8})
        range(0, 8)
        >>> table[2:4]["x"].shape
        (2, 3)
        """
        columns = self.columns
        if not columns:
            try:
                self.define(arrow.columns_of(data))
            except (errors.ExistsError, errors.ConflictError):
                pass  # somebody else was first; the server compares
            columns = self.columns
        table = arrow.table_of(data, columns)
        if table.num_rows == 0:
            length = len(self)
            return range(length, length)
        mutation = common.Mutation(request_id=new_request_id())

        def messages() -> Iterator[tuple[pb.AppendRequest, Any]]:
            first = pb.AppendRequest(dataset=self.address, mutation=mutation, expect_length=expect_length)
            for payload in arrow.streams_of(table, PIECE):
                yield first, payload
                first = pb.AppendRequest()

        deadline = self.client._pool.patient(table.nbytes)
        reply = self.client.upload("tensor.Append", messages, pb.AppendResponse, timeout=deadline)
        return range(reply.start, reply.start + reply.count)

    def overwrite(self, start: int, data: Mapping[str, Any] | pa.Table | pa.RecordBatch) -> None:
        """Replace samples from `start` on, in the columns given.

        All in one step up to about 16 MB; more goes in several, in order.
        """
        known = {c.name: c for c in self.columns}
        names = list(data) if isinstance(data, Mapping) else list(data.schema.names)
        missing = [name for name in names if name not in known]
        if missing:
            raise errors.InvalidError(
                f"{self.address}: there is no column {missing[0]!r}",
                resource=self.address,
                resolution=f"the columns are {', '.join(known) or 'none yet'}",
            )
        table = arrow.table_of(data, tuple(known[name] for name in names))
        at = start
        for piece in arrow.pieces_of(table, PIECE):
            request = pb.OverwriteRequest(dataset=self.address, start=at)
            self.client.call("tensor.Overwrite", request, pb.OverwriteResponse, arrow.stream_of(piece))
            at += piece.num_rows

    # Reading.

    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[Any]) -> dict[str, Any]:
        """Read a sample, a slice, or samples by index; see `read` and `take`."""
        if isinstance(index, slice):
            return self._slice(index, ()).numpy()
        if isinstance(index, (int, np.integer)):
            length = len(self)
            at = int(index) + (length if index < 0 else 0)
            if not 0 <= at < length:
                raise IndexError(f"{self.address}: sample {int(index)} of {length}")
            one = self.take([at])
            return {name: values[0] for name, values in one.items()}
        return self.take(index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterate over the samples, read ahead in pieces."""
        length = len(self)
        for at in range(0, length, 1024):
            piece = self.read(at, min(at + 1024, length))
            names = list(piece)
            for row in zip(*piece.values()):
                yield dict(zip(names, row))

    def read(
        self, start: int = 0, stop: int | None = None, step: int = 1, *, columns: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Read a slice of the samples.

        Returns
        -------
        dict
            For each column an array of shape ``(samples, *shape)`` (a masked array, where the
            column may have nulls), or a list of arrays, bytes or strings.
        """
        return self._slice(slice(start, stop, step), columns).numpy()

    def take(self, indices: Sequence[int] | npt.NDArray[Any], *, columns: Sequence[str] = ()) -> dict[str, Any]:
        """Read samples by index, in the order given; repeats are allowed."""
        return self._take(indices, columns).numpy()

    def to_arrow(
        self,
        indices: slice | Sequence[int] | npt.NDArray[Any] | None = None,
        *,
        columns: Sequence[str] = (),
    ) -> pa.Table:
        """Read samples, all by default, as an Arrow table."""
        if indices is None or isinstance(indices, slice):
            return self._slice(indices or slice(None), columns).table
        return self._take(indices, columns).table

    def _slice(self, index: slice, columns: Sequence[str]) -> arrow.Answer:
        start, stop, step = index.start or 0, index.stop, 1 if index.step is None else index.step
        if step == 0:
            raise errors.InvalidError("the step of a slice can't be 0", resource=self.address)
        if start < 0 or step < 0 or (stop is not None and stop < 0):
            start, stop, step = index.indices(len(self))
            if step < 0:
                return self._take(np.arange(start, stop, step), columns)
        request = pb.ReadRequest(
            dataset=self.address,
            columns=columns,
            start=start,
            stop=max(start, _END if stop is None else stop),
            step=step,
        )
        return self._fetch(request)

    def _take(self, indices: Sequence[int] | npt.NDArray[Any], columns: Sequence[str]) -> arrow.Answer:
        wanted = np.asarray(indices)
        if wanted.dtype == np.bool_:
            wanted = np.flatnonzero(wanted)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise errors.InvalidError(
                f"sample indices are integers in one dimension, not {wanted.dtype} of shape {wanted.shape}",
                resource=self.address,
            )
        wanted = wanted.astype(np.int64)
        if wanted.size and wanted.min() < 0:
            length = len(self)
            wanted = np.where(wanted < 0, wanted + length, wanted)
            if wanted.min() < 0:
                raise errors.InvalidError(
                    f"{self.address}: sample {int(wanted.min()) - length} of {length}", resource=self.address
                )
        answers: list[arrow.Answer] = []
        epoch = 0
        for at in range(0, max(len(wanted), 1), INDICES):
            request = pb.ReadRequest(
                dataset=self.address,
                columns=columns,
                indices=wanted[at : at + INDICES].tolist(),
                by_index=True,
                epoch=epoch,
            )
            answer, epoch = self._fetch_at(request)
            answers.append(answer)
        return arrow.Answer.joined(answers)

    def _fetch(self, request: pb.ReadRequest) -> arrow.Answer:
        return self._fetch_at(request)[0]

    def _fetch_at(self, request: pb.ReadRequest) -> tuple[arrow.Answer, int]:
        """Read an answer whole into one buffer; from the start again if the connection is lost."""
        patience = Patience(self.client._pool.retry)
        expected = self._expected(request)
        while True:
            buffer = arrow.Joined(expected)
            epoch = 0
            try:
                for reply, _ in self.client.stream("tensor.Read", request, pb.ReadResponse, alloc=buffer.alloc):
                    epoch = reply.epoch
                return buffer.answer(), epoch
            except errors.UnreachableError as e:
                patience.wait(e)

    def _expected(self, request: pb.ReadRequest) -> int:
        """Guess the bytes of an answer, so that its buffer need not grow; untouched memory costs nothing."""
        rows = len(request.indices)
        if not request.by_index:
            stop = len(self) if request.stop >= _END else request.stop
            rows = max(0, int(stop) - int(request.start)) // int(request.step or 1)
        wanted = set(request.columns)
        width = sum(c.dtype.itemsize * math.prod(c.shape) + 16 for c in self.columns if not wanted or c.name in wanted)
        return min(rows * width, 1 << 30) + (64 << 10)


def _bound(column: Column, raw: bytes) -> Any:
    if not raw:
        return None
    if column.layout == BYTES:
        return raw
    if column.layout == STRING:
        return raw.decode("utf-8", "replace")
    return np.frombuffer(raw, column.dtype.newbyteorder("<"))[0]
