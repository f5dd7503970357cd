"""Other people's loader states, read: where a run stands, as a token for any workers, ranks and batch size.

torchdata's ``StatefulDataLoader`` saves what each worker process holds, and
wants as many workers again. `position` finds our iterators' and samplers' parts
in such a state and makes the resume token of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from pydaos.torch._token import Token

__all__ = ["position"]

_OURS = ("order", "position", "manifest", "pass")


def position(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resume token of a loader's state.

    Parameters
    ----------
    state : dict
        What ``state_dict()`` of torchdata's ``StatefulDataLoader`` returned over
        `Batches`, an `IterableDataset`, or a `Dataset` with a sampler of ours;
        or that of a ``torchdata.nodes.Loader`` over a `DaosNode`; or a token.

    Returns
    -------
    dict
        The token: ``DataLoader.load_state_dict``, ``Batches.load_state_dict``
        and the samplers take it, with any number of workers and any batch size.

    Raises
    ------
    ValueError
        The state is of something else; or the samples consumed are no prefix
        of the order (an `IterableDataset` under workers whose DataLoader has
        another ``batch_size``), or are not known from it
        (``snapshot_every_n_steps`` above 1).

    Examples
    --------
    >>> loader.load_state_dict(position(stateful_loader.state_dict()))  # doctest: +SKIP
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"a loader's state is a dict, not {type(state).__name__}")
    if _is_token(state):
        return Token.from_dict(state).to_dict()
    if "_snapshot" in state:
        return _of_workers(state)
    if "_num_yielded" in state:
        return _of_one(state)
    found = list(_tokens(state))
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} positions of ours are in this state, where one is wanted; give the state of a "
            "StatefulDataLoader, of a torchdata.nodes.Loader over one DaosNode, or a token"
        )
    return Token.from_dict(found[0]).to_dict()


def _is_token(state: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(state, Mapping) and all(k in state for k in _OURS)


def _tokens(state: Any) -> Iterator[Mapping[str, Any]]:
    """Find the tokens anywhere in a nested state."""
    if _is_token(state):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tokens(value)


def _of_one(state: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state of a StatefulDataLoader without workers."""
    fetcher = state.get("fetcher_state")
    if isinstance(fetcher, Mapping):
        walked = fetcher.get("dataset_iter_state")
        if not _is_token(walked):
            raise ValueError("the dataset of this state is not one of pydaos.torch")
        return _after([walked], 0)
    return _of_sampler(state)


def _of_workers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state of a StatefulDataLoader with workers."""
    snapshot = state["_snapshot"]
    since = int(state.get("_steps_since_snapshot", 0))
    walked = []
    for worker in snapshot["_worker_snapshots"].values():
        fetcher = worker.get("fetcher_state")
        if not isinstance(fetcher, Mapping):
            break
        if not _is_token(fetcher.get("dataset_iter_state")):
            raise ValueError("the dataset of this state is not one of pydaos.torch")
        walked.append(fetcher["dataset_iter_state"])
    if walked:
        return _after(walked, since)
    if since:
        raise ValueError(
            f"the state is {since} batches older than the loop; snapshot_every_n_steps=1 (torchdata's default) "
            "keeps it exact over a sampler"
        )
    return _of_sampler(snapshot["_main_snapshot"])


def _of_sampler(main: Mapping[str, Any]) -> dict[str, Any]:
    """Read the part of a sampler, alone or in a batch sampler; its iterator knows best."""
    for name in ("_sampler_iter_state", "_index_sampler_state"):
        found = list(_tokens(main.get(name)))
        if found:
            # Of a sampler and its iterator the iterator is at the indices drawn last.
            return Token.from_dict(found[-1]).to_dict()
    raise ValueError("the sampler of this state is not one of pydaos.torch: give the loader dataset.sampler(...)")


def _after(walked: list[Mapping[str, Any]], since: int) -> dict[str, Any]:
    """Make the token of what several workers' iterators gave, and ``since`` batches more."""
    first = walked[0]
    begun = {k: v for k, v in first.items() if k not in ("given", "width", "of", "ranks", "taken")}
    for other in walked[1:]:
        if any(other.get(k) != v for k, v in begun.items()):
            raise ValueError("the workers of this state do not walk the same pass")
    token = Token.from_dict(begun)
    width, n = int(first["width"]), int(first["of"])
    taken = [int(w.get("taken", 0)) for w in walked]
    at = token.position + (sum(int(w["given"]) for w in walked) + since) * width
    if any(taken):
        if len(walked) > 1 or since or int(first["ranks"]) > 1:
            raise ValueError(
                "the samples consumed are no prefix of the order: each worker stands within a request; give the "
                "DataLoader the batch_size of the IterableDataset"
            )
        at += taken[0]
    return token.at(min(at, n)).to_dict()
