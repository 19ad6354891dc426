"""A clock that stands still until a test moves it.

What follows it: ETAs, countdowns, delays of retries, expires, rate limits, schedules, and how long
results in memory are kept.  What stays real: `time.time()` in your own code, run times, timeouts
that somebody sits through.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from taskctl.core import clock as house_clock

#: Seconds a thing that says it is due, and is not, is given before it is asked again.
_NUDGE = 0.001


class Follower(Protocol):
    """What works when its time has come."""

    def run_until_idle(self) -> object:
        """Do all that is due."""

    def next_due(self) -> float | None:
        """Return when (Unix seconds) there is more to do; None if that is not known."""


class VirtualClock:
    """The time of a test.

    `start` is a datetime (one without an offset is UTC), Unix seconds, or None for the second it
    is.  While it is installed, everything above goes by it, in all threads of this process.
    """

    def __init__(self, start: datetime | float | None = None) -> None:
        self._time = float(int(time.time())) if start is None else _exact(unix(start))
        self._begun = self._time
        self._monotonic = time.monotonic()
        self._before: tuple[Callable[[], float], Callable[[], float]] | None = None
        #: Who works when time passes, in this order.
        self.followers: list[Follower] = []

    # --- reading it -----------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.fromtimestamp(self._time, UTC)

    def time(self) -> float:
        """Return the time in Unix seconds."""
        return self._time

    def monotonic(self) -> float:
        """Return seconds that go by as the clock is moved."""
        return self._monotonic + (self._time - self._begun)

    # --- moving it ------------------------------------------------------------------------------

    def advance(self, by: float | timedelta) -> None:
        """Let this much time pass (seconds, or a timedelta), and whatever becomes due on the way
        happen, each at its own time: the worker and beat of the test run as it comes.

        Raises ValueError if time would run backwards.
        """
        self.advance_to(self._time + _duration(by))

    def advance_to(self, when: datetime | float) -> None:
        """The same, up to a point in time."""
        target = _exact(unix(when))
        self._refuse_past(target)
        while True:
            self._work()
            due = self.next_due()
            if due is None or due > target:
                break
            self._time = due if due > self._time else _exact(self._time + _NUDGE)
        if target > self._time:
            self._time = target
            self._work()

    def jump(self, by: float | timedelta) -> None:
        """Let this much time pass while nobody works: as if worker and beat had been down."""
        target = _exact(self._time + _duration(by))
        self._refuse_past(target)
        self._time = target

    def next_due(self) -> float | None:
        """Return when (Unix seconds) the next thing is due; None if nothing is."""
        times = [due for one in self.followers if (due := one.next_due()) is not None]
        return min(times, default=None)

    def _work(self) -> None:
        for follower in self.followers:
            follower.run_until_idle()

    def _refuse_past(self, target: float) -> None:
        if target < self._time:
            raise ValueError(f"a clock runs forward: {self._time - target:g} s back was asked for")

    # --- in force -------------------------------------------------------------------------------

    def install(self) -> None:
        """Let everything go by this clock."""
        self._before = (house_clock.now, house_clock.monotonic)
        house_clock.now, house_clock.monotonic = self.time, self.monotonic

    def uninstall(self) -> None:
        """Let everything go by the one before."""
        if self._before is not None:
            house_clock.now, house_clock.monotonic = self._before
            self._before = None

    def __repr__(self) -> str:
        return f"<VirtualClock: {self.now.isoformat()}>"


def unix(when: datetime | float) -> float:
    """Return Unix seconds; a datetime without an offset is UTC."""
    return house_clock.to_unix(when, UTC)


def _exact(time: float) -> float:
    """Return the time in whole microseconds, as an ETA is written in a message: what is due in a
    minute is due when a minute has passed, not a rounding error later."""
    return round(time, 6)


def _duration(by: float | timedelta) -> float:
    return house_clock.seconds(by)
