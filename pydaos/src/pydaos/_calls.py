"""Calls over a pool of connections: single ones, many under way, streams, uploads; and their retries.

`Calls` knows no method of the service. `_client.Client` is made of it, `_retry` has the
connections and the patience with a server that has gone.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from pydaos import _errors as errors
from pydaos._discovery import Endpoint
from pydaos._feed import Buffer, FeedConnection
from pydaos._retry import ConnectionPool, Patience, new_request_id

if TYPE_CHECKING:
    from typing_extensions import Self

M = TypeVar("M", bound=Message)

DEFAULT_TIMEOUT = 60.0
DEFAULT_RETRY = 60.0


class Calls:
    """What carries out calls at one server, and sends them again if their answer is lost."""

    def __init__(self, endpoint: Endpoint, *, timeout: float = DEFAULT_TIMEOUT, retry: float = DEFAULT_RETRY) -> None:
        self._endpoint = endpoint
        self._pool = ConnectionPool(endpoint, timeout, retry)
        self._seen = 0

    def call(
        self,
        method: str,
        request: Message,
        response_cls: type[M],
        payload: Buffer | None = None,
        *,
        timeout: float | None = None,
        retry: float | None = None,
    ) -> M:
        """Carry out one call, ``"posix.Stat"``, and return its answer without a payload.

        A request with a `mutation` gets a request id, by which the server recognises a call
        that is sent again after its answer was lost.
        """
        return self.call_payload(method, request, response_cls, payload, timeout=timeout, retry=retry)[0]

    def call_payload(
        self,
        method: str,
        request: Message,
        response_cls: type[M],
        payload: Buffer | None = None,
        *,
        alloc: Callable[[int], Buffer] | None = None,
        timeout: float | None = None,
        retry: float | None = None,
    ) -> tuple[M, Any]:
        """Carry out one call and return its answer and payload (bytes, or alloc's buffer)."""
        full = full_method(method)
        message = self._prepare(request)
        meta, data = self._pool.run(
            lambda conn: conn.unary(full, message, payload, alloc=alloc, timeout=timeout), retry=retry
        )
        return self._parse(response_cls, meta), data

    def call_many(
        self,
        method: str,
        calls: Sequence[tuple[Message, Buffer | None]],
        response_cls: type[M],
        *,
        into: Sequence[memoryview] | None = None,
        window: int = 4,
        timeout: float | None = None,
    ) -> list[tuple[M, Any] | errors.DaosError]:
        """Carry out calls one after another without waiting for each answer.

        Parameters
        ----------
        method
            As for `call`.
        calls
            Requests with their payloads; changes get their request ids.
        response_cls
            Class of the answers.
        into
            For each call the buffer that its payload is received into, from its beginning.
        window
            Calls that may wait for their answers, at most 16.

        Returns
        -------
        list
            For each call its answer and payload, or the error that it ended with.
        """
        full = full_method(method)
        prepared = [(self._prepare(request), payload) for request, payload in calls]

        def once(conn: FeedConnection) -> list[tuple[M, Any] | errors.DaosError]:
            answers: list[tuple[M, Any] | errors.DaosError] = []
            waiting: deque[int] = deque()
            for at in range(len(prepared) + window):
                if at < len(prepared):
                    message, payload = prepared[at]
                    try:
                        waiting.append(conn.send_call(full, message, payload, timeout=timeout))
                    except BaseException:
                        conn.broken = conn.broken or bool(waiting)  # answers are under way
                        raise
                if waiting and (len(waiting) >= window or at >= len(prepared)):
                    alloc = None if into is None else _start_of(into[len(answers)])
                    try:
                        meta, data = conn.receive(waiting.popleft(), alloc)
                    except errors.DaosError as e:
                        if conn.broken or isinstance(e, errors.OverloadedError):
                            conn.broken = True
                            raise
                        answers.append(e)
                    else:
                        answers.append((self._parse(response_cls, meta), data))
            return answers

        if len(prepared) == 1:
            window = 1
        return self._pool.run(once)

    def stream(
        self,
        method: str,
        request: Message,
        response_cls: type[M],
        *,
        alloc: Callable[[int], Buffer] | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[M, Any]]:
        """Carry out a call with a stream of answers; yields each with its payload.

        It is begun again while nothing has been received; after that a lost connection is
        raised, as only the caller knows where to go on.
        """
        full = full_method(method)
        message = self._prepare(request)
        patience = Patience(self._pool.retry)
        while True:
            got = False
            try:
                with (
                    self.connection() as conn,
                    contextlib.closing(conn.stream(full, message, alloc=alloc, timeout=timeout)) as frames,
                ):
                    for meta, payload in frames:
                        got = True
                        yield self._parse(response_cls, meta), payload
                return
            except (errors.UnreachableError, errors.OverloadedError) as e:
                if got:
                    raise
                patience.wait(e)

    def upload(
        self,
        method: str,
        messages: Callable[[], Iterator[tuple[Message, Buffer | None]]],
        response_cls: type[M],
        *,
        timeout: float | None = None,
    ) -> M:
        """Carry out a call whose request is a stream of messages with payloads.

        `messages` starts the stream anew for every attempt; the first message must be the
        same each time, request id included.
        """
        full = full_method(method)

        def once(conn: FeedConnection) -> bytes:
            stream = iter(messages())
            first, payload = next(stream)
            call_id = conn.send_call(full, first.SerializeToString(), payload, more=True, timeout=timeout)
            try:
                for message, payload in stream:
                    conn.send_message(call_id, message.SerializeToString(), payload, more=True)
                conn.send_message(call_id, b"", more=False)
            except BaseException:
                conn.broken = True  # the call is half sent
                raise
            return conn.receive(call_id)[0]

        return self._parse(response_cls, self._pool.run(once))

    @contextlib.contextmanager
    def connection(self) -> Iterator[FeedConnection]:
        """Lend a connection for low-level use; it is dropped if the block raises."""
        conn = self._pool.acquire()
        try:
            yield conn
        except errors.DaosError:
            if conn.broken:
                self._pool.drop_idle()
            raise
        except GeneratorExit:
            raise  # whoever streams over it has said whether it is still whole
        except BaseException:
            conn.broken = True
            raise
        finally:
            self._pool.release(conn)

    def _prepare(self, request: Message) -> bytes:
        has_mutation, has_seen = _request_traits(request.DESCRIPTOR)
        if has_mutation and not request.mutation.request_id:  # type: ignore[attr-defined]
            request.mutation.request_id = new_request_id()  # type: ignore[attr-defined]
        if has_seen and not request.seen:  # type: ignore[attr-defined]
            request.seen = self._seen  # type: ignore[attr-defined]
        return request.SerializeToString()

    def _parse(self, response_cls: type[M], meta: bytes) -> M:
        response = response_cls()
        response.ParseFromString(meta)
        if _has_changed(response_cls.DESCRIPTOR):
            self._seen = max(self._seen, response.changed.epoch)  # type: ignore[attr-defined]
        return response

    # Lifetime.

    def close(self) -> None:
        """Close the connections; later calls raise InvalidError."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "endpoint": self._endpoint,
            "timeout": self._pool.timeout,
            "retry": self._pool.retry,
            "seen": self._seen,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._endpoint = state["endpoint"]
        self._pool = ConnectionPool(state["endpoint"], state["timeout"], state["retry"])
        self._seen = state["seen"]


def _start_of(buffer: memoryview) -> Callable[[int], Buffer]:
    return lambda size: buffer[:size]


@functools.cache
def full_method(method: str) -> str:
    """Return ``"/daos.posix.v1.PosixService/Stat"`` for ``"posix.Stat"``."""
    area, name = method.split(".")
    return sys.intern(f"/daos.{area}.v1.{area.capitalize()}Service/{name}")


@functools.cache
def _request_traits(descriptor: Descriptor) -> tuple[bool, bool]:
    fields = descriptor.fields_by_name
    return "mutation" in fields, "seen" in fields


@functools.cache
def _has_changed(descriptor: Descriptor) -> bool:
    return "changed" in descriptor.fields_by_name
