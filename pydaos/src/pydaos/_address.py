"""The address grammar, ``POOL/DATASET[@SNAPSHOT][/PATH]``, and paths as bytes."""

from __future__ import annotations

import os
import re
from typing import NamedTuple, TypeAlias

from pydaos import _errors as errors

PathLike: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,126}\Z")
_HINT = "names have 1 to 127 characters of A-Z a-z 0-9 . _ - and do not begin with . or -"


class Address(NamedTuple):
    """A parsed address; `snapshot` and `path` may be empty, `path` is relative bytes."""

    pool: str
    dataset: str
    snapshot: str = ""
    path: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address, with or without ``daos://``; InvalidError says what is wrong."""
        rest = text[len("daos://") :] if text.startswith("daos://") else text
        parts = rest.strip("/").split("/", 2)
        if len(parts) < 2:
            raise errors.InvalidError(
                f"{text!r} is not the address of a dataset",
                resource=text,
                resolution="write POOL/DATASET[@SNAPSHOT][/PATH]",
            )
        dataset, at, snapshot = parts[1].partition("@")
        for what, name in (("pool", parts[0]), ("dataset", dataset), ("snapshot", snapshot)):
            if (what != "snapshot" or at) and not _NAME.match(name):
                raise errors.InvalidError(
                    f"{text!r}: {name!r} is not the name of a {what}", resource=text, resolution=_HINT
                )
        return cls(parts[0], dataset, snapshot, encode_path(parts[2]) if len(parts) > 2 else b"")

    @property
    def root(self) -> Address:
        """The dataset, without the path."""
        return self._replace(path=b"")

    def __str__(self) -> str:
        at = f"@{self.snapshot}" if self.snapshot else ""
        path = f"/{decode_path(self.path)}" if self.path else ""
        return f"{self.pool}/{self.dataset}{at}{path}"


def encode_path(path: PathLike) -> bytes:
    """Return a path inside a dataset as the bytes that go over the wire.

    Text is UTF-8; bytes that are not came in as surrogate escapes and go out as they were.
    A leading, trailing or doubled slash counts for nothing; ``.`` and ``..`` are refused.
    """
    raw = os.fspath(path)
    data = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw
    if b"\0" in data:
        raise errors.InvalidError(f"{raw!r}: a path can't contain NUL", resource=repr(raw))
    parts = [p for p in data.split(b"/") if p]
    if b"." in parts or b".." in parts:
        raise errors.InvalidError(
            f"{raw!r}: a path inside a dataset can't contain '.' or '..'",
            resource=repr(raw),
            resolution="name the entry by its path from the root of the dataset",
        )
    return b"/".join(parts)


def decode_path(path: bytes) -> str:
    """Return a path as text; bytes that are not UTF-8 become surrogate escapes."""
    return path.decode("utf-8", "surrogateescape")
