"""What Celery's users expect of an app besides what ours is made of.

An app is one of these, so that a program written for Celery finds every member it calls; what
runs programs (`start`, `Worker`, `Beat`) lives floors above and is loaded by name when it is used.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from . import signals
from .discovery import discover
from .errors import UnsupportedFeature
from .loader import import_object
from .signals import Signal

#: Where the parts of an app are made that come from floors above.
_PROGRAMS = "taskctl.compat.programs"
_MEMBERS = "taskctl.compat.members"
#: Arguments of Celery's constructor that replace a part of the app.
_PARTS = ("amqp", "events", "log", "control", "registry")

#: Apps that somebody wants to hear of after a fork.
_forking: weakref.WeakSet[Any] = weakref.WeakSet()


class Kin:
    """The members of Celery's apps that ours would not need."""

    IS_WINDOWS = False
    IS_macOS = sys.platform == "darwin"
    SYSTEM = os.uname().sysname

    amqp_cls = "celery.app.amqp:AMQP"
    backend_cls: Any = None
    control_cls = "celery.app.control:Control"
    events_cls = "celery.app.events:Events"
    loader_cls: Any = None
    log_cls = "celery.app.log:Logging"
    registry_cls = "celery.app.registry:TaskRegistry"
    builtin_fixups: Any = frozenset(("celery.fixups.django:fixup",))

    conf: Any
    _lock: Any

    # --- making one -----------------------------------------------------------------------

    def take_parts(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what is left of the constructor's keywords when those of no setting are gone.

        Raises UnsupportedFeature if one of them replaces a part that cannot be replaced.
        """
        named = {f"Celery({name}=...)": settings.pop(name, None) for name in _PARTS}
        for name in _PARTS:
            if getattr(type(self), f"{name}_cls") != getattr(Kin, f"{name}_cls"):
                named[f"{type(self).__name__}.{name}_cls"] = True
        for feature, wanted in named.items():
            if wanted is not None:
                raise UnsupportedFeature(
                    feature, "the parts of an app cannot be replaced", "derive from App instead"
                )
        self.__dict__["_config_silent"] = bool(settings.pop("config_source_silent", False))
        added = settings.pop("fixups", None)
        self.fixups = [*(self.builtin_fixups if added is None else added)]
        return settings

    def fix_up(self) -> None:
        """Let what the environment asks for (Django) fit the app to its place."""
        made = []
        for spec in self.fixups:
            if spec == "celery.fixups.django:fixup":
                if os.environ.get("DJANGO_SETTINGS_MODULE"):
                    # Only where Django is: nobody else pays for it.
                    made.append(importlib.import_module(".django", __package__).fixup(self))
            else:
                made.append((import_object(spec) if isinstance(spec, str) else spec)(self))
        self.fixups = [one for one in made if one is not None]

    @property
    def on_after_fork(self) -> Signal:
        """Sent in each child that is forked, with the app as its sender."""
        found: Signal | None = self.__dict__.get("_on_after_fork")
        if found is None:
            found = self.__dict__["_on_after_fork"] = Signal("app.on_after_fork")
            if not _forking:
                os.register_at_fork(after_in_child=_tell_of_fork)
            _forking.add(self)
        return found

    def subclass_with_self(
        self,
        Class: Any,
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,
        **fields: Any,
    ) -> Any:
        """Return a subclass of `Class` (or of what its path names) that knows this app."""
        base = import_object(Class) if isinstance(Class, str) else Class
        space = {attribute: self, "__module__": base.__module__, "__doc__": base.__doc__, **fields}
        return type(name or base.__name__, (base,), space)

    def create_task_cls(self) -> Any:
        """Return a base class for tasks of this app, made of `task_cls`."""
        cls: Any = self.task_cls  # type: ignore[attr-defined]  # of App
        return self.subclass_with_self(cls, name="Task", attribute="_app", abstract=True)

    # --- modules --------------------------------------------------------------------------

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import `package.tasks` of each package, when a worker starts or now with `force`.

        A package without such a module is passed over.  Without packages, those of Django's
        INSTALLED_APPS.
        """

        def find(**_: Any) -> None:
            found = packages() if callable(packages) else packages
            discover(found or self._installed_packages(), related_name)

        if force:
            find()
        else:
            signals.import_modules.connect(find, sender=self, weak=False)

    def import_default_modules(self) -> None:
        """Import the modules of the settings `imports` and `include`, and what is discovered.

        Raises AppNotFound, naming the file and line, if one cannot be imported.
        """
        self.loader.import_default_modules()  # type: ignore[attr-defined]  # of App

    def _installed_packages(self) -> list[str]:
        asked = (getattr(one, "autodiscover_tasks", None) for one in self.fixups)
        return [package for ask in asked if ask is not None for package in ask()]

    # --- settings -------------------------------------------------------------------------

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Take settings from words such as `worker.prefetch_multiplier=2`."""
        values = importlib.import_module(_MEMBERS).settings_of_words(argv, namespace)
        self.conf.update(values)

    def uses_utc_timezone(self) -> bool:
        """Return whether the zone of the app is UTC."""
        return bool(self.timezone == UTC)  # type: ignore[attr-defined]  # of Reach

    def prepare_config(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return settings as they are; for subclasses of Celery's class that call it."""
        return values

    def setup_security(
        self,
        allowed_serializers: Iterable[str] | None = None,
        key: str | None = None,
        key_password: str | bytes | None = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
    ) -> None:
        """Sign what is sent, and take only what a trusted certificate has signed.

        Needs `task_serializer = "auth"` and `accept_content = ["auth"]`.  `key`, `key_password`,
        `cert`, `store` and `digest` stand for the settings `security_key`,
        `security_key_password`, `security_certificate`, `security_cert_store` and
        `security_digest`; `serializer` is what is signed, `allowed_serializers` what else (such as
        pickle) may be inside what others signed.  Reads the settings; holds for all apps of the
        process, as in Celery.

        Raises ImproperlyConfigured for files that are missing, cannot be read or do not fit
        together, and without the package cryptography.
        """
        from .security import set_up  # for those who sign alone

        set_up(self, allowed_serializers, key, key_password, cert, store, digest, serializer)

    # --- parts under their names ----------------------------------------------------------

    @functools.cached_property
    def amqp(self) -> Any:
        """Queues and routes, as Celery's `app.amqp` shows them."""
        return importlib.import_module(_MEMBERS).AMQP(self)

    @functools.cached_property
    def log(self) -> Any:
        """Set up logs, as Celery's `app.log` does."""
        return importlib.import_module(_MEMBERS).Logging(self)

    @functools.cached_property
    def pool(self) -> Any:
        """Connections to borrow: `with app.pool.acquire(block=True) as connection`."""
        return importlib.import_module(_MEMBERS).Lender(self.shared_connection_face)

    @functools.cached_property
    def producer_pool(self) -> Any:
        """Producers to borrow: `with app.producer_pool.acquire(block=True) as producer`."""
        return importlib.import_module(_MEMBERS).Lender(self.shared_producer_face)

    def shared_connection_face(self) -> Any:
        """Return the connection that calls use; with kombu's calls where Celery's ways hold."""
        return self.shared_connection()  # type: ignore[attr-defined]  # of Reach

    def connection_class(self) -> Any:
        """The class of connections that have kombu's calls too."""
        return importlib.import_module(_MEMBERS).ConnectionFace

    def shared_producer_face(self) -> Any:
        """Return the app's producer, with kombu's calls."""
        return importlib.import_module(_MEMBERS).ProducerFace(self)

    @contextlib.contextmanager
    def connection_or_acquire(
        self, connection: Any = None, pool: bool = True, *_: Any, **__: Any
    ) -> Iterator[Any]:
        """Lend `connection`, or one of the app's if it is None."""
        yield self.shared_connection_face() if connection is None else connection

    @contextlib.contextmanager
    def producer_or_acquire(self, producer: Any = None) -> Iterator[Any]:
        """Lend `producer`, or the app's if it is None."""
        yield self.shared_producer_face() if producer is None else producer

    default_connection = connection_or_acquire
    default_producer = producer_or_acquire

    def broker_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection of the caller's own; the old name of `connection`."""
        return self.connection(*args, **kwargs)  # type: ignore[attr-defined]  # of Reach

    # --- programs -------------------------------------------------------------------------

    def start(self, argv: Sequence[str] | None = None) -> Any:
        """Run a command line with this app, `sys.argv` if None; return its exit code."""
        return importlib.import_module(_PROGRAMS).start(self, argv)

    def worker_main(self, argv: Sequence[str] | None = None) -> Any:
        """Run the command line of a worker with this app; ValueError if it is of none."""
        return importlib.import_module(_PROGRAMS).worker_main(self, argv)

    @functools.cached_property
    def WorkController(self) -> Any:
        """A class of workers of this app, to be made and started in Python."""
        base = importlib.import_module(_PROGRAMS).WorkController
        return self.subclass_with_self(base, name="WorkController")

    @property
    def Worker(self) -> Any:
        """The same: what it says at its start goes to the log."""
        return self.WorkController

    @functools.cached_property
    def Beat(self) -> Any:
        """A class of beats of this app; `app.Beat().run()` sends what is due."""
        return self.subclass_with_self(importlib.import_module(_PROGRAMS).Beat, name="Beat")


def _tell_of_fork() -> None:
    for app in list(_forking):
        app.on_after_fork.send(sender=app)
