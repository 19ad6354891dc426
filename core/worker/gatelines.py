"""Requests that wait at a gate: those of one task with the same keys, in the order they came."""

from __future__ import annotations

from collections import deque

from ..tasks.limiting import Keys, Limits
from .request import Request

#: Seconds until a slot is asked for again, at first and at most.
FIRST_PAUSE, LAST_PAUSE = 0.02, 0.5
#: Seconds that a run is taken to last before the first has ended.
_GUESS = 0.05
#: Longest time that a message is put aside for, in seconds.
_LONGEST_ASIDE = 60.0


class GateLine:
    """One line of requests, and when it is worth asking for them."""

    def __init__(self, limits: Limits, keys: Keys) -> None:
        self.limits = limits
        self.keys = keys
        self.waiting: deque[Request] = deque()
        #: When to ask again (time.monotonic).
        self.next_ask = 0.0
        #: When the last message that was put aside comes back.
        self._aside_until = 0.0
        self._pause = FIRST_PAUSE
        self._runtime = _GUESS

    def ran(self, seconds: float) -> None:
        """Learn how long runs last."""
        self._runtime += 0.3 * (seconds - self._runtime)

    def refuse(self, now: float) -> None:
        """Note that no slot was free."""
        self.next_ask = now + self._pause
        self._pause = min(2 * self._pause, LAST_PAUSE)

    def admit(self) -> None:
        """Note that a slot was free, or that one has become free."""
        self._pause = FIRST_PAUSE
        self.next_ask = 0.0

    def idle(self, now: float) -> bool:
        """Return whether there is nothing left to remember of it."""
        return not self.waiting and self.next_ask <= now and self._aside_until <= now

    def spacing(self) -> float:
        """Return how many seconds lie between two of its runs, on all workers together."""
        rate, concurrency = self.limits.rate, self.limits.concurrency
        by_rate = rate.interval if rate is not None else 0.0
        by_slots = self._runtime / concurrency.limit if concurrency is not None else 0.0
        return max(by_rate, by_slots)

    def aside(self, now: float, least: float = 0.0) -> float:
        """Return for how many seconds one more message is to be put aside.

        One after the other, as they may run: or all would come back at once, again and again.
        """
        ready = max(now + least, self.next_ask, now + self.spacing() * len(self.waiting))
        self._aside_until = max(self._aside_until, ready) + self.spacing()
        seconds = self._aside_until - now
        if seconds > _LONGEST_ASIDE:
            self._aside_until = now + _LONGEST_ASIDE
        return min(seconds, max(_LONGEST_ASIDE, least, self.next_ask - now))
