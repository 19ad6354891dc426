"""Revocations that stand at the broker, as one node knows them.

They are loaded when the node connects, once it hears commands, and now and then after that; what
is revoked meanwhile it is told.  So a task costs no question to the broker.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..messaging import revocations

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Seconds between two looks: a command may be lost, and a node's own memory of it ends.
LOOK_EVERY = 600.0


class Standing:
    """Keeps one worker's knowledge of what is revoked as the broker has it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._next_look = 0.0

    def look(self, now: float) -> None:
        """Load what is revoked, and end what waits here and is.  Raises BrokerError."""
        worker = self.worker
        self._next_look = now + LOOK_EVERY
        found = revocations.load(worker.consumer.broker)
        fresh = set(worker.revoked.keep(found.ids))
        worker.revoked_stamps.keep(found.stamps)
        if fresh or found.stamps:
            log.info("%d tasks and %d stamps are revoked", len(found.ids), len(found.stamps))
        if worker.requests:
            stamps = worker.revoked_stamps
            worker.reconsider(lambda r: r.id in fresh or stamps.cover(r.headers))

    def look_when_due(self, now: float) -> None:
        """Look now and then."""
        if now >= self._next_look:
            self.look(now)
