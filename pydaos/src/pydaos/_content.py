"""The content of files: reads that go into the caller's memory.

Large ones go in pieces that are pipelined on one connection, straight between the socket
and where they are wanted. `_staged` is how files are written, `_remote` files that are open.
"""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, NamedTuple

from pydaos import _errors as errors
from pydaos._address import decode_path
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._feed import Buffer
    from pydaos._posix import PosixDataset

# Bytes of a piece of a large transfer.
PIECE = 4 << 20


class Source(NamedTuple):
    """Which file to read: by path or inode number, at an epoch (0: the address's)."""

    path: bytes = b""
    inode: int = 0
    epoch: int = 0


def flat(buffer: Buffer) -> memoryview:
    """Return the bytes of a buffer that lies in one piece, also of one without any.

    `memoryview.cast` refuses shapes with a zero in them.
    """
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def read_request(dataset: PosixDataset, source: Source, offset: int, length: int) -> pb.ReadRequest:
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
        "posix.Read", read_request(dataset, Source(path), offset, first), pb.ReadResponse
    )
    end = head.size if length is None else min(head.size, offset + length)
    if offset + len(data) >= end:
        return bytes(data)
    return read_rest(dataset, Source(path, epoch=head.epoch), offset, end - offset, data)


def read_rest(dataset: PosixDataset, source: Source, offset: int, total: int, start: bytes) -> bytes:
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
        calls.append((read_request(dataset, source, offset + at, len(pieces[-1])), None))
    got = 0
    replies = dataset.client.call_many("posix.Read", calls, pb.ReadResponse, into=pieces)
    for piece, reply in zip(pieces, replies):
        if isinstance(reply, errors.DaosError):
            raise reply
        got += len(reply[1])
        if len(reply[1]) < len(piece):
            break
    return got


def seek_target(offset: int, whence: int, pos: int, size: int) -> int:
    """Return the position that `seek` moves to."""
    if whence not in (0, 1, 2):
        raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
    target = offset + (0, pos, size)[whence]
    if target < 0:
        if whence == 0:
            raise ValueError(f"negative seek position {target}")
        # As a local file has it; zipfile looks for the end of an archive so.
        raise OSError(errno.EINVAL, f"negative seek position {target}")
    return target
