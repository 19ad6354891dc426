"""Running a task at once, where it is called: `Task.apply` and `task_always_eager`.

The same steps as in a child, with these differences: what follows the task runs inline too, and
nothing is stored unless `task_store_eager_result` is set.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from .. import current, signals
from ..backends.disabled import DisabledBackend
from ..errors import EncodeError, Retry
from ..messaging.options import check_options
from ..messaging.unsendable import located_in
from ..wire import codecs
from ..wire.outcome import FAILED, IGNORED, REJECTED, RETRIED, SUCCEEDED
from ..wire.states import FAILURE, SUCCESS
from .context import Context
from .endings import Endings, perform
from .followers import Followers
from .metas import MetaWriter
from .record import Plan, Run
from .result import EagerResult
from .signature import maybe_signature
from .task import Task

_STATES = {
    SUCCEEDED: SUCCESS,
    FAILED: FAILURE,
    RETRIED: "RETRY",
    IGNORED: "IGNORED",
    REJECTED: "REJECTED",
}


class InlineFollowers(Followers):
    """Runs what follows a task at once, instead of handing out messages."""

    def after_success(self, request: Context, value: Any) -> list[Any]:
        lineage = self._lineage(request)
        for signature in self._callbacks(request.callbacks):
            request.children.append(signature.apply((value,), **lineage))
        if request.chain:
            step = maybe_signature(request.chain[-1], app=self.app)
            rest = request.chain[:-1]
            request.children.append(step.apply((value,), chain=rest, **lineage))
        return []

    def _rest_of_chain(self, chain: Any) -> Iterator[tuple[Context, bool]]:
        return iter(())  # nobody waits for what was never sent

    def _send_errbacks(self, errbacks: list[Any], request: Context) -> list[Any]:
        lineage = {"parent_id": request.id, "root_id": request.root_id or request.id}
        for signature in errbacks:
            signature.apply((request.id,), **lineage)
        return []


def apply_eagerly(
    task: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    *,
    through_serializer: bool = False,
) -> EagerResult:
    """Run `task` now and return its result.

    `options` are those of `apply_async`; `retries` counts the runs before this one.  `throw`
    (default `task_eager_propagates`) raises what the task raises, Retry too, as Celery does;
    without it retries run at once, without their delay.  With `through_serializer` the arguments
    are encoded and decoded first, so that what a worker would refuse is refused here.
    """
    options = dict(options or {})
    app = task.app
    args = args if isinstance(args, list | tuple) else tuple(args or ())
    kwargs = dict(kwargs or {})
    if through_serializer:
        check_options(options, task.name)
        args, kwargs = _there_and_back(task, args, kwargs, options)
    throw = options.pop("throw", None)
    throw = app.conf.task_eager_propagates if throw is None else throw
    run = Run(eager=True)
    request = _request(task, args, kwargs, options)
    keeps = bool(task.store_eager_result) and not isinstance(app.backend, DisabledBackend)
    run.begin(Plan(task, Task), request, request.ignore_result, keeps)
    _run_steps(run, app)
    if throw and run.kind in (FAILED, RETRIED):
        assert run.exc is not None
        raise run.exc
    if run.kind == RETRIED and isinstance(run.exc, Retry) and run.exc.sig is not None:
        return _again(run.exc, request)
    return _result(run)


def _run_steps(run: Run, app: Any) -> None:
    task, request = run.task, run.request
    named = {"task_id": request.id, "task": task, "args": request.args, "kwargs": request.kwargs}
    writer = MetaWriter(app)
    current.push_task(task, request)
    try:
        signals.task_prerun.send(sender=task, **named)
        perform(run)
        inherit = bool(app.conf.task_inherit_parent_priority)
        Endings(writer, InlineFollowers(app, writer, inherit)).conclude(run)
        if run.results:
            task.backend.store(run.results)
    finally:
        state = _STATES.get(run.kind, FAILURE)
        value = run.value if run.exc is None else run.exc
        signals.task_postrun.send(sender=task, retval=value, state=state, **named)
        current.pop_task()


def _again(retry: Retry, request: Context) -> EagerResult:
    result: EagerResult = retry.sig.apply(retries=(request.retries or 0) + 1, throw=False)
    return result


def _result(run: Run) -> EagerResult:
    request = run.request
    value = run.value if run.exc is None else run.exc
    text = run.einfo.traceback if run.einfo is not None else None
    result = EagerResult(request.id, value, _STATES[run.kind], text, name=run.task.name)
    result._meta()["children"] = request._children
    return result


def _there_and_back(
    task: Any, args: Any, kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments as a worker would get them."""
    serializer = options.get("serializer") or task.serializer or task.app.conf.task_serializer
    try:
        content_type, encoding, data = codecs.encode([args, kwargs], serializer)
    except EncodeError as exc:
        raise located_in(exc, task.name, args, kwargs, serializer, task) from exc
    decoded_args, decoded_kwargs = codecs.decode(data, content_type, encoding)
    return list(decoded_args), decoded_kwargs


def _request(task: Any, args: Any, kwargs: dict[str, Any], options: dict[str, Any]) -> Context:
    """Return the request of a call that never becomes a message."""
    task_id = options.get("task_id") or str(uuid4())
    caller = current.current_request()
    limits = options.get("time_limit"), options.get("soft_time_limit")
    stamped = options.get("stamped_headers")
    return Context(
        {
            "id": task_id,
            "task": task.name,
            "args": args,
            "kwargs": kwargs,
            "root_id": options.get("root_id") or (caller and caller.root_id) or task_id,
            "parent_id": options.get("parent_id") or (caller and caller.id),
            "group": options.get("group_id"),
            "group_index": options.get("group_index"),
            "retries": options.get("retries") or 0,
            "timelimit": limits,
            "callbacks": _as_list(options.get("link")),
            "errbacks": _as_list(options.get("link_error")),
            "chain": options.get("chain"),
            "chord": options.get("chord"),
            "shadow": options.get("shadow"),
            "ignore_result": options.get("ignore_result"),
            "replaced_task_nesting": options.get("replaced_task_nesting") or 0,
            "headers": options.get("headers"),
            "stamped_headers": stamped,
            "stamps": {name: options.get(name) for name in stamped or ()} or None,
            "hostname": socket.gethostname(),
            "is_eager": True,
            "called_directly": False,
            "loglevel": options.get("loglevel"),
            "logfile": options.get("logfile"),
            "delivery_info": {
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
        }
    )


def _as_list(signatures: Any) -> list[Any] | None:
    if not signatures:
        return None
    return list(signatures) if isinstance(signatures, list | tuple) else [signatures]
