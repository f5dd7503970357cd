"""The files of a POSIX dataset: what `Dataset` does with paths.

Text paths are UTF-8; names that are not come back with surrogate escapes, as from `os`,
and find their entry again. A path given as bytes gets bytes back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, overload

from pydaos import _content as content
from pydaos import _errors as errors
from pydaos import _files as files
from pydaos import _staged as staged
from pydaos._address import PathLike, decode_path, encode_path
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb
from pydaos._stat import Entry, Stat

if TYPE_CHECKING:
    from pydaos._client import Client
    from pydaos._feed import Buffer

_LIST_PAGE = 4096


class PosixDataset:
    """Files and directories; a part of `Dataset`."""

    client: Client
    address: str

    # Reading the tree.

    def stat(self, path: PathLike = "", *, follow_symlinks: bool = True) -> Stat:
        """Describe an entry; a symbolic link at the end is followed unless told not to."""
        request = pb.StatRequest(dataset=self.address, path=encode_path(path), follow=follow_symlinks)
        return Stat.from_proto(self.client.call("posix.Stat", request, pb.StatResponse).attr)

    def exists(self, path: PathLike) -> bool:
        """Tell whether there is something at a path, a dangling symbolic link not counted."""
        return self._type_of(path) is not None

    def isfile(self, path: PathLike) -> bool:
        """Tell whether there is a regular file, or a link to one."""
        return self._type_of(path) == "file"

    def isdir(self, path: PathLike) -> bool:
        """Tell whether there is a directory, or a link to one."""
        return self._type_of(path) == "directory"

    def _type_of(self, path: PathLike) -> str | None:
        try:
            return self.stat(path).type
        except (errors.NotFoundError, errors.NotDirectoryError):
            return None

    def scandir(self, path: PathLike = "") -> Iterator[Entry]:
        """Iterate over a directory in byte order of the names, all from one moment."""
        folder = encode_path(path)
        for name, attr in self._list(folder):
            whole = folder + b"/" + name if folder else name
            yield Entry(decode_path(name), decode_path(whole), Stat.from_proto(attr))

    @overload
    def listdir(self, path: bytes) -> list[bytes]: ...
    @overload
    def listdir(self, path: str | os.PathLike[str] = "") -> list[str]: ...
    def listdir(self, path: PathLike = "") -> list[str] | list[bytes]:
        """List the names in a directory, in byte order."""
        names = [name for name, _ in self._list(encode_path(path))]
        return names if isinstance(path, bytes) else [decode_path(name) for name in names]

    @overload
    def walk(self, top: bytes) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]: ...
    @overload
    def walk(self, top: str | os.PathLike[str] = "") -> Iterator[tuple[str, list[str], list[str]]]: ...
    def walk(self, top: PathLike = "") -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """Walk a tree from the top as `os.walk`: (path, directories, other names) for each directory.

        For whole trees `scan` is much faster.
        """
        plain = isinstance(top, bytes)
        pending = [encode_path(top)]
        while pending:
            folder = pending.pop()
            below: list[bytes] = []
            others: list[bytes] = []
            for name, attr in self._list(folder):
                (below if attr.type == pb.FILE_TYPE_DIRECTORY else others).append(name)
            if plain:
                yield folder, below, others
                kept = list(below)
            else:
                texts = [decode_path(name) for name in below]
                yield decode_path(folder), texts, [decode_path(name) for name in others]
                kept = [encode_path(name) for name in texts]
            # The caller may have taken names out.
            pending.extend(folder + b"/" + name if folder else name for name in reversed(kept))

    def _list(self, folder: bytes) -> Iterator[tuple[bytes, pb.Attr]]:
        request = pb.ListDirRequest(dataset=self.address, path=folder, limit=_LIST_PAGE)
        while True:
            page = self.client.call("posix.ListDir", request, pb.ListDirResponse)
            for entry in page.entries:
                yield entry.name, entry.attr
            if not page.more:
                return
            request.after = page.entries[-1].name
            request.epoch = page.epoch

    def readlink(self, path: PathLike) -> str:
        """Return where a symbolic link points."""
        info = self.stat(path, follow_symlinks=False)
        if not info.is_symlink:
            raise errors.InvalidError(
                f"{self.address}/{decode_path(encode_path(path))}: is a {info.type}, not a symbolic link",
                resource=self.address,
            )
        return decode_path(info.symlink_target)

    # Changing the tree. Each call is one durable transaction, carried out once.

    def mkdir(self, path: PathLike, mode: int = 0o755, *, parents: bool = False) -> None:
        """Make a directory; with `parents` also missing parents, and it may be there already."""
        request = pb.MakeDirRequest(dataset=self.address, path=encode_path(path), mode=mode, parents=parents)
        self.client.call("posix.MakeDir", request, pb.MakeDirResponse)

    def rename(self, old: PathLike, new: PathLike, *, exclusive: bool = False) -> None:
        """Move an entry, over an existing one too unless `exclusive`."""
        request = pb.RenameRequest(
            dataset=self.address, old_path=encode_path(old), new_path=encode_path(new), exclusive=exclusive
        )
        self.client.call("posix.Rename", request, pb.RenameResponse)

    def remove(self, path: PathLike, *, recursive: bool = False) -> None:
        """Remove an entry; a directory must be empty unless `recursive`."""
        request = pb.RemoveRequest(dataset=self.address, path=encode_path(path), recursive=recursive)
        self.client.call("posix.Remove", request, pb.RemoveResponse)

    def rmdir(self, path: PathLike) -> None:
        """Remove an empty directory; NotDirectoryError for anything else."""
        request = pb.RemoveRequest(dataset=self.address, path=encode_path(path), directory=True)
        self.client.call("posix.Remove", request, pb.RemoveResponse)

    def symlink(self, target: PathLike, path: PathLike) -> None:
        """Make a symbolic link at `path`; where it points is not checked."""
        raw = target if isinstance(target, bytes) else str(target).encode("utf-8", "surrogateescape")
        request = pb.SymlinkRequest(dataset=self.address, target=raw, path=encode_path(path))
        self.client.call("posix.Symlink", request, pb.SymlinkResponse)

    def link(self, existing: PathLike, new: PathLike) -> None:
        """Make a second name of a file."""
        request = pb.LinkRequest(dataset=self.address, old_path=encode_path(existing), new_path=encode_path(new))
        self.client.call("posix.Link", request, pb.LinkResponse)

    def truncate(self, path: PathLike, size: int) -> None:
        """Set a file's size; a new part reads as zeros."""
        request = pb.TruncateRequest(dataset=self.address, path=encode_path(path), size=size)
        self.client.call("posix.Truncate", request, pb.TruncateResponse)

    def setattr(
        self,
        path: PathLike,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
    ) -> Stat:
        """Set permission bits, owner or time of the last change; returns what it is then."""
        request = pb.SetAttrRequest(
            dataset=self.address, path=encode_path(path), mode=mode, uid=uid, gid=gid, mtime_unix_nanos=mtime_ns
        )
        return Stat.from_proto(self.client.call("posix.SetAttr", request, pb.SetAttrResponse).attr)

    # Extended attributes.

    def getxattr(self, path: PathLike, name: str | bytes) -> bytes:
        """Return an extended attribute."""
        request = pb.GetXattrRequest(dataset=self.address, path=encode_path(path), name=_xattr_name(name))
        return self.client.call("posix.GetXattr", request, pb.GetXattrResponse).value

    def listxattr(self, path: PathLike = "") -> list[str]:
        """List the names of the extended attributes."""
        request = pb.ListXattrsRequest(dataset=self.address, path=encode_path(path))
        reply = self.client.call("posix.ListXattrs", request, pb.ListXattrsResponse)
        return [decode_path(name) for name in reply.names]

    def setxattr(self, path: PathLike, name: str | bytes, value: bytes, *, exclusive: bool = False) -> None:
        """Set an extended attribute of up to 64 KiB; with `exclusive` it must be new."""
        request = pb.SetXattrRequest(
            dataset=self.address,
            path=encode_path(path),
            name=_xattr_name(name),
            value=value,
            exclusive=exclusive,
        )
        self.client.call("posix.SetXattr", request, pb.SetXattrResponse)

    def removexattr(self, path: PathLike, name: str | bytes) -> None:
        """Remove an extended attribute."""
        request = pb.SetXattrRequest(dataset=self.address, path=encode_path(path), name=_xattr_name(name), remove=True)
        self.client.call("posix.SetXattr", request, pb.SetXattrResponse)

    # Content.

    def read_bytes(self, path: PathLike, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or a range of it; the bytes there are, if the range goes past the end."""
        return content.read_bytes(self, encode_path(path), offset, length)

    def readinto(self, path: PathLike, buffer: Buffer, offset: int = 0) -> int:
        """Read from a file into a writable buffer; returns the bytes read, fewer only at the end."""
        return content.read_into(self, content.Source(path=encode_path(path)), content.flat(buffer), offset)

    def write_bytes(
        self, path: PathLike, data: Buffer, *, exclusive: bool = False, parents: bool = False, mode: int = 0o644
    ) -> None:
        """Write a file whole: it is seen with its old content or the new, never in between.

        Parameters
        ----------
        path
            Where; an existing file is replaced.
        data
            The content, bytes or any buffer.
        exclusive
            ExistsError if there is a file already.
        parents
            Make missing parents.
        mode
            Permission bits.
        """
        staged.write_whole(self, encode_path(path), content.flat(data), exclusive, parents, mode)

    def stage(
        self, path: PathLike, *, mode: int = 0o644, parents: bool = False, exclusive: bool = False
    ) -> staged.StagedFile:
        """Begin a file that nobody sees until it is published: ``open(path, "wb")`` without a buffer.

        The result has ``write``, ``publish`` (or ``close``) and ``discard``.
        """
        return staged.StagedFile(self, encode_path(path), exclusive, parents, mode)

    def open(
        self,
        path: PathLike,
        mode: str = "rb",
        *,
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        parents: bool = False,
        permissions: int = 0o644,
    ) -> IO[Any]:
        """Open a file as the built-in `open` does.

        ``"wb"`` and ``"xb"`` write a file that nobody sees: closing it publishes it whole,
        over the previous one, and leaving a ``with`` block by an exception, or never closing
        it, discards it. ``"r+b"`` and ``"w+b"`` change the file in place; ``"ab"`` adds
        each flush atomically to its end.

        Parameters
        ----------
        path
            Path inside the dataset.
        mode
            As of the built-in; without ``b`` the file is text.
        buffering
            Bytes of the buffer; -1: chosen, 0: none (binary only).
        encoding, newline
            For text; the encoding is UTF-8 unless given.
        parents
            Make missing parents of a new file.
        permissions
            Permission bits of a new file.

        Examples
        --------
        >>> with photos.open("a/b.bin", "wb", parents=True) as f:
        ...     f.write(b"whole or not at all")
        19
        >>> photos.read_bytes("a/b.bin", 0, 5)
        b'whole'
        """
        opened: IO[Any] = files.open_file(
            self,
            encode_path(path),
            mode,
            buffering=buffering,
            encoding=encoding,
            newline=newline,
            parents=parents,
            permissions=permissions,
        )
        return opened


def _xattr_name(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
