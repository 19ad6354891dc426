"""Answers HTTP questions about a worker: a thread that reads what the main loop has written.

It must answer while the loop stands still, so it is no part of the loop; it decides nothing and
changes nothing. Children are forked while it runs, so it holds no lock that a child could want:
it never logs, prints or imports, and its sockets are closed in every child.

Just enough of HTTP/1.1: GET and HEAD, one request a connection, no body taken.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import stat
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..errors import ImproperlyConfigured, ListenError

#: Most bytes of a request, most connections at once, and seconds each may take.
_MAX_HEAD, _MAX_CONNECTIONS, _MAX_SECONDS = 8192, 64, 5.0
_BACKLOG = 64
#: Longest pause (s) between two looks at connections that take too long.
_PAUSE = 1.0

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Address(NamedTuple):
    """Where to listen: a file of the file system (`path`), or host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address of `host:port`, `:port` (this host alone) or `unix:/path`.

    Raises ImproperlyConfigured.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(os.fsencode(path)) > 107:  # sun_path of unix(7)
            raise ImproperlyConfigured(
                f"{text!r}: an absolute path of at most 107 bytes expected after unix:"
            )
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""  # an IPv6 address wants its brackets
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ImproperlyConfigured(f"host:port, :port or unix:/path expected, got {text!r}")
    return Address(host or "127.0.0.1", int(port))


class Response(NamedTuple):
    """What is answered; `text` as UTF-8."""

    status: int
    text: str
    kind: str = "text/plain; charset=utf-8"


Page = Callable[[], Response]

_open: weakref.WeakSet[Listener] = weakref.WeakSet()


class Listener:
    """One address and the pages that are served there; `pages` by path."""

    def __init__(self, address: Address, pages: Mapping[str, Page]) -> None:
        self.address = address
        self.pages = dict(pages)
        self._connections: dict[int, _Connection] = {}
        self._stop, self._stopped = False, threading.Event()

    def open(self) -> None:
        """Listen, and answer from now on.

        Raises ListenError if the address is taken or cannot be used.
        """
        self._socket = _listen(self.address)
        if not self.address.path:
            self.address = self.address._replace(port=self._socket.getsockname()[1])
        else:
            found = os.stat(self.address.path)
            self._inode = found.st_dev, found.st_ino
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        _open.add(self)
        threading.Thread(target=self._run, name="taskctl-listener", daemon=True).start()

    def close(self) -> None:
        """Answer no longer; a socket in the file system is removed."""
        if self not in _open:
            return
        _open.discard(self)
        self._stop = True
        self._ringer.send(b"!")
        self._stopped.wait(_PAUSE)
        self.forget()
        if self.address.path:
            with contextlib.suppress(OSError):
                found = os.stat(self.address.path)
                if (found.st_dev, found.st_ino) == self._inode:
                    os.unlink(self.address.path)

    def forget(self) -> None:
        """Close every descriptor; all there is to do in a child."""
        for connection in list(self._connections.values()):
            connection.socket.close()
        for end in (self._socket, self._bell, self._ringer):
            end.close()
        self._selector.close()

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop:
                self._turn()
        finally:
            self._stopped.set()

    def _turn(self) -> None:
        for key, _ in self._selector.select(_PAUSE):
            if key.fileobj is self._socket:
                self._accept()
            elif (connection := self._connections.get(key.fd)) is not None:
                self._go_on(connection)
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if now > connection.deadline:
                self._drop(connection)

    def _accept(self) -> None:
        try:
            line, _ = self._socket.accept()
        except OSError:  # gone again, or no descriptor is left: the next select tries again
            time.sleep(0.01)
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            self._drop(min(self._connections.values(), key=lambda one: one.deadline))
        line.setblocking(False)
        self._connections[line.fileno()] = _Connection(line)
        self._selector.register(line, selectors.EVENT_READ)

    def _go_on(self, connection: _Connection) -> None:
        """Read or write as far as it goes."""
        try:
            if connection.answer is None:
                if not connection.read():
                    return
                connection.answer = self._answer(bytes(connection.head))
                self._selector.modify(connection.socket, selectors.EVENT_WRITE)
            if connection.write():
                self._drop(connection)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        self._selector.unregister(connection.socket)
        with contextlib.suppress(OSError):
            # What is left unread would reset the line, and the answer be lost.
            connection.socket.recv(1 << 16)
        # A child forked meanwhile may hold it too: this ends it for the other side all the same.
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.socket.close()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if not head.endswith(b"\r\n\r\n"):
            return _rendered(Response(431, "request too long\n"))
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _rendered(Response(400, "no HTTP request\n"))
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _rendered(Response(405, "GET or HEAD expected\n"))
        return _rendered(self._page(target.partition("?")[0]), body=method != "HEAD")

    def _page(self, path: str) -> Response:
        page = self.pages.get(path)
        if page is None:
            return Response(404, f"there are: {' '.join(self.pages)}\n")
        try:
            return page()
        except Exception as exc:  # this thread must go on, and may not log
            return Response(500, f"{type(exc).__name__}: {exc}\n")


class _Connection:
    """One client: its request as far as it was read, and the answer as far as it is not sent."""

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self.deadline = time.monotonic() + _MAX_SECONDS
        self.head = bytearray()
        self.answer: bytes | None = None

    def read(self) -> bool:
        """Take in what has come; return whether the head is whole, or too long to be."""
        part = self.socket.recv(_MAX_HEAD)
        if not part:
            raise ConnectionError("closed before the request was whole")
        self.head += part
        end = self.head.find(b"\r\n\r\n")
        if end >= 0:
            del self.head[end + 4 :]
        return end >= 0 or len(self.head) >= _MAX_HEAD

    def write(self) -> bool:
        """Send on; return whether all is sent."""
        assert self.answer is not None
        self.answer = self.answer[self.socket.send(self.answer) :]
        return not self.answer


def _rendered(response: Response, *, body: bool = True) -> bytes:
    content = response.text.encode()
    head = (
        f"HTTP/1.1 {response.status} {_PHRASES[response.status]}\r\n"
        f"Content-Type: {response.kind}\r\n"
        f"Content-Length: {len(content)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (content if body else b"")


def _listen(address: Address) -> socket.socket:
    try:
        if address.path:
            return _listen_in_file_system(address.path)
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        line = socket.socket(family, socket.SOCK_STREAM)
        try:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(place)
            line.listen(_BACKLOG)
            line.setblocking(False)
        except OSError:
            line.close()
            raise
        return line
    except OSError as exc:
        raise ListenError(
            f"cannot listen on {address}: {(exc.strerror or str(exc)).lower()}"
        ) from exc


def _listen_in_file_system(path: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        line.bind(path)
        line.listen(_BACKLOG)
        line.setblocking(False)
    except OSError:
        line.close()
        raise
    return line


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more; leave everything else to `bind`."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return  # somebody listens, and has much to do


def _close_in_child() -> None:
    for listener in list(_open):
        listener.forget()
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)
