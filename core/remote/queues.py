"""Queues as an operator sees them: numbers, who takes from them, what waits; as plain data.

A consumer is a registered node: Celery's do not register.  What a broker cannot tell is None.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ..brokers.base import Broker, NodeRecord, Waiting
from ..errors import TaskctlError
from ..messaging import pauses
from ..messaging.connection import Connection
from ..wire.message import Message, decode_envelope
from ..wire.saferepr import saferepr
from ..wire.task_message import TaskMessage, decode_body, decode_task

#: Keys of a row of `list_queues`.
QUEUE_KEYS = (
    "queue", "depth", "unacked", "consumers", "oldest_seconds", "rate", "paused", "due", "nodes",
)  # fmt: skip
#: Keys of a row of `peek`.
MESSAGE_KEYS = ("id", "task", "args_repr", "enqueued_at", "redelivered", "priority")
_JSON = frozenset({"application/json"})

Row = dict[str, Any]


def list_queues(connection: Connection, *, deadline: float | None = 5.0) -> list[Row]:
    """Return a row for every task queue that is known, ordered by name.

    `depth` waits, `unacked` is lent to nodes, `due` is held for its time.  `rate` is messages a
    second that left the queue for good in the last minute, as the nodes that take from it say.
    """
    return connection.call(_list, deadline=deadline)


def _list(broker: Broker) -> list[Row]:
    takers = _takers(broker.nodes())
    paused = broker.paused()
    stats = {stat.name: stat for stat in broker.queues()}
    rows = []
    for name in sorted({*stats, *paused}):
        stat = stats.get(name)
        nodes = takers.get(name, [])
        rows.append(
            {
                "queue": name,
                "depth": stat.ready if stat else 0,
                "unacked": stat.unacked if stat else 0,
                "consumers": len(nodes),
                "oldest_seconds": stat.oldest if stat else None,
                "rate": _rate(nodes, name),
                "paused": name in paused,
                "due": stat.due if stat else 0,
                "nodes": [node.name for node in nodes],
            }
        )
    return rows


def _takers(nodes: Iterable[NodeRecord]) -> dict[str, list[NodeRecord]]:
    found: dict[str, list[NodeRecord]] = {}
    for node in nodes:
        if node.alive:
            for queue in node.record.get("queues") or ():
                found.setdefault(queue, []).append(node)
    return found


def _rate(nodes: Iterable[NodeRecord], queue: str) -> float | None:
    told = [(node.record.get("rates") or {}).get(queue) for node in nodes]
    known = [rate for rate in told if isinstance(rate, int | float)]
    return round(sum(known), 3) if known else None


def show_queue(connection: Connection, name: str) -> Row | None:
    """Return the row of one queue with its `bindings` and `paused_since`; None if there is none."""

    def show(broker: Broker) -> Row | None:
        row = next((row for row in _list(broker) if row["queue"] == name), None)
        if row is None:
            return None
        since = broker.paused().get(name)
        row["paused_since"] = None if since is None else timestamp(since)
        row["bindings"] = [one for one in _bindings(broker) if one["queue"] == name]
        return row

    return connection.call(show)


def list_bindings(connection: Connection) -> list[Row]:
    """Return a row for every binding of a task queue: queue, exchange, routing_key and type."""
    return connection.call(_bindings)


def _bindings(broker: Broker) -> list[Row]:
    return [
        {
            "queue": binding.queue,
            "exchange": binding.exchange,
            "routing_key": binding.routing_key,
            "type": binding.type or None,
        }
        for binding in broker.bindings()
    ]


def paused_queues(connection: Connection) -> list[str]:
    """Return the queues nobody shall take from now."""
    return connection.call(lambda broker: sorted(broker.paused()))


def pause_queue(connection: Connection, name: str) -> bool:
    """Let nodes take no more from a queue; return false if it was paused before."""
    return connection.call(lambda broker: pauses.pause(broker, name))


def resume_queue(connection: Connection, name: str) -> bool:
    """Let nodes take from a queue again; return false if it was not paused."""
    return connection.call(lambda broker: pauses.resume(broker, name))


def delete_queue(connection: Connection, name: str) -> int:
    """Delete a queue with its bindings and all that waits there or is held; return how many."""
    return connection.call(lambda broker: broker.delete(name), deadline=None)


def delete_empty_queue(connection: Connection, name: str) -> bool:
    """Delete a queue in which nothing waits or is held; return false if something does."""
    return connection.call(lambda broker: broker.delete_empty(name))


def queue_exists(connection: Connection, name: str) -> bool:
    """Return whether the broker knows a queue; makes none."""
    return connection.call(lambda broker: broker.exists(name))


def depth_of(connection: Connection, name: str, *, deadline: float = 5.0) -> int | None:
    """Return how many messages wait in a queue; None if there is no such queue."""

    def look(broker: Broker) -> int | None:
        size = broker.size(name)
        return size if size or broker.exists(name) else None

    return connection.call(look, deadline=deadline)


# --- messages -----------------------------------------------------------------------------------


def peek(connection: Connection, name: str, limit: int) -> list[Row]:
    """Return a row for each of the next `limit` messages of a queue, taking none."""
    found = connection.call(lambda broker: broker.browse(name, limit))
    return [message_row(waiting) for waiting in found]


def message_row(waiting: Waiting) -> Row:
    """Return what a message says of itself; what it does not, or cannot, is None."""
    try:
        message = decode_task(waiting.envelope)
    except (TaskctlError, ValueError, TypeError) as exc:
        row = dict.fromkeys(MESSAGE_KEYS)
        return {**row, **_times(waiting), "args_repr": f"<cannot be read: {exc}>"}
    return {
        "id": message.headers.id,
        "task": message.headers.task,
        "args_repr": arguments(message, waiting.envelope),
        **_times(waiting),
        "priority": message.properties.priority,
    }


def _times(waiting: Waiting) -> Row:
    return {
        "enqueued_at": None if waiting.at is None else timestamp(waiting.at),
        "redelivered": waiting.redelivered,
    }


def arguments(message: TaskMessage, envelope: bytes) -> str:
    """Return the arguments of a call as text: `2, 3, mode='fast'`."""
    headers = message.headers
    if headers.argsrepr is not None or headers.kwargsrepr is not None:
        return _joined(headers.argsrepr or "()", headers.kwargsrepr or "{}")
    try:
        whole: Message = decode_envelope(envelope)
        body = decode_body(whole, _JSON)
    except (TaskctlError, ValueError, TypeError):
        return f"<{message.content_type or 'unknown'}, not read>"
    return _joined(saferepr(tuple(body.args)), saferepr(body.kwargs))


def _joined(args: str, kwargs: str) -> str:
    """Return `'a', size=2` of `('a',)` and `{'size': 2}`; what was cut short stays as it is."""
    bare = args.strip()
    if bare[:1] + bare[-1:] in ("()", "[]"):
        bare = bare[1:-1].rstrip().rstrip(",")
    named = kwargs.strip()
    try:
        parsed = ast.literal_eval(named)
        words = [f"{key}={value!r}" for key, value in parsed.items()]
    except (ValueError, SyntaxError, AttributeError, TypeError, RecursionError, MemoryError):
        words = [f"**{named}"]
    return ", ".join([*([bare] if bare else []), *words])


def timestamp(at: float) -> str:
    """Return a unix time as documents bear it."""
    try:
        when = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return str(at)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
