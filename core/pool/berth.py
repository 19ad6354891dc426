"""A berth: the parent's place for one child that runs many requests at once, and their flights."""

from __future__ import annotations

import time

from ..wire.outcome import LOST, TIMED_OUT, Outcome
from .base import Running, Work
from .cells import SOFTEN, STOP, Cells
from .feed import Feed
from .handle import signal_name

#: Seconds a task may take to end once it was cancelled; then its child is killed.
GRACE = 2.0


class Flight:
    """One request from the time it is given to a child until its outcome."""

    __slots__ = ("berth", "cell", "late", "obey_by", "running", "signum", "warned", "work")

    def __init__(self, work: Work, berth: Berth, cell: int) -> None:
        self.work = work
        self.berth = berth
        self.cell = work.cell = cell
        #: Once it was seen to run.
        self.running: Running | None = None
        #: Whether it was told of its soft limit.
        self.warned = False
        #: With what it was told to stop, when that must have had effect (time.monotonic), and
        #: whether that was for its hard limit.
        self.signum: int | None = None
        self.obey_by = 0.0
        self.late = False

    def look(self) -> Running | None:
        """Return it as it runs, None if it has not begun."""
        if self.running is None:
            berth, request = self.berth, self.work.request
            since = berth.cells.begun(self.cell, request)
            if since is not None:
                self.running = Running(
                    request=request, pid=berth.pid, child=berth.index, since=since
                )
        return self.running

    def next_due(self, now: float) -> float | None:
        """Return when something is to be done about it (time.monotonic), if nothing else comes."""
        if self.signum is not None:
            return self.obey_by
        work, running = self.work, self.look()
        # What waits in the child's feed can begin at any moment, but not before now.
        since = now if running is None else running.since
        times = [work.soft] if work.soft is not None and not self.warned else []
        times += [work.hard] if work.hard is not None else []
        return since + min(times) if times else None

    def soften(self) -> None:
        """Order the soft limit to be raised in it."""
        self.warned = True
        self.berth.cells.order(self.cell, SOFTEN)

    def stop(self, signum: int, now: float, *, late: bool = False) -> None:
        """Order it to be cancelled, as that signal would end a child."""
        self.signum, self.late, self.obey_by = signum, late, now + GRACE
        self.berth.cells.order(self.cell, STOP)

    def stopped(self, outcome: Outcome) -> Outcome:
        """Make the outcome of a request that was told to stop say why it did."""
        hard = self.work.hard
        outcome.signum, outcome.pid = self.signum, self.berth.pid
        if self.late and hard is not None:
            outcome.kind, outcome.text = TIMED_OUT, f"ran longer than {hard:g} s"
        else:
            outcome.kind = LOST
            outcome.text = f"cancelled by {signal_name(self.signum or 0)}"
        if self.running is not None:
            outcome.runtime = time.monotonic() - self.running.since
        return outcome


class Berth:
    """One child's feed, its cells, and what it was given."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid = 0
        self.feed = Feed()
        self.cells = Cells()
        self.flights: dict[int, Flight] = {}
        #: How many requests it was ever given.
        self.given = 0
        #: Whether it is to run nothing beside the one it has.
        self.apart = False
        #: Whether the poll tells when its feed can flow again.
        self.watched = False
        self._free: list[int] = []
        self._made = 0

    def take(self, work: Work) -> Flight:
        """Put work into the feed, under a cell of its own."""
        if not self._free:
            self._free.append(self._made)
            self._made += 1
        flight = Flight(work, self, self._free.pop())
        self.flights[work.request] = flight
        self.given += 1
        self.feed.append([work])
        return flight

    def land(self, flight: Flight) -> None:
        """Forget a flight: it is over, or goes elsewhere."""
        del self.flights[flight.work.request]
        self._free.append(flight.cell)
        if not self.flights:
            self.apart = False

    def close(self) -> None:
        """Let go of the descriptors."""
        self.feed.close()
