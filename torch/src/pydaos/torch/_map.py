"""Map style: ``DataLoader(Dataset("p/photos@v1/train"), 32, shuffle=True)``."""

from __future__ import annotations

import inspect
import mmap
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.context import get_spawning_popen
from typing import Any, SupportsIndex

import numpy as np
import torch.utils.data

import pydaos
from pydaos.torch._batches import NEEDLESS_WORKERS, Batches
from pydaos.torch._columns import decode_image
from pydaos.torch._order import OrderSpec, mix64
from pydaos.torch._plan import Pass
from pydaos.torch._sampler import PassSampler
from pydaos.torch._source import Source, log
from pydaos.torch._where import note, tell_where, words
from pydaos.torch._world import WorldArg, resolve

__all__ = ["Dataset"]


def resolve_address(
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


def check_words(labels: str | None, decode: str | None) -> None:
    """ValueError for words that mean nothing; before anything is opened or pinned for them."""
    if labels not in (None, "dirname"):
        raise ValueError(f'labels={labels!r}: the one rule is "dirname" (first folder below the path)')
    if decode not in (None, "image"):
        raise ValueError(f'decode={decode!r}: the one decoder is "image" (uint8 CHW, by Pillow)')


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


class Dataset(torch.utils.data.Dataset[Any]):
    """The samples of a dataset at a snapshot, by index.

    Files (POSIX datasets): a sample is the file's ``bytes``, or what ``decode``
    and ``transform_fn`` make of it; with ``labels="dirname"`` a tuple
    ``(x, int)``. Rows (tensor datasets): a sample is a dict of column ->
    tensor. Sample i is the same for every process, run and layout: files in
    depth-first order, names of a directory in byte order; rows in theirs.

    ``__getitems__`` makes one request for a whole batch, and a stock
    ``DataLoader`` gets the batch ready: without a transform a ``[B, n]`` uint8
    tensor if all files have n bytes, else a `Ragged`; a dict of ``[B, ...]``
    tensors for rows. With stock ``shuffle=True`` the order is torch's; give
    ``sampler=data.sampler(seed=0)`` for one that can be resumed.

    Parameters
    ----------
    address : str, optional
        ``POOL/DATASET[@SNAPSHOT][/PATH]``; or give the parts.
    pool, cont, path, snapshot : str, optional
        Parts of the address (``container`` is another name of ``cont``).
    transform_fn : callable, optional
        Applied to each sample (to x alone where there are labels).
    labels : {"dirname"}, optional
        ImageFolder's rule: the first folder below the path, sorted.
    decode : {"image"}, optional
        Make a uint8 CHW tensor of each file.
    glob : str
        Which files, a glob over the whole path below ``path``: ``"**/*.png"``.
    columns : sequence of str
        Which columns of a tensor dataset.
    addr, token, token_file : str, optional
        The server and its token, if not the one that is found by itself.
    retry, timeout : float, optional
        Seconds to wait for a server that has gone, and for one answer of a server
        that is there; 60 each by default.
    readdir_batch_size, dir_cache_size, readdir_workers
        Upstream's; accepted and not used, since nothing is listed here.

    Raises
    ------
    pydaos.DObjNotFound
        The pool, dataset, snapshot or path does not exist.

    Examples
    --------
    >>> data = Dataset("p/photos@v1/train", labels="dirname", decode="image")  # doctest: +SKIP
    >>> loader = torch.utils.data.DataLoader(data, 32, shuffle=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        address: str | None = None,
        cont: str | None = None,
        path: str | None = None,
        transform_fn: Callable[[Any], Any] | None = None,
        readdir_batch_size: int | None = None,
        dir_cache_size: int | None = None,
        readdir_workers: int | None = None,
        *,
        pool: str | None = None,
        snapshot: str | None = None,
        container: str | None = None,
        labels: str | None = None,
        decode: str | None = None,
        glob: str = "",
        columns: Sequence[str] = (),
        addr: str | None = None,
        token: str | None = None,
        token_file: str | None = None,
        retry: float | None = None,
        timeout: float | None = None,
    ) -> None:
        check_words(labels, decode)
        where = resolve_address(address, pool, cont, path, snapshot, container)
        connect = {"addr": addr, "token": token, "token_file": token_file, "retry": retry, "timeout": timeout}
        self.source = Source(
            where,
            glob=glob,
            columns=columns,
            label_dirname=labels == "dirname",
            connect={k: v for k, v in connect.items() if v is not None},
        )
        try:
            self._samples = Samples(self.source, transform_fn, labels, decode)
        except ValueError:
            self.source.close()
            raise
        if glob and not len(self):
            log.warning("%s: no file matches glob=%r; it is matched with the whole path: '**/*.png'", where, glob)
        self._last: Pass | None = None
        self._set_up()

    def _set_up(self) -> None:
        # A byte that forked workers share: whether it was said that they are not needed.
        self._said = mmap.mmap(-1, 1)

    # -- torch.utils.data -------------------------------------------------

    def __len__(self) -> int:
        return self.source.samples

    def __getitem__(self, index: SupportsIndex) -> Any:
        k = index.__index__()
        try:
            raw = self.source.fetch([k])
            return self._samples.one(raw, 0, k % len(self), getattr(index, "key", (0, 0)))
        except Exception as err:
            tell_where(err, self._where(f"sample {k}"))
            raise

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        try:
            if self._samples.ready:
                batch = self.source.fetch_ready(indices)
                info = torch.utils.data.get_worker_info()
                if info is not None and info.id == 0 and not self._said[0]:
                    self._needless(info.num_workers)
                return batch
            raw = self.source.fetch(indices)
            return self._samples.each(raw, [i.__index__() % len(self) for i in indices], key_of(indices))
        except Exception as err:
            first = f", the first of them sample {indices[0]}" if len(indices) else ""
            tell_where(err, self._where(f"a batch of {len(indices)} samples{first}"))
            raise

    def _where(self, samples: str) -> str:
        info = torch.utils.data.get_worker_info()
        world = resolve()
        return words(
            self.source.snapshot,
            world=world[:2] if world.size > 1 else None,
            worker=(info.id, info.num_workers) if info is not None else (0, 0),
            samples=samples,
        )

    def _needless(self, workers: int | None) -> None:
        self._said[0] = 1
        warnings.warn(NEEDLESS_WORKERS.format(workers or "..."), stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        if self._samples.ready and not self._said[0] and _starts_worker():
            # A spawned worker shares no byte with the next one: it is said here.
            self._needless(None)
        state = self.__dict__.copy()
        del state["_said"]
        state["_last"] = None
        return {**state, "_told": self._said[0]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        told = state.pop("_told")
        self.__dict__.update(state)
        self._set_up()
        self._said[0] = told

    # -- our order ----------------------------------------------------------

    def sampler(
        self,
        *,
        shuffle: bool = True,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        world: WorldArg | None = None,
        batch_size: int = 1,
        uneven: str | None = None,
        drop_last: bool = False,
    ) -> PassSampler:
        """Return a stateful sampler of our order: O(1) memory, resumable.

        With more than one rank give it the DataLoader's batch size; see `PassSampler`.
        """
        sampler = PassSampler(
            self.source,
            shuffle=shuffle,
            seed=seed,
            order=order,
            world=world,
            batch_size=batch_size,
            uneven=uneven,
            drop_last=drop_last,
            keyed=self._samples.keyed,
        )
        self._last = sampler.pass_
        return sampler

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        drop_last: bool = False,
        world: WorldArg | None = None,
        uneven: str | None = None,
        prefetch: int = 4,
        with_index: bool = False,
    ) -> Batches:
        """Return an iterable of ready batches, for ``DataLoader(..., batch_size=None)`` or a plain loop.

        Parameters
        ----------
        batch_size : int
            Samples of a batch, of each rank; a global batch has ``batch_size * size``.
        shuffle, seed, order
            The order is a function of (order, seed, pass): global shuffle, sequential,
            or the `OrderSpec` given.
        drop_last : bool
            Leave out a last global batch that is not whole.
        world : (rank, size), optional
            The rank read for, else that of this process.
        uneven : {"pad", "drop", "keep"}, optional
            What becomes of a tail that does not fill all ranks: filled up with the first
            samples of the pass, cut to what all can share, or kept as it is. By default
            "pad" among ranks, "keep" alone.
        prefetch : int
            Requests in flight ahead of the loop.
        with_index : bool
            Yield ``(indices, batch)``, the indices an int64 tensor.
        """
        return Batches(
            self.source,
            self._samples,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            order=order,
            drop_last=drop_last,
            world=world,
            uneven=uneven,
            prefetch=prefetch,
            with_index=with_index,
        )

    def state_dict(
        self,
        consumed: int | None = None,
        *,
        seed: int | None = None,
        pass_: int | None = None,
        shuffle: bool = True,
        order: OrderSpec | str | None = None,
    ) -> dict[str, Any]:
        """Return the resume token of a run that has consumed so many samples of a pass.

        A stock DataLoader reads ahead, in other processes with workers: nobody but
        the loop knows what it has consumed.

        Parameters
        ----------
        consumed : int
            Samples of the global order: batches of the loop times the batch size,
            times the number of ranks.
        seed, pass_, shuffle, order
            Of what order; by default that of the sampler made last by `sampler`.

        Raises
        ------
        ValueError
            ``consumed`` is missing, or not within a pass.
        """
        if consumed is None:
            raise ValueError(
                "a dataset does not know what a loop has consumed of it: say how many samples of the global order, "
                "state_dict(consumed=batches * batch_size * ranks), or use pydaos.torch.DataLoader"
            )
        walk = self._last
        if seed is not None or order is not None or walk is None:
            if seed is None:
                raise ValueError(
                    "of which order? Make a sampler by sampler(seed=...) first, or give state_dict(..., seed=...)"
                )
            walk = Pass(self.source, order=order, shuffle=shuffle, seed=seed)
        number = walk.number if pass_ is None else pass_
        return walk.token_of(number, consumed).to_dict()

    # -- about the samples ------------------------------------------------

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their labels (with ``labels="dirname"``)."""
        return list(self.source.info.classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label."""
        return {name: i for i, name in enumerate(self.classes)}

    def paths(self, indices: Sequence[int]) -> list[str]:
        """Return the paths of samples, relative to the dataset's path."""
        return self.source.paths(indices)

    @property
    def objects(self) -> ObjectList:
        """Upstream's list of (path, size), read on demand."""
        return ObjectList(self.source)

    @property
    def symlinks_skipped(self) -> int:
        """Symbolic links below the path; they are no samples."""
        return self.source.symlinks_skipped

    @property
    def address(self) -> str:
        """``POOL/DATASET@SNAPSHOT[/PATH]`` as pinned."""
        return self.source.address

    # -- upstream -------------------------------------------------------------

    def worker_init(self, worker_id: int) -> None:
        """Upstream's ``worker_init_fn``; nothing has to be done here."""

    def close(self) -> None:
        """Close this process's connections."""
        self.source.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dataset({self.address!r}, samples={len(self)})"


def _starts_worker() -> bool:
    """Whether a DataLoader is pickling its dataset for a worker; a rank that is spawned with one is none."""
    if get_spawning_popen() is None:
        return False
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").endswith("dataloader"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class ObjectList(Sequence[Any]):
    """A lazy sequence of (path, size)."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return self._source.samples

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [(os.fsdecode(n), size) for n, size in self._source.describe(range(len(self))[i])]
        ((name, size),) = self._source.describe([i])
        return os.fsdecode(name), size
