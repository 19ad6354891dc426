"""`app.events`: what a user makes to hear events and to send them; Celery's interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..clock import LamportClock
from ..messaging.connection import Connection
from ..messaging.event_receiver import EventReceiver, Handler
from ..messaging.events import ConnectedDispatcher, EventDispatcher
from ..wire.queues import EVENT_QUEUE, PrivateQueue
from .event_state import State as EventState
from .snapshot import Polaroid as Camera


class Events:
    """Makes receivers, states and dispatchers for one app.

    `connection` gives the one that the app's calls share, `wake` asks nodes for a heartbeat,
    `hostname` is what this process calls itself.
    """

    State = EventState
    Polaroid = Camera

    def __init__(
        self,
        connection: Callable[[], Connection],
        *,
        clock: LamportClock,
        exchange: str,
        serializer: str,
        hostname: str,
        wake: Callable[[], Any],
        queue: PrivateQueue = EVENT_QUEUE,
    ) -> None:
        self._queue = queue
        self._connection = connection
        self._clock = clock
        self._exchange = exchange
        self._serializer = serializer
        self._hostname = hostname
        self._wake = wake

    def Receiver(
        self,
        channel: Connection,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        *,
        accept: Iterable[str] | None = None,
    ) -> EventReceiver:
        """Return a receiver on a connection of the caller's own; see EventReceiver.

        `accept` are the serializers that events may be written with (default: `event_serializer`
        and json).
        """
        return EventReceiver(
            channel,
            handlers,
            routing_key,
            clock=self._clock,
            exchange=self._exchange,
            accept=accept or {self._serializer, "json"},
            wake=self._wake,
            queue=self._queue,
        )

    def Dispatcher(
        self,
        connection: Connection | None = None,
        hostname: str | None = None,
        enabled: bool = True,
        *,
        buffer_while_offline: bool = True,
        groups: Iterable[str] = (),
    ) -> ConnectedDispatcher:
        """Return what sends events of the user's own; see ConnectedDispatcher.

        Without a `connection` it uses the one of the app's calls.
        """
        dispatcher = EventDispatcher(
            hostname or self._hostname,
            clock=self._clock,
            exchange=self._exchange,
            serializer=self._serializer,
        )
        return ConnectedDispatcher(
            connection or self._connection(),
            dispatcher,
            enabled=enabled,
            buffer_while_offline=buffer_while_offline,
            groups=groups,
        )

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[ConnectedDispatcher]:
        """Give a dispatcher for the length of a `with`."""
        with self.Dispatcher(
            hostname=hostname, enabled=enabled, buffer_while_offline=buffer_while_offline
        ) as dispatcher:
            yield dispatcher
