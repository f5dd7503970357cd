"""Bits flipped while the server is down: reported by name, never returned.

Every kind of file gets its share of flips. Afterwards the server either says at
its start what is damaged, or it starts and each read gives the right bytes or
an error; a list is never short without one.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pydaos
from pydaos.testing import Server
from pydaos.torch import Dataset


def content(i: int) -> bytes:
    return random.Random(i).randbytes((37, 900, 5000, 150_000)[i % 4])


def fill(server: Server) -> None:
    client = server.connect()
    client.create_pool("p")
    files = client.create_dataset("p/files", type="posix")
    for i in range(60):
        files.write_bytes(f"d{i % 3}/{i:03d}", content(i), parents=True)
    rows = client.create_dataset("p/rows", type="tensor")
    table = {"id": np.arange(500), "x": np.arange(500 * 200, dtype=np.float32).reshape(500, 200)}
    rows.define(table)
    rows.append(table)
    for name in ("files", "rows"):
        client.dataset(f"p/{name}").snapshot("s")
        Dataset(f"p/{name}@s", addr=server.unix).close()  # builds the manifest
    client.close()


def read_all(server: Server) -> tuple[int, list[str]]:
    """Read everything three ways; return how many reads were right, and the errors."""
    right, errors = 0, []

    def attempt(what: str, read: Any, expected: Any) -> None:
        nonlocal right
        try:
            found = read()
        except (pydaos.DaosError, OSError) as err:
            errors.append(f"{what}: {type(err).__name__}: {err}")
            return
        assert found == expected, f"{what}: wrong bytes were returned"
        right += 1

    client = server.connect(retry=5.0)
    names = [f"d{k}/{i:03d}" for k in range(3) for i in range(k, 60, 3)]
    files = client.dataset("p/files@s")
    attempt("walk", lambda: sorted(f"{t}/{n}" for t, _, ns in files.walk("") for n in ns), sorted(names))
    attempt("scan", lambda: sorted(files.scan(type="file").column("path").to_pylist()), sorted(names))
    for n in names:
        attempt(n, lambda n=n: files.read_bytes(n), content(int(n[3:])))
    rows = client.dataset("p/rows@s")
    x = np.arange(500 * 200, dtype=np.float32).reshape(500, 200)
    attempt("rows", lambda: np.array_equal(rows[0:500]["x"], x), True)

    def batches() -> bool:
        data = Dataset("p/files@s", addr=server.unix)
        got = [bytes(t.numpy()) for b in data.batches(7) for t in b]
        paths = data.paths(range(len(data)))
        data.close()
        assert paths == names
        return got == [content(int(n[3:])) for n in names]

    def tensors() -> bool:
        data = Dataset("p/rows@s", addr=server.unix)
        got = np.concatenate([b["x"].numpy() for b in data.batches(64)])
        data.close()
        return np.array_equal(got, x)

    attempt("batches of files", batches, True)
    attempt("batches of rows", tensors, True)
    client.close()
    return right, errors


def kind_of(path: Path) -> str:
    name = path.name
    for mark in ("MANIFEST", ".sst", ".log", ".seg", "OPTIONS", "superblock", "manifest"):
        if mark in str(path.relative_to(path.parents[3]) if mark == "manifest" else name):
            return mark
    return "other"


def flips(own_server: Server, count: int) -> None:
    seed = int(os.environ.get("DAOS_TEST_SEED", time.time_ns() % 10**9))
    print(f"DAOS_TEST_SEED={seed}")
    rng = random.Random(seed)
    fill(own_server)
    _, errors = read_all(own_server)
    assert not errors
    own_server.stop()
    root = Path(own_server.root)
    kept = root.with_suffix(".kept")
    shutil.copytree(root, kept)
    by_kind: dict[str, list[Path]] = {}
    for path in sorted(kept.rglob("*")):
        if path.is_file() and path.stat().st_size and path.name not in ("token", "LOCK", "lock"):
            by_kind.setdefault(kind_of(path), []).append(path.relative_to(kept))
    kinds = sorted(by_kind)
    refused = reported = harmless = 0
    for k in range(count):
        shutil.rmtree(root)
        shutil.copytree(kept, root)
        kind = kinds[k % len(kinds)]
        victim = root / rng.choice(by_kind[kind])
        data = bytearray(victim.read_bytes())
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        victim.write_bytes(data)
        try:
            own_server.start()
        except RuntimeError as err:
            assert "panic" not in str(err), f"{victim}, byte {at}: {err}"
            refused += 1
            continue
        _, errors = read_all(own_server)
        for e in errors:
            assert "Internal" not in e, f"{victim}, byte {at}: {e}"
        reported += bool(errors)
        harmless += not errors
        own_server.stop()
    print(
        f"{count} flips: {refused} refused at the start, {reported} reported by reads, {harmless} in bytes nobody needs"
    )
    assert refused + reported > count // 4, "flips go unnoticed: the test or the checks are broken"
    shutil.rmtree(kept)
    shutil.rmtree(root)
    root.mkdir()


@pytest.mark.timeout(300)
def test_flips(own_server: Server) -> None:
    flips(own_server, 14)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_flips(own_server: Server) -> None:
    flips(own_server, 400)
