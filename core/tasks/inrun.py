"""What a task may ask and do about the run it is in: its request, a retry, a replacement, a state.

Everything here is called on the task from within `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .. import current
from ..errors import MaxRetriesExceededError, Reject, Retry
from ..messaging.producer import gather
from ..messaging.timing import check_countdown
from .attributes import Attributes
from .context import Context
from .metas import MetaWriter
from .replacing import added_to_chord, replacement, send_replacement
from .retrying import arguments_again, raise_with_context
from .signature import Signature


class InRun(Attributes):
    """The part of a task that only makes sense while it runs."""

    #: What the task itself gives: its app, its result backend, and how it is called.
    app: Any
    backend: Any
    apply_async: Callable[..., Any]

    MaxRetriesExceededError = MaxRetriesExceededError

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

    # --- ends and states -----------------------------------------------------------------

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

        In a task that was called as a function, the cause is raised.  Raises ValueError for a
        negative countdown.
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
        if countdown:
            check_countdown(countdown)
        if isinstance(eta, datetime) and eta.tzinfo is None:
            # As it is read anyway; `expires`, which comes along, has an offset.
            eta = eta.replace(tzinfo=self.app.timezone)
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
