"""Tasks that belong to every app: `@shared_task`, and how apps hear of each other's tasks."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import current
from ..proxies import Proxy


class SharedFunction(NamedTuple):
    """A function every app makes a task of; `owner` is the app that has it already."""

    fun: Callable[..., Any]
    options: dict[str, Any]
    owner: weakref.ref[Any] | None


_lock = threading.Lock()
_functions: list[SharedFunction] = []
_apps: weakref.WeakSet[Any] = weakref.WeakSet()


def know_app(app: Any) -> None:
    """Let an app hear of tasks that are shared after it was finalized."""
    with _lock:
        _apps.add(app)


def forget_app(app: Any) -> None:
    """Let an app hear of shared tasks no longer."""
    with _lock:
        _apps.discard(app)


def share(fun: Callable[..., Any], options: dict[str, Any], owner: Any = None) -> None:
    """Give every app, finalized or not, a task of `fun`; `owner` makes its own."""
    shared = SharedFunction(fun, options, None if owner is None else weakref.ref(owner))
    with _lock:
        _functions.append(shared)
        finalized = [app for app in _apps if app.finalized and app is not owner]
    for app in finalized:
        app.workshop.adopt(fun, options)


def adopt_all(app: Any) -> None:
    """Make the tasks of all shared functions in an app that is being finalized."""
    with _lock:
        functions = list(_functions)
    for shared in functions:
        if shared.owner is None or shared.owner() is not app:
            app.workshop.adopt(shared.fun, shared.options)


def shared_proxy(fun: Callable[..., Any], options: dict[str, Any]) -> Proxy:
    """Return what stands for the task of a shared function in whichever app is current."""

    def find() -> Any:
        app = current.get_app()
        name = options.get("name") or app.gen_task_name(fun.__name__, fun.__module__)
        return app.tasks[name]

    return Proxy(find, __doc__=fun.__doc__, __module__=fun.__module__)
