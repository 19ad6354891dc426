"""The pause between two turns: the only place where a worker sleeps."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .worker import Worker

#: Pause (s) between two turns while the children have work at hand: outcomes and messages gather
#: and are handled in one go.  See docs/benchmarks.md; without it the parent wakes for every task.
PACE = 0.001
#: Longest sleep (s).
LONGEST = 1.0


class Rest:
    """Sleeps until something can be read or is due."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        #: Whether the last turn had outcomes: then more are on their way.
        self.busy = False
        self._selector = selectors.DefaultSelector()

    def open(self) -> None:
        """Hear signals and the pool; the broker is heard while its line stands."""
        for fd in [self.worker.signals.fileno(), *self.worker.pool.filenos()]:
            self._selector.register(fd, selectors.EVENT_READ)

    def hear(self, fd: int) -> None:
        """Wake up when this descriptor is readable too."""
        self._selector.register(fd, selectors.EVENT_READ)

    def overhear(self, fd: int) -> None:
        """Wake up for it no longer."""
        self._selector.unregister(fd)

    def close(self) -> None:
        self._selector.close()

    def take(self) -> None:
        """Sleep."""
        if self.busy and self.worker.pool.waiting():
            # No child is idle, so nothing that comes now could start in the meantime.
            time.sleep(PACE)
            return
        line = self.worker.line
        if not line.up:
            self._selector.select(self.longest(time.monotonic()))
            return
        fd = self.worker.consumer.broker.fileno()
        self._selector.register(fd, selectors.EVENT_READ)
        try:
            self._selector.select(self.longest(time.monotonic()))
        finally:
            self._selector.unregister(fd)

    def longest(self, now: float) -> float:
        """Return how long nothing will be due, in seconds."""
        worker = self.worker
        times: list[float | None] = [
            LONGEST,
            worker.pool.next_look(),
            worker.scheduler.next_due(now),
            worker.line.next_try(now),
            worker.shutdown.next_look(now),
            worker.vitals.next_due(now),
        ]
        if worker.line.up:
            times += [worker.consumer.broker.poll_interval(), worker.heart.next_due(now)]
            times += [worker.settlement.next_flush(now), worker.post.next_due(now)]
        return max(0.0, min(time_left for time_left in times if time_left is not None))
