"""pdb over a socket: for a worker or a task, which have no terminal of their own.

In a task:

    from taskctl.core.worker.debugger import set_trace
    set_trace()

waits until somebody connects to the address in the log (`telnet 127.0.0.1 6899`).  A worker that
gets USR2, and was started with CELERY_RDBSIG set, opens such a door and works on; it stands still
only from the moment that somebody connects until they say `continue`.

CELERY_RDB_HOST and CELERY_RDB_PORT name another address; of the ports from there on the first free
one is taken.  Whoever can connect can run code as this user: loopback is the default for a reason.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pdb
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import ImproperlyConfigured

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: As Celery 5.7 contrib/rdb.py: the first port, and how many are tried.
DEFAULT_PORT, _PORTS = 6899, 100


class Session(pdb.Pdb):
    """pdb that talks through an open connection, which ends with the session.

    Losing the connection means `continue`, and so does `quit` unless `may_quit`.
    """

    def __init__(self, connection: socket.socket, *, may_quit: bool = True) -> None:
        self.connection = connection
        self.may_quit = may_quit
        self.stream: TextIO = connection.makefile("rw", encoding="utf-8", errors="replace")
        super().__init__(stdin=self.stream, stdout=self.stream, nosigint=True, readrc=False)
        self.use_rawinput = False
        self.prompt = "(rdb) "

    def close(self) -> None:
        """Hang up."""
        for end in (self.stream, self.connection):
            with contextlib.suppress(OSError, ValueError):
                end.close()

    def do_continue(self, arg: str) -> Any:
        """Go on, and hang up."""
        self.set_continue()
        self.close()
        return 1

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> Any:
        """End what is debugged, if that may be ended; else go on."""
        if not self.may_quit:
            return self.do_continue(arg)
        self.close()
        return super().do_quit(arg)

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> Any:
        """Go on: whoever looked is gone."""
        return self.do_continue(arg)


class Door:
    """A listening socket for one debugging session."""

    def __init__(self) -> None:
        self._listener = _listen()
        self._listener.setblocking(False)
        host, port = self._listener.getsockname()[:2]
        self.address = f"{host} {port}"

    def fileno(self) -> int:
        """Return the descriptor that is readable when somebody has come."""
        return self._listener.fileno()

    def accept(self, *, wait: bool = False) -> socket.socket | None:
        """Return the connection of whoever came; None if nobody did, unless told to wait."""
        self._listener.setblocking(wait)
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return None
        connection.setblocking(True)
        return connection

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()


def set_trace(frame: FrameType | None = None) -> None:
    """Wait until somebody connects, then debug the caller (or `frame`) for them."""
    door = Door()
    log.warning("debugger: pid %d waits for: telnet %s", os.getpid(), door.address)
    connection = door.accept(wait=True)
    door.close()
    assert connection is not None
    Session(connection).set_trace(frame or sys._getframe(1))


class Debugger:
    """The door of a worker: opened by USR2, looked at in each turn."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.door: Door | None = None

    def knock(self) -> None:
        """Open the door, if whoever started the node allowed that."""
        if not os.environ.get("CELERY_RDBSIG"):
            log.warning("USR2 ignored: start the node with CELERY_RDBSIG=1 to debug it")
            return
        if self.door is None:
            try:
                self.door = Door()
            except (OSError, ImproperlyConfigured) as exc:
                log.error("no debugger: %s", exc)
                return
            self.worker.rest.hear(self.door.fileno())
        log.warning("debugger: connect with: telnet %s", self.door.address)

    def look(self) -> None:
        """Debug the loop for whoever has connected; it stands still until they continue."""
        worker, door = self.worker, self.door
        connection = door.accept() if door is not None else None
        if connection is None:
            return
        self.close()
        log.warning(
            "debugger: the node stands still from here; its lease ends in %g s",
            worker.heart.registration.lease,
        )
        # In this frame `worker` is at hand.
        Session(connection, may_quit=False).set_trace(sys._getframe())

    def close(self) -> None:
        """Close the door."""
        if self.door is not None:
            self.worker.rest.overhear(self.door.fileno())
            self.door.close()
            self.door = None


def _listen() -> socket.socket:
    host = os.environ.get("CELERY_RDB_HOST") or "127.0.0.1"
    given = os.environ.get("CELERY_RDB_PORT") or str(DEFAULT_PORT)
    if not given.isdecimal():
        raise ImproperlyConfigured(f"CELERY_RDB_PORT={given}: a port number expected")
    first = int(given)
    problem: OSError | None = None
    for port in range(first, first + _PORTS) if first else (0,):
        try:
            return socket.create_server((host, port), backlog=1)
        except OSError as exc:
            problem = exc
    raise OSError(f"no port from {first} on {host} is free: {problem}") from problem
