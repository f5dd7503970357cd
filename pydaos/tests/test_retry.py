"""Lost answers, lost requests, killed servers: everything happens once."""

import importlib.util
import pathlib
import subprocess
import threading
import time

import numpy as np
import pytest

import pydaos

_spec = importlib.util.spec_from_file_location("daos_test_proxy", pathlib.Path(__file__).with_name("proxy.py"))
assert _spec is not None and _spec.loader is not None
proxy_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(proxy_module)


@pytest.fixture
def proxy(server):
    with proxy_module.Proxy(server.unix.removeprefix("unix:")) as running:
        yield running


@pytest.fixture
def lossy(server, proxy):
    """A client behind the proxy."""
    with pydaos.connect(proxy.address, token=server.token) as connected:
        yield connected


@pytest.fixture
def fs(lossy, posix_dataset):
    return lossy.dataset(posix_dataset.address)


@pytest.mark.parametrize("lose", ["answer", "request"])
def test_changes_happen_once(proxy, fs, lose):
    drop = getattr(proxy, f"drop_{lose}")
    fs.write_bytes("log", b"")
    drop("/Write", 3)
    with fs.open("log", "ab", buffering=0) as log:
        log.write(b"one")
    assert fs.read_bytes("log") == b"one"

    drop("/Create", 2)
    fs.write_bytes("excl", b"x", exclusive=True)  # ExistsError if the retry were a new call

    drop("/Rename")
    fs.rename("excl", "renamed")  # NotFoundError if it were carried out again
    drop("/MakeDir")
    fs.mkdir("d")
    drop("/Symlink")
    fs.symlink("x", "s")
    drop("/Link")
    fs.link("renamed", "second")
    drop("/SetXattr")
    fs.setxattr("log", "user.a", b"1", exclusive=True)
    drop("/Remove", 2)
    fs.remove("second")
    assert fs.listdir() == ["d", "log", "renamed", "s"]
    assert proxy.dropped == 12


def test_staged_files_survive_lost_answers(proxy, fs):
    data = np.random.default_rng(0).integers(0, 256, 6 << 20, dtype=np.uint8).tobytes()
    proxy.drop_answer("/Stage", 1)
    proxy.drop_answer("/Publish", 1)
    fs.write_bytes("big", data, exclusive=True)
    assert fs.read_bytes("big") == data
    assert proxy.dropped == 2


def test_reads_are_retried(proxy, fs):
    fs.write_bytes("f", b"x")
    for method in ("/Read", "/Stat", "/ListDir"):
        proxy.drop_answer(method, 2)
        proxy.drop_request(method, 1)
        assert (fs.read_bytes("f"), fs.stat("f").size, fs.listdir()) == (b"x", 1, ["f"])
    assert proxy.dropped == 9


def test_pools_datasets_and_snapshots_happen_once(proxy, lossy, pool, posix_dataset):
    for method, change in (
        ("/CreateDataset", lambda: lossy.create_dataset(f"{pool}/once")),
        ("/CreateSnapshot", lambda: lossy.dataset(posix_dataset.address).snapshot("v1")),
        ("/DestroySnapshot", lambda: lossy.dataset(posix_dataset.address).destroy_snapshot("v1")),
        ("/DestroyDataset", lambda: lossy.destroy_dataset(f"{pool}/once")),
        ("/CreatePool", lambda: lossy.create_pool(f"{pool}-2")),
        ("/DestroyPool", lambda: lossy.destroy_pool(f"{pool}-2")),
    ):
        proxy.drop_answer(method)
        change()
    assert proxy.dropped == 6


def test_tensors_are_appended_once(proxy, lossy, tensor_dataset):
    table = lossy.dataset(tensor_dataset.address)
    data = {"x": np.arange(6_000_000, dtype="f8")}  # three messages
    proxy.drop_answer("/Define")
    proxy.drop_answer("/Append", 2)
    assert table.append(data) == range(6_000_000)
    assert len(table) == 6_000_000
    proxy.drop_request("/Append")
    assert table.append({"x": np.zeros(3)}, expect_length=6_000_000) == range(6_000_000, 6_000_003)
    proxy.drop_answer("/Overwrite")
    table.overwrite(0, {"x": np.full(2, -1.0)})
    proxy.drop_answer("/Read")
    assert table.take([0, 1, 2, 5_999_999])["x"].tolist() == [-1, -1, 2, 5_999_999]
    assert proxy.dropped == 6


def test_batches_are_asked_for_again(proxy, lossy, posix_dataset):
    for i in range(20):
        posix_dataset.write_bytes(f"{i:02}", bytes([i]))
    posix_dataset.snapshot("v1")
    proxy.drop_answer("/OpenManifest")
    manifest = lossy.open_manifest(f"{posix_dataset.address}@v1")
    seen = []
    with lossy.open_pipe(manifest) as pipe:
        for i in range(24):
            if i < 20:
                pipe.send_batch(np.array([i], np.uint64))
            if i in (5, 11):
                proxy.drop_answer("")  # whatever comes next
            if i >= 4:
                seen.append(bytes(pipe.recv_batch()[1])[:1])
    assert seen == [bytes([i]) for i in range(20)]
    assert proxy.dropped == 3


def test_a_scan_goes_on(proxy, fs):
    for i in range(30):
        fs.write_bytes(f"{i:02}", b"")
    proxy.drop_request("/Plan")
    proxy.drop_answer("/Scan")
    assert sorted(fs.scan(columns=["name"], threads=2)["name"].to_pylist()) == [f"{i:02}" for i in range(30)]
    assert proxy.dropped == 2


def test_patience_ends(server, proxy, posix_dataset):
    with pydaos.connect(proxy.address, token=server.token, retry=0.3) as client:
        fs = client.dataset(posix_dataset.address)
        proxy.drop_request("/Stat", 1000)
        start = time.monotonic()
        with pytest.raises(pydaos.ConnectionLostError):
            fs.stat("")
        assert time.monotonic() - start < 5


def test_a_restarted_server_is_waited_for(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        fs = client.create_dataset("p/d")
        fs.write_bytes("f", b"x")
        own_server.kill()
        starter = threading.Timer(0.5, own_server.start)
        starter.start()
        assert fs.read_bytes("f") == b"x"
        fs.write_bytes("g", b"y")
        starter.join()
        assert fs.listdir() == ["f", "g"]


def test_a_server_that_is_stopped_in_order_is_waited_for_too(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        fs = client.create_dataset("p/d")
        done = threading.Event()

        def stopper():
            for _ in range(2):
                time.sleep(0.2)
                own_server.stop()
                own_server.start()
            done.set()

        thread = threading.Thread(target=stopper)
        thread.start()
        count = 0
        while not done.is_set():
            fs.write_bytes(f"{count}", b"x", exclusive=True)
            assert fs.read_bytes(f"{count}") == b"x"
            count += 1
        thread.join()
        assert len(fs.listdir()) == count


def test_kill_in_the_middle_of_appends_loses_and_doubles_nothing(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        fs = client.create_dataset("p/d")
        fs.write_bytes("log", b"")
        done = threading.Event()

        def killer():
            for _ in range(3):
                time.sleep(0.3)
                own_server.restart()
            done.set()

        thread = threading.Thread(target=killer)
        thread.start()
        count = 0
        with fs.open("log", "ab", buffering=0) as log:
            while not done.is_set() or count < 20:
                log.write(b"%06d\n" % count)
                count += 1
        thread.join()
        assert fs.read_bytes("log") == b"".join(b"%06d\n" % i for i in range(count))


def test_a_scan_goes_on_through_restarts(own_server, tmp_path, daos_binary, monkeypatch):
    count = 20_000
    for i in range(count):
        (tmp_path / f"{i:05}-{'x' * 100}").write_bytes(b"")
    streams = []
    whole = pydaos.Client.stream
    monkeypatch.setattr(pydaos.Client, "stream", lambda *a, **k: streams.append(a[1]) or whole(*a, **k))
    with own_server.connect() as client:
        client.create_pool("p")
        fs = client.create_dataset("p/d")
        subprocess.run(
            [daos_binary, "fs", "import", str(tmp_path), "p/d/", "--addr", own_server.unix],
            check=True,
            capture_output=True,
        )
        names = []
        # Larger than what the sockets hold, so that the server is in the middle of it.
        for i, batch in enumerate(fs.scan_batches(columns=["name", "path"], batch_rows=100)):
            names += batch.column("name").to_pylist()
            if i in (3, 40):
                own_server.restart()
        assert [name[:5] for name in sorted(names)] == [f"{i:05}" for i in range(count)]
        assert len(streams) >= 2  # it was cut at least once, and went on


def test_a_large_file_is_written_whole_through_a_restart(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        fs = client.create_dataset("p/d")
        data = np.random.default_rng(0).integers(0, 256, 48 << 20, dtype=np.uint8)
        restarter = threading.Timer(0.02, own_server.restart)
        restarter.start()
        fs.write_bytes("big", data)
        restarter.join()
        assert fs.read_bytes("big") == data.tobytes()


def test_no_server_for_longer_than_patience(own_server):
    with own_server.connect(retry=0.3) as client:
        own_server.kill()
        with pytest.raises(pydaos.UnreachableError):
            client.pools()
