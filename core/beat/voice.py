"""How beat answers `inspect ping`, so that it can be watched like a worker.

It speaks from the loop that sends: if that stands still, beat is silent.  Other remote commands
are left alone, and beat is in no registry: ask for it by its name.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from ..errors import BrokerError
from ..messaging.mailbox import NodeMailbox
from ..messaging.nodes import new_owner
from ..messaging.private_queues import control_queue
from ..templates import node_name

log = logging.getLogger("taskctl.beat")

#: Name of beat as a node, if it is given none; Celery's.
DEFAULT_NAME = "celerybeat@%h"
#: Seconds before the first new try to reach the broker, and the longest pause between two.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0


class Voice:
    """One node that answers ping, and nothing else."""

    def __init__(self, app: Any, name: str | None = None) -> None:
        name = name or DEFAULT_NAME
        self.node = node_name(name if "@" in name else f"celerybeat@{name}")
        self.clock = app.clock
        self.connection = app.connection()
        self.connection.owner = new_owner(self.node)
        self.mailbox = NodeMailbox(
            self.node,
            namespace=app.conf.control_exchange,
            serializer=app.conf.task_serializer,
            accept=app.conf.accept_content,
            queue=control_queue(app.conf),
        )
        self._open = False
        self._pause = 0.0
        self._next_try = 0.0

    def open(self) -> None:
        """Listen; a broker that is away is tried again by `answer`."""
        try:
            self.mailbox.open(self.connection.broker)
        except BrokerError as exc:
            self._lost(exc)
            return
        self._open, self._pause = True, 0.0

    def close(self) -> None:
        """Listen no longer."""
        self._open = False
        self.connection.close()

    def fileno(self) -> int | None:
        """Return what is readable when somebody may have asked; None while nothing is heard."""
        return int(self.connection.broker.fileno()) if self._open else None

    def poll_interval(self) -> float:
        """Return after how many seconds `answer` should be called in any case."""
        if self._open:
            return float(self.connection.broker.poll_interval())
        return max(0.0, self._next_try - time.monotonic())

    def answer(self) -> None:
        """Answer who has asked."""
        if not self._open and time.monotonic() >= self._next_try:
            self.open()
        if not self._open:
            return
        try:
            broker = self.connection.broker
            for heard in broker.hear():
                request = self.mailbox.read(heard)
                if request is None or request.method != "ping":
                    continue
                self.clock.adjust(request.clock)
                reply = self.mailbox.answer(request, {"ok": "pong"}, self.clock.forward())
                if reply is not None:
                    broker.publish([reply])
        except BrokerError as exc:
            self._lost(exc)

    def _lost(self, exc: BrokerError) -> None:
        self._open = False
        self.connection.drop()
        self._pause = min(_LAST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
        self._next_try = time.monotonic() + self._pause
        log.warning("remote control is deaf: %s; listening again in %g s", exc, self._pause)
