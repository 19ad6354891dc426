"""A task: the definition of work, and all ways to call it.

A task is bound to one app, which is handed in and never imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from types import CoroutineType
from typing import Any, ClassVar, Concatenate, Generic, NamedTuple, ParamSpec, overload
from uuid import uuid4

from .. import current
from ..errors import BrokerConnectionError
from ..messaging.producer import Producer
from .annotations import wrap_method
from .asynccalls import AsyncTaskCalls
from .binding import FROM_SETTINGS, bind_class
from .context import Context
from .inrun import InRun
from .limited import is_promised, send_limited
from .maps import chunks, xmap, xstarmap
from .result import AsyncResult, EagerResult
from .signature import Signature
from .typevars import P, R_co

#: What is left of a task's parameters when the first comes later.
Q = ParamSpec("Q")

#: Attributes that go along with every call as options.
CALL_OPTIONS = (
    "queue", "exchange", "routing_key", "priority", "expires", "serializer", "delivery_mode",
    "compression", "time_limit", "soft_time_limit", "ignore_result",
)  # fmt: skip


class Calling(NamedTuple):
    """What calling needs of an app's settings, and where calls go."""

    producer: Producer
    eager: bool
    inherit_priority: bool


class Task(InRun, AsyncTaskCalls[P, R_co], Generic[P, R_co]):
    """Base of all tasks; `run` is the work.

    There is one instance of each task in a process: what it keeps on itself lasts.
    """

    OperationalError = BrokerConnectionError

    _app: ClassVar[Any] = None
    #: Raises TypeError for arguments that `run` does not take.
    __header__: ClassVar[Callable[..., Any] | None] = None
    #: Turns the pydantic models among arguments into plain data; see `models.py`.
    _dumped_arguments: ClassVar[Callable[..., tuple[Any, Any]] | None] = None

    #: (attribute, setting) for each attribute that a setting gives, unless it is set; a subclass
    #: may add settings of its own.
    from_config: ClassVar[tuple[tuple[str, str], ...]] = tuple(FROM_SETTINGS.items())

    # --- its app --------------------------------------------------------------------------

    @classmethod
    def bind(cls, app: Any) -> None:
        """Belong to `app`: take from its settings what the task itself leaves open."""
        bind_class(cls, app)
        cls.on_bound(app)

    @classmethod
    def annotate(cls) -> None:
        """Set on this class what `task_annotations` says of it; done when it is bound."""
        cls._app.annotate(cls)

    @classmethod
    def add_around(cls, attr: str, around: Callable[[Any], Any]) -> None:
        """Put `around(method)` in the place of the method `attr`, as the annotation `@attr` does.

        Done once more, it takes the place of what it did before.
        """
        wrap_method(cls, attr, around)

    @property
    def app(self) -> Any:
        return self._app if self._app is not None else current.get_app()

    @property
    def backend(self) -> Any:
        """The result backend; one set on the task wins over the app's."""
        return self.__dict__.get("_backend") or self.app.backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        self.__dict__["_backend"] = backend

    # --- running --------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work; every task defines it."""
        raise NotImplementedError(f"task {self.name} has no run method")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the task here, as a function: no message, no result object."""
        request = current.request_of(self)
        if request is not None and not request.called_directly and "_inside" not in vars(request):
            # A subclass's __call__ that ends in super().__call__: this is the run itself.
            request._inside = True
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        request = Context({"args": args, "kwargs": kwargs, "task": self.name})
        current.push_task(self, request)
        try:
            value: Any = self.run(*args, **kwargs)
        finally:
            current.pop_task()
        if type(value) is CoroutineType:
            value = current.during(self, request, value)
        return value  # type: ignore[no-any-return]

    # --- calling --------------------------------------------------------------------------

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Send a call with these arguments; return its result object."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R_co]:
        """Send a call; return its result object.

        When: `countdown` (seconds) or `eta`; `expires` (seconds or a time).  Where: `queue`,
        `exchange`, `routing_key`, `priority`.  How: `serializer`, `compression`, `headers`,
        `time_limit`, `soft_time_limit`, `ignore_result`, `shadow` (a name to show).  What then:
        `link`, `link_error` (signatures).  `retry`, `retry_policy`: if the broker is away.

        Raises TypeError for arguments that `run` does not take, ValueError for options that
        contradict each other, EncodeError for arguments that cannot be written,
        BrokerConnectionError (PublishTimeout) if the broker did not take it in time.
        """
        app = self.app
        if self.typing and self.__header__ is not None:
            self.__header__(*(args or ()), **(kwargs or {}))
        if self._dumped_arguments is not None and options.get("serializer") != "pickle":
            args, kwargs = self._dumped_arguments(args, kwargs)
        options = {**self._call_options(), **options}
        options["shadow"] = shadow or self.shadow_name(args, kwargs, options)
        options.update(task_id=task_id, link=link, link_error=link_error)
        calling = app.calling
        if calling.eager:
            result: AsyncResult[R_co] = app.apply_eagerly(
                self, args, kwargs, options, through_serializer=True
            )
            return result
        options["task_type"] = self
        if self.shared_limits is not None:
            return self._send_limited(calling, args, kwargs, options)
        departure = depart(calling, options)
        departure.producer.send(self.name, args, kwargs, options)
        return departed(departure, self.AsyncResult(departure.task_id))

    def _send_limited(
        self, calling: Calling, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> AsyncResult:
        """Send a call of a task with limits; see `limited`."""
        assert self.shared_limits is not None
        promised = is_promised(options)
        departure = depart(calling, options)
        call = (self.name, args, kwargs)
        task_id = send_limited(
            self.app, self.shared_limits, departure.producer, call, options, promised
        )
        result = self.AsyncResult(task_id)
        result.duplicate = task_id != departure.task_id
        return departed(departure, result)

    def _call_options(self) -> dict[str, Any]:
        """Return the task's attributes that go along with every call; found out once."""
        known: dict[str, Any] | None = self.__dict__.get("_options")
        if known is None:
            hard, soft = self.time_limit, self.soft_time_limit
            if hard and soft and soft > hard:
                raise ValueError(
                    f"task {self.name}: soft_time_limit ({soft:g} s) is beyond "
                    f"time_limit ({hard:g} s)"
                )
            found = ((name, getattr(self, name, None)) for name in CALL_OPTIONS)
            known = self.__dict__["_options"] = {k: v for k, v in found if v is not None}
        return known

    def __setattr__(self, name: str, value: Any) -> None:
        if name in CALL_OPTIONS:
            self.__dict__.pop("_options", None)
        super().__setattr__(name, value)

    def shadow_name(
        self, args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> str | None:
        """Return a name to show for one call instead of the task's; for subclasses."""
        return None

    def apply(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        **options: Any,
    ) -> EagerResult[R_co]:
        """Run the task here as a worker would, retries and callbacks too; return an EagerResult.

        `throw` raises what the task raises (default: `task_eager_propagates`).
        """
        options = {
            **self._call_options(),
            **options,
            "link": link,
            "link_error": link_error,
            "task_id": task_id,
            "retries": retries,
            "throw": throw,
        }
        result: EagerResult[R_co] = self.app.apply_eagerly(self, args, kwargs, options)
        return result

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[R_co]:
        """Return the result object of a call of this task."""
        result: AsyncResult[R_co] = self.app.AsyncResult(
            task_id, self.__dict__.get("_backend"), self.name, **options
        )
        return result

    # --- signatures -----------------------------------------------------------------------

    def signature(self, args: Any = None, *more: Any, **options: Any) -> Signature[R_co]:
        """Return a call of this task, to be made later."""
        options.setdefault("app", self.app)
        return Signature(self, args, *more, **options)

    subtask = signature

    @overload
    def s(self) -> Signature[R_co]: ...
    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]: ...
    @overload
    def s(
        self: Task[Concatenate[Any, Q], R_co], *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[R_co]: ...
    def s(self, *args: Any, **kwargs: Any) -> Signature[R_co]:
        """Return a call with these arguments; more may come before them when it is made.

        To a type checker all of them are given, all but the first (the value of the task before
        this one in a chain), or none.
        """
        return Signature(self, args, kwargs, app=self.app)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]:
        """Return a call with these arguments and no others."""
        return Signature(self, args, kwargs, app=self.app, immutable=True)

    def chunks(self, it: Iterable[Any], n: int) -> chunks[R_co]:
        """Return calls with each list of arguments in `it`, `n` to a message."""
        return chunks(self.s(), it, n, app=self.app)

    def map(self, it: Iterable[Any]) -> xmap[R_co]:
        """Return one message that calls this task with each item."""
        return xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> xstarmap[R_co]:
        """Return one message that calls this task with each list of arguments."""
        return xstarmap(self.s(), it, app=self.app)

    # --- as a value -----------------------------------------------------------------------

    @property
    def __name__(self) -> str:
        return type(self).__name__  # type: ignore[return-value]  # the class's, not this

    def __repr__(self) -> str:
        app = self._app
        where = f"of {app.label}" if app is not None else "unbound"
        return f"<@task: {self.name} {where}>"

    def __reduce__(self) -> Any:
        return _task_named, (self.name, type(self).__module__)


class Departure(NamedTuple):
    """A call on its way out: with what it is sent, and for whom (the task that runs here)."""

    producer: Producer
    task_id: str
    caller: tuple[Any, Any] | None
    ignored: bool


def depart(calling: Calling, options: dict[str, Any]) -> Departure:
    """Complete the options of a call: its id, and whose child it is.

    Takes out of them the producer or the connection it is to be sent with.
    """
    producer: Producer = options.pop("producer", None) or calling.producer
    connection = options.pop("connection", None)
    if connection is not None:
        producer = producer.using(connection)
    task_id = options["task_id"] = options.get("task_id") or str(uuid4())
    keeps_trail = options.pop("add_to_parent", True) is not False
    caller = current.calling_task() if current.running.get() else None
    if caller is not None:
        request = caller[1]
        if not options.get("root_id"):
            options["root_id"] = request.root_id or request.id
        if not options.get("parent_id"):
            options["parent_id"] = request.id
        if calling.inherit_priority and options.get("priority") is None:
            options["priority"] = (request.delivery_info or {}).get("priority")
    ignored = bool(options.get("ignore_result"))
    return Departure(producer, task_id, caller if keeps_trail else None, ignored)


def departed(departure: Departure, result: AsyncResult) -> AsyncResult:
    """Return the result object of a call that was sent, noted as a child of its caller."""
    if departure.ignored:
        result.ignored = True
    if departure.caller is not None:
        departure.caller[0].add_trail(result)
    return result


def _task_named(name: str, module: str | None) -> Any:
    """Return the task of that name in the current app; how tasks are unpickled."""
    app = current.get_app()
    if module and name not in app.tasks:
        importlib.import_module(module)
    return app.tasks[name]
