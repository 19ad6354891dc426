"""What is current: the app of this thread, the task that runs now.

Imports nothing of the house, so that every floor can ask.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

_lock = threading.RLock()
_default_app: Any = None
_default_factory: Callable[[], Any] | None = None
_local = threading.local()

#: The stack of (task, request) that run in this context, innermost last; read it, no more.
running: contextvars.ContextVar[tuple[tuple[Any, Any], ...]] = contextvars.ContextVar(
    "taskctl_running", default=()
)


def set_app(app: Any) -> None:
    """Make `app` the current one of this thread; the first one also becomes the default."""
    global _default_app
    _local.app = app
    with _lock:
        if _default_app is None:
            _default_app = app


def set_default_app(app: Any) -> None:
    """Make `app` what threads without a current app get."""
    global _default_app
    with _lock:
        _default_app = app


def set_default_factory(factory: Callable[[], Any]) -> None:
    """Name what makes the default app when nobody has made one."""
    global _default_factory
    _default_factory = factory


def get_app(*, make: bool = True) -> Any:
    """Return the current app of this thread, else the default one.

    With `make` (the default) a default app is made if there is none; else None may be returned.
    """
    global _default_app
    app = getattr(_local, "app", None)
    if app is not None:
        return app
    with _lock:
        if _default_app is None and make and _default_factory is not None:
            _default_app = _default_factory()
        return _default_app


def push_task(task: Any, request: Any) -> None:
    """Begin to run `task`: it and its request are current until `pop_task`."""
    running.set((*running.get(), (task, request)))


def pop_task() -> None:
    """End the innermost running task."""
    running.set(running.get()[:-1])


async def during(task: Any, request: Any, awaitable: Awaitable[Any]) -> Any:
    """Return what the awaitable ends with; `task` runs meanwhile, in this context alone."""
    push_task(task, request)
    try:
        return await awaitable
    finally:
        pop_task()


def current_task() -> Any | None:
    """Return the task that runs now, or None."""
    stack = running.get()
    return stack[-1][0] if stack else None


def current_request() -> Any | None:
    """Return the request of the task that runs now, or None."""
    stack = running.get()
    return stack[-1][1] if stack else None


def request_of(task: Any) -> Any | None:
    """Return the innermost running request of `task`, or None if it does not run."""
    for one, request in reversed(running.get()):
        if one is task:
            return request
    return None


def calling_task() -> tuple[Any, Any] | None:
    """Return the (task, request) on whose behalf code runs now, or None.

    That is the innermost task which was sent or run eagerly, not one called as a function.
    """
    for one in reversed(running.get()):
        if not one[1].called_directly:
            return one[0], one[1]
    return None
