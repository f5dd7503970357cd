"""Checkpoint.load: into tensors that are there, as torch.load would have loaded them."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
import textwrap
from collections import OrderedDict
from typing import Any

import pytest
import torch

import pydaos
from pydaos import _bulk
from pydaos.testing import Server
from pydaos.torch import Checkpoint, _restore


@pytest.fixture
def ckpt(server: Server, pool: Any) -> Any:
    with Checkpoint(pool, "runs", create=True, addr=server.unix) as c:
        yield c


def save(ckpt: Checkpoint, state: Any, name: str = "f.pt") -> None:
    with ckpt.writer(name) as f:
        torch.save(state, f)


def zeros(value: Any) -> Any:
    """A copy with other memory, filled with zeros."""
    if isinstance(value, torch.Tensor):
        out = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
        return out.zero_()
    if isinstance(value, dict):
        return {k: zeros(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(zeros(v) for v in value)
    return value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_fills_tensors_of_every_kind_in_place(ckpt: Checkpoint) -> None:
    torch.manual_seed(1)
    base = torch.randn(64, 48)
    state: dict[str, Any] = OrderedDict(
        (str(dtype), (torch.rand(3, 5) * 4).to(dtype))
        for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool)
    )
    state |= {
        "complex": torch.randn(4, dtype=torch.complex64),
        "scalar": torch.tensor(7.5),
        "empty": torch.empty(0, 3),
        "large": torch.randint(0, 255, (40 << 20,), dtype=torch.uint8),  # more than one stripe
        "odd": torch.randint(0, 255, ((1 << 20) + 13,), dtype=torch.uint8),
        "transposed": base.t(),
        "view": base[3:9, 2:7],
        "row": base[5],
        "channels": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "nested": {"list": [torch.ones(3), {"x": torch.arange(10)}], "tuple": (torch.full((2,), 3.0), "text")},
        "step": 12,
        "none": None,
    }
    save(ckpt, state)
    into = zeros(state)
    addresses = {k: v.data_ptr() for k, v in into.items() if isinstance(v, torch.Tensor)}
    saved = ckpt.load("f.pt", into=into)
    assert same(into, state)
    assert same(saved, state)
    for k, address in addresses.items():
        assert saved[k] is into[k]
        assert into[k].data_ptr() == address
    assert saved["nested"]["list"][1]["x"] is into["nested"]["list"][1]["x"]


def test_other_strides_are_copied(ckpt: Checkpoint) -> None:
    torch.manual_seed(2)
    state = {"a": torch.randn(30, 20), "b": torch.randn(20, 30).t(), "c": torch.randn(2, 3, 4, 5), "d": torch.randn(50)}
    save(ckpt, state)
    into = {
        "a": torch.zeros(20, 30).t(),
        "b": torch.zeros(30, 20),
        "c": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "d": torch.zeros(50, 2)[:, 1],  # rows between stay as they are
    }
    ckpt.load("f.pt", into=into)
    assert same(into, state)


def test_shared_storages(ckpt: Checkpoint) -> None:
    weight = torch.randn(10, 10)
    save(ckpt, {"tied": [weight, weight], "half": weight[5:], "loose": weight[0], "step": 1})
    mine = torch.zeros(10, 10)
    saved = ckpt.load("f.pt", into={"tied": [mine, mine]})
    assert torch.equal(mine, weight)
    assert saved["tied"][0] is mine
    assert saved["tied"][1] is mine
    # What was not asked for is new, whole, and shares its memory as it did.
    assert torch.equal(saved["half"], weight[5:])
    assert torch.equal(saved["loose"], weight[0])
    assert saved["half"].untyped_storage().data_ptr() == saved["loose"].untyped_storage().data_ptr()
    assert saved["half"].untyped_storage().data_ptr() != mine.untyped_storage().data_ptr()


def model(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(20, 50), torch.nn.BatchNorm1d(50), torch.nn.ReLU(), torch.nn.Linear(50, 5)
    )


def step(m: torch.nn.Module, o: torch.optim.Optimizer) -> None:
    o.zero_grad()
    m(torch.randn(8, 20)).square().sum().backward()
    o.step()


@pytest.mark.parametrize("stepped", [False, True])
def test_a_model_and_its_optimizer_go_on(ckpt: Checkpoint, stepped: bool) -> None:
    one = model(1)
    optimizer = torch.optim.Adam(one.parameters(), lr=0.1)
    step(one, optimizer)
    step(one, optimizer)
    save(ckpt, {"model": one.state_dict(), "optim": optimizer.state_dict(), "epoch": 3})

    two = model(2)
    other = torch.optim.Adam(two.parameters(), lr=0.5)
    if stepped:
        step(two, other)
    saved = ckpt.load("f.pt", into={"model": two.state_dict(), "optim": other.state_dict()})
    other.load_state_dict(saved["optim"])
    assert saved["epoch"] == 3
    assert same(dict(two.state_dict()), dict(one.state_dict()))
    for m, o in ((one, optimizer), (two, other)):
        torch.manual_seed(9)
        step(m, o)
    assert same(dict(two.state_dict()), dict(one.state_dict()))

    save(ckpt, one.state_dict(), "model.pt")
    three = model(3)
    ckpt.load("model.pt", into=three)  # a module
    assert same(dict(three.state_dict()), dict(one.state_dict()))
    assert all(p.requires_grad for p in three.parameters())
    step(three, torch.optim.SGD(three.parameters(), lr=0.1))


def test_what_does_not_fit_is_named_and_nothing_is_written(ckpt: Checkpoint) -> None:
    save(ckpt, {"m": {"a": torch.ones(3, 4), "b": torch.ones(2), "c": torch.ones(5), "d": "text"}})
    into = {"m": {"a": torch.zeros(4, 3), "b": torch.zeros(2, dtype=torch.int64), "c": torch.zeros(5)}}
    with pytest.raises(pydaos.InvalidError) as wrong:
        ckpt.load("f.pt", into=into)
    text = str(wrong.value)
    assert "m.a: the file has float32[3, 4], the tensor to load into is float32[4, 3]" in text
    assert "m.b: the file has float32[2], the tensor to load into is int64[2]" in text
    assert "nothing was loaded" in text
    assert not into["m"]["c"].any()
    with pytest.raises(pydaos.InvalidError, match=r"m\.d: holds a str, into has a tensor"):
        ckpt.load("f.pt", into={"m": {"d": torch.zeros(1)}})
    with pytest.raises(pydaos.InvalidError, match="meta device"):
        ckpt.load("f.pt", into={"m": {"c": torch.zeros(5, device="meta")}})
    into = {"m": {"c": torch.zeros(5), "new": torch.full((2,), 7.0)}}
    with pytest.raises(pydaos.InvalidError, match=r"m\.new: not in the file"):
        ckpt.load("f.pt", into=into)
    assert not into["m"]["c"].any()
    ckpt.load("f.pt", into=into, strict=False)
    assert into["m"]["c"].all()
    assert torch.equal(into["m"]["new"], torch.full((2,), 7.0))


def test_thousands_of_small_tensors(ckpt: Checkpoint) -> None:
    rng = random.Random(5)
    state = {f"t{i}": torch.full((rng.randrange(1, 3000),), float(i)) for i in range(3000)}
    save(ckpt, state)
    into = zeros(state)
    ckpt.load("f.pt", into=into)
    assert same(into, state)
    assert same(ckpt.load("f.pt"), state)  # without into: as torch.load


class Own:
    def __init__(self) -> None:
        self.t = torch.arange(5)


def test_only_weights_unless_told_otherwise(ckpt: Checkpoint) -> None:
    save(ckpt, {"own": Own(), "w": torch.ones(3)})
    into = {"w": torch.zeros(3)}
    with pytest.raises(Exception, match="weights_only"):
        ckpt.load("f.pt", into=into)
    assert not into["w"].any()
    saved = ckpt.load("f.pt", into=into, weights_only=False)
    assert into["w"].all()
    assert torch.equal(saved["own"].t, torch.arange(5))


def test_other_files_are_refused(ckpt: Checkpoint) -> None:
    with ckpt.writer("text") as f:
        f.write(b"not a checkpoint" * 10)
    with pytest.raises(pydaos.InvalidError, match="zip format"):
        ckpt.load("text", into={"w": torch.zeros(3)})
    with pytest.raises(FileNotFoundError):
        ckpt.load("nothing", into={"w": torch.zeros(3)})
    with ckpt.writer("legacy") as f:
        torch.save({"w": torch.ones(3)}, f, _use_new_zipfile_serialization=False)
    with pytest.raises(pydaos.InvalidError, match="zip format"):
        ckpt.load("legacy", into={"w": torch.zeros(3)})
    assert torch.equal(ckpt.load("legacy")["w"], torch.ones(3))


def test_what_holds_no_tensors_is_refused(ckpt: Checkpoint) -> None:
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    save(ckpt, {"model": model.state_dict(), "optim": optimizer.state_dict()})
    before = copy.deepcopy(model.state_dict())
    for into in ({"model": model}, {"optim": optimizer}, {"model": {"other": model}}, optimizer):
        with pytest.raises(pydaos.InvalidError, match=r"state_dict\(\)|not in the file"):
            ckpt.load("f.pt", into=into)
    for wrong in ("model", 5, print):
        with pytest.raises(pydaos.InvalidError, match="give tensors"):
            ckpt.load("f.pt", into=wrong)
    with pytest.raises(pydaos.InvalidError, match="expanded"):
        ckpt.load("f.pt", into={"model": {"bias": torch.zeros(1).expand(3)}})
    assert same(before, dict(model.state_dict()))


def test_what_was_cut_short_or_spoilt_is_an_error_of_ours(ckpt: Checkpoint) -> None:
    save(ckpt, {"w": torch.arange(2000.0)})
    whole = ckpt.reader("f.pt").read()
    names = whole.rindex(b"data.pkl")  # of the listing at the end
    spoilt = [whole[:n] for n in (0, 1, 22, 700, len(whole) - 1, len(whole) - 30)]
    spoilt += [bytes([*whole[:80], whole[80] ^ 1, *whole[81:]]), whole[:names] + b"\xff" + whole[names + 1 :]]
    name = whole.index(b"data.pkl") - 1  # of the record
    spoilt.append(whole[:name] + b"\xff" + whole[name + 1 :])
    for data in spoilt:
        with ckpt.writer("g.pt") as f:
            f.write(data)
        with pytest.raises((pydaos.InvalidError, pydaos.CorruptError), match=r"g\.pt"):
            ckpt.load("g.pt", into={"w": torch.zeros(2000)})
    with pytest.raises(OSError, match="seek"):
        ckpt.reader("g.pt").seek(-(1 << 20), 2)


def test_a_storage_that_goes_beyond_the_end_is_an_error(ckpt: Checkpoint) -> None:
    with ckpt.writer("f") as f:
        f.write(bytes(1000))
    with ckpt.reader("f") as f:
        reader = _restore.Reader(f.raw, "f", 2)
        for offset in (900, 1000, 5000):
            with pytest.raises(pydaos.CorruptError, match=r"f: ends at byte .*, inside a storage"):
                reader.pieces(
                    [_restore.Piece(0, memoryview(bytearray(10))), _restore.Piece(offset, memoryview(bytearray(200)))]
                )


def test_sparse_tensors_are_looked_at_and_forgotten(ckpt: Checkpoint) -> None:
    sparse = torch.eye(3).to_sparse()
    state = {"w": torch.ones(2), "coo": sparse, "csr": torch.eye(3).to_sparse_csr()}
    save(ckpt, state)
    loaded = ckpt.load("f.pt", into={"w": torch.zeros(2)})
    assert torch.equal(loaded["coo"].to_dense(), torch.eye(3))
    assert torch.equal(loaded["csr"].to_dense(), torch.eye(3))
    with pytest.raises(pydaos.InvalidError, match="dense"):
        ckpt.load("f.pt", into={"coo": sparse})
    assert same(ckpt.load("f.pt")["w"], state["w"])  # what was not loaded is not torch.load's to validate
    bad = torch.sparse_coo_tensor(torch.tensor([[7], [0]]), torch.ones(1), (3, 3), check_invariants=False)
    save(ckpt, {"w": torch.ones(2), "coo": bad})
    with pytest.raises(pydaos.CorruptError, match="sparse"):
        ckpt.load("f.pt", into={"w": torch.zeros(2)})


def test_a_reader_goes_on_with_the_file_that_it_opened(ckpt: Checkpoint) -> None:
    first = {"w": torch.arange(2_000_000)}
    save(ckpt, first)
    reader = ckpt.reader("f.pt")
    reader.read(10)
    save(ckpt, {"w": torch.zeros(10)})
    reader.seek(0)
    assert same(torch.load(reader), first)
    assert ckpt.load("f.pt")["w"].shape == (10,)


def test_a_server_that_dies_half_way_is_said(own_server: Server) -> None:
    client = own_server.connect()
    client.create_pool("p")
    with Checkpoint("p", "runs", create=True, addr=own_server.unix, retry=0.5) as c:
        state = {f"w{i}": torch.ones(4 << 20) for i in range(4)}
        save(c, state)
        into = zeros(state)
        reads: list[int] = []
        read = _bulk.read_many

        def dies(*args: Any) -> list[int]:
            reads.extend(view.nbytes for _, view in args[2] if view.nbytes > 1 << 20)
            if len(reads) > 5:
                own_server.kill()
            return read(*args)

        with (
            pytest.MonkeyPatch.context() as m,
            pytest.raises(pydaos.UnreachableError, match="mixture of old and new"),
        ):
            m.setattr(_bulk, "read_many", dies)
            c.load("f.pt", into=into)
    client.close()


MEMORY = """
    import sys, torch
    from pydaos.torch import Checkpoint

    def status(key):
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(key)) << 10

    def peak(work):
        open("/proc/self/clear_refs", "w").write("5")  # the high-water mark begins anew
        before = status("VmRSS")
        work()
        return (status("VmHWM") - before) >> 20

    c = Checkpoint(sys.argv[1], "runs", addr=sys.argv[2], create=True)
    state = {f"w{i}": torch.ones(8 << 20) for i in range(8)}  # 256 MiB

    def save():
        with c.writer("f.pt") as f:
            torch.save(state, f)

    save()
    print(peak(save), peak(lambda: c.load("f.pt", into=state)))
"""


def test_memory_is_bounded(server: Server, pool: Any) -> None:
    """A save holds its chunks, six of 4 MiB; loading into tensors holds nothing to speak of."""
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), str(pool), server.unix],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    saving, loading = map(int, out)
    assert saving < 48, f"{saving} MiB"
    assert loading < 24, f"{loading} MiB"


def test_copies_are_independent(ckpt: Checkpoint) -> None:
    state = {"a": torch.randn(5), "b": [torch.randn(3), 4]}
    save(ckpt, state)
    before = copy.deepcopy(state)
    saved = ckpt.load("f.pt", into={"b": [torch.zeros(3)]})  # a shorter list: the rest is new
    assert same(saved, before)
    saved["a"].zero_()
    assert same(ckpt.load("f.pt"), before)


def test_by_way_of_a_copy(ckpt: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to other devices: a part of a contiguous tensor at a time, others whole."""
    torch.manual_seed(3)
    state = {
        "long": torch.randn(100_003),
        "half": torch.randn(999, 7).to(torch.bfloat16),
        "strided": torch.randn(40, 30).t(),
        "scalar": torch.tensor(3),
        "conj": torch.randn(5, dtype=torch.complex64).conj(),
        "neg": torch.randn(5, dtype=torch.complex64).conj().imag,
    }
    save(ckpt, state)
    into = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in state.items()}
    parts = []
    copied = _restore.Reader.copy
    monkeypatch.setattr(_restore, "STRIPE", 64 << 10)
    monkeypatch.setattr(_restore, "_same_bytes", lambda saved, target: False)
    monkeypatch.setattr(_restore.Reader, "copy", lambda self, c: (parts.append(c), copied(self, c)))
    ckpt.load("f.pt", into=into)
    assert same(into, state)
    assert len(parts) == len(state)
