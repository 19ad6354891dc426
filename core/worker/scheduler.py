"""What was admitted and waits: for its turn, or for a rate limit.

A task with an ETA does not wait here but in the broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..tasks.limiting import Limit, parse_rate
from .request import Request

if TYPE_CHECKING:
    from .gates import Gates

#: Most requests of one task that wait here for their rate limit; the others go back to the
#: broker for up to so many seconds.
MAX_WAITING, MAX_ASIDE = 20, 60.0


class Bucket:
    """Lets one request pass every `1 / rate` seconds; the others queue up."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.next_pass = 0.0
        self.waiting: deque[Request] = deque()

    def due(self, now: float) -> list[Request]:
        """Return the requests that may start now."""
        passed: list[Request] = []
        while self.waiting and now >= self.next_pass:
            passed.append(self.waiting.popleft())
            # A bucket holds one token: what was not used in idle time is not saved up.
            self.next_pass = now + 1.0 / self.rate
        return passed


class Scheduler:
    """Holds requests until they are due."""

    def __init__(self) -> None:
        self._ready: deque[Request] = deque()
        self._buckets: dict[str, Bucket] = {}
        #: Where those wait whose limits all workers share; None if no task has such.
        self.gates: Gates | None = None

    def limit(self, task_name: str, limit: str | float | Limit | None) -> None:
        """Set the rate limit of a task; what waits under it waits under the new one.

        One that all workers share is for the gates.  Raises ImproperlyConfigured for a limit that
        cannot be read.
        """
        rate = 0.0 if isinstance(limit, Limit) else parse_rate(limit)
        old = self._buckets.pop(task_name, None)
        if rate:
            bucket = self._buckets[task_name] = Bucket(rate)
            if old is not None:
                bucket.waiting, bucket.next_pass = old.waiting, 0.0
        elif old is not None:
            self._ready.extend(old.waiting)

    def hold(self, request: Request) -> None:
        """Take a request."""
        if self.gates is not None and self.gates.takes(request):
            return
        bucket = self._buckets.get(request.type) if self._buckets else None
        (self._ready if bucket is None else bucket.waiting).append(request)

    def overfull(self, request: Request) -> float | None:
        """Return seconds to put a rate-limited request aside for, if enough of its kind wait here.

        Else they would fill the window, and tasks without a limit would wait behind them.
        """
        if self.gates is not None and (seconds := self.gates.overfull(request)) is not None:
            return seconds
        bucket = self._buckets.get(request.type) if self._buckets else None
        if bucket is None or len(bucket.waiting) < MAX_WAITING:
            return None
        return min(MAX_ASIDE, len(bucket.waiting) / bucket.rate)

    def due(self, now: float) -> list[Request]:
        """Return what may start; `now` is time.monotonic()."""
        due = list(self._ready)
        self._ready.clear()
        for bucket in self._buckets.values():
            due.extend(bucket.due(now))
        if self.gates is not None:
            due.extend(self.gates.due(now))
        return due

    def put_back(self, requests: Sequence[Request]) -> None:
        """Take back, in front, what was due and could not start yet; some event will tell when
        it can."""
        self._ready.extendleft(reversed(requests))

    def next_due(self, now: float) -> float | None:
        """Return seconds until a rate limit lets something pass; None if none holds anything."""
        times = [b.next_pass - now for b in self._buckets.values() if b.waiting]
        if self.gates is not None and (seconds := self.gates.next_due(now)) is not None:
            times.append(seconds)
        return max(0.0, min(times)) if times else None

    def recall(self, wanted: Callable[[Request], bool] = lambda request: True) -> list[Request]:
        """Take back what waits (of those `wanted`)."""
        taken: list[Request] = []
        for waiting in [self._ready, *(b.waiting for b in self._buckets.values())]:
            kept: list[Request] = []
            for request in waiting:
                (taken if wanted(request) else kept).append(request)
            waiting.clear()
            waiting.extend(kept)
        if self.gates is not None:
            taken += self.gates.recall(wanted)
        return taken

    def limited(self) -> int:
        """Return how many wait for their rate limit."""
        waiting = sum(len(bucket.waiting) for bucket in self._buckets.values())
        return waiting if self.gates is None else waiting + self.gates.waiting()
