"""Native delayed delivery: messages wait in RabbitMQ, in queues whose time-outs add up.

Celery's topology, name by name (protocol "quorum queues and native delayed delivery"): level L
holds a message 2**L seconds if bit L of its delay is set, else passes it on at once.  The routing
key of a delayed message is the 28 bits of its delay, then the key it is meant for.
"""

from __future__ import annotations

import re
from typing import Any

from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..wire.queues import Queue
from .amqp_envelope import STRAIGHT
from .amqp_line import ChannelRefused
from .amqp_topology import Topology
from .amqp_words import NOT_FOUND, explain

LEVELS = 28
#: Longest delay, in seconds: eight and a half years.
LONGEST: int = 2**LEVELS - 1
#: Where every delayed message comes out.
DELIVERY = "celery_delayed_delivery"
#: Types of the exchanges whose messages are delayed on their way.
DELAYING = ("topic", "fanout")
_BITS = re.compile(r"^(?:[01]\.){28}")


def level(number: int) -> str:
    """Return the name of a level: of its exchange, and of its queue."""
    return f"celery_delayed_{number}"


def delayed_key(seconds: float, routing_key: str) -> str:
    """Return the routing key of a message that shall wait; an earlier delay is taken off."""
    whole = max(0, min(int(seconds), LONGEST))
    bits = ".".join(format(whole, f"0{LEVELS}b"))
    return f"{bits}.{_BITS.sub('', routing_key)}"


def straight_key(queue: str) -> str:
    """Return the key under which a queue gets back what was parked for it."""
    return STRAIGHT + queue


def topology(queue_type: str) -> list[Any]:
    """Return the methods that declare all levels."""
    methods: list[Any] = []
    for number in range(LEVELS - 1, -1, -1):
        below = level(number - 1) if number else DELIVERY
        arguments: dict[str, Any] = {
            "x-queue-type": queue_type,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**number * 1000,
            "x-dead-letter-exchange": below,
        }
        if queue_type == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        name, skipped = level(number), "*." * (LEVELS - 1 - number)
        methods += [
            spec.Exchange.Declare(exchange=name, type="topic", durable=True),
            spec.Queue.Declare(queue=name, durable=True, arguments=arguments),
            spec.Queue.Bind(queue=name, exchange=name, routing_key=f"{skipped}1.#"),
        ]
    for number in range(LEVELS - 1, -1, -1):
        below = level(number - 1) if number else DELIVERY
        if not number:
            methods.append(spec.Exchange.Declare(exchange=DELIVERY, type="topic", durable=True))
        skipped = "*." * (LEVELS - 1 - number)
        methods.append(
            spec.Exchange.Bind(destination=below, source=level(number), routing_key=f"{skipped}0.#")
        )
    return methods


class Delay:
    """The levels as one line has declared them."""

    def __init__(self, topology_: Topology, queue_type: str) -> None:
        self._topology = topology_
        self._type = queue_type
        self._there = False
        self._bound: set[tuple[str, str]] = set()

    def prepare(self) -> None:
        """Make all levels exist, as they are or of the kind that was asked for."""
        if not self._there:
            if not self._found():
                self._call("declaring the levels of delayed delivery", topology(self._type))
            self._there = True

    def _found(self) -> bool:
        """Return whether the levels are there, the last one to be made included."""
        try:
            self._topology.call(
                spec.Exchange.Declare(exchange=DELIVERY, passive=True),
                spec.Queue.Declare(queue=level(0), passive=True),
            )
        except ChannelRefused as exc:
            if exc.said.code == NOT_FOUND:
                return False
            raise
        return True

    def lead_to(self, queue: Queue) -> None:
        """Let delayed messages reach a queue through its own exchange, as Celery's workers do.

        Not through a headers exchange, where a binding without arguments takes every message.
        """
        name, exchange, key = queue.name, queue.exchange, queue.routing_key
        key = key if key.startswith("#") else f"#.{key}"
        if exchange.type not in DELAYING or not exchange.name or (name, "") in self._bound:
            return
        self.prepare()
        methods = [
            spec.Exchange.Bind(destination=exchange.name, source=DELIVERY, routing_key=key),
            spec.Queue.Bind(queue=name, exchange=exchange.name, routing_key=key),
        ]
        self._call(f"binding queue {name!r} for delayed delivery", methods)
        self._bound.add((name, ""))

    def lead_straight_to(self, queue: str) -> None:
        """Let a queue get back what is parked for it."""
        if (queue, "straight") not in self._bound:
            self.prepare()
            key = f"#.{straight_key(queue)}"
            method = spec.Queue.Bind(queue=queue, exchange=DELIVERY, routing_key=key)
            self._call(f"binding queue {queue!r} for delayed delivery", [method])
            self._bound.add((queue, "straight"))

    def _call(self, doing: str, methods: list[Any]) -> None:
        try:
            self._topology.call(*methods)
        except ChannelRefused as exc:
            raise explain(self._topology.line.address.shown, exc.said, doing) from exc
