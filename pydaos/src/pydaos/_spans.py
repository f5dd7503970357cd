"""Byte ranges of a file that lie near each other, received with one request for all of them.

What lies between them is left out by whoever receives it: a request and its answer cost more
than a few kilobytes. `_bulk` shares ranges out over connections; here is what one of them does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydaos import _content as content
from pydaos._feed import FeedConnection
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._posix import PosixDataset

#: Bytes between two ranges that are received, or passed over, with them.
GAP = 32 << 10
#: Bytes of one request: of an answer that comes over the socket, and of one that may lie in files.
SPAN = 4 << 20
SPAN_IN_FILES = 16 << 20
#: Requests sent at once; twice as many are under way at most.
WINDOW = 8

METHOD = "/daos.posix.v1.PosixService/Read"

Range = tuple[int, memoryview]


class Span(NamedTuple):
    """Rising ranges that are asked for together, [start, end) of the file."""

    start: int
    end: int
    ranges: list[Range]


def spans(ranges: Sequence[Range], most: int) -> list[Span]:
    """Bring neighbours together, in the order given, up to so many bytes."""
    out: list[Span] = []
    for offset, view in ranges:
        end = offset + len(view)
        if out:
            last = out[-1]
            if 0 <= offset - last.end <= GAP and end - last.start <= most:
                last.ranges.append((offset, view))
                out[-1] = last._replace(end=end)
                continue
        out.append(Span(offset, end, [(offset, view)]))
    return out


def read(dataset: PosixDataset, source: content.Source, ranges: Sequence[Range]) -> list[int]:
    """Fill buffers from byte ranges, over one connection; returns the bytes of each."""

    def once(conn: FeedConnection) -> list[int]:
        return _read(conn, dataset, source, spans(ranges, SPAN_IN_FILES if conn.reads_files else SPAN))

    return dataset.client._pool.run(once)


def _read(conn: FeedConnection, dataset: PosixDataset, source: content.Source, wanted: Sequence[Span]) -> list[int]:
    client = dataset.client
    waiting: deque[int] = deque()
    got: list[int] = []
    asked = 0
    try:
        for span in wanted:
            if len(waiting) <= WINDOW and asked < len(wanted):
                some = [
                    content.read_request(dataset, source, s.start, s.end - s.start)
                    for s in wanted[asked : asked + WINDOW]
                ]
                waiting.extend(conn.send_calls(METHOD, [client._prepare(request) for request in some]))
                asked += len(some)
            call_id = waiting.popleft()
            meta, size = conn.receive_head(call_id)
            waiting.appendleft(call_id)  # until all of it is received
            client._parse(pb.ReadResponse, meta)
            got += _fill(conn, span, size)
            waiting.popleft()
    except BaseException:
        conn.broken = conn.broken or bool(waiting)  # answers are under way
        raise
    return got


def _fill(conn: FeedConnection, span: Span, size: int) -> list[int]:
    """Receive the ranges of an answer of so many bytes; fewer than were asked for end the file."""
    got: list[int] = []
    at, end = span.start, span.start + size
    for offset, view in span.ranges:
        conn.skip(min(offset, end) - min(at, end))
        n = max(0, min(len(view), end - offset))
        if n:
            conn.receive_part(view[:n])
        got.append(n)
        at = offset + len(view)
    return got
