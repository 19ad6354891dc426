"""Time limits of running work: the soft one is raised in the task, the hard one kills its child.

The parent watches the scoreboard, so a limit costs a child nothing.  A timer in the child would
cost two system calls a task, and would collide with tasks that set timers of their own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping

from .base import Work
from .handle import Handle


class Limits:
    """Counts the pending work that has a limit, and enforces it on `pending` by request."""

    def __init__(self, pending: Mapping[int, Work]) -> None:
        self._pending = pending
        self._count = 0
        #: The shortest limit since there were none at all: no more than a lower bound.
        self._shortest = 0.0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, work: Work) -> None:
        """Watch over this work from now on."""
        limits = [limit for limit in (work.soft, work.hard) if limit is not None]
        if limits:
            self._shortest = min([*limits, self._shortest] if self._count else limits)
            self._count += 1

    def drop(self, work: Work) -> None:
        """Watch over it no longer."""
        if work.soft is not None or work.hard is not None:
            self._count -= 1

    def next_look(self, handles: Iterable[Handle], now: float) -> float:
        """Return within how many seconds the next limit can be met."""
        # What waits can begin at any moment, and meets its limit no sooner than the shortest.
        within = self._shortest
        for handle in handles:
            work, ran = self._running(handle, now)
            if work is None:
                continue
            if work.hard is not None:
                within = min(within, work.hard - ran)
            if work.soft is not None and handle.warned != work.request:
                within = min(within, work.soft - ran)
        return max(within, 0.0)

    def enforce(self, handles: Iterable[Handle], now: float) -> None:
        """Warn and kill whoever has run for too long."""
        for handle in handles:
            work, ran = self._running(handle, now)
            if work is None:
                continue
            request = work.request
            if work.hard is not None and ran >= work.hard:
                if handle.doomed != request and handle.strike(request, signal.SIGKILL):
                    handle.doomed = request
            elif work.soft is not None and ran >= work.soft and handle.warned != request:
                handle.strike(request, signal.SIGUSR1)
                handle.warned = request

    def _running(self, handle: Handle, now: float) -> tuple[Work | None, float]:
        running = handle.slot.running()
        if running is None:
            return None, 0.0
        return self._pending.get(running[0]), now - running[1]
