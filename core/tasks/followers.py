"""What follows the end of a task: its callbacks, the rest of its chain, its errbacks, its chord.

Source of the order and of who gets what: Celery 5.7 (app/trace.py, backends/base.py); see
protocol.md 8.2 to 8.4.  Nothing is sent here: the messages are gathered for the worker, which
publishes them in the step that acks the task.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .. import loops
from ..errors import ChordError, NotRegistered
from ..messaging.producer import gather
from ..wire.message import Publication
from ..wire.outcome import StoredMeta
from ..wire.states import FAILURE
from .canvas import group
from .context import Context
from .metas import MetaWriter
from .parts import Parts, Returned
from .references import References
from .signature import Signature, maybe_signature
from .tracebacks import traceback_text

log = logging.getLogger("taskctl.tasks")


class Aftermath(NamedTuple):
    """What follows a failure: results to store, messages to publish, parts of chords to count."""

    results: list[StoredMeta]
    publications: list[Publication]
    parts: list[Returned]


class Followers:
    """Follows the tasks of one app.

    `inherit_priority` hands a task's priority on to what follows it.  `parts` counts the parts
    of chords; it is None where nothing is counted: in an eager run, or by this backend.
    `patience` is how long a backend may be away that keeps what follows, see References.
    """

    def __init__(
        self,
        app: Any,
        writer: MetaWriter,
        inherit_priority: bool = False,
        patience: float | None = None,
    ) -> None:
        self.app = app
        self.references = References(app, patience)
        self.writer = writer
        self.inherit_priority = inherit_priority
        self.parts: Parts | None = None

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
                step, rest = self.references.next_step(request.chain)
                maybe_signature(step, app=self.app).apply_async((value,), chain=rest, **lineage)
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
        self, request: Context, exc: BaseException, traceback: str, state: str = FAILURE
    ) -> Aftermath:
        """Return what follows a task that failed: for its chain, its errbacks, its chords.

        Errbacks that take more than the failed id, and are registered here, are called at once;
        what they raise is logged.  Of a task that was never run, in state REVOKED, only the
        chords are told, and those steps of its chain that count in them.
        """
        after = Aftermath([], [], [])
        if request.chord is not None:
            self._note_part(after, request, state, exc)
        if not request.chain and not request.errbacks:
            return after
        self._fail_steps(after, request.chain or (), exc, traceback, state)
        if state == FAILURE:
            after.publications.extend(self._errbacks(request, exc, traceback))
        return after

    def after_chord_error(self, body: Signature, exc: ChordError) -> Aftermath:
        """Return what follows a chord whose body will not run (protocol.md 8.4).

        The body fails and all that would have followed it, its errbacks are told, and a chord of
        which it is a part itself counts it.  The members of a group fail with what the header
        task raised.
        """
        after = Aftermath([], [], [])
        cause = exc.__cause__
        if isinstance(body, group) and isinstance(cause, Exception):
            self._fail_body(after, body, cause)
        else:
            self._fail_body(after, body, exc)
        return after

    def _fail_body(self, after: Aftermath, body: Signature, exc: BaseException) -> None:
        """Fail every task a body stands for; tell the errbacks of each."""
        traceback = traceback_text(exc)
        for task_id, name, errbacks in _heads(body, []):
            root_id = body.options.get("root_id")
            request = Context(
                {"id": task_id, "task": name, "errbacks": errbacks, "root_id": root_id}
            )
            after.publications.extend(self._errbacks(request, exc, traceback))
        rest = [*(body.options.get("chain") or ()), body]
        self._fail_steps(after, rest, exc, traceback, FAILURE)

    def _fail_steps(
        self, after: Aftermath, steps: Any, exc: BaseException, traceback: str, state: str
    ) -> None:
        for step, stored in self._rest_of_chain(steps):
            if stored and (state == FAILURE or step.chord is not None):
                after.results.append(self.writer.write(step, state, exc, traceback))
            if step.chord is not None:
                self._note_part(after, step, state, exc)

    def _note_part(
        self, after: Aftermath, request: Context, state: str, exc: BaseException
    ) -> None:
        if self.parts is not None:
            part = self.parts.returned(request, state, exc)
            if part is not None:
                after.parts.append(part)

    def _rest_of_chain(self, chain: Any) -> Iterator[tuple[Context, bool]]:
        """Yield a request for each task that will never run, and whether that is to be stored.

        Beyond Celery, the members of a group at the end fail too: somebody may wait for them.
        """
        steps = self.references.unfolded(chain)
        while steps:
            step = steps.pop()
            options = step.get("options")
            if isinstance(options, dict) and isinstance(options.get("task_id"), str):
                yield _request_of_step(step, options), not self._ignores(step, options)
            steps.extend(_members(step))

    def _ignores(self, step: Mapping[str, Any], options: dict[str, Any]) -> bool:
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
                    loops.finished(signature(request, exc, traceback))
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


def _heads(body: Signature, inherited: list[Any]) -> Iterator[tuple[str | None, str, list[Any]]]:
    """Yield (id, task, errbacks) for each task a body begins with, or the last of its chain.

    The errbacks are its own and those of what it stands in, each once.
    """
    own = body.options.get("link_error") or []
    errbacks = list(inherited)
    for errback in own if isinstance(own, list | tuple) else [own]:
        if errback not in errbacks:
            errbacks.append(errback)
    kind, kwargs = body.subtask_type, body["kwargs"]
    if kind == "group":
        for member in kwargs["tasks"]:
            yield from _heads(member, errbacks)
    elif kind == "chord":
        yield from _heads(kwargs["body"], errbacks)
    elif kind == "chain":
        (_, name, errbacks), *_ = _heads(kwargs["tasks"][0], errbacks)
        yield body.options.get("task_id"), name, errbacks
    else:
        yield body.options.get("task_id"), body.task, errbacks


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


def _members(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the signatures a compound step stands for; of a chord, its body."""
    kwargs = step.get("kwargs")
    if not step.get("subtask_type") or not isinstance(kwargs, dict):
        return []
    tasks = kwargs.get("tasks")
    found = [*tasks, kwargs.get("body")] if isinstance(tasks, list) else [kwargs.get("body")]
    return [member for member in found if isinstance(member, dict)]


def _request_of_step(step: Mapping[str, Any], options: dict[str, Any]) -> Context:
    named = options.get("stamped_headers")
    stamped = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return Context(
        {
            "id": options["task_id"],
            "task": step.get("task"),
            "args": step.get("args"),
            "kwargs": step.get("kwargs"),
            "group": options.get("group_id"),
            "group_index": options.get("group_index"),
            # What is compound is no part of a chord itself; its last task, or its body, is.
            "chord": None if step.get("subtask_type") else options.get("chord"),
            "parent_id": options.get("parent_id"),
            "root_id": options.get("root_id"),
            "stamped_headers": stamped or None,
            "stamps": {name: options.get(name) for name in stamped} or None,
            "headers": None,
        }
    )
