"""A door on the way to a server: what goes through can be held up, and nobody is told."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Gate:
    """Forwards connections to `port`; while shut, bytes and new connections just wait."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.passing = threading.Event()
        self.passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._over = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def shut(self) -> None:
        self.passing.clear()

    def close(self) -> None:
        self._over = True
        self.passing.set()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [here, there]
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            ready.register(here, selectors.EVENT_READ, there)
            ready.register(there, selectors.EVENT_READ, here)
            while not self._over:
                for key, _ in ready.select():
                    self.passing.wait()
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)


def blackhole() -> tuple[socket.socket, list[socket.socket]]:
    """Return a listener whose queue of connections is full, with what fills it.

    Whoever connects gets no answer at all, as from a host behind a firewall that drops packets.
    """
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    crowd = []
    for _ in range(8):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        crowd.append(one)
    return listener, crowd
