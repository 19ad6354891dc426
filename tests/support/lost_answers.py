"""A way to a server on which an answer can get lost: what was asked happens, and nobody hears."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from urllib.parse import urlsplit, urlunsplit


class LostAnswers:
    """Forwards connections to the server of a URL; `url` leads through here.

    After `lose` the next bytes that the server says end their connection instead.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login, at, _ = parts.netloc.rpartition("@")
        place = f"{login}{at}127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(parts._replace(netloc=place))
        self.lost = threading.Event()
        self._losing = False
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self) -> None:
        self.lost.clear()
        self._losing = True

    def close(self) -> None:
        for one in self._sockets:
            _end(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._target)
                self._sockets += [here, there]
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            ready.register(here, selectors.EVENT_READ)
            ready.register(there, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    one = here if key.fileobj is here else there
                    data = one.recv(65536)
                    answers = one is there
                    if not data or (answers and self._losing):
                        self._losing = self._losing and not (data and answers)
                        _end(here)
                        _end(there)
                        self.lost.set()
                        return
                    (here if answers else there).sendall(data)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
