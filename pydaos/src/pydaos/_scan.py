"""Scans: the whole namespace of a dataset, or a filtered part of it, as Arrow.

Filters are evaluated on the server. A scan is a stream of Arrow messages, or one for
each anchor that it is cut into; their bytes stay where they were received. A lost connection goes on
behind the last batch, and the end of each stream says how many rows it had: a list
that is short is an error.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydaos import _errors as errors
from pydaos._address import PathLike, encode_path
from pydaos._proto.daos.scan.v1 import scan_service_pb2 as pb
from pydaos._retry import Patience
from pydaos._stat import TYPE_NUMBERS

if TYPE_CHECKING:
    import pyarrow as pa

    from pydaos._client import Client
    from pydaos._query import Query

# What a scan returns where no columns are named.
DEFAULT_COLUMNS = ("path", "path_bytes", "type", "size", "mtime", "mode")

# Seconds for which a scan may find nothing: a filter that few of many entries pass.
SILENCE = 600.0

Moment = datetime.datetime | float


class ScanDataset:
    """Scans; a part of `Dataset`."""

    client: Client
    address: str
    type: str

    def scan(
        self,
        *,
        where: str = "",
        under: PathLike = "",
        name: str = "",
        path: str = "",
        type: str | Sequence[str] = (),
        min_size: int | None = None,
        max_size: int | None = None,
        min_mtime: Moment | None = None,
        max_mtime: Moment | None = None,
        min_depth: int | None = None,
        max_depth: int | None = None,
        columns: Sequence[str] = (),
        threads: int = 1,
    ) -> pa.Table:
        """List the rows of a dataset that pass the filters, in the order of its index.

        The rows of a posix dataset are its files, directories and symbolic links; those of other
        types are what `Client.query` says, and take `where`, `under` and `columns` alone.

        Parameters
        ----------
        where
            Condition that rows must meet, the text that `Client.query` and ``daos query find``
            take: ``"size > 4096 and ext in ('png', 'jpg')"``. It goes with all filters but `path`.
        under
            Directory to scan below; the root by default. Of an array dataset: the array.
        name
            Glob over the last component: ``*``, ``?``, ``[a-z]``, ``[!a]``.
        path
            Glob over the path below `under`; ``**`` crosses directories.
        type
            ``"file"``, ``"directory"``, ``"symlink"``, or several of them.
        min_size, max_size
            Bytes, both inclusive.
        min_mtime, max_mtime
            Last change at or after, and before; a datetime or seconds since 1970.
        min_depth, max_depth
            An entry of the scanned directory has depth 1.
        columns
            Of path, path_bytes, name, type, size, mtime, ctime, mode, uid, gid, nlink, inode,
            depth, symlink_target, epoch; by default path, path_bytes, type, size, mtime, mode.
        threads
            Anchors scanned over connections of their own at the same time. One is enough: the
            server scans them in parallel and merges, and decoding takes 0.04 us an entry.

        Returns
        -------
        pyarrow.Table
            One row an entry. ``path_bytes`` is null, but for the paths that are not UTF-8; ``path``
            has replacement characters there.

        Examples
        --------
        >>> table = photos.scan(name="*.png", min_size=4096)
        >>> table.column_names
        ['path', 'path_bytes', 'type', 'size', 'mtime', 'mode']
        >>> photos.scan(where="name glob '*.png' and size >= 4096", columns=["path"]).num_rows == table.num_rows
        True
        """
        import pyarrow as pa

        if where or self.type != "posix":
            wanted = _conditions(self, where, name, path, type, (min_size, max_size), (min_mtime, max_mtime),
                                 (min_depth, max_depth))  # fmt: skip
            return _query(self, wanted, under, columns, 0).to_arrow()
        request = _request(self.address, under, columns, name, path, type,
                           (min_size, max_size), (min_mtime, max_mtime), (min_depth, max_depth))  # fmt: skip
        if threads <= 1:
            parts = [_collect(self.client, request)]
        else:
            plan = self.client.call("scan.Plan", pb.PlanRequest(dataset=self.address, anchors=threads), pb.PlanResponse)
            pieces = []
            for anchor in plan.anchors:
                piece = pb.ScanRequest()
                piece.CopyFrom(request)
                piece.anchor, piece.epoch = anchor, plan.epoch
                pieces.append(piece)
            with ThreadPoolExecutor(threads, "pydaos-scan") as pool:
                parts = list(pool.map(lambda piece: _collect(self.client, piece), pieces))
        schema = next((schema for schema, _ in parts if schema is not None), None)
        if schema is None:
            raise errors.InternalError(f"{self.address}: the server sent a scan without a schema")
        return pa.Table.from_batches([batch for _, batches in parts for batch in batches], schema)

    def scan_batches(
        self,
        *,
        where: str = "",
        under: PathLike = "",
        name: str = "",
        path: str = "",
        type: str | Sequence[str] = (),
        min_size: int | None = None,
        max_size: int | None = None,
        min_mtime: Moment | None = None,
        max_mtime: Moment | None = None,
        min_depth: int | None = None,
        max_depth: int | None = None,
        columns: Sequence[str] = (),
        batch_rows: int = 0,
    ) -> Iterator[pa.RecordBatch]:
        """Iterate over what `scan` returns, a record batch at a time, in bounded memory."""
        if where or self.type != "posix":
            wanted = _conditions(self, where, name, path, type, (min_size, max_size), (min_mtime, max_mtime),
                                 (min_depth, max_depth))  # fmt: skip
            yield from _query(self, wanted, under, columns, batch_rows)
            return
        request = _request(self.address, under, columns, name, path, type,
                           (min_size, max_size), (min_mtime, max_mtime), (min_depth, max_depth))  # fmt: skip
        request.batch_rows = batch_rows
        yield from _stream(self.client, request, [])


def _query(dataset: ScanDataset, where: str, under: PathLike, columns: Sequence[str], batch_rows: int) -> Query:
    """Make the query that answers a scan with a condition."""
    from pydaos._query import make_query

    try:
        below = encode_path(under).decode()
    except UnicodeDecodeError:
        raise errors.UnsupportedError(
            f"{under!r}: a path that is not UTF-8, with a condition",
            resource=dataset.address,
            resolution="scan without where=, and filter the table",
        ) from None
    address = f"{dataset.address}/{below}" if below else dataset.address
    if not columns and dataset.type == "posix":
        columns = DEFAULT_COLUMNS
    return make_query(dataset.client, address, where=where, columns=columns, batch_rows=batch_rows)


def _conditions(
    dataset: ScanDataset,
    where: str,
    name: str,
    path: str,
    type: str | Sequence[str],
    size: tuple[int | None, int | None],
    mtime: tuple[Moment | None, Moment | None],
    depth: tuple[int | None, int | None],
) -> str:
    """Write the filters of a scan as a condition, with `where` behind them."""
    if path:
        raise errors.UnsupportedError(
            "path= together with where=",
            resource=dataset.address,
            resolution="write it as a condition: where=\"path glob 'train/*'\", where * crosses directories",
        )
    parts = []
    if name:
        parts.append(f"name glob {_text(name)}")
    if kinds := _checked_types(type):
        parts.append(f"type in ({', '.join(map(_text, kinds))})")
    for column, (low, high) in (("size", size), ("depth", depth)):
        parts += [f"{column} >= {low}"] if low is not None else []
        parts += [f"{column} <= {high}"] if high is not None else []
    for op, moment in ((">=", _nanos(mtime[0])), ("<", _nanos(mtime[1]))):
        if moment is not None:
            seconds, rest = divmod(moment, 10**9)
            at = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
            parts.append(f"mtime {op} timestamp '{at:%Y-%m-%d %H:%M:%S}.{rest:09d}'")
    if parts and dataset.type != "posix":
        raise errors.InvalidError(
            f"{dataset.address}: filters of files, over a dataset of type {dataset.type}",
            resource=dataset.address,
            resolution="write them as conditions on its columns: where=",
        )
    if not parts or not where:
        return where or " and ".join(parts)
    return " and ".join((*parts, f"({where})"))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _checked_types(type: str | Sequence[str]) -> Sequence[str]:
    wanted = (type,) if isinstance(type, str) else type
    for one in wanted:
        if one not in TYPE_NUMBERS:
            raise errors.InvalidError(
                f"{one!r} is not a type of entry", resource=one, resolution=f"use one of {', '.join(TYPE_NUMBERS)}"
            )
    return wanted


def _collect(client: Client, request: pb.ScanRequest) -> tuple[Any, list[pa.RecordBatch]]:
    schemas: list[Any] = []
    batches = list(_stream(client, request, schemas))
    return (schemas[0] if schemas else None), batches


def _stream(client: Client, request: pb.ScanRequest, schemas: list[Any]) -> Iterator[pa.RecordBatch]:
    """Scan from the request's anchor on; the schema is put into `schemas`."""
    patience = Patience(client._pool.retry)
    while True:
        rows = 0
        try:
            schema = None
            deadline = max(SILENCE, client._pool.timeout)
            for reply, payload in client.stream("scan.Scan", request, pb.ScanResponse, timeout=deadline):
                if len(payload):
                    schema, batch = _decode(schema, payload)
                    if schema is not None and not schemas:
                        schemas.append(schema)
                    if batch is not None:
                        rows += batch.num_rows
                        if batch.num_rows:
                            yield batch
                if reply.done:
                    if rows != reply.rows_out:
                        raise errors.DataLossError(
                            f"{request.dataset}: the scan has {reply.rows_out} rows, {rows} arrived",
                            resource=request.dataset,
                        )
                    return
                if reply.anchor:
                    request.anchor, request.epoch = reply.anchor, reply.epoch

            raise errors.DataLossError(
                f"{request.dataset}: the scan ended without its proof of completeness", resource=request.dataset
            )
        except errors.UnreachableError as e:
            patience.wait(e)  # and go on behind the last batch


def _decode(schema: Any, payload: bytes) -> tuple[Any, pa.RecordBatch | None]:
    """Decode one encapsulated Arrow message; the batch shares the payload's memory."""
    import pyarrow as pa

    if len(payload) <= 8:
        return schema, None  # the end-of-stream marker
    message = pa.ipc.read_message(pa.py_buffer(payload))
    if message.type == "schema":
        return pa.ipc.read_schema(message), None
    if message.type != "record batch" or schema is None:
        raise errors.InternalError(f"the server sent an Arrow {message.type} message out of order")
    return schema, pa.ipc.read_record_batch(message, schema)


def _request(
    dataset: str,
    under: PathLike,
    columns: Sequence[str],
    name: str,
    path: str,
    type: str | Sequence[str],
    size: tuple[int | None, int | None],
    mtime: tuple[Moment | None, Moment | None],
    depth: tuple[int | None, int | None],
) -> pb.ScanRequest:
    wanted = _checked_types(type)
    return pb.ScanRequest(
        dataset=dataset,
        path=encode_path(under),
        columns=columns,
        filter=pb.Filter(
            name=name,
            path=path,
            types=[TYPE_NUMBERS[one] for one in wanted],
            min_size=size[0],
            max_size=size[1],
            min_mtime_unix_nanos=_nanos(mtime[0]),
            max_mtime_unix_nanos=_nanos(mtime[1]),
            min_depth=depth[0],
            max_depth=depth[1],
        ),
    )


def _nanos(moment: Moment | None) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, datetime.datetime):
        # In whole microseconds: a float of seconds is too coarse for today's dates.
        since = moment.astimezone(datetime.timezone.utc) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return (since // datetime.timedelta(microseconds=1)) * 1000
    nanos = moment * 1e9
    if not abs(nanos) < 1 << 63:
        raise errors.InvalidError(
            f"a time of {moment!r} s, which no file has", resolution="give seconds since 1970, or a datetime"
        )
    return int(nanos)
