"""What a main process tells the workers of a DataLoader, and they each other.

Workers get a copy of the dataset when they are started; what is changed
afterwards (``set_epoch``, ``load_state_dict`` before the next pass of
persistent workers) must reach them, and a loaded state that every fresh worker
inherits anew must be used by one pass only. Both go through a few words of
shared memory. It belongs to the process that made it: a rank that was spawned
with a copy makes its own, or ranks would change each other's pass.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.data

if TYPE_CHECKING:
    from torch.utils.data._utils.worker import WorkerInfo

    from pydaos.torch._plan import Pass

__all__ = ["Shared"]

# Words of the block, then the resume token as JSON, then a byte for each worker.
_PASS, _TOLD, _LENGTH, _BASE, _WORKERS, _BEGUN, _WARNED, _AGAIN = range(8)
_TOKEN, _TOKEN_SIZE = 8 * 8, 1024
_SLOTS, _SLOTS_SIZE = _TOKEN + _TOKEN_SIZE, 1024


class Shared:
    """The block of one iterable.

    Attributes
    ----------
    told : int
        How often this copy was told something; another number in the block
        says that there is news.
    """

    def __init__(self) -> None:
        self._make()

    def _make(self) -> None:
        self._memory = torch.zeros(_SLOTS + _SLOTS_SIZE, dtype=torch.uint8)
        self._memory.share_memory_()  # type: ignore[no-untyped-call]
        self._owner = os.getpid()
        self.told = 0

    def _words(self) -> torch.Tensor:
        return self._memory[:_TOKEN].view(torch.int64)

    def _own(self) -> None:
        """Make a block of this process, if it has a copy of another's."""
        if self._owner != os.getpid():
            self._make()

    def _mine(self) -> bool:
        """Whether the block belongs to the process that started this worker."""
        parent = multiprocessing.parent_process()
        return parent is not None and parent.pid == self._owner

    # -- in the main process -------------------------------------------------

    def tell(self, pass_: Pass, *, loaded: bool = False) -> None:
        """Tell the workers of a pass that was chosen, or (``loaded``) of a state that was."""
        self._own()
        words = self._words()
        token = json.dumps(pass_.token().to_dict()).encode() if pass_.loaded else b""
        if loaded:
            words[_BASE] = words[_WORKERS] = 0
            self._memory[_SLOTS:] = 0
        self._memory[_TOKEN : _TOKEN + len(token)] = torch.frombuffer(bytearray(token or b"\0"), dtype=torch.uint8)[
            : len(token)
        ]
        words[_LENGTH] = len(token)
        words[_PASS] = pass_.number
        words[_BEGUN] = 0
        # Last: this is what workers look at.
        words[_TOLD] += 1
        self.told = int(words[_TOLD])

    def begin_here(self, pass_: Pass) -> None:
        """Let the main process itself begin; a state that workers have used is used up."""
        self._own()
        words = self._words()
        if int(words[_WORKERS]):
            pass_.unload()
        words[_LENGTH] = words[_BEGUN] = 0

    @property
    def workers_began(self) -> bool:
        """Whether the present pass is walked by workers, which this process does not see."""
        return self._owner == os.getpid() and bool(self._words()[_BEGUN])

    # -- in a worker ------------------------------------------------------------

    def begin_in_worker(self, info: WorkerInfo, pass_: Pass) -> bool:
        """Take over what was told; return whether it is to be said that workers began this pass before.

        A loaded state is used by one pass. Fresh workers inherit it again for
        the next: those of one pass have torch's base seed and their number in
        common, and each of them comes once.
        """
        if not self._mine():
            return False
        words = self._words()
        if int(words[_TOLD]) != self.told:
            self.told = int(words[_TOLD])
            if length := int(words[_LENGTH]):
                pass_.load(json.loads(bytes(self._memory[_TOKEN : _TOKEN + length].numpy())))
            pass_.set(int(words[_PASS]))
        if pass_.loaded and not self._claim(info):
            pass_.unload()
        if info.id:
            return False
        again = bool(words[_BEGUN]) and not bool(words[_AGAIN])
        words[_BEGUN] = 1
        words[_AGAIN] += again
        return again

    def _claim(self, info: WorkerInfo) -> bool:
        words = self._words()
        # Never 0, which stands for nobody.
        base = (info.seed - info.id) % (1 << 62) + 1
        if not int(words[_WORKERS]):
            words[_BASE] = base
            words[_WORKERS] = info.num_workers
        slot = _SLOTS + info.id % _SLOTS_SIZE
        if int(words[_BASE]) != base or int(words[_WORKERS]) != info.num_workers or int(self._memory[slot]):
            return False
        self._memory[slot] = 1
        return True

    def warn_once(self) -> bool:
        """Whether nobody has said yet that workers are not needed here."""
        words = self._words()
        if int(words[_WARNED]):
            return False
        words[_WARNED] = 1
        return True

    # -- copies ------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # On its way from a rank to its workers: the rank's own block must go.
        if torch.utils.data.get_worker_info() is None and self._owner != os.getpid():
            self._own()
        return self.__dict__.copy()
