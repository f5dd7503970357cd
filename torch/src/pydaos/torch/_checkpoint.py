"""Checkpoints: files of a POSIX dataset that are there whole or not at all."""

from __future__ import annotations

import io
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import pydaos
from pydaos._address import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Checkpoint", "WriteBuffer"]

#: Bytes of one request of a writer.
CHUNK = 8 << 20


class WriteBuffer(io.BufferedIOBase):
    """A write-only stream into a staged file.

    The bytes go to a file that nobody sees. ``close()`` makes it durable and
    puts it under its name in one step; the file that was there stays until
    then. When the ``with`` block ends with an exception, or the process dies,
    the staged file is dropped. At most two chunks are held in memory.
    """

    def __init__(self, dataset: Any, path: str, mode: int, chunk: int, parents: bool) -> None:
        super().__init__()
        self.name = path
        self._staged = dataset.open(path, "wb", buffering=0, parents=parents, permissions=mode)
        self._chunk = chunk
        self._held = bytearray()
        self._written = 0
        self._failed = False

    def write(self, data: Buffer, /) -> int:
        """Take bytes; they may be reused when this returns."""
        self._check()
        view = memoryview(data).cast("B")
        n = view.nbytes
        if self._held:
            room = self._chunk - len(self._held)
            self._held += view[:room]
            view = view[room:]
            if len(self._held) < self._chunk:
                self._written += n
                return n
            self._send(self._held)
            self._held = bytearray()
        while view.nbytes >= self._chunk:
            self._send(view[: self._chunk])
            view = view[self._chunk :]
        self._held += view
        self._written += n
        return n

    def _send(self, data: Buffer) -> None:
        try:
            self._staged.write(data)
        except BaseException:
            self._failed = True
            raise

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed checkpoint")

    @property
    def written(self) -> int:
        """Number of bytes taken, of a closed writer too."""
        return self._written

    def tell(self) -> int:
        """Return the number of bytes written."""
        self._check()
        return self._written

    def flush(self) -> None:
        """Hand what is held to the server; nothing is visible before ``close()``."""
        if not self.closed and self._held:
            self._send(self._held)
            self._held = bytearray()

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
            self._held = bytearray()
            try:
                self._staged.discard()
                self._staged.close()
            finally:
                super().close()

    def close(self) -> None:
        """Make the file durable and visible."""
        if self.closed:
            return
        if self._failed:
            self.discard()
            raise OSError(
                f"checkpoint {self.name}: an earlier write failed; nothing was published, the previous file is kept"
            )
        try:
            self.flush()
            self._staged.close()
        except BaseException:
            self._failed = True
            self.discard()
            raise
        super().close()

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        # A writer that was never closed has not been published.
        try:
            if not self.closed:
                self.discard()
        except Exception:
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
    file_chunk_size, transfer_chunk_size : int
        ``transfer_chunk_size`` is the number of bytes of one request (0: the
        default of 8 MiB, at most 16 MiB); ``file_chunk_size`` is a property of
        the dataset here, accepted and not used.
    open_flags, class_name, chunks_limit, workers
        Upstream's; accepted and not used: a writer holds at most two chunks.
    create : bool
        Make the dataset if it is not there.

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
    ) -> None:
        cont = cont if cont is not None else container
        address = pool if cont is None else f"{pool}/{cont}"
        where = Address.parse(address)
        dataset, snapshot = f"{where.pool}/{where.dataset}", where.snapshot
        if transfer_chunk_size < 0:
            raise ValueError(f"transfer_chunk_size={transfer_chunk_size}: a number of bytes, 0 for the default")
        self._prefix = posixpath.normpath("/" + os.fsdecode(where.path) + "/" + prefix).lstrip("/")
        self._mode = stat.S_IMODE(mode)
        self._chunk = min(transfer_chunk_size or CHUNK, 16 << 20)
        self._client = pydaos.connect(addr, token=token, token_file=token_file)
        self._read_only = bool(snapshot)
        self._address = f"{dataset}@{snapshot}" if snapshot else dataset
        if create and not snapshot:
            try:
                self._client.create_dataset(dataset, type="posix")
            except pydaos.ExistsError:
                pass
        self._dataset = self._client.dataset(self._address)

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
        path = self._path(file)
        parent = posixpath.dirname(path)
        if not ensure_path and parent:
            self._dataset.stat(parent)
        return WriteBuffer(self._dataset, path, self._mode, self._chunk, ensure_path)

    def reader(self, file: str | os.PathLike[str], stream: BinaryIO | None = None) -> Any:
        """Return a seekable, buffered reader of a checkpoint.

        With ``stream`` the whole file is written into it and it is returned,
        rewound to its beginning (upstream's second form).
        """
        source = self._dataset.open(self._path(file), "rb")
        if stream is None:
            return source
        with source:
            while piece := source.read(CHUNK):
                stream.write(piece)
        stream.seek(0)
        return stream

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
