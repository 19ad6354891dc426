"""Paused queues: the node takes no more from them, and gives back what has not begun.

What runs goes on to its end.  What was reserved goes back to the head of its queue, so that a
pause holds for all that has not begun, and nothing waits unseen in a node.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import TYPE_CHECKING

from ..messaging import pauses
from ..messaging.consumer import Heard

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Seconds between two looks when nobody gives word.
LOOK_EVERY = 5.0


class Pauses:
    """Obeys the pauses of one worker's queues."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._next_look = 0.0

    def open(self, now: float) -> None:
        """Hear of pauses on a connection that may be new, and obey those there are."""
        consumer = self.worker.consumer
        pauses.listen(consumer.broker)
        self._next_look = now + LOOK_EVERY
        # The line may have broken between the look and the giving back.
        self._give_back(consumer.paused_queues)
        for queue in sorted(consumer.paused_queues & consumer.queues.keys()):
            log.warning("queue %r is paused: nothing is taken from it", queue)

    def hear(self, heard: Heard, now: float) -> bool:
        """Look if this broadcast says so; return whether it did."""
        if not pauses.is_word(heard):
            return False
        self._look(now)
        # Who paused the queue reads the registry next.
        self.worker.heart.renew(self.worker.consumer.broker)
        return True

    def look_when_due(self, now: float) -> None:
        """Look now and then: a word may be lost."""
        if now >= self._next_look:
            self._look(now)

    def _look(self, now: float) -> None:
        self._next_look = now + LOOK_EVERY
        consumer = self.worker.consumer
        before = consumer.paused_queues & consumer.queues.keys()
        fresh = consumer.heed()
        for queue in sorted(before - consumer.paused_queues):
            log.warning("queue %r is not paused any more", queue)
        if fresh:
            count = self._give_back(fresh)
            names = ", ".join(repr(queue) for queue in sorted(fresh))
            log.warning("queue %s is paused; %d reserved tasks go back to it", names, count)

    def _give_back(self, queues: Set[str]) -> int:
        worker = self.worker
        if not any(request.delivery.queue in queues for request in worker.requests.values()):
            return 0
        given = 0
        for request in worker.recall():
            if request.delivery.queue in queues:
                worker.settlement.give_back(request)
                given += 1
            else:
                worker.scheduler.hold(request)
        return given
