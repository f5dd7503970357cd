"""Ranges that are received together: what an error in the middle leaves."""

import numpy as np
import pytest

import pydaos
from pydaos import _spans as spans
from pydaos._content import Source


@pytest.mark.parametrize("files", [True, False])
def test_answers_under_way_end_the_connection(server, posix_dataset, files):
    data = np.random.default_rng(4).integers(0, 256, 4 << 20, dtype=np.uint8).tobytes()
    posix_dataset.write_bytes("f", data)
    with server.connect() as client:
        client._pool.drop_idle()
        client._pool.files = files
        mine = client.dataset(posix_dataset.address)
        conn = client._pool.acquire()
        client._pool.release(conn)
        ranges = [(i << 18, memoryview(bytearray(1000))) for i in range(12)]
        with pytest.raises(pydaos.NotFoundError):  # said twelve times
            spans.read(mine, Source(path=b"missing"), ranges)
        assert conn.broken
        assert spans.read(mine, Source(path=b"f"), ranges) == [1000] * 12
        assert all(view == data[at : at + 1000] for at, view in ranges)
        conn = client._pool.acquire()
        client._pool.release(conn)
        ranges[1] = (ranges[1][0], memoryview(bytes(1000)))  # nothing can be received into it
        with pytest.raises((TypeError, BufferError)):
            spans.read(mine, Source(path=b"f"), ranges)
        assert conn.broken
        assert mine.read_bytes("f") == data
