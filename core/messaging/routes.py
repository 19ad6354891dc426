"""Which queue a task goes to: the queues that are known, and the routing table.

Knows names and patterns, not tasks; reads no settings, but gets their values.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import QueueNotFound
from ..wire.queues import Exchange, Queue
from .declarations import as_queue, declarations, queue_of, type_argument
from .priorities import AS_GIVEN, Ranking
from .routing_table import RouteAnswer, prepare_routes

__all__ = ["Queues", "Route", "Router", "as_queue", "prepare_routes"]


class Route(NamedTuple):
    """Where one message goes, and the options that are left for it."""

    exchange: str
    routing_key: str
    queue: Queue | None
    options: dict[str, Any]


class Queues:
    """The queues by name; with `create_missing`, an unknown name makes one.

    `declared` is `task_queues`: queues, names, or a mapping of name to options.  `selected` are
    the ones a worker takes from: all declared ones, until `select` says otherwise.
    """

    def __init__(
        self,
        declared: Iterable[Any] | Mapping[str, Any] | None = None,
        *,
        default: str = "celery",
        default_exchange: str | None = None,
        default_exchange_type: str = "direct",
        default_routing_key: str | None = None,
        default_type: str = "classic",
        create_missing: bool = True,
        create_missing_type: str = "classic",
        create_missing_exchange_type: str | None = None,
        max_priority: int | None = None,
        ranking: Ranking = AS_GIVEN,
    ) -> None:
        self.ranking = ranking
        self.default = default
        self.default_exchange = Exchange(
            name=default_exchange or default, type=default_exchange_type
        )
        self.default_routing_key = default_routing_key or default
        self.create_missing = create_missing
        self.create_missing_type = create_missing_type
        self.create_missing_exchange_type = create_missing_exchange_type
        self.max_priority = max_priority
        self._lock = threading.Lock()
        self._by_name: dict[str, Queue] = {}
        self._aliases: dict[str, str] = {}
        for queue in declarations(declared) or [
            Queue(name=default, queue_arguments=type_argument(default_type))
        ]:
            self.add(queue)
        self._selected: dict[str, Queue] = dict(self._by_name)

    def known(self, name: str) -> Queue | None:
        """Return the queue of that name or alias, or None; makes none."""
        return self._by_name.get(name) or self._by_name.get(self._aliases.get(name, ""))

    def priority_of(self, number: int | None, name: str | None) -> int | None:
        """Return the priority that a message's number stands for in the queue of that name."""
        return self.ranking.own(number, self.known(name) if name else None)

    def __getitem__(self, name: str) -> Queue:
        found = self.known(name)
        if found is not None:
            return found
        if not self.create_missing:
            raise QueueNotFound(self._unknown(name))
        return self.add(self._missing(name))

    def __contains__(self, name: object) -> bool:
        return name in self._by_name or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def add(self, queue: Queue | str, **options: Any) -> Queue:
        """Make a queue known, filled up from the defaults; return it as it is known."""
        if isinstance(queue, str):
            queue = queue_of(queue, options)
        changes: dict[str, Any] = {}
        if not queue.exchange.name:
            changes["exchange"] = self.default_exchange
        if not queue.routing_key:
            changes["routing_key"] = self.default_routing_key
        arguments = queue.queue_arguments or {}
        if self.max_priority is not None and "x-max-priority" not in arguments:
            changes["queue_arguments"] = {**arguments, "x-max-priority": self.max_priority}
        if changes:
            queue = msgspec.structs.replace(queue, **changes)
        with self._lock:
            self._by_name[queue.name] = queue
            if queue.alias:
                self._aliases[queue.alias] = queue.name
        return queue

    def _missing(self, name: str) -> Queue:
        kind = self.create_missing_exchange_type or "direct"
        return Queue(
            name=name,
            exchange=Exchange(name=name, type=kind),
            routing_key=name,
            queue_arguments=type_argument(self.create_missing_type),
        )

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._by_name, 1)
        known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self._by_name)}"
        return f"no queue {name!r} in task_queues, and task_create_missing_queues is off; {known}"

    def select(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> list[Queue]:
        """Choose what a worker takes from, and return it.

        `include` replaces the declared set (unknown names are made, or raise QueueNotFound);
        `exclude` leaves names out.
        """
        chosen = [self[name] for name in include] or list(self._selected.values())
        left_out = {self._aliases.get(name, name) for name in exclude}
        self._selected = {q.name: q for q in chosen if q.name not in left_out}
        return self.selected

    def select_add(self, queue: Queue | str, **options: Any) -> Queue:
        """Take from one more queue, which may be new."""
        if isinstance(queue, str) and not options:
            queue = self[queue]
        added = self.add(queue, **options)
        self._selected = {**self._selected, added.name: added}
        return added

    def deselect(self, name: str) -> None:
        """Take from a queue no longer; it stays known."""
        name = self._aliases.get(name, name)
        self._selected = {n: q for n, q in self._selected.items() if n != name}

    @property
    def selected(self) -> list[Queue]:
        """The queues a worker takes from."""
        return list(self._selected.values())


class Router:
    """Decides where messages go, from options, `task_routes` and the default queue."""

    def __init__(self, routes: Any = None, queues: Queues | None = None) -> None:
        self.queues = queues if queues is not None else Queues()
        self.routes = prepare_routes(routes)
        self._default: tuple[str, str, Queue] | None = None

    def route(
        self,
        options: dict[str, Any],
        name: str,
        args: Any = (),
        kwargs: Any = None,
        task: Any = None,
    ) -> Route:
        """Return where the task `name` goes; options given win over the routing table.

        Raises QueueNotFound for a queue that is not known and may not be made.
        """
        answer = self._look_up(name, args, kwargs, options, task) if self.routes else None
        if answer is not None:
            answer = {"queue": answer} if isinstance(answer, str) else dict(answer)
            options = {**answer, **{k: v for k, v in options.items() if v is not None}}
        queue = options.pop("queue", None)
        exchange = options.pop("exchange", None)
        routing_key = options.pop("routing_key", None)
        kind = options.pop("exchange_type", None)
        if queue is exchange is routing_key is kind is None:
            # Nearly every message: worked out once.
            if self._default is None:
                default = self.queues[self.queues.default]
                self._default = (*_destination(default, None, None, None), default)
            return Route(*self._default, options)
        whole = exchange is not None and bool(routing_key or kind not in (None, "direct"))
        if queue is None and answer and whole:
            # A route that names no queue leaves the default one out of it, as in Celery.
            return Route(getattr(exchange, "name", exchange), routing_key or "", None, options)
        if queue is None:
            queue = self.queues.default
        known = self.queues[queue] if isinstance(queue, str) else as_queue(queue)
        return Route(*_destination(known, exchange, routing_key, kind), known, options)

    def _look_up(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any
    ) -> RouteAnswer:
        for function in self.routes:
            answer = function(name, args, kwargs or {}, options, task=task)
            if answer is not None:
                return answer
        return None


def _destination(
    queue: Queue, exchange: Any, routing_key: str | None, kind: str | None
) -> tuple[str, str]:
    """Return (exchange, routing key), as Celery 5.7 app/amqp.py chooses them.

    A direct queue is reached through the anonymous exchange, unless both were given.
    """
    exchange = getattr(exchange, "name", exchange)
    if (kind or queue.exchange.type) == "direct" and not (exchange and routing_key):
        return "", queue.name
    if exchange is None:
        return queue.exchange.name, routing_key or queue.routing_key
    return exchange, routing_key or ("" if exchange else queue.name)
