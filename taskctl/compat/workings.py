"""Functions of Celery's own modules that programs call, each a few lines over ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskctl.core import current
from taskctl.core.app import App, app_or_default, current_app
from taskctl.core.errors import UnsupportedFeature
from taskctl.core.loader import find_app as find_app_named
from taskctl.core.loaders import AppLoader
from taskctl.core.proxies import Proxy
from taskctl.core.redact import mask
from taskctl.core.settings_table import SETTINGS
from taskctl.core.tasks.joining import assert_may_wait

RUN, CLOSE, TERMINATE = 0x1, 0x2, 0x3

#: The default of each setting, and all their names.
DEFAULTS = {name: row.celery_default() for name, row in SETTINGS.items()}
SETTING_KEYS = frozenset(SETTINGS)

#: The app of threads that have none of their own.
default_app: Any = Proxy(current.get_app)


def main() -> int:
    """Run `taskctl` as the program `celery`."""
    found: int = importlib.import_module("taskctl.cli").main()
    return found


def bugreport(app: App | None = None) -> str:
    """Return the text to put into a bug report."""
    return app_or_default(app).bugreport()


def find_app(app: str, **_: Any) -> Any:
    """Return the app that a name stands for, as `-A` finds it."""
    return find_app_named(app, is_app=lambda thing: isinstance(thing, App))


def filter_hidden_settings(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with secrets masked."""
    return {key: mask(value, key) for key, value in conf.items()}


def maybe_patch_concurrency(argv: Any = None, *_: Any, **__: Any) -> None:
    """Raise UnsupportedFeature if a command line asks for a pool of green threads."""
    words = [str(word) for word in argv or ()]
    for name in ("gevent", "eventlet"):
        if name in words or f"--pool={name}" in words or f"-P{name}" in words:
            raise UnsupportedFeature(
                f"the pool {name!r}", "there are no green threads", "use -P threads"
            )


def connect_on_app_finalize(callback: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Raise UnsupportedFeature: apps have a signal for it."""
    raise UnsupportedFeature(
        "celery._state.connect_on_app_finalize", "it is a part of Celery's inside",
        "connect to app.on_after_finalize",
    )  # fmt: skip


def get_current_worker_task() -> Any:
    """Return the task on whose behalf code runs now, or None."""
    return current_app.current_worker_task


def task_join_will_block() -> bool:
    """Return whether waiting for a result here would block a worker."""
    try:
        assert_may_wait()
    except RuntimeError:
        return True
    return False


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return replies `[{node: answer}, ...]` as one dict."""
    return {node: answer for one in reply for node, answer in one.items()}


def ok(value: Any) -> dict[str, Any]:
    """Return the reply of a remote command that went well."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """Return the reply of a remote command that did not."""
    return {"error": value}


def group_from(type: str) -> str:
    """Return the first part of the type of an event: `task` of `task-sent`."""
    return type.split("-", 1)[0]


def get_available_pool_names() -> tuple[str, ...]:
    """Return the names of the pools there are."""
    return ("prefork", "solo", "threads", "processes", "asyncio")


def get_loader_cls(loader: Any) -> Any:
    """Return the class of a loader by its name."""
    if loader in ("app", "default"):
        return AppLoader
    return importlib.import_module(".tools", __package__).symbol_by_name(loader)


def task_name_from(task: Any) -> str:
    """Return the name of a task, or a name as it is."""
    return str(getattr(task, "name", task))
