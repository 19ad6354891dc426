"""An app: settings, tasks, and all a user reaches through them.

Only an app reads settings; every other part is handed values.  A web process imports this and
nothing that runs a worker: no pool, no console.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

from . import clock, current, signals
from .backends import Backend, open_backend
from .brokers import Broker
from .config import Settings
from .discovery import discover
from .errors import BackendError, ImproperlyConfigured
from .loader import default_database_path, find_project_file, import_modules, import_object
from .messaging.connection import Connection, split_urls
from .messaging.mailbox import ClientMailbox
from .messaging.producer import Producer, node_name, reply_queue
from .messaging.routes import Queues, Router
from .proxies import Proxy
from .remote.control import Control
from .report import broker_info, bug_report
from .settings_source import caller
from .signals import Signal
from .tasks import builtins
from .tasks.annotations import annotate, prepare_annotations
from .tasks.asyncresult import AsyncResult
from .tasks.eager import apply_eagerly
from .tasks.eagerresult import EagerResult
from .tasks.registry import TaskRegistry, Workshop, task_name
from .tasks.result import GroupResult, ResultSet
from .tasks.shared import adopt_all, forget_app, know_app, share, shared_proxy
from .tasks.signature import Signature, signature
from .tasks.task import Calling, Task, depart, departed
from .version import __version__
from .wire.queues import Queue

log = logging.getLogger("taskctl.app")

P = ParamSpec("P")
R = TypeVar("R")

#: What is worked out from settings, and thrown away when one changes.
_FROM_SETTINGS = ("calling", "queues", "router", "control", "timezone", "annotations", "backend")


class AlwaysEagerIgnored(UserWarning):
    """Warned when `send_task` is used while `task_always_eager` is set."""


class App:
    """An application: the settings and tasks that clients and workers share.

    `main` stands in for `__main__` in task names.  Any setting may be given as a keyword;
    `broker`, `backend` and `include` are short for broker_url, result_backend and include.
    `config_source` is read when a setting is first asked for, see `config_from_object`.

    Safe to use from several threads and after a fork.  Several apps may live in one process; the
    one made last in a thread is the thread's current one, unless `set_as_current` is false.
    """

    version = __version__
    #: Base class of this app's tasks, or its path; `app.Task` is a subclass of it.
    task_cls: Any = Task

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | list[str] | None = None,
        backend: str | None = None,
        include: Iterable[str] | None = None,
        config_source: Any = None,
        set_as_current: bool = True,
        namespace: str | None = None,
        autofinalize: bool = True,
        task_cls: Any = None,
        strict_typing: bool = True,
        loader: str | None = None,
        changes: Mapping[str, Any] | None = None,
        tasks: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if loader not in (None, "app", "default"):
            raise ImproperlyConfigured(
                f"loader {loader!r}: there is one loader; name the settings with config_source"
            )
        self.main = main
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.task_cls = task_cls or self.task_cls
        self.clock = clock.LamportClock()
        self.finalized = False
        self.workshop = Workshop(self, TaskRegistry(tasks or {}))
        self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure", ("source",))
        self.on_after_finalize = Signal("app.on_after_finalize")
        self._connection: tuple[tuple[Any, ...], Connection] | None = None
        self._lock = threading.RLock()
        place = caller()[0]
        self._file = place if place and Path(place).is_file() else None
        shorthand = {"broker_url": broker, "result_backend": backend, "include": include}
        self.conf = Settings(
            {**(changes or {}), **settings, **{k: v for k, v in shorthand.items() if v}},
            namespace=namespace,
            before_read=self._before_settings,
            after_read=self._after_settings,
            on_change=self._settings_changed,
        )
        self._config_source = config_source
        if config_source is not None:
            self.conf.use_object(config_source, namespace=namespace)
        know_app(self)
        if set_as_current:
            self.set_current()
        self.on_init()

    def on_init(self) -> None:
        """Called when the app has been made; for subclasses."""

    # --- which app is current -------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the current app of this thread."""
        current.set_app(self)

    def set_default(self) -> None:
        """Make this the app of all threads that have no current one."""
        current.set_default_app(self)

    def close(self) -> None:
        """Let go of connections; shared tasks made later are not made here."""
        forget_app(self)
        with self._lock:
            if self._connection is not None:
                self._connection[1].close()
                self._connection = None
            backend = self.__dict__.pop("backend", None)
        if backend is not None:
            backend.close()

    def __enter__(self) -> App:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- settings -------------------------------------------------------------------------

    @property
    def configured(self) -> bool:
        """Whether the settings have been read."""
        return self.conf.configured

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Settings | None:
        """Take settings from a module, its name, `module:attribute`, a class, object or dict.

        They are read when first needed, or now with `force`.  With `namespace`, only names that
        begin with it count.  `silent`: it may be missing.
        """
        self._config_source = obj
        found = self.conf.use_object(obj, silent=silent, force=force, namespace=namespace)
        return self.conf if found else None

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> Settings | None:
        """Take settings from the module that an environment variable names."""
        found = self.conf.use_envvar(variable_name, silent=silent, force=force)
        return self.conf if found else None

    def add_defaults(self, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Add defaults that beat the configuration object; a callable is called when needed."""
        self.conf.add_defaults(values)

    def either(self, default_key: str, *values: Any) -> Any:
        """Return the first of `values` that is not None, else the setting."""
        return next((v for v in values if v is not None), self.conf[default_key])

    def _before_settings(self) -> None:
        folder = Path(self._file).parent if self._file else None
        path, values = find_project_file(folder)
        if values:
            self.conf.use_project_file(values, str(path))
        self.on_configure.send(sender=self)

    def _after_settings(self) -> None:
        self.on_after_configure.send(sender=self, source=self.conf)

    def _settings_changed(self) -> None:
        for name in _FROM_SETTINGS:
            self.__dict__.pop(name, None)

    @functools.cached_property
    def timezone(self) -> tzinfo:
        """The zone of times without an offset."""
        conf = self.conf
        if conf.timezone:
            return clock.zone(conf.timezone)
        return UTC if conf.enable_utc else clock.local_zone()

    def now(self) -> datetime:
        """Return the current time in the app's zone."""
        return datetime.now(self.timezone)

    # --- tasks ----------------------------------------------------------------------------

    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...

    @overload
    def task(self, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(self, fun: Any = None, /, **options: Any) -> Any:
        """Make a task of a function; used as `@app.task` or `@app.task(option=...)`.

        `name`, `bind` (the task is the first argument), `base` (its class), `shared` (default
        True: other apps of this process get it too), `lazy` (default True: nothing is read or
        made before it is used), `filter` (called with the task, returns what is kept); all other
        options become attributes of the task.
        """
        if fun is None:
            return lambda fun: self._decorate(fun, **options)
        if not callable(fun):
            raise TypeError(f"@app.task takes a function, or options by keyword; got {fun!r}")
        return self._decorate(fun, **options)

    def _decorate(
        self,
        fun: Callable[..., Any],
        *,
        shared: bool = True,
        filter: Callable[[Any], Any] | None = None,
        lazy: bool = True,
        **options: Any,
    ) -> Any:
        if shared:
            share(fun, options, owner=self)
        if lazy and not self.finalized:
            task = self.workshop.begin(fun, options)
        else:
            task = self.workshop.make(fun, options)
        return task if filter is None else filter(task)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a task written as a class, or an instance of one; return the instance."""
        return self.workshop.add_class(task, options)

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks by name; finalizes the app."""
        if not self.finalized or self.workshop.pending:
            self.finalize(auto=True)
        return self.workshop.tasks

    def finalize(self, auto: bool = False) -> None:
        """Make the tasks of all decorated functions, the shared and the built-in ones.

        Reads the settings.  `auto` says that somebody just looked at the tasks, which is an error
        for an app without `autofinalize`.
        """
        with self.workshop.lock:
            if self.finalized:
                self.workshop.finish_all()
                return
            if auto:
                self.assert_may_finalize()
            self.finalized = True
            builtins.register(self)
            self.workshop.finish_all()
            adopt_all(self)
            for task in list(self.workshop.tasks.values()):
                task.bind(self)
            self.on_after_finalize.send(sender=self)

    def assert_may_finalize(self) -> None:
        """Raise RuntimeError if tasks are used before an app without `autofinalize` is ready."""
        if not self.finalized and not self.autofinalize:
            raise RuntimeError(f"{self!r} is not finalized: call app.finalize() before its tasks")

    @property
    def Task(self) -> Any:
        """Base class of this app's tasks; may be replaced as long as tasks are not used."""
        with self._lock:
            made = self.__dict__.get("_task_base")
            if made is None:
                cls = self.task_cls
                cls = import_object(cls) if isinstance(cls, str) else cls
                fields = {"_app": self, "abstract": True, "__module__": cls.__module__}
                made = self.__dict__["_task_base"] = type("Task", (cls,), fields)
            return made

    @Task.setter
    def Task(self, cls: Any) -> None:
        self.__dict__["_task_base"] = cls

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task that is given none; for subclasses."""
        return task_name(self.main, name, module)

    @functools.cached_property
    def annotations(self) -> list[Any]:
        """What `task_annotations` says, ready to be asked."""
        return prepare_annotations(self.conf.task_annotations)

    def annotate(self, cls: Any) -> None:
        """Set on a task's class what `task_annotations` says of it."""
        annotate(cls, self.annotations)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import `package.tasks` of each package, when a worker starts or now with `force`.

        A package without such a module is passed over.
        """

        def find(**_: Any) -> None:
            discover((packages() if callable(packages) else packages) or (), related_name)

        if force:
            find()
        else:
            signals.import_modules.connect(find, sender=self, weak=False)

    def import_default_modules(self) -> None:
        """Import the modules of the settings `imports` and `include`, and what is discovered.

        Raises AppNotFound, naming the file and line, if one cannot be imported.
        """
        signals.import_modules.send(sender=self)
        named = (self.conf.imports, self.conf.include)
        import_modules(m for names in named for m in ([names] if isinstance(names, str) else names))

    @property
    def current_task(self) -> Any:
        """The task that runs here now, or None."""
        return current.current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task on whose behalf code runs now, or None."""
        calling = current.calling_task()
        return None if calling is None else calling[0]

    # --- calling --------------------------------------------------------------------------

    @functools.cached_property
    def calling(self) -> Calling:
        """What calls need: the producer, and the settings that change what a call is."""
        conf = self.conf
        return Calling(
            self._make_producer(), conf.task_always_eager, conf.task_inherit_parent_priority
        )

    @property
    def producer(self) -> Producer:
        """What sends this app's calls."""
        return self.calling.producer

    def _make_producer(self) -> Producer:
        conf = self.conf
        return Producer(
            self.shared_connection(),
            self.router,
            serializer=conf.task_serializer,
            compression=conf.task_compression,
            delivery_mode=conf.task_default_delivery_mode,
            timezone=self.timezone,
            retry=conf.task_publish_retry,
            retry_policy=conf.task_publish_retry_policy,
            publish_timeout=clock.maybe_seconds(conf.broker_publish_timeout),
            repr_levels=conf.task_repr_maxlevels,
            owner=id(self),
            clock=self.clock,
            sent_events=conf.task_send_sent_event,
            event_exchange=conf.event_exchange,
            event_serializer=conf.event_serializer,
        )

    def send_task(
        self, name: str, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Send a call of a task by its name, which need not be known here.

        Options are those of `Task.apply_async`; a task of that name that is known here gives the
        ones not given.
        """
        calling = self.calling
        if calling.eager:
            warnings.warn(
                "task_always_eager has no effect on send_task", AlwaysEagerIgnored, stacklevel=2
            )
        task = options.pop("task_type", None) or self.workshop.tasks.get(name)
        if task is not None:
            known = dict(task._call_options())
            # Sent by name, the worker's own idea of it holds.
            known.pop("ignore_result", None)
            options = {**known, **options}
        result_class = options.pop("result_cls", None) or self.AsyncResult
        options["task_type"] = task
        departure = depart(calling, options)
        departure.producer.send(name, args, kwargs, options)
        return departed(departure, result_class(departure.task_id))

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a signature bound to this app; see `taskctl.signature`."""
        kwargs["app"] = self
        return signature(*args, **kwargs)

    def apply_eagerly(
        self, task: Any, args: Any, kwargs: Any, options: dict[str, Any], **more: Any
    ) -> EagerResult:
        """Run a task here and now, as a worker would."""
        return apply_eagerly(task, args, kwargs, options, **more)

    # --- results --------------------------------------------------------------------------

    @functools.cached_property
    def AsyncResult(self) -> type[AsyncResult]:
        """Class of results of this app's tasks."""
        return type("AsyncResult", (AsyncResult,), {"app": self})

    @functools.cached_property
    def ResultSet(self) -> type[ResultSet]:
        return type("ResultSet", (ResultSet,), {"_app": self})

    @functools.cached_property
    def GroupResult(self) -> type[GroupResult]:
        return type("GroupResult", (GroupResult,), {"_app": self})

    @functools.cached_property
    def backend(self) -> Backend:
        """The result backend.  One that is away now is not missed before it is used."""
        conf = self.conf
        backend = open_backend(
            self.backend_url(),
            options=conf.result_backend_transport_options,
            expires=clock.maybe_seconds(conf.result_expires),
            failure_expires=clock.maybe_seconds(conf.result_failure_expires),
        )
        try:
            backend.open()
        except BackendError as exc:
            log.warning("%s; results are kept and found again once it is back", exc)
        return backend

    def backend_url(self) -> str | None:
        """Return where results are kept; None if they are not.

        Without a setting, an embedded broker keeps them; a redis one does not, as in Celery.
        """
        given = cast("str | None", self.conf.result_backend)
        if given:
            return given
        broker = self.broker_url()
        return broker if broker.startswith(("sqlite://", "memory://")) else None

    # --- broker ---------------------------------------------------------------------------

    def broker_url(self) -> str:
        """Return the broker's URL, the first one if there are several."""
        return self.broker_urls()[0]

    def broker_urls(self) -> list[str]:
        """Return the broker's URLs, in the order they are tried.

        Without a setting it is a SQLite file beside the code of the app, where all processes of
        one checkout meet.
        """
        urls = split_urls(self.conf.broker_write_url or ())
        return urls or [f"sqlite:///{default_database_path(self._file)}"]

    def connection(self, url: str | list[str] | None = None) -> Connection:
        """Return a connection of the caller's own; it opens when it is used."""
        conf = self.conf
        return Connection(
            url or self.broker_urls(),
            options=conf.broker_transport_options,
            timeout=clock.maybe_seconds(conf.broker_connection_timeout) or 4.0,
        )

    connection_for_read = connection_for_write = connection

    def shared_connection(self) -> Connection:
        """Return the connection that calls and commands of this app share."""
        conf = self.conf
        key = (
            self.broker_urls(),
            dict(conf.broker_transport_options or {}),
            conf.broker_connection_timeout,
        )
        with self._lock:
            if self._connection is None or self._connection[0] != key:
                if self._connection is not None:
                    self._connection[1].close()
                self._connection = (key, self.connection())
            return self._connection[1]

    @functools.cached_property
    def queues(self) -> Queues:
        """The queues that are known."""
        conf = self.conf
        return Queues(
            conf.task_queues,
            default=conf.task_default_queue,
            default_exchange=conf.task_default_exchange,
            default_exchange_type=conf.task_default_exchange_type,
            default_routing_key=conf.task_default_routing_key,
            default_type=conf.task_default_queue_type,
            create_missing=conf.task_create_missing_queues,
            create_missing_type=conf.task_create_missing_queue_type,
            create_missing_exchange_type=conf.task_create_missing_queue_exchange_type,
            max_priority=conf.task_queue_max_priority,
        )

    @functools.cached_property
    def router(self) -> Router:
        """What decides which queue a call goes to."""
        return Router(self.conf.task_routes, self.queues)

    def select_queues(
        self,
        queues: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] | None = None,
    ) -> list[Queue]:
        """Choose the queues a worker takes from, by name (commas part names); return them."""
        return self.queues.select(_names(queues), _names(exclude))

    def known_queue(self, name: str) -> Queue | None:
        """Return a queue of the settings by name, or None."""
        return self.queues.known(name)

    def purge(self) -> int:
        """Drop all waiting messages of the selected queues; return how many."""
        names = [queue.name for queue in self.queues.selected]

        def purge(broker: Broker) -> int:
            return sum(broker.purge(name) for name in names)

        return self.shared_connection().call(purge)

    @functools.cached_property
    def control(self) -> Control:
        """Remote control of this app's workers."""
        conf, connection = self.conf, self.shared_connection()
        mailbox = ClientMailbox(
            connection,
            namespace=conf.control_exchange,
            serializer=conf.task_serializer,
            accept=conf.accept_content,
            forward_clock=self.clock.forward,
        )
        return Control(connection, mailbox, self.purge)

    # --- what it is -----------------------------------------------------------------------

    @property
    def oid(self) -> str:
        """Name of the queue that results for this app and thread come to."""
        return reply_queue(id(self))

    thread_oid = oid

    @property
    def node_name(self) -> str:
        """Name of this process as a sender."""
        return node_name()

    @property
    def label(self) -> str:
        """The app in a few words, for reprs."""
        return f"{self.main or '__main__'} at {id(self):#x}"

    def bugreport(self) -> str:
        """Return the text to put into a bug report; passwords are masked."""
        return bug_report(self.version, self.broker_url(), self.backend_url(), self.conf.humanize())

    def broker_info(self, url: str) -> dict[str, Any]:
        """Return what a node's `stats` says of the broker it uses."""
        others = [other for other in self.broker_urls() if other != url]
        return broker_info(url, self.conf, others)

    __class_getitem__ = classmethod(types.GenericAlias)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def __reduce__(self) -> Any:
        changes = {
            **{k: entry.value for k, entry in self.conf._preconf.items()},
            **{k: entry.value for k, entry in self.conf._changes.items()},
        }
        source = self._config_source
        options = {
            "main": self.main,
            "changes": changes,
            "config_source": source if not inspect.ismodule(source) else source.__name__,
            "set_as_current": False,
            "task_cls": self.task_cls,
            "strict_typing": self.strict_typing,
            "autofinalize": self.autofinalize,
        }
        return _unpickle_app, (type(self), options)


def _unpickle_app(cls: type[App], options: dict[str, Any]) -> App:
    return cls(**options)


def _names(given: str | Iterable[str] | None) -> list[str]:
    parts = given.split(",") if isinstance(given, str) else list(given or ())
    return [part.strip() for part in parts if part.strip()]


def _default_app() -> App:
    """Return the app of a process in which nobody has made one."""
    return App("default", set_as_current=False)


current.set_default_factory(_default_app)


@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...


@overload
def shared_task(
    *, bind: Literal[True], **options: Any
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...


@overload
def shared_task(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def shared_task(fun: Any = None, /, **options: Any) -> Any:
    """Make a task of a function for every app; calls go to whichever app is current.

    Options are those of `App.task`.
    """

    def make(fun: Callable[..., Any]) -> Any:
        kept = {k: v for k, v in options.items() if k not in ("shared", "lazy", "filter")}
        share(fun, kept)
        task = shared_proxy(fun, kept)
        chosen = options.get("filter")
        return task if chosen is None else chosen(task)

    if fun is None:
        return make
    if not callable(fun):
        raise TypeError(f"@shared_task takes a function, or options by keyword; got {fun!r}")
    return make(fun)


#: The app and the task that are current where they are used.
current_app = cast(App, Proxy(current.get_app))
current_task = cast("Task[Any, Any]", Proxy(current.current_task))


def app_or_default(app: App | None = None) -> App:
    """Return `app`, else the current app."""
    return app if app is not None else cast(App, current.get_app())


Celery = App
