"""The client: pools, datasets, queries, manifests and batches of one server.

`Client` is what `pydaos.connect()` returns. The classes for pools and datasets are
thin over its `call` (`_calls`); `pydaos.torch` stands on `open_manifest`,
`fetch_batch` and `open_pipe`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors
from pydaos import _manifest as manifests
from pydaos._address import Address, encode_path
from pydaos._calls import DEFAULT_RETRY, DEFAULT_TIMEOUT, Calls, full_method
from pydaos._discovery import Credentials, endpoint
from pydaos._feed import BatchMeta, Buffer
from pydaos._manifest import BatchPipe, Manifest
from pydaos._proto.daos.dataset.v1 import dataset_service_pb2 as dspb
from pydaos._proto.daos.loader.v1 import loader_service_pb2 as lpb
from pydaos._proto.daos.pool.v1 import pool_service_pb2 as ppb
from pydaos._proto.daos.system.v1 import system_service_pb2 as spb

if TYPE_CHECKING:
    from pydaos._dataset import Dataset
    from pydaos._kv import KV
    from pydaos._pool import Pool
    from pydaos._query import Query, Statement
    from pydaos._view import View
__all__ = ["DEFAULT_RETRY", "DEFAULT_TIMEOUT", "Client", "connect", "full_method"]


def connect(
    addr: str | os.PathLike[str] | None = None,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    retry: float = DEFAULT_RETRY,
) -> Client:
    """Connect to a running server, or to a folder.

    Parameters
    ----------
    addr
        ``HOST:PORT``, ``unix:PATH``, or a folder (a path with a slash, or an existing
        one): its server is attached to or, if there is none, started; it ends some
        seconds after its last client. Without `addr`: DAOS_ADDR, else the server of
        this user that was started last.
    token, token_file
        The server's token, or the file with it. Without: DAOS_TOKEN, else the one that
        the server has registered for this user. On a unix socket the server's own user
        needs none.
    timeout
        Seconds that one answer may take.
    retry
        Seconds to wait for a server that has gone (it is being restarted) before a call
        fails. A change is carried out once, however often it is sent.

    Returns
    -------
    Client
        Safe to share between threads, to inherit by fork and to pickle.

    Raises
    ------
    UnreachableError
        There is no server.
    UnauthenticatedError
        The token is wrong.

    Examples
    --------
    >>> import pydaos
    >>> with pydaos.connect() as client:
    ...     pools = client.pools()
    >>> pools
    [<pydaos.Pool p>]
    """
    if not sys.platform.startswith("linux"):
        raise errors.UnsupportedError(
            f"pydaos runs on Linux, not on {sys.platform}",
            resolution="use a Linux machine, or any Arrow Flight client from this one",
        )
    credentials = Credentials(token or "", os.fspath(token_file) if token_file is not None else "")
    client = Client(endpoint(addr, credentials), timeout=timeout, retry=retry)
    # Connect once now, without patience, so that a wrong address or token is said here.
    client._pool.run(lambda conn: None, retry=0.0)
    return client


class Client(Calls):
    """A connection to a server, made by `connect`.

    Connections are opened when they are needed and belong to the process that opened
    them: a forked child and an unpickled copy open their own.

    Examples
    --------
    >>> with pydaos.connect() as client:
    ...     pool = client.create_pool("q", quota=50 << 30)
    ...     photos = client.create_dataset("q/photos", type="posix")
    >>> photos
    <pydaos.Dataset q/photos (posix)>
    """

    # Pools and datasets.

    def pools(self) -> list[Pool]:
        """List the pools, by name."""
        from pydaos._pool import Pool

        reply = self.call("pool.ListPools", ppb.ListPoolsRequest(), ppb.ListPoolsResponse)
        return [Pool(self, p.name) for p in reply.pools]

    def pool(self, name: str) -> Pool:
        """Return a pool; NotFoundError if it does not exist."""
        from pydaos._pool import Pool

        pool = Pool(self, name)
        pool.info()
        return pool

    def create_pool(self, name: str, *, quota: int = 0) -> Pool:
        """Make a pool; `quota` in bytes, 0 for none."""
        from pydaos._pool import Pool

        self.call("pool.CreatePool", ppb.CreatePoolRequest(name=name, quota_bytes=quota), ppb.CreatePoolResponse)
        return Pool(self, name)

    def destroy_pool(self, name: str, *, force: bool = False) -> None:
        """Remove a pool; with `force` also one that holds datasets."""
        self.call("pool.DestroyPool", ppb.DestroyPoolRequest(name=name, force=force), ppb.DestroyPoolResponse)

    def datasets(self, pool: str = "") -> list[Dataset]:
        """List the datasets of a pool, or of all pools, by name."""
        from pydaos._dataset import open_dataset

        reply = self.call("dataset.ListDatasets", dspb.ListDatasetsRequest(pool=pool), dspb.ListDatasetsResponse)
        return [open_dataset(self, Address(d.pool, d.name), d) for d in reply.datasets]

    def dataset(self, address: str) -> Dataset:
        """Return the dataset ``"POOL/DATASET"``, or its frozen state ``"POOL/DATASET@SNAPSHOT"``.

        NotFoundError if it does not exist. One of type kv is a `pydaos.KV`, one of type array
        a `pydaos.Arrays`.
        """
        from pydaos._dataset import open_dataset

        where = Address.parse(address)
        if where.path:
            raise errors.InvalidError(
                f"{address}: a path is not part of a dataset's address",
                resource=address,
                resolution=f"use dataset({str(where.root)!r})",
            )
        reply = self.call("dataset.GetDataset", dspb.GetDatasetRequest(dataset=str(where)), dspb.GetDatasetResponse)
        return open_dataset(self, where, reply.dataset)

    def kv(self, address: str, *, create: bool = False) -> KV:
        """Return the KV dataset ``"POOL/DATASET[@SNAPSHOT]"``, made if it is missing and `create` is set."""
        from pydaos._kv import open_kv

        return open_kv(self, address, create=create)

    def query(
        self,
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
        save_view: str = "",
        replace: bool = False,
    ) -> Query:
        """Return a query over a dataset of any type as a table; it runs when its result is taken.

        Parameters
        ----------
        dataset
            ``"POOL/DATASET[@SNAPSHOT][/PATH]"``: the path is a directory of a posix dataset, or
            an array.
        where
            Condition that rows must meet: ``"label = 3 and quality > 0.8"``, ``"path like
            'train/%'"``. NULL and NaN mean what they mean in DuckDB.
        columns
            Wanted, in this order; all by default.
        limit, offset
            At most so many rows, after leaving out some; 0: all.
        order_by, k
            The first `k` rows by a column; ``"-size"``: the greatest first.
        sample, seed, stratify
            Draw a fraction of the rows (a float) or so many (an int; of each value of the column
            `stratify`). The same seed draws the same rows. Directories and links are rows of a
            posix dataset too: ``where="type = 'file'"`` leaves them out.
        group_by, aggregates
            One row for each value of columns; ``"count"``, ``"avg(size)"``; sum, min, max, avg, count.
        batch_rows
            Rows of a record batch, at most 65536.
        save_view, replace
            Run it now, and keep the samples that it names as a view, in place of one of that
            name with `replace`: see `Query.save_view`. It is the `view` of what is returned.

        Examples
        --------
        >>> client.query("p/photos@v1", where="size > 4096", group_by="ext", aggregates="count").to_arrow().num_rows
        1
        """
        from pydaos._query import make_query

        query = make_query(
            self, dataset, where=where, columns=columns, limit=limit, offset=offset, order_by=order_by, k=k,
            sample=sample, seed=seed, stratify=stratify, group_by=group_by, aggregates=aggregates,
            batch_rows=batch_rows,
        )  # fmt: skip
        if save_view:
            query.save_view(save_view, replace=replace)
        return query

    def sql(
        self,
        text: str,
        params: Mapping[str, Any] | Sequence[Any] = (),
        *,
        memory: int = 0,
        save_view: str = "",
        replace: bool = False,
        of: str = "",
    ) -> Statement:
        """Return an SQL statement over datasets; it runs when its result is taken.

        Parameters
        ----------
        text
            One SELECT of DuckDB's dialect. Datasets are tables, named by their address in double
            quotes: ``FROM "POOL/DATASET[@SNAPSHOT][/PATH]"``.
        params
            Values of its parameters: of ``$name`` by name, of ``?`` in order. None, bools, numbers,
            text, bytes, and times (datetimes and dates; without a zone they are in UTC).
        memory
            Bytes that it may use; 0: what the server allows (its ``query.memory``).
        save_view, replace, of
            Run it now, and keep the samples that it names as a view of the dataset `of`: see
            `Statement.save_view`. It is the `view` of what is returned.

        Examples
        --------
        >>> text = 'SELECT ext, count(*) AS n FROM "p/photos@v1" WHERE size > $s GROUP BY ext'
        >>> client.sql(text, {"s": 5010}).to_arrow().to_pylist()
        [{'ext': 'png', 'n': 53}]
        """
        from pydaos._query import make_statement

        statement = make_statement(self, text, params, memory)
        if save_view:
            statement.save_view(save_view, replace=replace, of=of)
        return statement

    def views(self, dataset: str) -> list[View]:
        """List the views of ``"POOL/DATASET"``, by name."""
        from pydaos._view import views_of

        return views_of(self, dataset)

    def view(self, dataset: str, name: str) -> View:
        """Return a view of ``"POOL/DATASET"``; NotFoundError if it does not exist."""
        from pydaos._view import view_of

        return view_of(self, dataset, name)

    def schema(self, dataset: str) -> Mapping[str, str]:
        """Return the columns that a dataset has as a table: name -> type."""
        from pydaos._query import schema_of

        return schema_of(self, dataset)

    def create_dataset(
        self,
        address: str,
        *,
        type: str = "posix",
        object_class: str = "",
        chunk_bytes: int = 0,
        quota: int = 0,
        attributes: Mapping[str, bytes] | None = None,
        exist_ok: bool = False,
    ) -> Dataset:
        """Make a dataset.

        Parameters
        ----------
        address
            ``"POOL/DATASET"``.
        type
            ``"posix"`` (directories and files), ``"kv"`` (values by key), ``"array"`` (N-D arrays in
            groups) or ``"tensor"`` (columns along a sample axis).
        object_class
            How bulk data is spread over the targets: ``"SX"`` (the default) or ``"S1"``.
        chunk_bytes
            Bytes of a file chunk; 0: 1 MiB.
        quota
            Largest number of bytes; 0: only the pool's.
        attributes
            User attributes.
        exist_ok
            Return the dataset that is there, if it is of this type, instead of ExistsError.
        """
        from pydaos._dataset import open_dataset, type_number

        where = Address.parse(address)
        request = dspb.CreateDatasetRequest(
            dataset=str(where),
            type=type_number(type),
            object_class=object_class,
            chunk_bytes=chunk_bytes,
            quota_bytes=quota,
            attributes=attributes or {},
        )
        try:
            reply = self.call("dataset.CreateDataset", request, dspb.CreateDatasetResponse)
        except errors.ExistsError:
            if exist_ok and (there := self.dataset(str(where))).type == type:
                return there
            raise
        return open_dataset(self, where, reply.dataset)

    def destroy_dataset(self, address: str) -> None:
        """Remove a dataset with all its snapshots."""
        self.call("dataset.DestroyDataset", dspb.DestroyDatasetRequest(dataset=address), dspb.DestroyDatasetResponse)

    def status(self) -> spb.StatusResponse:
        """Describe the server: version, addresses, targets."""
        return self.call("system.Status", spb.StatusRequest(), spb.StatusResponse)

    def ping(self) -> None:
        """Return when the server has answered."""
        self.call("system.Ping", spb.PingRequest(), spb.PingResponse)

    # Manifests and batches, for loaders.

    def open_manifest(
        self,
        dataset: str,
        path: str | bytes = b"",
        glob: str = "",
        columns: Sequence[str] = (),
        label_dirname: bool = False,
        *,
        view: str = "",
        where: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> Manifest:
        """Open the manifest of ``"POOL/DATASET@SNAPSHOT"``: what sample *i* is.

        It is built at the first call, which `progress` follows with the number of entries
        looked at so far, and found at later ones. With `view` it has the samples of a view
        (the snapshot may be left out), with `where` those that meet a condition.
        """
        from pydaos._query import utf8

        request = lpb.OpenManifestRequest(
            dataset=dataset, path=encode_path(path), glob=glob, columns=columns, label_dirname=label_dirname,
            view=view, where=utf8(where, "the condition"),
        )  # fmt: skip
        return manifests.open_manifest(self, request, progress)

    def fetch_batch(
        self,
        manifest: Manifest,
        indices: npt.NDArray[np.uint64],
        alloc: Callable[[int], Buffer] | None = None,
    ) -> tuple[BatchMeta, Buffer]:
        """Read samples by index, in the order given, with one request.

        Parameters
        ----------
        manifest
            From `open_manifest`, also of another process or another client of this server.
        indices
            At most 65,536 sample indices; repeats are allowed.
        alloc
            Is called with a number of bytes and returns the writable buffer to fill; it may
            be called again when the connection was lost half way. Without: numpy.empty.

        Returns
        -------
        tuple
            Where the columns lie (docs/protocol.md, "Batches"), and the filled buffer.
        """
        with self.open_pipe(manifest) as pipe:
            pipe.send_batch(indices)
            return pipe.recv_batch(alloc)

    def open_pipe(self, manifest: Manifest) -> BatchPipe:
        """Return a pipe for batches: requests are sent ahead, answers come in order."""
        return BatchPipe(self, manifest)

    def sample_paths(self, manifest: Manifest, indices: Iterable[int]) -> list[bytes]:
        """Return the paths of samples, relative to the manifest's path (POSIX datasets)."""
        return manifests.sample_paths(self, manifest, indices)

    def __repr__(self) -> str:
        return f"<pydaos.Client {self._endpoint}>"
