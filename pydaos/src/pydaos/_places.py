"""Payloads that a client reads itself: ranges of the server's files (docs/protocol.md, "Files").

The server names them, and gives descriptors that are open for reading only, to processes of
its own user on the same machine. What they show has been verified and never changes, whatever
becomes of the file's name. They are closed when the payload has been read: none is kept.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from collections.abc import Iterable, Sequence

from pydaos import _errors as errors
from pydaos import _side as side

#: The most places of one payload, and the most descriptors that come with it.
MAX_PLACES = 512
MAX_FILES = 16
#: As the file of a place: its bytes come in the stream, behind the places.
INLINE = 0xFFFFFFFF
#: Bytes for the control messages with that many descriptors.
ROOM = socket.CMSG_SPACE(MAX_FILES * array("i").itemsize)
#: Received descriptors are not inherited by programs that this one starts.
CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)

# File, rows, offset, length (of a row), stride.
_PLACE = struct.Struct("<IIQQQ")


def table_size(count: int) -> int:
    """Return the bytes of the list of so many places, padded."""
    return (count * _PLACE.size + 63) & ~63


def inline_size(table: memoryview, count: int) -> int:
    """Return how many bytes follow the list in the stream."""
    return sum(place[3] for place in _PLACE.iter_unpack(table[: count * _PLACE.size]) if place[0] == INLINE)


def received(control: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors of control messages."""
    files = array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return files.tolist()


def close_all(files: list[int]) -> None:
    """Close descriptors, and forget them."""
    while files:
        os.close(files.pop())


class NoDescriptorsError(errors.OverloadedError):
    """A process can take no more descriptors: without the feature its answers come in the stream."""


class Places:
    """A payload of `size` bytes in files; it owns the descriptors until `close`.

    Raises
    ------
    NoDescriptorsError
        There are fewer descriptors than were sent: the process has no more to give.
    InternalError
        The places are not a payload of that size.
    """

    def __init__(
        self, files: Sequence[int], table: memoryview, count: int, size: int, peer: str, inline: bytes = b""
    ) -> None:
        self._files = list(files)
        self._peer = peer
        self._inline = memoryview(inline)
        # File (-1: what came in the stream), rows, offset, length of a row, stride.
        self._parts: list[tuple[int, int, int, int, int]] = []
        self._next = 0  # the part that is being read, and
        self._done = 0  # how much of it was
        left, come = size, 0
        for number, rows, offset, row, stride in _PLACE.iter_unpack(table[: count * _PLACE.size]):
            if number == INLINE:
                self._parts.append((-1, 0, come, row, 0))
                come += row
                left -= row
                continue
            if number >= len(self._files):
                self.close()
                raise NoDescriptorsError(
                    f"{peer}: an answer lies in files, and this process can open no more",
                    resource=peer,
                    resolution="close some, or raise its limit (ulimit -n)",
                )
            if rows and row > stride:
                self.close()
                raise errors.InternalError(f"{peer}: a place with rows of {row} bytes, {stride} bytes apart")
            self._parts.append((self._files[number], rows, offset, row, stride))
            left -= row * (rows or 1)
        if left or not all(part[3] for part in self._parts):
            self.close()
            raise errors.InternalError(f"{peer}: the places of a payload of {size} bytes have {size - left}")

    def fill(self, view: memoryview, new: bool = False) -> None:
        """Fill a buffer with the next bytes; large ones, of new memory above all, by several threads (`_side`)."""
        parts: list[side.Part | side.Rows] = []
        at = 0
        try:
            while at < len(view):
                file, rows, offset, row, stride = self._parts[self._next]
                length = row * (rows or 1)
                n = min(len(view) - at, length - self._done)
                if file < 0:
                    begin = offset + self._done
                    view[at : at + n] = self._inline[begin : begin + n]
                elif not rows:
                    parts.append(side.Part(file, offset + self._done, view[at : at + n]))
                elif n == length:
                    last = parts[-1] if parts else None
                    if not isinstance(last, side.Rows) or (last.row, last.stride, last.end) != (row, stride, at):
                        last = side.Rows(view, at, row, stride)
                        parts.append(last)
                    last.add(file, offset, rows)
                else:  # part of it: row by row
                    k, begun = divmod(self._done, row)
                    n = min(n, row - begun)
                    parts.append(side.Part(file, offset + k * stride + begun, view[at : at + n]))
                at += n
                self._done += n
                if self._done == length:
                    self._next, self._done = self._next + 1, 0
            end = side.read(parts, new)
        except OSError as e:
            raise errors.CorruptError(f"{self._peer}: a file of the server can't be read: {e.strerror}") from e
        if end >= 0:
            raise errors.CorruptError(f"{self._peer}: a file of the server has no byte {end}, where an answer lies")

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        while size > 0:
            _, rows, _, row, _ = self._parts[self._next]
            length = row * (rows or 1)
            n = min(size, length - self._done)
            size -= n
            self._done += n
            if self._done == length:
                self._next, self._done = self._next + 1, 0

    @property
    def read(self) -> bool:
        """Whether everything has been read."""
        return self._next == len(self._parts)

    def close(self) -> None:
        """Close the descriptors; a second call does nothing."""
        close_all(self._files)

    def __del__(self) -> None:
        self.close()
