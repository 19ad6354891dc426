"""Loaders: how an app of its own kind finds its settings and modules, and hooks around its life.

Most apps need none.  A loader is a subclass of `BaseLoader`, named by `App(loader=...)`,
`--loader`, TASKCTL_LOADER or CELERY_LOADER; names and calls are Celery's.  A hook that a loader
does not override costs nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from datetime import datetime
from types import ModuleType
from typing import Any

from . import signals
from .clock import utcnow
from .errors import ImproperlyConfigured
from .loader import import_modules, import_object

#: Environment variables that name a loader, the first that is set wins.
VARIABLES = ("TASKCTL_LOADER", "CELERY_LOADER")


class BaseLoader:
    """What an app asks for settings and modules, and tells of workers, children and tasks."""

    builtin_modules: frozenset[str] = frozenset()

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    def now(self, utc: bool = True) -> datetime:
        """Return the time, in UTC or without a zone in local time."""
        time = utcnow()
        return time if utc else time.astimezone().replace(tzinfo=None)

    def read_configuration(self) -> Mapping[str, Any] | None:
        """Return settings for an app that was given no configuration object."""
        return None

    def on_worker_init(self) -> None:
        """Called when a worker starts."""

    def on_worker_process_init(self) -> None:
        """Called in each child of a pool when it starts."""

    def on_task_init(self, task_id: str, task: Any) -> None:
        """Called before a task runs."""

    def on_process_cleanup(self) -> None:
        """Called after a task ran."""

    def on_worker_shutdown(self) -> None:
        """Called when a worker ends."""

    @property
    def default_modules(self) -> tuple[str, ...]:
        """Modules that a worker imports: the built-in ones, then those of the settings."""
        named: list[str] = [*self.builtin_modules]
        for value in (self.app.conf.imports, self.app.conf.include):
            named += [value] if isinstance(value, str) else value
        return tuple(named)

    def import_default_modules(self) -> list[ModuleType]:
        """Import what is discovered, and the default modules.

        Raises AppNotFound, naming the file and line, if one cannot be imported.
        """
        signals.import_modules.send(sender=self.app)
        return [self.import_task_module(name) for name in self.default_modules]

    def import_task_module(self, module: str) -> ModuleType:
        """Import one module of tasks and note its name."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_module(self, module: str, package: str | None = None) -> ModuleType:
        """Import a module."""
        return importlib.import_module(module, package=package)

    def import_from_cwd(self, module: str) -> ModuleType:
        """Import a module; the working directory counts."""
        return import_modules([module])[0]


class AppLoader(BaseLoader):
    """The loader of apps that name no other."""


def make_loader(app: Any, spec: Any = None) -> BaseLoader:
    """Return the loader that `spec` (a class, its path, or None) or the environment names.

    Raises ImproperlyConfigured if there is none of that name.
    """
    spec = named_loader(spec)
    if spec is None:
        return AppLoader(app)
    kind = _find(spec) if isinstance(spec, str) else spec
    if not callable(kind):
        raise ImproperlyConfigured(f"loader {spec!r} is no class")
    loader: BaseLoader = kind(app=app)
    _connect(loader)
    return loader


def named_loader(spec: Any = None) -> Any:
    """Return `spec`, or what the environment names; None for the loader every app has."""
    spec = spec or next((name for v in VARIABLES if (name := os.environ.get(v))), None)
    if isinstance(spec, str) and (spec in ("app", "default") or spec.startswith("celery.loaders.")):
        return None
    return AppLoader if spec is AppLoader else spec


def _find(spec: str) -> Any:
    try:
        return import_object(spec)
    except (ImportError, AttributeError) as exc:
        raise ImproperlyConfigured(f"loader {spec!r}: {exc}; name a class as module:Class") from exc


def _connect(loader: BaseLoader) -> None:
    """Have the hooks called that the loader's class has of its own."""
    hooks = (
        ("on_worker_init", signals.worker_init, _plain),
        ("on_worker_process_init", signals.worker_process_init, _plain),
        ("on_task_init", signals.task_prerun, _of_task),
        ("on_process_cleanup", signals.task_postrun, _plain),
        ("on_worker_shutdown", signals.worker_shutdown, _plain),
    )
    for name, signal, adapt in hooks:
        if getattr(type(loader), name, None) is not getattr(BaseLoader, name):
            signal.connect(adapt(getattr(loader, name)), weak=False)


def _plain(hook: Any) -> Any:
    return lambda **_: hook()


def _of_task(hook: Any) -> Any:
    return lambda task_id=None, task=None, **_: hook(task_id, task)
