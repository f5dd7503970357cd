"""What an entry of a POSIX dataset is."""

from __future__ import annotations

import stat
from typing import Literal, NamedTuple

from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb

FileType = Literal["file", "directory", "symlink"]

TYPE_NAMES: dict[int, FileType] = {
    int(pb.FILE_TYPE_FILE): "file",
    int(pb.FILE_TYPE_DIRECTORY): "directory",
    int(pb.FILE_TYPE_SYMLINK): "symlink",
}
TYPE_NUMBERS: dict[str, int] = {name: number for number, name in TYPE_NAMES.items()}
_MODES: dict[str, int] = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}


class Stat(NamedTuple):
    """Attributes of an entry; times in nanoseconds since 1970."""

    type: FileType
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    nlink: int
    symlink_target: bytes
    epoch: int

    @classmethod
    def from_proto(cls, a: pb.Attr) -> Stat:
        """Make it from its message."""
        return cls(
            TYPE_NAMES[int(a.type)],
            a.mode,
            a.uid,
            a.gid,
            a.size,
            a.mtime_unix_nanos,
            a.ctime_unix_nanos,
            a.inode,
            a.nlink,
            a.symlink_target,
            a.epoch,
        )

    @property
    def mtime(self) -> float:
        """Last change of the content, seconds since 1970."""
        return self.mtime_ns / 1e9

    @property
    def st_mode(self) -> int:
        """Type and permission bits as `os.stat` has them."""
        return _MODES[self.type] | self.mode

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.type == "file"

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.type == "directory"

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.type == "symlink"


class Entry:
    """A name in a directory, the path from the dataset's root, and its attributes; as `os.DirEntry`."""

    __slots__ = ("_stat", "name", "path")

    def __init__(self, name: str, path: str, stat: Stat) -> None:
        self.name = name
        self.path = path
        self._stat = stat

    def stat(self) -> Stat:
        """Return the attributes, those of a link itself."""
        return self._stat

    def is_file(self) -> bool:
        """Tell whether it is a regular file."""
        return self._stat.is_file

    def is_dir(self) -> bool:
        """Tell whether it is a directory."""
        return self._stat.is_dir

    def is_symlink(self) -> bool:
        """Tell whether it is a symbolic link."""
        return self._stat.is_symlink

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<pydaos.Entry {self.path!r} ({self._stat.type})>"
