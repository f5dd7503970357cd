"""`TokenBlocks`: blocks of a sequence length cut from a column of token arrays.

Packed, the documents are laid end to end, each followed by the ``eos`` token if
there is one, and block i is elements ``i * length`` to ``(i + 1) * length`` of
that. The server finds them by bisection of the offsets that it has anyway and
sends just those (``loader.ReadElements``): one call for the blocks of a batch,
no table of lengths here, and of a long document only what is asked for.

`TokenSource` is what is walked, `TokenBlocks` the map-style dataset over it.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import pydaos
from pydaos._manifest import FIXED, RAGGED
from pydaos._proto.daos.loader.v1 import loader_service_pb2 as lpb
from pydaos.torch._arguments import whole
from pydaos.torch._batch import SampleDict
from pydaos.torch._map import Dataset
from pydaos.torch._source import Source
from pydaos.torch._token import Token
from pydaos.torch._walked import WalkedDataset

__all__ = ["TokenBlocks"]

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: Elements of one call, and blocks of one call.
ELEMENTS, RANGES = 1 << 20, 1 << 16


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
        self._stored = base.info.columns[0].dtype.newbyteorder("<")
        #: Elements of all documents laid end to end, separators included.
        self.elements = int(self._call(np.empty(0, np.uint64))[0].total)
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

    # -- reading -------------------------------------------------------------------

    def _call(self, blocks: U64) -> tuple[lpb.ReadElementsResponse, Any]:
        request = lpb.ReadElementsRequest(
            handle=self.base.info.handle, column=self.column, extra=self._extra, count=self.length
        )
        if self.pack:
            request.starts.extend((blocks * np.uint64(self.length)).tolist())
        else:
            request.samples.extend(blocks.tolist())
        client = self.base.client()
        for attempt in (0, 1):
            try:
                return client.call_payload("loader.ReadElements", request, lpb.ReadElementsResponse)
            except pydaos.StaleError:
                if attempt:
                    raise
                self.base.info.reopen(client)
                request.handle = self.base.info.handle
        raise AssertionError

    def stream(self, depth: int = 2) -> _TokenStream:
        """Return a reader; a batch is one call, made when it is taken."""
        return _TokenStream(self, depth)

    def fetch(self, indices: Any) -> _TokenRaw:
        """Read blocks by number."""
        blocks = np.asarray(indices, dtype=np.uint64)
        each = max(1, min(RANGES, ELEMENTS // self.length))
        flat = blocks.size * self.length
        tokens = np.full(flat, self.pad, self._stored.newbyteorder("="))
        raw = _TokenRaw(blocks.size, torch.from_numpy(tokens))
        filled = np.zeros(flat, bool) if self.masked else None
        document = np.full(flat, -1, np.int32) if self.documents else None
        position = np.zeros(flat, np.int32)
        for at in range(0, blocks.size, each):
            reply, payload = self._call(blocks[at : at + each])
            # Runs of (document, its first element in the run, twice its own elements + 1
            # if the separator follows), then the elements.
            runs = np.array(reply.runs, np.int64)
            count = int(runs.sum())
            table = np.frombuffer(payload, "<u8", 3 * count).reshape(count, 3).astype(np.int64)
            values = np.frombuffer(payload, self._stored, offset=24 * count)
            first, own, separated = table[:, 1], table[:, 2] >> 1, table[:, 2] & 1
            whole = own + separated
            block = np.repeat(np.arange(runs.size), runs)
            head = np.repeat(np.cumsum(runs) - runs, runs)  # the first run of each run's block
            before = np.cumsum(whole) - whole
            to = (at + block) * self.length + before - before[head]
            tokens[_spread(to, own)] = values
            if self.eos is not None:
                tokens[(to + own)[separated == 1]] = self.eos
            if filled is not None or document is not None:
                every = _spread(to, whole)
                if filled is not None:
                    filled[every] = True
                if document is not None:
                    document[every] = np.repeat(np.arange(count) - head, whole)
                    position[every] = _spread(first, whole)
        if filled is not None:
            raw.filled = torch.from_numpy(filled)
        if document is not None:
            raw.documents, raw.positions = torch.from_numpy(document), torch.from_numpy(position)
        if self._dtype is not None:
            raw.tokens = raw.tokens.to(self._dtype)
        return raw

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
    """Blocks in the order asked for."""

    def __init__(self, source: TokenSource, depth: int) -> None:
        self._source = source
        self._depth = max(1, depth)
        self._asked: deque[U64] = deque()

    @property
    def room(self) -> bool:
        return len(self._asked) < self._depth

    def ask(self, indices: U64) -> None:
        self._asked.append(indices)

    def take(self) -> _TokenRaw:
        return self._source.fetch(self._asked.popleft())

    def close(self) -> None:
        self._asked.clear()


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
    before it, and costs one bisection on the server. A batch is one call that
    reads its blocks and no more.

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
        length = whole("length", length, 1, "a block has 1 to 2**22 tokens")
        if length > 1 << 22:
            raise ValueError(f"length={length}: a block has 1 to 2**22 tokens")
        eos = None if eos is None else whole("eos", eos, -(1 << 63), "a token")
        pad = whole("pad", pad, -(1 << 63), "a token")
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
        if not ragged and not found.shape and (eos is not None or documents or not pack):
            what = f"eos={eos}" if eos is not None else "documents=True" if documents else "pack=False"
            raise ValueError(f"{what}: {base.address} is one run of tokens, which has no documents")
        if fixed and found.nullable:
            raise ValueError(f"column {column!r} of {base.snapshot} can have nulls, which are no tokens")
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
        if base.samples and not self.source.samples:
            raise ValueError(
                f"no block of {length} tokens: all documents of {base.snapshot} together, separators included, have "
                f'{self.source.elements}; give a shorter length, or tail="pad"'
            )

    @property
    def elements(self) -> int:
        """Tokens of all documents, separators included."""
        return self.source.elements

    def __repr__(self) -> str:
        s = self.source
        return f"TokenBlocks({s.snapshot} {s.column!r}, length={s.length}, pack={s.pack}, samples={len(self)})"
