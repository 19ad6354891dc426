"""A task: the definition of work, and all ways to call it.

A task is bound to one app, which is handed in and never imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple, ParamSpec, TypeVar
from uuid import uuid4

from .. import current
from ..errors import BrokerConnectionError, MaxRetriesExceededError, Reject, Retry
from ..messaging.producer import Producer, gather
from .binding import bind_class
from .context import Context
from .hooks import Hooks
from .maps import chunks, xmap, xstarmap
from .metas import MetaWriter
from .replacing import added_to_chord, replacement, send_replacement
from .result import AsyncResult
from .retrying import arguments_again, raise_with_context
from .signature import Signature

P = ParamSpec("P")
R = TypeVar("R")

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


class Task(Hooks, Generic[P, R]):
    """Base of all tasks; `run` is the work.

    There is one instance of each task in a process: what it keeps on itself lasts.
    """

    name: str = None  # type: ignore[assignment]  # given when it is registered, if not before
    #: Whether the caller's arguments are checked against `run`; None: as the app says.
    typing: bool | None = None
    #: Most retries; None is without end.
    max_retries: int | None = 3
    #: Seconds until the next try, when `retry` is not told.
    default_retry_delay: float = 180
    rate_limit: str | float | None = None
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    #: Whether calls made inside this task become its children.
    trail: bool = True
    send_events: bool = True
    serializer: str | None = None
    compression: str | None = None
    #: Seconds after which the child that runs it is killed; after which it is told.
    time_limit: float | None = None
    soft_time_limit: float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    #: Exceptions that are no error of the task: logged as information, without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    expires: float | datetime | None = None
    priority: int | None = None
    #: Longest text of a result in events and logs, in characters.
    resultrepr_maxsize: int = 1024
    #: True for a base class: it is never registered itself.
    abstract: bool = True

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = BrokerConnectionError

    _app: ClassVar[Any] = None
    #: Raises TypeError for arguments that `run` does not take.
    __header__: ClassVar[Callable[..., Any] | None] = None

    # --- its app --------------------------------------------------------------------------

    @classmethod
    def bind(cls, app: Any) -> None:
        """Belong to `app`: take from its settings what the task itself leaves open."""
        bind_class(cls, app)
        cls.on_bound(app)

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

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here, as a function: no message, no result object."""
        request = current.request_of(self)
        if request is not None and not request.called_directly and "_inside" not in vars(request):
            # A subclass's __call__ that ends in super().__call__: this is the run itself.
            request._inside = True
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        current.push_task(self, Context({"args": args, "kwargs": kwargs, "task": self.name}))
        try:
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        finally:
            current.pop_task()

    @property
    def request(self) -> Any:
        """The request of the run that is going on here; outside of one, an empty context."""
        running = current.request_of(self)
        if running is not None:
            return running
        empty = self.__dict__.get("_empty_request")
        if empty is None:
            empty = self.__dict__["_empty_request"] = Context()
        return empty

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Begin a run with these fields in its request; for tests."""
        current.push_task(self, Context(*args, **kwargs))

    def pop_request(self) -> None:
        """End what `push_request` began."""
        current.pop_task()

    # --- calling --------------------------------------------------------------------------

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult:
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
    ) -> AsyncResult:
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
        options = {**self._call_options(), **options}
        options["shadow"] = shadow or self.shadow_name(args, kwargs, options)
        options.update(task_id=task_id, link=link, link_error=link_error)
        calling = app.calling
        if calling.eager:
            result: AsyncResult = app.apply_eagerly(
                self, args, kwargs, options, through_serializer=True
            )
            return result
        options["task_type"] = self
        departure = depart(calling, options)
        departure.producer.send(self.name, args, kwargs, options)
        return departed(departure, self.AsyncResult(departure.task_id))

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
    ) -> Any:
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
        return self.app.apply_eagerly(self, args, kwargs, options)

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult:
        """Return the result object of a call of this task."""
        result: AsyncResult = self.app.AsyncResult(
            task_id, self.__dict__.get("_backend"), self.name, **options
        )
        return result

    # --- signatures -----------------------------------------------------------------------

    def signature(self, args: Any = None, *more: Any, **options: Any) -> Signature:
        """Return a call of this task, to be made later."""
        options.setdefault("app", self.app)
        return Signature(self, args, *more, **options)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call with these arguments; more may come before them when it is made."""
        return Signature(self, args, kwargs, app=self.app)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call with these arguments and no others."""
        return Signature(self, args, kwargs, app=self.app, immutable=True)

    def chunks(self, it: Any, n: int) -> chunks:
        """Return calls with each list of arguments in `it`, `n` to a message."""
        return chunks(self.s(), it, n, app=self.app)

    def map(self, it: Any) -> xmap:
        """Return one message that calls this task with each item."""
        return xmap(self.s(), it, app=self.app)

    def starmap(self, it: Any) -> xstarmap:
        """Return one message that calls this task with each list of arguments."""
        return xstarmap(self.s(), it, app=self.app)

    def signature_from_request(
        self,
        request: Any = None,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **options: Any,
    ) -> Signature:
        """Return the call that `request` came from, with what is given here changed."""
        request = self.request if request is None else request
        args = request.args if args is None else args
        kwargs = request.kwargs if kwargs is None else kwargs
        merged = {**request.as_execution_options(), **options}
        if merged.get("ignore_result") is None:
            merged["ignore_result"] = self.ignore_result
        info = request.delivery_info or {}
        if info.get("priority") is not None:
            merged.setdefault("priority", info["priority"])
        if queue:
            merged["queue"] = queue
        elif not info.get("exchange") and info.get("routing_key"):
            merged["queue"] = info["routing_key"]
        else:
            for name in ("exchange", "routing_key"):
                if info.get(name) is not None:
                    merged[name] = info[name]
        return Signature(self, args, kwargs, merged, app=self.app)

    subtask_from_request = signature_from_request

    # --- inside a run ---------------------------------------------------------------------

    def retry(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send this call again, for later, and end this run by raising Retry.

        `exc` is the cause: it is raised when the retries are used up (else
        MaxRetriesExceededError).  Without `eta` or `countdown` (seconds) the next try comes after
        `default_retry_delay`.  With `throw` false, Retry is returned and the run goes on.

        In a task that was called as a function, the cause is raised.
        """
        request = self.request
        if request.called_directly:
            raise_with_context(exc or Retry("Task can be retried", None))
        retries = (request.retries or 0) + 1
        if max_retries is not None:
            request._retry_limit = max_retries  # for autoretry, which may catch what we raise
        limit = self.max_retries if max_retries is None else max_retries
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        if request.args or request.kwargs:
            args, kwargs = arguments_again(self, request, args, kwargs)
        again = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=retries, **options
        )
        if limit is not None and retries > limit:
            if exc is not None:
                raise_with_context(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{again.args} kwargs:{again.kwargs}",
                task_args=again.args,
                task_kwargs=again.kwargs,
            )
        signal = Retry(exc=exc, when=eta or countdown, is_eager=bool(request.is_eager), sig=again)
        if not request.is_eager:
            self._send_retry(signal, again, throw)
        if throw:
            raise signal
        return signal

    def _send_retry(self, signal: Retry, again: Signature, throw: bool) -> None:
        """Give the next try to whoever ends this run; if the run goes on, publish it now."""
        options = {k: v for k, v in again.options.items() if v is not None}
        options["add_to_parent"] = False
        try:
            if not throw:
                self.apply_async(again.args, again.kwargs, **options)
                return
            with gather() as publications:
                self.apply_async(again.args, again.kwargs, **options)
        except Exception as problem:
            # It could run no more, whatever was tried: refused for good, as Celery does.
            raise Reject(problem, requeue=False) from problem
        signal.publication = publications[0]  # type: ignore[attr-defined]

    def replace(self, sig: Signature) -> Any:
        """End this run, and let `sig` take its place: its id, callbacks, chain and chord.

        Write `return self.replace(...)`.  Raises Ignore, which ends the run; in an eager run it
        returns the value.
        """
        return self.on_replace(replacement(self, sig))

    def on_replace(self, sig: Signature) -> Any:
        """Send what replaces this run; for subclasses, which end in super().on_replace(sig)."""
        return send_replacement(self, sig)

    def add_to_chord(self, sig: Signature, lazy: bool = False) -> Any:
        """Add one more task to the header of the chord that this run is a part of, and send it.

        With `lazy` it is returned, to be sent by the caller.
        """
        return added_to_chord(self, sig, lazy)

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        traceback: str | None = None,
    ) -> None:
        """Store a state of the user's own, with what it carries, for `result.info`."""
        request = self.request
        if task_id is not None and task_id != request.id:
            request = Context({"id": task_id, "task": self.name})
        if request.id is None:
            raise ValueError(f"{self.name}.update_state: no task runs here; give a task_id")
        if state is None:
            raise ValueError(f"{self.name}.update_state: a state is needed, such as 'PROGRESS'")
        self.backend.store([MetaWriter(self.app).write(request, state, meta, traceback)])

    def send_event(self, type_: str, **fields: Any) -> None:
        """Send a monitoring event about this run, at once."""
        request = self.request
        hostname = request.hostname or self.app.node_name
        self.app.calling.producer.send_event(type_, hostname, {"uuid": request.id, **fields})

    def add_trail(self, result: Any) -> Any:
        """Note a call made inside this run as its child; return it."""
        if self.trail:
            self.request.children.append(result)
        return result

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
