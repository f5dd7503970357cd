"""Iterable style: samples one by one, read by whole requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch.utils.data

import pydaos
from pydaos.torch._arguments import address_of, check_words, connect_options, names_of
from pydaos.torch._batches import Batches, BatchIterator, split_state
from pydaos.torch._empty import check_some
from pydaos.torch._samples import Samples
from pydaos.torch._source import Source
from pydaos.torch._specs import OrderSpec
from pydaos.torch._world import WorldArg

__all__ = ["IterableDataset"]


class IterableDataset(torch.utils.data.IterableDataset[Any]):
    """The samples of a dataset at a snapshot, in the order of a pass.

    ``batch_size`` is the number of samples of one request. Worker w of W makes
    requests w, w + W, ...; when it equals the DataLoader's ``batch_size``, the
    order of samples is one for all numbers of workers.

    Parameters
    ----------
    address, cont, path, transform_fn, pool, snapshot, labels, decode, glob, columns, view, where, allow_empty
        As of `Dataset`.
    batch_size : int
        Samples of one request.
    shuffle : bool
        Global shuffle by (seed, pass), else sequential.
    seed : int
        Seed of the order.
    order : OrderSpec or str, optional
        Another order than these two.
    world : (rank, size), optional
        Read one world rank's share, else that of this process.
    uneven : {"pad", "drop", "keep"}, optional
        What becomes of a tail that does not fill all ranks; see `Dataset.batches`.
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
        batch_size: int = 32,
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
        shuffle: bool = False,
        seed: int = 0,
        order: OrderSpec | str | None = None,
        world: WorldArg | None = None,
        uneven: str | None = None,
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
            world=world,
        )
        try:
            samples = Samples(self.source, transform_fn, labels, decode)
            if not allow_empty:
                check_some(self.source)
            self._batches = Batches(
                self.source, samples, batch_size, shuffle=shuffle, seed=seed, order=order, world=world, uneven=uneven
            )
        except (TypeError, ValueError, pydaos.DaosError):
            self.source.close()
            raise

    def __iter__(self) -> Iterator[Any]:
        return _SampleIterator(BatchIterator(self._batches, samples=True))

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; the loaded one keeps the loaded position, another starts at 0."""
        self._batches._set_epoch(epoch)

    @property
    def epoch(self) -> int:
        """The pass that the next iteration walks."""
        return self._batches.epoch

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Return the resume token; see `Batches.state_dict`.

        The position is that after the sample given out last; among ranks that
        after the last whole global batch, so that a loop that stops within one
        sees its samples again.
        """
        return self._batches.state_dict(consumed)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a resume token at the next ``iter()``."""
        self._batches.load_state_dict(state)

    @property
    def symlinks_skipped(self) -> int:
        """Symbolic links below the path; they are no samples."""
        return self.source.symlinks_skipped

    @property
    def address(self) -> str:
        """``POOL/DATASET@SNAPSHOT[/PATH]`` as pinned."""
        return self.source.address

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their labels (with ``labels="dirname"``)."""
        return list(self.source.classes)

    def worker_init(self, worker_id: int) -> None:
        """Upstream's ``worker_init_fn``; nothing has to be done here."""

    def close(self) -> None:
        """Close this process's connections."""
        self.source.close()

    def __enter__(self) -> IterableDataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _SampleIterator:
    def __init__(self, batches: BatchIterator) -> None:
        self._batches = batches
        self._samples: list[Any] = []
        self._at = 0

    def __iter__(self) -> _SampleIterator:
        return self

    def __next__(self) -> Any:
        while self._at == len(self._samples):
            self._samples = next(self._batches)
            self._at = 0
        sample = self._samples[self._at]
        self._samples[self._at] = None
        self._at += 1
        self._batches.count(self._at, len(self._samples))
        return sample

    def state_dict(self) -> dict[str, Any]:
        """Return where this worker's walk is, to the sample (torchdata's Stateful)."""
        within = self._at < len(self._samples)
        state = self._batches.state_dict()
        return {**state, "given": state["given"] - within, "taken": self._at if within else 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, in a worker of the same number among as many."""
        rest = dict(state)
        taken = rest.pop("taken", 0)
        split_state(rest)
        self._batches.load_state_dict(rest)
        self._samples, self._at = [], 0
        for _ in range(taken):
            next(self)
