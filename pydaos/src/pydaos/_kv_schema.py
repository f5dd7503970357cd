"""The fields of the values of a KV dataset: packing dicts into bytes, and back.

docs/format/kv.md has the bytes. The server checks what is put; this is what makes it.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pydaos import _errors as errors
from pydaos._proto.daos.kv.v1 import kv_service_pb2 as pb

if TYPE_CHECKING:
    import pyarrow as pa

_CODES = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}
_TEXT = ("string", "bytes")
_ENCODINGS = {"json": pb.ENCODING_JSON, "struct": pb.ENCODING_STRUCT}


@dataclass(frozen=True)
class KVField:
    """One field: `type` is numpy's name of a type of numbers, ``"string"`` or ``"bytes"``."""

    name: str
    type: str
    nullable: bool = False


@dataclass(frozen=True)
class KVSchema:
    """The fields of a value, in order; `encoding` is ``"json"`` or ``"struct"``."""

    fields: tuple[KVField, ...]
    encoding: str = "json"

    @classmethod
    def of(
        cls, fields: Mapping[str, Any] | Sequence[KVField] | np.dtype[Any] | pa.Schema | pa.StructType, encoding: str
    ) -> KVSchema:
        """Make a schema of what `KV.define` takes."""
        if encoding not in _ENCODINGS:
            raise errors.InvalidError(f"{encoding!r} is no encoding of fields", resolution="use 'json' or 'struct'")
        if type(fields).__module__.partition(".")[0] == "pyarrow":
            return cls(tuple(_arrow_fields(fields)), encoding)
        if isinstance(fields, np.dtype):
            if fields.fields is None:
                raise errors.InvalidError(f"{fields} has no fields", resolution="give a structured dtype")
            fields = {name: fields.fields[name][0] for name in fields.names or ()}
        if isinstance(fields, Mapping):
            return cls(tuple(_field(name, t) for name, t in fields.items()), encoding)
        return cls(tuple(fields), encoding)

    @classmethod
    def from_proto(cls, m: pb.Schema) -> KVSchema:
        """Make it from its message."""
        names = {number: name for name, number in _ENCODINGS.items()}
        return cls(tuple(KVField(f.name, f.type, f.nullable) for f in m.fields), names[m.encoding])

    def to_proto(self) -> pb.Schema:
        """Return its message."""
        fields = [pb.Field(name=f.name, type=f.type, nullable=f.nullable) for f in self.fields]
        return pb.Schema(encoding=_ENCODINGS[self.encoding], fields=fields)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The numpy dtype of a packed value; None if it has nulls, text, or is JSON."""
        if self.encoding != "struct" or any(f.nullable or f.type in _TEXT for f in self.fields):
            return None
        return np.dtype([(f.name, np.dtype(f.type).newbyteorder("<")) for f in self.fields])

    def pack(self, row: Mapping[str, Any]) -> bytes:
        """Return the bytes of a value; InvalidError names the field that does not fit."""
        unknown = [name for name in row if name not in {f.name for f in self.fields}]
        if unknown:
            raise errors.InvalidError(
                f"there is no field {unknown[0]!r}",
                resolution=f"the fields are {', '.join(f.name for f in self.fields)}",
            )
        for f in self.fields:
            if row.get(f.name) is None and not f.nullable:
                raise errors.InvalidError(f"the field {f.name!r} is missing or null")
        if self.encoding == "json":
            return json.dumps({n: _to_json(v) for n, v in row.items()}, ensure_ascii=False, allow_nan=False).encode()
        return self._pack_struct(row)

    def _pack_struct(self, row: Mapping[str, Any]) -> bytes:
        out = bytearray()
        if any(f.nullable for f in self.fields):
            valid = np.array([row.get(f.name) is not None for f in self.fields], bool)
            out += np.packbits(valid, bitorder="little").tobytes()
        for f in self.fields:
            value = row.get(f.name)
            if f.type in _TEXT:
                data = b"" if value is None else value.encode() if isinstance(value, str) else bytes(value)
                out += struct.pack("<I", len(data)) + data
                continue
            try:
                number = np.asarray(value).item() if value is not None else 0
                out += struct.pack("<" + _CODES[f.type], number)
            except (struct.error, TypeError, ValueError, OverflowError) as e:
                raise errors.InvalidError(f"the field {f.name!r} is not {f.type}: {value!r}") from e
        return bytes(out)

    def unpack(self, value: bytes) -> dict[str, Any]:
        """Return the fields of a value."""
        if self.encoding == "json":
            members = json.loads(value)
            return {f.name: _from_json(f, members.get(f.name)) for f in self.fields}
        at = 0
        valid = np.ones(len(self.fields), bool)
        if any(f.nullable for f in self.fields):
            at = (len(self.fields) + 7) // 8
            valid = np.unpackbits(np.frombuffer(value[:at], np.uint8), bitorder="little").astype(bool)
        row: dict[str, Any] = {}
        for i, f in enumerate(self.fields):
            found: Any
            if f.type in _TEXT:
                (n,) = struct.unpack_from("<I", value, at)
                data = value[at + 4 : at + 4 + n]
                at += 4 + n
                found = data.decode() if f.type == "string" else data
            else:
                code = "<" + _CODES[f.type]
                (found,) = struct.unpack_from(code, value, at)
                at += struct.calcsize(code)
            row[f.name] = found if valid[i] else None
        return row


def _field(name: str, t: Any) -> KVField:
    text = t if isinstance(t, str) else np.dtype(t).name
    nullable = text.endswith("?")
    text = text.rstrip("?")
    if text not in _TEXT:
        try:
            text = np.dtype(text).name
        except TypeError:
            pass
        if text not in _CODES:
            raise errors.InvalidError(
                f"the field {name!r} has the type {t!r}",
                resolution=f"use one of {', '.join((*_CODES, *_TEXT))}, with a ? behind if it may be null",
            )
    return KVField(name, text, nullable)


# Arrow's names of types of numbers that are not numpy's.
_ARROW = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "large_string": "string",
    "string_view": "string",
    "binary": "bytes",
    "large_binary": "bytes",
    "binary_view": "bytes",
}


def _arrow_fields(given: Any) -> Iterator[KVField]:
    """Yield the fields of an Arrow schema or struct."""
    try:
        fields = list(given)
        described = [(f.name, str(f.type), f.nullable) for f in fields]
    except (TypeError, AttributeError):
        raise errors.InvalidError(
            f"{given!r} has no fields", resolution="give a pyarrow.Schema, or a pyarrow.struct of the fields"
        ) from None
    for name, kind, nullable in described:
        kind = _ARROW.get(kind, kind)
        yield _field(name, kind + "?" * nullable)


def _to_json(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _from_json(f: KVField, value: Any) -> Any:
    if value is None:
        return None
    if f.type == "bytes":
        return base64.b64decode(value)
    if f.type.startswith("float"):
        return float(value)
    return value
