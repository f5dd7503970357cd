"""The resume token: where a run is, in less than 300 bytes of JSON.

A token names the manifest (and so the snapshot and the selection), the order
with its version, parameters, seed and pass, and the position in samples of the
global order. It says nothing of ranks, workers and batch size: any number of
each goes on from it. ``docs/order.md`` has the format, ``loader/token`` reads
and writes the same in Go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydaos.torch._order import KINDS, PARAMS, Order, check_params
from pydaos.torch._specs import OrderSpec, spec_from_params

__all__ = ["Token"]

VERSION = 1

#: Longest JSON that is read.
MAX_SIZE = 4096

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

_HINT = "give what `state_dict` returned or `daos loader state` wrote"


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
    params : mapping
        Parameters of the order, those of `Order.params`; empty for kinds that have none.
    """

    manifest: str
    snapshot: str
    order: str
    seed: int
    pass_: int
    position: int
    params: Mapping[str, int | str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the token as a dict of str and int, ready for JSON; ``params``, if there are any, is one too."""
        out: dict[str, Any] = {
            "v": VERSION,
            "manifest": self.manifest,
            "snapshot": self.snapshot,
            "order": self.order,
            "order_v": KINDS[self.order],
            "seed": self.seed,
            "pass": self.pass_,
            "position": self.position,
        }
        if self.params:
            out["params"] = {name: self.params[name] for name in PARAMS[self.order]}
        return out

    def to_json(self) -> str:
        """Return the token as JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_dict(cls, state: Mapping[str, Any] | str | bytes) -> Token:
        """Read a token from a dict or from JSON; ValueError says what is wrong."""
        if isinstance(state, (str, bytes)):
            if len(state) > MAX_SIZE:
                raise ValueError(f"the resume token is {len(state)} bytes long, a token has less than 300; {_HINT}")
            try:
                state = json.loads(state)
            except (ValueError, RecursionError) as err:
                raise ValueError(f"the resume token is not JSON: {err}; {_HINT}") from None
        if not isinstance(state, Mapping):
            raise ValueError(f"a resume token is a dict, not {type(state).__name__}; {_HINT}")
        version = state.get("v")
        if version != VERSION or isinstance(version, (bool, float)):
            raise ValueError(f"the resume token has version {version!r:.40}; this pydaos reads version {VERSION}")
        for name, kind in _FIELDS.items():
            value = state.get(name)
            if not isinstance(value, kind) or isinstance(value, bool) or value == "":
                raise ValueError(f"the resume token's {name!r} is {value!r:.40}, not {kind.__name__}")
        unknown = sorted(str(k)[:40] for k in set(state) - set(_FIELDS) - {"params"})
        if unknown:
            raise ValueError(f"the resume token has unknown fields: {', '.join(unknown)}")
        order = state["order"]
        if order not in KINDS or state["order_v"] != KINDS[order]:
            raise ValueError(
                f"the resume token's order {order!r:.40} version {state['order_v']!r:.40} is not known here; "
                "it was made by another pydaos"
            )
        for name in ("seed", "pass", "position"):
            if not 0 <= state[name] < 1 << 64:
                raise ValueError(f"the resume token's {name!r} is {state[name]!r:.40}, negative or past 2**64-1")
        params = state.get("params", {})
        if not isinstance(params, Mapping) or ("params" in state and not params):
            raise ValueError(f"the resume token's 'params' is {params!r:.40}, not a dict with what the order needs")
        try:
            check_params(order, params)
        except ValueError as err:
            raise ValueError(f"the resume token's order: {err}") from None
        return cls(
            state["manifest"],
            state["snapshot"],
            order,
            state["seed"],
            state["pass"],
            state["position"],
            {name: params[name] for name in PARAMS[order]},
        )

    @classmethod
    def of(cls, manifest: str, snapshot: str, order: Order, position: int) -> Token:
        """Return the token of a position in an order."""
        return cls(manifest, snapshot, order.kind, order.seed, order.pass_, position, order.params)

    def at(self, position: int) -> Token:
        """Return the token for another position of the same pass."""
        return replace(self, position=position)

    def order_spec(self) -> OrderSpec:
        """Return the order that the token names.

        Raises
        ------
        ValueError
            The order needs what a token has only a digest of (weights).
        """
        spec = spec_from_params(self.order, self.params)
        if spec is None:
            raise ValueError(
                f"the resume token's order {self.order!r} was made from weights, of which it has only the digest "
                f"{self.params.get('weights')}: make the loader with the same order=Weighted(...) again"
            )
        return spec

    def differs(self, order: Order) -> str:
        """Return in what ``order`` differs from the token's order in kind or parameters; "" if it does not."""
        if order.kind != self.order:
            return f"the token's order is {self.order!r}, the loader's {order.kind!r}"
        parts = [
            f"{name} is {self.params[name]} in the token, {order.params[name]} in the loader"
            for name in PARAMS[self.order]
            if self.params[name] != order.params[name]
        ]
        return f"order {self.order!r}: {'; '.join(parts)}" if parts else ""

    def check_order(self, order: Order) -> None:
        """ValueError unless ``order`` has the token's kind and parameters."""
        what = self.differs(order)
        if what:
            raise ValueError(
                f"the resume token can't be used here: {what}. Make the loader with the token's order, or without "
                "order= to take it from the token"
            )
