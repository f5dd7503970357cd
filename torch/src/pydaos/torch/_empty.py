"""Nothing to read: an error that says what was looked for, and what lies there instead.

A loop over nothing ends at once and looks like a very fast pass. As
torchvision's ``ImageFolder`` and torch's ``RandomSampler`` do, it is refused
where the dataset is opened, unless the caller knows of it.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import pydaos
from pydaos.torch._source import Source

__all__ = ["check_some"]

#: Names that an error shows.
SHOWN = 5


def check_some(source: Source) -> None:
    """NotFoundError if there is no sample."""
    if source.samples:
        return
    s, there = source.selection, ""
    if s.where:
        why = f"nothing meets where={s.where!r}"
    elif s.view:
        why = f"view {s.view!r} has none"
    elif not source.is_files:
        why = "there are no rows"
    else:
        kind, names = _names(source)
        there = f"; there is {', '.join(names)}" if names else "; there is nothing at all"
        if s.glob:
            why = f"no {kind} matches glob={s.glob!r}, which is matched with the whole path: '**/*.png'"
        elif s.label_dirname:
            why = f'no folder with {kind}s in it, and labels="dirname" takes classes from folders'
        else:
            why = f"there are no {kind}s"
    raise pydaos.NotFoundError(
        f"{source.address}: no samples: {why}{there}",
        resource=source.address,
        resolution="allow_empty=True opens it all the same",
    )


def _names(source: Source) -> tuple[str, list[str]]:
    """Return what the samples are called, and some names of what lies at the path."""
    s, names = source.selection, []
    try:
        there: Any = source.client().dataset(source.snapshot)
        if isinstance(there, pydaos.KV):
            kind = "value"
            prefix = s.path + b"/" if s.path else b""
            names = [repr(k.decode(errors="replace")) for k in islice(there.keys(prefix=prefix), SHOWN + 1)]
        else:
            kind = "file"
            names = [e.name + "/" * e.is_dir() for e in islice(there.scandir(s.path), SHOWN + 1)]
    except pydaos.DaosError:
        return "file", []
    return kind, names if len(names) <= SHOWN else [*names[:SHOWN], "..."]
