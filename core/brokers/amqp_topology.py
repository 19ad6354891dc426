"""Exchanges, queues and bindings on RabbitMQ: made as Celery makes them, looked at, removed."""

from __future__ import annotations

from typing import Any

from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..wire.queues import Exchange, Queue
from .amqp_line import Channel, ChannelRefused, Line
from .amqp_words import LOCKED, NOT_FOUND, PRECONDITION, explain

#: Exchanges that every server has, and nobody may declare anew.
_GIVEN = ("", "amq.direct", "amq.topic", "amq.fanout", "amq.headers", "amq.match")


class Topology:
    """What is declared over one line, on a channel that is opened anew when a refusal closes it."""

    def __init__(self, line: Line) -> None:
        self.line = line
        #: Types of the exchanges that were declared here.
        self.types: dict[str, str] = {}
        self.declared: dict[str, Queue] = {}
        self._there: set[str] = set()
        self._channel: Channel | None = None

    def call(self, *methods: Any) -> list[Any]:
        """Say methods that are answered, and return the answers; ChannelRefused if refused."""
        if self._channel is None or not self._channel.open:
            self._channel = self.line.channel()
        return self.line.call(self._channel, *methods)

    # --- making -----------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        """Make the exchange, the queue and the binding exist.

        Raises BrokerError in one line if something of the name is there and differs.
        """
        try:
            self.call(*declaration(queue))
        except ChannelRefused as exc:
            doing = f"declaring queue {queue.name!r}"
            raise explain(self.line.address.shown, exc.said, doing) from exc
        for one in queue.ways_in():
            self.types[one.exchange.name] = one.exchange.type
            self._there.add(one.exchange.name)
        self.declared[queue.name] = queue

    def declare_exchange(self, exchange: Exchange) -> None:
        """Make an exchange exist."""
        if exchange.name in self._there:
            return
        try:
            self.call(exchange_method(exchange))
        except ChannelRefused as exc:
            doing = f"declaring exchange {exchange.name!r}"
            raise explain(self.line.address.shown, exc.said, doing) from exc
        self.types[exchange.name] = exchange.type
        self._there.add(exchange.name)

    def knows_exchange(self, name: str) -> bool:
        """Return whether an exchange exists; what was found once is not asked for again."""
        if name in self._there or name in _GIVEN:
            return True
        try:
            self.call(spec.Exchange.Declare(exchange=name, passive=True))
        except ChannelRefused as exc:
            if exc.said.code == NOT_FOUND:
                return False
            raise
        self._there.add(name)
        return True

    def forget_exchanges(self) -> None:
        """Ask again for every exchange."""
        self._there.clear()

    # --- looking ----------------------------------------------------------------------------

    def look(self, queue: str) -> tuple[int, int] | None:
        """Return (messages waiting, consumers) of a queue; None if it does not exist.

        A queue that another connection has for itself shows neither: (0, 1).
        """
        try:
            (found,) = self.call(spec.Queue.Declare(queue=queue, passive=True))
        except ChannelRefused as exc:
            if exc.said.code == NOT_FOUND:
                return None
            if exc.said.code == LOCKED:
                return 0, 1
            raise explain(self.line.address.shown, exc.said, f"looking at queue {queue!r}") from exc
        return int(found.message_count), int(found.consumer_count)

    # --- removing -----------------------------------------------------------------------------

    def delete(self, queue: str) -> int:
        """Remove a queue; return how many messages waited in it."""
        self.declared.pop(queue, None)
        try:
            (done,) = self.call(spec.Queue.Delete(queue=queue))
        except ChannelRefused as exc:
            if exc.said.code == NOT_FOUND:
                return 0
            raise explain(self.line.address.shown, exc.said, f"deleting queue {queue!r}") from exc
        return int(done.message_count)

    def delete_empty(self, queue: str) -> bool:
        """Remove a queue if nothing waits in it; return whether it is gone."""
        try:
            self.call(spec.Queue.Delete(queue=queue, if_empty=True))
        except ChannelRefused as exc:
            if exc.said.code == PRECONDITION:
                return False
            if exc.said.code != NOT_FOUND:
                doing = f"deleting queue {queue!r}"
                raise explain(self.line.address.shown, exc.said, doing) from exc
        self.declared.pop(queue, None)
        return True

    def purge(self, queue: str) -> int:
        """Drop what waits in a queue; return how many."""
        try:
            (done,) = self.call(spec.Queue.Purge(queue=queue))
        except ChannelRefused as exc:
            if exc.said.code == NOT_FOUND:
                return 0
            raise explain(self.line.address.shown, exc.said, f"purging queue {queue!r}") from exc
        return int(done.message_count)


def declaration(queue: Queue, nowait: bool = False) -> list[Any]:
    """Return the methods that make a queue, its exchange and its binding exist."""
    ways_in = queue.ways_in()
    exchanges = {one.exchange.name: one.exchange for one in ways_in}
    methods = [exchange_method(one, nowait) for one in exchanges.values() if not one.no_declare]
    methods.append(
        spec.Queue.Declare(
            queue=queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            nowait=nowait,
            arguments=arguments(queue),
        )
    )
    methods += [
        spec.Queue.Bind(
            queue=queue.name,
            exchange=one.exchange.name,
            routing_key=one.routing_key,
            nowait=nowait,
            arguments=one.arguments or {},
        )
        for one in ways_in
    ]
    return methods


def exchange_method(exchange: Exchange, nowait: bool = False) -> Any:
    """Return the declaration of an exchange; those that are always there are only asked for."""
    return spec.Exchange.Declare(
        exchange=exchange.name,
        type=exchange.type,
        passive=exchange.name in _GIVEN,
        durable=exchange.durable,
        auto_delete=exchange.auto_delete,
        nowait=nowait,
        arguments=exchange.arguments or {},
    )


def arguments(queue: Queue) -> dict[str, Any]:
    """Return the arguments of a queue, as kombu derives them; times in milliseconds."""
    found = dict(queue.queue_arguments or {})
    for name, value in (
        ("x-expires", _milliseconds(queue.expires)),
        ("x-message-ttl", _milliseconds(queue.message_ttl)),
        ("x-max-length", queue.max_length),
        ("x-max-length-bytes", queue.max_length_bytes),
        ("x-max-priority", queue.max_priority),
    ):
        if value is not None:
            found[name] = value
    return found


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def is_quorum(queue: Queue) -> bool:
    """Return whether a queue is asked for as a quorum queue."""
    return (queue.queue_arguments or {}).get("x-queue-type") == "quorum"
