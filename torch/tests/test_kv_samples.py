"""Values of a KV dataset as samples, in the byte order of their keys."""

import numpy as np
import pytest
import torch

from pydaos.torch import Dataset


@pytest.fixture
def kv(client, pool):
    return client.create_dataset(f"{pool}/kv", type="kv")


def bytes_of(sample):
    return bytes(sample)


def test_samples_are_values_in_key_order(client, kv):
    rng = np.random.default_rng(3)
    sizes = [0, 1, 5, 1000, 1023, 1024, 1025, 60_000, 70_000, 262_144, 262_145, 600_000, 5 << 20]
    want = {f"d{i % 7}/k{i:04d}".encode(): rng.bytes(sizes[i % len(sizes)]) for i in range(60)}
    want |= {b"/lead": b"l", b"\x00/x": b"nul", b"\xff\xff": b"ff", b"a//b": b"aa", b"a.b": b"before a/"}
    kv.put_many(want)
    kv.put("d0/k0000", "of another akey", akey="x")
    kv.snapshot("s1")
    kv.put_many({key: b"changed" for key in want})
    keys = sorted(want)
    ds = Dataset(f"{kv.address}@s1")
    assert len(ds) == len(want)
    assert [bytes_of(ds[i]) for i in range(len(ds))] == [want[k] for k in keys]
    manifest = client.open_manifest(f"{kv.address}@s1")
    assert client.sample_paths(manifest, range(len(keys))) == keys
    below = [k for k in keys if k.startswith(b"d3/")]
    part = Dataset(f"{kv.address}@s1/d3")
    assert [bytes_of(part[i]) for i in range(len(part))] == [want[k] for k in below]
    assert len(Dataset(f"{kv.address}@s1", glob="**/k000*")) == sum(b"/k000" in k for k in keys)


def test_labels_are_the_first_part_of_the_key(kv):
    kv.put_many({f"{c}/{i}": np.full(8, i, np.uint8) for c in ("cat", "dog") for i in range(5)})
    kv["README"] = "no class"
    kv.snapshot("s1")
    ds = Dataset(f"{kv.address}@s1", labels="dirname")
    assert ds.classes == ["cat", "dog"] or tuple(ds.classes) == ("cat", "dog")
    batches = list(torch.utils.data.DataLoader(ds, 4))
    assert torch.cat([y for _, y in batches]).tolist() == [0] * 5 + [1] * 5
    assert torch.cat([x for x, _ in batches])[:, 0].tolist() == [0, 1, 2, 3, 4] * 2


def test_shuffled_batches_have_each_value_once(kv):
    kv.put_many({f"{i:05d}": np.full(64, i, "<u4") for i in range(1000)})
    kv.snapshot("s1")
    ds = Dataset(f"{kv.address}@s1")
    seen = [int(x.view(torch.int32)[0, 0]) for x in torch.utils.data.DataLoader(ds, 1, sampler=ds.sampler(seed=1))]
    assert sorted(seen) == list(range(1000)) and seen == [
        int(x.view(torch.int32)[0, 0]) for x in torch.utils.data.DataLoader(ds, 1, sampler=ds.sampler(seed=1))
    ]
