"""The order of a pass: which sample stands at position x. A value, no I/O.

An `OrderSpec` says what order is wanted; bound to what is read it is an
`Order`, a function of (kind, parameters, seed, pass, number of samples) that
can begin anywhere: ``order.take(start, stop)``. None needs memory that grows
with the samples, but for the arrays that a user gives (weights, labels).

``docs/order.md`` has the definitions; ``loader/order`` is the same in Go, and
``loader/order/testdata`` holds vectors that both are tested with. The
arithmetic is in `_bijection`, draws and strata in `_strata`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pydaos.torch._bijection import bijection, feistel, mix64, pass_key, side, sub, subs
from pydaos.torch._strata import Draws, Strata, quantise

__all__ = [
    "BLOCK",
    "KINDS",
    "BlockShuffle",
    "Order",
    "OrderSpec",
    "Sequential",
    "Shuffle",
    "Stratified",
    "Weighted",
    "WindowShuffle",
    "mix64",
    "spec_of",
]

U64 = npt.NDArray[np.uint64]

#: Indices made at a time.
BLOCK = 8192

#: Kinds of order and the newest version of each.
KINDS = {"sequential": 1, "shuffle": 1, "block": 1, "window": 1, "weighted": 1, "stratified": 1}

#: Parameters of each kind, in the order in which a token has them.
PARAMS: dict[str, dict[str, type]] = {
    "sequential": {},
    "shuffle": {},
    "block": {"block": int},
    "window": {"block": int, "window": int},
    "weighted": {"samples": int, "weights": str},
    "stratified": {"strata": str},
}

#: Most samples of an order, so that the arithmetic cannot overflow.
MAX_SAMPLES = 1 << 62

# Purposes of the keys made from the key of a pass.
_BLOCKS, _WITHIN, _STAGGERED, _ALIGNED = 1, 2, 3, 4


class Bindable(Protocol):
    """What an order is bound to; a ``Walkable`` is one."""

    @property
    def samples(self) -> int:
        """Number of samples."""


@dataclass(frozen=True)
class Order:
    """The order of one pass.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    n : int
        Positions of the pass; the number of samples, unless the kind draws.
    seed, pass_ : int
        Taken modulo 2**64. The order is a function of kind, parameters, seed,
        pass and n.
    params : mapping
        What the kind needs beyond a seed: small numbers and digests, the same
        that the resume token has.
    base : int
        Added to every index; what reads without end begins its passes there.
    """

    kind: str
    n: int
    seed: int = 0
    pass_: int = 0
    params: Mapping[str, int | str] = field(default_factory=dict)
    base: int = 0
    #: Whether pass p begins at index p * n.
    _endless: bool = field(default=False, compare=False, repr=False)
    _draws: Draws | None = field(default=None, compare=False, repr=False)
    _strata: Strata | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"order {self.kind!r} is not known; use one of {', '.join(sorted(KINDS))}")
        if not 0 <= self.n <= MAX_SAMPLES:
            raise ValueError(f"an order of {self.n} samples is not possible")
        check_params(self.kind, self.params)
        if (self.kind == "weighted" and self._draws is None) or (self.kind == "stratified" and self._strata is None):
            raise ValueError(f"an order of kind {self.kind!r} is made by binding its OrderSpec to what is read")

    def at(self, *, seed: int | None = None, pass_: int | None = None) -> Order:
        """Return the order of another pass or seed."""
        to_pass = self.pass_ if pass_ is None else pass_
        base = self.base + (to_pass - self.pass_) * self.n if self.base or self._endless else 0
        return replace(self, seed=self.seed if seed is None else seed, pass_=to_pass, base=base)

    def take(self, start: int, stop: int) -> U64:
        """Return the sample indices at positions ``start`` to ``stop``, uint64."""
        if not 0 <= start <= stop <= self.n:
            raise IndexError(f"positions {start}:{stop} are not within a pass of {self.n} samples")
        x = np.arange(start, stop, dtype=np.uint64)
        y = self._map(x) if x.size else x
        return y + np.uint64(self.base) if self.base else y

    def _map(self, x: U64) -> U64:
        key = pass_key(self.seed, self.pass_)
        if self._draws is not None:
            return self._draws.take(x, key)
        if self._strata is not None:
            return self._strata.take(x, key)
        if self.kind == "sequential" or self.n < 2:
            return x
        if self.kind == "shuffle":
            return feistel(x, self.n, key)
        block = int(self.params["block"])
        if self.kind == "block":
            return _arrange(x, self.n, block, key, within=True)
        half = int(self.params["window"]) // 2
        x = _within_groups(x, self.n, half, half // 2, key, _STAGGERED)
        x = _within_groups(x, self.n, half, half, key, _ALIGNED)
        return _arrange(x, self.n, block, key, within=False) if block else x

    def __iter__(self) -> Iterator[int]:
        return self.iter_from(0)

    def iter_from(self, position: int) -> Iterator[int]:
        """Yield the sample indices from a position on, made in blocks."""
        while position < self.n:
            stop = min(position + BLOCK, self.n)
            yield from self.take(position, stop).tolist()
            position = stop


def _arrange(x: U64, n: int, block: int, key: int, *, within: bool) -> U64:
    """Map positions to samples, block by block in keyed order; ``within`` also shuffles each."""
    count = -(-n // block)
    size, tail = np.uint64(block), n - (count - 1) * block
    a, b = side(count)
    order_key = sub(key, _BLOCKS, 0)
    # The last block is short: positions behind its place are those of whole blocks.
    if tail < block:
        place = _inverse(count - 1, count, a, b, order_key) * block
        x = np.where(x < np.uint64(place + tail), x, x + np.uint64(block - tail))
    slot = x // size
    offset = x - slot * size
    # Positions come in few blocks: each block's own numbers are made once.
    slots, where = _dense(slot)
    blocks = bijection(slots, count, a, b, order_key)
    if within:
        keys = subs(key, _WITHIN, blocks)
        sizes = np.where(blocks == np.uint64(count - 1), np.uint64(tail), size)
        offset = _sized(offset, sizes[where], keys[where], (block, tail))
    out: U64 = blocks[where] * size + offset
    return out


def _within_groups(x: U64, n: int, size: int, first: int, key: int, tag: int) -> U64:
    """Shuffle positions within groups: one of ``first`` (if any), then of ``size`` each, the last short."""
    first = first or size
    shift = np.uint64(size - first)
    usize = np.uint64(size)
    group = (x + shift) // usize
    start = group * usize
    start = np.where(group == 0, np.uint64(0), start - shift)
    groups, where = _dense(group)
    begins = np.where(groups == 0, np.uint64(0), groups * usize - shift)
    ends = np.minimum((groups + np.uint64(1)) * usize - shift, np.uint64(n))
    sizes = ends - begins
    out: U64 = start + _sized(x - start, sizes[where], subs(key, tag, groups)[where], sizes.tolist())
    return out


def _dense(number: U64) -> tuple[U64, npt.NDArray[np.intp]]:
    """Return all numbers from the least to the largest, and where each element stands among them."""
    low = number.min()
    return np.arange(low, number.max() + np.uint64(1), dtype=np.uint64), (number - low).astype(np.intp)


def _sized(x: U64, m: U64, key: U64, sizes: Sequence[int]) -> U64:
    """Apply a bijection to every element, its domain being one of a few sizes."""
    if len(set(sizes)) == 1:
        a, b = side(sizes[0])
        return bijection(x, m, a, b, key)
    a_of, b_of = np.empty_like(m), np.empty_like(m)
    for s in set(sizes):
        same = m == np.uint64(s)
        a_of[same], b_of[same] = side(s)
    return bijection(x, m, a_of, b_of, key)


def _inverse(y: int, m: int, a: int, b: int, key: int) -> int:
    """Return the x of [0, m) that `bijection` maps to y."""
    golden = 0x9E3779B97F4A7C15
    mask = (1 << 64) - 1
    while True:
        right, left = divmod(y, a)
        for i in (7, 5, 3, 1):
            right = (right - ((mix64(left ^ (key + (i + 1) * golden & mask)) >> 32) * b >> 32)) % b
            left = (left - ((mix64(right ^ (key + i * golden & mask)) >> 32) * a >> 32)) % a
        y = right * a + left
        if y < m:
            return y


def check_params(kind: str, params: Mapping[str, Any]) -> None:
    """ValueError unless ``params`` are those of the kind; ``block`` of "window" may be 0."""
    want = PARAMS[kind]
    for name in params:
        if name not in want:
            raise ValueError(f"order {kind!r} has no parameter {name!r}; it has {', '.join(want) or 'none'}")
    for name, type_ in want.items():
        value = params.get(name)
        if not isinstance(value, type_) or isinstance(value, bool):
            raise ValueError(f"order {kind!r} needs {name!r}, {type_.__name__}; it is {value!r}")
        least = {("window", "window"): 4, ("window", "block"): 0, ("weighted", "samples"): 0}.get((kind, name), 1)
        if isinstance(value, int) and not least <= value <= MAX_SAMPLES:
            raise ValueError(f"order {kind!r}: {name} is {value}, at least {least}")
        if isinstance(value, str) and (len(value) != 16 or set(value) - set("0123456789abcdef")):
            raise ValueError(f"order {kind!r}: {name!r} is {value[:40]!r}, not a digest of 16 hex digits")


# -- specs -----------------------------------------------------------------


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
