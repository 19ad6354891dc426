"""What follows the end of a task: its callbacks, the rest of its chain, its errbacks.

Source of the order and of who gets what: Celery 5.7 (app/trace.py, backends/base.py); see
protocol.md 8.2 and 8.3.  Nothing is sent here: the messages are gathered for the worker, which
publishes them in the step that acks the task.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import Any

from ..errors import NotRegistered
from ..messaging.producer import gather
from ..wire.message import Publication
from ..wire.outcome import StoredMeta
from ..wire.states import FAILURE
from .canvas import group
from .context import Context
from .metas import MetaWriter
from .signature import Signature, maybe_signature

log = logging.getLogger("taskctl.tasks")


class Followers:
    """Follows the tasks of one app.

    `inherit_priority` hands a task's priority on to what follows it.
    """

    def __init__(self, app: Any, writer: MetaWriter, inherit_priority: bool = False) -> None:
        self.app = app
        self.writer = writer
        self.inherit_priority = inherit_priority

    # --- after a success ------------------------------------------------------------------

    def after_success(self, request: Context, value: Any) -> list[Publication]:
        """Return the messages of the callbacks and of the next chain step.

        Their results become children of the task.  Raises what encoding or routing raises.
        """
        if not request.callbacks and not request.chain:
            return []
        lineage = self._lineage(request)
        with gather() as publications:
            for signature in self._callbacks(request.callbacks):
                signature.apply_async((value,), **lineage)
            if request.chain:
                step = maybe_signature(request.chain[-1], app=self.app)
                step.apply_async((value,), chain=request.chain[:-1], **lineage)
        return publications

    def _callbacks(self, callbacks: list[Any] | None) -> list[Any]:
        """Return what to send: one as it is, several as their groups and one group of the rest."""
        signatures = [maybe_signature(callback, app=self.app) for callback in callbacks or ()]
        if len(signatures) < 2:
            return signatures
        groups = [s for s in signatures if isinstance(s, group)]
        others = [s for s in signatures if not isinstance(s, group)]
        return [*groups, group(others, app=self.app)] if others else groups

    def _lineage(self, request: Context) -> dict[str, Any]:
        lineage = {"parent_id": request.id, "root_id": request.root_id or request.id}
        if self.inherit_priority:
            lineage["priority"] = (request.delivery_info or {}).get("priority")
        return lineage

    # --- after a failure ------------------------------------------------------------------

    def after_failure(
        self, request: Context, exc: BaseException, traceback: str
    ) -> tuple[list[StoredMeta], list[Publication]]:
        """Return the failures of the rest of the chain, and the messages of the errbacks.

        Errbacks that take more than the failed id, and are registered here, are called at once;
        what they raise is logged.
        """
        if not request.chain and not request.errbacks:
            return [], []
        results = [
            self.writer.write(follower, FAILURE, exc, traceback)
            for follower in self._rest_of_chain(request)
        ]
        return results, self._errbacks(request, exc, traceback)

    def _rest_of_chain(self, request: Context) -> Iterator[Context]:
        """Yield a request for each task that will never run, as far as it has an id.

        Beyond Celery, the members of a group at the end fail too: somebody may wait for them.
        """
        steps = list(request.chain or ())
        while steps:
            step = steps.pop()
            options = step.get("options")
            named = isinstance(options, dict) and isinstance(options.get("task_id"), str)
            if named and not self._ignores(step, options):
                yield _request_of_step(step, options)
            steps.extend(_members(step))

    def _ignores(self, step: dict[str, Any], options: dict[str, Any]) -> bool:
        ignored = options.get("ignore_result")
        if ignored is None:
            task = self.app.tasks.get(str(step.get("task")))
            ignored = task.ignore_result if task is not None else False
        return bool(ignored)

    def _errbacks(self, request: Context, exc: BaseException, traceback: str) -> list[Publication]:
        # The task has failed already; a broken errback must not hide why.
        to_send: list[Any] = []
        for errback in request.errbacks or ():
            try:
                signature = maybe_signature(errback, app=self.app)
                if self._takes_the_failure(signature):
                    signature(request, exc, traceback)
                else:
                    to_send.append(signature)
            except Exception:
                log.exception("errback %s of %s[%s] raised", errback, request.task, request.id)
        if not to_send:
            return []
        try:
            return self._send_errbacks(to_send, request)
        except Exception:
            log.exception("errbacks of %s[%s] cannot be sent", request.task, request.id)
            return []

    def _send_errbacks(self, errbacks: list[Any], request: Context) -> list[Publication]:
        lineage: dict[str, Any] = {"parent_id": request.id}
        lineage["root_id"] = request.root_id or request.id
        with gather() as publications:
            group(errbacks, app=self.app).apply_async((request.id,), **lineage)
        return publications

    def _takes_the_failure(self, signature: Signature) -> bool:
        """Return whether an errback wants (request, exc, traceback) and can be called here.

        As Celery does, those that take one argument are sent, and those that take `self`, so
        that they can retry.
        """
        try:
            run = inspect.getattr_static(type(signature.type), "run", None)
        except NotRegistered:
            return False
        if not isinstance(run, staticmethod):
            return False
        stored = 0 if signature.immutable else len(signature.args or ())
        named = {} if signature.immutable else (signature.kwargs or {})
        return _open_positions(run.__func__, named) - stored > 1


def _open_positions(function: Any, named: dict[str, Any]) -> float:
    """Return how many positional arguments `function` takes besides those given by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return float("inf")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.name not in named for p in parameters)


def _members(step: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the signatures a compound step stands for; of a chord, its body."""
    kwargs = step.get("kwargs")
    if not step.get("subtask_type") or not isinstance(kwargs, dict):
        return []
    tasks = kwargs.get("tasks")
    found = [*tasks, kwargs.get("body")] if isinstance(tasks, list) else [kwargs.get("body")]
    return [member for member in found if isinstance(member, dict)]


def _request_of_step(step: dict[str, Any], options: dict[str, Any]) -> Context:
    named = options.get("stamped_headers")
    stamped = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return Context(
        {
            "id": options["task_id"],
            "task": step.get("task"),
            "args": step.get("args"),
            "kwargs": step.get("kwargs"),
            "group": options.get("group_id"),
            "parent_id": options.get("parent_id"),
            "root_id": options.get("root_id"),
            "stamped_headers": stamped or None,
            "stamps": {name: options.get(name) for name in stamped} or None,
            "headers": None,
        }
    )
