"""Files that are written whole: staged on the server, where nobody sees them, then published.

One transaction publishes a file when it is closed; a small one is written by a single call
instead. What is left open, or ends with an exception, is discarded. `Staging` has the calls,
`_bulk` a file that is sent over several connections.
"""

from __future__ import annotations

import io
import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydaos import _errors as errors
from pydaos._address import decode_path
from pydaos._content import PIECE, flat, seek_target
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._client import Client
    from pydaos._posix import PosixDataset

# Bytes that one call writes whole.
WHOLE = 4 << 20


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


class Staging:
    """A file that the server keeps without a name, from the first `begin` until it is published or discarded.

    Attributes
    ----------
    inode
        Its number; 0 before it was begun.
    """

    def __init__(self, dataset: PosixDataset, path: bytes, exclusive: bool, parents: bool, mode: int) -> None:
        self.resource = f"{dataset.address}/{decode_path(path)}"
        self.dataset = dataset
        self.inode = 0
        self.pid = os.getpid()
        self._path = path
        self._exclusive = exclusive
        self._parents = parents
        self._mode = mode

    @property
    def inherited(self) -> bool:
        """Whether another process began it, of which this one was forked."""
        return self.pid != os.getpid()

    def begin(self) -> int:
        """Return its number, got from the server the first time."""
        if not self.inode:
            request = pb.StageRequest(dataset=self.dataset.address)
            self.inode = self.dataset.client.call("posix.Stage", request, pb.StageResponse).inode
        return self.inode

    def create(self, data: bytes) -> None:
        """Write a file of few bytes by one call, without a stage."""
        request = pb.CreateRequest(
            dataset=self.dataset.address,
            path=self._path,
            mode=self._mode,
            exclusive=self._exclusive,
            truncate=True,
            parents=self._parents,
        )
        self.dataset.client.call("posix.Create", request, pb.CreateResponse, data)

    def publish(self, size: int) -> None:
        """Make it durable, as long as `size` bytes, and give it its name."""
        client: Client = self.dataset.client
        request = pb.PublishRequest(
            dataset=self.dataset.address,
            inode=self.inode,
            path=self._path,
            size=size,
            mode=self._mode,
            parents=self._parents,
            exclusive=self._exclusive,
        )
        client.call("posix.Publish", request, pb.PublishResponse, timeout=client._pool.patient(size))

    def discard(self) -> None:
        """Drop it, if it was begun here."""
        if not self.inode or self.inherited:
            return
        request = pb.DiscardRequest(dataset=self.dataset.address, inode=self.inode)
        try:
            self.dataset.client.call("posix.Discard", request, pb.DiscardResponse, retry=0.0)
        except errors.DaosError:
            pass  # the server drops it by itself when its time is over


class StagedFile(io.RawIOBase):
    """A file being written that nobody sees until `close` publishes it whole."""

    def __init__(self, dataset: PosixDataset, path: bytes, exclusive: bool, parents: bool, mode: int) -> None:
        self._staging = Staging(dataset, path, exclusive, parents, mode)
        self.resource = self._staging.resource
        self.mode = "xb" if exclusive else "wb"
        self._pos = 0
        self._size = 0
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
        self._pos = seek_target(offset, whence, self._pos, self._size)
        return self._pos

    def write(self, data: Any) -> int:
        self._check_open()
        view = flat(data)
        if self._discarded:
            return len(view)
        if self._small is not None:
            if self._pos == len(self._small) and self._pos + len(view) <= WHOLE:
                self._small += view
            else:
                self._staging.begin()
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
        self._staging.discard()

    def publish(self, size: int | None = None) -> None:
        """Make the file durable and visible, as long as `size`; the same as `close` without."""
        if size is not None and size != self._size:
            self.truncate(size)
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        try:
            if not self._discarded and not self._staging.inherited:
                try:
                    self._publish()
                except BaseException:
                    self.discard()
                    raise
        finally:
            super().close()

    def _publish(self) -> None:
        if self._small is not None:
            self._staging.create(self._small)
        else:
            self._staging.publish(self._size)

    def _send(self, view: memoryview, offset: int) -> None:
        dataset, inode = self._staging.dataset, self._staging.inode
        calls = [
            (
                pb.WriteStagedRequest(dataset=dataset.address, inode=inode, offset=offset + at),
                view[at : at + PIECE],
            )
            for at in range(0, len(view), PIECE)
        ]
        for reply in dataset.client.call_many("posix.WriteStaged", calls, pb.WriteStagedResponse):
            if isinstance(reply, errors.DaosError):
                raise reply

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


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
