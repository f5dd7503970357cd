"""Finding a server, without one: the runtime folder, addresses, tokens."""

import hashlib
import json
import os
import socket

import pytest

import pydaos
from pydaos import _discovery as discovery
from pydaos._embedded import FolderEndpoint, find_binary

NOTHING = discovery.Credentials()


@pytest.fixture
def runtime(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    for name in ("DAOS_ADDR", "DAOS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (folder / "daos").mkdir(mode=0o700)
    return folder / "daos"


def register(runtime, root, started, *, alive=True, address="127.0.0.1:9", token=None, ephemeral=False):
    key = hashlib.sha256(os.fsencode(str(root))).hexdigest()[:16]
    path = runtime / f"{key}.sock"
    listener = None
    if alive:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(8)
    entry = {
        "root": str(root), "socket": str(path), "address": address, "pid": 1, "started_unix_nanos": started,
        "token_file": str(root / "token"), "version": "0.1.0", "ephemeral": ephemeral,
    }  # fmt: skip
    root.mkdir(exist_ok=True)
    if token:
        (root / "token").write_text(token + "\n")
    (runtime / f"{key}.json").write_text(json.dumps(entry))
    return listener


def test_key_is_the_sha256_of_the_absolute_root():
    assert discovery.key_of("/a/b/../c") == hashlib.sha256(b"/a/c").hexdigest()[:16]


def test_the_runtime_folder(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert str(discovery.runtime_dir()) == "/run/user/7/daos"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.delenv("TMPDIR", raising=False)
    assert str(discovery.runtime_dir()) == f"/tmp/daos-{os.getuid()}"


def test_the_server_started_last_is_taken_unix_socket_first(runtime, tmp_path):
    with register(runtime, tmp_path / "a", 5), register(runtime, tmp_path / "b", 7, token="tt"):
        register(runtime, tmp_path / "c", 9, alive=False)
        found = discovery.endpoint(None, NOTHING).targets()
    key = discovery.key_of(tmp_path / "b")
    assert found == [(f"unix:{runtime}/{key}.sock", "tt"), ("127.0.0.1:9", "tt")]


def test_an_ephemeral_server_is_found_only_where_there_is_no_other(runtime, tmp_path):
    with register(runtime, tmp_path / "a", 9, ephemeral=True):
        (unix, _) = discovery.endpoint(None, NOTHING).targets()
        assert unix[0].endswith(f"{discovery.key_of(tmp_path / 'a')}.sock")
        with register(runtime, tmp_path / "b", 5):
            (unix, _) = discovery.endpoint(None, NOTHING).targets()
            assert unix[0].endswith(f"{discovery.key_of(tmp_path / 'b')}.sock")


def test_afterwards_it_is_always_the_same_server(runtime, tmp_path):
    endpoint = discovery.endpoint(None, NOTHING)
    with register(runtime, tmp_path / "a", 5):
        first = endpoint.targets()
        with register(runtime, tmp_path / "b", 7):
            assert endpoint.targets() == first


def test_no_server(runtime):
    with pytest.raises(pydaos.UnreachableError, match="daos serve --root"):
        pydaos.connect()


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_runtime_folder_open_to_others_is_not_used(runtime, tmp_path, mode):
    with register(runtime, tmp_path / "a", 5):
        runtime.chmod(mode)
        assert list(discovery.entries()) == []
        runtime.chmod(0o700)
        assert len(list(discovery.entries())) == 1


def test_garbage_in_the_runtime_folder_is_passed_over(runtime, tmp_path):
    (runtime / "x.json").write_text("{")
    (runtime / "y.json").write_text("[1]")
    (runtime / "z.json").write_text('{"root": 1}')
    with register(runtime, tmp_path / "a", 5):
        assert [e.root for e in discovery.entries()] == [str(tmp_path / "a")]


def test_the_environment_names_an_address(runtime, monkeypatch):
    monkeypatch.setenv("DAOS_ADDR", "10.0.0.1:77")
    monkeypatch.setenv("DAOS_TOKEN", "mine")
    assert discovery.endpoint(None, NOTHING).targets() == [("10.0.0.1:77", "mine")]
    assert discovery.endpoint("h:1", NOTHING).targets() == [("h:1", "mine")]
    assert discovery.endpoint("h:1", discovery.Credentials("arg")).targets() == [("h:1", "arg")]


def test_a_token_file(runtime, tmp_path):
    (tmp_path / "t").write_text(" abc \n")
    credentials = discovery.Credentials("", str(tmp_path / "t"))
    assert discovery.endpoint("h:1", credentials).targets() == [("h:1", "abc")]
    with pytest.raises(pydaos.UnauthenticatedError, match="can't be read"):
        discovery.Credentials("", str(tmp_path / "none")).given()


def test_the_token_registered_for_an_address(runtime, tmp_path):
    with register(runtime, tmp_path / "a", 5, token="secret") as listener:
        assert discovery.endpoint("127.0.0.1:9", NOTHING).targets() == [("127.0.0.1:9", "secret")]
        assert discovery.endpoint("127.0.0.1:8", NOTHING).targets() == [("127.0.0.1:8", "")]
        unix = f"unix:{listener.getsockname()}"
        assert discovery.endpoint(unix, NOTHING).targets() == [(unix, "secret")]


@pytest.mark.parametrize("text", ["host:1", "1.2.3.4:65000", "[::1]:80", "unix:/a/b"])
def test_addresses(text):
    assert discovery.parse_address(text) == text
    assert isinstance(discovery.endpoint(text, NOTHING), discovery.AddressEndpoint)


@pytest.mark.parametrize("text", ["./data", "/a/b", "a/b:1"])
def test_folders(text):
    assert discovery.endpoint(text, NOTHING) == FolderEndpoint(os.path.abspath(text), NOTHING)


def test_an_existing_folder_and_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert discovery.endpoint("data", NOTHING) == FolderEndpoint(str(tmp_path / "data"), NOTHING)
    assert discovery.endpoint(tmp_path / "new", NOTHING) == FolderEndpoint(str(tmp_path / "new"), NOTHING)
    with pytest.raises(pydaos.InvalidError, match="HOST:PORT"):
        discovery.endpoint("nonsense", NOTHING)


def test_a_missing_binary_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("DAOS_BIN", str(tmp_path / "none"))
    with pytest.raises(pydaos.NotFoundError, match="DAOS_BIN"):
        find_binary()


def test_a_server_that_can_not_start_says_why(runtime, tmp_path, monkeypatch):
    fake = tmp_path / "daos"
    fake.write_text("#!/bin/sh\necho 'the folder is on fire' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("DAOS_BIN", str(fake))
    monkeypatch.setattr("pydaos._embedded.RETRY_SECONDS", 0.001)
    with pytest.raises(pydaos.UnreachableError, match="exit status 1: the folder is on fire"):
        pydaos.connect(tmp_path / "data")
