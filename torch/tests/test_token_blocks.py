"""Token blocks against a plain reading of the same documents, over a real server."""

from __future__ import annotations

import itertools
import json
import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data
from torch.utils.data import Subset

from pydaos.testing import Server
from pydaos.torch import BlockShuffle, DataLoader, Dataset, Mixture, TokenBlocks, _tokens

EOS = 50_000


@pytest.fixture(scope="module")
def books(server: Server) -> Any:
    """120 documents of 0 to 90 tokens in small chunks, in two dtypes; 30 rows of 12; and what has no tokens."""
    seed = time.time_ns() % (1 << 32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    client = server.connect()
    client.create_pool("tokens")
    docs = [rng.integers(1, 40_000, rng.integers(0, 90) * (rng.random() > 0.2)) for _ in range(120)]
    text = client.create_dataset("tokens/text", type="tensor")
    for part in (docs[:50], docs[50:51], docs[51:]):
        text.append({"tokens": [d.astype(np.uint16) for d in part], "wide": [d.astype(np.int64) for d in part]})
    rows = client.create_dataset("tokens/rows", type="tensor")
    fixed = rng.integers(0, 1000, (30, 12)).astype(np.int32)
    rows.append({"x": fixed, "score": rng.random(30)})
    files = client.create_dataset("tokens/files", type="posix")
    files.write_bytes("a", b"a")
    for d in (text, rows, files):
        d.snapshot("v1")
    yield server, docs, fixed
    client.destroy_pool("tokens", force=True)
    client.close()


@pytest.fixture
def data(books: Any) -> Callable[..., Dataset]:
    return lambda name, **options: Dataset(f"tokens/{name}@v1", addr=books[0].unix, **options)


def laid_out(docs: Any, eos: int | None) -> tuple[list[int], list[int], list[int]]:
    """Tokens, document and position of all documents laid end to end."""
    tokens, number, place = [], [], []
    for d, doc in enumerate(docs):
        all_of = [*doc.tolist(), *([] if eos is None else [eos])]
        tokens += all_of
        number += [d] * len(all_of)
        place += range(len(all_of))
    return tokens, number, place


@pytest.mark.parametrize("eos", [None, EOS])
@pytest.mark.parametrize("tail", ["drop", "pad"])
@pytest.mark.parametrize("length", [1, 7, 64, 1500])
def test_packed_blocks_are_those_of_the_documents_laid_end_to_end(
    books: Any, data: Any, eos: int | None, tail: str, length: int
) -> None:
    tokens, number, place = laid_out(books[1], eos)
    blocks = TokenBlocks(data("text"), length, column="tokens", eos=eos, tail=tail, pad=9, documents=True)
    assert blocks.elements == len(tokens)
    n = len(blocks)
    assert n == (len(tokens) // length if tail == "drop" else -(-len(tokens) // length))
    picked = list(range(n)) if n < 200 else [0, 1, n // 2, n - 2, n - 1, *range(5, n, n // 50)]
    batch = torch.utils.data.default_collate(blocks.__getitems__(picked))
    assert batch["tokens"].dtype == torch.uint16 and ("mask" in batch) == (tail == "pad")
    for row, i in enumerate(picked):
        lo, hi = i * length, min((i + 1) * length, len(tokens))
        m = hi - lo
        assert batch["tokens"][row].tolist() == tokens[lo:hi] + [9] * (length - m), i
        firsts = sorted(set(number[lo:hi]))
        assert batch["document"][row].tolist() == [firsts.index(d) for d in number[lo:hi]] + [-1] * (length - m)
        assert batch["position"][row].tolist() == place[lo:hi] + [0] * (length - m)
        if tail == "pad":
            assert batch["mask"][row].tolist() == [True] * m + [False] * (length - m)
        for name, value in blocks[i].items():
            assert torch.equal(value, batch[name][row])


@pytest.mark.parametrize("eos", [None, EOS])
def test_one_document_a_block(books: Any, data: Any, eos: int | None) -> None:
    blocks = TokenBlocks(data("text"), 40, column="tokens", pack=False, eos=eos, pad=3, documents=True)
    assert len(blocks) == 120
    batch = next(iter(DataLoader(blocks, batch_size=120)))
    for i, doc in enumerate(books[1]):
        want = doc.tolist()[:40]
        if eos is not None and len(want) < 40:
            want.append(eos)
        assert batch["tokens"][i].tolist() == want + [3] * (40 - len(want))
        assert batch["mask"][i].tolist() == [True] * len(want) + [False] * (40 - len(want))
        assert batch["document"][i].tolist() == [0] * len(want) + [-1] * (40 - len(want))
        assert batch["position"][i].tolist() == [*range(len(want)), *[0] * (40 - len(want))]


def test_fixed_rows_and_dtypes(books: Any, data: Any) -> None:
    flat = books[2].reshape(-1)
    blocks = TokenBlocks(data("rows"), 17, column="x", dtype=torch.int64)
    got = torch.cat([b["tokens"].reshape(-1) for b in blocks.batches(4)])
    assert got.dtype == torch.int64 and got.tolist() == flat[: len(blocks) * 17].tolist()
    separated = TokenBlocks(data("rows", columns=["x"]), 13, eos=-1)
    assert len(separated) == 30
    assert [b["tokens"].tolist() for b in separated] == [[*row, -1] for row in books[2].tolist()]
    wide = TokenBlocks(data("text"), 32, column="wide")
    narrow = TokenBlocks(data("text"), 32, column="tokens", dtype=torch.int64)
    assert torch.equal(wide[5]["tokens"], narrow[5]["tokens"]) and wide.source.manifest_id != narrow.source.manifest_id


def rows_of(batches: Any) -> list[list[int]]:
    return [row for b in batches for row in b["tokens"].tolist()]


def test_every_way_to_walk_gives_the_same_blocks(data: Any) -> None:
    def make() -> TokenBlocks:
        return TokenBlocks(data("text"), 20, column="tokens", eos=EOS)

    blocks = make()
    loader = DataLoader(blocks, batch_size=6, shuffle=True, seed=4)
    whole = rows_of(loader)
    assert rows_of(blocks.batches(6, shuffle=True, seed=4)) == whole
    sampler = blocks.sampler(seed=4)
    assert rows_of(torch.utils.data.DataLoader(blocks, batch_size=6, sampler=sampler)) == whole
    assert rows_of(torch.utils.data.DataLoader(pickle.loads(pickle.dumps(blocks)), batch_size=5)) == [
        blocks[i]["tokens"].tolist() for i in range(len(blocks))
    ]
    with pytest.warns(UserWarning, match="num_workers"):
        workers = DataLoader(make(), batch_size=6, shuffle=True, seed=4, num_workers=2)
    assert rows_of(workers) == whole
    assert rows_of(DataLoader(Subset(blocks, [3, 1]), batch_size=2)) == [blocks[i]["tokens"].tolist() for i in (3, 1)]
    assert blocks[-1]["tokens"].tolist() == blocks[len(blocks) - 1]["tokens"].tolist()
    with pytest.raises(IndexError):
        blocks[len(blocks)]


def test_resume_with_other_ranks_and_batch_size(data: Any) -> None:
    def loader(**options: Any) -> DataLoader:
        return DataLoader(TokenBlocks(data("text"), 16, column="tokens", eos=EOS), order=BlockShuffle(8), **options)

    first = loader(batch_size=7, seed=2)
    whole = rows_of(loader(batch_size=7, seed=2))
    seen = rows_of(itertools.islice(iter(first), 4))
    state = json.loads(json.dumps(first.state_dict()))
    assert state["position"] == 28 and len(json.dumps(state)) < 300
    ranks = []
    for r in range(3):
        other = loader(batch_size=5, world=(r, 3), uneven="keep")
        other.load_state_dict(state)
        ranks.append(list(other))
    rest = [row for k in range(max(map(len, ranks))) for r in ranks if k < len(r) for row in rows_of([r[k]])]
    assert seen + rest == whole
    with pytest.raises(ValueError, match="not of these token blocks"):
        DataLoader(TokenBlocks(data("text"), 17, column="tokens", eos=EOS)).load_state_dict(state)


def test_batches_of_several_calls(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk() -> list[dict[str, torch.Tensor]]:
        blocks = TokenBlocks(data("text"), 50, column="tokens", eos=EOS, documents=True, tail="pad")
        return list(blocks.batches(9, shuffle=True))

    whole = walk()
    monkeypatch.setattr(_tokens, "ELEMENTS", 120)
    for a, b in zip(whole, walk(), strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_long_documents_are_not_read_whole(books: Any) -> None:
    server = books[0]
    with server.connect() as client:
        long = client.create_dataset("tokens/long", type="tensor")
        long.append({"x": [np.arange(2_000_000, dtype=np.int32), np.arange(3, dtype=np.int32)]})
        long.snapshot("v1")
        blocks = TokenBlocks(Dataset("tokens/long@v1", addr=server.unix), 1000, eos=-1)
        assert len(blocks) == 2000 and blocks[1234]["tokens"].tolist() == list(range(1_234_000, 1_235_000))
        reply, payload = blocks.source._call(np.array([7, 1999], np.uint64))
        assert len(payload) == 2 * (24 + 4 * 1000) and list(reply.runs) == [1, 1]
        single = TokenBlocks(Dataset("tokens/long@v1", addr=server.unix), 1000, eos=-1, pack=False)
        assert len(single.source._call(np.array([0], np.uint64))[1]) == 24 + 4 * 1000


def test_a_mixture_of_token_blocks(data: Any) -> None:
    text = TokenBlocks(data("text"), 12, column="wide", eos=-7)
    rows = TokenBlocks(data("rows"), 12, column="x", dtype=torch.int64)
    mix = Mixture([(text, 2), (rows, 1)], seed=3, samples=30)
    got = rows_of(DataLoader(mix, batch_size=8))
    parts = [text, rows]
    assert got == [parts[j][i]["tokens"].tolist() for j, i in mix.where(range(30))]
    with pytest.raises(ValueError, match="no batch together"):
        Mixture([(text, 1), (TokenBlocks(data("rows"), 13, column="x"), 1)])


def test_a_restarted_server_costs_time_and_nothing_else(data: Any, books: Any) -> None:
    blocks = TokenBlocks(data("text"), 20, column="tokens", eos=EOS)
    want = rows_of(blocks.batches(6))
    it = iter(blocks.batches(6))
    got = rows_of([next(it), next(it)])
    books[0].restart()
    got += rows_of(it)
    assert got == want


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "files"}, "over a tensor dataset"),
        ({}, "column= is needed: tokens/text@v1 has tokens, wide"),
        ({"column": "nope"}, "no column 'nope'"),
        ({"name": "rows", "column": "score"}, "no column of token arrays"),
        ({"column": "tokens", "length": 0}, "1 to 2\\*\\*22"),
        ({"column": "tokens", "tail": "cut"}, "tail='cut'"),
        ({"column": "tokens", "eos": 1 << 16}, "eos=65536 is no uint16"),
        ({"column": "tokens", "pad": -1}, "pad=-1 is no uint16"),
    ],
)
def test_refusals(data: Any, options: dict[str, Any], words: str) -> None:
    name = options.pop("name", "text")
    length = options.pop("length", 8)
    with pytest.raises(ValueError, match=words):
        TokenBlocks(data(name), length, **options)
