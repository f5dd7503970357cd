"""A real server for tests: `Server`, and pytest fixtures that share one.

In a ``conftest.py``::

    from pydaos.testing import *  # the fixtures

A session has one server, on a scratch folder and with a runtime folder of its own, so
that nothing of the user's is touched; each test has a pool of its own. Tests that kill
or restart a server take `own_server`.
"""

from __future__ import annotations

import datetime
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

import pydaos
from pydaos import _discovery as discovery

__all__ = [
    "Server",
    "client",
    "daos_binary",
    "own_server",
    "pool",
    "pool_name",
    "posix_dataset",
    "runtime_folder",
    "server",
    "tensor_dataset",
]

READY_SECONDS = 30.0


def find_binary() -> str:
    """Return the server's binary: DAOS_BIN, or the checkout's bin/daos, built if it is missing."""
    named = os.environ.get("DAOS_BIN")
    if named:
        return named
    for folder in Path(__file__).resolve().parents:
        if (folder / "go.mod").is_file():
            binary = folder / "bin" / "daos"
            if not binary.exists():
                subprocess.run(["go", "build", "-o", str(binary), "./cmd/daos"], cwd=folder, check=True)
            elif old := stale(binary, folder):
                warnings.warn(old, stacklevel=2)
            return str(binary)
    raise RuntimeError("not in a checkout; name the daos binary by DAOS_BIN")


@functools.cache
def stale(binary: Path, checkout: Path) -> str:
    """Say by how much a binary is older than the Go sources that it is built of; empty where it is not."""
    built = binary.stat().st_mtime
    newest, name = built, ""
    for folder, below, files in os.walk(checkout):
        below[:] = [
            d for d in below if not d.startswith((".", "_")) and d not in ("bin", "pydaos", "torch", "testdata")
        ]
        for file in files:
            if file.endswith(".go") and not file.endswith("_test.go"):
                path = os.path.join(folder, file)
                if (changed := os.stat(path).st_mtime) > newest:
                    newest, name = changed, os.path.relpath(path, checkout)
    if not name:
        return ""
    age = datetime.timedelta(seconds=round(newest - built))
    return (
        f"the server that is tested, {binary}, is {age} older than {name}: "
        "build it with `make build`, or name another by DAOS_BIN"
    )


class Server:
    """A ``daos serve`` process on a folder.

    Examples
    --------
    >>> import tempfile
    >>> with Server(tempfile.mkdtemp()) as server, server.connect() as client:
    ...     client.pools()
    []
    """

    def __init__(self, root: str | os.PathLike[str], *options: str) -> None:
        self.root = os.path.abspath(root)
        self.options = options
        self.log = Path(self.root).with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._listen = "127.0.0.1:0"

    def start(self) -> None:
        """Start the process and wait until it is ready; the port stays that of the first start."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [find_binary(), "serve", "--root", self.root, "--listen", self._listen, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            entry = discovery.entry_of(self.root)
            if entry is not None and entry.pid == self._process.pid and discovery.alive(entry):
                self._listen = entry.address
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                with self.log.open("rb") as log_file:
                    log_file.seek(offset)
                    raise RuntimeError(f"daos serve did not get ready:\n{log_file.read().decode(errors='replace')}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return self._listen

    @property
    def unix(self) -> str:
        """``unix:PATH``."""
        entry = discovery.entry_of(self.root)
        assert entry is not None
        return f"unix:{entry.socket}"

    @property
    def token(self) -> str:
        """The server's token."""
        return (Path(self.root) / "token").read_text().strip()

    @property
    def token_file(self) -> str:
        """Path of the file with the token."""
        return str(Path(self.root) / "token")

    def connect(self, **options: float) -> pydaos.Client:
        """Connect over the unix socket."""
        return pydaos.connect(self.unix, token_file=self.token_file, **options)  # type: ignore[arg-type]

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the process as an operator does, with SIGTERM; it drains."""
        self._signal(signal.SIGTERM)

    def restart(self) -> None:
        """Kill the process and start another on the same folder."""
        self.kill()
        self.start()

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()


@pytest.fixture(scope="session")
def daos_binary() -> str:
    """Path of the server's binary."""
    return find_binary()


@pytest.fixture(scope="session")
def runtime_folder() -> Iterator[Path]:
    """The runtime folder of this test session, in the environment of all its processes."""
    # Short: the path of a unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="daos-t"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        for name in ("DAOS_ADDR", "DAOS_TOKEN"):
            patch.delenv(name, raising=False)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(runtime_folder: Path, daos_binary: str) -> Iterator[Server]:
    """The server that the tests of this session share; don't stop it."""
    with Server(runtime_folder / "shared") as running:
        yield running


@pytest.fixture
def own_server(runtime_folder: Path, daos_binary: str) -> Iterator[Server]:
    """A server of this test alone, to be killed and restarted at will."""
    root = Path(tempfile.mkdtemp(prefix="own", dir=runtime_folder))
    with Server(root) as running:
        yield running
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def client(server: Server) -> Iterator[pydaos.Client]:
    """A client of the shared server."""
    with server.connect() as connected:
        yield connected


@pytest.fixture
def pool_name(request: pytest.FixtureRequest) -> str:
    """A name for a pool that no other test has."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:80]
    return f"{plain}-{os.urandom(4).hex()}"


@pytest.fixture
def pool(client: pydaos.Client, pool_name: str) -> Iterator[str]:
    """The name of a pool of this test alone, removed afterwards."""
    client.create_pool(pool_name)
    yield pool_name
    try:
        client.destroy_pool(pool_name, force=True)
    except pydaos.DaosError:
        pass  # the test has removed it, or closed the client


@pytest.fixture
def posix_dataset(client: pydaos.Client, pool: str) -> pydaos.Dataset:
    """An empty POSIX dataset."""
    return client.create_dataset(f"{pool}/files", type="posix")


@pytest.fixture
def tensor_dataset(client: pydaos.Client, pool: str) -> pydaos.Dataset:
    """An empty tensor dataset without columns."""
    return client.create_dataset(f"{pool}/tensor", type="tensor")
