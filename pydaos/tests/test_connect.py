"""Connecting to a real server: addresses, tokens, names that do not exist."""

import gc
import os
import pickle
import socket
import threading
import warnings

import pytest

import pydaos


def test_the_runtime_folder_leads_to_a_server(server):
    with pydaos.connect() as client:
        client.ping()
        assert os.path.samefile(client.status().root, server.root)


@pytest.mark.parametrize("kind", ["unix", "address"])
def test_by_address(server, kind):
    with pydaos.connect(getattr(server, kind)) as client:
        assert client.status().pid == server.pid


def test_a_connection_to_itself_is_none(monkeypatch):
    """At an ephemeral port that nobody listens at the kernel may give both ends the same number."""
    made = []

    def met_itself(address, timeout):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.connect(s.getsockname())
        made.append(s)
        return s

    monkeypatch.setattr(socket, "create_connection", met_itself)
    with pytest.raises(pydaos.UnreachableError, match=r"no server answers: Connection refused"):
        pydaos.connect("127.0.0.1:45454", token="t")
    assert [s.fileno() for s in made] == [-1]


def test_by_environment(server, monkeypatch):
    monkeypatch.setenv("DAOS_ADDR", server.address)
    monkeypatch.setenv("DAOS_TOKEN", server.token)
    with pydaos.connect() as client:
        client.ping()


def test_by_the_folder_of_a_running_server(server):
    with pydaos.connect(server.root) as client:
        assert client.status().pid == server.pid


def test_by_token_and_by_token_file(server, tmp_path, monkeypatch):
    # Another user's server: nothing is registered.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(pydaos.UnauthenticatedError):
        pydaos.connect(server.address)
    with pydaos.connect(server.address, token=server.token) as client:
        client.ping()
    with pydaos.connect(server.address, token_file=server.token_file) as client:
        client.ping()


def test_a_wrong_token_is_refused(server):
    with pytest.raises(pydaos.UnauthenticatedError) as caught:
        pydaos.connect(server.address, token="0" * 64)
    assert isinstance(caught.value, PermissionError)


def test_nobody_there():
    with pytest.raises(pydaos.UnreachableError, match="daos serve") as caught:
        pydaos.connect("127.0.0.1:1")
    assert isinstance(caught.value, ConnectionError)
    with pytest.raises(pydaos.UnreachableError):
        pydaos.connect("unix:/nonexistent/x.sock")


def test_unknown_names(client, pool):
    with pytest.raises(pydaos.NotFoundError, match="nopool"):
        client.dataset("nopool/d")
    with pytest.raises(pydaos.DObjNotFound, match="nothing"):
        client.dataset(f"{pool}/nothing")
    with pytest.raises(KeyError):
        client.pool("nopool")
    client.create_dataset(f"{pool}/d")
    with pytest.raises(FileNotFoundError, match="v9"):
        client.dataset(f"{pool}/d@v9")
    with pytest.raises(pydaos.InvalidError, match="path"):
        client.dataset(f"{pool}/d/file")


def test_a_closed_client_says_so(server):
    client = server.connect()
    client.close()
    client.close()
    with pytest.raises(pydaos.InvalidError, match="closed"):
        client.pools()


def test_a_pickled_client_connects_anew(client, pool):
    again = pickle.loads(pickle.dumps(client))
    with again:
        assert pool in [p.name for p in again.pools()]


def test_many_threads_share_a_client(client, pool):
    dataset = client.create_dataset(f"{pool}/d")
    failures = []

    def work(number):
        try:
            for i in range(20):
                dataset.write_bytes(f"{number}-{i}", bytes([number]) * i)
                assert dataset.read_bytes(f"{number}-{i}") == bytes([number]) * i
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(dataset.listdir()) == 160


def test_elsewhere_than_on_linux_it_says_so(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(pydaos.UnsupportedError, match="Linux"):
        pydaos.connect()


def test_status(client, server):
    status = client.status()
    assert status.pid == server.pid
    assert len(status.targets) >= 1
    assert server.address in status.addresses


def test_a_connection_that_is_collected_in_a_cycle_is_closed_first(server):
    """Its socket would else be free to go before it, with a ResourceWarning."""
    client = server.connect()
    ring = [client, client._pool.acquire()]
    ring.append(ring)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del client, ring
        gc.collect()
    assert [str(w.message) for w in said if w.category is ResourceWarning] == []
