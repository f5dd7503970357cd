"""Files that are read, or changed in place: `RemoteFile`, which `_files.open_file` opens.

A file is named by its inode number, so that it is the same one when its name goes to
another; what was removed or replaced is read on as it was when it was opened.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pydaos import _errors as errors
from pydaos import _pages as pages
from pydaos._address import decode_path
from pydaos._content import PIECE, Source, flat, read_request, read_rest, seek_target
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._bulk import ReadAhead
    from pydaos._posix import PosixDataset

T = TypeVar("T")

# A file that is read in order for so many bytes is read ahead; gaps of this size are still in order.
RUN = 1 << 20
SKIP = 64 << 10
# Buffers of one file that large pages are asked for.
MAX_ASKED = 4096


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
        self._large = pages.Large(MAX_ASKED)

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
        self._pos = seek_target(offset, whence, self._pos, self._size)
        return self._pos

    def readinto(self, buffer: Any) -> int:
        from pydaos import _bulk as bulk

        self._check(self._readable, "read")
        view = flat(buffer)
        if not len(view):
            return 0
        if self.read_ahead:
            self._large.get(view)
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
            request = read_request(self._dataset, Source(inode=self._inode), 0, 0)
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
                ahead = self._ahead = bulk.ReadAhead(self._dataset, source, self._pos, self._size, self.lanes)
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
        view = flat(data)
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
            "posix.Read", read_request(self._dataset, source, self._pos, PIECE), pb.ReadResponse
        )
        self._size = head.size
        if self._pos + len(data) >= head.size:
            return bytes(data)
        return read_rest(self._dataset, source._replace(epoch=head.epoch), self._pos, head.size - self._pos, data)

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
