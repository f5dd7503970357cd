"""What the package shows and what importing it does."""

import importlib.metadata
import os
import pathlib
import pickle
import subprocess
import sys
import types

import pytest

import pydaos

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_all_names_what_is_visible():
    modules = types.ModuleType
    visible = {n for n, v in vars(pydaos).items() if not (n.startswith("_") or isinstance(v, modules))}
    visible -= {"extend_path", "TYPE_CHECKING"}
    assert visible | {"__version__"} == set(pydaos.__all__)
    for name in pydaos.__all__:
        assert hasattr(pydaos, name)


@pytest.mark.parametrize("heavy", ["torch", "pyarrow", "grpc", "fsspec", "pandas", "pytest"])
def test_importing_the_client_imports_little(heavy):
    code = f"import sys, pydaos; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=_env(), check=False).returncode == 0


@pytest.mark.parametrize("name", ["torch.Dataset", "torch.Checkpoint", "fs.DaosFileSystem"])
def test_the_parts_come_when_they_are_used(name):
    code = f"import pydaos; assert pydaos.{name}.__module__.startswith('pydaos.'); assert not hasattr(pydaos, 'nope')"
    subprocess.run([sys.executable, "-c", code], env=_env(), check=True)


def test_importing_starts_no_thread_and_no_process():
    code = "import threading, pydaos; assert threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", code], env=_env(), check=True)


@pytest.mark.parametrize("folder", [".", "pydaos", "torch", "docs"])
def test_torch_is_torch_in_every_folder_of_the_checkout(folder):
    code = "import importlib.util as u; print(u.find_spec('torch').origin, u.find_spec('pydaos').origin)"
    out = subprocess.run(
        [sys.executable, "-c", code], env=_env(), cwd=ROOT / folder, check=True, capture_output=True, text=True
    )
    torch, ours = out.stdout.split()
    assert torch != "None"
    assert not torch.startswith(str(ROOT / "torch") + "/")
    assert ours.endswith("pydaos/__init__.py")


def test_both_source_roots_are_one_package():
    code = "import torch, pydaos, pydaos.torch as t; print(t.Dataset, t.IterableDataset, t.Checkpoint, torch.tensor)"
    subprocess.run([sys.executable, "-c", code], env=_env(), cwd=ROOT, check=True, capture_output=True)


def test_the_folder_torch_shadows_nothing():
    assert not (ROOT / "torch" / "__init__.py").exists()
    assert not list((ROOT / "torch").glob("*.py"))


def test_a_client_pickles_without_connections():
    client = pydaos.Client(pydaos._discovery.endpoint("127.0.0.1:1", pydaos._discovery.Credentials("t")), retry=0.0)
    again = pickle.loads(pickle.dumps(client))
    assert repr(again) == repr(client)
    with pytest.raises(pydaos.UnreachableError, match=r"127\.0\.0\.1:1"):
        again.pools()


def test_the_version_is_one():
    try:
        installed = importlib.metadata.version("pydaos")
    except importlib.metadata.PackageNotFoundError:
        installed = pydaos.__version__  # runs from the source folders
    assert installed == pydaos.__version__


def _env():
    paths = [str(ROOT / "pydaos" / "src"), str(ROOT / "torch" / "src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_an_old_binary_is_said(tmp_path):
    from pydaos.testing import stale

    binary, source = tmp_path / "bin" / "daos", tmp_path / "server" / "run.go"
    for i, path in enumerate((source, tmp_path / "server" / "run_test.go", tmp_path / ".git" / "x.go", binary)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (0, 1000 * i))
    assert stale(binary, tmp_path) == ""
    os.utime(tmp_path / "server" / "run_test.go", (0, 9e6))
    os.utime(tmp_path / ".git" / "x.go", (0, 9e6))
    stale.cache_clear()
    assert stale(binary, tmp_path) == ""
    os.utime(source, (0, 3000 + 3 * 3600))
    stale.cache_clear()
    assert stale(binary, tmp_path).startswith(
        f"the server that is tested, {binary}, is 3:00:00 older than server/run.go: "
    )
