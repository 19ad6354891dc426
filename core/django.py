"""Django: an app whose process has DJANGO_SETTINGS_MODULE set fits itself to it.

Django's settings are set up before task modules are imported, its connections are closed around
tasks, and tasks can wait for the end of a transaction.  Behaviour: Celery 5.7 fixups/django.py.
Imported only where Django is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
import weakref
from typing import Any

from . import current, signals
from .errors import FixupWarning, ImproperlyConfigured
from .tasks.task import Task

VARIABLE = "DJANGO_SETTINGS_MODULE"


def fixup(app: Any, env: str = VARIABLE) -> DjangoFixup | None:
    """Fit an app to Django, if the environment names Django's settings; return what did it."""
    if not os.environ.get(env):
        return None
    try:
        django = importlib.import_module("django")
    except ModuleNotFoundError as exc:
        if exc.name != "django":
            raise
        warnings.warn(f"{env} is set, and Django is not installed", FixupWarning, stacklevel=2)
        return None
    if django.VERSION < (3, 2):
        raise ImproperlyConfigured(
            f"Django {django.get_version()} is too old: 3.2 or later is needed"
        )
    return DjangoFixup(app).install()


class DjangoTask(Task[Any, Any]):
    """A task that can be sent when the database transaction is committed."""

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Send a call once the transaction is committed, at once if there is none."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        """Call `apply_async` once the transaction (of database `using`) is committed."""
        transaction = importlib.import_module("django.db.transaction")
        transaction.on_commit(lambda: self.apply_async(*args, **kwargs), using=using)


class DjangoFixup:
    """Fits one app to Django."""

    def __init__(self, app: Any) -> None:
        self._app = weakref.ref(app)
        self.worker_fixup = DjangoWorkerFixup(self)

    @property
    def app(self) -> Any:
        return self._app()

    def install(self) -> DjangoFixup:
        """Put the project on the path, and listen for what happens to the app."""
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        app = self.app
        if current.get_app(make=False) is None:
            app.set_default()
        if app.task_cls is Task:
            app.task_cls = DjangoTask
        # Held by the app, as long as it lives.
        signals.import_modules.connect(self.on_import_modules, sender=app)
        signals.worker_init.connect(self.on_worker_init)
        return self

    def on_import_modules(self, **_: Any) -> None:
        """Set Django up before modules of tasks use its models."""
        self.worker_fixup.validate_models()

    def on_worker_init(self, sender: Any = None, **_: Any) -> None:
        """Close connections around the tasks of this app's worker."""
        if getattr(sender, "app", self.app) is self.app:
            self.worker_fixup.install()

    def autodiscover_tasks(self) -> list[str]:
        """Return the packages of INSTALLED_APPS."""
        apps = importlib.import_module("django.apps").apps
        return [config.name for config in apps.get_app_configs()]


class DjangoWorkerFixup:
    """Keeps a worker's tasks and Django's connections apart."""

    def __init__(self, fixup: DjangoFixup) -> None:
        self.fixup = fixup
        self._reused = 0

    @property
    def reuse_max(self) -> int | None:
        """How many tasks may use one connection (CELERY_DB_REUSE_MAX); None: as Django says."""
        found = self.fixup.app.conf.get("CELERY_DB_REUSE_MAX")
        return None if found is None else int(found)

    def validate_models(self) -> None:
        """Set Django up and run its checks, unless CELERY_SKIP_CHECKS is set."""
        importlib.import_module("django").setup()
        if not os.environ.get("CELERY_SKIP_CHECKS"):
            importlib.import_module("django.core.checks").run_checks()

    def install(self) -> None:
        """Listen for tasks and children."""
        signals.beat_embedded_init.connect(self.close_database)
        signals.task_prerun.connect(self.on_task_prerun)
        signals.task_postrun.connect(self.on_task_postrun)
        signals.worker_process_init.connect(self.on_worker_process_init)
        self.close_database()
        self.close_cache()

    def on_worker_process_init(self, **_: Any) -> None:
        """Forget the parent's connections; what goes through them stays the parent's."""
        for connection in self._connections():
            inner = getattr(connection, "connection", None)
            # Closing the descriptor says nothing to the server, which the parent still talks to.
            with contextlib.suppress(OSError, AttributeError, TypeError, ValueError):
                os.close(inner.fileno())  # type: ignore[union-attr]
        self._close_all()
        self.close_cache()

    def on_task_prerun(self, sender: Any = None, **_: Any) -> None:
        """Close what is old before a task runs."""
        if not getattr(sender.request, "is_eager", False):
            self.close_database()

    def on_task_postrun(self, sender: Any = None, **_: Any) -> None:
        """Close what is old after a task ran."""
        if not getattr(sender.request, "is_eager", False):
            self.close_database()
            self.close_cache()

    def close_database(self, **_: Any) -> None:
        """Close connections as Django does after a request, or after CELERY_DB_REUSE_MAX tasks."""
        limit = self.reuse_max
        if not limit:
            return self._close_all()
        if self._reused >= limit * 2:
            self._reused = 0
            self._close_all()
        self._reused += 1
        return None

    def _connections(self) -> list[Any]:
        handler = importlib.import_module("django.db").connections
        return list(handler.all(initialized_only=True) if _lists_initialized() else handler.all())

    def _close_all(self) -> None:
        for connection in self._connections():
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()

    def close_cache(self) -> None:
        """Close connections to the cache."""
        importlib.import_module("django.core.cache").close_caches()


def _lists_initialized() -> bool:
    return bool(importlib.import_module("django").VERSION >= (4, 1))


__all__ = ("DjangoFixup", "DjangoTask", "DjangoWorkerFixup", "fixup")
