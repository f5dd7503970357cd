"""A proxy before a real server that loses what it is told to lose."""

from __future__ import annotations

import socket
import struct
import threading


class Proxy:
    """Forwards frames; `drop_answer(method)` cuts the connection instead of giving the next answer."""

    def __init__(self, unix_path: str) -> None:
        self._target = unix_path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._drop: list[tuple[bytes, bool]] = []
        self.dropped = 0
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def drop_answer(self, method: str, times: int = 1) -> None:
        """Lose the answers of the next calls: the server has carried them out."""
        with self._lock:
            self._drop += [(method.encode(), True)] * times

    def drop_request(self, method: str, times: int = 1) -> None:
        """Lose the next requests: the server never sees them."""
        with self._lock:
            self._drop += [(method.encode(), False)] * times

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self.connections += 1
            self._sockets += [client, server]
            thread = threading.Thread(target=self._serve, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        # One call at a time, as the client makes them on one connection unless it pipelines.
        try:
            while True:
                request = _frame(client)
                if request is None:
                    break
                lose = self._decide(request)
                if lose is False:
                    break
                server.sendall(request)
                while request[5] & 1:  # a stream of messages, answered after the last
                    request = _frame(client)
                    if request is None:
                        return
                    server.sendall(request)
                while True:
                    answer = _frame(server)
                    if answer is None:
                        return
                    if lose is True:
                        return
                    client.sendall(answer)
                    if not answer[5] & 1:
                        break
        except OSError:
            pass
        finally:
            for sock in (client, server):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _decide(self, request: bytes) -> bool | None:
        with self._lock:
            if self._drop and self._drop[0][0] in request[64:]:
                self.dropped += 1
                return self._drop.pop(0)[1]
        return None


def _frame(sock: socket.socket) -> bytes | None:
    head = _exactly(sock, 64)
    if head is None:
        return None
    meta = struct.unpack_from("<I", head, 16)[0]
    payload = struct.unpack_from("<Q", head, 24)[0]
    rest = _exactly(sock, meta + -meta % 64 + payload)
    return None if rest is None else head + rest


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            return None
        data += more
    return bytes(data)
