"""Tasks that belong to every app: `@shared_task`, and how apps hear of each other's tasks."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, overload

from .. import current
from ..proxies import Proxy
from .decorated import AsyncTask, BoundDecorator, Decorator, ModelDecorator
from .task import Task

P = ParamSpec("P")
R = TypeVar("R")


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


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> BoundDecorator: ...
@overload
def shared_task(*, pydantic: Literal[True], **options: Any) -> ModelDecorator: ...
@overload
def shared_task(**options: Any) -> Decorator: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of a function for every app; calls go to whichever app is current.

    Options are those of `App.task`.
    """

    def make(fun: Callable[..., Any]) -> Any:
        kept = {k: v for k, v in options.items() if k not in ("shared", "lazy", "filter")}
        share(fun, kept)
        task = shared_proxy(fun, kept)
        chosen = options.get("filter")
        return task if chosen is None else chosen(task)

    if not args:
        return make
    if len(args) > 1 or not callable(args[0]):
        raise TypeError(f"@shared_task takes a function, or options by keyword; got {args!r}")
    return make(args[0])
