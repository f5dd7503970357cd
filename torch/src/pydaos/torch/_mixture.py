"""`Mixture`: samples drawn from several datasets in proportion to weights.

A mixture is an endless sequence of draws, a function of its parts, weights and
seed: draw x is a sample of one part. ``docs/order.md`` has the definition,
``loader/order`` the same in Go (`Draw` here is that). A pass is a stretch of
``samples`` draws; pass p begins at draw ``p * samples``, so a part that is
larger than its share of one pass is gone on with in the next.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections import deque
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

from pydaos.torch._arguments import pairs_of, seed_of, whole
from pydaos.torch._bijection import bijection, pass_key, side, sub, subs
from pydaos.torch._merge import merge, ragged_of
from pydaos.torch._order import MAX_SAMPLES
from pydaos.torch._plan import Maker, StreamLike, Walkable
from pydaos.torch._source import Source
from pydaos.torch._strata import Interleave, quantise
from pydaos.torch._token import Token
from pydaos.torch._views import roots, size_of_files, sized, walkable
from pydaos.torch._walked import WalkedDataset

__all__ = ["Draw", "Mixture"]

U64 = npt.NDArray[np.uint64]

_PART = 8  # purpose of the keys of a part's internal passes


class Draw:
    """Which sample of which part each draw is: a function of sizes, weights and seed.

    Parameters
    ----------
    sizes, weights : sequence of int
        Samples and weight of each part; the weights sum up to less than 2**32.
    seed : int
        0 to 2**64 - 1.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[int], seed: int) -> None:
        for i, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
            if weight and not 0 < size <= MAX_SAMPLES:
                raise ValueError(f"part {i} of the mixture has a weight and {size} samples")
        self._interleave = Interleave(weights)
        if not self._interleave.total:
            raise ValueError("no weight above 0: nothing could be drawn")
        self._sizes = np.array(sizes, np.uint64)
        self._sides = np.array([side(s) for s in sizes], np.uint64)
        self._weights = np.array(weights, np.uint64)
        self._key = pass_key(seed, 0)
        self._keys = [sub(self._key, _PART, j) for j in range(len(sizes))]

    def take(self, x: U64) -> tuple[npt.NDArray[np.intp], U64]:
        """Return (part, sample of it) of each draw."""
        total = np.uint64(self._interleave.total)
        turn = x // total
        part, k = self._interleave.take(x - turn * total, self._key)
        k = k + turn * self._weights[part]
        sample = np.empty_like(k)
        for j in np.unique(part).tolist():
            mine = np.flatnonzero(part == j)
            size = self._sizes[j]
            number = k[mine] // size
            keys = subs(self._keys[j], _PART, number)
            a, b = (int(v) for v in self._sides[j])
            sample[mine] = bijection(k[mine] - number * size, int(size), a, b, keys)
        return part, sample


class _MixtureRaw:
    """A batch as received from several parts: which rows of it each has."""

    __slots__ = ("count", "place", "shares")

    def __init__(self, shares: list[tuple[int, npt.NDArray[np.intp], Any]], count: int) -> None:
        self.shares = shares
        self.count = count
        self.place: list[tuple[int, Any, int]] | None = None

    def at(self, i: int) -> tuple[int, Any, int]:
        """Return (part, its batch, row of it) of sample i."""
        if self.place is None:
            place: list[Any] = [None] * self.count
            for j, rows, raw in self.shares:
                for row, k in enumerate(rows.tolist()):
                    place[k] = (j, raw, row)
            self.place = place
        return self.place[i]


class MixtureSource:
    """The draws of a mixture, as something to walk."""

    classes: tuple[str, ...] = ()
    class_sizes: tuple[int, ...] = ()

    #: Pass p begins at index ``p * samples``.
    endless = True

    def __init__(self, walks: list[Walkable], weights: list[int], seed: int, samples: int) -> None:
        self.walks = walks
        self.weights = weights
        self.seed = seed
        self.samples = samples
        self.draw = Draw([w.samples for w in walks], weights, seed)
        what = [[w.manifest_id, w.snapshot, weight] for w, weight in zip(walks, weights, strict=True)]
        text = json.dumps(["mixture", 1, seed, samples, what], separators=(",", ":"))
        self.manifest_id = hashlib.sha256(text.encode()).hexdigest()[:32]
        more = f" +{len(walks) - 1}" if len(walks) > 1 else ""
        self.snapshot = f"{walks[0].snapshot}{more}"
        self._ragged, self.uniform = size_of_files(walks)

    def check_token(self, token: Token) -> None:
        """ValueError unless the token is of this mixture."""
        if token.manifest != self.manifest_id:
            parts = ", ".join(f"{w.snapshot} x {n}" for w, n in zip(self.walks, self.weights, strict=True))
            raise ValueError(
                f"the resume token is of {token.snapshot} (manifest {token.manifest[:12]}), not of this mixture "
                f"({self.manifest_id[:12]}: {parts}, seed {self.seed}, {self.samples} samples); give it the same "
                "parts of the same snapshots, weights, seed and samples"
            )

    def fetch(self, indices: Any) -> _MixtureRaw:
        """Read draws, one request for each part."""
        stream = self.stream(1)
        try:
            stream.ask(np.asarray(indices, dtype=np.uint64))
            return stream.take()
        finally:
            stream.close()

    def stream(self, depth: int = 2) -> _MixtureStream:
        """Return a reader over the parts' readers."""
        return _MixtureStream(self, depth)

    def batch(self, raw: _MixtureRaw) -> Any:
        """Return the ready batch, its rows in the order of the draws."""
        made = [self.walks[j].batch(share) for j, _, share in raw.shares]
        if self._ragged:
            made = [_as_ragged(b) for b in made]
        return merge(made, [rows for _, rows, _ in raw.shares], raw.count, "mixture")

    def sample_at(self, raw: _MixtureRaw, i: int) -> Any:
        """Return one sample of a batch."""
        j, share, row = raw.at(i)
        sample = self.walks[j].sample_at(share, row)
        return sized(sample, self.uniform) if self._ragged else sample


class _MixtureStream:
    """The parts' streams; a batch is one request to each part that has samples in it."""

    def __init__(self, source: MixtureSource, depth: int) -> None:
        self._source = source
        self._depth = max(1, depth)
        self._streams: dict[int, StreamLike] = {}
        self._asked: deque[tuple[list[tuple[int, npt.NDArray[np.intp]]], int]] = deque()

    @property
    def room(self) -> bool:
        return len(self._asked) < self._depth and all(s.room for s in self._streams.values())

    def ask(self, indices: U64) -> None:
        part, sample = self._source.draw.take(np.asarray(indices, dtype=np.uint64))
        shares = [(j, np.flatnonzero(part == j)) for j in np.unique(part).tolist()]
        for j, rows in shares:
            stream = self._streams.get(j)
            if stream is None:
                stream = self._streams[j] = self._source.walks[j].stream(self._depth)
            stream.ask(sample[rows])
        self._asked.append((shares, part.size))

    def take(self) -> _MixtureRaw:
        shares, count = self._asked.popleft()
        got: list[tuple[int, npt.NDArray[np.intp], Any]] = []
        failed: Exception | None = None
        for j, rows in shares:
            try:
                got.append((j, rows, self._streams[j].take()))
            except Exception as err:  # the other parts' answers belong to this batch too
                failed = failed or err
        if failed is not None:
            raise failed
        return _MixtureRaw(got, count)

    def close(self) -> None:
        for s in self._streams.values():
            s.close()
        self._streams.clear()
        self._asked.clear()


class _MixtureMaker:
    """Every part's own transform. ``rng`` is keyed by the draw: a sample drawn twice is made twice."""

    def __init__(self, makes: list[Maker]) -> None:
        self._makes = makes

    @property
    def ready(self) -> bool:
        return all(m.ready for m in self._makes)

    @property
    def keyed(self) -> bool:
        return any(m.keyed for m in self._makes)

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int]) -> Any:
        j, share, row = raw.at(i)
        return self._makes[j].one(share, row, index, key)

    def each(self, raw: Any, indices: Any, key: tuple[int, int]) -> list[Any]:
        return [self.one(raw, i, int(index), key) for i, index in enumerate(indices)]


class Mixture(WalkedDataset):
    """Samples drawn from several datasets in proportion to weights, exactly and reproducibly.

    Any stretch of draws has the parts in their proportions. Each part is walked
    in a shuffled order of its own; one that is exhausted begins its next internal
    pass, in another order. What a mixture draws is a function of its parts,
    weights and seed, and is mixed without any further shuffling: walk it with
    ``shuffle=False``, or lay another order over it.

    Sample i is draw i. Indices past ``len()`` are those of the passes to come:
    pass p of our samplers, batches and DataLoader is draws ``p * len`` to
    ``(p + 1) * len``, so that a large part is read in full over several passes.
    Under a stock DataLoader without our sampler every pass has the same draws,
    those of pass 0.

    Parameters
    ----------
    parts : sequence of (dataset, weight)
        `Dataset`, `TokenBlocks`, or torch's ``Subset`` or ``ConcatDataset`` of
        them. Weights are relative; whole numbers are taken as they are, others
        rounded to 20 bits of the largest. Labels stay those of each part.
    seed : int
        Of the draws.
    samples : int, optional
        Draws of a pass: what ``len()`` says. By default the sum of the samples
        of the parts.

    Raises
    ------
    ValueError
        Weights that make no sense, a part without samples, or parts whose
        samples make no batch together (files and rows, other columns, labels
        for some only) and have no ``transform_fn``.

    Examples
    --------
    >>> both = Mixture([(Dataset("p/web@v1"), 3), (Dataset("p/books@v1"), 1)], seed=7)  # doctest: +SKIP
    >>> loader = DataLoader(both, batch_size=256)  # doctest: +SKIP
    """

    def __init__(self, parts: Sequence[tuple[Any, float]], *, seed: int = 0, samples: int | None = None) -> None:
        parts = pairs_of(parts)
        if not parts:
            raise ValueError("a mixture of nothing: give [(dataset, weight), ...]")
        seed = seed_of(seed)
        self.datasets = [d for d, _ in parts]
        walks: list[Walkable] = []
        makes: list[Maker] = []
        for d in self.datasets:
            walk, make = walkable(d)
            if getattr(walk, "endless", False):
                raise ValueError("a mixture in a mixture: give its parts, their weights multiplied by its own")
            walks.append(walk)
            makes.append(make)
        weights = _whole([w for _, w in parts])
        n = sum(w.samples for w in walks) if samples is None else samples
        n = whole("samples", n, 1, "a pass of a mixture has 1 to 2**40 draws")
        if n >= 1 << 40:
            raise ValueError(f"samples={n}: a pass of a mixture has 1 to 2**40 draws")
        self._samples = _MixtureMaker(makes)
        if self._samples.ready:
            _check_alike(walks)
        elif any(m.ready for m in makes):
            _check_alike([w for w, m in zip(walks, makes, strict=True) if m.ready])
        self.source: MixtureSource = MixtureSource(walks, weights, seed, n)

    def _index(self, index: SupportsIndex) -> int:
        k, n = operator.index(index), len(self)
        if not -n <= k < MAX_SAMPLES:
            raise IndexError(f"draw {k} of {self!r}")
        return k + n if k < 0 else k

    @property
    def weights(self) -> list[int]:
        """The weights as whole numbers, their greatest common divisor taken out."""
        return list(self.source.weights)

    def where(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """Return (number of the part, sample of it) of draws."""
        part, sample = self.source.draw.take(np.array([self._index(i) for i in indices], np.uint64))
        return list(zip(part.tolist(), sample.tolist(), strict=True))

    def close(self) -> None:
        """Close this process's connections, of the parts too."""
        for d in self.datasets:
            close = getattr(d, "close", None)
            if close is not None:
                close()

    def __repr__(self) -> str:
        parts = ", ".join(f"{w.snapshot} x {n}" for w, n in zip(self.source.walks, self.weights, strict=True))
        return f"Mixture({parts}; samples={len(self)})"


def _whole(given: Sequence[float]) -> list[int]:
    """Return weights as whole numbers without a common divisor."""
    weights = quantise(np.asarray(given), "weights of the mixture", bits=20).tolist()
    divisor = math.gcd(*weights)
    whole = [w // divisor for w in weights]
    if sum(whole) >= 1 << 32:
        raise ValueError(f"the weights of the mixture sum up to {sum(whole)}, 2**32 or more; give smaller ones")
    return whole


def _as_ragged(batch: Any) -> Any:
    if isinstance(batch, tuple):
        return (_as_ragged(batch[0]), *batch[1:])
    if isinstance(batch, torch.Tensor) and batch.dim() == 2 and batch.dtype == torch.uint8:
        return ragged_of(batch)
    return batch


def _make_of(walk: Any) -> str:
    """Say what a batch of a part is, in words that are equal for parts that go together; "" if that is not known."""
    if isinstance(walk, Source):
        if walk.is_files:
            return "labelled files" if walk.selection.label_dirname else "files"
        columns = (f"{c.name}: {c.layout} {c.dtype} {list(c.shape)}" for c in walk.info.columns)
        return f"rows of ({', '.join(columns)})"
    return str(getattr(walk, "make", ""))


def _check_alike(walks: Sequence[Any]) -> None:
    parts = roots(walks)
    makes = {made: w.snapshot for w in parts if (made := _make_of(w))}
    if len(makes) > 1:
        (a, at_a), (b, at_b) = list(makes.items())[:2]
        raise ValueError(
            f"the parts make no batch together: {at_a} gives {a}, {at_b} {b}; choose the same columns or labels, or "
            "give each a transform_fn that makes them alike"
        )
