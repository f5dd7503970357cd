"""Map style: ``DataLoader(Dataset("p/photos@v1/train"), 32, shuffle=True)``."""

from __future__ import annotations

import mmap
import operator
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.context import get_spawning_popen
from typing import Any, SupportsIndex

import torch.utils.data

import pydaos
from pydaos.torch._arguments import address_of, check_words, connect_options, names_of
from pydaos.torch._batches import NEEDLESS_WORKERS, Batches
from pydaos.torch._empty import check_some
from pydaos.torch._plan import Pass
from pydaos.torch._sampler import PassSampler
from pydaos.torch._samples import Samples, key_of
from pydaos.torch._source import Source
from pydaos.torch._specs import OrderSpec
from pydaos.torch._where import tell_where, words
from pydaos.torch._world import WorldArg, resolve

__all__ = ["Dataset"]


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
    view : str
        The samples of a view (``daos query find ... --save-view``), in its order: they are
        read at its snapshot, which the address need not name.
    where : str
        Only samples that meet a condition, in their order: ``"size > 1000"``. With a
        view, those of its samples.
    allow_empty : bool
        Open what has no samples; else that is an error, as nearly always something
        is misspelt: a loop over it would end at once and say nothing.
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
        The pool, dataset, snapshot or path does not exist; or there are no samples.

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
        view: str = "",
        where: str = "",
        allow_empty: bool = False,
        addr: str | None = None,
        token: str | None = None,
        token_file: str | None = None,
        retry: float | None = None,
        timeout: float | None = None,
    ) -> None:
        check_words(labels, decode)
        at = address_of(address, pool, cont, path, snapshot, container)
        connect = connect_options(addr=addr, token=token, token_file=token_file, retry=retry, timeout=timeout)
        self.source = Source(
            at,
            glob=glob,
            columns=names_of(columns),
            label_dirname=labels == "dirname",
            view=view,
            where=where,
            connect=connect,
        )
        try:
            self._samples = Samples(self.source, transform_fn, labels, decode)
            self.source.handed_out = self._samples.ready
            if not allow_empty:
                check_some(self.source)
        except (ValueError, pydaos.DaosError):
            self.source.close()
            raise
        self._last: Pass | None = None
        self._set_up()

    def _set_up(self) -> None:
        # A byte that forked workers share: whether it was said that they are not needed.
        self._said = mmap.mmap(-1, 1)

    # -- torch.utils.data -------------------------------------------------

    def __len__(self) -> int:
        return self.source.samples

    def __getitem__(self, index: SupportsIndex) -> Any:
        k = operator.index(index)
        self.source.check_reader()
        try:
            raw = self.source.fetch([k])
            return self._samples.one(raw, 0, k % len(self), getattr(index, "key", (0, 0)))
        except Exception as err:
            tell_where(err, self._where(f"sample {k}"))
            raise

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        self.source.check_reader()
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
        if _starts_worker():
            self.source.check_reader()  # a spawned worker has no process group to ask
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
        return list(self.source.classes)

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
        s = self.source.selection
        chosen = (f", view={s.view!r}" if s.view else "") + (f", where={s.where!r}" if s.where else "")
        return f"Dataset({self.address!r}{chosen}, samples={len(self)})"


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
