"""Arguments of the surface: what they may be, and what is said of others before anything is opened for them.

Numbers may be numpy's or a tensor's; a bool is none. A wrong type is a
TypeError, a value that makes no sense a ValueError, and both say what to give.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

__all__ = [
    "address_of",
    "check_progress",
    "check_words",
    "connect_options",
    "names_of",
    "pairs_of",
    "seconds",
    "seed_of",
    "whole",
]


def whole(name: str, value: Any, least: int, means: str = "") -> int:
    """Return a whole number of at least ``least``; ``means`` says what it counts."""
    number = _index(value)
    tail = f": {means}" if means else ""
    if number is None:
        raise TypeError(f"{name}={value!r:.60}{tail}; give an int from {least} on, not {_kind(value)}")
    if number < least:
        raise ValueError(f"{name}={number}{tail}; give {least} or more")
    return number


def seed_of(value: Any) -> int:
    """Return a seed: a whole number of 64 bits, without a sign."""
    seed = _index(value)
    if seed is None:
        raise TypeError(f"seed={value!r:.60}: a seed is an int, not {_kind(value)}")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed={seed}: a seed lies in 0..2**64-1; seed % 2**64 does")
    return seed


def _index(value: Any) -> int | None:
    """Return a whole number as an int, None if it is none."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"an {name}" if name[0] in "aeiouAEIO" else f"a {name}"


def seconds(name: str, value: Any) -> float:
    """Return a time in seconds, 0 or more."""
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}={value!r:.60}: give seconds, a number, not {_kind(value)}")
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name}={number:g}: give seconds, 0 or more")
    return number


def connect_options(
    *, addr: str | None, token: str | None, token_file: str | None, retry: float | None, timeout: float | None
) -> dict[str, Any]:
    """Return the arguments of `pydaos.connect` that were given."""
    if timeout is not None and not seconds("timeout", timeout):
        raise ValueError("timeout=0: an answer takes time; leave it out for 60 seconds")
    times = {"retry": retry, "timeout": timeout}
    given: dict[str, Any] = {"addr": addr, "token": token, "token_file": token_file}
    given |= {k: seconds(k, v) for k, v in times.items() if v is not None}
    return {k: v for k, v in given.items() if v is not None}


def names_of(columns: Any) -> tuple[str, ...]:
    """Return the names of columns."""
    if isinstance(columns, (str, bytes)):
        raise TypeError(f"columns={columns!r}: give a sequence of names, columns=[{columns!r}]")
    try:
        names = tuple(columns)
    except TypeError:
        raise TypeError(f"columns={columns!r:.60}: give a sequence of names, not {_kind(columns)}") from None
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"columns={list(names)!r:.80}: {name!r:.40} is no name of a column")
    return names


def pairs_of(parts: Any) -> list[tuple[Any, Any]]:
    """Return the (dataset, weight) pairs of a mixture."""
    if not isinstance(parts, Sequence):
        # Not tried: of a dataset that would read all its samples.
        raise TypeError(f"a mixture is of [(dataset, weight), ...], not of {_kind(parts)}")
    out = []
    for i, part in enumerate(parts):
        if not isinstance(part, (tuple, list)) or len(part) != 2:
            raise TypeError(f"part {i} of the mixture is {_kind(part)}, not a pair: give [(dataset, weight), ...]")
        out.append((part[0], part[1]))
    return out


def check_progress(progress: Any) -> None:
    """ValueError unless ``progress`` is one of the words that it has."""
    if not isinstance(progress, bool) and progress != "always":
        raise ValueError(f'progress={progress!r:.60}: True (on a terminal), False, or "always"')


def check_words(labels: str | None, decode: str | None) -> None:
    """ValueError for words that mean nothing; before anything is opened or pinned for them."""
    if labels not in (None, "dirname"):
        raise ValueError(f'labels={labels!r}: the one rule is "dirname" (first folder below the path)')
    if decode not in (None, "image"):
        raise ValueError(f'decode={decode!r}: the one decoder is "image" (uint8 CHW, by Pillow)')


def address_of(
    address: str | None,
    pool: str | None,
    cont: str | None,
    path: str | None,
    snapshot: str | None,
    container: str | None,
) -> str:
    """Return one address from either an address or its parts; TypeError for both or neither."""
    if container is not None:
        if cont is not None:
            raise TypeError("container= is another name of cont=; give one of them")
        cont = container
    parts = {"pool": pool, "cont": cont, "path": path, "snapshot": snapshot}
    for name, value in {"the address": address, **parts}.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is {_kind(value)}, not text such as 'POOL/DATASET@SNAPSHOT/PATH' or a part of it")
    given = [k for k, v in parts.items() if v is not None]
    if address is not None and "/" not in address and cont is not None and pool is None:
        # upstream's positional form: Dataset("pool", "container")
        address, pool, given = None, address, ["pool", *given]
    if address is not None:
        if given:
            raise TypeError(f"an address ({address!r}) and {', '.join(given)}= were both given; give one of them")
        return address
    if pool is None or cont is None:
        raise TypeError('give an address, Dataset("POOL/DATASET@SNAPSHOT/PATH"), or pool= and cont=')
    at = f"@{snapshot}" if snapshot else ""
    tail = "/" + path.strip("/") if path and path.strip("/") else ""
    return f"{pool}/{cont}{at}{tail}"
