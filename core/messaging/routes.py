"""Which queue a task goes to: the queues that are known, and the routing table.

Knows names and patterns, not tasks; reads no settings, but gets their values.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import ImproperlyConfigured, QueueNotFound
from ..wire.queues import Exchange, Queue

#: What one entry of `task_routes` answers: None (not mine), a queue name, or publish options.
RouteAnswer = str | Mapping[str, Any] | None
RouteFunction = Callable[..., RouteAnswer]


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
    ) -> None:
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
        for queue in _declarations(declared) or [
            Queue(name=default, queue_arguments=_type_argument(default_type))
        ]:
            self.add(queue)
        self._selected: dict[str, Queue] = dict(self._by_name)

    def known(self, name: str) -> Queue | None:
        """Return the queue of that name or alias, or None; makes none."""
        return self._by_name.get(name) or self._by_name.get(self._aliases.get(name, ""))

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
            queue = _queue_of(queue, options)
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
            queue_arguments=_type_argument(self.create_missing_type),
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
    return exchange, routing_key or ""


# --- the routing table ----------------------------------------------------------------------


def prepare_routes(routes: Any) -> list[RouteFunction]:
    """Return `task_routes` as functions, the first to answer wins.

    Takes a mapping or list of pairs of pattern and route, a function, the path of one, an object
    with `route_for_task`, or a list of any of these.
    """
    if routes is None:
        return []
    if isinstance(routes, list | tuple) and not _is_pairs(routes):
        return [_route_function(route) for route in routes]
    return [_route_function(routes)]


def _is_pairs(routes: Any) -> bool:
    """Return whether this is a bare list of (pattern, route), not a list of routers."""
    return bool(routes) and all(
        isinstance(route, tuple) and len(route) == 2 and isinstance(route[0], str | re.Pattern)
        for route in routes
    )


def _route_function(route: Any) -> RouteFunction:
    if isinstance(route, Mapping):
        return _Table(route.items())
    if isinstance(route, list | tuple):
        return _Table(route)
    if isinstance(route, str):
        return _Named(route)
    if hasattr(route, "route_for_task"):
        return _of_object(route)
    if callable(route):
        function: RouteFunction = route
        return function
    raise ImproperlyConfigured(
        f"task_routes holds {route!r}: a mapping, a function or the path of one is expected"
    )


class _Table:
    """Exact names first, then patterns in their order."""

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self.exact: dict[str, Any] = {}
        self.patterns: list[tuple[re.Pattern[str], Any]] = []
        for pattern, route in pairs:
            if isinstance(pattern, re.Pattern):
                self.patterns.append((pattern, route))
            elif "*" in pattern:
                self.patterns.append((re.compile(fnmatch.translate(pattern)), route))
            else:
                self.exact[pattern] = route

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> RouteAnswer:
        if name in self.exact:
            return _answer(self.exact[name], name)
        for pattern, route in self.patterns:
            if pattern.match(name):
                return _answer(route, pattern.pattern)
        return None


def _answer(route: Any, pattern: str) -> RouteAnswer:
    if route is None or isinstance(route, str | Mapping):
        return route
    if isinstance(route, Queue) or hasattr(route, "exchange"):
        return {"queue": route}
    raise ImproperlyConfigured(
        f"task_routes[{pattern!r}] is {route!r}: a queue name or a dict of options is expected"
    )


class _Named:
    """A router known by its path, imported when it is first asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.function: RouteFunction | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> RouteAnswer:
        if self.function is None:
            self.function = self._load()
        return self.function(*args, **kwargs)

    def _load(self) -> RouteFunction:
        module, _, name = self.path.replace(":", ".").rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ImproperlyConfigured(f"task_routes: no router {self.path!r}: {exc}") from exc
        if isinstance(found, type):
            found = found()
        return _route_function(found)


def _of_object(router: Any) -> RouteFunction:
    def ask(name: str, args: Any, kwargs: Any, *rest: Any, **named: Any) -> RouteAnswer:
        answer: RouteAnswer = router.route_for_task(name, args, kwargs)
        return answer

    return ask


# --- declarations ---------------------------------------------------------------------------


def _declarations(declared: Any) -> list[Queue]:
    if not declared:
        return []
    if isinstance(declared, Mapping):
        return [
            as_queue(options) if not isinstance(options, Mapping) else _queue_of(name, options)
            for name, options in declared.items()
        ]
    return [_queue_of(q, {}) if isinstance(q, str) else as_queue(q) for q in declared]


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
    exchange = Exchange()
    if theirs is not None:
        exchange = Exchange(
            name=theirs.name or "",
            type=theirs.type or "direct",
            durable=bool(theirs.durable),
            auto_delete=bool(theirs.auto_delete),
            delivery_mode=theirs.delivery_mode,
            arguments=theirs.arguments or None,
        )
    return Queue(
        name=given.name,
        exchange=exchange,
        routing_key=given.routing_key or "",
        durable=bool(getattr(given, "durable", True)),
        **{k: v for k, v in fields.items() if k != "durable"},
    )


def _queue_of(name: str, options: Mapping[str, Any]) -> Queue:
    """Return the queue a `task_queues` entry describes."""
    options = dict(options)
    binding_key = options.pop("binding_key", None)
    options["routing_key"] = options.get("routing_key") or binding_key or name
    exchange = options.pop("exchange", None)
    kind = options.pop("exchange_type", None) or "direct"
    if not isinstance(exchange, Exchange):
        exchange = Exchange(name=exchange or "", type=kind)
    unknown = sorted(set(options) - set(Queue.__struct_fields__))
    if unknown:
        near = difflib.get_close_matches(unknown[0], Queue.__struct_fields__, 1)
        hint = f"did you mean {near[0]!r}?" if near else "see task_queues"
        raise ImproperlyConfigured(f"task_queues[{name!r}]: no option {unknown[0]!r}; {hint}")
    return Queue(name=name, exchange=exchange, **options)


def _type_argument(kind: str) -> dict[str, Any] | None:
    """Return the queue argument that asks RabbitMQ for a queue type; classic needs none."""
    if kind not in ("classic", "quorum"):
        raise ImproperlyConfigured(f"unknown queue type {kind!r}: choose classic or quorum")
    return {"x-queue-type": kind} if kind == "quorum" else None
