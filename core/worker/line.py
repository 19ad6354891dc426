"""The worker's line to the broker: up, or down and tried again, never in the way of the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..errors import BrokerError
from ..messaging.connection import Connection

log = logging.getLogger("taskctl.worker")

#: Seconds before the first try to reconnect, the factor of each further wait, and the longest.
FIRST_WAIT, FACTOR, LONGEST_WAIT = 0.1, 2.0, 2.0
#: Seconds a line must have stood for its loss to be a new trouble and not more of the old one:
#: a broker whose disk is full can be reached, and refuses each time.
STEADY = 5.0
#: Seconds between two lines in the log about one trouble.
REPEAT = 30.0


class Line:
    """Keeps a connection up; `connect` opens it and subscribes, and may not take long."""

    def __init__(self, connection: Connection, connect: Callable[[], None]) -> None:
        self.connection = connection
        self.connect = connect
        self.up = False
        self.reconnects = 0
        self.since = 0.0
        self._wait = FIRST_WAIT
        self._next_try = 0.0
        self._lost_at = 0.0
        self._next_word = 0.0
        self._told = False

    def opened(self, now: float) -> None:
        """Note that the line stands."""
        self.up = True
        self.since = now

    def lost(self, exc: BrokerError) -> None:
        """Note that the line broke; what is settled meanwhile is kept and said later."""
        now = time.monotonic()
        if self.up and now - self.since >= STEADY:
            self._wait = FIRST_WAIT
            self._next_word = now
        if self.up:
            self._lost_at = now
        self.up = False
        self.connection.drop()
        self._next_try = now + self._wait
        self._wait = min(self._wait * FACTOR, LONGEST_WAIT)
        if now >= self._next_word:
            self._next_word = now + REPEAT
            self._told = True
            log.warning("%s; trying again, running tasks go on", exc)

    def mend(self, now: float) -> bool:
        """Try to reconnect if it is time; return whether the line stands."""
        if self.up or now < self._next_try:
            return self.up
        try:
            self.connect()
        except BrokerError as exc:
            self.lost(exc)
            return False
        self.reconnects += 1
        now = time.monotonic()
        self.opened(now)
        if self._told:
            self._told = False
            log.warning("connected again after %.1f s", now - self._lost_at)
        return True

    def next_try(self, now: float) -> float | None:
        """Return seconds until `mend` has something to do; None while the line stands."""
        return None if self.up else max(0.0, self._next_try - now)
