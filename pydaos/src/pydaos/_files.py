"""File content: whole reads and writes, and file objects.

Large transfers go in pieces that are pipelined on one connection, straight between
the socket and the caller's memory. A file opened for writing whole is staged on the
server, where nobody sees it, and published by one transaction when it is closed; a
small one is written by a single call instead.

The file objects have no `name`: pandas and others take a buffered file with a name for
a local one and open that path.
"""

from __future__ import annotations

import errno
import io
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydaos import _errors as errors
from pydaos._address import decode_path
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._bulk import ReadAhead
    from pydaos._client import Client
    from pydaos._posix import PosixDataset

T = TypeVar("T")

# Bytes of a piece of a large transfer, and of what one call writes whole.
PIECE = 4 << 20
WHOLE = 4 << 20
READ_BUFFER = 256 << 10
# A file that is read in order for so many bytes is read ahead; gaps of this size are still in order.
RUN = 1 << 20
SKIP = 64 << 10
WRITE_BUFFER = 1 << 20


class Source(NamedTuple):
    """Which file to read: by path or inode number, at an epoch (0: the address's)."""

    path: bytes = b""
    inode: int = 0
    epoch: int = 0


def _read_request(dataset: PosixDataset, source: Source, offset: int, length: int) -> pb.ReadRequest:
    return pb.ReadRequest(
        dataset=dataset.address,
        path=source.path,
        inode=source.inode,
        epoch=source.epoch,
        offset=offset,
        length=length,
    )


def read_bytes(dataset: PosixDataset, path: bytes, offset: int, length: int | None) -> bytes:
    """Read a range of a file, all of it at one epoch; see `Dataset.read_bytes`."""
    if offset < 0 or (length is not None and length < 0):
        raise errors.InvalidError(f"offset {offset}, length {length}: can't be negative", resource=decode_path(path))
    first = PIECE if length is None else min(length, PIECE)
    head, data = dataset.client.call_payload(
        "posix.Read", _read_request(dataset, Source(path), offset, first), pb.ReadResponse
    )
    end = head.size if length is None else min(head.size, offset + length)
    if offset + len(data) >= end:
        return bytes(data)
    return _read_rest(dataset, Source(path, epoch=head.epoch), offset, end - offset, data)


def _read_rest(dataset: PosixDataset, source: Source, offset: int, total: int, start: bytes) -> bytes:
    """Read `total` bytes of which `start` are there already, into one bytes object."""
    out = io.BytesIO()  # lets us fill the memory of a bytes object: getvalue() does not copy
    out.seek(total - 1)
    out.write(b"\0")
    with out.getbuffer() as view:
        view[: len(start)] = start
        got = len(start) + read_into(dataset, source, view[len(start) :], offset + len(start))
    if got < total:
        out.truncate(got)
    return out.getvalue()


def read_into(dataset: PosixDataset, source: Source, view: memoryview, offset: int) -> int:
    """Fill a buffer from a file; returns the number of bytes, fewer only at the end."""
    calls: list[tuple[pb.ReadRequest, None]] = []
    pieces: list[memoryview] = []
    for at in range(0, len(view), PIECE):
        pieces.append(view[at : at + PIECE])
        calls.append((_read_request(dataset, source, offset + at, len(pieces[-1])), None))
    got = 0
    replies = dataset.client.call_many("posix.Read", calls, pb.ReadResponse, into=pieces)
    for piece, reply in zip(pieces, replies):
        if isinstance(reply, errors.DaosError):
            raise reply
        got += len(reply[1])
        if len(reply[1]) < len(piece):
            break
    return got


def write_whole(
    dataset: PosixDataset, path: bytes, data: memoryview, exclusive: bool, parents: bool, mode: int
) -> None:
    """Write a file in one step; see `Dataset.write_bytes`."""
    if len(data) <= WHOLE:
        request = pb.CreateRequest(
            dataset=dataset.address, path=path, mode=mode, exclusive=exclusive, truncate=True, parents=parents
        )
        dataset.client.call("posix.Create", request, pb.CreateResponse, data)
        return
    attempts = 0
    while True:
        staged = StagedFile(dataset, path, exclusive, parents, mode)
        try:
            staged.write(data)
            staged.close()
            return
        except errors.StaleError:
            # The server restarted, and staged bytes are not durable: once more from the start.
            staged.discard()
            attempts += 1
            if attempts == 5:
                raise
        except BaseException:
            staged.discard()
            raise


class StagedFile(io.RawIOBase):
    """A file being written that nobody sees until `close` publishes it whole."""

    def __init__(self, dataset: PosixDataset, path: bytes, exclusive: bool, parents: bool, mode: int) -> None:
        self.resource = f"{dataset.address}/{decode_path(path)}"
        self.mode = "xb" if exclusive else "wb"
        self._dataset = dataset
        self._path = path
        self._exclusive = exclusive
        self._parents = parents
        self._permissions = mode
        self._pid = os.getpid()
        self._pos = 0
        self._size = 0
        self._inode = 0
        # The content so far, while it is small enough to be written by one call.
        self._small: bytes | None = b""
        self._discarded = False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._pos

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check_open()
        self._pos = _target(offset, whence, self._pos, self._size)
        return self._pos

    def write(self, data: Any) -> int:
        self._check_open()
        view = memoryview(data).cast("B")
        if self._discarded:
            return len(view)
        if self._small is not None:
            if self._pos == len(self._small) and self._pos + len(view) <= WHOLE:
                self._small += view
            else:
                self._stage()
                small, self._small = self._small, None
                if small:
                    self._send(memoryview(small), 0)
        if self._small is None:
            self._send(view, self._pos)
        self._pos += len(view)
        self._size = max(self._size, self._pos)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._check_open()
        size = self._pos if size is None else size
        if size < self._size:
            raise io.UnsupportedOperation("a file being written whole can't be cut; open it in mode 'r+b' for that")
        if size > self._size:
            self.write_at(b"\0", size - 1)
        return size

    def write_at(self, data: bytes, offset: int) -> None:
        """Write without moving the position."""
        before = self._pos
        self._pos = offset
        self.write(data)
        self._pos = before

    def discard(self) -> None:
        """Drop what was written; nothing is published, closing is still allowed."""
        if self._discarded or self.closed:
            return
        self._discarded = True
        if self._inode and self._pid == os.getpid():
            request = pb.DiscardRequest(dataset=self._dataset.address, inode=self._inode)
            try:
                self._dataset.client.call("posix.Discard", request, pb.DiscardResponse, retry=0.0)
            except errors.DaosError:
                pass  # the server drops it by itself when its time is over

    def publish(self, size: int | None = None) -> None:
        """Make the file durable and visible, as long as `size`; the same as `close` without."""
        if size is not None and size != self._size:
            self.truncate(size)
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        try:
            if not self._discarded and self._pid == os.getpid():
                try:
                    self._publish()
                except BaseException:
                    self.discard()
                    raise
        finally:
            super().close()

    def _publish(self) -> None:
        client: Client = self._dataset.client
        if self._small is not None:
            create = pb.CreateRequest(
                dataset=self._dataset.address,
                path=self._path,
                mode=self._permissions,
                exclusive=self._exclusive,
                truncate=True,
                parents=self._parents,
            )
            client.call("posix.Create", create, pb.CreateResponse, self._small)
            return
        publish = pb.PublishRequest(
            dataset=self._dataset.address,
            inode=self._inode,
            path=self._path,
            size=self._size,
            mode=self._permissions,
            parents=self._parents,
            exclusive=self._exclusive,
        )
        deadline = client._pool.patient(self._size)
        client.call("posix.Publish", publish, pb.PublishResponse, timeout=deadline)

    def _stage(self) -> None:
        request = pb.StageRequest(dataset=self._dataset.address)
        self._inode = self._dataset.client.call("posix.Stage", request, pb.StageResponse).inode

    def _send(self, view: memoryview, offset: int) -> None:
        calls = [
            (
                pb.WriteStagedRequest(dataset=self._dataset.address, inode=self._inode, offset=offset + at),
                view[at : at + PIECE],
            )
            for at in range(0, len(view), PIECE)
        ]
        for reply in self._dataset.client.call_many("posix.WriteStaged", calls, pb.WriteStagedResponse):
            if isinstance(reply, errors.DaosError):
                raise reply

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class RemoteFile(io.RawIOBase):
    """A file read, and with a writing mode changed in place; named by its inode number."""

    #: Connections that a large read is shared out over.
    lanes = 1
    #: Whether requests are sent ahead when the file is read in order.
    read_ahead = False
    _ahead: ReadAhead | None = None
    _run_end = -1  # where the last read ended, and
    _run = 0  # how many bytes were read in order until there

    def __init__(
        self, dataset: PosixDataset, path: bytes, attr: pb.Attr, *, readable: bool, writable: bool, append: bool
    ) -> None:
        self.resource = f"{dataset.address}/{decode_path(path)}"
        self.mode = "ab" if append else ("r+b" if writable else "rb")
        self._dataset = dataset
        self._inode = attr.inode
        self._opened = attr.epoch
        self._epoch = 0
        self._readable = readable
        self._writable = writable
        self._append = append
        self._size = attr.size
        self._pos = self._size if append else 0

    def readable(self) -> bool:
        return self._readable

    def writable(self) -> bool:
        return self._writable

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check(True, "tell")
        return self._pos

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check(True, "seek")
        if whence == 2 and "@" not in self._dataset.address and not self._epoch:
            self._size = self._stat().size
        self._pos = _target(offset, whence, self._pos, self._size)
        return self._pos

    def readinto(self, buffer: Any) -> int:
        from pydaos import _bulk as bulk

        self._check(self._readable, "read")
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        got = self._next(view) if self.read_ahead else 0
        if got < len(view):
            got += self._at_open(
                lambda source: bulk.read_into(self._dataset, source, view[got:], self._pos + got, self.lanes)
            )
        if got:  # a position behind the end says nothing of the size
            self._pos += got
            self._size = max(self._size, self._pos)
        return got

    def pin(self) -> None:
        """Go on with the file as it is now when it is removed or replaced, for as long as the server keeps that."""
        if "@" not in self._dataset.address and not self._epoch:
            request = _read_request(self._dataset, Source(inode=self._inode), 0, 0)
            self._opened = self._dataset.client.call("posix.Read", request, pb.ReadResponse).epoch

    def _next(self, view: memoryview) -> int:
        """Fill a buffer from what was asked for ahead, if that is what comes next; 0 if not."""
        from pydaos import _bulk as bulk

        gap = self._pos - self._run_end
        self._run = self._run + len(view) if 0 <= gap <= SKIP else len(view)
        self._run_end = self._pos + len(view)
        ahead = self._ahead
        if ahead is not None and not (ahead.usable() and 0 <= self._pos - ahead.offset <= SKIP):
            ahead.close()
            ahead = self._ahead = None
        # Very large reads have requests of their own under way, over several connections.
        if len(view) >= 2 * bulk.PIECE and self.lanes > 1:
            return 0
        try:
            if ahead is None:
                if self._run < RUN or self._size - self._pos <= len(view):
                    return 0
                source = Source(inode=self._inode, epoch=self._epoch)
                ahead = self._ahead = bulk.ReadAhead(self._dataset, source, self._pos, self._size)
            if ahead.offset < self._pos:
                ahead.readinto(memoryview(bytearray(self._pos - ahead.offset)))
            got = ahead.readinto(view)
        except errors.DaosError:
            self._ahead = None
            return 0  # read again in the usual way, which knows what to do about it
        if not ahead.usable():
            self._ahead = None
        return got

    def close(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()
        super().close()

    def readall(self) -> bytes:
        self._check(self._readable, "read")
        data = self._at_open(self._read_all)
        self._pos += len(data)
        return data

    def write(self, data: Any) -> int:
        self._check(self._writable, "write")
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) or not len(view):
            piece = view[done : done + PIECE]
            request = pb.WriteRequest(
                dataset=self._dataset.address, inode=self._inode, offset=self._pos, append=self._append
            )
            reply = self._dataset.client.call("posix.Write", request, pb.WriteResponse, piece)
            done += len(piece)
            self._pos = reply.offset + len(piece)
            self._size = reply.size
            if not len(view):
                break
        return done

    def truncate(self, size: int | None = None) -> int:
        self._check(self._writable, "write")
        size = self._pos if size is None else size
        request = pb.TruncateRequest(dataset=self._dataset.address, inode=self._inode, size=size)
        self._dataset.client.call("posix.Truncate", request, pb.TruncateResponse)
        self._size = size
        return size

    def _read_all(self, source: Source) -> bytes:
        head, data = self._dataset.client.call_payload(
            "posix.Read", _read_request(self._dataset, source, self._pos, PIECE), pb.ReadResponse
        )
        self._size = head.size
        if self._pos + len(data) >= head.size:
            return bytes(data)
        return _read_rest(self._dataset, source._replace(epoch=head.epoch), self._pos, head.size - self._pos, data)

    def _stat(self) -> pb.Attr:
        request = pb.StatRequest(dataset=self._dataset.address, inode=self._inode)
        try:
            return self._dataset.client.call("posix.Stat", request, pb.StatResponse).attr
        except errors.NotFoundError:
            return pb.Attr(size=self._size)  # removed meanwhile, still open here

    def _at_open(self, read: Callable[[Source], T]) -> T:
        """Read the file as it is, or, once it was removed or replaced, as it was when opened."""
        try:
            return read(Source(inode=self._inode, epoch=self._epoch))
        except errors.NotFoundError:
            if self._epoch or not self._opened:
                raise
            self._epoch = self._opened
            return read(Source(inode=self._inode, epoch=self._epoch))

    def _check(self, allowed: bool, what: str) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not allowed:
            raise io.UnsupportedOperation(f"not open for this: {what}")


def _target(offset: int, whence: int, pos: int, size: int) -> int:
    if whence not in (0, 1, 2):
        raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
    target = offset + (0, pos, size)[whence]
    if target < 0:
        if whence == 0:
            raise ValueError(f"negative seek position {target}")
        # As a local file has it; zipfile looks for the end of an archive so.
        raise OSError(errno.EINVAL, f"negative seek position {target}")
    return target


class StagedWriter(io.BufferedWriter):
    """The buffer over a `StagedFile`: discards on an exception and when it is never closed."""

    raw: StagedFile

    def discard(self) -> None:
        """Drop what was written; nothing is published."""
        self.raw.discard()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc_type is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        _discard_unclosed(self)


class StagedText(io.TextIOWrapper):
    """Text over a `StagedWriter`."""

    def discard(self) -> None:
        """Drop what was written; nothing is published."""
        self.buffer.discard()  # type: ignore[attr-defined]

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc_type is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        _discard_unclosed(self)


def _discard_unclosed(f: StagedWriter | StagedText) -> None:
    try:
        if f.closed:
            return
    except ValueError:
        return  # never finished its construction
    buffer: Any = getattr(f, "buffer", f)
    f.discard()
    f.close()
    warnings.warn(
        f"{buffer.raw.resource} was never closed: what was written is discarded", ResourceWarning, stacklevel=2
    )


def open_file(
    dataset: PosixDataset,
    path: bytes,
    mode: str,
    *,
    buffering: int,
    encoding: str | None,
    newline: str | None,
    parents: bool,
    permissions: int,
) -> Any:
    """Open a file; see `Dataset.open`."""
    text = "b" not in mode
    action = "".join(sorted(c for c in mode if c not in "bt"))
    if action not in ("r", "w", "x", "a", "+r", "+w", "+x", "+a") or len(mode) != len(set(mode)) or "bt" in mode:
        raise ValueError(f"invalid mode: {mode!r}")
    if not text and (encoding is not None or newline is not None):
        raise ValueError("a binary file takes neither encoding nor newline")
    if text and buffering == 0:
        raise ValueError("a text file can't be unbuffered")
    if action in ("w", "x"):
        if action == "x" and _exists(dataset, path):
            raise errors.ExistsError(
                f"{dataset.address}/{decode_path(path)}: exists already", resource=decode_path(path)
            )
        staged = StagedFile(dataset, path, action == "x", parents, permissions)
        if buffering == 0:
            return staged
        writer = StagedWriter(staged, buffering if buffering > 1 else WRITE_BUFFER)
        return StagedText(writer, encoding or "utf-8", newline=newline) if text else writer
    attr = _open_attr(dataset, path, action, parents, permissions)
    raw = RemoteFile(
        dataset,
        path,
        attr,
        readable=action[-1] == "r" or "+" in action,
        writable=action != "r",
        append="a" in action,
    )
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else (READ_BUFFER if action == "r" else WRITE_BUFFER)
    buffered: Any
    if "+" in action:
        buffered = io.BufferedRandom(raw, size)
    elif action == "r":
        buffered = io.BufferedReader(raw, size)
    else:
        buffered = io.BufferedWriter(raw, size)
    return io.TextIOWrapper(buffered, encoding or "utf-8", newline=newline) if text else buffered


def _open_attr(dataset: PosixDataset, path: bytes, action: str, parents: bool, permissions: int) -> pb.Attr:
    if "r" in action:
        stat = pb.StatRequest(dataset=dataset.address, path=path, follow=True)
        attr = dataset.client.call("posix.Stat", stat, pb.StatResponse).attr
        if attr.type == pb.FILE_TYPE_DIRECTORY:
            where = f"{dataset.address}/{decode_path(path)}"
            raise errors.IsDirectoryError(f"{where}: is a directory", op="open", resource=where)
        return attr
    create = pb.CreateRequest(
        dataset=dataset.address,
        path=path,
        mode=permissions,
        exclusive="x" in action,
        truncate="w" in action,
        parents=parents,
    )
    return dataset.client.call("posix.Create", create, pb.CreateResponse).attr


def _exists(dataset: PosixDataset, path: bytes) -> bool:
    try:
        stat = pb.StatRequest(dataset=dataset.address, path=path)
        dataset.client.call("posix.Stat", stat, pb.StatResponse)
    except (errors.NotFoundError, errors.NotDirectoryError):
        return False
    return True
