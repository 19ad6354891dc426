"""taskctl's library: what `from taskctl import ...` hands on.

The house, from the cellar up; imports point down only:

    errors signals current clock config loader log ...   the ground: facts and the machine
    wire/        bytes: messages, envelopes, serializers, states
    brokers/     carry messages: memory, sqlite, redis
    messaging/   the pipe: connection, routes, producer, consumer, mailbox, events
    backends/    keep results        remote/   steer and see workers
    tasks/       a task, its signature and canvas, its run, its result
    app          settings, tasks, and all a user reaches through them
    pool/        children that run tasks
    worker/      the program that takes messages and sees them to their end
    beat/        the program that sends tasks on schedule

A name is loaded when it is first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import bootsteps, signals
    from . import errors as exceptions
    from .app import (
        App,
        Celery,
        app_or_default,
        current_app,
        current_task,
    )
    from .tasks.asyncresult import AsyncResult
    from .tasks.canvas import chain, chord, group, maybe_signature, signature
    from .tasks.eagerresult import EagerResult
    from .tasks.joining import allow_join_result
    from .tasks.limiting import Concurrency, Limit, Unique
    from .tasks.maps import chunks, xmap, xstarmap
    from .tasks.result import GroupResult, ResultSet
    from .tasks.shared import shared_task
    from .tasks.signature import Signature
    from .tasks.task import Task
    from .wire import serialization, states
    from .wire.queues import Binding, Broadcast, Exchange, Queue

#: Public name -> where it lives; a module if there is no attribute of that name.
_PUBLIC = {
    "App": ".app",
    "AsyncResult": ".tasks.asyncresult",
    "Celery": ".app",
    "EagerResult": ".tasks.eagerresult",
    "Binding": ".wire.queues",
    "Broadcast": ".wire.queues",
    "Concurrency": ".tasks.limiting",
    "Exchange": ".wire.queues",
    "GroupResult": ".tasks.result",
    "Limit": ".tasks.limiting",
    "Queue": ".wire.queues",
    "ResultSet": ".tasks.result",
    "Signature": ".tasks.signature",
    "StampingVisitor": ".tasks.stamping",
    "Task": ".tasks.task",
    "Unique": ".tasks.limiting",
    "allow_join_result": ".tasks.joining",
    "app_or_default": ".app",
    "chain": ".tasks.canvas",
    "chord": ".tasks.canvas",
    "chunks": ".tasks.maps",
    "current_app": ".app",
    "current_task": ".app",
    "group": ".tasks.canvas",
    "maybe_signature": ".tasks.canvas",
    "shared_task": ".tasks.shared",
    "signature": ".tasks.canvas",
    "xmap": ".tasks.maps",
    "xstarmap": ".tasks.maps",
}
_MODULES = {
    "bootsteps": ".bootsteps",
    "exceptions": ".errors",
    "serialization": ".wire.serialization",
    "signals": ".signals",
    "states": ".wire.states",
}

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
    "serialization",
    "shared_task",
    "signals",
    "signature",
    "states",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        found = getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    elif name in _MODULES:
        found = importlib.import_module(_MODULES[name], __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
