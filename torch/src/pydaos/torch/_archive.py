"""A file of ``torch.save``, taken apart: its object, and where the bytes of its storages lie.

The format is a zip archive of stored records: ``NAME/data.pkl`` is the object, in which a
storage is the id ``("storage", type, key, location, elements)``; ``NAME/data/KEY`` has its
bytes. `unpickle` builds the object over storages that the caller gives. What is loaded
into where is decided in `_restore`.

The CRC32 of the records is not compared: nor does ``torch.load``, and files saved under
``torch.serialization.set_crc32_options(False)`` have none that could be. The service
compares a checksum of all bytes that it reads.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import _weights_only_unpickler as restricted

import pydaos
from pydaos import _bulk as bulk
from pydaos._remote import RemoteFile

__all__ = ["GAP", "GATHER", "Archive", "Record", "dense_parts", "unpickle"]

#: Bytes of one read of what is small, and what may lie between two parts of it.
GATHER = 4 << 20
GAP = 16 << 10

_typed: Any = torch.storage.TypedStorage  # not annotated

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")

#: What zipfile raises of bytes that are no archive, or no longer one.
_NOT_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError, struct.error)


@dataclass
class Record:
    """Where the bytes of a storage lie in the file."""

    offset: int
    size: int


class Archive:
    """The records of a file of ``torch.save``."""

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self.file = file
        self.name = name
        try:
            listing = zipfile.ZipFile(file)
        except pydaos.DaosError:
            raise  # of reading
        except (*_NOT_ZIP, ValueError) as e:  # a name that is no text is a ValueError too
            raise pydaos.InvalidError(
                f"{name}: not a file of torch.save's zip format, or one that was cut short",
                resource=name,
                resolution="load it with torch.load(ckpt.reader(...))",
            ) from e
        pickles = [i for i in listing.infolist() if i.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pydaos.InvalidError(f"{name}: a zip archive without a data.pkl of torch.save", resource=name)
        self._prefix = pickles[0].filename[: -len("data.pkl")]
        self._entries = {i.filename[len(self._prefix) :]: i for i in listing.infolist()}
        try:
            self.pickle = listing.read(pickles[0])
            own = self._entries.get("byteorder")
            order = listing.read(own).decode("ascii", "replace") if own is not None else sys.byteorder
        except pydaos.DaosError:
            raise
        except (*_NOT_ZIP, ValueError, zlib.error) as e:
            raise pydaos.CorruptError(f"{name}: its records can't be read: {e}", resource=name) from e
        if order != sys.byteorder:
            raise pydaos.UnsupportedError(
                f"{name}: saved on a {order}-endian machine, this one is {sys.byteorder}-endian",
                resource=name,
                resolution="load it with torch.load(ckpt.reader(...))",
            )

    def records(self, keys: Sequence[str]) -> dict[str, Record]:
        """Find the bytes of storages; a record says itself how long its header is."""
        entries = []
        for key in keys:
            info = self._entries.get(f"data/{key}")
            if info is None or info.compress_type != zipfile.ZIP_STORED:
                raise pydaos.CorruptError(f"{self.name}: the bytes of storage {key} are missing", resource=self.name)
            entries.append((info.header_offset, key, info.file_size))
        entries.sort()
        # Headers that lie near each other are read together.
        groups: list[tuple[int, int, list[tuple[int, str, int]]]] = []
        for e in entries:
            end = e[0] + _LOCAL_HEADER.size
            if groups and end - groups[-1][0] <= GATHER and e[0] - groups[-1][1] <= GAP:
                groups[-1] = (groups[-1][0], end, [*groups[-1][2], e])
            else:
                groups.append((e[0], end, [e]))
        views = [memoryview(bytearray(end - start)) for start, end, _ in groups]
        raw: RemoteFile = self.file.raw  # type: ignore[assignment]
        raw._at_open(lambda source: bulk.read_many(raw._dataset, source, [(g[0], v) for g, v in zip(groups, views)]))
        out = {}
        for (start, _, group), view in zip(groups, views):
            for at, key, size in group:
                magic, *_, name_len, extra_len = _LOCAL_HEADER.unpack_from(view, at - start)
                if magic != b"PK\3\4":
                    raise pydaos.CorruptError(
                        f"{self.name}: no record at byte {at}, where storage {key} lies", resource=self.name
                    )
                out[key] = Record(at + _LOCAL_HEADER.size + name_len + extra_len, size)
        return out


class _Unpickler(pickle.Unpickler):
    """For files that are trusted; the types of storages are names, as torch has them."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage") and name != "UntypedStorage":
            return torch.serialization.StorageType(name)  # type: ignore[no-untyped-call]
        return super().find_class(module, name)


def unpickle(archive: Archive, storage: Callable[[str, int, str], torch.UntypedStorage], weights_only: bool) -> Any:
    """Build the object; ``storage(key, nbytes, location)`` gives its storages, each asked for once."""
    known: dict[str, torch.UntypedStorage] = {}

    def persistent_load(saved: Any) -> Any:
        if not isinstance(saved, tuple) or len(saved) != 5 or saved[0] not in ("storage", b"storage"):
            raise pydaos.InvalidError(f"{archive.name}: refers to {saved!r}, which is not a storage")
        _, kind, key, location, count = saved
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        if key not in known:
            if isinstance(location, bytes):
                location = location.decode("ascii")
            known[key] = storage(key, count * dtype.itemsize, location)
        return _typed(wrap_storage=known[key], dtype=dtype, _internal=True)

    stream = io.BytesIO(archive.pickle)
    reader: Any = restricted.Unpickler(stream, encoding="utf-8") if weights_only else _Unpickler(stream)
    reader.persistent_load = persistent_load
    pending = _sparse_to_validate()
    before = len(pending)
    try:
        result = reader.load()
    except pickle.UnpicklingError as e:
        raise pickle.UnpicklingError(
            f"{archive.name}: {e}; for a file that you trust: weights_only=False, "
            "or torch.serialization.add_safe_globals"
        ) from None
    finally:
        # Of this thread: the next torch.load would look at ours too, which may have no memory.
        ours = pending[before:]
        del pending[before:]
    if weights_only:
        _check_sparse([t for t in ours if not t.is_meta], archive.name)
    return result


def _sparse_to_validate() -> list[torch.Tensor]:
    """Return torch's list of sparse tensors that were unpickled and not looked at yet."""
    utils: Any = torch._utils
    get = getattr(utils, "_get_sparse_tensors_to_validate", None)
    found: list[torch.Tensor] = get() if get is not None else getattr(utils, "_sparse_tensors_to_validate", [])
    return found


def _sparse_parts(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two index tensors of a tensor in a compressed sparse layout."""
    if t.layout in (torch.sparse_csr, torch.sparse_bsr):
        return t.crow_indices(), t.col_indices()
    return t.ccol_indices(), t.row_indices()


def dense_parts(t: torch.Tensor) -> list[torch.Tensor]:
    """Return the tensors with storages that a tensor consists of: itself, or those of a sparse one."""
    if t.layout is torch.strided:
        return [t]
    return [t._indices(), t._values()] if t.layout is torch.sparse_coo else [*_sparse_parts(t), t.values()]


def _check_sparse(tensors: list[torch.Tensor], name: str) -> None:
    """CorruptError for sparse tensors whose indices lie, as torch.load has it."""
    try:
        for t in tensors:
            if t.layout is torch.sparse_coo:
                torch.sparse_coo_tensor(t._indices(), t._values(), t.shape, check_invariants=True)
            else:
                torch.sparse_compressed_tensor(
                    *_sparse_parts(t), t.values(), t.shape, layout=t.layout, check_invariants=True
                )
    except RuntimeError as e:
        raise pydaos.CorruptError(f"{name}: holds a sparse tensor that is none: {e}", resource=name) from e
