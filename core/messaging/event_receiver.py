"""The receiving end of events: hears what nodes tell, and hands each event to its handler."""

from __future__ import annotations

import logging
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..brokers.base import Broker, Heard
from ..clock import LamportClock
from ..errors import TaskctlError
from ..wire import codecs
from ..wire.event_message import decode_events
from ..wire.queues import EVENT_QUEUE, PrivateQueue
from .connection import Connection

log = logging.getLogger("taskctl.events")

Event = dict[str, Any]
Handler = Callable[[Event], Any]

#: Longest sleep, in seconds: `should_stop` is looked at as often.
_SLEEP = 0.5
#: After so many seconds without any event the broker is asked whether it is still there.
_SILENCE = 10.0


class EventReceiver:
    """`app.events.Receiver`: captures events.

    `handlers` maps event types to functions that take the event, a dict; the one called "*" gets
    all that have none of their own. `routing_key` is a topic pattern: "#" hears everything,
    "worker.#" the events of workers. `wake` asks the nodes for a heartbeat now.

    An event has the fields that its sender gave it, and `local_received`, our time of receipt.
    Its `timestamp` is Unix time and left alone: Celery would move it by the difference of the
    time zones of sender and receiver, which makes it wrong.

    One thread at a time captures; `should_stop` may be set by any.
    """

    def __init__(
        self,
        connection: Connection,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        *,
        clock: LamportClock | None = None,
        exchange: str = "celeryev",
        accept: Iterable[str] = ("json",),
        wake: Callable[[], Any] = lambda: None,
        queue: PrivateQueue = EVENT_QUEUE,
    ) -> None:
        self.queue = queue
        self.connection = connection
        self.handlers: Mapping[str, Handler] = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.clock = clock or LamportClock()
        self.exchange = exchange
        self.accept = codecs.accepted_types(accept)
        self.should_stop = False
        self._wake = wake
        self._waiting: deque[Heard] = deque()

    def capture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> None:
        """Hand events to their handlers until `should_stop`, or `limit` messages have come.

        A message may hold several events. `wakeup` asks all nodes for a heartbeat first.

        Raises TimeoutError after `timeout` seconds without a message, BrokerConnectionError if
        the broker is gone, and what a handler raises.
        """
        for _ in self.itercapture(limit, timeout, wakeup):
            pass

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[None]:
        """As `capture`, a step at a time: yield after each message."""
        broker = self.connection.open()
        broker.listen(self.exchange, self.routing_key, self.queue)
        if wakeup:
            self.wakeup_workers()
        for count, heard in enumerate(self._hear(broker, timeout), 1):
            self._receive(heard)
            yield
            if limit is not None and count >= limit:
                return

    def _hear(self, broker: Broker, timeout: float | None) -> Iterator[Heard]:
        last = checked = time.monotonic()
        while not self.should_stop:
            # What one capture leaves when it ends is the next one's.
            self._waiting.extend(one for one in broker.hear() if one.exchange == self.exchange)
            while self._waiting:
                last = checked = time.monotonic()
                yield self._waiting.popleft()
            now = time.monotonic()
            if timeout is not None and now - last >= timeout:
                raise TimeoutError(f"no event within {timeout:g} s")
            if now - checked >= _SILENCE:
                broker.nodes()  # raises if it is gone; the line of the events may not tell
                checked = now
            left = _SLEEP if timeout is None else min(_SLEEP, last + timeout - now)
            select.select([broker.fileno()], [], [], max(0.0, min(left, broker.poll_interval())))

    def wakeup_workers(self) -> None:
        """Ask every node for a heartbeat, so that all are known soon."""
        self._wake()

    def _receive(self, heard: Heard) -> None:
        try:
            events = decode_events(heard.envelope, self.accept)
        except TaskctlError as exc:
            log.warning("dropped an event: %s", exc)
            return
        for event in events:
            self.process(*self.event_from_message(event))

    def event_from_message(self, body: Event) -> tuple[str, Event]:
        """Return type and event; our logical clock has taken note of it."""
        if body["type"] == "task-sent":
            # Clients hear of nobody, their clocks mean nothing: right before now, as in Celery.
            body["clock"] = (self.clock.value or 1) - 1
            self.clock.adjust(body["clock"])
        elif isinstance(body.get("clock"), int):
            self.clock.adjust(body["clock"])
        else:
            body["clock"] = self.clock.forward()
        body["local_received"] = time.time()
        return body["type"], body

    def process(self, type: str, event: Event) -> None:
        """Hand one event to its handler."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)
