"""Opening files: Python's file objects over what `_remote` reads and `_staged` writes.

They have no `name`: pandas and others take a buffered file with a name for a local one and
open that path.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pydaos import _errors as errors
from pydaos._address import decode_path
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb
from pydaos._remote import RemoteFile
from pydaos._staged import StagedFile, StagedText, StagedWriter

if TYPE_CHECKING:
    from pydaos._posix import PosixDataset

READ_BUFFER = 256 << 10
WRITE_BUFFER = 1 << 20


def open_file(
    dataset: PosixDataset,
    path: bytes,
    mode: str,
    *,
    buffering: int,
    encoding: str | None,
    newline: str | None,
    parents: bool,
    permissions: int,
) -> Any:
    """Open a file; see `Dataset.open`."""
    text = "b" not in mode
    action = "".join(sorted(c for c in mode if c not in "bt"))
    if action not in ("r", "w", "x", "a", "+r", "+w", "+x", "+a") or len(mode) != len(set(mode)) or "bt" in mode:
        raise ValueError(f"invalid mode: {mode!r}")
    if not text and (encoding is not None or newline is not None):
        raise ValueError("a binary file takes neither encoding nor newline")
    if text and buffering == 0:
        raise ValueError("a text file can't be unbuffered")
    if action in ("w", "x"):
        if action == "x" and _exists(dataset, path):
            raise errors.ExistsError(
                f"{dataset.address}/{decode_path(path)}: exists already", resource=decode_path(path)
            )
        staged = StagedFile(dataset, path, action == "x", parents, permissions)
        if buffering == 0:
            return staged
        writer = StagedWriter(staged, buffering if buffering > 1 else WRITE_BUFFER)
        return StagedText(writer, encoding or "utf-8", newline=newline) if text else writer
    attr = _open_attr(dataset, path, action, parents, permissions)
    raw = RemoteFile(
        dataset,
        path,
        attr,
        readable=action[-1] == "r" or "+" in action,
        writable=action != "r",
        append="a" in action,
    )
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else (READ_BUFFER if action == "r" else WRITE_BUFFER)
    buffered: Any
    if "+" in action:
        buffered = io.BufferedRandom(raw, size)
    elif action == "r":
        buffered = io.BufferedReader(raw, size)
    else:
        buffered = io.BufferedWriter(raw, size)
    return io.TextIOWrapper(buffered, encoding or "utf-8", newline=newline) if text else buffered


def _open_attr(dataset: PosixDataset, path: bytes, action: str, parents: bool, permissions: int) -> pb.Attr:
    if "r" in action:
        stat = pb.StatRequest(dataset=dataset.address, path=path, follow=True)
        attr = dataset.client.call("posix.Stat", stat, pb.StatResponse).attr
        if attr.type == pb.FILE_TYPE_DIRECTORY:
            where = f"{dataset.address}/{decode_path(path)}"
            raise errors.IsDirectoryError(f"{where}: is a directory", op="open", resource=where)
        return attr
    create = pb.CreateRequest(
        dataset=dataset.address,
        path=path,
        mode=permissions,
        exclusive="x" in action,
        truncate="w" in action,
        parents=parents,
    )
    return dataset.client.call("posix.Create", create, pb.CreateResponse).attr


def _exists(dataset: PosixDataset, path: bytes) -> bool:
    try:
        stat = pb.StatRequest(dataset=dataset.address, path=path)
        dataset.client.call("posix.Stat", stat, pb.StatResponse)
    except (errors.NotFoundError, errors.NotDirectoryError):
        return False
    return True
