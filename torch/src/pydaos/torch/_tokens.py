"""`TokenBlocks`: blocks of a sequence length cut from a column of token arrays.

Packed, the documents are laid end to end, each followed by the ``eos`` token if
there is one, and block i is elements ``i * length`` to ``(i + 1) * length`` of
that. Where its documents are, the server finds by bisection of the offsets that
it has anyway (``loader.FindElements``): one call for all blocks of a batch, no
table of lengths here. The documents themselves come by one request, whole.

`TokenSource` is what is walked, `TokenBlocks` the map-style dataset over it.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import pydaos
from pydaos._manifest import FIXED, RAGGED
from pydaos._proto.daos.loader.v1 import loader_service_pb2 as lpb
from pydaos.torch._batch import Ragged, SampleDict
from pydaos.torch._map import Dataset
from pydaos.torch._source import Source, Stream
from pydaos.torch._token import Token
from pydaos.torch._walked import WalkedDataset

__all__ = ["TokenBlocks"]

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Elements looked up by one call, documents read by one request.
PAGE = 65536


class _TokenRaw:
    """A batch of blocks: flat tensors of count * length elements, None for what is not given."""

    __slots__ = ("count", "documents", "filled", "positions", "tokens")

    def __init__(self, count: int, tokens: torch.Tensor) -> None:
        self.count = count
        self.tokens = tokens
        self.filled: torch.Tensor | None = None
        self.documents: torch.Tensor | None = None
        self.positions: torch.Tensor | None = None


class TokenSource:
    """Token blocks as something to walk: sample i is block i."""

    classes: tuple[str, ...] = ()
    class_sizes: tuple[int, ...] = ()

    def __init__(
        self,
        base: Source,
        column: str,
        length: int,
        *,
        pack: bool,
        eos: int | None,
        pad: int,
        tail: str,
        documents: bool,
        dtype: torch.dtype | None,
    ) -> None:
        self.base = base
        self.column = column
        self.length = length
        self.pack = pack
        self.eos = eos
        self.pad = pad
        self.tail = tail
        self.documents = documents
        self._dtype = dtype
        self._extra = 0 if eos is None else 1
        found = base.info.columns[0]
        self._fixed = int(np.prod(found.shape, dtype=np.int64)) if found.layout == FIXED else None
        #: Elements of all documents laid end to end, separators included.
        self.elements = self._find(np.empty(0, np.uint64))[2]
        if not pack:
            self.samples = base.samples
        elif tail == "drop":
            self.samples = self.elements // length
        else:
            self.samples = -(-self.elements // length)
        what = ["tokens", 1, base.manifest_id, column, length, pack, eos, pad, tail]
        text = json.dumps(what, separators=(",", ":"))
        self.manifest_id = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.make = f"token blocks of {length}" + (", with documents" if documents else "")

    @property
    def snapshot(self) -> str:
        """``POOL/DATASET@SNAPSHOT``."""
        return self.base.snapshot

    @property
    def masked(self) -> bool:
        """Whether blocks can have padding, and so have a mask: a property of the dataset, never of a batch."""
        return not self.pack or self.tail == "pad"

    def check_token(self, token: Token) -> None:
        """ValueError unless the token is of these blocks."""
        if token.manifest != self.manifest_id:
            raise ValueError(
                f"the resume token is of {token.snapshot} (manifest {token.manifest[:12]}), not of these token blocks "
                f"({self.snapshot}, manifest {self.manifest_id[:12]}); give the same snapshot, column, length, pack, "
                "eos, pad and tail"
            )

    # -- where elements are --------------------------------------------------------

    def _find(self, elements: U64) -> tuple[I64, I64, int]:
        """Return (document, its first element) of elements by number, and the number of all elements."""
        if self._fixed is not None:
            each = self._fixed + self._extra
            docs = (elements // np.uint64(max(each, 1))).astype(np.int64)
            return docs, docs * each, each * self.base.samples
        docs, starts = [], []
        total = 0
        for at in range(0, max(1, elements.size), PAGE):
            request = lpb.FindElementsRequest(
                handle=self.base.info.handle,
                column=self.column,
                extra=self._extra,
                elements=elements[at : at + PAGE].tolist(),
            )
            client = self.base.client()
            try:
                reply = client.call("loader.FindElements", request, lpb.FindElementsResponse)
            except pydaos.StaleError:
                self.base.info.reopen(client)
                request.handle = self.base.info.handle
                reply = client.call("loader.FindElements", request, lpb.FindElementsResponse)
            docs.append(np.array(reply.samples, np.int64))
            starts.append(np.array(reply.starts, np.int64))
            total = int(reply.total)
        return np.concatenate(docs), np.concatenate(starts), total

    def plan(self, blocks: U64) -> tuple[U64, Any]:
        """Return the documents that blocks need, each once, and what to make of them."""
        if not self.pack:
            docs, where = np.unique(blocks, return_inverse=True)
            return docs, where
        begin = blocks * np.uint64(self.length)
        end = np.minimum(begin + np.uint64(self.length), np.uint64(self.elements))
        found, starts, _ = self._find(np.concatenate([begin, end - np.uint64(1)]))
        n = blocks.size
        first, last = found[:n], found[n:]
        counts = last - first + 1
        block = np.repeat(np.arange(n), counts)
        ordinal = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        docs, where = np.unique(first[block] + ordinal, return_inverse=True)
        return docs.astype(np.uint64), (begin.astype(np.int64), end.astype(np.int64), starts[:n], block, where, counts)

    # -- reading -------------------------------------------------------------------

    def stream(self, depth: int = 2) -> _TokenStream:
        """Return a pipelined reader."""
        return _TokenStream(self, depth)

    def fetch(self, indices: Any) -> _TokenRaw:
        """Read blocks by number."""
        stream = self.stream(1)
        try:
            stream.ask(np.asarray(indices, dtype=np.uint64))
            return stream.take()
        finally:
            stream.close()

    def assemble(self, count: int, how: Any, documents: Ragged) -> _TokenRaw:
        """Put received documents into blocks."""
        lengths, starts = documents.lengths.numpy(), documents.offsets.numpy()[:-1]
        values = documents.values.numpy()  # numpy knows all dtypes; torch's unsigned ones can do little
        runs = self._runs_packed if self.pack else self._runs_single
        block, doc, first, take, to, ends = runs(how, lengths)
        flat = count * self.length
        tokens = np.full(flat, self.pad, values.dtype)
        tokens[_spread(to, take)] = values[_spread(starts[doc] + first, take)]
        separators = np.zeros_like(take)
        if self.eos is not None:
            tokens[to[ends] + take[ends]] = self.eos
            separators[ends] = 1
        raw = _TokenRaw(count, torch.from_numpy(tokens))
        if self._dtype is not None:
            raw.tokens = raw.tokens.to(self._dtype)
        whole = take + separators
        at = _spread(to, whole) if self.masked or self.documents else to
        if self.masked:
            filled = np.zeros(flat, bool)
            filled[at] = True
            raw.filled = torch.from_numpy(filled)
        if self.documents:
            number, position = np.full(flat, -1, np.int32), np.zeros(flat, np.int32)
            # The first run of each block is document 0 of it.
            begins = np.flatnonzero(np.diff(block, prepend=-1))
            ordinal = np.arange(block.size) - np.repeat(begins, np.diff(np.append(begins, block.size)))
            number[at] = np.repeat(ordinal, whole)
            position[at] = _spread(first, whole)
            raw.documents, raw.positions = torch.from_numpy(number), torch.from_numpy(position)
        return raw

    def _runs_packed(self, how: Any, lengths: I64) -> tuple[I64, ...]:
        begin, end, first_start, block, where, counts = how
        # Where each document of a block begins in the laid-out elements: the first
        # is known, the others follow one another.
        own = lengths[where] + self._extra
        before = np.cumsum(own) - own
        heads = np.cumsum(counts) - counts
        start = before - np.repeat(before[heads] - first_start, counts)
        lo = np.maximum(start, begin[block])
        hi = np.minimum(start + lengths[where], end[block])
        take = np.maximum(hi - lo, 0)
        first = lo - start
        to = block * self.length + (lo - begin[block])
        stop = start + lengths[where]  # of the separator
        ends = np.flatnonzero((stop >= begin[block]) & (stop < end[block])) if self._extra else np.empty(0, np.int64)
        keep = np.zeros(block.size, bool)
        keep[take > 0] = True
        keep[ends] = True
        kept = np.flatnonzero(keep)
        renumbered = np.cumsum(keep) - 1
        return block[kept], where[kept], first[kept], take[kept], to[kept], renumbered[ends]

    def _runs_single(self, where: I64, lengths: I64) -> tuple[I64, ...]:
        block = np.arange(where.size)
        take = np.minimum(lengths[where], self.length)
        ends = np.flatnonzero(lengths[where] < self.length) if self._extra else np.empty(0, np.int64)
        return block, where, np.zeros_like(take), take, block * self.length, ends

    # -- blocks and batches -----------------------------------------------------------

    def batch(self, raw: _TokenRaw) -> Any:
        """Return the ready batch: a dict of ``[B, length]`` tensors."""
        shape = (raw.count, self.length)
        out = {"tokens": raw.tokens.view(shape)}
        for name, values in (("mask", raw.filled), ("document", raw.documents), ("position", raw.positions)):
            if values is not None:
                out[name] = values.view(shape)
        return out

    def sample_at(self, raw: _TokenRaw, i: int) -> Any:
        """Return one block, which owns its memory."""
        return SampleDict({k: v[i].clone() for k, v in self.batch(raw).items()}, ())


def _spread(start: I64, count: I64) -> I64:
    """Return start, start + 1, ... of each run, one behind the other."""
    total = int(count.sum())
    out = np.arange(total, dtype=np.int64)
    out += np.repeat(start - (np.cumsum(count) - count), count)
    return out


class _TokenStream:
    """The base's stream, asked for the documents of blocks."""

    def __init__(self, source: TokenSource, depth: int) -> None:
        self._source = source
        self._depth = max(1, depth)
        self._stream: Stream = source.base.stream(depth)
        self._asked: deque[tuple[int, Any, list[U64]]] = deque()

    @property
    def room(self) -> bool:
        return len(self._asked) < self._depth and self._stream.room

    def ask(self, indices: U64) -> None:
        docs, how = self._source.plan(indices)
        # Documents of a few elements can be more than one request may name: the
        # first is sent ahead, the others when it is their turn.
        pages = [docs[at : at + PAGE] for at in range(0, docs.size, PAGE)]
        self._stream.ask(pages[0])
        self._asked.append((indices.size, how, pages))

    def take(self) -> _TokenRaw:
        count, how, pages = self._asked.popleft()
        base = self._source.base
        parts = [_documents(base, self._stream.take())]
        parts += [_documents(base, base.fetch(page)) for page in pages[1:]]
        return self._source.assemble(count, how, parts[0] if len(parts) == 1 else _joined(parts))

    def close(self) -> None:
        self._stream.close()
        self._asked.clear()


def _documents(base: Source, raw: Any) -> Ragged:
    """Return the one column of a batch as documents."""
    (values,) = base.batch(raw).values()
    if isinstance(values, Ragged):
        return values
    n = int(values[0].numel())
    return Ragged(values.reshape(-1), torch.arange(values.shape[0] + 1, dtype=torch.int64) * n)


def _joined(parts: Sequence[Ragged]) -> Ragged:
    lengths = torch.cat([p.lengths for p in parts])
    offsets = torch.zeros(lengths.numel() + 1, dtype=torch.int64)
    torch.cumsum(lengths, 0, out=offsets[1:])
    return Ragged(torch.cat([p.values for p in parts]), offsets)


class _Blocks:
    """What is made of a block: what the user's transform makes of it, if there is one."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    ready = True
    keyed = False

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int]) -> Any:
        return self._source.sample_at(raw, i)

    def each(self, raw: Any, indices: Any, key: tuple[int, int]) -> list[Any]:
        return [self._source.sample_at(raw, i) for i in range(raw.count)]


class TokenBlocks(WalkedDataset):
    """Blocks of ``length`` tokens, cut from a column of token arrays.

    A sample is a dict, a batch a dict of ``[B, length]`` tensors:

    tokens
        in the column's dtype, or ``dtype``;
    mask
        bool, False where there is padding; absent where there can't be any
        (``pack=True, tail="drop"``);
    document, position
        with ``documents=True``, int32: which document of the block an element is
        of, from 0, -1 for padding; and its place in that document. Attention masks
        and rotary positions follow from them.

    Sample i is the same for every process and run, needs no pass over what lies
    before it, and costs two bisections on the server. The documents it touches
    are read whole: documents far longer than ``length`` are better cut up when
    they are stored.

    Parameters
    ----------
    dataset : Dataset
        A tensor dataset with a ragged column of whole numbers, or a fixed 1-D one; or a 1-D
        array of them (``Dataset("p/corpus@v1/tokens")``).
    length : int
        Tokens of a block.
    column : str, optional
        Which column; may be left out where there is one.
    pack : bool
        True: documents are laid end to end, each followed by ``eos``, and cut into
        blocks. False: block i is document i, cut off or filled up with ``pad``, with
        ``eos`` behind it where there is room.
    eos : int, optional
        End token; None: none. An empty document is its ``eos`` alone.
    pad : int
        What fills blocks up.
    tail : {"drop", "pad"}
        The last block of packed documents, where they do not fill it: left out, or
        filled up.
    documents : bool
        Give ``document`` and ``position``.
    dtype : torch.dtype, optional
        Convert the tokens.

    Raises
    ------
    ValueError
        Not such a dataset or column, or tokens that its dtype can't hold.

    Examples
    --------
    >>> blocks = TokenBlocks(Dataset("p/books@v1"), 2048, eos=0, documents=True)  # doctest: +SKIP
    >>> loader = DataLoader(blocks, batch_size=8, shuffle=True, seed=1)  # doctest: +SKIP
    """

    def __init__(
        self,
        dataset: Dataset,
        length: int,
        *,
        column: str | None = None,
        pack: bool = True,
        eos: int | None = None,
        pad: int = 0,
        tail: str = "drop",
        documents: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        base = getattr(dataset, "source", None)
        if not isinstance(base, Source) or base.is_files:
            raise ValueError("token blocks are cut from a Dataset over a tensor dataset")
        if not isinstance(length, int) or not 1 <= length <= 1 << 24:
            raise ValueError(f"length={length!r}: a block has 1 to 2**24 tokens")
        if tail not in ("drop", "pad"):
            raise ValueError(f'tail={tail!r}: "drop" or "pad"')
        names = [c.name for c in base.info.columns]
        if column is None:
            if len(names) > 1:
                raise ValueError(f"column= is needed: {base.snapshot} has {', '.join(names)}")
            column = names[0]
        if column not in names:
            raise ValueError(f"{base.snapshot} has no column {column!r}; it has {', '.join(names)}")
        found = base.info.columns[names.index(column)]
        ragged, fixed = found.layout == RAGGED, found.layout == FIXED and len(found.shape) <= 1
        if found.dtype.kind not in "iu" or not (ragged or fixed):
            raise ValueError(
                f"column {column!r} of {base.snapshot} is no column of token arrays: it must be ragged, or fixed with "
                "one dimension, of whole numbers, or a 1-D array"
            )
        if not ragged and not found.shape and eos is not None:
            raise ValueError(f"eos={eos}: {base.address} is one run of tokens, which has no documents to end")
        limits = np.iinfo(found.dtype)
        for what, value in (("eos", eos), ("pad", pad)):
            if value is not None and not limits.min <= value <= limits.max:
                raise ValueError(f"{what}={value} is no {found.dtype}, which column {column!r} is of")
        if len(names) > 1:
            base = Source(base.address, columns=(column,), connect=base._connect)
        self.dataset = dataset
        self.source: TokenSource = TokenSource(
            base, column, length, pack=pack, eos=eos, pad=pad, tail=tail, documents=documents, dtype=dtype
        )
        self._samples = _Blocks(self.source)

    @property
    def elements(self) -> int:
        """Tokens of all documents, separators included."""
        return self.source.elements

    def __repr__(self) -> str:
        s = self.source
        return f"TokenBlocks({s.snapshot} {s.column!r}, length={s.length}, pack={s.pack}, samples={len(self)})"
