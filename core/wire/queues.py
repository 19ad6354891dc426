"""Exchanges, queues and bindings, as records; and how a topic pattern matches."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from uuid import uuid4

import msgspec

#: Sets a field of a record that is being made.
_set = msgspec.structs.force_setattr


def _exchange(given: Any) -> Any:
    """Return the exchange that a name, or None, stands for."""
    if given is None or isinstance(given, str):
        return Exchange(given or "")
    raise TypeError(f"an Exchange or its name is expected, got {given!r}")


class _ExchangeName(msgspec.Struct, frozen=True):
    name: str = ""
    type: str = "direct"


#: kombu's words for the delivery modes.
DELIVERY_MODES = {"transient": 1, "persistent": 2}


class Exchange(_ExchangeName, frozen=True, kw_only=True):
    """Where messages are published: `Exchange("media", type="topic")`.

    `type` is direct, topic, fanout or headers (RabbitMQ alone); `delivery_mode` 2 or "persistent",
    1 or "transient", None for what `task_default_delivery_mode` says.
    """

    durable: bool = True
    auto_delete: bool = False
    delivery_mode: int | None = None
    arguments: dict[str, Any] | None = None
    no_declare: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str | None) or not isinstance(self.type, str | None):
            raise TypeError(f"an Exchange has a name and a type, got {self.name!r}, {self.type!r}")
        if not self.name:
            _set(self, "name", "")
        if not self.type:
            _set(self, "type", "direct")
        if isinstance(self.delivery_mode, str):
            mode = DELIVERY_MODES.get(self.delivery_mode)
            if mode is None:
                choices = ", ".join(DELIVERY_MODES)
                raise ValueError(f"unknown delivery_mode {self.delivery_mode!r}: choose {choices}")
            _set(self, "delivery_mode", mode)


class Binding(msgspec.Struct, frozen=True):
    """One more way into a queue: messages of `exchange` whose key `routing_key` takes."""

    exchange: Exchange = Exchange()
    routing_key: str = ""
    arguments: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.exchange, Exchange):
            _set(self, "exchange", _exchange(self.exchange))


class _QueuePlace(msgspec.Struct, frozen=True):
    name: str
    exchange: Exchange = Exchange()
    routing_key: str = ""


class Queue(_QueuePlace, frozen=True, kw_only=True):
    """A place messages wait in: `Queue("video", Exchange("media", type="topic"), "media.#")`.

    It is bound to `exchange` (an Exchange, or the name of a direct one) by `routing_key`, and to
    more by `bindings`; a list of bindings in place of the exchange leaves that to the defaults.
    `expires` (seconds, float): an unused queue goes away after that long; None keeps it.
    `message_ttl` (seconds, float) and `max_priority` become AMQP arguments; other brokers
    use what they can.
    """

    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    no_ack: bool = False
    alias: str | None = None
    expires: float | None = None
    message_ttl: float | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    max_priority: int | None = None
    queue_arguments: dict[str, Any] | None = None
    binding_arguments: dict[str, Any] | None = None
    consumer_arguments: dict[str, Any] | None = None
    bindings: tuple[Binding, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a Queue has a name, got {self.name!r}")
        if isinstance(self.exchange, list | tuple | set | frozenset):
            _set(self, "bindings", (*self.bindings, *self.exchange))
            _set(self, "exchange", Exchange())
        elif not isinstance(self.exchange, Exchange):
            _set(self, "exchange", _exchange(self.exchange))
        if not isinstance(self.bindings, tuple):
            _set(self, "bindings", tuple(self.bindings or ()))
        if self.routing_key is None:
            _set(self, "routing_key", "")

    def ways_in(self) -> list[Binding]:
        """Return every binding of the queue, that of its own exchange first."""
        own = Binding(self.exchange, self.routing_key, self.binding_arguments)
        return [own, *self.bindings] if self.exchange.name else list(self.bindings)

    @property
    def top_priority(self) -> int | None:
        """The highest priority the queue was declared with; None if it has no priorities."""
        if self.max_priority is not None:
            return self.max_priority
        found = (self.queue_arguments or {}).get("x-max-priority")
        return found if isinstance(found, int) else None

    def describe(self) -> dict[str, Any]:
        """Return the fields of an `active_queues` reply, in Celery's shape."""
        exchange = self.exchange
        return {
            "name": self.name,
            "exchange": {
                "name": exchange.name,
                "type": exchange.type,
                "arguments": exchange.arguments,
                "durable": exchange.durable,
                "passive": False,
                "auto_delete": exchange.auto_delete,
                "delivery_mode": exchange.delivery_mode,
                "no_declare": exchange.no_declare,
            },
            "routing_key": self.routing_key,
            "queue_arguments": self.queue_arguments,
            "binding_arguments": self.binding_arguments,
            "consumer_arguments": self.consumer_arguments,
            "durable": self.durable,
            "exclusive": self.exclusive,
            "auto_delete": self.auto_delete,
            "no_ack": self.no_ack,
            "alias": self.alias,
            "bindings": [
                {
                    "exchange": one.exchange.name,
                    "routing_key": one.routing_key,
                    "arguments": one.arguments,
                }
                for one in self.bindings
            ],
            "no_declare": None,
            "expires": self.expires,
            "message_ttl": self.message_ttl,
            "max_length": self.max_length,
            "max_length_bytes": self.max_length_bytes,
            "max_priority": self.max_priority,
        }


def Broadcast(
    name: str | None = None,
    queue: str | None = None,
    unique: bool = False,
    auto_delete: bool = True,
    exchange: Exchange | None = None,
    alias: str | None = None,
    **options: Any,
) -> Queue:
    """Return a queue of this process's own on the fanout exchange `name`.

    Each worker that takes from it gets every message sent to `name`, from when it is there; who
    comes later gets none of before.  With `queue`, the queue is called so, and workers that say
    the same name share it; `unique` adds an id to that.
    """
    own = f"{queue or 'bcast'}.{uuid4()}" if unique or not queue else queue
    where = exchange if exchange is not None else Exchange(name or "", type="fanout")
    return Queue(own, where, auto_delete=auto_delete, alias=alias or name, **options)


class PrivateQueue(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue is declared that one node or one client has for itself.

    `expires`: seconds after which it goes when unused; `message_ttl`: seconds a message waits in
    it; None is without end.  `prefix` is what its name begins with, where it is not the node's.
    """

    expires: float | None
    message_ttl: float | None
    exclusive: bool = True
    durable: bool = False
    prefix: str | None = None

    def named(
        self, name: str, exchange: Exchange, routing_key: str, *, no_ack: bool = False
    ) -> Queue:
        """Return the queue of that name."""
        return Queue(
            name=name,
            exchange=exchange,
            routing_key=routing_key,
            durable=self.durable,
            exclusive=self.exclusive,
            auto_delete=not self.durable,
            no_ack=no_ack,
            expires=self.expires,
            message_ttl=self.message_ttl,
        )


#: As Celery declares mailboxes and reply queues (protocol "AMQP transport", declarations).
CONTROL_QUEUE = PrivateQueue(expires=10.0, message_ttl=300.0)
#: As it declares the queue of a receiver of events.
EVENT_QUEUE = PrivateQueue(expires=60.0, message_ttl=5.0, prefix="celeryev")


def direct_queue(name: str, **options: Any) -> Queue:
    """Return the queue Celery makes for a bare name: queue = exchange = routing key."""
    return Queue(name=name, exchange=Exchange(name=name), routing_key=name, **options)


#: What stands for one word of a topic binding key; every other word stands for itself.
_WILDCARDS = {"*": r"[^\.]+", "#": ".*?"}


@lru_cache(maxsize=1024)
def topic_regex(pattern: str) -> str:
    """Return the regular expression of a topic binding key, as kombu stores it in Redis.

    `*` is one word, `#` anything.  Source: kombu 5.7 virtual exchange `TopicExchange`, which
    escapes all but letters, digits and wildcards.
    """
    escaped = "".join(
        char if char.isalnum() or char in ".#*" else "\\000" if char == "\0" else "\\" + char
        for char in pattern
    )
    words = (_WILDCARDS.get(word, word) for word in escaped.split("."))
    return "^" + r"\.".join(words) + "$"


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(topic_regex(pattern))
    except re.error:  # a wildcard that is no whole word, such as *x, stands for itself
        return re.compile(re.escape(pattern) + "$")


def topic_matches(pattern: str, routing_key: str) -> bool:
    """Return whether the topic binding key `pattern` takes `routing_key`."""
    return _compiled(pattern).match(routing_key) is not None


def binding_takes(exchange_type: str, binding_key: str, routing_key: str) -> bool:
    """Return whether a binding of such an exchange takes a message with `routing_key`."""
    if exchange_type == "fanout":
        return True
    if exchange_type == "topic":
        return topic_matches(binding_key, routing_key)
    return binding_key == routing_key
