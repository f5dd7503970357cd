"""Loads a file of ``torch.save`` into tensors that are there already.

``torch.load`` makes a second copy of a model and the caller copies it over; here each
byte goes from the socket into the memory of the tensor that it is for. The file is
unpickled twice, both times by torch's own restricted unpickler: once with storages
without memory, to see what there is and what fits, and once for what the caller has no
tensor for. Nothing is written before everything is known to fit.

How the file is made is in `_archive`. Start at `load_into`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import pydaos
from pydaos import _bulk as bulk
from pydaos._remote import RemoteFile
from pydaos.torch._archive import GAP, GATHER, Archive, Record, dense_parts, unpickle

#: Bytes that one thread asks for at a time, and of a copy on its way to another device.
STRIPE = 16 << 20
#: Tensors below this size are read together with their neighbours.
SMALL = 128 << 10

# torch's own are not annotated.
_untyped: Any = torch.UntypedStorage
_restore_location: Any = torch.serialization._get_restore_location


@dataclass
class Plan:
    """What goes where: pairs of a tensor of the file (without memory) and one of the caller."""

    name: str
    pairs: list[tuple[str, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    fresh: bool = False

    def match(self, saved: Any, into: Any, key: str) -> None:
        """Compare what was saved with what it is to be loaded into."""
        if isinstance(into, torch.Tensor):
            self._tensor(saved, into, key)
        elif isinstance(into, Mapping):
            if not isinstance(saved, Mapping):
                self._lacks(into, key, f"{key or 'the file'}: holds a {type(saved).__name__}, into is a mapping")
                return
            for k, v in into.items():
                below = f"{key}.{k}" if key else str(k)
                if k in saved:
                    self.match(saved[k], v, below)
                else:
                    self._lacks(v, below, "")
            self.fresh = self.fresh or any(k not in into for k in saved)
        elif isinstance(into, (list, tuple)):
            if not isinstance(saved, (list, tuple)) or len(saved) < len(into):
                size = f" of {len(saved)}" if isinstance(saved, (list, tuple)) else ""
                self._lacks(
                    into,
                    key,
                    f"{key or 'the file'}: holds a {type(saved).__name__}{size}, into is a sequence of {len(into)}",
                )
                return
            for i, v in enumerate(into):
                self.match(saved[i], v, f"{key}[{i}]")
            self.fresh = self.fresh or len(saved) > len(into)
        elif callable(getattr(into, "state_dict", None)):
            # Returning the saved value would leave it as it is, without a word.
            self.wrong.append(f"{key or 'into'}: is a {type(into).__name__}; give its state_dict()")
        elif not key and into is not None:
            self.wrong.append(f"into= is a {type(into).__name__}; give tensors, a state_dict() or a dict of several")
        else:
            self.fresh = True  # whatever it is, the saved value is returned

    def _lacks(self, into: Any, key: str, why: str) -> None:
        """Note tensors that would not be filled; without any there is nothing to miss."""
        keys = list(_tensors(into, key))
        if keys and why:
            self.wrong.append(why)
        else:
            self.missing += keys

    def _tensor(self, saved: Any, into: torch.Tensor, key: str) -> None:
        if not isinstance(saved, torch.Tensor):
            self.wrong.append(f"{key or 'the file'}: holds a {type(saved).__name__}, into has a tensor")
        elif saved.shape != into.shape or saved.dtype != into.dtype:
            self.wrong.append(
                f"{key or 'the tensor'}: the file has {_shape(saved)}, the tensor to load into is {_shape(into)}"
            )
        elif saved.layout != torch.strided or into.layout != torch.strided:
            self.wrong.append(f"{key}: only dense tensors can be loaded into")
        elif any(step == 0 and n > 1 for n, step in zip(into.shape, into.stride())):
            self.wrong.append(f"{key}: the tensor to load into is expanded, its elements share memory; clone it first")
        elif into.is_meta:
            self.wrong.append(f"{key}: the tensor to load into is on the meta device: give it memory first (to_empty)")
        else:
            self.pairs.append((key, saved, into.detach()))

    def check(self, strict: bool) -> None:
        """Raise what does not fit, before anything is written."""
        if self.wrong or (strict and self.missing):
            lacks = [f"{k}: not in the file" for k in self.missing] if strict else []
            found = self.wrong + lacks
            more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
            raise pydaos.InvalidError(
                f"{self.name}: does not fit, nothing was loaded: " + "; ".join(found[:8]) + more,
                resource=self.name,
                resolution="" if self.wrong else "strict=False leaves tensors that are not in the file as they are",
            )


def _shape(t: torch.Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}"


def _tensors(value: Any, key: str) -> Any:
    if isinstance(value, torch.Tensor) or callable(getattr(value, "state_dict", None)):
        yield key
    elif isinstance(value, Mapping):
        for k, v in value.items():
            yield from _tensors(v, f"{key}.{k}" if key else str(k))
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from _tensors(v, f"{key}[{i}]")


def _filled(saved: Any, into: Any) -> Any:
    """Return the saved object with the caller's tensors in the place of those that they were filled from."""
    if isinstance(into, torch.Tensor):
        return into
    if isinstance(into, Mapping) and isinstance(saved, MutableMapping):
        for k, v in into.items():
            if k in saved:
                saved[k] = _filled(saved[k], v)
        return saved
    if isinstance(into, (list, tuple)) and isinstance(saved, (list, tuple)):
        items = [_filled(s, into[i]) if i < len(into) else s for i, s in enumerate(saved)]
        if isinstance(saved, list):
            saved[:] = items
            return saved
        make = getattr(type(saved), "_make", tuple)  # a named tuple stays one
        return make(items)
    return saved


# Reading.


@dataclass
class Piece:
    """Bytes of the file and the memory that they are for."""

    offset: int
    view: memoryview


@dataclass
class Copy:
    """A tensor that can't be filled where it lies: another layout, or another device."""

    saved: torch.Tensor
    target: torch.Tensor
    record: Record


def dense(t: torch.Tensor) -> bool:
    """Whether a tensor's elements fill one range of memory, in whatever order."""
    span = 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride()) if n)
    return t.numel() > 0 and span == t.numel() and all(s > 0 for n, s in zip(t.shape, t.stride()) if n > 1)


def memory(t: torch.Tensor) -> memoryview:
    """Return the bytes of a dense tensor of the CPU."""
    start = int(t.storage_offset()) * t.itemsize
    return _bytes(t.untyped_storage(), start, t.numel() * t.itemsize)


def _bytes(storage: torch.UntypedStorage, start: int, size: int) -> memoryview:
    flat: Any = torch.empty(0, dtype=torch.uint8).set_(storage, start, (size,), (1,))
    return memoryview(flat.numpy())


def _same_bytes(saved: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether the bytes of the file are those of the target, in the same order."""
    if target.device.type != "cpu" or saved.is_conj() != target.is_conj() or saved.is_neg() != target.is_neg():
        return False
    if saved.is_contiguous() and target.is_contiguous():
        return True
    return saved.stride() == target.stride() and dense(saved) and dense(target)


def _pieces(
    pairs: Sequence[tuple[str, torch.Tensor, torch.Tensor]], where: Callable[[torch.Tensor], Record]
) -> tuple[list[Piece], list[Copy]]:
    """Say what is read straight into place, once for each memory, and what has to be copied."""
    pieces: list[Piece] = []
    copies: list[Copy] = []
    done: set[tuple[int, int, int]] = set()
    for _, saved, target in pairs:
        if target.numel() == 0:
            continue
        record = where(saved)
        offset = record.offset + int(saved.storage_offset()) * saved.itemsize
        if not _same_bytes(saved, target):
            copies.append(Copy(saved, target, record))
            continue
        place = (target.data_ptr(), target.numel() * target.itemsize, offset)
        if place not in done:
            done.add(place)
            pieces.append(Piece(offset, memory(target)))
    return pieces, copies


def _gathered(pieces: list[Piece]) -> tuple[list[list[Piece]], list[Piece]]:
    """Group small pieces that lie near each other; cut large ones into stripes."""
    groups: list[list[Piece]] = []
    large: list[Piece] = []
    for p in sorted(pieces, key=lambda p: p.offset):
        n = len(p.view)
        if n >= SMALL:
            large += [Piece(p.offset + at, p.view[at : at + STRIPE]) for at in range(0, n, STRIPE)]
            continue
        if groups:
            first, last = groups[-1][0], groups[-1][-1]
            gap = p.offset - last.offset - len(last.view)
            if gap <= GAP and p.offset + n - first.offset <= GATHER:
                groups[-1].append(p)
                continue
        groups.append([p])
    return groups, large


class Reader:
    """Fills memory from a file, several requests at a time."""

    def __init__(self, file: RemoteFile, name: str, lanes: int) -> None:
        self._file = file
        self._name = name
        self._lanes = lanes

    def _read(self, ranges: Sequence[tuple[int, memoryview]]) -> None:
        file = self._file
        got = file._at_open(lambda source: bulk.read_ranges(file._dataset, source, ranges, self._lanes))
        for (offset, view), n in zip(ranges, got):
            if n < len(view):
                raise pydaos.CorruptError(
                    f"{self._name}: ends at byte {offset + n}, inside a storage", resource=self._name
                )

    def pieces(self, pieces: list[Piece]) -> None:
        """Read everything into place."""
        groups, large = _gathered(pieces)
        step = 2 * self._lanes  # groups whose bytes are held at a time
        for i in range(0, len(groups), step):
            some = groups[i : i + step]
            ranges = [(g[0].offset, memoryview(bytearray(_end(g) - g[0].offset))) for g in some]
            self._read(ranges)
            for group, (start, view) in zip(some, ranges):
                for p in group:
                    p.view[:] = view[p.offset - start : p.offset - start + len(p.view)]
        self._read([(p.offset, p.view) for p in large])

    def copy(self, c: Copy) -> None:
        """Read a tensor beside its place and copy it there."""
        saved, target = c.saved, c.target
        start = c.record.offset + int(saved.storage_offset()) * saved.itemsize
        if saved.is_contiguous() and target.is_contiguous() and not (saved.is_conj() or saved.is_neg()):
            flat, step = target.view(-1), max(1, STRIPE // saved.itemsize)
            part = torch.empty(min(step, saved.numel()), dtype=saved.dtype)
            for at in range(0, saved.numel(), step):
                n = min(step, saved.numel() - at)
                self._read([(start + at * saved.itemsize, memory(part[:n]))])
                flat[at : at + n].copy_(part[:n])
            return
        span = 1 + sum((n - 1) * s for n, s in zip(saved.shape, saved.stride()))
        flat = torch.empty(span, dtype=saved.dtype)
        self._read([(start, memory(flat))])
        whole = flat.as_strided(saved.shape, saved.stride())
        if saved.is_conj():
            whole = whole.conj()
        if saved.is_neg():
            whole = torch._neg_view(whole)
        target.copy_(whole)


def _end(group: list[Piece]) -> int:
    return max(p.offset + len(p.view) for p in group)


def load_into(
    file: io.BufferedReader,
    into: Any,
    *,
    name: str,
    strict: bool,
    map_location: Any,
    weights_only: bool,
    lanes: int,
) -> Any:
    """Load a file of ``torch.save`` into tensors; see `Checkpoint.load`."""
    raw: RemoteFile = file.raw  # type: ignore[assignment]
    archive = Archive(file, name)
    keys: dict[int, str] = {}
    names: dict[str, int] = {}
    empty: list[torch.UntypedStorage] = []  # kept: their addresses are the keys

    def without_memory(key: str, nbytes: int, _: str) -> torch.UntypedStorage:
        storage: torch.UntypedStorage = _untyped(nbytes, device="meta")
        names[key] = len(empty)
        keys[storage._cdata] = key
        empty.append(storage)
        return storage

    saved = unpickle(archive, without_memory, weights_only)
    plan = Plan(name)
    plan.match(saved, into, "")
    plan.check(strict)

    def key_of(t: torch.Tensor) -> str:
        return keys[t.untyped_storage()._cdata]

    # What nobody has a tensor for gets memory of its own. A storage may be both.
    placed = {key_of(t) for _, t, _ in plan.pairs}
    records = archive.records(sorted(set(keys.values())))
    for _, t, _ in plan.pairs:
        end = t.storage_offset() * t.itemsize + _span(t) * t.itemsize
        if t.numel() and end > records[key_of(t)].size:
            raise pydaos.CorruptError(f"{name}: a tensor reaches beyond its storage of {records[key_of(t)].size} bytes")
    reader = Reader(raw, name, lanes)
    result = saved
    if plan.fresh or plan.missing:
        shared = placed & _loose_keys(saved, into, key_of)
        restore = _restore_location(map_location)

        def with_memory(key: str, nbytes: int, location: str) -> torch.UntypedStorage:
            if key in placed and key not in shared:
                return empty[names[key]]
            storage: torch.UntypedStorage = _untyped(nbytes)
            if nbytes:
                view = _bytes(storage, 0, nbytes)
                file.seek(records[key].offset)
                if records[key].size < nbytes or file.readinto(view) < nbytes:
                    raise pydaos.CorruptError(f"{name}: storage {key} has less than its {nbytes} bytes", resource=name)
            restored: torch.UntypedStorage = restore(storage, location)
            return restored

        result = unpickle(archive, with_memory, weights_only)
    pieces, copies = _pieces(plan.pairs, lambda t: records[key_of(t)])
    try:
        reader.pieces(pieces)
        with torch.no_grad():
            for c in copies:
                reader.copy(c)
    except pydaos.DaosError as e:
        raise type(e)(
            f"{name}: loading has failed half way, the tensors to load into hold a mixture of old and new values: {e}",
            resource=name,
            resolution="load it again before they are used",
        ) from e
    return _filled(result, into)


def _span(t: torch.Tensor) -> int:
    return 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride())) if t.numel() else 0


def _loose_keys(saved: Any, into: Any, key_of: Callable[[torch.Tensor], str]) -> set[str]:
    """Storages of tensors that are returned as new ones."""
    if isinstance(saved, torch.Tensor):
        return set() if isinstance(into, torch.Tensor) else {key_of(t) for t in dense_parts(saved)}
    out: set[str] = set()
    if isinstance(saved, Mapping):
        for k, v in saved.items():
            out |= _loose_keys(v, into[k] if isinstance(into, Mapping) and k in into else None, key_of)
    elif isinstance(saved, (list, tuple, set)):
        for i, v in enumerate(saved):
            below = into[i] if isinstance(into, (list, tuple)) and i < len(into) else None
            out |= _loose_keys(v, below, key_of)
    return out
