"""What is said of arguments that make no sense, and of nothing to read, before a loop runs over it in silence."""

from __future__ import annotations

import subprocess
from typing import Any

import numpy as np
import pytest
import torch

import pydaos
from pydaos.torch import (
    Checkpoint,
    DaosNode,
    DataLoader,
    Dataset,
    IterableDataset,
    Mixture,
    Token,
    TokenBlocks,
)

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"batch_size": 0}, ValueError, "batch_size=0: a batch has at least one sample; give 1 or more"),
    ({"batch_size": -3}, ValueError, "batch_size=-3"),
    ({"batch_size": True}, TypeError, "batch_size=True: .* give an int from 1 on, not a bool"),
    ({"batch_size": 8.0}, TypeError, "batch_size=8.0: .* not a float"),
    ({"batch_size": "8"}, TypeError, "batch_size='8': .* not a str"),
    ({"transform_threads": 1.5}, TypeError, "transform_threads=1.5: .* give an int from 0 on, not a float"),
    ({"transform_threads": None}, TypeError, "transform_threads=None: .*, not None"),
    ({"transform_threads": "2"}, TypeError, "transform_threads='2'"),
    ({"transform_threads": -1}, ValueError, "transform_threads=-1: .* give 0 or more"),
    ({"num_workers": "2"}, TypeError, "num_workers='2'"),
    ({"num_workers": -1}, ValueError, "num_workers=-1"),
    ({"prefetch": 0}, ValueError, "prefetch=0: .* give 1 or more"),
    ({"prefetch": None}, TypeError, "prefetch=None"),
    ({"progress": "foo"}, ValueError, r"progress='foo': True \(on a terminal\), False, or \"always\""),
    ({"progress": 1}, ValueError, "progress=1"),
    ({"retry": -1}, ValueError, "retry=-1: give seconds, 0 or more"),
    ({"retry": float("nan")}, ValueError, "retry=nan"),
    ({"retry": "60"}, TypeError, "retry='60': give seconds, a number, not a str"),
    ({"seed": 1.5}, TypeError, "seed=1.5: a seed is an int, not a float"),
    ({"seed": None}, TypeError, "seed=None"),
    ({"seed": -1}, ValueError, r"seed=-1: a seed lies in 0\.\.2\*\*64-1"),
    ({"seed": 1 << 64}, ValueError, "seed=18446744073709551616"),
]


@pytest.mark.parametrize(("options", "kind", "words"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_a_loader_says_what_is_wrong(numbered: Any, options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with numbered.files() as data, pytest.raises(kind, match=words):
        DataLoader(data, **{"shuffle": True, **options})


def test_numbers_of_numpy_and_torch_are_numbers(numbered: Any) -> None:
    with numbered.files() as data:
        loader = DataLoader(
            data, np.int64(10), shuffle=True, seed=np.uint64(3), prefetch=torch.tensor(2), retry=np.float32(5)
        )
        assert [i for b in loader for i in numbered.ids(b)] == numbered.order(3)
        assert type(loader.state_dict()["seed"]) is int
        assert len(data.batches(np.int32(50), seed=(1 << 64) - 1)) == 3


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1.0, "7", None, True])
def test_seeds_are_refused_everywhere(numbered: Any, seed: Any) -> None:
    kind = ValueError if isinstance(seed, int) and not isinstance(seed, bool) else TypeError
    with numbered.files() as data, numbered.rows() as rows:
        for make in (
            lambda: data.sampler(seed=seed),
            lambda: data.batches(8, seed=seed),
            lambda: numbered.iterable(seed=seed),
            lambda: DataLoader(data, 8, seed=seed),
            lambda: DaosNode(rows, 8, seed=seed),
            lambda: Mixture([(rows, 1)], seed=seed),
            lambda: data.state_dict(3, seed=seed) if seed is not None else data.sampler(seed=None),  # type: ignore[arg-type]
        ):
            with pytest.raises(kind, match="seed="):
                make()
        state = data.state_dict(3, seed=1)
    with pytest.raises(ValueError, match="'seed' is"):
        Token.from_dict({**state, "seed": seed})


def test_seeds_are_refused_by_the_command_line(numbered: Any, daos_binary: str) -> None:
    for seed in ("-1", str(1 << 64), "1.5"):
        command = [daos_binary, "--addr", numbered.server.unix, "loader", "state", "numbered/rows@v1", f"--seed={seed}"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout) == (2, ""), ran
        assert seed in ran.stderr and "--seed" in ran.stderr and "2^64-1" in ran.stderr, ran.stderr


def test_a_dataset_says_what_is_wrong(numbered: Any) -> None:
    made = 0

    def open_it(address: Any = "numbered/rows@v1", **options: Any) -> None:
        nonlocal made
        Dataset(address, addr=numbered.server.unix, **options)
        made += 1

    for options, kind, words in (
        ({"address": 5}, TypeError, "the address is an int, not text such as 'POOL/DATASET@SNAPSHOT/PATH'"),
        ({"address": numbered}, TypeError, "the address is a Numbered"),
        ({"address": None}, TypeError, "give an address"),
        ({"columns": "id"}, TypeError, r"columns='id': give a sequence of names, columns=\['id'\]"),
        ({"columns": 3}, TypeError, "columns=3: give a sequence of names, not an int"),
        ({"columns": [3]}, TypeError, "3 is no name of a column"),
        ({"retry": -0.1}, ValueError, "retry=-0.1"),
        ({"timeout": 0}, ValueError, "timeout=0: an answer takes time"),
        ({"timeout": "1"}, TypeError, "timeout='1'"),
        ({"labels": "file"}, ValueError, "the one rule"),
    ):
        with pytest.raises(kind, match=words):
            open_it(**options)
        with pytest.raises(kind, match=words):
            IterableDataset(**{"address": "numbered/rows@v1", "addr": numbered.server.unix, **options})
    assert not made


def test_mixtures_blocks_and_checkpoints_say_what_is_wrong(numbered: Any) -> None:
    with numbered.rows() as data:
        for parts, words in (
            ([data], r"part 0 of the mixture is a Dataset, not a pair: give \[\(dataset, weight\), \.\.\.\]"),
            ([(data, 1), data], "part 1 of the mixture"),
            ([(data,)], "part 0 of the mixture is a tuple"),
            (data, r"a mixture is of \[\(dataset, weight\), \.\.\.\], not of a Dataset"),
            (3, "not of an int"),
        ):
            with pytest.raises(TypeError, match=words):
                Mixture(parts)  # type: ignore[arg-type]
        for samples, kind in ((0, ValueError), (1.5, TypeError), (1 << 40, ValueError)):
            with pytest.raises(kind, match="a pass of a mixture has 1 to"):
                Mixture([(data, 1)], samples=samples)  # type: ignore[arg-type]
        for options, kind, words in (
            ({"length": True}, TypeError, "length=True"),
            ({"length": 0}, ValueError, "a block has 1 to"),
            ({"length": 1 << 23}, ValueError, "a block has 1 to"),
            ({"length": 104}, ValueError, "no block of 104 tokens: .* 103"),
            ({"length": 8, "eos": 1.5}, TypeError, "eos=1.5"),
            ({"length": 8, "pad": "0"}, TypeError, "pad='0'"),
        ):
            with pytest.raises(kind, match=words):
                TokenBlocks(data, options.pop("length"), **options)  # type: ignore[arg-type]
    for options, kind, words in (
        ({"workers": "4"}, TypeError, "workers='4'"),
        ({"workers": -1}, ValueError, "workers=-1"),
        ({"chunks_limit": 1.5}, TypeError, "chunks_limit=1.5"),
        ({"transfer_chunk_size": -1}, ValueError, "transfer_chunk_size=-1"),
        ({"retry": -1}, ValueError, "retry=-1"),
    ):
        with pytest.raises(kind, match=words):
            Checkpoint("numbered", "files", addr=numbered.server.unix, **options)  # type: ignore[arg-type]


# -- nothing to read ---------------------------------------------------------------------


@pytest.fixture
def tree(posix_dataset: Any) -> Any:
    """Folders with and without files; snapshot v1."""
    for path in ("train/a.txt", "train/b.txt", "train/sub/c.png", *(f"many/{i}.txt" for i in range(9))):
        posix_dataset.write_bytes(path, b"x", parents=True)
    posix_dataset.mkdir("none")
    posix_dataset.mkdir("folders/a", parents=True)
    posix_dataset.snapshot("v1")
    return posix_dataset


@pytest.mark.parametrize("made", [Dataset, IterableDataset])
def test_no_files_are_an_error_that_says_what_is_there(tree: Any, server: Any, made: Any) -> None:
    at = f"{tree.address}@v1"
    for path, options, words in (
        ("/none", {}, "no samples: there are no files; there is nothing at all"),
        ("/folders", {}, "there are no files; there is a/"),
        (
            "/train",
            {"glob": "*.png"},
            r"no file matches glob='\*\.png', which .*; there is a.txt, b.txt, sub/; allow",
        ),
        ("/train", {"glob": "*.png"}, "the whole path: .* allow_empty=True opens it all the same"),
        ("/many", {"labels": "dirname"}, 'no folder with files in it, and labels="dirname" takes classes from folders'),
        ("/many", {"labels": "dirname"}, r"there is 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, \.\.\.; allow"),
    ):
        with pytest.raises(pydaos.NotFoundError, match=words) as failed:
            made(f"{at}{path}", addr=server.unix, **options)
        assert isinstance(failed.value, FileNotFoundError)
        assert failed.value.resource == f"{at}{path}"
        made(f"{at}{path}", addr=server.unix, allow_empty=True, **options).close()
    with made(f"{at}/none", addr=server.unix, allow_empty=True) as known:
        assert list(torch.utils.data.DataLoader(known, 4)) == []


def test_no_rows_and_no_values_are_errors_too(client: pydaos.Client, pool: str, server: Any) -> None:
    rows = client.create_dataset(f"{pool}/rows", type="tensor")
    rows.define({"id": np.zeros(1, np.int64)})
    pairs = client.kv(f"{pool}/kv", create=True)
    pairs["a/1"] = b"x"
    for d in (rows, pairs):
        d.snapshot("v1")
    with pytest.raises(pydaos.NotFoundError, match=r"rows@v1: no samples: there are no rows; allow_empty"):
        Dataset(f"{pool}/rows@v1", addr=server.unix)
    with pytest.raises(pydaos.NotFoundError, match=r"no value matches glob='\*\.png'.*there is 'a/1'"):
        Dataset(f"{pool}/kv@v1", addr=server.unix, glob="*.png")


def test_a_condition_that_nothing_meets_is_named(numbered: Any) -> None:
    with pytest.raises(pydaos.NotFoundError, match=r"no samples: nothing meets where='id > 1000'; allow_empty"):
        numbered.rows(where="id > 1000")
    assert len(numbered.rows(where="id > 1000", allow_empty=True)) == 0
