"""Checkpoints: files of a POSIX dataset that are there whole or not at all."""

from __future__ import annotations

import io
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

import pydaos
from pydaos._address import Address, encode_path
from pydaos._bulk import MAX_PIECE, PIECE, StagedStream
from pydaos.torch._arguments import seconds, whole
from pydaos.torch._restore import load_into

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Checkpoint", "WriteBuffer"]

#: Bytes of one request of a writer, unless told otherwise.
CHUNK = PIECE
#: Requests under way at a time, whatever ``workers`` says.
MAX_WORKERS = 16
#: Times that `Checkpoint.save` begins, for a server that restarts again and again.
SAVE_ATTEMPTS = 5
#: Connections that one large read is shared out over.
READ_LANES = 2


class WriteBuffer(io.BufferedIOBase):
    """A write-only stream into a staged file.

    The bytes go to a file that nobody sees. ``close()`` makes it durable and
    puts it under its name in one step; the file that was there stays until
    then. When the ``with`` block ends with an exception, when the stream is
    never closed, or when the process dies, the staged file is dropped.

    Bytes are copied into chunks that are sent by threads while the caller goes
    on; no more than ``chunks_limit`` chunks are held. A chunk that could not be
    stored is raised by a later ``write`` or by ``close``.
    """

    def __init__(self, stream: StagedStream, path: str) -> None:
        super().__init__()
        self.name = path
        self._stream = stream

    def write(self, data: Buffer, /) -> int:
        """Take bytes; they may be reused when this returns."""
        self._check()
        return self._stream.write(data)

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed checkpoint")

    @property
    def written(self) -> int:
        """Number of bytes taken, of a closed writer too."""
        return self._stream.size

    def tell(self) -> int:
        """Return the number of bytes written."""
        self._check()
        return self._stream.size

    def flush(self) -> None:
        """Send what is held on its way to the server; nothing is visible before ``close()``."""
        if not self.closed:
            self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return False."""
        return False

    def seekable(self) -> bool:
        """Return False."""
        return False

    def discard(self) -> None:
        """Drop what was written; the file that was there stays."""
        if not self.closed:
            try:
                self._stream.discard()
            finally:
                self._end()

    def close(self) -> None:
        """Make the file durable and visible, or raise why it is not; the previous one is kept then."""
        if self.closed:
            return
        try:
            self._stream.publish()
        except pydaos.StaleError as e:
            raise self._restarted() from e
        finally:
            self._end()

    def _restarted(self) -> pydaos.StaleError:
        return pydaos.StaleError(
            f"checkpoint {self.name}: the server restarted while it was saved; nothing was published, "
            "the previous file is kept",
            resource=self.name,
            resolution="save it again",
        )

    def _end(self) -> None:
        # io's own close() would flush.
        self.flush = _nothing  # type: ignore[method-assign]
        super().close()

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        if value is None:
            self.close()
            return
        failure = self._stream.failure
        self.discard()
        # torch.save ends its archive after a failed write as well, and complains of that.
        if isinstance(failure, pydaos.StaleError):
            raise self._restarted() from failure
        if failure is not None and value is not failure and isinstance(value, RuntimeError):
            raise failure from value

    def __del__(self) -> None:
        # A writer that was never closed has not been published.
        try:
            if not self.closed:
                self.discard()
        except Exception:
            return


def _nothing() -> None:
    return


class Checkpoint:
    """A folder of checkpoints in a POSIX dataset.

    Parameters
    ----------
    pool, cont : str
        The dataset; or ``Checkpoint("POOL/DATASET")``.
    prefix : str
        Folder of the files; names are relative to it, absolute ones too.
    mode : int
        Permission bits of new files.
    transfer_chunk_size : int
        Bytes of one request of a writer, a chunk (0: 4 MiB; at most 16 MiB). Multiples
        of 1 MiB are stored best.
    chunks_limit : int
        Chunks that a writer holds at a time, those under way included: together with
        ``transfer_chunk_size`` the bound of its memory (0: two more than ``workers``).
    workers : int
        Requests of a writer under way at a time, at most 16; a large read uses two.
        They are threads that live as long as the writer, not processes.
    create : bool
        Make the dataset if it is not there.
    retry : float
        Seconds to wait for a server that has gone. A save that it was lost in fails
        (StaleError) and has to be made again.
    open_flags, class_name, file_chunk_size
        Upstream's; accepted and not used: they are properties of the dataset here.

    Notes
    -----
    ``with`` closes this process's connections; without it they are closed when the
    object goes. A writer has to be closed, by ``with`` or ``close()``: one that never is
    has published nothing.

    Examples
    --------
    >>> with Checkpoint("p", "runs", prefix="/r1", create=True) as ckpt:  # doctest: +SKIP
    ...     with ckpt.writer("last.pt") as f:
    ...         torch.save(model.state_dict(), f)
    ...     state = torch.load(ckpt.reader("last.pt"))
    """

    def __init__(
        self,
        pool: str,
        cont: str | None = None,
        prefix: str = "/",
        mode: int = 0o644,
        open_flags: int = os.O_CREAT | os.O_RDWR,
        class_name: str = "OC_UNKNOWN",
        file_chunk_size: int = 0,
        transfer_chunk_size: int = 0,
        chunks_limit: int = 0,
        workers: int = 4,
        *,
        container: str | None = None,
        create: bool = False,
        addr: str | None = None,
        token: str | None = None,
        token_file: str | None = None,
        retry: float = 60.0,
    ) -> None:
        cont = cont if cont is not None else container
        address = pool if cont is None else f"{pool}/{cont}"
        where = Address.parse(address)
        dataset, snapshot = f"{where.pool}/{where.dataset}", where.snapshot
        transfer_chunk_size = whole("transfer_chunk_size", transfer_chunk_size, 0, "bytes, 0 for the default")
        chunks_limit = whole("chunks_limit", chunks_limit, 0, "chunks held at a time, 0 for the default")
        workers = whole("workers", workers, 0, "requests under way at a time")
        self._prefix = posixpath.normpath("/" + os.fsdecode(where.path) + "/" + prefix).lstrip("/")
        self._mode = stat.S_IMODE(mode)
        self._chunk = min(transfer_chunk_size or CHUNK, MAX_PIECE)
        self._limit = chunks_limit
        self._workers = max(1, min(workers, MAX_WORKERS))
        self._client = pydaos.connect(addr, token=token, token_file=token_file, retry=seconds("retry", retry))
        self._read_only = bool(snapshot)
        self._address = f"{dataset}@{snapshot}" if snapshot else dataset
        if create and not snapshot:
            try:
                self._client.create_dataset(dataset, type="posix")
            except pydaos.ExistsError:
                pass
        self._dataset = self._client.dataset(self._address)
        if self._dataset.type != "posix":
            raise pydaos.InvalidError(
                f"{dataset}: it is a {self._dataset.type} dataset; checkpoints are files of a posix one",
                resource=dataset,
                resolution="name a posix dataset, or a new one with create=True",
            )

    def _writable(self) -> None:
        if self._read_only:
            live = self._address.partition("@")[0]
            raise pydaos.ReadOnlyError(
                f"{self._address}: a snapshot can't be written",
                resource=self._address,
                resolution=f"write with Checkpoint({live!r}); this one reads",
            )

    def _path(self, file: str | os.PathLike[str]) -> str:
        name = os.fspath(file)
        joined = posixpath.normpath("/" + name).lstrip("/")
        if not joined or ".." in name.split("/"):
            raise ValueError(f"checkpoint name {name!r}: a path below the prefix, without '..'")
        return f"{self._prefix}/{joined}" if self._prefix else joined

    def writer(self, file: str | os.PathLike[str], ensure_path: bool = True) -> WriteBuffer:
        """Return a stream whose content appears under the name when it is closed.

        With ``ensure_path=False`` a missing folder is an error (ENOENT).
        """
        self._writable()
        path = self._path(file)
        parent = posixpath.dirname(path)
        if not ensure_path and parent:
            self._dataset.stat(parent)
        stream = StagedStream(
            self._dataset,
            encode_path(path),
            parents=ensure_path,
            mode=self._mode,
            piece=self._chunk,
            lanes=self._workers,
            limit=self._limit,
        )
        return WriteBuffer(stream, path)

    def save(self, obj: Any, file: str | os.PathLike[str], **options: Any) -> None:
        """Do ``with ckpt.writer(file) as f: torch.save(obj, f)``, again if the server restarts meanwhile.

        A restart loses what it has of a save; here the object is still at hand. Each
        attempt waits for the server as long as ``retry`` says. ``options`` are torch.save's.
        """
        for attempt in range(SAVE_ATTEMPTS):
            try:
                with self.writer(file) as f:
                    torch.save(obj, f, **options)  # type: ignore[arg-type]
                return
            except pydaos.StaleError:
                if attempt + 1 == SAVE_ATTEMPTS:
                    raise

    def reader(self, file: str | os.PathLike[str], stream: BinaryIO | None = None) -> Any:
        """Return a seekable, buffered reader of a checkpoint.

        With ``stream`` the whole file is written into it and it is returned,
        rewound to its beginning (upstream's second form).
        """
        source = self._open(self._path(file))
        if stream is None:
            return source
        with source:
            while piece := source.read(CHUNK):
                stream.write(piece)
        stream.seek(0)
        return stream

    def _open(self, path: str) -> Any:
        while True:
            source: Any = self._dataset.open(path, "rb")
            source.raw.lanes = min(READ_LANES, self._workers)
            source.raw.read_ahead = True
            try:
                source.raw.pin()
            except pydaos.NotFoundError:
                continue  # replaced since: open() finds the new one, or says that there is none
            return source

    def load(
        self,
        file: str | os.PathLike[str],
        into: Any = None,
        *,
        strict: bool = True,
        map_location: Any = None,
        weights_only: bool = True,
    ) -> Any:
        """Load a checkpoint of ``torch.save``, into tensors that are there already.

        Parameters
        ----------
        file : str
            Its name.
        into : module, or nested mappings and sequences of tensors, or None
            A ``state_dict()``, a dict of several, or a module. Each tensor in it is
            filled in place: its bytes go from the socket into its memory, without a
            second copy of the model. Shape and dtype must be those of the file; any
            strides and any device will do (other than rows of the CPU cost a copy of
            one tensor, of 16 MiB at a time where both are contiguous). None: like
            ``torch.load(ckpt.reader(file))``.
        strict : bool
            Every tensor of ``into`` must be in the file; with False those that are not
            stay as they are.
        map_location, weights_only
            As for ``torch.load``; ``map_location`` is for tensors that are new.

        Returns
        -------
        The object that was saved, as ``torch.load`` returns it, with the tensors of
        ``into`` in their places: what ``into`` has no tensor for (numbers, strings, the
        state of an optimizer that has not made a step) is in it as new objects.

        Raises
        ------
        InvalidError
            Something does not fit; all that does not is named, with both shapes, and
            nothing was written. Also for a file that is not in torch's zip format.
        CorruptError, UnreachableError, ...
            Reading failed; if that was half way, the message says so.

        Examples
        --------
        >>> state = {"model": model.state_dict(), "optim": optimizer.state_dict()}  # doctest: +SKIP
        >>> saved = ckpt.load("last.pt", into=state)                                # doctest: +SKIP
        >>> optimizer.load_state_dict(saved["optim"]); step = saved["step"]         # doctest: +SKIP
        """
        if into is None:
            with self.reader(file) as whole:
                return torch.load(whole, map_location=map_location, weights_only=weights_only)
        if isinstance(into, torch.nn.Module):
            into = into.state_dict()
        with self.reader(file) as source:
            return load_into(
                source,
                into,
                name=f"{self._address}/{self._path(file)}",
                strict=strict,
                map_location=map_location,
                weights_only=weights_only,
                lanes=min(READ_LANES, self._workers),
            )

    def exists(self, file: str | os.PathLike[str]) -> bool:
        """Whether there is a checkpoint of that name."""
        return bool(self._dataset.exists(self._path(file)))

    def remove(self, file: str | os.PathLike[str]) -> None:
        """Remove a checkpoint."""
        self._dataset.remove(self._path(file))

    def list(self) -> list[str]:
        """Return the names of all checkpoints below the prefix, sorted."""
        return sorted(self._walk(self._prefix, ""))

    def _walk(self, folder: str, name: str) -> Iterator[str]:
        try:
            entries = self._dataset.scandir(folder)
        except FileNotFoundError:
            return
        for entry in entries:
            below = f"{name}/{entry.name}" if name else entry.name
            if entry.is_dir():
                yield from self._walk(f"{folder}/{entry.name}" if folder else entry.name, below)
            else:
                yield below

    def close(self) -> None:
        """Close this process's connections."""
        self._client.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoint({self._address!r}, prefix={'/' + self._prefix!r})"
