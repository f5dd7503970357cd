"""Shared memory of batches that a worker process hands to the training process.

Torch moves what a worker returns into shared memory made for each batch anew: a copy, and a
page fault for every 4 KiB of it, in both processes. A batch of ours is received into a *slab*
instead, which is shared memory already, and torch sends its descriptor and nothing else.

A slab is received into once more only when nobody has the batch before: not this worker, not
torch's queue, not the training process or what it has forked. No process tells another; the
kernel knows. Each batch is an open file of its own of the slab's memory, it is closed when the
last tensor over it is gone or its last process has died, and a read lease of fcntl(2) is refused
as long as anybody has the memory open for writing. Where that does not hold (another system, no
/proc, leases switched off) there are no slabs, and torch copies as it does.

The slab is filled through a mapping that this process keeps, so that its pages are there; the
tensor lies over a mapping of its own, which nobody touches before it arrives.

Who receives tensors keeps in mind which files it has storages of, so that tensors over one
storage arrive over one; torch knows a file by its inode. That of a slab has many batches in
turn, and a storage may outlive its file: torch moves its bytes into other memory when it is
shared anew by a file's name. Batches are therefore sent with their turn.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import resource
import sys
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.multiprocessing
import torch.utils.data
from torch.multiprocessing import reductions

from pydaos import _process
from pydaos.torch._buffers import BufferPool, process_pool, size_class

__all__ = ["Filled", "Memory", "Slabs", "batch_memory", "process_slabs"]

#: So many bytes are kept for reuse, but at least FEWEST slabs, and at most MOST: each has two descriptors.
KEPT_BYTES, FEWEST, MOST = 256 << 20, 4, 32
#: So many slabs are looked at before a new one is made: a loader whose batches are kept has many.
LOOKS = 8


class Filled:
    """A lease of a slab: the array to receive into, and the tensor to hand out.

    Attributes
    ----------
    room : np.ndarray
        uint8, the slab as this process fills it. It must not be used, nor handed out, once the
        tensor is gone.
    tensor : torch.Tensor
        uint8, the same bytes; the slab is this batch's as long as its storage lives anywhere.
    """

    __slots__ = ("room", "tensor")

    def __init__(self, room: npt.NDArray[np.uint8], tensor: torch.Tensor) -> None:
        self.room = room
        self.tensor = tensor


class _Slab:
    """Shared memory without a name. Its own descriptor does not count as open for writing."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("daos-batch", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, size)
            self.memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise
        self.size = size
        self.file = _file_of(self.fd)
        self.turn = 0  # how often it was leased

    def free(self) -> bool:
        """Whether nobody has a batch in it."""
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:  # EAGAIN; others where leases were switched off meanwhile
            return False
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True

    def open(self) -> int:
        """Open the memory once more; the caller owns the descriptor."""
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)

    def lease(self, nbytes: int) -> Filled:
        fd = self.open()
        try:
            storage = torch.UntypedStorage._new_shared_fd_cpu(fd, nbytes)  # type: ignore[attr-defined]
        finally:
            os.close(fd)  # the storage has a copy
        tensor = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (nbytes,))  # type: ignore[call-overload]
        self.turn += 1
        return Filled(np.frombuffer(self.memory, np.uint8, nbytes), tensor)

    def close(self) -> None:
        os.close(self.fd)
        with contextlib.suppress(BufferError):  # an array over it goes later, and the mapping with it
            self.memory.close()


class Slabs:
    """The slabs of one process.

    Parameters
    ----------
    kept_bytes : int
        Beyond that a slab is forgotten: its memory is its batch's alone, as torch's is.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._forks = _process.forks
        self._kept = kept_bytes
        self._lock = threading.Lock()
        self._slabs: deque[_Slab] = deque()
        self._by_file: dict[tuple[int, int], _Slab] = {}
        self._bytes = 0
        self.made = 0
        # A batch that is kept in this process keeps a descriptor. Half of them are for whatever else is opened.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._descriptors = most // 2 if most != resource.RLIM_INFINITY else 1 << 30

    def lease(self, nbytes: int) -> Filled:
        """Return memory for a batch of ``nbytes``, at least 1, its contents undefined.

        OSError or RuntimeError: there are no descriptors, or is no memory.
        """
        with self._lock:
            slab = self._unused(size_class(nbytes))
            try:
                return slab.lease(nbytes)
            finally:
                self._slabs.append(slab)
                self._by_file[slab.file] = slab
                self._bytes += slab.size
                while len(self._slabs) > (FEWEST if self._bytes > self._kept else MOST):
                    old = self._slabs.popleft()
                    self._bytes -= old.size
                    del self._by_file[old.file]
                    old.close()

    def turn(self, fd: int) -> int | None:
        """Return the turn of the batch that has a descriptor; None of memory that has no other."""
        slab = self._by_file.get(_file_of(fd))
        return slab.turn if slab is not None else None

    def _unused(self, size: int) -> _Slab:
        """Take a slab that nobody uses, of this size or a little larger, or make one."""
        for _ in range(min(LOOKS, len(self._slabs))):
            slab = self._slabs.popleft()
            if size <= slab.size <= 2 * size and slab.free():
                self._bytes -= slab.size
                return slab
            self._slabs.append(slab)
        if len(os.listdir("/proc/self/fd")) > self._descriptors:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.made += 1
        return _Slab(size)


class Memory:
    """Where one batch is received: what a pipe asks for buffers."""

    def __init__(self, slabs: Slabs) -> None:
        self._slabs = slabs
        self._leases: list[Filled] = []

    def lease(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return a uint8 array of ``nbytes``, of a slab unless there is none."""
        if nbytes:
            with contextlib.suppress(OSError, RuntimeError):  # then as without slabs
                self._leases.append(self._slabs.lease(nbytes))
                return self._leases[-1].room
        return process_pool().lease(nbytes)

    def tensor(self, payload: Any) -> torch.Tensor | None:
        """Return the tensor over the slab that a payload was received into; None if it was none."""
        if self._leases:
            begin = _address(payload)
            for filled in self._leases:
                if begin == _address(filled.room):
                    return filled.tensor
        return None


class PrivateMemory:
    """The same in a process that keeps its batches for itself."""

    def __init__(self, pool: BufferPool) -> None:
        self.lease = pool.lease

    def tensor(self, payload: Any) -> None:
        """There is none: tensors are made over what was leased."""


def batch_memory(*, handed_out: bool = True) -> Memory | PrivateMemory:
    """Return where the next batch is received.

    ``handed_out`` says whether it is given to the user as it is received; else
    only what is made of it goes to another process.
    """
    slabs = process_slabs() if handed_out else None
    return PrivateMemory(process_pool()) if slabs is None else Memory(slabs)


def _file_of(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_ino, info.st_dev


def _send_turn(before: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return how storages are sent: those of slabs as torch sends them, with their turn; others as before."""

    def reduce(storage: Any) -> Any:
        by_descriptor = torch.multiprocessing.get_sharing_strategy() == "file_descriptor"  # type: ignore[no-untyped-call]
        if _slabs is not None and by_descriptor and storage.device.type == "cpu" and storage.size():
            fd, size = storage._share_fd_cpu_()
            turn = _slabs.turn(fd)
            if turn is not None:
                return _receive, (DupFd(fd), size, turn)
        return before(storage)

    return reduce


def _receive(sent: Any, size: int, turn: int) -> Any:
    """Return the storage of a batch, the one that is there already if it came before."""
    fd = sent.detach()
    try:
        key = (*_file_of(fd), turn)
        storage = reductions.storage_from_cache(torch.UntypedStorage, key)  # type: ignore[no-untyped-call]
        if storage is None:
            storage = torch.UntypedStorage._new_shared_fd_cpu(fd, size)  # type: ignore[attr-defined]
            reductions.shared_cache[key] = reductions.StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return storage
    finally:
        os.close(fd)


def _address(room: Any) -> int:
    return int(np.frombuffer(room, np.uint8).__array_interface__["data"][0])


def _told_by_kernel() -> bool:
    """Whether a slab is free exactly while nobody else has it open."""
    if not sys.platform.startswith("linux") or not hasattr(os, "memfd_create"):  # Python may be of an older libc
        return False
    try:
        slab = _Slab(mmap.PAGESIZE)
    except OSError:
        return False
    try:
        seen = [slab.free()]
        batch = slab.open()
        try:
            seen.append(slab.free())
            mapped = mmap.mmap(batch, mmap.PAGESIZE)
        finally:
            os.close(batch)
        seen.append(slab.free())
        mapped.close()
        seen.append(slab.free())
    except OSError:
        return False
    finally:
        slab.close()
    return seen == [True, False, False, True]


_slabs: Slabs | None = None
_none_of = -1
_turns_sent = False


def process_slabs() -> Slabs | None:
    """Return the slabs of this process; None where it is no worker, or can't know when a slab is free."""
    global _slabs, _none_of, _turns_sent
    if torch.utils.data.get_worker_info() is None:
        return None
    if torch.multiprocessing.get_sharing_strategy() != "file_descriptor":  # type: ignore[no-untyped-call]
        return None
    if _slabs is None or _slabs._forks != _process.forks:
        if _none_of == _process.forks:
            return None
        if not _told_by_kernel():
            _none_of = _process.forks
            return None
        _slabs = Slabs()
        if not _turns_sent:
            ForkingPickler.register(torch.UntypedStorage, _send_turn(reductions.reduce_storage))
            _turns_sent = True
    return _slabs
