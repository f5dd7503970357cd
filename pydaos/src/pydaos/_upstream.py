"""DAOS's own Python interface: `DCont` with its `DDict` and `DArray` objects.

Programs written for upstream's pydaos run unchanged: same names, arguments, results
and errors. What they call a container of type PYTHON is a KV dataset here. New
programs are better off with `pydaos.KV`, which is ordered, conditional and versioned.

A container keeps what its objects are called under keys that begin with NUL, and the
pairs of a dictionary under its name, NUL and the key (docs/format/kv.md).
"""

from __future__ import annotations

import enum
import importlib
import json
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn

from pydaos import _errors as errors
from pydaos._address import Address
from pydaos._kv import KV
from pydaos._kv_batch import VALUE_BYTES, Batch, buffer_of, key_bytes
from pydaos._proto.daos.common.v1 import common_pb2 as common
from pydaos._proto.daos.kv.v1 import kv_service_pb2 as pb

if TYPE_CHECKING:
    from pydaos._client import Client

_SEPARATOR = b"\0"
_DELETES = 4096

# Upstream's names of our kinds of errors.
_DER: dict[int, str] = {
    common.KIND_INVALID: "DER_INVAL",
    common.KIND_NOT_FOUND: "DER_NONEXIST",
    common.KIND_EXISTS: "DER_EXIST",
    common.KIND_PERMISSION: "DER_NO_PERM",
    common.KIND_UNAUTHENTICATED: "DER_NO_CERT",
    common.KIND_NO_SPACE: "DER_NOSPACE",
    common.KIND_OVERLOADED: "DER_BUSY",
    common.KIND_STALE: "DER_STALE",
    common.KIND_NOT_LEADER: "DER_NOTLEADER",
    common.KIND_CONFLICT: "DER_TX_RESTART",
    common.KIND_UNREACHABLE: "DER_UNREACH",
    common.KIND_TIMEOUT: "DER_TIMEDOUT",
    common.KIND_CORRUPT: "DER_CSUM",
    common.KIND_DATA_LOSS: "DER_DATA_LOSS",
    common.KIND_TOO_BIG: "DER_REC2BIG",
    common.KIND_UNSUPPORTED: "DER_NOTSUPPORTED",
    common.KIND_INTERNAL: "DER_MISC",
    common.KIND_NOT_DIRECTORY: "DER_NOTDIR",
    common.KIND_IS_DIRECTORY: "DER_INVAL",
    common.KIND_NOT_EMPTY: "DER_BUSY",
    common.KIND_CANCELED: "DER_CANCELED",
    common.KIND_EPOCH_GONE: "DER_NONEXIST",
    common.KIND_READ_ONLY: "DER_NO_PERM",
}

_GROUPS = ("1", "2", "4", "6", "8", "12", "16", "32", "X")
_CLASSES = [
    *(f"OC_S{n}" for n in _GROUPS),
    *(f"OC_RP_{r}G{n}" for r in (2, 3, 4, 5, 6) for n in _GROUPS),
    *(f"OC_EC_{k}G{n}" for k in ("2P1", "2P2", "4P1", "4P2", "8P1", "8P2", "16P1", "16P2") for n in _GROUPS),
]

# The object classes of DAOS. A container's class is that of its dataset: the names are
# taken, and say nothing about a single object.
ObjClassID = enum.Enum("ObjClassID", _CLASSES)  # type: ignore[misc]


class InvalidModeError(errors.InvalidError):
    """A container was to be opened in a mode that is neither ``"RW"`` nor ``"RO"``."""


def _fail(what: str, cause: errors.DaosError) -> NoReturn:
    """Raise an error as upstream words it, of the class that ours has."""
    name = _DER.get(type(cause).kind, "DER_MISC")
    raise type(cause)(f"{what}: {name}", op=cause.op, resource=cause.resource) from cause


class DaosClient:
    """The connection that all containers of a process share: to the server that `pydaos.connect` finds."""

    _client: Client | None = None

    @classmethod
    def client(cls) -> Client:
        """Return the client, connected at its first use."""
        if cls._client is None:
            from pydaos._client import connect

            try:
                cls._client = connect()
            except errors.DaosError as e:
                _fail("Failed to initialize DAOS", e)
        return cls._client

    @classmethod
    def cleanup(cls) -> None:
        """Close it; the next container connects again."""
        if cls._client is not None:
            cls._client.close()
            cls._client = None


class DCont:
    """A container of named dictionaries and arrays: a KV dataset.

    Parameters
    ----------
    pool, cont
        Names of the pool and the dataset.
    path
        Instead of both: ``"daos://POOL/DATASET"``, also at a snapshot.
    open_mode
        ``"RW"``, or ``"RO"`` for reading only.

    Examples
    --------
    >>> import pydaos
    >>> cont = pydaos.DCont("tank", "neo")
    >>> stadium = cont.dict("stadium", {"Barcelona": "Camp Nou"})
    >>> stadium["Barcelona"]
    b'Camp Nou'
    """

    def __init__(self, pool: Any = None, cont: Any = None, path: str | None = None, open_mode: str = "RW") -> None:
        if open_mode not in ("RW", "RO"):
            raise InvalidModeError(f"invalid open mode {open_mode!r}", resolution="use 'RW' or 'RO'")
        self.open_mode = open_mode
        try:
            if path is not None:
                where = Address.parse(path)
                self.pool, self.cont = where.pool, where.dataset
                self._kv = DaosClient.client().kv(str(where))
            elif pool is None or cont is None:
                raise errors.InvalidError("a pool and a container have to be named")
            else:
                self.pool, self.cont = str(pool), str(cont)
                self._kv = DaosClient.client().kv(f"{self.pool}/{self.cont}")
        except errors.DaosError as e:
            what = "invalid pool or container UUID" if path is None and (pool is None or cont is None) else ""
            _fail(what or "failed to access container", e)

    def get(self, name: str) -> Any:
        """Return a dictionary or an array by its name; DObjNotFound if there is none."""
        try:
            entry = self._kv.get(_SEPARATOR + _name(name))
        except errors.DaosError as e:
            _fail("failed to look up name", e)
        if entry is None:
            error = errors.NotFoundError(f"Failed to open {name!r}", resource=repr(self))
            error.name = name  # type: ignore[attr-defined]
            raise error
        facts = json.loads(entry)
        if facts["type"] == "array":
            return _arrays().open_array(self, name, facts)
        return DDict(name, self)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def dict(self, name: str, v: MutableMapping[str, Any] | None = None, cid: Any = "0") -> DDict:
        """Make a dictionary, with the pairs of `v` in it; PyDError (DER_EXIST) if the name is taken."""
        _class_name(cid)
        try:
            self._enter(name, {"type": "dict"})
        except errors.DaosError as e:
            _fail("failed to create DAOS dict", e)
        made = DDict(name, self)
        made.bput(v)
        return made

    def array(self, name: str, v: Any = None, cid: Any = "0") -> Any:
        """Make an array, with the elements of `v`; PyDError (DER_EXIST) if the name is taken."""
        _class_name(cid)
        try:
            return _arrays().make_array(self, name, v)
        except errors.DaosError as e:
            _fail("failed to create DAOS array", e)

    def destroy(self, name: str) -> None:
        """Remove a dictionary or an array with all that is in it."""
        found = self.get(name)
        try:
            self._writable()
            del self._kv[_SEPARATOR + _name(name)]
            found._clear()
        except errors.DaosError as e:
            _fail("failed to destroy object", e)

    def _enter(self, name: str, facts: Any) -> None:
        """Take a name for an object; ExistsError if it is taken."""
        self._writable()
        self._kv.put(_SEPARATOR + _name(name), json.dumps(facts), if_absent=True)

    def _writable(self) -> None:
        if self.open_mode == "RO":
            raise errors.ReadOnlyError("the container was opened for reading only", resource=repr(self))

    def __str__(self) -> str:
        return f"{self.pool}/{self.cont}"

    def __repr__(self) -> str:
        return f"daos://{self.pool}/{self.cont}"


def _arrays() -> Any:
    """Return the module of arrays, which is imported at its first use."""
    return importlib.import_module("pydaos._darray")


def _name(name: str) -> bytes:
    raw = key_bytes(name)
    if not raw or _SEPARATOR in raw:
        raise errors.InvalidError(f"{name!r} can't be the name of an object", resolution="use text without NUL")
    return raw


def _class_name(cid: Any) -> None:
    if cid in ("0", 0, None) or isinstance(cid, ObjClassID):
        return
    if cid not in ObjClassID.__members__:
        _fail("failed to parse object class", errors.InvalidError(f"{cid!r} is no object class"))


class DDict:
    """A dictionary in a container: bytes by text, kept on the server.

    Values are text or bytes, and come back as bytes. Putting None or an empty value
    removes a key. Iteration is in the byte order of the keys.

    Attributes
    ----------
    name
        What it is called in its container.
    value_size
        Upstream's hint how large values are; it makes no difference here.
    """

    value_size = 1024 * 1024

    def __init__(self, name: str, cont: DCont) -> None:
        self.name = name
        self.cont = cont
        self._prefix = _name(name) + _SEPARATOR

    @property
    def _kv(self) -> KV:
        return self.cont._kv

    def _key(self, key: Any) -> bytes:
        if not isinstance(key, (str, bytes)):
            raise TypeError(f"keys are text, not {type(key).__name__}")
        return self._prefix + key_bytes(key)

    def get(self, key: str) -> bytes:
        """Return a value; KeyError if there is none."""
        d: dict[str, Any] = {key: None}
        self.bget(d)
        if d[key] is None:
            raise KeyError(key)
        return bytes(d[key])

    def __getitem__(self, key: str) -> bytes:
        return self.get(key)

    def put(self, key: str, val: Any) -> None:
        """Set a value; None or an empty one removes the key."""
        self.bput({key: val})

    def __setitem__(self, key: str, val: Any) -> None:
        self.put(key, val)

    def __delitem__(self, key: str) -> None:
        self.put(key, None)

    def pop(self, key: str) -> None:
        """Remove a key. Unlike dict's, it returns nothing, and a key that is not there is no error."""
        self.put(key, None)

    def bget(self, d: Any, value_size: int | None = None) -> Any:
        """Set the values of a dict to those of its keys here, None where there is none, and return it."""
        if d is None:
            return d
        keys = list(d)
        try:
            found = self._kv.multi_get([self._key(k) for k in keys])
        except errors.DaosError as e:
            _fail("failed to retrieve KV value", e)
        d.update(zip(keys, found))
        return d

    def bput(self, d: Any) -> None:
        """Set the values of all keys of a dict; None or an empty value removes its key."""
        if d is None:
            return
        try:
            self.cont._writable()
            batch = Batch(self._kv)
            for key, value in d.items():
                name = self._key(key)
                data = memoryview(b"") if value is None else buffer_of(value)
                if data.nbytes > VALUE_BYTES:
                    self._kv.put(name, data)
                    continue
                if not batch.fits(len(name), data.nbytes):
                    batch.apply()
                    batch = Batch(self._kv)
                kind = pb.OP_KIND_PUT if data.nbytes else pb.OP_KIND_DELETE
                batch.add(pb.Op(kind=kind, key=name, size=data.nbytes), data)
            if batch.ops:
                batch.apply()
        except errors.DaosError as e:
            _fail("failed to store KV value", e)

    def dump(self) -> dict[str, bytes]:
        """Return all pairs as a dict."""
        try:
            return {self._text(k): v for k, v in self._kv.items(prefix=self._prefix)}
        except errors.DaosError as e:
            _fail("failed to enumerate Dictionary", e)

    def _text(self, key: bytes) -> str:
        return key[len(self._prefix) :].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        try:
            for key in self._kv.keys(prefix=self._prefix):
                yield self._text(key)
        except errors.DaosError as e:
            _fail("failed to enumerate Dictionary", e)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self._kv.entries(prefix=self._prefix, values=False, limit=1))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._kv.stat_value(self._key(key)) is not None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DDict):
            return other.dump() == self.dump()
        return isinstance(other, MutableMapping) and dict(other) == self.dump()

    __hash__ = None  # type: ignore[assignment]

    def _clear(self) -> None:
        batch: list[bytes] = []
        for key in self._kv.keys(prefix=self._prefix):
            batch.append(key)
            if len(batch) == _DELETES:
                self._kv.delete_many(batch)
                batch = []
        self._kv.delete_many(batch)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<pydaos.DDict {self.name} in {self.cont!r}>"


def check(pool: str | None = None, cont: str | None = None, path: str | None = None) -> list[str]:
    """Name again the dictionaries of a container whose destruction broke off; returns their names."""
    box = DCont(pool, cont, path)
    known = {key[1:] for key in box._kv.keys(prefix=_SEPARATOR)}
    found: list[str] = []
    start = b"\1"
    while True:
        entry = next(box._kv.entries(start=start, values=False, limit=1), None)
        if entry is None:
            return found
        name, separator, _ = entry.key.partition(_SEPARATOR)
        if separator and name not in known:
            text = name.decode("utf-8", "surrogateescape")
            box._enter(text, {"type": "dict"})
            found.append(text)
        start = name + (b"\1" if separator else b"\0")
