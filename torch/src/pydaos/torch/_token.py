"""The resume token: where a run is, in less than 300 bytes of JSON.

A token names the manifest (and so the snapshot and the selection), the order
with its version, seed and pass, and the position in samples of the global
order. It says nothing of ranks, workers and batch size: any number of each
goes on from it. ``docs/order.md`` has the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydaos.torch._order import KINDS

__all__ = ["Token"]

VERSION = 1
_FIELDS = {
    "v": int,
    "manifest": str,
    "snapshot": str,
    "order": str,
    "order_v": int,
    "seed": int,
    "pass": int,
    "position": int,
}


@dataclass(frozen=True)
class Token:
    """A position in a pass.

    Attributes
    ----------
    manifest : str
        Id of the manifest, hex.
    snapshot : str
        ``POOL/DATASET@SNAPSHOT``.
    order : str
        Kind of order.
    seed, pass_ : int
        What the order is a function of.
    position : int
        Samples of the global order that have been consumed.
    """

    manifest: str
    snapshot: str
    order: str
    seed: int
    pass_: int
    position: int

    def to_dict(self) -> dict[str, Any]:
        """Return the token as a flat dict of str and int, ready for JSON."""
        return {
            "v": VERSION,
            "manifest": self.manifest,
            "snapshot": self.snapshot,
            "order": self.order,
            "order_v": KINDS[self.order],
            "seed": self.seed,
            "pass": self.pass_,
            "position": self.position,
        }

    def to_json(self) -> str:
        """Return the token as JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_dict(cls, state: Mapping[str, Any] | str | bytes) -> Token:
        """Read a token from a dict or from JSON; ValueError says what is wrong."""
        if isinstance(state, (str, bytes)):
            try:
                state = json.loads(state)
            except ValueError as err:
                raise ValueError(f"the resume token is not JSON: {err}") from None
        if not isinstance(state, Mapping):
            raise ValueError(f"a resume token is a dict, not {type(state).__name__}")
        version = state.get("v")
        if version != VERSION:
            raise ValueError(f"the resume token has version {version!r}; this pydaos reads version {VERSION}")
        for name, kind in _FIELDS.items():
            value = state.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"the resume token's {name!r} is {value!r}, not {kind.__name__}")
        unknown = sorted(set(state) - set(_FIELDS))
        if unknown:
            raise ValueError(f"the resume token has unknown fields: {', '.join(map(str, unknown))}")
        order = state["order"]
        if order not in KINDS or state["order_v"] != KINDS[order]:
            raise ValueError(
                f"the resume token's order {order!r} version {state['order_v']} is not known here; "
                "it was made by another pydaos"
            )
        if state["position"] < 0 or state["pass"] < 0:
            raise ValueError(f"the resume token's position {state['position']} or pass {state['pass']} is negative")
        return cls(state["manifest"], state["snapshot"], order, state["seed"], state["pass"], state["position"])

    def at(self, position: int) -> Token:
        """Return the token for another position of the same pass."""
        return replace(self, position=position)
