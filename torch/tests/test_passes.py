"""What a pass is, where it stands, and what a second one does: each rule by itself."""

from __future__ import annotations

import json
import multiprocessing
import random
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ChainDataset, DataLoader

from pydaos.torch import BlockShuffle, Dataset
from pydaos.torch import DataLoader as OurLoader
from pydaos.torch._plan import Pass, batches_of, slices
from pydaos.torch._shared import Shared

WALKERS = ["batches", "iterable", "sampler", "rank batches"]


@pytest.fixture
def data(numbered: Any) -> Iterator[Dataset]:
    with numbered.files() as opened:
        yield opened


class Walker:
    """One way to walk shuffled samples in this process, with the surface that all have."""

    def __init__(self, kind: str, numbered: Any, data: Dataset) -> None:
        self._numbered = numbered
        self._data = data
        self.kind = kind
        if kind == "batches":
            self.what: Any = data.batches(10, shuffle=True, seed=1)
        elif kind == "iterable":
            self.what = numbered.iterable(batch_size=10, shuffle=True, seed=1)
        elif kind == "sampler":
            self.what = data.sampler(seed=1)
        else:
            from pydaos.torch._sampler import RankBatches

            self.what = RankBatches(data.source, 10, seed=1)

    def __iter__(self) -> Iterator[int]:
        for x in self.what:
            if self.kind == "batches":
                yield from self._numbered.ids(x)
            elif self.kind == "iterable":
                yield from self._numbered.ids([x])
            elif self.kind == "sampler":
                yield x
            else:
                yield from x


@pytest.fixture(params=WALKERS)
def walker(request: pytest.FixtureRequest, numbered: Any, data: Dataset) -> Walker:
    return Walker(request.param, numbered, data)


def test_the_order_is_a_function_of_seed_and_pass(walker: Walker, numbered: Any) -> None:
    assert list(walker) == numbered.order(1)
    walker.what.set_epoch(7)
    assert walker.what.epoch == 7
    assert list(walker) == numbered.order(1, 7)
    walker.what.set_epoch(0)
    assert list(walker) == numbered.order(1)
    with pytest.raises(ValueError, match="from 0 on"):
        walker.what.set_epoch(-1)


def test_the_loaded_pass_keeps_the_loaded_position_another_starts_at_0(walker: Walker, numbered: Any) -> None:
    token = numbered.files().state_dict(40, seed=1, pass_=3)
    walker.what.load_state_dict(token)
    walker.what.set_epoch(3)
    walker.what.set_epoch(3)
    assert walker.what.epoch == 3
    assert list(walker) == numbered.order(1, 3, 40)
    walker.what.load_state_dict(token)
    walker.what.set_epoch(4)
    assert list(walker) == numbered.order(1, 4)
    walker.what.set_epoch(3)  # the loaded state is gone with the other pass
    assert list(walker) == numbered.order(1, 3)


def test_loaded_state_is_used_by_one_iter(walker: Walker, numbered: Any) -> None:
    walker.what.load_state_dict(numbered.files().state_dict(97, seed=1))
    assert list(walker) == numbered.order(1, 0, 97)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(walker) == numbered.order(1)


def test_an_abandoned_pass_restarts(walker: Walker, numbered: Any) -> None:
    it = iter(walker)
    assert [next(it) for _ in range(23)] == numbered.order(1)[:23]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(walker) == numbered.order(1)


def test_a_second_shuffled_iter_without_set_epoch_warns_once(walker: Walker) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(walker)
    with pytest.warns(UserWarning, match=r"pass 0 is walked again .* set_epoch"):
        list(walker)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(walker)
        walker.what.set_epoch(1)
        list(walker)


def test_a_sequential_iter_never_warns(data: Dataset) -> None:
    ready = data.batches(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(ready)) == len(list(ready)) == len(ready) == 11


def test_a_bare_iterable_stays_on_its_pass(numbered: Any) -> None:
    samples = numbered.iterable(batch_size=10, shuffle=True, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert numbered.ids(samples) == numbered.ids(samples) == numbered.order(1)
    assert samples.epoch == 0
    samples.close()


@pytest.mark.parametrize("stop", [0, 1, 9, 10, 11, 57, 103])
def test_a_token_is_exact_to_the_sample_alone(stop: int, numbered: Any) -> None:
    """A plain loop over samples goes on with the sample after the last one that it was given."""
    samples = numbered.iterable(batch_size=10, shuffle=True, seed=1)
    it = iter(samples)
    head = numbered.ids([next(it) for _ in range(stop)])
    token = json.loads(json.dumps(samples.state_dict()))
    assert token["position"] == stop
    again = numbered.iterable(batch_size=7)
    again.load_state_dict(token)
    assert head + numbered.ids(again) == numbered.order(1)
    for x in (samples, again):
        x.close()


@pytest.mark.timeout(300)  # spawned workers import torch
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_persistent_workers_see_what_is_told_later(context: str, numbered: Any, data: Dataset) -> None:
    """Passes and tokens reach workers that were started before; a token is used by one pass."""
    if context == "forkserver":
        multiprocessing.set_forkserver_preload(["torch"])
    ready = data.batches(10, shuffle=True, seed=1)
    loader = DataLoader(ready, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context=context)

    def walk() -> list[int]:
        return [i for batch in loader for i in numbered.ids(batch)]

    for epoch in (0, 3, 1):
        ready.set_epoch(epoch)
        assert walk() == numbered.order(1, epoch)
    token = data.state_dict(40, seed=8, pass_=5)
    ready.load_state_dict(token)
    assert walk() == numbered.order(8, 5, 40)
    ready.set_epoch(5)
    assert walk() == numbered.order(8, 5)
    ready.load_state_dict(token)
    ready.set_epoch(5)
    assert walk() == numbered.order(8, 5, 40)
    ready.load_state_dict(token)
    ready.set_epoch(6)
    assert walk() == numbered.order(8, 6)


@pytest.mark.parametrize("reseeded", [False, True])
def test_fresh_workers_use_a_loaded_state_once(reseeded: bool, numbered: Any, data: Dataset) -> None:
    """Also where torch's own seed, which tells iterations apart, is the same in each of them."""
    ready = data.batches(10, shuffle=True, seed=1)
    ready.load_state_dict(data.state_dict(40, seed=1, pass_=2))
    expected = [numbered.order(1, 2, 40)] + [numbered.order(1, 2)] * 3
    for want, workers in zip(expected, (2, 2, 3, 0), strict=True):
        if reseeded:
            torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader = DataLoader(ready, batch_size=None, num_workers=workers)
            assert [i for batch in loader for i in numbered.ids(batch)] == want


def test_a_state_belongs_to_the_workers_of_one_iteration(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that one was given up before all of its workers had begun."""
    monkeypatch.setattr(Shared, "_mine", lambda self: True)
    token = data.state_dict(40, seed=1)
    shared, told = Shared(), Pass(data.source, shuffle=True)
    told.load(token)
    shared.tell(told, loaded=True)

    def begins(worker: int, workers: int, base: int) -> bool:
        """Whether a fresh worker, with its copy of the state, begins there."""
        copy = Pass(data.source, shuffle=True)
        copy.load(token)
        shared.begin_in_worker(SimpleNamespace(id=worker, num_workers=workers, seed=base + worker), copy)  # type: ignore[arg-type]
        return copy.begin(quiet=True) == 40

    assert begins(0, 3, base=77)
    assert begins(2, 3, base=77)
    assert not begins(1, 3, base=78)
    assert not begins(1, 2, base=77)
    assert begins(1, 3, base=77)
    assert not begins(1, 3, base=77)
    shared.tell(told, loaded=True)
    assert begins(1, 2, base=78)


def a_rank(rank: int, ready: Any, out: Any) -> None:
    """A rank that was spawned with a copy of what another made; its workers are told its own pass."""
    warnings.simplefilter("ignore")
    loader = DataLoader(ready, batch_size=None, num_workers=1)
    passes = []
    for epoch in (5 if rank == 0 else None, rank + 7, rank + 7):
        if epoch is not None:
            ready.set_epoch(epoch)
        passes.append([i for batch in loader for i in ids(batch)])
    out.put((rank, passes))


def ids(batch: torch.Tensor) -> list[int]:
    return [int(i) for i in batch.view(torch.int64).flatten()]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_ranks_that_got_copies_do_not_tell_each_other(context: str, numbered: Any, data: Dataset) -> None:
    """Each uses the loaded state once, for the pass that it was made in."""
    ready = data.batches(10, shuffle=True, seed=1, world=(0, 1))
    ready.load_state_dict(data.state_dict(40, seed=1, pass_=6))
    ready.set_epoch(6)
    processes = torch.multiprocessing.get_context(context)
    which = (0, 1, 2) if context == "fork" else (1, 2)  # a spawned one imports torch
    out = processes.Queue()
    started = [processes.Process(target=a_rank, args=(r, ready, out)) for r in which]
    for process in started:
        process.start()
    got = dict(out.get(timeout=240) for _ in started)
    for process in started:
        process.join(30)
    assert got.pop(0, None) in (None, [numbered.order(1, e) for e in (5, 7, 7)])
    for rank in got:
        assert got[rank] == [numbered.order(1, 6, 40), numbered.order(1, 7 + rank), numbered.order(1, 7 + rank)]
    assert [i for batch in ready for i in ids(batch)] == numbered.order(1, 6, 40)


def test_a_pass_of_workers_has_no_position_but_the_one_that_is_said(numbered: Any, data: Dataset) -> None:
    ready = data.batches(10, shuffle=True, seed=1)
    loader = DataLoader(ready, batch_size=None, num_workers=2)
    it = iter(loader)
    head = [i for _ in range(3) for i in numbered.ids(next(it))]
    with pytest.raises(ValueError, match=r"state_dict\(consumed=n\)"):
        ready.state_dict()
    token = ready.state_dict(consumed=30)
    del it
    rest = data.batches(4)
    rest.load_state_dict(token)
    assert head + [i for batch in rest for i in numbered.ids(batch)] == numbered.order(1)
    ready.set_epoch(1)
    assert ready.state_dict()["position"] == 0
    for bad in (-1, 104):
        with pytest.raises(ValueError, match=r"within the 103 samples|no number of samples"):
            ready.state_dict(consumed=bad)


def test_a_dataset_wants_the_count(data: Dataset, numbered: Any) -> None:
    with pytest.raises(ValueError, match=r"consumed=batches \* batch_size \* ranks"):
        data.state_dict()
    with pytest.raises(ValueError, match=r"sampler\(seed="):
        data.state_dict(20)
    sampler = data.sampler(seed=4)
    sampler.set_epoch(2)
    assert data.state_dict(20) == data.state_dict(20, seed=4, pass_=2)
    loader = DataLoader(data, 10, sampler=sampler, num_workers=2)
    it = iter(loader)
    head = [i for _ in range(2) for i in numbered.ids(next(it))]
    del it
    token = data.state_dict(20)
    again = data.sampler()
    again.load_state_dict(token)
    rest = [i for batch in DataLoader(data, 7, sampler=again) for i in numbered.ids(batch)]
    assert head + rest == numbered.order(4, 2)


def not_45(x: bytes) -> int:
    i = int.from_bytes(x, "little")
    if i == 45:
        raise ArithmeticError("not this one")
    return i


def test_a_loop_that_goes_on_after_an_error_leaves_out_that_batch(numbered: Any) -> None:
    """And every state of it says so: nothing comes twice after a resume."""
    data = numbered.files(transform_fn=not_45)
    ready = data.batches(10)
    it = iter(ready)
    seen = []
    for _ in range(6):
        try:
            seen.append(next(it).tolist())
        except ArithmeticError as err:
            text = "\n".join([str(err), *getattr(err, "__notes__", [])])
            assert "in sample 45, 045, of numbered/files@v1" in text
            assert "batch 4 of pass 0" in text
    assert seen == [list(range(s, s + 10)) for s in (0, 10, 20, 30, 50)]
    assert ready.state_dict()["position"] == 60
    again = iter(data.batches(10))
    again.load_state_dict(it.state_dict())  # type: ignore[attr-defined]
    assert next(again).tolist() == list(range(60, 70))


def test_an_order_that_is_given_must_be_the_tokens(data: Dataset, numbered: Any) -> None:
    """A loader made without order= takes the token's, whatever it shuffles by itself."""
    first = data.batches(10, order=BlockShuffle(block=16), seed=3)
    whole = [i for batch in first for i in numbered.ids(batch)]
    token = first.state_dict(consumed=50)
    plain = data.batches(10)
    plain.load_state_dict(token)
    assert [i for batch in plain for i in numbered.ids(batch)] == whole[50:]
    same = data.batches(10, order=BlockShuffle(block=16))
    same.load_state_dict(token)
    assert [i for batch in same for i in numbered.ids(batch)] == whole[50:]
    other = data.batches(10, order=BlockShuffle(block=8))
    with pytest.raises(ValueError, match="block is 16 in the token, 8 in the loader"):
        other.load_state_dict(token)
    assert [i for batch in other for i in numbered.ids(batch)] != whole


def test_ready_batches_refuse_to_be_collated(data: Dataset, numbered: Any) -> None:
    for workers in (0, 1):
        with pytest.raises(TypeError, match="pass batch_size=None"):
            next(iter(DataLoader(data.batches(10), batch_size=5, num_workers=workers)))
    for kind in (data, numbered.rows(), numbered.files(labels=None, transform_fn=lambda x: (len(x), x))):
        chained = ChainDataset([kind.batches(10), kind.batches(10)])
        with pytest.raises(TypeError, match="pass batch_size=None"):
            next(iter(DataLoader(chained, batch_size=5)))
        with pytest.raises(TypeError, match="pass batch_size=None"):
            next(iter(DataLoader(chained, batch_size=5, num_workers=1)))
    # What a plain loop gets, and a DataLoader that does not collate, is plain.
    assert type(next(iter(data.batches(10)))) is torch.Tensor
    assert type(next(iter(numbered.rows().batches(10)))) is dict
    ready = ChainDataset([data.batches(10)])
    assert type(next(iter(DataLoader(ready, batch_size=None)))) is torch.Tensor


def test_a_users_iterable_over_ready_batches_may_be_collated(data: Dataset, numbered: Any) -> None:
    class Rows(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            for batch in data.batches(10):
                yield from batch

    batches = list(DataLoader(Rows(), batch_size=25))
    assert [i for b in batches for i in numbered.ids(b)] == list(range(103))
    assert batches[0].shape == (25, 8)


def test_workers_that_nobody_needs_are_said_once(data: Dataset, numbered: Any) -> None:
    """A warning in the worker, here an error: it is raised the first time, and by no later worker."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = numbered.iterable(batch_size=50)
        for dataset, batch_size in ((data, 50), (data.batches(50), None), (samples, 50)):
            with pytest.raises(UserWarning, match="num_workers=2 over a dataset without a Python transform"):
                list(DataLoader(dataset, batch_size, num_workers=2))
            assert len(list(DataLoader(dataset, batch_size, num_workers=2))) == 3
        transformed = numbered.files(transform_fn=len)
        for dataset, batch_size in ((transformed, 50), (transformed.batches(50), None)):
            assert len(list(DataLoader(dataset, batch_size, num_workers=2))) == 3
        list(DataLoader(numbered.files(), 50))
        with pytest.raises(UserWarning, match="without a Python transform"):
            list(DataLoader(numbered.files(), 50, num_workers=1, multiprocessing_context="spawn"))


def test_slices_give_every_position_to_one_rank_and_worker() -> None:
    """Random plans against the rule written down plainly."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    for _ in range(400):
        n, batch, size, workers = rng.randrange(0, 90), rng.randrange(1, 9), rng.randrange(1, 6), rng.randrange(1, 4)
        start, drop_last, uneven = rng.randrange(0, n + 1), rng.random() < 0.3, rng.choice(["pad", "drop", "keep"])
        case = (seed, n, batch, size, workers, start, drop_last, uneven)
        per_rank = []
        for r in range(size):
            shares = [
                list(slices(start, n, batch, (r, size), (w, workers), drop_last=drop_last, uneven=uneven))
                for w in range(workers)
            ]
            merged = sorted((s for share in shares for s in share), key=lambda s: s.step)
            assert [s.step % workers for s in merged] == [
                w for s in merged for w, share in enumerate(shares) if s in share
            ], case
            alone = list(slices(start, n, batch, (r, size), drop_last=drop_last, uneven=uneven))
            assert merged == alone, case
            count = batches_of(n, batch, (r, size), drop_last=drop_last, uneven=uneven, start=start)
            assert len(alone) == count, case
            assert all(s.samples <= batch and s.samples > 0 for s in alone), case
            per_rank.append(alone)
        if uneven != "keep" or drop_last:
            assert len({len(slices_) for slices_ in per_rank}) == 1, case
            assert len({tuple(s.samples for s in slices_) for slices_ in per_rank}) == 1, case
        steps: dict[int, list[int]] = {}
        again: list[int] = []
        for slices_ in per_rank:
            for s in slices_:
                steps.setdefault(s.step, []).extend(range(s.start, s.stop))
                again += [(s.first + k) % n for k in range(s.again)]
        flat = [p for step in sorted(steps) for p in steps[step]]
        tail = (n - start) % (batch * size)
        left_out = tail if drop_last else {"drop": tail % size}.get(uneven, 0)
        assert flat == list(range(start, n - left_out)), case
        repeats = -tail % size if uneven == "pad" and not drop_last and tail else 0
        assert again == [k % n for k in range(repeats)], case


def test_a_pass_takes_a_seed_that_is_a_number(data: Dataset) -> None:
    for bad in (None, 1.5, True, "1"):
        with pytest.raises(TypeError, match="seed is an int"):
            Pass(data.source, seed=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("world", [(0, 1), (0, 4), (3, 4)])
@pytest.mark.parametrize("rule", [{"drop_last": True}, {"uneven": "drop"}], ids=["drop_last", "drop"])
def test_a_tail_that_makes_no_batch_is_no_rest_of_a_pass(data: Dataset, rule: Any, world: tuple[int, int]) -> None:
    def loader(batch_size: int) -> OurLoader:
        return OurLoader(data, batch_size, shuffle=True, world=world, **rule)

    one = loader(3)
    walk = iter(one)
    for _ in range(len(one)):
        next(walk)
    state = one.state_dict()
    assert state["pass"] == 0
    two = loader(3)
    two.load_state_dict(state)
    assert two.epoch == 1  # range(loader.epoch, 10) begins with a pass that has something
    assert len(list(two)) == len(two)
    assert two.epoch == 2
    three = loader(3)
    three.load_state_dict(state)
    three.set_epoch(0)  # asked for by name
    assert list(three) == []
    if state["position"] < len(data) and world[1] == 1:
        smaller = loader(1)  # of smaller batches there may be some left
        smaller.load_state_dict(state)
        assert smaller.epoch == 0
        assert len(list(smaller)) == len(data) - state["position"]


def test_what_a_token_cannot_hold_is_refused_where_it_is_said(data: Dataset) -> None:
    loader = OurLoader(data, 10, shuffle=True)
    for bad in (True, 1.5, "1", None, -1, 1 << 64):
        with pytest.raises(ValueError, match="set_epoch"):
            loader.set_epoch(bad)  # type: ignore[arg-type]
    for bad in (True, 1.5, "1", -1):
        with pytest.raises(ValueError, match="position"):
            data.batches(10).state_dict(consumed=bad)  # type: ignore[arg-type]
    loader.set_epoch(np.int64(3))
    assert json.loads(json.dumps(loader.state_dict()))["pass"] == 3
    assert json.loads(json.dumps(data.batches(10).state_dict(consumed=np.int64(7))))["position"] == 7


def test_a_pass_that_leaves_out_everything_says_so(numbered: Any) -> None:
    data = numbered.files()
    ranks = {"world": (1, 200), "uneven": "drop"}
    for make, words in (
        (lambda: OurLoader(data, 104, drop_last=True), "103 samples are not a batch of 104, and drop_last=True leaves"),
        (lambda: data.batches(104, drop_last=True), "103 samples are not a batch of 104, and"),
        (lambda: data.sampler(batch_size=104, drop_last=True), "103 samples are not a batch of 104, and"),
        (lambda: OurLoader(data, 1, **ranks), 'not a sample for each of 200 ranks, and uneven="drop"'),
        (lambda: numbered.iterable(**ranks), "for each of 200 ranks"),
    ):
        with pytest.warns(UserWarning, match=f"a pass has no batch: .*{words}"):
            assert list(make()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A rank without a batch is what "keep" says; what is left of a pass is no pass.
        assert list(OurLoader(data, 10, world=(50, 51), uneven="keep")) == []
        loader = OurLoader(data, 60, drop_last=True)
        assert len(list(loader)) == 1
