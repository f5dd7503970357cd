"""Where something went wrong: rank, worker, batch, pass and snapshot, told by the error itself.

torch rebuilds the exception of a worker in the main process from its type and
its printed traceback, so what an error has to say must be in its text.
"""

from __future__ import annotations

from pydaos._errors import DaosError, DeadlineError, OverloadedError, UnreachableError

__all__ = ["LOST", "no_end", "note", "tell_where", "words"]

#: Errors of the server, not of a batch: who goes on after one gets the same batch.
LOST = (UnreachableError, OverloadedError, DeadlineError)


def words(
    snapshot: str,
    *,
    world: tuple[int, int] | None = None,
    worker: tuple[int, int] = (0, 0),
    batch: int | None = None,
    pass_: int | None = None,
    samples: str = "",
) -> str:
    """Return "rank 1 of 4, worker 0 of 2, batch 17 of pass 3, samples ..., p/photos@v1" of what is known."""
    parts = []
    if world is not None:
        parts.append(f"rank {world[0]} of {world[1]}")
    if worker[1]:
        parts.append(f"worker {worker[0]} of {worker[1]}")
    if batch is not None:
        parts.append(f"batch {batch}" + (f" of pass {pass_}" if pass_ is not None else ""))
    if samples:
        parts.append(samples)
    return ", ".join([*parts, snapshot])


def tell_where(err: BaseException, where: str) -> None:
    """Add to an error where it happened, once; its type and attributes stay.

    Our own errors say it in their text, others (of a transform) in a note,
    which their traceback shows.
    """
    if getattr(err, "where", None):
        return
    try:
        err.where = where  # type: ignore[attr-defined]
    except AttributeError:
        return  # an exception with slots
    if isinstance(err, DaosError):
        text = f"{err} ({where})"
        err.args = (text, *err.args[1:])
        if isinstance(err, OSError):
            err.strerror = text
    else:
        note(err, where)


def no_end(err: StopIteration, who: str) -> RuntimeError:
    """Return what to raise for the StopIteration of somebody's code: a loop would take it for the end of its pass."""
    value = f" ({err.value!r})" if err.value is not None else ""
    return RuntimeError(f"{who} raised StopIteration{value}, which would end the loop as if nothing were left")


def note(err: BaseException, text: str) -> None:
    """Add a note to an error of somebody else's; before Python 3.11 it goes into the text."""
    if hasattr(err, "add_note"):
        err.add_note(text)
    elif err.args and isinstance(err.args[0], str):
        err.args = (f"{err.args[0]} ({text})", *err.args[1:])
