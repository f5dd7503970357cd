"""The exceptions: one class per kind of the wire, and what PyTorch needs of them."""

import builtins
import errno
import io
import pickle

import pytest

import pydaos
from pydaos import _errors as errors
from pydaos._proto.daos.common.v1 import common_pb2 as common

ALL = sorted((getattr(pydaos, name) for name in errors.__all__), key=lambda c: c.__name__)


def test_every_kind_of_the_wire_has_one_class():
    kinds = {number for number in common.Kind.values() if number != common.KIND_UNSPECIFIED}
    assert set(errors.BY_KIND) == kinds
    for kind, cls in errors.BY_KIND.items():
        assert cls.kind == kind
        assert issubclass(cls, pydaos.DaosError)


@pytest.mark.parametrize(
    ("kind", "expected", "number"),
    [
        (common.KIND_INVALID, (ValueError,), None),
        (common.KIND_NOT_FOUND, (FileNotFoundError, KeyError), errno.ENOENT),
        (common.KIND_EXISTS, (FileExistsError,), errno.EEXIST),
        (common.KIND_PERMISSION, (PermissionError,), errno.EACCES),
        (common.KIND_UNAUTHENTICATED, (PermissionError,), errno.EPERM),
        (common.KIND_NO_SPACE, (OSError,), errno.ENOSPC),
        (common.KIND_STALE, (OSError,), errno.ESTALE),
        (common.KIND_UNREACHABLE, (ConnectionError,), errno.ECONNREFUSED),
        (common.KIND_TIMEOUT, (TimeoutError,), errno.ETIMEDOUT),
        (common.KIND_TOO_BIG, (ValueError, OSError), errno.EFBIG),
        (common.KIND_UNSUPPORTED, (NotImplementedError,), None),
        (common.KIND_NOT_DIRECTORY, (NotADirectoryError,), errno.ENOTDIR),
        (common.KIND_IS_DIRECTORY, (IsADirectoryError,), errno.EISDIR),
        (common.KIND_NOT_EMPTY, (OSError,), errno.ENOTEMPTY),
        (common.KIND_READ_ONLY, (OSError,), errno.EROFS),
        (common.KIND_CORRUPT, (OSError,), errno.EIO),
    ],
)
def test_a_kind_is_also_the_builtin_that_a_caller_expects(kind, expected, number):
    wire = common.Error(kind=kind, op="posix.stat", resource="p/d/x", detail="is not so", resolution="do that")
    error = errors.from_wire(kind, wire.SerializeToString())
    for builtin in expected:
        assert isinstance(error, builtin)
    if number is not None:
        assert error.errno == number
    assert str(error) == "p/d/x: is not so; do that"
    assert (error.op, error.resource, error.resolution) == ("posix.stat", "p/d/x", "do that")


@pytest.mark.parametrize("cls", ALL, ids=lambda c: c.__name__)
def test_survives_a_worker_of_torch(cls):
    # torch raises exc_type(msg) in the main process, or exc_type(message=msg) if there is such an attribute.
    assert not hasattr(cls, "message")
    text = "Caught in worker 0.\nTraceback: line"
    rebuilt = cls(text)
    assert str(rebuilt) == text
    assert not hasattr(rebuilt, "message")


@pytest.mark.parametrize("cls", ALL, ids=lambda c: c.__name__)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickles_with_its_attributes(cls, protocol):
    error = cls("what", op="o", resource="r", resolution="s", retry_after=1.5)
    error.note = "mine"
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert str(again) == str(error) == "what; s"
    assert (again.op, again.resource, again.resolution, again.retry_after) == ("o", "r", "s", 1.5)
    assert again.note == "mine"
    assert getattr(again, "errno", None) == getattr(error, "errno", None)
    assert getattr(again, "filename", None) == getattr(error, "filename", None)


def test_an_unknown_kind_is_an_internal_error():
    error = errors.from_wire(250, b"")
    assert type(error) is pydaos.InternalError
    assert "250" in str(error)


def test_upstream_names():
    assert pydaos.PyDError is pydaos.DaosError
    assert issubclass(pydaos.DObjNotFound, pydaos.PyDError)
    assert issubclass(pydaos.DObjNotFound, KeyError)


def test_the_tree_in_the_documentation_is_the_tree():
    for line in errors.__doc__.splitlines():
        if " +- " not in line:
            continue
        words = line.replace("|", " ").replace("+-", " ").replace(",", " ").split()
        cls = getattr(pydaos, words[0])
        for word in words[1:]:
            builtin = getattr(builtins, word, None)
            if isinstance(builtin, type):
                assert issubclass(cls, builtin), f"{words[0]} is no {word}"


def test_a_retry_hint_is_in_seconds():
    wire = common.Error(kind=common.KIND_OVERLOADED, detail="busy", retry_after_millis=250)
    assert errors.from_wire(common.KIND_OVERLOADED, wire.SerializeToString()).retry_after == 0.25
    assert not isinstance(pydaos.OverloadedError("x"), io.UnsupportedOperation)
