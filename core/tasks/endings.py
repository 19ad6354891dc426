"""How a run ends: one method for each kind of outcome, and the user's code before that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from .. import interrupts, loops, signals
from ..errors import Ignore, Reject, Retry, WorkerLostError
from ..wire.outcome import FAILED, IGNORED, REJECTED, RETRIED, SUCCEEDED
from ..wire.saferepr import saferepr
from ..wire.states import FAILURE, RETRY, REVOKED, SUCCESS
from .asyncresult import ResultBase
from .followers import Followers
from .metas import MetaWriter
from .record import Run
from .references import StepsUnreachable
from .tracebacks import ExceptionInfo

log = logging.getLogger("taskctl.tasks")

#: Longest text of an exception in logs and events, in characters.
TEXT_LENGTH = 1024


def _seconds_since(began: float) -> float:
    return time.monotonic() - began


def perform(run: Run) -> None:
    """Run the user's code; whatever it does, note it in `run`."""
    try:
        # An eager run is inside another task's window, if it is in any.
        if run.eager:
            run.value = _users_code(run)
        else:
            try:
                interrupts.allow()
                run.value = _users_code(run)
            finally:
                interrupts.forbid()
        run.kind = SUCCEEDED
    except BaseException as exc:
        note_raised(run, exc)


def note_raised(run: Run, exc: BaseException) -> None:
    """Note what the user's code has raised, and what that means."""
    run.exc, run.kind = exc, FAILED
    if isinstance(exc, Retry):
        run.kind = RETRIED
    elif isinstance(exc, Reject):
        run.kind = REJECTED
    elif isinstance(exc, Ignore):
        run.kind = IGNORED
    elif not isinstance(exc, Exception):
        # SystemExit, KeyboardInterrupt: were it stored as it is, it would end the program of
        # whoever calls get().
        run.exc = _tamed(run, exc)


def _users_code(run: Run) -> Any:
    plan, request = run.plan, run.request
    if plan.before_start is not None:
        loops.finished(plan.before_start(request.id, request.args, request.kwargs))
    return result_of(plan.call(*request.args, **request.kwargs))


def result_of(value: Any) -> Any:
    """Return the result of a call that has returned `value`: a coroutine's is what it ends with.

    An AsyncResult, which can be awaited too, is returned: tasks do not wait for tasks.
    """
    return value if isinstance(value, ResultBase) else loops.finished(value)


def _tell_failed(run: Run, exc: BaseException, einfo: ExceptionInfo) -> None:
    if signals.task_failure.receivers:
        signals.task_failure.send(
            sender=run.task,
            task_id=run.request.id,
            exception=exc,
            args=run.request.args,
            kwargs=run.request.kwargs,
            traceback=einfo.tb,
            einfo=einfo,
        )


def _tamed(run: Run, exc: BaseException) -> BaseException:
    error = WorkerLostError(
        f"task {run.task.name} raised {exc!r}: a task cannot end its worker; "
        "let it return, or raise an exception that says what is wrong"
    )
    error.__cause__ = exc
    return error.with_traceback(exc.__traceback__)


class Endings:
    """Ends runs: writes their results, finds what follows, tells hooks and signals.

    Hooks and signal receivers are the user's code; what they raise is logged, since the outcome
    of the task is decided by then.
    """

    def __init__(self, writer: MetaWriter, followers: Followers) -> None:
        self.writer = writer
        self.followers = followers
        self._by_kind: dict[str, Callable[[Run], None]] = {
            SUCCEEDED: self.succeed,
            FAILED: self.fail,
            RETRIED: self.retry,
            IGNORED: self.ignore,
            REJECTED: self.reject,
        }

    def conclude(self, run: Run) -> None:
        """Bring the run to the end that its kind asks for."""
        try:
            self._by_kind[run.kind](run)
        except StepsUnreachable as exc:
            self._give_back(run, exc)
        effects = run.request.__dict__.get("_effects")
        if effects is not None:  # a task that has ended a chord: celery.chord_unlock
            run.results.extend(effects.results)
            run.publications.extend(effects.publications)

    def _give_back(self, run: Run, exc: StepsUnreachable) -> None:
        """Let the task be run again: what follows it is kept where nobody can read it now."""
        run.results, run.publications, run.parts = [], [], []
        run.text, run.exc = saferepr(exc, TEXT_LENGTH), exc
        if run.task.acks_late:
            log.error("%s; %s[%s] goes back to its queue", exc, run.task.name, run.request.id)
            run.kind, run.requeue = REJECTED, True
        else:
            log.error("%s; nothing follows %s[%s]", exc, run.task.name, run.request.id)
            run.kind = FAILED
            if run.stores_errors:
                run.results.append(self.writer.write(run.request, FAILURE, exc))
            if run.request.chord is not None:
                self.part(run, FAILURE, exc)

    def part(self, run: Run, state: str, result: Any) -> None:
        """Note that a part of a chord has ended."""
        if self.followers.parts is not None:
            returned = self.followers.parts.returned(run.request, state, result)
            if returned is not None:
                run.parts.append(returned)

    def unfinished(self, run: Run, exc: BaseException) -> None:
        """Fail the chords that wait for a run which ended neither well nor badly."""
        request = run.request
        if request.chord is None and not request.chain:
            return
        after = self.followers.after_failure(request, exc, "", REVOKED)
        run.results.extend(after.results)
        run.parts.extend(after.parts)
        if request.chord is not None and run.stores and self.followers.app.backend.joins_results:
            # Whoever joins looks for the results of all.
            run.results.append(self.writer.write(request, FAILURE, exc))

    # --- one for each kind --------------------------------------------------------------------

    def succeed(self, run: Run) -> None:
        request = run.request
        try:
            if request.callbacks or request.chain:
                run.publications = self.followers.after_success(request, run.value)
            if run.stores:
                run.results.append(self.writer.write(request, SUCCESS, run.value))
            if request.chord is not None:
                self.part(run, SUCCESS, run.value)
        except Exception as exc:
            # A result that cannot be written or a step that cannot be sent: the task has failed.
            request.children = None
            run.publications, run.results, run.parts = [], [], []
            run.exc, run.kind = exc, FAILED
            self.fail(run)
            return
        run.runtime = _seconds_since(run.began)
        if run.describe:
            value = run.value
            run.text = "None" if value is None else saferepr(value, run.task.resultrepr_maxsize)
        plan = run.plan
        if plan.on_success is not None:
            self._hook(run, plan.on_success, run.value, request.id, request.args, request.kwargs)
        if signals.task_success.receivers:
            signals.task_success.send(sender=run.task, result=run.value, runtime=run.runtime)
        if plan.after_return is not None:
            self._after_return(run, SUCCESS, run.value)

    def fail(self, run: Run) -> None:
        request, task, exc = run.request, run.task, run.exc
        assert exc is not None
        run.runtime = _seconds_since(run.began)
        run.einfo = einfo = ExceptionInfo(exc)
        run.expected = bool(task.throws) and isinstance(exc, task.throws)
        if run.stores_errors:
            run.results.append(self.writer.write(request, FAILURE, exc, einfo.traceback))
        if request.chain or request.errbacks or request.chord is not None:
            after = self.followers.after_failure(request, exc, einfo.traceback)
            run.results.extend(after.results)
            run.publications.extend(after.publications)
            run.parts.extend(after.parts)
        # Errors are logged at any level, so their text is always wanted.
        run.text = saferepr(exc, TEXT_LENGTH)
        if run.plan.on_failure is not None:
            hook = run.plan.on_failure
            self._hook(run, hook, exc, request.id, request.args, request.kwargs, einfo)
        _tell_failed(run, exc, einfo)
        if run.plan.after_return is not None:
            self._after_return(run, FAILURE, exc)

    def retry(self, run: Run) -> None:
        request, retry = run.request, run.exc
        assert isinstance(retry, Retry)
        run.runtime = _seconds_since(run.began)
        publication = getattr(retry, "publication", None)
        if publication is not None:
            run.publications.append(publication)
        run.einfo = einfo = ExceptionInfo(retry)
        if run.stores_errors:
            run.results.append(self.writer.write(request, RETRY, retry.exc, einfo.traceback))
        if run.describe:
            run.text = str(retry)[:TEXT_LENGTH]
        if run.plan.on_retry is not None:
            hook = run.plan.on_retry
            self._hook(run, hook, retry.exc, request.id, request.args, request.kwargs, einfo)
        if signals.task_retry.receivers:
            signals.task_retry.send(sender=run.task, request=request, reason=retry, einfo=einfo)

    def ignore(self, run: Run) -> None:
        run.runtime = _seconds_since(run.began)
        assert run.exc is not None
        publications = getattr(run.exc, "publications", None)
        if publications is not None:  # replaced: somebody else ends what it was part of
            run.publications.extend(publications)
        else:
            self.unfinished(run, run.exc)
        if run.describe and run.exc is not None and run.exc.args:
            run.text = str(run.exc)[:TEXT_LENGTH]

    def reject(self, run: Run) -> None:
        reject = run.exc
        assert isinstance(reject, Reject)
        run.runtime = _seconds_since(run.began)
        run.requeue = bool(reject.requeue)
        if run.stores_errors and not run.requeue:
            text = ExceptionInfo(reject).traceback
            run.results.append(self.writer.write(run.request, FAILURE, reject, text))
        if not run.requeue:
            self.unfinished(run, reject)
            _tell_failed(run, reject, ExceptionInfo(reject))
        run.text = saferepr(reject, TEXT_LENGTH)

    # --- the user's hooks ---------------------------------------------------------------------

    def _hook(self, run: Run, hook: Callable[..., Any], *args: Any) -> None:
        try:
            loops.finished(hook(*args))
        except Exception:
            if run.eager:
                raise
            name = getattr(hook, "__name__", repr(hook))
            log.exception("%s of %s[%s] raised", name, run.task.name, run.request.id)

    def _after_return(self, run: Run, state: str, value: Any) -> None:
        request = run.request
        hook = run.plan.after_return
        assert hook is not None
        self._hook(run, hook, state, value, request.id, request.args, request.kwargs, run.einfo)
