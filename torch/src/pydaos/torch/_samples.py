"""What a sample is made into: decoded, then the user's transform, which may take a random generator of its own.

The generator's numbers are a function of (seed, pass, sample index): the same
for any workers, threads, ranks and batch size, and after a resume.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pydaos
from pydaos.torch._bijection import mix64
from pydaos.torch._columns import decode_image
from pydaos.torch._source import Source
from pydaos.torch._where import no_end, note

__all__ = ["Samples", "key_of", "sample_rng", "takes_rng"]

_GOLDEN = 0x9E3779B97F4A7C15


def sample_rng(seed: int, pass_: int, index: int) -> np.random.Generator:
    """Return the random generator of one sample in one pass: Philox, keyed by all three."""
    key = mix64(mix64(mix64(seed + _GOLDEN) + pass_ + _GOLDEN) + index + _GOLDEN)
    return np.random.Generator(np.random.Philox(key=key))


def takes_rng(transform_fn: Callable[..., Any] | None) -> bool:
    """Whether a transform has a parameter named ``rng`` that is still free."""
    if transform_fn is None:
        return False
    try:
        parameter = inspect.signature(transform_fn).parameters.get("rng")
    except (TypeError, ValueError):
        return False  # a builtin
    if parameter is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return False
    return "rng" not in getattr(transform_fn, "keywords", {})  # functools.partial


def key_of(indices: Sequence[Any]) -> tuple[int, int]:
    """Return the (seed, pass) that asks for a batch; (0, 0) of a sampler that does not say it."""
    key: tuple[int, int] | None = getattr(indices, "key", None)
    if key is None and len(indices):
        key = getattr(indices[0], "key", None)
    return key or (0, 0)


class Samples:
    """What a sample is made into: decode, then the user's transform."""

    def __init__(
        self, source: Source, transform_fn: Callable[..., Any] | None, labels: str | None, decode: str | None
    ) -> None:
        if decode is not None and not source.is_files:
            raise ValueError("decode= is for files; the columns of a tensor dataset are tensors already")
        self.labels = labels
        self.keyed = takes_rng(transform_fn)
        self._source = source
        self._transform = transform_fn
        self._decode = decode_image if decode == "image" else None

    @property
    def ready(self) -> bool:
        """Whether nothing is to be done to a sample, so that batches come ready."""
        return self._transform is None and self._decode is None

    def one(self, raw: Any, i: int, index: int, key: tuple[int, int] = (0, 0)) -> Any:
        """Return sample ``i`` of a batch, whose sample index is ``index``, as the user sees it.

        ``key`` is (seed, pass). Safe in several threads.
        """
        sample = self._source.sample_at(raw, i)
        if self.ready:
            return sample
        try:
            if self.labels:
                x, y = sample
                return self._made(x, index, key), y
            return self._made(sample, index, key)
        except StopIteration as err:
            raise no_end(err, f"the transform of sample {index}{self._name(index)} of {self._source.snapshot}") from err
        except Exception as err:
            note(err, f"in sample {index}{self._name(index)} of {self._source.snapshot}")
            raise

    def _name(self, index: int) -> str:
        """Return the path of a sample that can't be decoded or transformed, for people to look at."""
        if not self._source.is_files:
            return ""
        try:
            return f", {self._source.paths([index])[0]},"
        except pydaos.DaosError:
            return ""

    def each(self, raw: Any, indices: Any, key: tuple[int, int] = (0, 0)) -> list[Any]:
        """Return all samples of a batch as the user sees them."""
        return [self.one(raw, i, int(index), key) for i, index in enumerate(indices)]

    def _made(self, x: Any, index: int, key: tuple[int, int]) -> Any:
        if self._decode is not None:
            x = self._decode(x)
        elif isinstance(x, bytes):
            x = bytes(x)
        if self._transform is None:
            return x
        if self.keyed:
            return self._transform(x, rng=sample_rng(*key, index))
        return self._transform(x)
