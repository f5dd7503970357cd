"""Where a loader stands: which pass, how far, and what comes next.

`Ours` keeps a pass in our order: positions of the global order, resume tokens.
`Given` keeps one in somebody else's, a sampler's or an iterable's, of which
only the number of batches is known. Both count what was returned to the loop,
never what was read ahead; docs/python.md has the rules of passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydaos.torch._making import Task
from pydaos.torch._plan import Slice, Taker, batches_of, number_of, warn_of_none
from pydaos.torch._sampler import _Walk
from pydaos.torch._world import World, check_pins, refresh

__all__ = ["Given", "Ours", "Run"]


class Run:
    """One iteration over a loader: what it walks and how much of it the loop has got.

    Attributes
    ----------
    number : int
        The pass.
    begun : int
        Batches of the pass before it, where batches are counted.
    total : int or None
        Batches that it will return, where that is known.
    count, position, repeated : int
        Batches returned, the position after them, and the repeats in the last.
    ended : bool
        Whether the loop has seen its end.
    """

    def __init__(self, number: int, position: int, total: int | None, tasks: Iterator[Task], begun: int = 0) -> None:
        self.number = number
        self.position = position
        self.total = total
        self.tasks = tasks
        self.begun = begun
        self.count = 0
        self.repeated = 0
        self.ended = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "tasks": iter(())}  # a copy knows where it stood, and walks anew

    def returned(self, part: Slice) -> None:
        """Count a batch."""
        self.count += 1
        self.position = part.end
        self.repeated = part.again

    @property
    def complete(self) -> bool:
        """Whether all batches were returned."""
        return self.ended or (self.total is not None and self.count >= self.total)


class Ours:
    """A pass in our order."""

    def __init__(self, walk: _Walk) -> None:
        self.walk = walk
        self.pass_ = walk.pass_
        self.run: Run | None = None

    @property
    def _live(self) -> Run | None:
        """The iteration that the pass is of, unless it is over or another pass was chosen since.

        That may be done behind our back: the pass is shared with the sampler, or
        with the iterable, whose ``set_epoch`` users and Lightning call.
        """
        run, at = self.run, self.pass_
        return run if run is not None and not run.ended and run.number == at.number and not at.loaded else None

    @property
    def world(self) -> World:
        """The rank that is read for."""
        return self.walk.world

    @property
    def epoch(self) -> int:
        """The pass walked now, or by the next iteration."""
        at = self.pass_
        # A state saved after the last batch of a pass goes on with the next one.
        return at.number + 1 if self._at_the_end() else at.number

    def _at_the_end(self) -> bool:
        at, walk = self.pass_, self.walk
        if not at.loaded or at.chosen or not at.position:
            return at.loaded and not at.chosen and not at.samples
        # What is left is of no use where it makes no batch for any rank; the same is said by all of them.
        least = walk.batch_size * walk.world.size if walk.drop_last else 1
        if walk.uneven == "drop":
            least = max(least, walk.world.size)
        return at.samples - at.position < least

    def set_epoch(self, number: int) -> None:
        """Choose the pass of the next iteration; the loaded one keeps the loaded position."""
        self.pass_.set(number)

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a resume token for the next iteration."""
        self.pass_.load(state)

    def state(self) -> dict[str, Any]:
        """Return the resume token after the batch returned last."""
        run = self._live
        return self.pass_.token(None if run is None else run.position).to_dict()

    def begin(self) -> Run:
        """Begin an iteration: the loaded position once, else the begin of the pass that is due."""
        walk, at = self.walk, self.pass_
        walk.world = refresh(walk.world)
        check_pins(walk.source, walk.world)
        if at.loaded:
            if self._at_the_end():
                at.set(at.number + 1)
        elif (run := self._live) is not None:
            at.set(run.number + run.complete)
        start = at.begin(quiet=True)
        order = at.order()
        warn_of_none(order.n, walk.batch_size, walk.world, drop_last=walk.drop_last, uneven=walk.uneven)
        taker, key = Taker(order), (at.seed, at.number)
        parts = walk.slices(start, order.n)
        tasks = (Task(part, taker.take(part), key) for part in parts)
        self.run = Run(at.number, start, self.batches(start), tasks)
        return self.run

    def end(self, run: Run) -> None:
        """Note that a loop has seen the end of its pass: the next one is due."""
        if self._live is run:
            self.pass_.set(run.number + 1)
        run.ended = True

    def batches(self, start: int = 0) -> int:
        """Return the batches of this rank from a position on."""
        walk = self.walk
        return batches_of(
            self.pass_.samples, walk.batch_size, walk.world, drop_last=walk.drop_last, uneven=walk.uneven, start=start
        )


_FIELDS = {"v", "order", "pass", "batches"}


class Given:
    """A pass in the order of a sampler or an iterable that is not ours.

    Its state counts batches. To go on the sampler is drawn from until it has
    yielded so many; that is exact as far as it yields the same again.

    Parameters
    ----------
    kind : {"sampler", "iterable"}
        What says the order.
    drawn : iterable
        The index lists; of an iterable dataset only its length is asked.
    follow
        What is told of `set_epoch`, if it has that.
    """

    def __init__(self, kind: str, drawn: Iterable[Any], follow: Any) -> None:
        self.kind = kind
        self._drawn = drawn
        self._follow = follow
        self.run: Run | None = None
        self.number = 0
        self._loaded = 0
        self._is_loaded = False

    def _size(self) -> int | None:
        try:
            return len(self._drawn)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return None

    @property
    def epoch(self) -> int:
        """The pass walked now, or by the next iteration."""
        if self.run is not None and not self.run.ended:
            return self.run.number
        size = self._size()
        return self.number + (self._is_loaded and size is not None and self._loaded >= size)

    def set_epoch(self, number: int) -> None:
        """Choose the pass, and tell the sampler or dataset if it has ``set_epoch``."""
        number = number_of(number, f"set_epoch({number!r}): a pass has a number from 0 on")
        follow = getattr(self._follow, "set_epoch", None)
        if follow is not None:
            follow(number)
        if self.run is not None and not self.run.ended and not self._is_loaded and self.run.number == number:
            return
        if number != self.number:
            self._is_loaded, self._loaded = False, 0
        self.number = number
        self.run = None

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a state for the next iteration; ValueError if it is of something else."""
        if set(state) != _FIELDS or state.get("order") != self.kind or state.get("v") != 1:
            raise ValueError(
                f"this loader's order is that of its {self.kind}, and the state is not of such a one "
                f"(order {state.get('order')!r}); make the loader as the one that it was saved by"
            )
        number, batches = state["pass"], state["batches"]
        if not all(isinstance(n, int) and n >= 0 for n in (number, batches)):
            raise ValueError(f"the state's pass {number!r} or batches {batches!r} make no sense")
        self.set_epoch(number)
        self.run = None
        self._loaded, self._is_loaded = batches, True

    def state(self) -> dict[str, Any]:
        """Return the pass and the batches returned of it."""
        run = self.run
        if run is not None and not run.ended:
            number, batches = run.number, run.begun + run.count
        else:
            number, batches = self.number, self._loaded
        return {"v": 1, "order": self.kind, "pass": number, "batches": batches}

    def begin(self) -> Run:
        """Begin an iteration, at the loaded batch once."""
        size = self._size()
        if self._is_loaded:
            skip = self._loaded
            if size is not None and skip >= size:
                self.number, skip = self.number + 1, 0
        else:
            skip = 0
            if self.run is not None and not self.run.ended:
                self.number = self.run.number + self.run.complete
        self._loaded, self._is_loaded = 0, False
        total = None if size is None else max(0, size - skip)
        self.run = Run(self.number, skip, total, self._tasks(skip, self.number), skip)
        return self.run

    def _tasks(self, skip: int, number: int) -> Iterator[Task]:
        for k, indices in enumerate(self._drawn):
            if k >= skip:
                at_once = indices if isinstance(indices, list) else _listed(indices)
                yield Task(Slice(0, len(at_once), k, k + 1), at_once, getattr(indices, "key", (0, number)), False)

    def end(self, run: Run) -> None:
        """Note that a loop has seen the end."""
        run.ended = True
        if self.run is run:
            self.number = run.number + 1

    def batches(self, start: int = 0) -> int:
        """Return the batches of a pass."""
        size = self._size()
        if size is None:
            raise TypeError(f"the {self.kind} has no len()")
        return size


def _listed(indices: Any) -> list[Any]:
    try:
        return list(indices)
    except TypeError:
        return [indices]  # batch_size=None: one index
