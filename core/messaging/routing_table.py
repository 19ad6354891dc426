"""The routing table: what `task_routes` says, as functions.

A form nobody knows is an error when the table is made; a router named by its path is imported when
it is first asked.
"""

from __future__ import annotations

import fnmatch
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import ImproperlyConfigured
from ..wire.queues import Queue

#: What one entry of `task_routes` answers: None (not mine), a queue name, or publish options.
RouteAnswer = str | Mapping[str, Any] | None
RouteFunction = Callable[..., RouteAnswer]


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
