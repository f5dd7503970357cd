"""Manifests and batches, the ground that loaders stand on."""

import pickle
import random

import numpy as np
import pytest

import pydaos
from pydaos import _manifest as manifests


@pytest.fixture
def files(posix_dataset):
    """30 files of different sizes at a snapshot, in the order of decision 20."""
    rng = random.Random(1)
    contents = {f"{c}/{i:02}": rng.randbytes(rng.randrange(200)) for c in "abc" for i in range(10)}
    for path, data in contents.items():
        posix_dataset.write_bytes(path, data, parents=True)
    posix_dataset.snapshot("v1")
    return f"{posix_dataset.address}@v1", contents


def split(manifest, meta, payload):
    """The samples of a batch of files."""
    part, column = meta.parts[0], manifest.columns[0]
    values = manifests.part_values(part, column, meta.samples, payload)
    if part.layout == manifests.FIXED:
        return [v.tobytes() for v in values]
    ends = manifests.part_offsets(part, meta.samples, payload)
    return [values[ends[i] : ends[i + 1]].tobytes() for i in range(meta.samples)]


def u64(*indices):
    return np.array(indices, np.uint64)


def test_samples_in_the_order_of_names(client, files):
    address, contents = files
    manifest = client.open_manifest(address)
    assert len(manifest) == manifest.samples == 30
    assert manifest.columns[0].name == "data"
    assert manifest.bytes == sum(map(len, contents.values()))
    assert manifest.max_sample_bytes == max(map(len, contents.values()))
    assert client.sample_paths(manifest, range(30)) == [p.encode() for p in contents]
    order = random.Random(2).choices(range(30), k=100)
    meta, payload = client.fetch_batch(manifest, u64(*order))
    assert split(manifest, meta, payload) == [list(contents.values())[i] for i in order]


def test_the_same_manifest_everywhere(client, server, files):
    address, _ = files
    first = client.open_manifest(address)
    second = client.open_manifest(address)
    assert (first.id, first.samples) == (second.id, second.samples)
    assert not second.built
    with server.connect() as other:
        meta, _ = other.fetch_batch(pickle.loads(pickle.dumps(first)), u64(1, 2))
        assert meta.samples == 2


def test_selections(client, files):
    address, _ = files
    some = client.open_manifest(address, path="b")
    assert client.sample_paths(some, range(some.samples)) == [b"%02d" % i for i in range(10)]
    few = client.open_manifest(address, glob="*/0[0-4]")
    assert few.samples == 15
    labelled = client.open_manifest(address, label_dirname=True)
    assert labelled.classes == ("a", "b", "c")
    meta, payload = client.fetch_batch(labelled, u64(0, 15, 29))
    labels = manifests.part_values(meta.parts[1], labelled.columns[1], 3, payload)
    assert labels.tolist() == [0, 1, 2]
    assert len({some.id, few.id, labelled.id}) == 3


def test_tensors(client, tensor_dataset):
    x = np.arange(200, dtype="f4").reshape(50, 4)
    tensor_dataset.append({"x": x, "t": [str(i) for i in range(50)], "n": [None if i % 3 else i for i in range(50)]})
    tensor_dataset.snapshot("v1")
    manifest = client.open_manifest(f"{tensor_dataset.address}@v1")
    order = [49, 0, 7, 7]
    meta, payload = client.fetch_batch(manifest, u64(*order))
    assert [c.name for c in manifest.columns] == ["x", "t", "n"]
    np.testing.assert_array_equal(manifests.part_values(meta.parts[0], manifest.columns[0], 4, payload), x[order])
    text = manifests.part_values(meta.parts[1], manifest.columns[1], 4, payload)
    ends = manifests.part_offsets(meta.parts[1], 4, payload)
    assert [text[ends[i] : ends[i + 1]].tobytes().decode() for i in range(4)] == ["49", "0", "7", "7"]
    validity = manifests.part_validity(meta.parts[2], 4, payload)
    assert validity.tolist() == [i % 3 == 0 for i in order]
    only = client.open_manifest(f"{tensor_dataset.address}@v1", columns=["t"])
    assert [c.name for c in only.columns] == ["t"]


def test_into_the_callers_memory(client, files):
    address, contents = files
    manifest = client.open_manifest(address)
    mine = np.zeros(1 << 20, np.uint8)
    meta, payload = client.fetch_batch(manifest, u64(3, 4), lambda size: mine)
    assert payload is mine
    assert split(manifest, meta, payload) == [list(contents.values())[3], list(contents.values())[4]]


def test_a_pipe_answers_in_order(client, files):
    address, contents = files
    manifest = client.open_manifest(address)
    values = list(contents.values())
    rng = random.Random(3)
    orders = [[rng.randrange(30) for _ in range(rng.randrange(1, 200))] for _ in range(60)]
    with client.open_pipe(manifest) as pipe:
        for i in range(len(orders) + 8):
            if i < len(orders):
                pipe.send_batch(u64(*orders[i]))
            if i >= 8:
                meta, payload = pipe.recv_batch()
                assert split(manifest, meta, payload) == [values[j] for j in orders[i - 8]]
        assert len(pipe) == 0


def test_large_requests_do_not_block_each_other(client, files):
    address, _ = files
    manifest = client.open_manifest(address)
    many = np.resize(np.arange(30, dtype=np.uint64), 65536)
    with client.open_pipe(manifest) as pipe:
        for _ in range(16):
            pipe.send_batch(many)
        with pytest.raises(pydaos.InvalidError, match="16"):
            pipe.send_batch(many)
        sizes = {pipe.recv_batch()[0].samples for _ in range(16)}
    assert sizes == {65536}


def test_a_wrong_batch_fails_alone(client, files):
    address, contents = files
    manifest = client.open_manifest(address)
    with client.open_pipe(manifest) as pipe:
        pipe.send_batch(u64(0))
        pipe.send_batch(u64(5, 30))
        pipe.send_batch(u64(1))
        assert split(manifest, *pipe.recv_batch()) == [next(iter(contents.values()))]
        with pytest.raises(pydaos.InvalidError, match="30"):
            pipe.recv_batch()
        assert split(manifest, *pipe.recv_batch()) == [list(contents.values())[1]]


@pytest.mark.parametrize("indices", [u64(), np.zeros(65537, np.uint64), np.zeros((2, 2), np.uint64)])
def test_requests_of_no_shape(client, files, indices):
    manifest = client.open_manifest(files[0])
    with pytest.raises(pydaos.InvalidError):
        client.fetch_batch(manifest, indices)


def test_a_manifest_needs_a_snapshot(client, posix_dataset):
    with pytest.raises(pydaos.InvalidError, match="snapshot"):
        client.open_manifest(posix_dataset.address)
    with pytest.raises(pydaos.NotFoundError):
        client.open_manifest(f"{posix_dataset.address}@none")


def test_a_pass_goes_on_through_restarts(own_server):
    with own_server.connect() as client:
        client.create_pool("p")
        dataset = client.create_dataset("p/d")
        for i in range(20):
            dataset.write_bytes(f"{i:02}", b"%02d" % i)
        dataset.snapshot("v1")
        manifest = client.open_manifest("p/d@v1")
        with client.open_pipe(manifest) as pipe:
            seen = []
            for i in range(4):
                pipe.send_batch(u64(*range(i * 2, i * 2 + 2)))
            for i in range(4, 14):
                if i in (6, 9):
                    own_server.restart()
                if i < 10:
                    pipe.send_batch(u64(*range(i * 2, i * 2 + 2)))
                if len(pipe):
                    seen += split(manifest, *pipe.recv_batch())
        assert seen == [b"%02d" % i for i in range(20)]
        own_server.restart()
        assert split(manifest, *client.fetch_batch(manifest, u64(19))) == [b"19"]
        own_server.restart()
        assert client.sample_paths(manifest, [3]) == [b"03"]
