"""What was admitted and waits: for its turn, or for a rate limit.

A task with an ETA does not wait here but in the broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ..errors import ImproperlyConfigured
from .request import Request

#: Seconds in the units of a rate limit.
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
#: Most requests of one task that wait here for their rate limit; the others go back to the
#: broker for up to so many seconds.
MAX_WAITING, MAX_ASIDE = 20, 60.0


def parse_rate(limit: str | float | None) -> float:
    """Return tasks a second; 0 for no limit.

    A limit is a number (a second), or "N/s", "N/m", "N/h".  Raises ImproperlyConfigured.
    """
    if not limit:
        return 0.0
    number, slash, unit = str(limit).partition("/")
    try:
        seconds = _UNITS[unit.strip()] if slash else 1.0
        rate = float(number) / seconds
    except (KeyError, ValueError):
        raise ImproperlyConfigured(
            f"rate limit {limit!r}: write N/s, N/m or N/h, or 0 for none"
        ) from None
    if rate < 0 or rate != rate:
        raise ImproperlyConfigured(f"rate limit {limit!r}: must be 0 or more")
    return rate


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

    def limit(self, task_name: str, limit: str | float | None) -> None:
        """Set the rate limit of a task; what waits under it waits under the new one.

        Raises ImproperlyConfigured for a limit that cannot be read.
        """
        rate = parse_rate(limit)
        old = self._buckets.pop(task_name, None)
        if rate:
            bucket = self._buckets[task_name] = Bucket(rate)
            if old is not None:
                bucket.waiting, bucket.next_pass = old.waiting, 0.0
        elif old is not None:
            self._ready.extend(old.waiting)

    def hold(self, request: Request) -> None:
        """Take a request."""
        bucket = self._buckets.get(request.type) if self._buckets else None
        (self._ready if bucket is None else bucket.waiting).append(request)

    def overfull(self, request: Request) -> float | None:
        """Return seconds to put a rate-limited request aside for, if enough of its kind wait here.

        Else they would fill the window, and tasks without a limit would wait behind them.
        """
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
        return due

    def put_back(self, requests: Sequence[Request]) -> None:
        """Take back, in front, what was due and could not start yet; some event will tell when
        it can."""
        self._ready.extendleft(reversed(requests))

    def next_due(self, now: float) -> float | None:
        """Return seconds until a rate limit lets something pass; None if none holds anything."""
        times = [b.next_pass - now for b in self._buckets.values() if b.waiting]
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
        return taken

    def limited(self) -> int:
        """Return how many wait for their rate limit."""
        return sum(len(bucket.waiting) for bucket in self._buckets.values())
