"""taskctl, a distributed task queue: `from taskctl import App`.

Everything lives in `taskctl.core`; a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import exceptions, schedules, serialization, signals
    from .core import (
        App,
        AsyncResult,
        Binding,
        Broadcast,
        Celery,
        Concurrency,
        EagerResult,
        Exchange,
        GroupResult,
        Limit,
        Queue,
        ResultSet,
        Signature,
        StampingVisitor,
        Task,
        Unique,
        __version__,
        allow_join_result,
        app_or_default,
        bootsteps,
        chain,
        chord,
        chunks,
        current_app,
        current_task,
        group,
        maybe_signature,
        shared_task,
        signature,
        states,
        xmap,
        xstarmap,
    )

#: Modules that are imported when they are first used.
_MODULES = ("bootsteps", "core", "exceptions", "schedules", "serialization", "signals")

__all__ = [
    "App",
    "AsyncResult",
    "Binding",
    "Broadcast",
    "Celery",
    "Concurrency",
    "EagerResult",
    "Exchange",
    "GroupResult",
    "Limit",
    "Queue",
    "ResultSet",
    "Signature",
    "StampingVisitor",
    "Task",
    "Unique",
    "__version__",
    "allow_join_result",
    "app_or_default",
    "bootsteps",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "exceptions",
    "group",
    "maybe_signature",
    "schedules",
    "serialization",
    "shared_task",
    "signals",
    "signature",
    "states",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> Any:
    if name not in __all__ and name != "core":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    found = globals()[name] = getattr(importlib.import_module(".core", __name__), name)
    return found


def __dir__() -> list[str]:
    return __all__
