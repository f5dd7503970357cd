"""A server for a folder: attach to the one that serves it, or start one.

The server is started with ``--ephemeral`` in a session of its own, so neither the
end of the process that started it nor a signal to its terminal reaches it; it ends
by itself some seconds after its last client is gone. Processes that come at the
same moment agree by a lock in the runtime folder: one starts, the others attach.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydaos import _discovery as discovery
from pydaos import _errors as errors

START_SECONDS = 60.0
# Pause before a start that failed is tried again; it doubles.
RETRY_SECONDS = 0.2


class _Detached(subprocess.Popen[bytes]):
    """A process that is meant to outlive us: no warning that it still runs."""

    def __del__(self) -> None:
        pass


# Servers that this process has started, kept only so that a finished one is waited for
# at the next start and leaves no zombie.
_started: list[_Detached] = []


class FolderEndpoint(NamedTuple):
    """The server of a folder, started when there is none."""

    root: str
    credentials: discovery.Credentials

    def targets(self) -> list[discovery.Target]:
        entry = _attach_or_start(self.root)
        token = self.credentials.for_entry(entry)
        return [discovery.Target(f"unix:{entry.socket}", token)]

    def __str__(self) -> str:
        return self.root


def find_binary() -> str:
    """Return the path of the ``daos`` binary: DAOS_BIN, the checkout's bin/daos, PATH."""
    named = os.environ.get("DAOS_BIN")
    if named:
        if os.access(named, os.X_OK):
            return named
        raise errors.NotFoundError(f"{named}: DAOS_BIN names no program", resource=named)
    for folder in Path(__file__).resolve().parents:
        if (folder / "go.mod").is_file() and os.access(folder / "bin" / "daos", os.X_OK):
            return str(folder / "bin" / "daos")
    found = shutil.which("daos")
    if found:
        return found
    raise errors.NotFoundError(
        "the daos program was not found",
        resource="daos",
        resolution="build it with `make setup`, put it on PATH, or name it by DAOS_BIN",
    )


def _attach_or_start(root: str) -> discovery.Entry:
    entry = discovery.entry_of(root)
    if entry is not None and discovery.alive(entry):
        return entry
    deadline = time.monotonic() + START_SECONDS
    with _start_lock(root, deadline):
        entry = discovery.entry_of(root)
        if entry is not None and discovery.alive(entry):
            return entry
        return _start(root, deadline)


def _start(root: str, deadline: float) -> discovery.Entry:
    binary = find_binary()
    Path(root).mkdir(parents=True, exist_ok=True)
    log = Path(root) / "serve.log"
    failures = 0
    while True:
        process = _spawn(binary, root, log)
        while process.poll() is None:
            entry = discovery.entry_of(root)
            if entry is not None and entry.pid == process.pid and discovery.alive(entry):
                return entry
            if time.monotonic() > deadline:
                process.terminate()
                raise _start_error(root, log, f"was not ready within {START_SECONDS:g} s")
            time.sleep(0.01)
        # It ended: another server holds the folder, perhaps one that is just ending.
        entry = discovery.entry_of(root)
        if entry is not None and discovery.alive(entry):
            return entry
        failures += 1
        if failures == 5 or time.monotonic() > deadline:
            raise _start_error(root, log, f"ended with exit status {process.returncode}")
        time.sleep(RETRY_SECONDS * 2**failures)


def _spawn(binary: str, root: str, log: Path) -> _Detached:
    _started[:] = [p for p in _started if p.poll() is None]
    with log.open("ab") as out:
        process = _Detached(
            [binary, "serve", "--root", root, "--ephemeral"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            start_new_session=True,
        )
    _started.append(process)
    return process


def _start_error(root: str, log: Path, what: str) -> errors.UnreachableError:
    tail = ""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
        tail = f": {lines[-1]}" if lines else ""
    except OSError:
        pass
    return errors.UnreachableError(
        f"{root}: the server started for this folder {what}{tail}", resource=root, resolution=f"see {log}"
    )


@contextmanager
def _start_lock(root: str, deadline: float) -> Iterator[None]:
    folder = discovery.runtime_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / f"{discovery.key_of(root)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise errors.UnreachableError(
            f"{folder}: the runtime folder can't be used: {e.strerror}",
            resource=str(folder),
            resolution="it must belong to you with mode 0700",
        ) from e
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise errors.UnreachableError(
                        f"{root}: another process is starting its server for more than {START_SECONDS:g} s",
                        resource=root,
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)
