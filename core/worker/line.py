"""The worker's line to the broker: up, or down and tried again, never in the way of the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..errors import BrokerError
from ..messaging.connection import Connection

log = logging.getLogger("taskctl.worker")

#: Seconds before the first try to reconnect, the factor of each further wait, and the longest.
FIRST_WAIT, FACTOR, LONGEST_WAIT = 0.1, 2.0, 5.0


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

    def opened(self, now: float) -> None:
        """Note that the line stands."""
        self.up = True
        self.since = now
        self._wait = FIRST_WAIT

    def lost(self, exc: BrokerError, now: float) -> None:
        """Note that the line broke; what is settled meanwhile is kept and said later."""
        self.up = False
        self.connection.drop()
        self._next_try = now + self._wait
        log.warning("%s; trying again in %.1f s, running tasks go on", exc, self._wait)

    def mend(self, now: float) -> bool:
        """Try to reconnect if it is time; return whether the line stands."""
        if self.up or now < self._next_try:
            return self.up
        try:
            self.connect()
        except BrokerError as exc:
            self._wait = min(self._wait * FACTOR, LONGEST_WAIT)
            self.lost(exc, now)
            return False
        self.reconnects += 1
        self.opened(now)
        log.warning("connected again")
        return True

    def next_try(self, now: float) -> float | None:
        """Return seconds until `mend` has something to do; None while the line stands."""
        return None if self.up else max(0.0, self._next_try - now)
