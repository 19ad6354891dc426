"""An app: settings, tasks, and all a user reaches through them.

Only an app reads settings; every other part is handed values.  A web process imports this and
nothing that runs a worker: no pool, no console.
"""

from __future__ import annotations

import functools
import inspect
import logging
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

from . import current
from .config import Settings
from .loader import find_project_file, import_object
from .loaders import BaseLoader, make_loader, named_loader
from .proxies import Proxy
from .reach import Reach
from .report import celery_report
from .settings_source import caller
from .signals import Signal
from .tasks import builtins
from .tasks.annotations import annotate, prepare_annotations
from .tasks.asynccalls import AsyncAppCalls
from .tasks.asyncresult import AsyncResult
from .tasks.decorated import AsyncTask, BoundDecorator, Decorator, ModelDecorator
from .tasks.eager import apply_eagerly
from .tasks.eagerresult import EagerResult
from .tasks.registry import TaskRegistry, Workshop, task_name
from .tasks.result import GroupResult, ResultSet
from .tasks.shared import adopt_all, forget_app, know_app, share
from .tasks.signature import Signature, signature
from .tasks.task import Task, depart, departed

log = logging.getLogger("taskctl.app")

P = ParamSpec("P")
R = TypeVar("R")


class AlwaysEagerIgnored(UserWarning):
    """Warned when `send_task` is used while `task_always_eager` is set."""


class App(Reach, AsyncAppCalls):
    """An application: the settings and tasks that clients and workers share.

    `main` stands in for `__main__` in task names.  Any setting may be given as a keyword;
    `broker`, `backend` and `include` are short for broker_url, result_backend and include.
    `config_source` is read when a setting is first asked for, see `config_from_object`.

    Safe to use from several threads and after a fork.  Several apps may live in one process; the
    one made last in a thread is the thread's current one, unless `set_as_current` is false.
    """

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
        loader: Any = None,
        changes: Mapping[str, Any] | None = None,
        tasks: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        place = caller()[0]
        super().__init__(place if place and Path(place).is_file() else None)
        settings = self.take_parts(settings)
        self.main = main
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.task_cls = task_cls or self.task_cls
        self.finalized = False
        self._loader_spec = loader
        #: Options (click's) that other code adds to commands, by command; and steps of a worker.
        self.user_options: dict[str, set[Any]] = defaultdict(set)
        self.steps: dict[str, set[Any]] = defaultdict(set)
        self.workshop = Workshop(self, TaskRegistry(tasks or {}))
        self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure", ("source",))
        self.on_after_finalize = Signal("app.on_after_finalize")
        #: Periodic tasks that were added before the settings were read.
        self._periodic: list[tuple[str, dict[str, Any], bool]] = []
        shorthand = {"broker_url": broker, "result_backend": backend, "include": include}
        self.conf = Settings(
            {**(changes or {}), **settings, **{k: v for k, v in shorthand.items() if v}},
            namespace=namespace,
            before_read=self._before_settings,
            after_read=self._after_settings,
            on_change=self.settings_changed,
        )
        self._config_source = config_source
        if config_source is not None:
            self.conf.use_object(config_source, namespace=namespace)
        know_app(self)
        if set_as_current:
            self.set_current()
        self.fix_up()
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
        super().close()

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

    @functools.cached_property
    def loader(self) -> BaseLoader:
        """What finds settings and modules; see `loaders.BaseLoader`.

        Raises ImproperlyConfigured if it was named, and is not there.
        """
        return make_loader(self, self._loader_spec)

    def _before_settings(self) -> None:
        if self._config_source is None and named_loader(self._loader_spec) is not None:
            self.conf.add_defaults(self.loader.read_configuration() or {})
        folder = Path(self._home).parent if self._home else None
        path, values = find_project_file(folder)
        if values:
            self.conf.use_project_file(values, str(path))
        self.on_configure.send(sender=self)

    def _after_settings(self) -> None:
        added, self._periodic = self._periodic, []
        for name, entry, named in added:
            self._put_periodic(name, entry, named)
        self.on_after_configure.send(sender=self, source=self.conf)

    # --- periodic tasks -------------------------------------------------------------------

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Any,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Let beat send a task, or a signature, on a schedule; return the name of the entry.

        `schedule` is seconds, a timedelta or a schedule; `options` are those of `apply_async`.
        Without `name` the entry is called after the call, so that two calls that are alike are
        one entry.  It is put into the setting `beat_schedule`.
        """
        sig = sig if isinstance(sig, Signature) else self.signature(sig)
        sig = sig.clone(args, kwargs)
        entry = {
            "task": sig.task,
            "schedule": schedule,
            "args": tuple(sig.args),
            "kwargs": dict(sig.kwargs),
            "options": {**sig.options, **options},
        }
        key = name or repr(sig)
        if self.configured:
            self._put_periodic(key, entry, name is not None)
        else:
            self._periodic.append((key, entry, name is not None))
        return key

    def _put_periodic(self, name: str, entry: dict[str, Any], named: bool) -> None:
        held = self.conf.beat_schedule
        if not named and name in held:
            log.warning("periodic task %s is there already: give each a name of its own", name)
        self.conf.update(beat_schedule={**held, name: entry})

    # --- tasks ----------------------------------------------------------------------------

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Any) -> BoundDecorator: ...
    @overload
    def task(self, *, pydantic: Literal[True], **options: Any) -> ModelDecorator: ...
    @overload
    def task(self, **options: Any) -> Decorator: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function; used as `@app.task` or `@app.task(option=...)`.

        `name`, `bind` (the task is the first argument), `base` (its class), `shared` (default
        True: other apps of this process get it too), `lazy` (default True: nothing is read or
        made before it is used), `filter` (called with the task, returns what is kept); all other
        options become attributes of the task.
        """
        if not args:
            return lambda fun: self._decorate(fun, **options)
        if len(args) > 1 or not callable(args[0]):
            raise TypeError(f"@app.task takes a function, or options by keyword; got {args!r}")
        return self._decorate(args[0], **options)

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

    def send_task(
        self, name: str, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Send a call of a task by its name, which need not be known here.

        Options are those of `Task.apply_async`; a task of that name that is known here gives the
        ones not given.
        """
        if not isinstance(name, str) or not name:
            raise TypeError(f"send_task needs the name of a task, got {name!r}")
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
        if task is not None and task.shared_limits is not None:
            return cast(AsyncResult, task._send_limited(calling, args, kwargs, options))
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

    def celery_report(self) -> str:
        """Return the text to put into a bug report, in Celery's layout; passwords are masked."""
        kind = type(self.loader)
        return celery_report(
            self.version, f"{kind.__module__}.{kind.__qualname__}", self.broker_url(),
            self.backend_url(), self.conf.humanize(exactly=True),
        )  # fmt: skip

    # --- what it is -----------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The app in a few words, for reprs."""
        return f"{self.main or '__main__'} at {id(self):#x}"

    __class_getitem__: Any = classmethod(types.GenericAlias)

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


def _default_app() -> App:
    """Return the app of a process in which nobody has made one."""
    return App("default", set_as_current=False)


current.set_default_factory(_default_app)


#: The app and the task that are current where they are used.
current_app = cast(App, Proxy(current.get_app))
current_task = cast("Task[Any, Any]", Proxy(current.current_task))


def app_or_default(app: App | None = None) -> App:
    """Return `app`, else the current app."""
    return app if app is not None else cast(App, current.get_app())


Celery = App
