"""Events: what a node tells whoever watches.

Task events are gathered and sent as one batch a turn, as Celery's workers do.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ..brokers.base import Broker
from ..clock import LamportClock, utcoffset_hours_west
from ..wire.event_message import MULTI, encode_events, routing_key

#: Most task events in one message (Celery's buffer limit).
BATCH = 24


class EventDispatcher:
    """Sends the events of one node.

    `task_events` says whether task events are sent now; worker events always are, when asked for
    with `send`.
    """

    def __init__(
        self,
        hostname: str,
        *,
        clock: LamportClock,
        exchange: str = "celeryev",
        serializer: str = "json",
        task_events: bool = False,
    ) -> None:
        self.hostname = hostname
        self.clock = clock
        self.exchange = exchange
        self.serializer = serializer
        self.task_events = task_events
        self._pid = os.getpid()
        self._gathered: list[dict[str, Any]] = []

    def event(self, event_type: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return a whole event, stamped with clock and time."""
        return {
            "hostname": self.hostname,
            "utcoffset": utcoffset_hours_west(),
            "pid": self._pid,
            "clock": self.clock.forward(),
            **fields,
            "timestamp": time.time(),
            "type": event_type,
        }

    def task(self, event_type: str, **fields: Any) -> None:
        """Note a task event, if they are wanted; it goes out with the next `flush`."""
        if self.task_events:
            self._gathered.append(self.event(event_type, fields))

    def flush(self, broker: Broker) -> None:
        """Send the noted task events."""
        while self._gathered:
            batch, self._gathered = self._gathered[:BATCH], self._gathered[BATCH:]
            self._broadcast(broker, batch, MULTI)

    def send(self, broker: Broker, event_type: str, **fields: Any) -> None:
        """Send a worker event at once."""
        self._broadcast(broker, self.event(event_type, fields), routing_key(event_type))

    def _broadcast(self, broker: Broker, events: Any, key: str) -> None:
        envelope = encode_events(
            events,
            exchange=self.exchange,
            key=key,
            hostname=self.hostname,
            serializer=self.serializer,
        )
        broker.broadcast(self.exchange, key, envelope)
