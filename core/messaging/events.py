"""Events: what a node, or a program of the user's, tells whoever watches.

Task events of a node are gathered and sent as one batch a turn, as Celery's workers do.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..brokers.base import Broker
from ..clock import LamportClock, utcoffset_hours_west
from ..errors import BrokerConnectionError
from ..wire.event_message import MULTI, encode_events, routing_key
from .connection import Connection

#: Most task events in one message (Celery's buffer limit).
BATCH = 24
#: Most events that a dispatcher keeps while the broker is away.
KEPT = 10_000


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

    def event(self, event_type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole event, stamped with clock, and with the time unless `fields` say it."""
        return {
            "hostname": self.hostname,
            "utcoffset": utcoffset_hours_west(),
            "pid": self._pid,
            "clock": self.clock.forward(),
            **{name: value for name, value in fields.items() if name != "timestamp"},
            "timestamp": fields.get("timestamp") or time.time(),
            "type": event_type,
        }

    def task(self, event_type: str, task: Any = None, **fields: Any) -> None:
        """Note a task event, if they are wanted; it goes out with the next `flush`.

        A `task` whose `send_events` is false has none.
        """
        if self.task_events and getattr(task, "send_events", True):
            self._gathered.append(self.event(event_type, fields))

    def flush(self, broker: Broker) -> None:
        """Send the noted task events; those that could not be sent stay noted."""
        while self._gathered:
            self.broadcast(broker, self._gathered[:BATCH], MULTI)
            del self._gathered[:BATCH]

    def send(self, broker: Broker, event_type: str, **fields: Any) -> None:
        """Send one event at once."""
        self.broadcast(broker, self.event(event_type, fields), routing_key(event_type))

    def broadcast(self, broker: Broker, events: Any, key: str) -> None:
        """Send one event, or a list of them, as they are."""
        envelope = encode_events(
            events,
            exchange=self.exchange,
            key=key,
            hostname=self.hostname,
            serializer=self.serializer,
        )
        broker.broadcast(self.exchange, key, envelope)


def retry_cause(text: str) -> str:
    """Return why a task is retried: what follows the time in `Retry in 5s: OSError()`."""
    if not text.startswith("Retry "):
        return text
    return text.partition(": ")[2] or "None"


class ConnectedDispatcher:
    """`app.events.Dispatcher`: sends events of the user's own over a connection.

    `groups` are the first words of the types that are sent (`task` of `task-sent`), none for all.
    With `buffer_while_offline` events are kept while the broker is away (the last KEPT of them)
    and go out with the next `flush`; without it, `send` raises BrokerConnectionError.

    Safe to use from several threads.
    """

    def __init__(
        self,
        connection: Connection,
        dispatcher: EventDispatcher,
        *,
        enabled: bool = True,
        buffer_while_offline: bool = True,
        groups: Iterable[str] = (),
        deadline: float | None = 5.0,
    ) -> None:
        self.connection = connection
        self.hostname = dispatcher.hostname
        self.enabled = enabled
        self.buffer_while_offline = buffer_while_offline
        self.groups = set(groups or ())
        #: Called when `enable` or `disable` are.
        self.on_enabled: set[Callable[[], Any]] = set()
        self.on_disabled: set[Callable[[], Any]] = set()
        self._dispatcher = dispatcher
        self._deadline = deadline
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def send(self, type: str, blind: bool = False, **fields: Any) -> None:
        """Send an event of any type; nothing happens while disabled or for another group.

        `blind` leaves out the logical clock: for programs that hear nothing of the others'.
        """
        if self.enabled and (not self.groups or type.partition("-")[0] in self.groups):
            event = self._dispatcher.event(type, fields)
            if blind:
                del event["clock"]
            self._hand_over(event)

    def publish(self, type: str, fields: Mapping[str, Any], blind: bool = False) -> None:
        """Send an event, its fields given as one mapping; groups do not matter."""
        if self.enabled:
            self._hand_over(self._dispatcher.event(type, fields))

    def flush(self) -> None:
        """Send what was kept while the broker was away.  Raises BrokerConnectionError."""
        with self._lock:
            while self._kept:
                self._say(self._kept[0])
                self._kept.popleft()

    def _hand_over(self, event: dict[str, Any]) -> None:
        try:
            self._say(event)
        except BrokerConnectionError:
            if not self.buffer_while_offline:
                raise
            self._kept.append(event)

    def _say(self, event: dict[str, Any]) -> None:
        key = routing_key(event["type"])
        self.connection.call(
            lambda broker: self._dispatcher.broadcast(broker, event, key), deadline=self._deadline
        )

    def enable(self) -> None:
        """Send events from now on."""
        self.enabled = True
        for callback in self.on_enabled:
            callback()

    def disable(self) -> None:
        """Send no events from now on."""
        if self.enabled:
            self.enabled = False
            for callback in self.on_disabled:
                callback()

    def close(self) -> None:
        """Nothing is held open: the connection is its maker's."""

    def __enter__(self) -> ConnectedDispatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
