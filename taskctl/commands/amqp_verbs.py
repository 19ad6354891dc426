"""The words of `taskctl amqp`: Celery's, in Celery's order of arguments, and a few more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskctl.failures import usage

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import (  # type: ignore[import-untyped, unused-ignore]
        BlockingChannel,
    )

_REQUIRED = object()
_YES = frozenset("1 true t yes y on".split())
_NO = frozenset("0 false f no n off".split())

Result = dict[str, Any]


@dataclass(frozen=True)
class Argument:
    """One argument by its place; `kind` is str, bool or int."""

    name: str
    kind: type = str
    default: Any = _REQUIRED

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    def read(self, word: str) -> Any:
        """Return the value of a word.

        Raises ValueError with what is expected instead.
        """
        if self.kind is bool:
            if word.lower() in _YES | _NO:
                return word.lower() in _YES
            raise ValueError("true or false expected")
        if self.kind is int and not (word.isascii() and word.isdecimal()):
            raise ValueError("whole number expected")
        return self.kind(word)


@dataclass(frozen=True)
class Verb:
    """One word of AMQP; `run` does it on a channel, `say` makes Celery's line of the result."""

    name: str
    help: str
    arguments: tuple[Argument, ...]
    run: Callable[..., Result]
    example: str
    say: Callable[[Result], str | None] = lambda result: None

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the arguments of a line, by name.

        Raises CommandError if there are too few or too many, or one is no value.
        """
        least = sum(argument.required for argument in self.arguments)
        if not least <= len(words) <= len(self.arguments):
            got = f"got {len(words)}" if words else "got nothing"
            raise usage(f"amqp {self.name} wants {self.signature}, {got}", self.cure)
        values = {}
        for position, argument in enumerate(self.arguments):
            if position >= len(words):
                values[argument.name] = argument.default
                continue
            try:
                values[argument.name] = argument.read(words[position])
            except ValueError as exc:
                where = f"amqp {self.name}: {argument.name.upper()} {words[position]}"
                raise usage(f"{where}: {exc}", self.cure) from exc
        return values

    @property
    def signature(self) -> str:
        """The arguments as help shows them: `QUEUE [IF_UNUSED]`."""
        names = (argument.name.upper() for argument in self.arguments)
        pairs = zip(names, self.arguments, strict=True)
        return " ".join(name if one.required else f"[{name}]" for name, one in pairs) or "nothing"

    @property
    def cure(self) -> str:
        return f"example: taskctl amqp {self.example}"


def _flag(name: str, default: bool | object = False) -> Argument:
    return Argument(name, bool, default)


def _exchange_declare(
    channel: BlockingChannel, exchange: str, type: str, passive: bool, durable: bool,
    auto_delete: bool,
) -> Result:  # fmt: skip
    channel.exchange_declare(exchange, type, passive, durable, auto_delete)
    return {"exchange": exchange, "type": type}


def _exchange_delete(channel: BlockingChannel, exchange: str, if_unused: bool) -> Result:
    channel.exchange_delete(exchange, if_unused)
    return {"exchange": exchange}


def _exchange_bind(
    channel: BlockingChannel, destination: str, source: str, routing_key: str
) -> Result:
    channel.exchange_bind(destination, source, routing_key)
    return {"destination": destination, "source": source, "routing_key": routing_key}


def _exchange_unbind(
    channel: BlockingChannel, destination: str, source: str, routing_key: str
) -> Result:
    channel.exchange_unbind(destination, source, routing_key)
    return {"destination": destination, "source": source, "routing_key": routing_key}


def _queue_declare(
    channel: BlockingChannel, queue: str, passive: bool, durable: bool, auto_delete: bool
) -> Result:
    found = channel.queue_declare(queue, passive, durable, False, auto_delete).method
    return {
        "queue": found.queue,
        "messages": found.message_count,
        "consumers": found.consumer_count,
    }


def _queue_bind(channel: BlockingChannel, queue: str, exchange: str, routing_key: str) -> Result:
    channel.queue_bind(queue, exchange, routing_key)
    return {"queue": queue, "exchange": exchange, "routing_key": routing_key}


def _queue_unbind(channel: BlockingChannel, queue: str, exchange: str, routing_key: str) -> Result:
    channel.queue_unbind(queue, exchange, routing_key)
    return {"queue": queue, "exchange": exchange, "routing_key": routing_key}


def _queue_delete(channel: BlockingChannel, queue: str, if_unused: bool, if_empty: bool) -> Result:
    # A queue that is not there is no error to RabbitMQ, and to whoever mistyped its name it is.
    channel.queue_declare(queue, passive=True)
    count = channel.queue_delete(queue, if_unused, if_empty).method.message_count
    return {"queue": queue, "messages": count}


def _queue_purge(channel: BlockingChannel, queue: str) -> Result:
    return {"queue": queue, "messages": channel.queue_purge(queue).method.message_count}


def _basic_get(channel: BlockingChannel, queue: str, no_ack: bool) -> Result:
    method, properties, body = channel.basic_get(queue, auto_ack=no_ack)
    if method is None:
        return {"queue": queue, "message": None}
    return {
        "queue": queue,
        "message": {
            "body": _text(body or b""),
            "properties": _filled(properties),
            "delivery_info": _filled(method),
        },
    }


def _basic_publish(
    channel: BlockingChannel, msg: str, exchange: str, routing_key: str, mandatory: bool,
    immediate: bool,
) -> Result:  # fmt: skip
    if immediate:
        raise usage("amqp basic.publish: RabbitMQ has no IMMEDIATE since 3.0", "leave it out")
    channel.basic_publish(exchange, routing_key, msg.encode(), mandatory=mandatory)
    return {"exchange": exchange, "routing_key": routing_key}


def _basic_ack(channel: BlockingChannel, delivery_tag: int) -> Result:
    channel.basic_ack(delivery_tag)
    _hear(channel)
    return {"delivery_tag": delivery_tag}


def _basic_reject(channel: BlockingChannel, delivery_tag: int, requeue: bool) -> Result:
    channel.basic_reject(delivery_tag, requeue)
    _hear(channel)
    return {"delivery_tag": delivery_tag, "requeue": requeue}


def _hear(channel: BlockingChannel) -> None:
    """Wait for an answer to something, for an ack has none: a wrong tag closes the channel."""
    channel.basic_qos(prefetch_count=0)


def _text(body: bytes) -> str:
    return body.decode(errors="backslashreplace")


def _filled(thing: Any) -> dict[str, Any]:
    """Return the fields of one of pika's objects that are set."""
    fields = {name: value for name, value in vars(thing).items() if value is not None}
    return {name: _text(v) if isinstance(v, bytes) else v for name, v in fields.items()}


def _deleted(result: Result) -> str:
    return f"{result['messages']} messages deleted."


_QUEUE, _EXCHANGE, _KEY = Argument("queue"), Argument("exchange"), Argument("routing_key")
_ENDS = (Argument("destination"), Argument("source"), _KEY)

VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "exchange.declare", "Make an exchange, or see that it is there.",
            (_EXCHANGE, Argument("type"), _flag("passive"), _flag("durable"),
             _flag("auto_delete")),
            _exchange_declare, "exchange.declare images topic no yes",
        ),
        Verb(
            "exchange.delete", "Delete an exchange.", (_EXCHANGE, _flag("if_unused")),
            _exchange_delete, "exchange.delete images yes",
        ),
        Verb(
            "exchange.bind", "Let an exchange pass messages on to another.", _ENDS,
            _exchange_bind, "exchange.bind copies images 'png.*'",
        ),
        Verb(
            "exchange.unbind", "Take back what exchange.bind did.", _ENDS, _exchange_unbind,
            "exchange.unbind copies images 'png.*'",
        ),
        Verb(
            "queue.declare", "Make a queue, or (PASSIVE) show what it holds.",
            (_QUEUE, _flag("passive"), _flag("durable"), _flag("auto_delete")),
            _queue_declare, "queue.declare images no yes",
            lambda r: f"queue:{r['queue']} messages:{r['messages']} consumers:{r['consumers']}",
        ),
        Verb(
            "queue.bind", "Bind a queue to an exchange.", (_QUEUE, _EXCHANGE, _KEY), _queue_bind,
            "queue.bind images images 'png.*'",
        ),
        Verb(
            "queue.unbind", "Take back what queue.bind did.", (_QUEUE, _EXCHANGE, _KEY),
            _queue_unbind, "queue.unbind images images 'png.*'",
        ),
        Verb(
            "queue.delete", "Delete a queue and the messages in it.",
            (_QUEUE, _flag("if_unused"), _flag("if_empty")), _queue_delete,
            "queue.delete images yes yes", _deleted,
        ),
        Verb(
            "queue.purge", "Delete the messages in a queue.", (_QUEUE,), _queue_purge,
            "queue.purge images", _deleted,
        ),
        Verb(
            "basic.publish", "Send a text; exchange '' is the queues' own.",
            (Argument("msg"), _EXCHANGE, _KEY, _flag("mandatory"), _flag("immediate")),
            _basic_publish, "basic.publish hello '' images yes",
        ),
        Verb(
            "basic.get", "Fetch a message; it goes back unless acknowledged.",
            (_QUEUE, _flag("no_ack")), _basic_get, "basic.get images",
        ),
        Verb(
            "basic.ack", "Acknowledge what this session fetched.",
            (Argument("delivery_tag", int),), _basic_ack, "basic.ack 1",
        ),
        Verb(
            "basic.reject", "Refuse what this session fetched.",
            (Argument("delivery_tag", int), _flag("requeue")), _basic_reject,
            "basic.reject 1 yes",
        ),
    )
}  # fmt: skip
