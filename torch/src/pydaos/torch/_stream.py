"""Batches of a source in order over one connection, the next ones requested ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pydaos.torch._columns import Raw
from pydaos.torch._slabs import batch_memory

if TYPE_CHECKING:
    from pydaos._manifest import BatchPipe

__all__ = ["Stream"]

U64 = npt.NDArray[np.uint64]


class Stream:
    """A pipelined reader with up to ``depth`` requests in flight, at most 8; it owns the pipe.

    ``handed_out`` says whether batches are given to the user as they are received.
    """

    def __init__(self, pipe: BatchPipe, depth: int, *, handed_out: bool = False) -> None:
        self._depth = max(1, min(depth, 8))
        self._pipe = pipe
        self._handed_out = handed_out

    def ask(self, indices: U64) -> None:
        """Request a batch."""
        self._pipe.send_batch(indices)

    @property
    def room(self) -> bool:
        """Whether another request may be sent ahead."""
        return len(self._pipe) < self._depth

    def take(self) -> Raw:
        """Receive the oldest batch asked for."""
        memory = batch_memory(handed_out=self._handed_out)
        meta, payload = self._pipe.recv_batch(memory.lease)
        return Raw(meta, payload, memory.tensor(payload))

    def readable(self) -> bool:
        """Whether take() will find an answer that has begun to arrive."""
        return self._pipe.readable()

    @property
    def retries(self) -> int:
        """How often the server was lost and asked again."""
        return self._pipe.lost

    def close(self) -> None:
        """Give the connection back."""
        self._pipe.close()
