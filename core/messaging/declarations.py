"""Queues as the setting `task_queues` declares them: our records, kombu's objects, or options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..errors import ImproperlyConfigured
from ..wire.queues import Binding, Exchange, Queue


def declarations(declared: Any) -> list[Queue]:
    """Return the queues of `task_queues`: a list of queues and names, or options by name."""
    if not declared:
        return []
    if isinstance(declared, Mapping):
        return [
            as_queue(options) if not isinstance(options, Mapping) else queue_of(name, options)
            for name, options in declared.items()
        ]
    return [queue_of(q, {}) if isinstance(q, str) else as_queue(q) for q in declared]


def as_queue(given: Any) -> Queue:
    """Return a Queue; one of kombu's is read by its attributes."""
    if isinstance(given, Queue):
        return given
    if not hasattr(given, "name") or not hasattr(given, "routing_key"):
        raise ImproperlyConfigured(f"task_queues holds {given!r}: a Queue or a name is expected")
    fields = {
        name: getattr(given, name)
        for name in Queue.__struct_fields__
        if name not in ("name", "exchange", "routing_key") and getattr(given, name, None)
    }
    theirs = getattr(given, "exchange", None)
    exchange = _exchange_of(theirs)
    fields["bindings"] = tuple(
        Binding(_exchange_of(one.exchange), one.routing_key or "", one.arguments or None)
        for one in getattr(given, "bindings", None) or ()
    )
    return Queue(
        name=given.name,
        exchange=exchange,
        routing_key=given.routing_key or "",
        durable=bool(getattr(given, "durable", True)),
        **{k: v for k, v in fields.items() if k != "durable"},
    )


def _exchange_of(theirs: Any) -> Exchange:
    """Return our record of an exchange of kombu's."""
    if theirs is None or isinstance(theirs, Exchange):
        return theirs or Exchange()
    return Exchange(
        name=theirs.name or "",
        type=theirs.type or "direct",
        durable=bool(theirs.durable),
        auto_delete=bool(theirs.auto_delete),
        delivery_mode=theirs.delivery_mode,
        arguments=theirs.arguments or None,
        no_declare=bool(getattr(theirs, "no_declare", False)),
    )


#: Options of a `task_queues` entry that are for its exchange, by the exchange's names for them.
_OF_EXCHANGE = {
    "durable": "exchange_durable",
    "auto_delete": "exchange_auto_delete",
    "arguments": "exchange_arguments",
    "delivery_mode": "delivery_mode",
}
#: Options that stand for both queue and exchange, unless one of them is named.
_OF_BOTH = ("durable", "auto_delete")


def queue_of(name: str, options: Mapping[str, Any]) -> Queue:
    """Return the queue a `task_queues` entry describes, by kombu's `Queue.from_dict`.

    Raises ImproperlyConfigured for an option that nobody knows.
    """
    options = dict(options)
    keys = (options.pop("binding_key", None), options.pop("routing_key", None), name)
    exchange, kind = options.pop("exchange", None), options.pop("exchange_type", None)
    of_exchange = {}
    for field, option in _OF_EXCHANGE.items():
        found = options.pop(option, None)
        if found is None and field in _OF_BOTH:
            found = options.get(field)
        if found is not None:
            of_exchange[field] = found
    for field in _OF_BOTH:
        found = options.pop(f"queue_{field}", None)
        if found is not None:
            options[field] = found
        elif options.get(field, ...) is None:
            del options[field]
    if not isinstance(exchange, Exchange):
        exchange = Exchange(getattr(exchange, "name", exchange) or "", kind or "", **of_exchange)
    unknown = sorted(set(options) - set(Queue.__struct_fields__))
    if unknown:
        near = difflib.get_close_matches(unknown[0], Queue.__struct_fields__, 1)
        hint = f"did you mean {near[0]!r}?" if near else "see task_queues"
        raise ImproperlyConfigured(f"task_queues[{name!r}]: no option {unknown[0]!r}; {hint}")
    return Queue(name, exchange, next(filter(None, keys)), **options)


def type_argument(kind: str) -> dict[str, Any] | None:
    """Return the queue argument that asks RabbitMQ for a queue type; classic needs none."""
    if kind not in ("classic", "quorum"):
        raise ImproperlyConfigured(f"unknown queue type {kind!r}: choose classic or quorum")
    return {"x-queue-type": kind} if kind == "quorum" else None
