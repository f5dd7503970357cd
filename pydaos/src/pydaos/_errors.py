"""Exceptions.

Every failed call raises one class per error kind of the service, and each of
them also derives from the built-in that a caller would expect::

    DaosError (also spelled PyDError, as upstream does)
     +- InvalidError             ValueError
     +- NotFoundError            FileNotFoundError, KeyError  (also DObjNotFound)
     +- ExistsError              FileExistsError
     +- AccessDeniedError        PermissionError
     +- UnauthenticatedError     PermissionError
     +- NoSpaceError             OSError (ENOSPC)
     +- OverloadedError          OSError (EBUSY)
     +- StaleError               OSError (ESTALE)
     +- NotLeaderError
     +- ConflictError            RuntimeError
     +- UnreachableError         ConnectionError
     |   +- ConnectionLostError
     +- DeadlineError            TimeoutError
     +- CorruptError             OSError (EIO)
     +- DataLossError            OSError (EIO)
     +- TooBigError              OSError (EFBIG), ValueError
     +- UnsupportedError         NotImplementedError
     +- InternalError            RuntimeError
     +- NotDirectoryError        NotADirectoryError
     +- IsDirectoryError         IsADirectoryError
     +- NotEmptyError            OSError (ENOTEMPTY)
     +- CanceledError            RuntimeError
     +- EpochGoneError           LookupError
     +- ReadOnlyError            OSError (EROFS)

A missing name is one class for all: it is a ``FileNotFoundError`` for those who
opened a file and a ``KeyError`` for those who looked up a dataset.

Three rules hold for all of them, because PyTorch rebuilds an exception of a
worker in the main process from its type and one string: each can be built from
one string, pickles with its attributes, and has no attribute ``message``.
"""

from __future__ import annotations

import errno as _errno
from typing import Any, ClassVar

from pydaos._proto.daos.common.v1 import common_pb2 as common

__all__ = [
    "AccessDeniedError",
    "CanceledError",
    "ConflictError",
    "ConnectionLostError",
    "CorruptError",
    "DaosError",
    "DataLossError",
    "DeadlineError",
    "EpochGoneError",
    "ExistsError",
    "InternalError",
    "InvalidError",
    "IsDirectoryError",
    "NoSpaceError",
    "NotDirectoryError",
    "NotEmptyError",
    "NotFoundError",
    "NotLeaderError",
    "OverloadedError",
    "ReadOnlyError",
    "StaleError",
    "TooBigError",
    "UnauthenticatedError",
    "UnreachableError",
    "UnsupportedError",
]


class DaosError(Exception):
    """Base of all errors of the service and its client.

    Attributes
    ----------
    kind
        Number of the error kind, ``daos.common.v1.Kind``.
    op
        Operation that failed, ``"posix.rename"``; may be empty.
    resource
        What it was done to, ``"p/photos@v1/train/a.png"``; may be empty.
    resolution
        What to do about it; may be empty.
    retry_after
        Seconds after which a retry makes sense; 0 where there is no hint.
    """

    kind: ClassVar[int] = common.KIND_INTERNAL
    _errno: ClassVar[int] = 0

    def __init__(
        self,
        text: str = "",
        *,
        op: str = "",
        resource: str = "",
        resolution: str = "",
        retry_after: float = 0.0,
    ) -> None:
        if resolution and not text.endswith(resolution):
            # A text with lines marks a place in what was asked.
            text = f"{text}{chr(10) + '  ' if chr(10) in text else '; '}{resolution}"
        super().__init__(text)
        self.op = op
        self.resource = resource
        self.resolution = resolution
        self.retry_after = retry_after
        error: BaseException = self
        if isinstance(error, OSError):
            error.errno = type(self)._errno
            error.strerror = text
            error.filename = resource or None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError's own way drops the keyword arguments.
        return _rebuild, (type(self), str(self), dict(self.__dict__))


def _rebuild(cls: type[DaosError], text: str, state: dict[str, Any]) -> DaosError:
    known = {k: state.pop(k) for k in ("op", "resource", "resolution", "retry_after") if k in state}
    error = cls(text, **known)
    error.__dict__.update(state)
    return error


class InvalidError(DaosError, ValueError):
    """A malformed argument: a name, type, shape, index or range."""

    kind = common.KIND_INVALID


class NotFoundError(DaosError, FileNotFoundError, KeyError):
    """The named thing does not exist, or not at that snapshot."""

    kind = common.KIND_NOT_FOUND
    _errno = _errno.ENOENT


class ExistsError(DaosError, FileExistsError):
    """The named thing exists already."""

    kind = common.KIND_EXISTS
    _errno = _errno.EEXIST


class AccessDeniedError(DaosError, PermissionError):
    """The caller is known and not allowed to do this."""

    kind = common.KIND_PERMISSION
    _errno = _errno.EACCES


class UnauthenticatedError(DaosError, PermissionError):
    """No token, or a wrong one."""

    kind = common.KIND_UNAUTHENTICATED
    _errno = _errno.EPERM


class NoSpaceError(DaosError, OSError):
    """A quota or the disk is full."""

    kind = common.KIND_NO_SPACE
    _errno = _errno.ENOSPC


class OverloadedError(DaosError, OSError):
    """Too much in flight; the client has waited and tried again in vain."""

    kind = common.KIND_OVERLOADED
    _errno = _errno.EBUSY


class StaleError(DaosError, OSError):
    """A handle belongs to an earlier process of the server."""

    kind = common.KIND_STALE
    _errno = _errno.ESTALE


class NotLeaderError(DaosError):
    """The call belongs to another server."""

    kind = common.KIND_NOT_LEADER


class ConflictError(DaosError, RuntimeError):
    """A change lost against another one; read again and retry."""

    kind = common.KIND_CONFLICT


class UnreachableError(DaosError, ConnectionError):
    """No server, or it can't be reached."""

    kind = common.KIND_UNREACHABLE
    _errno = _errno.ECONNREFUSED


class ConnectionLostError(UnreachableError):
    """The connection ended before the answer; the client retries these itself."""

    _errno = _errno.ECONNRESET


class DeadlineError(DaosError, TimeoutError):
    """The deadline of the call has passed."""

    kind = common.KIND_TIMEOUT
    _errno = _errno.ETIMEDOUT


class CorruptError(DaosError, OSError):
    """Stored bytes do not match their checksum; they were not returned."""

    kind = common.KIND_CORRUPT
    _errno = _errno.EIO


class DataLossError(DaosError, OSError):
    """No intact copy of the bytes is left."""

    kind = common.KIND_DATA_LOSS
    _errno = _errno.EIO


class TooBigError(DaosError, OSError, ValueError):
    """A name, value, batch or message is over its limit."""

    kind = common.KIND_TOO_BIG
    _errno = _errno.EFBIG


class UnsupportedError(DaosError, NotImplementedError):
    """Known, but not there yet."""

    kind = common.KIND_UNSUPPORTED


class InternalError(DaosError, RuntimeError):
    """A bug, in the server or in this client."""

    kind = common.KIND_INTERNAL


class NotDirectoryError(DaosError, NotADirectoryError):
    """A component of the path is not a directory."""

    kind = common.KIND_NOT_DIRECTORY
    _errno = _errno.ENOTDIR


class IsDirectoryError(DaosError, IsADirectoryError):
    """A file operation on a directory."""

    kind = common.KIND_IS_DIRECTORY
    _errno = _errno.EISDIR


class NotEmptyError(DaosError, OSError):
    """The directory, or the pool, is not empty."""

    kind = common.KIND_NOT_EMPTY
    _errno = _errno.ENOTEMPTY


class CanceledError(DaosError, RuntimeError):
    """The call was canceled."""

    kind = common.KIND_CANCELED


class EpochGoneError(DaosError, LookupError):
    """The versions at that epoch have been swept; take a snapshot to keep them."""

    kind = common.KIND_EPOCH_GONE


class ReadOnlyError(DaosError, OSError):
    """A write to a snapshot."""

    kind = common.KIND_READ_ONLY
    _errno = _errno.EROFS


BY_KIND: dict[int, type[DaosError]] = {
    cls.kind: cls
    for cls in (
        InvalidError,
        NotFoundError,
        ExistsError,
        AccessDeniedError,
        UnauthenticatedError,
        NoSpaceError,
        OverloadedError,
        StaleError,
        NotLeaderError,
        ConflictError,
        UnreachableError,
        DeadlineError,
        CorruptError,
        DataLossError,
        TooBigError,
        UnsupportedError,
        InternalError,
        NotDirectoryError,
        IsDirectoryError,
        NotEmptyError,
        CanceledError,
        EpochGoneError,
        ReadOnlyError,
    )
}


def from_wire(status: int, meta: bytes) -> DaosError:
    """Make the exception of a STATUS frame: its kind and an encoded ``Error``."""
    detail = common.Error()
    detail.ParseFromString(meta)
    text = detail.detail or f"failed with kind {status}"
    if detail.resource:
        text = f"{detail.resource}: {text}"
    return BY_KIND.get(status, InternalError)(
        text,
        op=detail.op,
        resource=detail.resource,
        resolution=detail.resolution,
        retry_after=detail.retry_after_millis / 1000,
    )
