"""The read-only fsspec file system ``daos://POOL/DATASET[@SNAPSHOT]/PATH``.

fsspec finds it by the package's entry point; importing `pydaos.fs` registers it too.
Pandas, pyarrow, Hugging Face datasets and others read through it::

    pandas.read_csv("daos://p/tables@v1/x.csv")

Files are written through `pydaos.Dataset`, which publishes them whole.
"""

from __future__ import annotations

import datetime
import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

from pydaos import _errors as errors
from pydaos._address import Address, decode_path, encode_path
from pydaos._client import Client, connect
from pydaos._content import PIECE
from pydaos._dataset import Dataset
from pydaos._discovery import RuntimeEndpoint
from pydaos._proto.daos.posix.v1 import posix_service_pb2 as pb
from pydaos._stat import Stat

__all__ = ["DaosFileSystem"]

_Info = dict[str, Any]


def _copy(cls: type[DaosFileSystem], args: tuple[Any, ...], options: dict[str, Any], client: Client) -> DaosFileSystem:
    """Make a copy of a file system whose server was found by itself: it stays with that one."""
    made = cls(*args, **options)
    found = client._endpoint
    if made._client is None and isinstance(found, RuntimeEndpoint) and found.here() and not os.environ.get("DAOS_ADDR"):
        made._client = client
    return made


class DaosFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files of POSIX datasets, read-only.

    Parameters
    ----------
    addr, token, token_file
        As for `pydaos.connect`.

    Examples
    --------
    >>> fs = fsspec.filesystem("daos")
    >>> fs.glob("p/photos@v1/train/0*.png")[:2]
    ['p/photos@v1/train/00.png', 'p/photos@v1/train/01.png']
    """

    protocol = "daos"
    root_marker = ""
    cachable = True
    async_impl = False

    def __init__(
        self, addr: str | None = None, token: str | None = None, token_file: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._connect = {"addr": addr, "token": token, "token_file": token_file}
        self._client: Client | None = None
        self._datasets: dict[str, Dataset] = {}

    @property
    def client(self) -> Client:
        """The client, connected when it is first needed."""
        if self._client is None:
            self._client = connect(**self._connect)  # type: ignore[arg-type]
        return self._client

    def __reduce__(self) -> Any:
        found = self._client._endpoint if self._client is not None else None
        if not isinstance(found, RuntimeEndpoint):
            return super().__reduce__()
        return _copy, (type(self), self.storage_args, self.storage_options, self._client)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, (list, tuple)):
            return [cls._strip_protocol(p) for p in path]
        text = str(path)
        if text.startswith("daos://"):
            text = text[len("daos://") :]
        return "/".join(part for part in text.split("/") if part)

    def _dataset(self, path: str) -> tuple[Dataset, str]:
        """Return the dataset of a stripped path, and the path inside it."""
        where = Address.parse(path)
        name = str(where.root)
        found = self._datasets.get(name)
        if found is None:
            found = self._datasets[name] = self.client.dataset(name)
        return found, decode_path(where.path)

    # Looking.

    def info(self, path: str, **_: Any) -> _Info:
        """Describe a file or a directory."""
        path = self._strip_protocol(path)
        parts = path.split("/") if path else []
        if not parts:
            return _folder("")
        if len(parts) == 1:
            self.client.pool(parts[0])
            return _folder(path)
        dataset, inside = self._dataset(path)
        return self._info(path, dataset.stat(inside, follow_symlinks=False), dataset, inside)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a directory; the root has the pools, a pool its datasets."""
        path = self._strip_protocol(path)
        parts = path.split("/") if path else []
        if not parts:
            found = [_folder(pool.name) for pool in self.client.pools()]
        elif len(parts) == 1:
            self.client.pool(parts[0])
            found = [_folder(dataset.address) for dataset in self.client.datasets(parts[0])]
        else:
            dataset, inside = self._dataset(path)
            try:
                found = [
                    self._info(f"{path}/{entry.name}", entry.stat(), dataset, entry.path)
                    for entry in dataset.scandir(inside)
                ]
            except errors.NotDirectoryError:
                found = [self.info(path)]
        return found if detail else [one["name"] for one in found]

    def _info(self, name: str, stat: Stat, dataset: Dataset, inside: str) -> _Info:
        link = stat.is_symlink
        info: _Info = {}
        if link:
            info = {"islink": True, "destination": decode_path(stat.symlink_target)}
            try:
                stat = dataset.stat(inside)
            except (errors.NotFoundError, errors.NotDirectoryError):
                pass  # it points nowhere
        kind = "other" if stat.is_symlink else stat.type
        return {
            "name": name,
            "type": kind,
            "size": stat.size if kind == "file" else 0,
            "mtime": stat.mtime,
            "mode": stat.st_mode,
            "ino": stat.inode,
            "ETag": f"{stat.inode:x}-{stat.epoch:x}",
            **info,
        }

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        """List all files below a path by one scan."""
        path = self._strip_protocol(path)
        if path.count("/") < 1 or importlib.util.find_spec("pyarrow") is None:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **options)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        dataset, inside = self._dataset(path)
        out: dict[str, _Info] = {}
        try:
            top = self._info(path, dataset.stat(inside), dataset, inside)
        except (errors.NotFoundError, errors.NotDirectoryError):
            return {} if detail else []
        if top["type"] != "directory":
            out[path] = top
        else:
            if withdirs:
                out[path] = top
            table = dataset.scan(
                under=inside, max_depth=maxdepth, columns=("path", "path_bytes", "type", "size", "mtime", "mode")
            )
            self._add_rows(out, table, path, dataset, inside, withdirs)
        names = sorted(out)
        return {name: out[name] for name in names} if detail else names

    def _add_rows(
        self, out: dict[str, _Info], table: Any, path: str, dataset: Dataset, inside: str, withdirs: bool
    ) -> None:
        prefix = f"{path}/"
        cut = len(encode_path(inside)) + 1 if inside else 0
        for row in table.to_pylist():
            raw = row["path_bytes"]
            below = decode_path(raw) if raw is not None else row["path"]
            below = below[cut:]
            kind = row["type"]
            if kind == "symlink":
                where = f"{inside}/{below}" if inside else below
                entry = self._info(prefix + below, dataset.stat(where, follow_symlinks=False), dataset, where)
                if entry["type"] == "directory" and not withdirs:
                    continue
                out[prefix + below] = entry
            elif kind == "file" or withdirs:
                out[prefix + below] = {
                    "name": prefix + below,
                    "type": kind,
                    "size": row["size"] if kind == "file" else 0,
                    "mtime": _seconds(row["mtime"]),
                    "mode": row["mode"],
                }

    def created(self, path: str) -> datetime.datetime:
        """Return when the entry was last changed; there is no other creation time."""
        dataset, inside = self._dataset(self._strip_protocol(path))
        return _moment(dataset.stat(inside).ctime_ns)

    def modified(self, path: str) -> datetime.datetime:
        """Return when the content was last changed."""
        dataset, inside = self._dataset(self._strip_protocol(path))
        return _moment(dataset.stat(inside).mtime_ns)

    def ukey(self, path: str) -> str:
        """Return a key that changes with the content."""
        return str(self.info(path).get("ETag", path))

    # Reading.

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> Any:
        if mode != "rb":
            raise _read_only(f"open in mode {mode!r}")
        dataset, inside = self._dataset(self._strip_protocol(path))
        return dataset.open(inside, "rb", buffering=block_size if isinstance(block_size, int) else -1)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Read a file, or a range of it; negative positions count from the end."""
        dataset, inside = self._dataset(self._strip_protocol(path))
        if (start or 0) < 0 or (end is not None and end < 0):
            size = dataset.stat(inside).size
            start = max(0, size + start) if start is not None and start < 0 else start
            end = max(0, size + end) if end is not None and end < 0 else end
        first = start or 0
        return dataset.read_bytes(inside, first, None if end is None else max(0, end - first))

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """Read many ranges, pipelined over one connection."""
        if isinstance(starts, (int, type(None))):
            starts = [starts] * len(paths)
        if isinstance(ends, (int, type(None))):
            ends = [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("paths, starts and ends differ in length")
        out: list[Any] = [None] * len(paths)
        small: list[tuple[int, pb.ReadRequest]] = []
        for i, (path, start, end) in enumerate(zip(paths, starts, ends)):
            first = start or 0
            if first < 0 or end is None or not 0 <= end - first <= PIECE:
                out[i] = _caught(lambda path=path, start=start, end=end: self.cat_file(path, start, end))  # type: ignore[misc]
                continue
            where = Address.parse(self._strip_protocol(path))
            small.append(
                (i, pb.ReadRequest(dataset=str(where.root), path=where.path, offset=first, length=end - first))
            )
        if small:
            replies = self.client.call_many("posix.Read", [(r, None) for _, r in small], pb.ReadResponse, window=8)
            for (i, _request), reply in zip(small, replies):
                out[i] = reply if isinstance(reply, errors.DaosError) else bytes(reply[1])
        if on_error != "return":
            for one in out:
                if isinstance(one, BaseException):
                    raise one
        return out

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any) -> Any:
        """Read files whole, many of them pipelined."""
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and not isinstance(path, (list, tuple)) and paths[0] == self._strip_protocol(path):
            return self.cat_file(paths[0], **options)
        files = [p for p in paths if not (recursive and self.isdir(p))]
        sizes = [_caught(lambda p=p: self.info(p)["size"]) for p in files]  # type: ignore[misc]
        whole = [size if isinstance(size, int) else 0 for size in sizes]
        contents = self.cat_ranges(files, [0] * len(files), whole)
        out: dict[str, Any] = {}
        for name, content, size in zip(files, contents, sizes):
            result = size if isinstance(size, BaseException) else content
            if isinstance(result, BaseException):
                if on_error == "raise":
                    raise result
                if on_error == "omit":
                    continue
            out[name] = result
        return out


def _refuse(name: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise _read_only(name.lstrip("_"))

    return refused


def _read_only(what: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"{what}: the daos:// file system only reads",
        op=what,
        resolution="write through pydaos.connect().dataset(...), which publishes files whole",
    )


def _caught(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (errors.DaosError, io.UnsupportedOperation) as e:
        return e


def _folder(name: str) -> _Info:
    return {"name": name, "type": "directory", "size": 0}


def _moment(nanos: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(nanos / 1e9, datetime.timezone.utc)


def _seconds(value: Any) -> float:
    # A timestamp column comes as datetime, or with pandas installed as its Timestamp.
    return float(value.timestamp()) if hasattr(value, "timestamp") else float(value) / 1e9


_WRITES = (
    "mkdir", "makedirs", "rmdir", "rm", "rm_file", "_rm", "cp_file", "copy", "mv", "mv_file",
    "put", "put_file", "pipe", "pipe_file", "touch",
)  # fmt: skip

# The base class would carry out some of these as nothing at all.
for _name in _WRITES:
    setattr(DaosFileSystem, _name, _refuse(_name))

fsspec.register_implementation("daos", DaosFileSystem, clobber=True)
