"""What torch's own wrappers around datasets look like to a pass: Subset, ConcatDataset, any map-style dataset.

`walkable` takes a dataset apart into what is read (a `Walkable`) and what a
sample is made into (a `Maker`). A subset or a concatenation of datasets of ours
is read by whole requests, like the datasets themselves. Of a dataset that is
not ours only its length and its class are known: its token says no more, and
its samples come one by one from ``__getitem__`` (or ``__getitems__``).
"""

from __future__ import annotations

import bisect
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.utils.data

from pydaos.torch._batch import Sample
from pydaos.torch._plan import Maker, StreamLike, Walkable
from pydaos.torch._source import Source
from pydaos.torch._token import Token
from pydaos.torch._where import no_end

__all__ = ["Parts", "roots", "size_of_files", "sized", "walkable"]

U64 = npt.NDArray[np.uint64]

Parts = tuple[Walkable, Maker]


def walkable(dataset: Any) -> Parts:
    """Return what a map-style dataset reads, and what it makes of a sample.

    Raises
    ------
    TypeError
        It has no length, so that there is no order of its samples.
    """
    source: Any = getattr(dataset, "source", None)
    made: Any = getattr(dataset, "_samples", None)
    if hasattr(source, "stream") and hasattr(source, "manifest_id") and made is not None and _is_ours(dataset):
        return source, made
    if type(dataset) is torch.utils.data.Subset:
        base, make = walkable(dataset.dataset)
        view = SubsetView(base, dataset.indices)
        return view, _SubsetMaker(make, view)
    if type(dataset) is torch.utils.data.ConcatDataset:
        parts = [walkable(d) for d in dataset.datasets]
        concat = ConcatView([walk for walk, _ in parts])
        return concat, _ConcatMaker([make for _, make in parts], concat)
    plain = PlainView(dataset)
    return plain, _PlainMaker(plain)


def _is_ours(dataset: Any) -> bool:
    """Whether batches of it are made by this package: a subclass may make them itself."""
    at_once = getattr(type(dataset), "__getitems__", None)
    return getattr(at_once, "__module__", "").startswith("pydaos.torch")


def roots(walks: Sequence[Any]) -> list[Any]:
    """Return what walks read in the end: subsets and concatenations are looked through."""
    out: list[Any] = []
    for w in walks:
        if isinstance(w, (SubsetView, ConcatView)):
            out += roots([w.base] if isinstance(w, SubsetView) else w.walks)
        else:
            out.append(w)
    return out


def size_of_files(walks: Sequence[Any]) -> tuple[bool, int | None]:
    """Return whether files of different sizes are among the parts' samples, and the size that all files have."""
    sources = [w for w in roots(walks) if isinstance(w, Source) and w.is_files]
    sizes = {s.uniform for s in sources}
    uniform = next(iter(sizes)) if len(sizes) == 1 else None
    return bool(sources) and uniform is None, uniform


def sized(sample: Any, uniform: int | None) -> Any:
    """Return a sample of files for what all parts together are: a batch's type is no property of one part."""
    for x in sample if isinstance(sample, tuple) else (sample,):
        if isinstance(x, Sample):
            x.uniform = uniform
    return sample


class _View:
    """What the views have in common: no classes, and a token that must name the same samples."""

    samples: int
    manifest_id: str
    snapshot: str
    classes: Sequence[str] = ()
    class_sizes: Sequence[int] = ()

    def check_token(self, token: Token) -> None:
        """ValueError unless the token is of these samples."""
        if token.manifest != self.manifest_id:
            raise ValueError(
                f"the resume token is of {token.snapshot} (manifest {token.manifest[:12]}), this loader reads "
                f"{self.snapshot} (manifest {self.manifest_id[:12]}); give it the same parts of the same snapshots"
            )

    def fetch(self, indices: Any) -> Any:
        """Read samples by index."""
        stream = self.stream(1)
        try:
            stream.ask(np.asarray(indices, dtype=np.uint64))
            return stream.take()
        finally:
            stream.close()

    def stream(self, depth: int = 2) -> StreamLike:
        """Return a reader with requests ahead."""
        raise NotImplementedError


def _digest(*parts: str | bytes) -> str:
    h = hashlib.sha256()
    for p in parts:
        data = p.encode() if isinstance(p, str) else p
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()[:32]


# -- Subset, random_split --------------------------------------------------------


class SubsetView(_View):
    """Some samples of a walkable, by a list of indices (8 bytes each)."""

    def __init__(self, base: Walkable, indices: Sequence[int]) -> None:
        chosen = np.asarray(indices, dtype=np.int64)
        n = base.samples
        if chosen.size and not (int(chosen.min()) >= -n and int(chosen.max()) < n):
            raise IndexError(f"the subset names samples that the {n} of {base.snapshot} do not have")
        self.base = base
        self.indices: U64 = np.where(chosen < 0, chosen + n, chosen).astype(np.uint64)
        self.samples = int(self.indices.size)
        self.manifest_id = _digest("subset", base.manifest_id, self.indices.tobytes())
        self.snapshot = base.snapshot

    def fetch(self, indices: Any) -> Any:
        """Read samples in one request."""
        return self.base.fetch(self.indices[np.asarray(indices, dtype=np.uint64)])

    def stream(self, depth: int = 2) -> StreamLike:
        """Return the base's reader, asked for the base's indices."""
        return _SubsetStream(self.base.stream(depth), self.indices)

    def batch(self, raw: Any) -> Any:
        """Return the ready batch."""
        return self.base.batch(raw)

    def sample_at(self, raw: Any, i: int) -> Any:
        """Return one sample of a batch."""
        return self.base.sample_at(raw, i)


class _SubsetStream:
    def __init__(self, stream: StreamLike, indices: U64) -> None:
        self._stream = stream
        self._indices = indices
        self.take = stream.take
        self.close = stream.close
        self.readable = getattr(stream, "readable", None)

    @property
    def room(self) -> bool:
        return self._stream.room

    @property
    def retries(self) -> int:
        return getattr(self._stream, "retries", 0)

    def ask(self, indices: U64) -> None:
        self._stream.ask(self._indices[indices])


class _SubsetMaker:
    def __init__(self, make: Maker, view: SubsetView) -> None:
        self._make = make
        self._view = view

    @property
    def ready(self) -> bool:
        return self._make.ready

    @property
    def keyed(self) -> bool:
        return self._make.keyed

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int]) -> Any:
        # A sample's random generator is that of the sample, whatever subset it is drawn through.
        return self._make.one(raw, i, int(self._view.indices[index]), key)

    def each(self, raw: Any, indices: Any, key: tuple[int, int]) -> list[Any]:
        return [self.one(raw, i, int(index), key) for i, index in enumerate(indices)]


# -- ConcatDataset -----------------------------------------------------------------


class _ConcatRaw:
    """A batch as received from several walkables: which, and at which row of its part."""

    __slots__ = ("count", "rows", "shares")

    def __init__(self, shares: dict[int, Any], rows: list[tuple[int, int]]) -> None:
        self.shares = shares
        self.rows = rows
        self.count = len(rows)


class ConcatView(_View):
    """Several walkables, one behind the other."""

    def __init__(self, walks: list[Walkable]) -> None:
        self.walks = walks
        ends = np.cumsum([w.samples for w in walks], dtype=np.int64)
        self.starts: npt.NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), ends])
        self.samples = int(self.starts[-1])
        self.manifest_id = _digest("concat", *(w.manifest_id for w in walks))
        more = f" +{len(walks) - 1}" if len(walks) > 1 else ""
        self.snapshot = f"{walks[0].snapshot}{more}"
        self._ragged, self._uniform = size_of_files(walks)

    def stream(self, depth: int = 2) -> StreamLike:
        """Return a reader over the parts' readers."""
        return _ConcatStream(self, depth)

    def place(self, index: int) -> tuple[int, int]:
        """Return which walkable an index lies in, and its index there."""
        k = bisect.bisect_right(self.starts, index) - 1
        return k, index - int(self.starts[k])

    def batch(self, raw: _ConcatRaw) -> Any:
        """Return the batch, collated of its samples: the parts may differ in shape."""
        return torch.utils.data.default_collate([self.sample_at(raw, i) for i in range(raw.count)])

    def sample_at(self, raw: _ConcatRaw, i: int) -> Any:
        """Return one sample of a batch."""
        k, row = raw.rows[i]
        sample = self.walks[k].sample_at(raw.shares[k], row)
        return sized(sample, self._uniform) if self._ragged else sample


class _ConcatStream:
    def __init__(self, view: ConcatView, depth: int) -> None:
        self._view = view
        self._depth = max(1, depth)
        self._streams: dict[int, StreamLike] = {}
        self._asked: deque[list[tuple[int, int]]] = deque()

    @property
    def room(self) -> bool:
        return len(self._asked) < self._depth and all(s.room for s in self._streams.values())

    def ask(self, indices: U64) -> None:
        shares: dict[int, list[int]] = {}
        rows: list[tuple[int, int]] = []
        for index in indices.tolist():
            k, at = self._view.place(index)
            share = shares.setdefault(k, [])
            rows.append((k, len(share)))
            share.append(at)
        for k, share in shares.items():
            stream = self._streams.get(k)
            if stream is None:
                stream = self._streams[k] = self._view.walks[k].stream(self._depth)
            stream.ask(np.asarray(share, dtype=np.uint64))
        self._asked.append(rows)

    def readable(self) -> bool:
        of = [getattr(self._streams[k], "readable", None) for k in {k for k, _ in self._asked[0]}]
        return all(r is None or r() for r in of)

    @property
    def retries(self) -> int:
        return sum(getattr(s, "retries", 0) for s in self._streams.values())

    def take(self) -> _ConcatRaw:
        rows = self._asked.popleft()
        shares: dict[int, Any] = {}
        failed: Exception | None = None
        for k in sorted({k for k, _ in rows}):
            try:
                shares[k] = self._streams[k].take()
            except Exception as err:  # the others' answers belong to this batch too
                failed = failed or err
        if failed is not None:
            raise failed
        return _ConcatRaw(shares, rows)

    def close(self) -> None:
        for s in self._streams.values():
            s.close()
        self._streams.clear()
        self._asked.clear()


class _ConcatMaker:
    def __init__(self, makes: list[Maker], view: ConcatView) -> None:
        self._makes = makes
        self._view = view

    @property
    def ready(self) -> bool:
        return all(m.ready for m in self._makes)

    @property
    def keyed(self) -> bool:
        return any(m.keyed for m in self._makes)

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int]) -> Any:
        k, row = raw.rows[i]
        return self._makes[k].one(raw.shares[k], row, index - int(self._view.starts[k]), key)

    def each(self, raw: Any, indices: Any, key: tuple[int, int]) -> list[Any]:
        return [self.one(raw, i, int(index), key) for i, index in enumerate(indices)]


# -- any other map-style dataset ------------------------------------------------------


class _PlainRaw:
    __slots__ = ("count", "indices")

    def __init__(self, indices: Any) -> None:
        self.indices = indices
        self.count = len(indices)


class PlainView(_View):
    """A map-style dataset of somebody else's: `samples` and ``__getitem__`` are all that is known."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._samples: int | None = None
        kind = type(dataset)
        self.snapshot = f"{kind.__module__}.{kind.__qualname__}"[:80]

    @property
    def samples(self) -> int:  # type: ignore[override]
        """Number of samples."""
        if self._samples is None:
            try:
                self._samples = len(self.dataset)
            except (TypeError, NotImplementedError):
                raise TypeError(
                    f"{type(self.dataset).__name__} has no len(), so its samples have no order; "
                    "give sampler= or batch_sampler="
                ) from None
        return self._samples

    @property
    def manifest_id(self) -> str:  # type: ignore[override]
        """Digest of its class and length."""
        return _digest("map", self.snapshot, str(self.samples))

    def fetch(self, indices: Any) -> _PlainRaw:
        """Return the indices: the samples are read where they are made."""
        return _PlainRaw(indices if isinstance(indices, list) else np.asarray(indices).tolist())

    def stream(self, depth: int = 2) -> StreamLike:
        """Return what hands the indices on."""
        return _PlainStream(depth, self.fetch)

    def batch(self, raw: _PlainRaw) -> Any:
        """Return the collated batch."""
        return torch.utils.data.default_collate(self.some(raw, 0, raw.count))

    def sample_at(self, raw: _PlainRaw, i: int) -> Any:
        """Return one sample."""
        try:
            return self.dataset[raw.indices[i]]
        except StopIteration as err:
            raise no_end(err, f"sample {raw.indices[i]} of {self.snapshot}") from err

    def some(self, raw: _PlainRaw, lo: int, hi: int) -> list[Any]:
        """Return samples lo to hi, by one call where the dataset has ``__getitems__``."""
        at_once = getattr(self.dataset, "__getitems__", None)
        try:
            if at_once:
                found: list[Any] = at_once(raw.indices[lo:hi])
                return found
            return [self.dataset[i] for i in raw.indices[lo:hi]]
        except StopIteration as err:
            raise no_end(err, f"a sample among {raw.indices[lo:hi]} of {self.snapshot}") from err


class _PlainStream:
    def __init__(self, depth: int, fetch: Callable[[Any], _PlainRaw]) -> None:
        self._depth = max(1, depth)
        self._fetch = fetch
        self._asked: deque[Any] = deque()

    @property
    def room(self) -> bool:
        return len(self._asked) < self._depth

    def ask(self, indices: Any) -> None:
        self._asked.append(indices)

    def readable(self) -> bool:
        return True

    def take(self) -> _PlainRaw:
        return self._fetch(self._asked.popleft())

    def close(self) -> None:
        self._asked.clear()


class _PlainMaker:
    """Hands on what the dataset makes; its transforms are its own."""

    ready = False
    keyed = False

    def __init__(self, view: PlainView) -> None:
        self._view = view

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int]) -> Any:
        return self._view.sample_at(raw, i)

    def each(self, raw: Any, indices: Any, key: tuple[int, int]) -> list[Any]:
        return self._view.some(raw, 0, raw.count)

    def some(self, raw: Any, lo: int, hi: int) -> list[Any]:
        return self._view.some(raw, lo, hi)
