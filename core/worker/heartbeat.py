"""Still here: the node's lease, its record in the registry, and its heartbeat events."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

from ..messaging.consumer import Broker
from ..messaging.events import EventDispatcher
from ..messaging.nodes import Registration
from ..signals import heartbeat_sent
from ..wire.event_message import SOFTWARE


class Heartbeat:
    """Renews the lease every `interval` seconds and sends events every `event_interval`.

    `record` gives what `status` shows of the node; `facts` the fields of a heartbeat event.
    """

    def __init__(
        self,
        registration: Registration,
        events: EventDispatcher | None,
        *,
        version: str,
        interval: float,
        event_interval: float,
        record: Callable[[], dict[str, Any]],
        facts: Callable[[], dict[str, Any]],
    ) -> None:
        self.registration = registration
        self.events = events
        self.version = version
        self.interval = interval
        self.event_interval = event_interval
        self.record = record
        self.facts = facts
        self._renewed: float | None = None
        self._next_lease = 0.0
        self._next_event = 0.0

    def beat(self, broker: Broker, now: float, *, early: bool = False) -> list[str]:
        """Do what is due at `now` (time.monotonic); return nodes whose work was taken over.

        `early` renews the lease after half the interval: before what may hold up the loop.
        """
        lost: list[str] = []
        if now >= self._next_lease - (self.interval / 2 if early else 0.0):
            self._next_lease = now + self.interval
            self.renew(broker)
            lost = self.registration.reclaim(broker)
        if self.events is not None and now >= self._next_event:
            self._next_event = now + self.event_interval
            self.send(broker, "worker-heartbeat")
            heartbeat_sent.send(sender=self)
        return lost

    def renew(self, broker: Broker) -> None:
        """Extend the lease and refresh the record now."""
        self.registration.renew(broker, {**self.record(), "version": self.version})
        self._renewed = time.monotonic()

    def lapsed(self, now: float) -> float | None:
        """Return how long ago the lease ended, in seconds; None while it holds."""
        if self._renewed is None or now - self._renewed < self.registration.lease:
            return None
        return now - self._renewed - self.registration.lease

    def send(self, broker: Broker, event_type: str, freq: float | None = None) -> None:
        """Send one worker event, if they are on."""
        if self.events is None:
            return
        self.events.send(
            broker,
            event_type,
            freq=self.event_interval if freq is None else freq,
            sw_ident=SOFTWARE,
            sw_ver=self.version,
            sw_sys=platform.system(),
            loadavg=[round(load, 2) for load in os.getloadavg()],
            **self.facts(),
        )

    def next_due(self, now: float) -> float:
        """Return seconds until `beat` has something to do."""
        times = [self._next_lease]
        if self.events is not None:
            times.append(self._next_event)
        return max(0.0, min(times) - now)
