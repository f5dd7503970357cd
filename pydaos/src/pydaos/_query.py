"""Queries: a dataset of any type as a table, filtered next to the data.

A query runs in the server, at one epoch, and its result comes as Arrow batches whose
bytes stay where they were received. The end of the stream proves that the result is
complete; a server that dies ends a query with an error, never with fewer rows.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydaos import _errors as errors
from pydaos._proto.daos.query.v1 import query_service_pb2 as pb
from pydaos._scan import SILENCE, _decode

if TYPE_CHECKING:
    import pyarrow as pa

    from pydaos._client import Client
    from pydaos._view import View

_AGGREGATES = {"count": 1, "sum": 2, "min": 3, "max": 4, "avg": 5}


class QueryStats(NamedTuple):
    """What a query did."""

    chunks: int
    chunks_pruned: int
    chunks_read: int
    rows_scanned: int
    rows_matched: int
    rows_out: int
    bytes_read: int
    bytes_out: int
    seconds: float


def _stats(c: pb.Counters) -> QueryStats:
    return QueryStats(
        c.chunks, c.chunks_pruned, c.chunks_read, c.rows_scanned, c.rows_matched, c.rows_out,
        c.bytes_read, c.bytes_out, c.elapsed_nanos / 1e9,
    )  # fmt: skip


class Conjunct(NamedTuple):
    """One condition of a query: whether it is evaluated at the targets, and how or why not."""

    table: str
    conjunct: str
    pushed: bool
    why: str


class Query:
    """A query that has not run yet; made by `Client.query`.

    Iterate over it for record batches, or take the whole result with `to_arrow`,
    `to_pandas` or `to_numpy`. Each of them runs it anew, at the same epoch once it has
    run.

    Examples
    --------
    >>> q = client.query("p/train@v1", where="label = 3 and quality > 0.8", columns=["_id"])
    >>> ids = q.to_numpy("_id")
    >>> q.stats.rows_out == len(ids)
    True
    """

    #: The view that `save_view` has made last.
    view: View | None = None

    def __init__(self, client: Client, request: pb.ScanRequest) -> None:
        self._client = client
        self._request = request
        self._stats: QueryStats | None = None

    def __repr__(self) -> str:
        return f"<pydaos.{type(self).__name__} of {self._what}>"

    @property
    def stats(self) -> QueryStats:
        """What the last run did; ValueError before one has ended."""
        if self._stats is None:
            raise ValueError("the query has not run to its end yet")
        return self._stats

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        schemas: list[Any] = []
        yield from self._run(schemas)

    def _stream(self) -> Iterator[tuple[Any, bytes]]:
        deadline = max(SILENCE, self._client._pool.timeout)
        self._request.seen = self._client._seen  # of the first run: others read its epoch
        for reply, payload in self._client.stream("query.Scan", self._request, pb.ScanResponse, timeout=deadline):
            self._request.epoch = 0 if "@" in self._request.dataset else reply.epoch
            yield reply, payload

    @property
    def _what(self) -> str:
        return self._request.dataset

    def _run(self, schemas: list[Any]) -> Iterator[pa.RecordBatch]:
        rows, schema, stats = 0, None, None
        for reply, payload in self._stream():
            if len(payload):
                schema, batch = _decode(schema, payload)
                if schema is not None and not schemas:
                    schemas.append(schema)
                if batch is not None and batch.num_rows:
                    rows += batch.num_rows
                    yield batch
            if reply.done and reply.counters.rows_out == rows:
                stats = _stats(reply.counters)
        if stats is None:
            raise errors.DataLossError(
                f"{self._what}: the query ended without the proof that its result is complete",
                resource=self._what,
                resolution="run it again",
            )
        self._stats = stats

    def to_arrow(self) -> pa.Table:
        """Run it and return the whole result."""
        import pyarrow as pa

        schemas: list[Any] = []
        batches = list(self._run(schemas))
        return pa.Table.from_batches(batches, schemas[0])

    def save_view(self, name: str, *, replace: bool = False) -> View:
        """Run it, and keep the samples that it names as a view; its columns do not matter.

        The view is of the dataset at its snapshot; of a live dataset one is made. Samples
        come in their own order, or, with `order_by`, in that of the query. Rows that are
        no samples (directories, symbolic links) are left out and counted.

        Raises
        ------
        ExistsError
            There is a view of this name, and `replace` was not given.

        Examples
        --------
        >>> view = client.query("p/photos@v1", where="size > 5000").save_view("large")
        >>> view.samples
        53
        """
        from pydaos._view import save_view

        self.view = save_view(self._client, name, self._request, replace=replace)
        return self.view

    def to_pandas(self) -> Any:
        """Run it and return the whole result as a pandas DataFrame."""
        return self.to_arrow().to_pandas()

    def to_numpy(self, column: str | None = None) -> Any:
        """Run it and return one column as a numpy array; tensors keep their shape.

        The column need not be named where the result has only one.
        """
        import pyarrow as pa

        table = self.to_arrow()
        names = table.column_names
        if column is None and len(names) == 1:
            column = names[0]
        if column not in names:
            near = difflib.get_close_matches(column or "", names, 1)
            raise errors.NotFoundError(
                f"{self._what}: the result has no column {column!r}" if column else f"{self._what}: which column?",
                resource=self._what,
                resolution=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}",
            )
        values = table.column(column)
        if values.null_count:
            raise errors.InvalidError(
                f"column {column!r} has {values.null_count} nulls, which a numpy array can't hold",
                resource=self._what,
                resolution=f"leave them out: where='{column} is not null'",
            )
        if isinstance(values.type, pa.FixedShapeTensorType):
            return values.combine_chunks().to_numpy_ndarray() if len(values) else _no_rows(values.type)
        return values.to_numpy()

    def explain(self, *, analyze: bool = False) -> list[Conjunct]:
        """Return one row for each condition; with `analyze` the query runs, and `stats` tells what it did."""
        self._request.seen = self._client._seen
        reply = self._client.call(
            "query.Explain", pb.ExplainRequest(scan=self._request, analyze=analyze), pb.ExplainResponse, timeout=SILENCE
        )
        if analyze:
            self._stats = _stats(reply.counters)
        return [Conjunct(x.table, x.conjunct, x.pushed, x.why) for x in reply.conjuncts]


class Statement(Query):
    """An SQL statement that has not run yet; made by `Client.sql`. It is used like a `Query`."""

    def __init__(self, client: Client, request: pb.SqlRequest) -> None:
        self._client = client
        self._statement = request
        self._stats = None

    def __repr__(self) -> str:
        return f"<pydaos.Statement {self._statement.text!r}>"

    @property
    def _what(self) -> str:
        return "statement"

    def _stream(self) -> Iterator[tuple[Any, bytes]]:
        deadline = max(SILENCE, self._client._pool.timeout)
        self._statement.seen = self._client._seen
        yield from self._client.stream("query.Sql", self._statement, pb.SqlResponse, timeout=deadline)

    def save_view(self, name: str, *, replace: bool = False, of: str = "") -> View:
        """Run it, and keep the samples that it names as a view.

        The result needs the column that names samples: ``path`` of a posix dataset, ``key``
        of a kv one, ``_id`` of tensors and arrays; each sample once. Without an ORDER BY
        samples come in their own order. `of` says of which dataset the samples are, as the
        statement's FROM has it, where that reads several.
        """
        from pydaos._view import save_view

        self.view = save_view(self._client, name, self._statement, of=of, replace=replace)
        return self.view

    def explain(self, *, analyze: bool = False) -> list[Conjunct]:
        """Return one row for each condition: whether it was lifted out of the statement, or why not."""
        self._statement.seen = self._client._seen
        request = pb.ExplainSqlRequest(statement=self._statement, analyze=analyze)
        reply = self._client.call("query.ExplainSql", request, pb.ExplainSqlResponse, timeout=SILENCE)
        if analyze:
            self._stats = _stats(reply.counters)
        return [Conjunct(x.table, x.conjunct, x.pushed, x.why) for x in reply.conjuncts]


def make_statement(client: Client, text: str, params: Mapping[str, Any] | Sequence[Any], memory: int) -> Statement:
    """Make a statement; see `Client.sql`."""
    named = params.items() if isinstance(params, Mapping) else ((str(i + 1), v) for i, v in enumerate(params))
    request = pb.SqlRequest(text=utf8(text, "the statement"), memory_bytes=memory)
    for name, value in named:
        request.params.append(pb.Param(name=name, value=_literal(name, value)))
    return Statement(client, request)


def utf8(text: str, what: str) -> str:
    """Return a text as it is, unless it has no UTF-8: Python's may have half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise errors.InvalidError(
            f"{what} has a lone surrogate, at character {exc.start}, which no text of a dataset has",
            resource=text.encode(errors="backslashreplace").decode(),
            resolution="compare bytes instead: key = x'ed'; for file names path_bytes",
        ) from None
    return text


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _nanoseconds(value: Any) -> int | None:
    """Return a time as nanoseconds since 1970; one without a zone is in UTC. None: it is no time."""
    import numpy as np

    if isinstance(value, datetime.datetime) and hasattr(value, "to_datetime64"):
        value = value.to_datetime64()  # one of pandas, which has nanoseconds that a datetime has not
    if isinstance(value, np.datetime64):
        exact = value.astype("datetime64[ns]")
        return int(exact.astype(np.int64)) if exact.astype(value.dtype) == value else None  # beyond what it holds
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return (aware - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    if isinstance(value, datetime.date):
        return (value - _EPOCH.date()).days * 86_400 * 10**9
    return None


def _literal(name: str, value: Any) -> pb.Literal:
    import numpy as np

    if isinstance(value, (np.bool_, np.floating)):
        value = value.item()
    if value is None:
        return pb.Literal(null=True)
    if isinstance(value, bool):
        return pb.Literal(boolean=value)
    if hasattr(value, "__index__"):
        number = value.__index__()
        if -(2**63) <= number < 2**63:
            return pb.Literal(integer=number)
        if number < 2**64:
            return pb.Literal(unsigned=number)
    elif isinstance(value, float):
        return pb.Literal(number=value)
    elif isinstance(value, str):
        return pb.Literal(text=utf8(value, f"parameter {name}"))
    elif isinstance(value, bytes):
        return pb.Literal(blob=value)
    elif (time := _nanoseconds(value)) is not None and -(2**63) < time < 2**63:
        return pb.Literal(time_unix_nanos=time)
    raise errors.InvalidError(
        f"parameter {name}: {value!r} is not a value of SQL",
        resolution="give None, a bool, int, float, str, bytes, or a time between 1678 and 2261",
    )


def _no_rows(kind: Any) -> Any:
    import numpy as np

    return np.empty((0, *kind.shape), kind.value_type.to_pandas_dtype())


def make_query(
    client: Client,
    dataset: str,
    *,
    where: str = "",
    columns: Sequence[str] = (),
    limit: int = 0,
    offset: int = 0,
    order_by: str = "",
    k: int = 10,
    sample: int | float = 0,
    seed: int = 0,
    stratify: str = "",
    group_by: str | Sequence[str] = (),
    aggregates: str | Sequence[str] = (),
    batch_rows: int = 0,
) -> Query:
    """Make a query; see `Client.query`."""
    request = pb.ScanRequest(
        dataset=dataset,
        where=utf8(where, "the condition"),
        columns=columns,
        limit=limit,
        offset=offset,
        group_by=[group_by] if isinstance(group_by, str) else group_by,
        aggregates=[_aggregate(a) for a in ([aggregates] if isinstance(aggregates, str) else aggregates)],
        batch_rows=batch_rows,
    )
    if order_by:
        request.top.column, request.top.descending, request.top.k = order_by.lstrip("-"), order_by[0] == "-", k
    if sample:
        request.sample.seed, request.sample.stratify_by = seed, stratify
        if isinstance(sample, float):
            request.sample.fraction = sample
        else:
            request.sample.n = sample
    elif stratify:
        raise errors.InvalidError("stratify= needs sample=, the number of rows of each stratum", resource=dataset)
    return Query(client, request)


def _aggregate(text: str) -> pb.Aggregate:
    name, paren, rest = text.strip().partition("(")
    column = rest.rstrip().removesuffix(")").strip() if paren else ""
    function = _AGGREGATES.get(name.strip().lower())
    if function is None or (paren and not rest.rstrip().endswith(")")) or (column in ("", "*") and function != 1):
        raise errors.InvalidError(
            f"{text!r} is not an aggregate",
            resource=text,
            resolution="write count, or one of sum, min, max, avg and count with a column: avg(size)",
        )
    return pb.Aggregate(function=function, column="" if column == "*" else column.strip('"'))  # type: ignore[arg-type]


def schema_of(client: Client, dataset: str) -> Mapping[str, str]:
    """Return the columns of a dataset as a table, name -> type."""
    reply = client.call("query.Schema", pb.SchemaRequest(dataset=dataset), pb.SchemaResponse)
    return {f.name: f.type for f in reply.fields}
