"""Finding a server: an address, the user's runtime folder, or a folder with data.

docs/protocol.md, "Finding a server", is the specification. An endpoint is asked
anew for every connection, because a restarted server may have another port,
another token, or, for a folder, may have to be started first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from pydaos import _errors as errors
from pydaos._feed import dial

_HOST_PORT = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[^/:]+):\d{1,5}$")


class Target(NamedTuple):
    """An address to try, and the token to send there (empty: none)."""

    address: str
    token: str


class Entry(NamedTuple):
    """What a running server has registered of itself."""

    root: str
    socket: str
    address: str
    token_file: str
    pid: int
    started: int
    ephemeral: bool = False


class Endpoint(Protocol):
    """Says where a client connects to; picklable."""

    def targets(self) -> list[Target]:
        """Return the addresses to try, best first; never empty."""
        ...

    def __str__(self) -> str: ...


def runtime_dir() -> Path:
    """Return the folder where the servers of this user register; it may not exist."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "daos"
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"daos-{os.getuid()}"


def key_of(root: str | os.PathLike[str]) -> str:
    """Return the name of a root's files in the runtime folder."""
    return hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:16]


def entries() -> Iterator[Entry]:
    """Read the registrations, those of dead servers too."""
    folder = runtime_dir()
    try:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            return
        names = sorted(folder.glob("*.json"))
    except OSError:
        return
    for name in names:
        entry = _read_entry(name)
        if entry is not None:
            yield entry


def entry_of(root: str | os.PathLike[str]) -> Entry | None:
    """Return the registration of one root, if there is one."""
    wanted = os.path.abspath(root)
    for entry in entries():
        if entry.root == wanted or _same_folder(entry.root, wanted):
            return entry
    return None


def alive(entry: Entry) -> bool:
    """Tell whether the server's socket takes connections."""
    try:
        dial(f"unix:{entry.socket}", 5.0).close()
    except OSError:
        return False
    return True


def _read_entry(name: Path) -> Entry | None:
    try:
        data = json.loads(name.read_text())
        return Entry(
            root=str(data["root"]),
            socket=str(data["socket"]),
            address=str(data.get("address", "")),
            token_file=str(data.get("token_file", "")),
            pid=int(data.get("pid", 0)),
            started=int(data.get("started_unix_nanos", 0)),
            ephemeral=bool(data.get("ephemeral", False)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # gone meanwhile, or not ours


def _same_folder(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def read_token(path: str | os.PathLike[str]) -> str:
    """Read a token file."""
    try:
        return Path(path).read_text().strip()
    except OSError as e:
        raise errors.UnauthenticatedError(
            f"{path}: the token can't be read: {e.strerror}", resource=str(path), resolution="see --token-file"
        ) from e


class Credentials(NamedTuple):
    """What the caller gave to authenticate with; empty fields were not given."""

    token: str = ""
    token_file: str = ""

    def given(self) -> str:
        """Return the token given by argument or DAOS_TOKEN, else an empty string."""
        if self.token:
            return self.token
        if self.token_file:
            return read_token(self.token_file)
        return os.environ.get("DAOS_TOKEN", "")

    def for_entry(self, entry: Entry) -> str:
        """Return the token to send to a registered server."""
        given = self.given()
        if given or not entry.token_file:
            return given
        try:
            return Path(entry.token_file).read_text().strip()
        except OSError:
            return ""  # the server of our own user needs none on its socket


def _targets_of(entry: Entry, credentials: Credentials) -> list[Target]:
    token = credentials.for_entry(entry)
    targets = [Target(f"unix:{entry.socket}", token)]
    if entry.address:
        targets.append(Target(entry.address, token))
    return targets


class AddressEndpoint(NamedTuple):
    """``HOST:PORT`` or ``unix:PATH``, given by the caller."""

    address: str
    credentials: Credentials

    def targets(self) -> list[Target]:
        given = self.credentials.given()
        if not given:
            for entry in entries():
                if self.address in (entry.address, f"unix:{entry.socket}"):
                    given = self.credentials.for_entry(entry)
                    break
        return [Target(self.address, given)]

    def __str__(self) -> str:
        return self.address


class RuntimeEndpoint:
    """The server started last, ephemeral ones behind all others; afterwards always the same root."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.root = ""

    def targets(self) -> list[Target]:
        if not self.root:
            for entry in sorted(entries(), key=lambda e: (e.ephemeral, -e.started)):
                if alive(entry):
                    self.root = entry.root
                    return _targets_of(entry, self.credentials)
            raise errors.UnreachableError(
                f"no server of this user is running ({runtime_dir()} has none)",
                resource=str(runtime_dir()),
                resolution="start one with `daos serve --root DIR`, name one by DAOS_ADDR or connect(ADDRESS),"
                " or give connect() a folder",
            )
        found = entry_of(self.root)
        if found is None:
            raise errors.UnreachableError(
                f"{self.root}: the server of this folder is not running",
                resource=self.root,
                resolution=f"start it with `daos serve --root {self.root}`",
            )
        return _targets_of(found, self.credentials)

    def here(self) -> bool:
        """Tell whether this machine has the server that was found, or its folder: a copy may have come from another."""
        return bool(self.root) and (os.path.isdir(self.root) or entry_of(self.root) is not None)

    def __str__(self) -> str:
        return self.root or str(runtime_dir())


def parse_address(text: str) -> str | None:
    """Return a server's address in its plain form, or None if the text is not one."""
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        return "unix:" + (path[2:] if path.startswith("//") else path)
    return text if _HOST_PORT.match(text) else None


def endpoint(addr: str | os.PathLike[str] | None, credentials: Credentials) -> Endpoint:
    """Choose the endpoint that `connect(addr)` means."""
    from pydaos._embedded import FolderEndpoint

    if addr is None:
        addr = os.environ.get("DAOS_ADDR") or None
    if addr is None:
        return RuntimeEndpoint(credentials)
    if not isinstance(addr, str):
        return FolderEndpoint(os.path.abspath(addr), credentials)
    address = parse_address(addr)
    if address is not None:
        return AddressEndpoint(address, credentials)
    if "/" in addr or os.path.isdir(addr):
        return FolderEndpoint(os.path.abspath(os.path.expanduser(addr)), credentials)
    raise errors.InvalidError(
        f"{addr!r} is not an address of a server",
        resource=addr,
        resolution="give HOST:PORT, unix:PATH, or a folder (with a / in it, or existing)",
    )
