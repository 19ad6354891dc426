"""`kombu.Queue`, `Exchange` and `Broadcast`: called as kombu's are, they make our records."""

from __future__ import annotations

from typing import Any

from taskctl.core.errors import UnsupportedFeature
from taskctl.core.wire import queues


class _Maker(type):
    """A class of which no instance is ever made: calling it makes one of ours."""

    made: type

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.made)


class Exchange(metaclass=_Maker):
    """Where messages are published: name and type (direct, topic, fanout, headers)."""

    made = queues.Exchange

    def __new__(  # type: ignore[misc]  # an Exchange of ours
        cls, name: str = "", type: str = "", channel: Any = None, **options: Any
    ) -> queues.Exchange:
        _refuse_subclass(cls, Exchange)
        return queues.Exchange(
            name=name, type=type or "direct", **_known(queues.Exchange, options, "kombu.Exchange")
        )


class Queue(metaclass=_Maker):
    """A place messages wait in, bound to an exchange."""

    made = queues.Queue

    def __new__(  # type: ignore[misc]  # a Queue of ours
        cls,
        name: str = "",
        exchange: Any = None,
        routing_key: str = "",
        channel: Any = None,
        bindings: Any = None,
        on_declared: Any = None,
        **options: Any,
    ) -> queues.Queue:
        _refuse_subclass(cls, Queue)
        if on_declared is not None:
            raise UnsupportedFeature("kombu.Queue(on_declared=...)", "queues call nobody back")
        if isinstance(exchange, list | tuple | set):
            bindings, exchange = [*(bindings or ()), *exchange], None
        options["bindings"] = tuple(bindings or ())
        if bindings:
            exchange = None  # as kombu does
        if isinstance(exchange, str):
            exchange = Exchange(exchange)
        return queues.Queue(
            name=name,
            exchange=queues.Exchange() if exchange is None else exchange,
            routing_key=routing_key or "",
            **_known(queues.Queue, options, "kombu.Queue"),
        )


def Broadcast(
    name: str | None = None,
    queue: str | None = None,
    unique: bool = False,
    auto_delete: bool = True,
    exchange: Any = None,
    alias: str | None = None,
    **options: Any,
) -> queues.Queue:
    """Return a queue of this process's own on a fanout exchange: each worker gets every message."""
    return queues.Broadcast(
        name, queue, unique, auto_delete, exchange, alias,
        **_known(queues.Queue, options, "kombu.Broadcast"),
    )  # fmt: skip


class binding(metaclass=_Maker):
    """One more binding of a queue."""

    made = queues.Binding

    def __new__(  # type: ignore[misc]  # a Binding of ours
        cls, exchange: Any = None, routing_key: str = "", arguments: Any = None,
        unbind_arguments: Any = None,
    ) -> queues.Binding:  # fmt: skip
        return queues.Binding(exchange, routing_key or "", arguments)


#: Arguments that say how kombu works, not what the queue is.
_OF_KOMBU = frozenset(("passive", "no_declare", "on_declared", "max_retries"))


def _known(kind: Any, options: dict[str, Any], feature: str) -> dict[str, Any]:
    """Return the options that our record has; those of kombu's own workings go by."""
    found = {k: v for k, v in options.items() if k in kind.__struct_fields__}
    unknown = {k for k, v in options.items() if k not in found and k not in _OF_KOMBU and v}
    if unknown:
        raise UnsupportedFeature(f"{feature}({', '.join(sorted(unknown))}=...)", "there is no such")
    return found


def _refuse_subclass(cls: type, base: type) -> None:
    if cls is not base:
        raise UnsupportedFeature(
            f"a subclass of kombu.{base.__name__}", "queues are plain records",
            f"call kombu.{base.__name__} itself",
        )  # fmt: skip
