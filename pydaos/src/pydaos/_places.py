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
#: How far rows may be apart, and where a place may begin.
MAX_STRIDE = 1 << 31
MAX_OFFSET = 1 << 62
#: As the file of a place: its bytes come in the stream, behind the places.
INLINE = 0xFFFFFFFF
#: Bytes for the control messages with that many descriptors.
ROOM = socket.CMSG_SPACE(MAX_FILES * array("i").itemsize)
#: Received descriptors are not inherited by programs that this one starts.
CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)

# File, rows, offset, length (of a row), stride.
_PLACE = struct.Struct("<IIQQQ")
_INLINE = struct.pack("<I", INLINE)


def table_size(count: int) -> int:
    """Return the bytes of the list of so many places, padded."""
    return (count * _PLACE.size + 63) & ~63


def inline_size(table: memoryview, count: int) -> int:
    """Return how many bytes follow the list in the stream."""
    if _INLINE not in bytes(table):
        return 0
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
        self._next = 0  # the part that is being read,
        self._done = 0  # how much of it was,
        self._come = 0  # and how much of what came in the stream
        # File, rows, offset, length of a row, stride.
        self._parts: list[tuple[int, int, int, int, int]] = list(_PLACE.iter_unpack(table[: count * _PLACE.size]))
        left, given, empty = size, len(self._files), False
        for number, rows, offset, row, stride in self._parts:
            if number >= given and number != INLINE:
                self.close()
                raise NoDescriptorsError(
                    f"{peer}: an answer lies in files, and this process can open no more",
                    resource=peer,
                    resolution="close some, or raise its limit (ulimit -n)",
                )
            wrong = rows and not (rows > 1 and row <= stride <= MAX_STRIDE and number != INLINE)
            if wrong or offset > MAX_OFFSET:
                self.close()
                raise errors.InternalError(
                    f"{peer}: a place at {offset} with {rows} rows of {row} bytes, {stride} bytes apart"
                )
            left -= row * rows if rows else row
            empty = empty or not row
        if left or empty:
            self.close()
            raise errors.InternalError(f"{peer}: the places of a payload of {size} bytes have {size - left}")

    def fill(self, view: memoryview, new: bool = False) -> None:
        """Fill a buffer with the next bytes; large ones, of new memory above all, by several threads (`_side`)."""
        parts: list[side.Part | side.Rows] = []
        at, size = 0, len(view)
        last: side.Rows | None = None
        joined = 0  # where it ends
        try:
            while at < size:
                number, rows, offset, row, stride = self._parts[self._next]
                length = row * rows if rows else row
                n = min(size - at, length - self._done)
                if number == INLINE:
                    view[at : at + n] = self._inline[self._come : self._come + n]
                    self._come += n
                elif not rows:
                    parts.append(side.Part(self._files[number], offset + self._done, view[at : at + n]))
                elif n == length:
                    if last is None or joined != at or last.row != row or last.stride != stride:
                        last = side.Rows(view, at, row, stride)
                        parts.append(last)
                    last.stretches.append((self._files[number], offset, rows))
                    joined = at + n
                else:  # part of it: row by row
                    k, begun = divmod(self._done, row)
                    n = min(n, row - begun)
                    parts.append(side.Part(self._files[number], offset + k * stride + begun, view[at : at + n]))
                at += n
                self._pass(n, length)
            end = side.read(parts, new)
        except OSError as e:
            raise errors.CorruptError(f"{self._peer}: a file of the server can't be read: {e.strerror}") from e
        if end >= 0:
            raise errors.CorruptError(f"{self._peer}: a file of the server has no byte {end}, where an answer lies")

    def _pass(self, n: int, length: int) -> None:
        self._done += n
        if self._done == length:
            self._next, self._done = self._next + 1, 0

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        while size > 0:
            number, rows, _, row, _ = self._parts[self._next]
            length = row * rows if rows else row
            n = min(size, length - self._done)
            if number == INLINE:
                self._come += n
            size -= n
            self._pass(n, length)

    @property
    def read(self) -> bool:
        """Whether everything has been read."""
        return self._next == len(self._parts)

    def close(self) -> None:
        """Close the descriptors; a second call does nothing."""
        close_all(self._files)

    def __del__(self) -> None:
        if hasattr(self, "_files"):  # an interrupt may have come before
            self.close()
