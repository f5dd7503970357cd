"""Our DataLoader against a real server: order, position, passes and ranks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from numbers103 import WAYS, N, drain, expected, flat, ids, noisy, open_numbers

from pydaos.torch import DataLoader, IterableDataset


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_order_is_that_of_seed_and_pass(pool_of_numbers: Any, way: dict[str, int]) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), 8, shuffle=True, seed=3, **way)
    assert len(loader) == 13
    assert loader.epoch == 0
    assert flat(drain(loader)) == expected(3, 0)
    assert loader.epoch == 1
    assert flat(drain(loader)) == expected(3, 1)
    loader.set_epoch(7)
    assert flat(drain(loader)) == expected(3, 7)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_state_counts_what_the_loop_got(pool_of_numbers: Any, way: dict[str, int]) -> None:
    data = open_numbers(pool_of_numbers)
    loader = DataLoader(data, 8, shuffle=True, seed=3, **way)
    order = expected(3, 0)
    it = iter(loader)
    assert loader.state_dict()["position"] == 0
    for k in range(1, 6):
        assert ids(next(it)) == order[8 * k - 8 : 8 * k]
        assert loader.state_dict()["position"] == 8 * k
    state = json.loads(json.dumps(loader.state_dict()))
    del it
    assert len(json.dumps(state)) < 300
    other = DataLoader(data, 5, shuffle=True, seed=99, **WAYS[2 if not way else 0])
    other.load_state_dict(state)
    assert other.epoch == 0
    assert other.state_dict() == state
    assert flat(drain(other)) == order[40:]
    assert flat(drain(other)) == expected(3, 1)


# -- passes ---------------------------------------------------------------------------


def test_the_quickstarts_loop(pool_of_numbers: Any) -> None:
    """Three runs of one training, each ended somewhere; what they saw together is each pass once."""
    data = open_numbers(pool_of_numbers)
    saved: dict[str, Any] | None = None
    seen: dict[int, list[int]] = {}
    for end_after in (17, 8 + 13, 1000):  # batches: in mid pass, at the very end of a pass, at the end of all
        loader = DataLoader(data, 8, shuffle=True, seed=4)
        if saved is not None:
            loader.load_state_dict(saved)
        count = 0
        for loader_pass in range(loader.epoch, 4):
            assert loader.epoch == loader_pass
            for batch in loader:
                assert loader.epoch == loader_pass
                seen.setdefault(loader_pass, []).extend(ids(batch))
                saved = loader.state_dict()
                count += 1
                if count == end_after:
                    break
            if count == end_after:
                break
            saved = loader.state_dict()
            assert (saved["pass"], saved["position"]) == (loader_pass + 1, 0)
    assert seen == {k: expected(4, k) for k in range(4)}
    # All four are done: the state of the end leaves nothing of them to do.
    loader = DataLoader(data, 8, shuffle=True)
    loader.load_state_dict(saved or {})
    assert list(range(loader.epoch, 4)) == []


def test_a_state_of_the_last_batch_goes_on_with_the_next_pass(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers)
    loader = DataLoader(data, 8, shuffle=True, seed=4)
    for _ in loader:
        state = loader.state_dict()
    assert (state["pass"], state["position"]) == (0, N)
    again = DataLoader(data, 8)
    again.load_state_dict(state)
    assert again.epoch == 1
    assert again.state_dict() == state
    assert flat(drain(again)) == expected(4, 1)
    # Who says which pass, gets that one: of this one nothing is left, the next begins at 0.
    again.load_state_dict(state)
    again.set_epoch(0)
    assert drain(again) == []
    assert again.epoch == 1
    again.load_state_dict(state)
    again.set_epoch(1)
    assert flat(drain(again)) == expected(4, 1)


def test_set_epoch_keeps_the_loaded_position_of_that_pass_only(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers)
    token = {**data.state_dict(consumed=40, seed=4), "pass": 2}
    loader = DataLoader(data, 8)
    loader.load_state_dict(token)
    loader.set_epoch(2)
    assert flat(drain(loader)) == expected(4, 2)[40:]
    loader.load_state_dict(token)
    loader.set_epoch(5)
    assert flat(drain(loader)) == expected(4, 5)


def test_loaded_state_is_used_by_one_iteration(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers)
    loader = DataLoader(data, 8)
    loader.load_state_dict(data.state_dict(consumed=40, seed=4))
    assert ids(next(iter(loader))) == expected(4, 0)[40:48]
    # That one was abandoned: the pass restarts, from its begin.
    assert loader.epoch == 0
    assert flat(drain(loader)) == expected(4, 0)


def test_a_loop_that_counts_batches_has_seen_the_pass(pool_of_numbers: Any) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), 8, shuffle=True, seed=4)
    for k in range(3):
        it = iter(loader)
        assert flat([ids(next(it)) for _ in range(len(loader))]) == expected(4, k)


def test_a_second_iterator_takes_over_the_position(pool_of_numbers: Any) -> None:
    loader = DataLoader(open_numbers(pool_of_numbers), 8)
    old = iter(loader)
    next(old)
    new = iter(loader)
    next(old)
    assert loader.state_dict()["position"] == 0
    next(new)
    assert loader.state_dict()["position"] == 8
    assert sum(1 for _ in old) == 11
    assert loader.epoch == 0  # the end of the old one is not the end of the new one
    assert loader.state_dict()["position"] == 8
    # Nor does the end of a pass overrule who has chosen the next one meanwhile.
    loader.set_epoch(5)
    assert sum(1 for _ in new) == 12
    assert loader.epoch == 5


def test_who_shares_the_pass_may_choose_it(pool_of_numbers: Any) -> None:
    """Lightning calls set_epoch of the sampler, and ends passes early."""
    loader = DataLoader(open_numbers(pool_of_numbers), 8, shuffle=True, seed=4)
    for k in (0, 1, 5):
        loader.sampler.set_epoch(k)
        assert loader.epoch == k
        it = iter(loader)
        assert ids(next(it)) == expected(4, k)[:8]
        loader.sampler.set_epoch(k)  # the one that is walked: where it stands stays known
        assert (loader.state_dict()["pass"], loader.state_dict()["position"]) == (k, 8)
    loader.load_state_dict({**loader.state_dict(), "position": N})
    loader.sampler.set_epoch(5)
    assert drain(loader) == []
    name, server = pool_of_numbers
    samples = IterableDataset(f"{name}/rows@v1", addr=server.unix, shuffle=True, seed=2)
    loader = DataLoader(samples, 8)
    next(iter(loader))
    samples.set_epoch(3)
    assert flat(drain(loader)) == expected(2, 3)


def test_persistent_workers_walk_pass_after_pass(pool_of_numbers: Any) -> None:
    loader = DataLoader(
        open_numbers(pool_of_numbers, noisy), 8, shuffle=True, seed=4, num_workers=2, persistent_workers=True
    )
    alone = DataLoader(open_numbers(pool_of_numbers, noisy), 8, shuffle=True, seed=4)
    for k in range(2):
        assert drain(loader) == drain(alone), k
    loader.set_epoch(7)
    alone.set_epoch(7)
    next(iter(loader))
    assert drain(loader) == drain(alone)
    loader.close()
    assert drain(loader) == drain(alone)
    loader.close()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_random_transforms_resume_exactly(pool_of_numbers: Any, way: dict[str, int]) -> None:
    whole = flat(drain(DataLoader(open_numbers(pool_of_numbers, noisy), 8, shuffle=True, seed=4)))
    assert len(set(whole)) == N
    loader = DataLoader(open_numbers(pool_of_numbers, noisy), 8, shuffle=True, seed=4, **way)
    it = iter(loader)
    first = flat([ids(next(it)) for _ in range(4)])
    again = DataLoader(open_numbers(pool_of_numbers, noisy), 3, **way)
    again.load_state_dict(loader.state_dict())
    assert first + flat(drain(again)) == whole


# -- ranks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("uneven", ["pad", "drop", "keep"])
def test_ranks_share_global_batches(pool_of_numbers: Any, way: dict[str, int], uneven: str) -> None:
    if way and uneven != "pad":
        way = {"transform_threads": 2}
    data = open_numbers(pool_of_numbers)
    order = expected(2, 0)
    size, batch = 4, 8
    ranks = [DataLoader(data, batch, shuffle=True, seed=2, world=(r, size), uneven=uneven, **way) for r in range(size)]
    got = []
    for loader in ranks:
        parts = []
        for b in loader:
            parts.append((ids(b), loader.repeated, loader.state_dict()["position"]))
        assert len(parts) == len(loader)
        got.append(parts)
    width = size * batch
    for r in range(size):
        for k in range(N // width):
            assert got[r][k] == (order[k * width + r * batch :][:batch], 0, (k + 1) * width)
    tails = [p[N // width :] for p in got]
    tail = order[N // width * width :]  # seven samples
    if uneven == "keep":
        assert tails == [[(tail, 0, N)], [], [], []]
    elif uneven == "drop":
        assert tails == [[(tail[r : r + 1], 0, N)] for r in range(size)]
    else:
        filled = tail + order[:1]
        assert tails == [[(filled[2 * r : 2 * r + 2], int(r == 3), N)] for r in range(size)]


def test_elastic_resume_with_the_exact_remaining_order(pool_of_numbers: Any) -> None:
    """4 ranks, then 2, then 3, with other batch sizes and ways; nothing lost or repeated."""
    data = open_numbers(pool_of_numbers)
    seen: list[int] = []
    state: dict[str, Any] | None = None
    for size, batch, way, steps in ((4, 3, {}, 3), (2, 5, {"transform_threads": 2}, 2), (3, 4, {"num_workers": 1}, 99)):
        options: dict[str, Any] = {"shuffle": True, "seed": 2, "uneven": "keep", **way}
        ranks = [DataLoader(data, batch, world=(r, size), **options) for r in range(size)]
        for loader in ranks:
            if state is not None:
                loader.load_state_dict(state)
        walks = [iter(loader) for loader in ranks]
        for _ in range(steps):
            step = [ids(b) for b in (next(w, None) for w in walks) if b is not None]
            if not step:
                break
            seen += flat(step)
            states = [loader.state_dict() for loader in ranks]
        state = states[0]
        assert state["position"] == len(seen)
    assert seen == expected(2, 0)


def test_drop_last_leaves_out_the_tail_for_all(pool_of_numbers: Any) -> None:
    data = open_numbers(pool_of_numbers)
    for size in (1, 4):
        loader = DataLoader(data, 8, drop_last=True, world=(0, size))
        assert len(loader) == N // (8 * size)
        assert all(len(b) == 8 for b in drain(loader))
        assert loader.epoch == 1
