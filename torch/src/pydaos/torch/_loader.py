"""`DataLoader`: torch's, with our order, a position that counts what the loop got, and threads.

It subclasses torch's for its arguments, checks and attributes, and replaces
how batches come about. Start at `DataLoader._run`: in this process over a
stream of requests (`_here.Here`), or in torch's worker processes
(`_workers.Crew`). What a pass is and where it stands is in `_book`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch.utils.data
from torch.utils.data import Sampler

from pydaos.torch._arguments import check_progress, seconds, seed_of, whole
from pydaos.torch._batches import NEEDLESS_WORKERS, Batches
from pydaos.torch._book import Given, Ours, Run
from pydaos.torch._drawn import Drawn, Sized
from pydaos.torch._here import Here
from pydaos.torch._iterable import IterableDataset
from pydaos.torch._iterating import PassIterator
from pydaos.torch._making import Making
from pydaos.torch._metrics import Counters
from pydaos.torch._order import mix64
from pydaos.torch._over import BatchSamplerOver, sampler_over, walk_over
from pydaos.torch._sampler import PassSampler, RankBatches, _Walk
from pydaos.torch._views import PlainView, walkable
from pydaos.torch._workers import Crew, Turn
from pydaos.torch._world import WorldArg, check_pins, refresh, resolve

__all__ = ["DataLoader", "PassIterator"]

_DEFAULT_COLLATE = (torch.utils.data.default_collate, torch.utils.data.default_convert)
_FIXED = ("seed", "order", "world", "uneven", "transform_threads")


class DataLoader(torch.utils.data.DataLoader[Any]):
    """A ``torch.utils.data.DataLoader`` that is exactly reproducible and exactly resumable.

    All arguments of torch's are taken and mean what they mean there, except
    that ``shuffle=True`` gives our order, a function of (seed, pass), and
    ``in_order=False`` is refused. ``state_dict()`` is the resume token after the
    batch that the loop got last, whatever was read ahead; another loader goes
    on from it with other workers, ranks and batch size.

    With ``num_workers=0`` the next batches are requested ahead, and decoding and
    transforms run on ``transform_threads`` threads ahead of the loop. With
    workers these are torch's processes; one that is killed is replaced and the
    pass goes on.

    Parameters
    ----------
    dataset
        `Dataset`, `Mixture`, `TokenBlocks`, `IterableDataset`, `Batches`; torch's
        ``Subset`` (``random_split``) and ``ConcatDataset`` of them; any other
        dataset, whose token then knows its class and length only.
    seed : int
        Seed of the order.
    order : OrderSpec or str, optional
        Another order than ``shuffle`` gives.
    world : (rank, size), optional
        The rank read for, else that of this process; see `Dataset.batches`.
    uneven : {"pad", "drop", "keep"}, optional
        What becomes of a tail that does not fill all ranks.
    transform_threads : int
        Threads that decode, transform and collate, with ``num_workers=0``.
    progress : bool or "always"
        Draw a progress line on stderr; True on a terminal only.
    retry : float, optional
        Seconds that a lost server is waited for; by default the dataset's (60).
    prefetch : int
        Batches requested, and made on threads, ahead of the loop.

    Attributes
    ----------
    epoch : int
        The pass that is walked, or that the next iteration walks.
    repeated : int
        How many samples at the end of the last batch repeat others (``uneven="pad"``).

    Examples
    --------
    >>> loader = DataLoader(data, batch_size=256, shuffle=True, seed=0, transform_threads=4)  # doctest: +SKIP
    >>> for number in range(loader.epoch, 10):  # doctest: +SKIP
    ...     for x, y in loader:
    ...         step(x, y)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        seed: int = 0,
        order: Any = None,
        world: WorldArg | None = None,
        uneven: str | None = None,
        transform_threads: int = 0,
        progress: bool | str = False,
        retry: float | None = None,
        prefetch: int = 4,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if not in_order:
            raise ValueError("in_order=False: without the order of batches there is no position to go on from")
        transform_threads = whole("transform_threads", transform_threads, 0, "threads that decode and transform")
        prefetch = whole("prefetch", prefetch, 1, "batches requested ahead of the loop")
        num_workers = whole("num_workers", num_workers, 0, "worker processes")
        if batch_size is not None:
            batch_size = whole("batch_size", batch_size, 1, "a batch has at least one sample")
        retry = None if retry is None else seconds("retry", retry)
        check_progress(progress)
        seed = seed_of(seed)
        if timeout and not num_workers:
            raise ValueError(
                f"timeout={timeout} is for worker processes; calls of the service have the dataset's timeout="
            )
        if transform_threads and num_workers:
            raise ValueError(
                f"transform_threads={transform_threads} are threads of this process, num_workers={num_workers} are "
                "processes; choose one of them"
            )
        self.seed = seed
        self.order = order
        self.world = world
        self.uneven = uneven
        self.transform_threads = transform_threads
        self.progress = progress
        self.retry = retry
        self.prefetch = prefetch
        self._counters = Counters()
        self._crew: Crew | None = None
        self._accelerate = False
        self.end_of_dataloader, self.remainder = False, -1

        core = self._core_of(dataset)
        arguments: dict[str, Any] = {"batch_size": batch_size, "drop_last": drop_last}
        if core is not None:
            walk = self._walk_of_iterable(dataset, core, batch_size, drop_last, shuffle)
        elif isinstance(dataset, torch.utils.data.IterableDataset):
            self._refuse("the order of an iterable dataset is its own", shuffle=shuffle, transform_threads=1)
            walk = None
        else:
            walk = self._walk_of_map(dataset, batch_size, drop_last, bool(shuffle), sampler, batch_sampler)
            if walk is not None:
                sampler, batch_sampler, shuffle = sampler_over(walk), None, None
                if batch_size is not None:
                    arguments["batch_size"] = walk.batch_size
        super().__init__(
            dataset,
            shuffle=shuffle,
            sampler=sampler,
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            multiprocessing_context=multiprocessing_context,
            generator=generator,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory_device=pin_memory_device,
            **arguments,
        )
        if walk is not None and core is None and batch_size is not None:
            # torch has put a BatchSampler of its own there, which knows no ranks.
            object.__setattr__(self, "batch_sampler", BatchSamplerOver(self.sampler, walk.batch_size, drop_last))
        self._set_up(walk, core, collate_fn)

    # -- what is walked ------------------------------------------------------------

    @staticmethod
    def _core_of(dataset: Any) -> Batches | None:
        if isinstance(dataset, Batches):
            return dataset
        return dataset._batches if isinstance(dataset, IterableDataset) else None

    def _refuse(self, why: str, *, shuffle: bool | None, transform_threads: int) -> None:
        given = {"shuffle": bool(shuffle), "order": self.order is not None, "seed": self.seed != 0}
        given |= {"world": self.world is not None, "uneven": self.uneven is not None}
        given["transform_threads"] = bool(transform_threads and self.transform_threads)
        wrong = [k for k, v in given.items() if v]
        if wrong:
            raise ValueError(f"{why}; give {', '.join(k + '=' for k in wrong)} to the dataset or leave it out")

    def _unused(self, why: str) -> None:
        """Warn of arguments that a sampler overrules; Lightning gives them again with a sampler of its own."""
        given = {"order": self.order is not None, "seed": self.seed != 0, "uneven": self.uneven is not None}
        unused = [f"{k}=" for k, v in given.items() if v]
        if unused:
            warnings.warn(f"{why}; {', '.join(unused)} of the loader say nothing beside it", stacklevel=4)

    def _walk_of_iterable(
        self, dataset: Any, core: Batches, batch_size: int | None, drop_last: bool, shuffle: bool | None
    ) -> _Walk:
        self._refuse("the order of an iterable dataset is its own", shuffle=shuffle, transform_threads=0)
        if isinstance(dataset, Batches):
            if batch_size is not None:
                raise ValueError(f"the dataset makes whole batches of {core.batch_size}: pass batch_size=None")
            size, drop = core.batch_size, core.drop_last
        else:
            size, drop = 1 if batch_size is None else batch_size, drop_last
        return walk_over(core.source, size, core._pass, core._world, core._uneven, drop)

    def _walk_of_map(
        self, dataset: Any, batch_size: int | None, drop_last: bool, shuffle: bool, sampler: Any, batch_sampler: Any
    ) -> _Walk | None:
        """Return the walk in our order, or None where a sampler of somebody else's decides."""
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            return None  # torch's constructor says what is wrong
        if sampler is not None and shuffle:
            return None  # and so it does here
        source = walkable(dataset)[0]
        for given in (sampler, batch_sampler):
            own = given._walk if isinstance(given, (PassSampler, RankBatches)) else None
            if own is not None and own.source.manifest_id == source.manifest_id:
                # A sampler of ours: its pass is walked, and stays the one that it reports.
                size = own.batch_size if given is batch_sampler else (batch_size or 1)
                drop = own.drop_last or (drop_last and given is sampler)
                self._unused("the order is the sampler's")
                return walk_over(source, size, own.pass_, own.world, own._uneven, drop)
        if sampler is not None or batch_sampler is not None:
            self._unused("the order is the sampler's")
            return None
        return _Walk(
            source,
            1 if batch_size is None else batch_size,
            order=self.order,
            shuffle=shuffle,
            seed=self.seed,
            world=self.world,
            uneven=self.uneven,
            drop_last=drop_last,
            keyed=True,
        )

    def _set_up(self, walk: _Walk | None, core: Batches | None, collate_fn: Callable[[Any], Any] | None) -> None:
        self._book: Ours | Given
        self._making: Making | None = None
        if core is not None:
            source, maker = core.source, core._samples
        elif self._dataset_kind == torch.utils.data._DatasetKind.Iterable:
            self._book = Given("iterable", Sized(self.dataset, self.batch_size, self.drop_last), self.dataset)
            return
        else:
            source, maker = walkable(self.dataset)
        self._making = Making(
            source,
            maker,
            _own_collate(collate_fn),
            walk.world if walk is not None else resolve(self.world),
            with_index=core is not None and isinstance(self.dataset, Batches) and core._with_index,
            single=self.batch_size is None and self.batch_sampler is None and not isinstance(self.dataset, Batches),
        )
        if walk is not None:
            self._book = Ours(walk)
        else:
            drawn: Any = self._index_sampler
            self._book = Given("sampler", drawn, drawn if hasattr(drawn, "set_epoch") else self.sampler)
        if self.retry is not None:
            _set_retry(source, self.retry)
        if self.num_workers and self._making.ready:
            warnings.warn(NEEDLESS_WORKERS.format(self.num_workers), stacklevel=3)

    # -- torch.utils.data ---------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_book" in self.__dict__:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        """Return the batches of a whole pass of this rank."""
        if self._making is None:
            return super().__len__()
        return self._book.batches()

    def __iter__(self) -> PassIterator:  # type: ignore[override]
        return PassIterator(self)

    def _get_iterator(self) -> PassIterator:  # type: ignore[override]
        return PassIterator(self)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_crew"] = None
        state["_counters"] = Counters()
        return state

    # -- passes -----------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The pass that is walked, or that the next iteration walks."""
        return self._book.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass of the next iteration; the loaded one keeps the loaded position, another starts at 0."""
        self._book.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the resume token after the batch that next() returned last: a flat dict, ready for JSON.

        Over a sampler or an iterable that is not ours it counts batches instead,
        and is for a loader made alike.
        """
        return self._book.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state at the next ``iter()``, once."""
        self._book.load(state)

    @property
    def repeated(self) -> int:
        """How many samples at the end of the batch returned last repeat others."""
        return self._book.run.repeated if self._book.run is not None else 0

    def stats(self) -> dict[str, float]:
        """Return what this loader has counted since it was made.

        samples, batches, bytes (of the tensors returned), seconds (in loops over
        it), samples_per_second, bytes_per_second, waited (seconds in next()),
        wait_share (0 to 1), restarts (dead workers replaced), retries (waits of
        this process for a lost server).
        """
        return self._counters.snapshot()

    def close(self) -> None:
        """End worker processes that persist; a later iteration starts others."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    # -- how batches come about ----------------------------------------------------------

    def _run(self, run: Run) -> Here | Turn | Drawn:
        if self._making is None:
            return Drawn(self, run)
        self._making.collate_fn = _own_collate(self.collate_fn)
        if isinstance(self._book, Ours):
            self._making.world = self._book.world
        else:
            self._making.world = refresh(self._making.world)
            check_pins(self._making.walk, self._making.world)
        if not self.num_workers:
            return Here(
                self._making,
                run.tasks,
                prefetch=self.prefetch,
                threads=self.transform_threads,
                pin=self.pin_memory and _has_accelerator(),
            )
        crew = self._crew or Crew(self._making, self._worker_options(), self._counters.restarted, self._shown())
        if self.persistent_workers:
            self._crew = crew
        seed = None
        if isinstance(self._book, Ours) and self.generator is None:
            seed = mix64(mix64(self._book.pass_.seed) + run.number) >> 1
        return crew.begin(run.tasks, seed)

    def _shown(self) -> Any:
        """Return the dataset where somebody's code in a worker may ask for it; else it need not go there."""
        own = self.worker_init_fn is None and self._making is not None and not isinstance(self._making.walk, PlainView)
        return None if own else self.dataset

    def _worker_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "prefetch_factor": self.prefetch_factor,
            "persistent_workers": self.persistent_workers,
            "pin_memory": self.pin_memory,
            "timeout": self.timeout,
            "worker_init_fn": self.worker_init_fn,
            "multiprocessing_context": self.multiprocessing_context,
            "generator": self.generator,
        }

    # -- Hugging Face accelerate ---------------------------------------------------------

    #: accelerate saves and loads the state of loaders that say this.
    use_stateful_dataloader = True

    @property
    def _is_accelerate_prepared(self) -> bool:
        # ``Accelerator.prepare`` asks, and leaves a loader that says yes as it is: ours
        # reads its rank's share already. What accelerate's own wrapper does beyond
        # sharding, `PassIterator` does for a loader that was asked.
        if "accelerate" in sys.modules:
            self._accelerate = True
        return True

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, value: bool) -> None:
        self._accelerate = bool(value)

    @property
    def total_batch_size(self) -> int:
        """Samples of a global batch."""
        if isinstance(self._book, Ours):
            return self._book.walk.batch_size * self._book.world.size
        return self.batch_size or 1

    @property
    def total_dataset_length(self) -> int:
        """Samples of a pass."""
        return self._book.pass_.samples if isinstance(self._book, Ours) else len(self.dataset)  # type: ignore[arg-type]


def _has_accelerator() -> bool:
    module = getattr(torch, "accelerator", torch.cuda)  # torch.accelerator came with 2.6
    return bool(module.is_available())


def _own_collate(collate_fn: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """Return the user's collate function, None for torch's own."""
    return None if collate_fn in (None, *_DEFAULT_COLLATE) else collate_fn


def _set_retry(source: Any, seconds: float) -> None:
    """Let a source, and what it is made of, wait so long for a lost server."""
    for part in [source, getattr(source, "base", None), *getattr(source, "walks", ())]:
        if part is not None and not isinstance(part, PlainView):
            connect = getattr(part, "_connect", None)
            if isinstance(connect, dict):
                connect["retry"] = seconds
                part.close()
            elif part is not source:
                _set_retry(part, seconds)
