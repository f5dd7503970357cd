"""Element types of arrays: between numpy's and the names on the wire.

numpy has no bfloat16 and no 8-bit floats: with ml_dtypes installed these are its types,
without it their bits (uint16, uint8). Arrow types that numpy lacks (dates, decimals,
intervals) are integers or raw bytes of the same width.
"""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from pydaos import _errors as errors

_PLAIN = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
# Types of ml_dtypes, and the bits that stand for them without it.
_SMALL = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
_RAW = {
    "date32": "int32",
    "date64": "datetime64[ms]",
    "interval[month]": "int32",
    "interval[day_time]": "V8",
    "interval[month_day_nano]": "V16",
}
_UNITS = ("s", "ms", "us", "ns")


def _ml_dtypes() -> Any:
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        return None


@functools.cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy dtype that elements of a named type have in memory."""
    if name in _PLAIN:
        return np.dtype(name)
    if name in _SMALL:
        ml = _ml_dtypes()
        return np.dtype(_SMALL[name] if ml is None else getattr(ml, name))
    if name in _RAW:
        return np.dtype(_RAW[name])
    base, *rest = re.split(r"[\[(]", name[:-1], maxsplit=1)
    args = rest[0].split(",") if rest else [""]
    if base == "timestamp":
        return np.dtype(f"datetime64[{args[0]}]")
    if base == "duration":
        return np.dtype(f"timedelta64[{args[0]}]")
    if base in ("time32", "time64"):
        return np.dtype("int32" if base == "time32" else "int64")
    if base == "fixed_size_binary":
        return np.dtype(f"V{args[0]}")
    if base in ("decimal128", "decimal256"):
        return np.dtype("V16" if base == "decimal128" else "V32")
    raise errors.UnsupportedError(
        f"element type {name!r} is newer than this client", resolution="install a newer pydaos"
    )


def dtype_name(dtype: Any) -> str:
    """Return the wire's name of a type, given as a name or as anything numpy takes for a dtype."""
    if isinstance(dtype, str):
        base = re.split(r"[\[(]", dtype, maxsplit=1)[0]
        known = (*_SMALL, *_RAW, "float8_e4m3", "timestamp", "duration", "time32", "time64")
        if base in known or dtype in _RAW or base.startswith(("decimal", "fixed_size_binary", "interval")):
            return dtype
    try:
        t = np.dtype(dtype)
    except TypeError as e:
        raise errors.InvalidError(f"{dtype!r} is not an element type: {e}") from None
    name = str(t.name)
    if name in _PLAIN or name in _SMALL:
        return name
    if t.kind in "mM":
        unit, count = np.datetime_data(t)
        if unit in _UNITS and count == 1:
            return f"{'timestamp' if t.kind == 'M' else 'duration'}[{unit}]"
        raise errors.UnsupportedError(f"dtype {t} has no element type", resolution=f"use one of the units {_UNITS}")
    if t.kind in "SV" and t.itemsize and not t.subdtype:
        return f"fixed_size_binary[{t.itemsize}]"
    raise errors.UnsupportedError(
        f"dtype {t} has no element type of a fixed width", resolution="convert it, or use a tensor dataset"
    )


def converted(value: Any, name: str) -> npt.NDArray[Any]:
    """Return elements of a named type, converted as an assignment to a numpy array converts them.

    Where memory has bits or integers that stand for the elements, numpy would take the numbers for
    them: only what is known to mean the same is taken then.

    Raises
    ------
    InvalidError
        The values can't be made elements of that type.
    """
    dtype = numpy_dtype(name)
    data = np.asarray(value)
    if data.dtype == dtype:
        return data
    base = re.split(r"[\[(]", name, maxsplit=1)[0]
    if base.startswith("decimal"):
        return _decimals(data, name)
    if name in _SMALL and dtype.kind == "u":
        if data.dtype.kind in "iuf" and not data.any() and not np.signbit(data).any():
            return np.zeros(data.shape, dtype)
        raise errors.InvalidError(
            f"{data.dtype} can't be made {name}, which numpy lacks",
            resolution=f"install ml_dtypes, or give the bits, as {dtype}",
        )
    if dtype.kind == "V" and data.dtype.kind in "SV" and base == "fixed_size_binary":
        if data.dtype.itemsize <= dtype.itemsize:
            return data.astype(f"S{dtype.itemsize}").view(dtype) if data.ndim else np.asarray(data.astype(dtype))
    elif base in ("date32", "time32", "time64"):
        unit = "D" if base == "date32" else name[:-1].split("[")[1]
        kind = "M" if base == "date32" else "m"
        if data.dtype.kind == kind:
            data = data.astype(f"{kind}8[{unit}]").astype(np.int64)
        if data.dtype.kind in "iu":
            return data.astype(dtype)
    elif (dtype.kind != "V" and base != "interval") or (data.dtype.kind in "iu" and dtype.kind == "i"):
        return data.astype(dtype)
    raise errors.InvalidError(
        f"{data.dtype} can't be made {name}", resolution=f"give an array of {dtype}, which elements are in memory"
    )


def _decimals(data: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Return the bytes of decimal.Decimal and integers."""
    import pyarrow as pa

    precision, scale = (int(n) for n in re.findall(r"-?\d+", name.partition("(")[2]))
    kind = (pa.decimal128 if name.startswith("decimal128") else pa.decimal256)(precision, scale)
    try:
        made = pa.array(data.ravel().tolist(), type=kind)
    except (pa.ArrowException, TypeError, ValueError) as e:
        made, why = None, str(e)
    else:
        why = "" if not made.null_count else "there are values missing"
    if made is None or why:
        raise errors.InvalidError(
            f"{data.dtype} can't be made {name}: {why}", resolution="give decimal.Decimal, or integers"
        )
    raw = np.frombuffer(made.buffers()[1], numpy_dtype(name), len(made))
    return raw.reshape(data.shape)


def same_bytes(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in little-endian order, as elements travel."""
    return dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype
