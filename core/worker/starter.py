"""Hands requests to the pool when they may start."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..messaging.events import EventDispatcher
from ..pool.base import Pool
from .request import Request
from .scheduler import Scheduler
from .totals import Totals

log = logging.getLogger("taskctl.worker")

#: How long (s) every child must have been at one task before what waits behind them goes back to
#: the broker, where another node may take it.
STALLED = 1.0


class Starter:
    """Moves requests from the scheduler to the pool.

    `wanted` ends a request that was revoked or has expired, and says whether it may start;
    `note` tells the broker that requests run, and says whether it could.
    """

    def __init__(
        self,
        pool: Pool,
        scheduler: Scheduler,
        *,
        wanted: Callable[[Request], bool],
        note: Callable[[list[Request]], bool],
        events: EventDispatcher,
        totals: Totals,
    ) -> None:
        self.pool = pool
        self.scheduler = scheduler
        self.wanted = wanted
        self.note = note
        self.events = events
        self.totals = totals

    def start(self, now: float) -> None:
        """Submit what is due at `now` (time.monotonic)."""
        due = [request for request in self.scheduler.due(now) if self.wanted(request)]
        if not due:
            return
        due = self._one_child_each(due)
        suspects = [request for request in due if _suspect(request)]
        if suspects and not self.note(suspects):
            self.scheduler.put_back(due)
            return
        for request in due:
            self.totals.count(request.type)
        describe = log.isEnabledFor(logging.INFO) or self.events.task_events
        announce = self.events.task_events
        self.pool.submit(
            [
                request.work(announce=announce or not request.acks_late, describe=describe)
                for request in due
            ]
        )

    def _one_child_each(self, due: list[Request]) -> list[Request]:
        """Return those of `due` that may go to the pool now; the others wait.

        A message that was lost before is noted as running when it is handed to the pool, and the
        death of this node is held against it.  So it may not wait there, behind the one that
        kills: it goes to the pool, and what is behind it too, only once a child is idle.
        """
        if not any(map(_suspect, due)):
            return due
        idle = self.pool.size - self.pool.waiting() - len(self.pool.running())
        for position, request in enumerate(due):
            if position >= idle and _suspect(request):
                self.scheduler.put_back(due[position:])
                return due[:position]
        return due

    def stalled(self, now: float) -> list[int]:
        """Take back what waits in the pool while all children are at long tasks."""
        if not self.pool.waiting():
            return []
        running = self.pool.running()
        if len(running) < self.pool.size or any(now - one.since < STALLED for one in running):
            return []
        return self.pool.recall()


def _suspect(request: Request) -> bool:
    return bool(request.delivery.deliveries) and not request.noted
