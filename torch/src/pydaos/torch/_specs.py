"""What order is wanted: `Shuffle`, `BlockShuffle`, `Weighted` and so on, and what ``order=`` takes.

An `OrderSpec` knows nothing of what is read; ``bind`` makes the `Order` of a
pass over it. ``docs/order.md`` has the definitions.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pydaos.torch._order import Order, check_params
from pydaos.torch._strata import Draws, Strata, quantise

__all__ = [
    "BlockShuffle",
    "OrderSpec",
    "Sequential",
    "Shuffle",
    "Stratified",
    "Weighted",
    "WindowShuffle",
    "spec_from_params",
    "spec_of",
]


class Bindable(Protocol):
    """What an order is bound to; a ``Walkable`` is one."""

    @property
    def samples(self) -> int:
        """Number of samples."""


@dataclass(frozen=True)
class OrderSpec:
    """What order is wanted: base of `Shuffle`, `Sequential`, `BlockShuffle` and so on.

    Frozen and picklable. ``kind`` is the word that a resume token has for it.
    """

    kind: ClassVar[str] = ""

    def bind(self, source: Bindable, seed: int = 0, pass_: int = 0) -> Order:
        """Return the order of a pass over ``source``; ``order.at(pass_=p)`` gives that of another.

        Parameters
        ----------
        source : Walkable
            ``source.samples`` is the number of samples; kinds that go by class
            read ``source.classes`` and ``source.class_sizes``.
        seed, pass_ : int
            What the order is a function of.

        Raises
        ------
        ValueError
            The order can't be made over this source.
        """
        endless = bool(getattr(source, "endless", False))
        n = source.samples
        return Order(self.kind, n, seed, pass_, self._params(), n * pass_ if endless else 0, _endless=endless)

    def _params(self) -> dict[str, int | str]:
        return {}


@dataclass(frozen=True)
class Sequential(OrderSpec):
    """Samples 0, 1, 2, ..."""

    kind: ClassVar[str] = "sequential"


@dataclass(frozen=True)
class Shuffle(OrderSpec):
    """One keyed bijection over all samples."""

    kind: ClassVar[str] = "shuffle"


@dataclass(frozen=True)
class BlockShuffle(OrderSpec):
    """Blocks of contiguous samples in keyed order, shuffled within.

    What is read at a time lies within one block (of ``block`` samples): good
    for caches and disks, and as good a shuffle as the samples' own order is
    random at that scale.
    """

    block: int = 4096
    kind: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        check_params(self.kind, self._params())

    def _params(self) -> dict[str, int | str]:
        return {"block": self.block}


@dataclass(frozen=True)
class WindowShuffle(OrderSpec):
    """A shuffle in a moving window: position x reads within ``window`` samples around x.

    The window moves on by half its size. With ``block`` the samples are first
    put into blocks of so many, in keyed order, and the window moves over those
    (MosaicML's py1e has that shape); without it over the samples' own order.
    """

    window: int = 65536
    block: int = 0
    kind: ClassVar[str] = "window"

    def __post_init__(self) -> None:
        check_params(self.kind, self._params())

    def _params(self) -> dict[str, int | str]:
        return {"block": self.block, "window": self.window}


@dataclass(frozen=True, eq=False)
class Weighted(OrderSpec):
    """Draws with replacement: what stands at a position is drawn by weight, independently.

    Parameters
    ----------
    weights : mapping or 1-D array
        By class, ``{"cat": 1, "dog": 2}`` (names or labels, for
        ``labels="dirname"``): a class is drawn with its share of the sum of
        weights, then one of its samples, each as likely. Or one weight per
        sample. Whole numbers are taken as they are; others are rounded to 32
        bits of the largest.
    samples : int, optional
        Draws of a pass; the number of samples by default.
    """

    weights: Mapping[Any, float] | Sequence[float] | npt.NDArray[Any]
    samples: int | None = None
    kind: ClassVar[str] = "weighted"

    def bind(self, source: Bindable, seed: int = 0, pass_: int = 0) -> Order:
        """Return the order of a pass over ``source``; see `OrderSpec.bind`."""
        if isinstance(self.weights, Mapping):
            names, sizes = class_sizes(source, self.kind)
            given = np.asarray(_by_class(self.weights, names))
            weights = quantise(given, "weights")
            empty = [names[i] for i in np.flatnonzero((weights > 0) & (np.asarray(sizes) == 0))]
            if empty:
                raise ValueError(f"class {empty[0]!r} has a weight and no samples")
            pairs = np.stack([np.asarray(sizes, np.uint64), weights], axis=1)
            digest = _digest(b"weighted:classes", pairs)
            draws = Draws(weights, np.asarray(sizes, np.uint64))
        else:
            given = np.asarray(self.weights)
            if given.ndim != 1 or given.size != source.samples:
                raise ValueError(
                    f"weights of shape {list(given.shape)} for {source.samples} samples; give one per sample"
                )
            weights = quantise(given, "weights")
            digest = _digest(b"weighted:samples", weights)
            draws = Draws(weights, None)
        n = source.samples if self.samples is None else self.samples
        if not isinstance(n, int) or n < 0:
            raise ValueError(f"samples={self.samples!r}: a pass has a whole number of draws")
        _refuse_endless(source, self.kind)
        return Order(self.kind, n, seed, pass_, {"samples": n, "weights": digest}, _draws=draws)


@dataclass(frozen=True, eq=False)
class Stratified(OrderSpec):
    """Every stretch of the order has the classes in their proportions.

    Each sample comes once. Of two classes any stretch has its share to less
    than one sample; of more to less than four, mostly less than one.

    Parameters
    ----------
    labels : 1-D array of int, optional
        The class of each sample; by default the classes of
        ``labels="dirname"``. An array costs 8 bytes a sample, the classes of
        the manifest nothing.
    """

    labels: Sequence[int] | npt.NDArray[Any] | None = None
    kind: ClassVar[str] = "stratified"

    def bind(self, source: Bindable, seed: int = 0, pass_: int = 0) -> Order:
        """Return the order of a pass over ``source``; see `OrderSpec.bind`."""
        _refuse_endless(source, self.kind)
        if source.samples >= 1 << 32:
            raise ValueError(f"{source.samples} samples; a stratified order has less than 2**32")
        if self.labels is None:
            _, sizes = class_sizes(source, self.kind)
            strata = Strata(sizes, None)
            digest = _digest(b"stratified:classes", np.asarray(sizes, np.uint64))
        else:
            labels = np.asarray(self.labels)
            if labels.shape != (source.samples,) or labels.dtype.kind not in "iub":
                raise ValueError(
                    f"labels of shape {list(labels.shape)} and dtype {labels.dtype} for {source.samples} samples; "
                    "give one whole number per sample"
                )
            _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
            strata = Strata(counts.tolist(), np.argsort(which, kind="stable").astype(np.uint64))
            digest = _digest(b"stratified:labels", which.astype(np.uint64))
        return Order(self.kind, source.samples, seed, pass_, {"strata": digest}, _strata=strata)


def _digest(what: bytes, numbers: npt.NDArray[Any]) -> str:
    """16 hex digits of SHA-256 over a name, a zero byte and little-endian 64-bit numbers."""
    h = hashlib.sha256(what + b"\0")
    h.update(np.ascontiguousarray(numbers, "<u8").data)
    return h.hexdigest()[:16]


def class_sizes(source: Bindable, kind: str) -> tuple[list[str], list[int]]:
    """Return names and sizes of the classes; ValueError if ``source`` has none."""
    names, sizes = getattr(source, "classes", None), getattr(source, "class_sizes", None)
    if not names or sizes is None:
        raise ValueError(
            f'order {kind!r} goes by class, and what is read has no classes: open it with labels="dirname", '
            "or give an array with one number per sample"
        )
    if sum(sizes) != source.samples:
        raise ValueError(f"the classes have {sum(sizes)} samples together, what is read has {source.samples}")
    return list(names), [int(s) for s in sizes]


def _by_class(weights: Mapping[Any, float], names: list[str]) -> list[float]:
    labels = {name: i for i, name in enumerate(names)}
    out: dict[int, float] = {}
    for k, w in weights.items():
        label = labels.get(k) if isinstance(k, str) else int(k)
        if label is None or not 0 <= label < len(names):
            near = difflib.get_close_matches(str(k), names, 1)
            hint = f"; the nearest name is {near[0]!r}" if near else f"; there are {len(names)}"
            raise ValueError(f"there is no class {k!r}{hint}")
        out[label] = w
    missing = [name for i, name in enumerate(names) if i not in out]
    if missing:
        raise ValueError(f"class {missing[0]!r} has no weight (0 leaves a class out)")
    return [out[i] for i in range(len(names))]


def _refuse_endless(source: Bindable, kind: str) -> None:
    if getattr(source, "endless", False):
        raise ValueError(f"order {kind!r} can't be laid over a mixture: give its parts their weights instead")


_SPECS: dict[str, type[OrderSpec]] = {
    "sequential": Sequential,
    "shuffle": Shuffle,
    "block": BlockShuffle,
    "window": WindowShuffle,
    "weighted": Weighted,
    "stratified": Stratified,
}


def spec_of(order: OrderSpec | str | None, *, shuffle: bool = False) -> OrderSpec:
    """Return the order that an ``order=`` argument asks for; None is ``shuffle`` or sequential.

    Raises
    ------
    ValueError
        An unknown word, or one that needs parameters.
    """
    if order is None:
        return Shuffle() if shuffle else Sequential()
    if isinstance(order, OrderSpec):
        return order
    if not isinstance(order, str):
        raise TypeError(f"order={order!r}: give a name or an OrderSpec such as BlockShuffle(block=4096)")
    if order == "weighted":
        raise ValueError('order="weighted" needs weights: give order=Weighted(weights)')
    made = _SPECS.get(order)
    if made is None:
        near = difflib.get_close_matches(order, _SPECS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"order {order!r} is not known{hint}; use one of {', '.join(sorted(_SPECS))}")
    return made()


def spec_from_params(kind: str, params: Mapping[str, Any]) -> OrderSpec | None:
    """Return the spec that a token's order names, None if its arrays are needed for it."""
    if kind == "weighted":
        return None
    if kind == "block":
        return BlockShuffle(int(params["block"]))
    if kind == "window":
        return WindowShuffle(int(params["window"]), int(params["block"]))
    return _SPECS[kind]()
