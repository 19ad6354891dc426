"""What happens in a child when a task runs: a list of named steps over one record.

decode, begin, announce, perform, conclude, leave.  Nothing is stored or published here, but the
state STARTED, which must be known before the task runs: results and messages go into the outcome,
for the worker to store and to publish in the step that acks.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from .. import current, interrupts, loops, signals
from ..backends.disabled import DisabledBackend
from ..errors import BackendError, NotRegistered, TaskctlError
from ..wire.codecs import accepted_types
from ..wire.outcome import (
    FAILED,
    IGNORED,
    INVALID,
    REJECTED,
    RETRIED,
    SUCCEEDED,
    Outcome,
)
from ..wire.saferepr import saferepr
from ..wire.states import FAILURE, STARTED, SUCCESS
from ..wire.task_message import TaskMessage, decode_task
from .context import Context, open_body
from .endings import TEXT_LENGTH, Endings, perform
from .followers import Aftermath, Followers
from .joining import read_meta
from .metas import MetaWriter, unregistered_text
from .parts import Parts, pack
from .record import Plan, Run
from .task import Task
from .tracebacks import forget_frames, traceback_text

log = logging.getLogger("taskctl.tasks")

#: State words as signals and hooks know them, by kind of outcome.
_STATES = {FAILED: FAILURE, RETRIED: "RETRY", IGNORED: "IGNORED", REJECTED: "REJECTED"}


class Executor:
    """Runs the tasks of one app in this process.

    Made before the fork, booted after it.  `hostname` is the node's name, as requests show it.
    """

    def __init__(self, app: Any, *, hostname: str | None = None) -> None:
        self.app = app
        self.hostname = hostname or socket.gethostname()
        self._plans: dict[str, Plan] = {}

    # --- once per process -----------------------------------------------------------------

    def boot(self) -> None:
        """Make this process ready to run tasks: the app is current, its tasks are known.

        Sends worker_process_init.
        """
        self.app.finalize()
        current.set_app(self.app)
        current.set_default_app(self.app)
        conf = self.app.conf
        self._accept = accepted_types(conf.accept_content, conf.task_max_decompressed_size)
        # A backend makes no connection before it is used: no task may ever ask for it.
        self._keeps = not isinstance(self.app.backend, DisabledBackend)
        self._deduplicates = bool(conf.worker_deduplicate_successful_tasks)
        self._writer = MetaWriter(self.app)
        followers = Followers(self.app, self._writer, bool(conf.task_inherit_parent_priority))
        if self.app.backend.counts_parts:
            followers.parts = Parts(self.app, followers)
        self._parts = followers.parts
        self._endings = Endings(self._writer, followers)
        self._plans.clear()
        loops.keep()
        signals.worker_process_init.send(sender=self.hostname)

    def leave(self, exitcode: int = 0) -> None:
        """Say goodbye before this process ends: sends worker_process_shutdown."""
        sender = self.hostname
        signals.worker_process_shutdown.send(sender=sender, pid=os.getpid(), exitcode=exitcode)
        loops.close()

    # --- once per task --------------------------------------------------------------------

    def run(
        self,
        envelope: bytes,
        *,
        queue: str = "",
        deliveries: int = 0,
        redelivered: bool = False,
        hard: float | None = None,
        soft: float | None = None,
        describe: bool = True,
    ) -> Outcome:
        """Run the task in `envelope` and say what became of it; never raises.

        `hard` and `soft` are the time limits in force, which the request shows; the pool
        enforces them.  `deliveries` is how often the message came to a worker that was lost with
        it.  Without `describe` only failures and rejections bear texts.  The outcome's `request`
        is 0: the pool knows the number.
        """
        interrupts.forbid()  # until the user's code runs: a soft limit must not strike ours
        run = Run(describe)
        try:
            if self._prepare(run, envelope, (deliveries, redelivered, hard, soft, queue)):
                self._steps(run)
        except BaseException as exc:
            self._break_down(run, exc)
        return outcome_of(run)

    def _prepare(self, run: Run, envelope: bytes, delivery: tuple[Any, ...]) -> bool:
        """Read the message and find its task; return whether it can run."""
        message = self._decode(run, envelope)
        return message is not None and self._begin(run, message, envelope, delivery)

    def _steps(self, run: Run) -> None:
        """Run what is prepared, unless it has been done before."""
        if self._deduplicates and self._done_before(run):
            return
        current.push_task(run.task, run.request)
        try:
            self._announce(run)
            self._mark_started(run)
            perform(run)
            self._finish(run)
        finally:
            self._leave(run)

    def _finish(self, run: Run) -> None:
        """Write down what became of it, and what follows."""
        self._endings.conclude(run)
        if run.plan.backend is not None:
            self._store_apart(run)
        if run.parts:
            self._count(run)

    def _decode(self, run: Run, envelope: bytes) -> TaskMessage | None:
        """Read the headers; a message that is no task is at an end here."""
        try:
            return decode_task(envelope, self._accept)
        except TaskctlError as exc:
            run.kind, run.text = INVALID, _one_line(exc)
            return None

    def _begin(
        self, run: Run, message: TaskMessage, envelope: bytes, delivery: tuple[Any, ...]
    ) -> bool:
        """Find the task and read its arguments; return whether it can run."""
        headers = message.headers
        plan = self._plans.get(headers.task)  # type: ignore[arg-type]  # a task has a name
        if plan is None:
            plan = self._plan(run, message)
            if plan is None:
                return False
        try:
            body = open_body(message, self._accept)
        except TaskctlError as exc:
            run.kind = INVALID
            run.text = f"{headers.task}[{headers.id}]: {_one_line(exc)}"
            return False
        request = Context.of_message(message, body, envelope, self.hostname, *delivery)
        run.begin(plan, request, headers.ignore_result, self._keeps)
        if request.chord is not None and self._keeps and self.app.backend.joins_results:
            run.stores = run.stores_errors = True  # whoever joins looks for the results of all
        return True

    def _plan(self, run: Run, message: TaskMessage) -> Plan | None:
        """Return the plan of a task that runs for the first time here."""
        name = message.headers.task
        task = self.app.tasks.get(name)
        if task is None:
            assert name is not None
            run.kind, run.text = REJECTED, unregistered_text(name)
            if self._keeps:
                request = Context({"id": message.headers.id, "task": name, "headers": None})
                run.results.append(self._writer.write(request, FAILURE, NotRegistered(name)))
            return None
        plan = self._plans[task.name] = Plan(task, Task)
        return plan

    def _done_before(self, run: Run) -> bool:
        """Return whether this message came again after its task had succeeded.

        What follows the task is handed out again: it goes out in the step that acks, which the
        first delivery did not live to see.
        """
        request = run.request
        if not run.stores or not request.delivery_info["redelivered"]:
            return False
        backend = run.task.backend
        stored = backend.load([request.id]).get(request.id)
        if stored is None:
            return False
        try:
            meta = read_meta(self.app, stored, request.id, backend)
        except TaskctlError as exc:
            log.warning("%s; the task is run again", exc)
            return False
        if meta["status"] != SUCCESS:
            return False
        log.info("%s[%s] has succeeded before: not run again", run.task.name, request.id)
        run.publications = self._endings.followers.after_success(request, meta["result"])
        if request.chord is not None:
            self._endings.part(run, SUCCESS, meta["result"])
            self._count(run)
        run.kind, run.text = SUCCEEDED, saferepr(meta["result"], run.task.resultrepr_maxsize)
        return True

    def _announce(self, run: Run) -> None:
        """Tell who listens that the task is about to run."""
        request, task = run.request, run.task
        if signals.task_prerun.receivers:
            signals.task_prerun.send(
                sender=task,
                task_id=request.id,
                task=task,
                args=request.args,
                kwargs=request.kwargs,
            )

    def _mark_started(self, run: Run) -> None:
        """Store STARTED if that is wanted."""
        request, task = run.request, run.task
        if run.stores and task.track_started:
            where = {"pid": os.getpid(), "hostname": self.hostname}
            try:
                task.backend.store([self._writer.write(request, STARTED, where)])
            except TaskctlError as exc:
                log.warning(
                    "%s[%s] runs, but is not marked STARTED: %s", task.name, request.id, exc
                )

    def _store_apart(self, run: Run) -> None:
        """Store the results of a task with a backend of its own: the worker's is another one."""
        run.plan.backend.store(run.results)
        run.results = []

    def _count(self, run: Run) -> None:
        """Store the results, and count the parts of chords that have ended with this run.

        What cannot be done now is left to the worker, which can wait.
        """
        assert self._parts is not None
        parts, run.parts = run.parts, []
        try:
            self.app.backend.store(run.results)
        except BackendError as exc:
            log.warning("%s; the worker counts the parts of chords later", exc)
            run.late.extend(map(pack, parts))
            return
        run.results = []
        effects = self._parts.count(parts)
        run.results.extend(effects.results)
        run.publications.extend(effects.publications)
        run.claims.extend(effects.claims)
        run.late.extend(pack(late.returned) for late in effects.late)

    def _leave(self, run: Run) -> None:
        """Tell who listens that it is over; the task is no longer the current one."""
        request = run.request
        try:
            if signals.task_postrun.receivers:
                signals.task_postrun.send(
                    sender=run.task,
                    task_id=request.id,
                    task=run.task,
                    args=request.args,
                    kwargs=request.kwargs,
                    retval=run.value if run.exc is None else run.exc,
                    state=_STATES.get(run.kind, SUCCESS),
                )
        finally:
            current.pop_task()

    def _break_down(self, run: Run, exc: BaseException) -> None:
        """Fail a run whose own steps raised: a fault of ours, or a soft time limit between them."""
        request = run.request
        name = run.task.name if run.task is not None else "a message"
        log.error("%s[%s] failed outside of its code", name, request and request.id, exc_info=exc)
        run.kind, run.exc, run.results, run.publications = FAILED, exc, [], []
        run.parts, run.late, run.claims = [], [], []
        run.text = saferepr(exc, TEXT_LENGTH)
        if request is None:
            return
        signals.task_internal_error.send(
            sender=run.task,
            task_id=request.id,
            args=request.args,
            kwargs=request.kwargs,
            request=request,
            exception=exc,
            traceback=exc.__traceback__,
            einfo=run.einfo,
        )
        if run.stores_errors:
            text = traceback_text(exc)
            try:
                run.results.append(self._writer.write(request, FAILURE, _storable(exc), text))
            except Exception:  # the exception is the user's, and may be what cannot be written
                log.exception("the failure of %s[%s] cannot be stored", name, request.id)
        if request.chord is not None:
            self._endings.part(run, FAILURE, TaskctlError(run.text))
            run.late.extend(map(pack, run.parts))


def failure_followers(
    app: Any, envelope: bytes, exc: BaseException, traceback: str = "", state: str = FAILURE
) -> Aftermath:
    """Return what follows a task that no child could end: lost, timed out, given up, revoked.

    For the worker: the failures of the rest of its chain, the messages of its errbacks, the parts
    of chords.  Those errbacks that take the failure itself and are registered are called here, as
    Celery does.  A message that cannot be read has no followers.  In state REVOKED only chords
    are told.

    Raises BackendError if what follows is kept in the backend, and that is away.
    """
    accept = accepted_types(app.conf.accept_content, app.conf.task_max_decompressed_size)
    try:
        message = decode_task(envelope, accept)
        body = open_body(message, accept)
    except TaskctlError:
        return Aftermath([], [], [])
    request = Context.of_message(message, body, envelope)
    after = followers_of(app, patience=0.0).after_failure(request, exc, traceback, state)
    if isinstance(app.backend, DisabledBackend):
        after.results.clear()
    return after


def followers_of(app: Any, patience: float | None = None) -> Followers:
    """Return what finds the followers of an app's tasks, outside of any run.

    `patience` is how long a join may wait, see Parts, and a step that is kept, see References.
    """
    inherits = bool(app.conf.task_inherit_parent_priority)
    followers = Followers(app, MetaWriter(app), inherits, patience)
    if app.backend.counts_parts:
        followers.parts = Parts(app, followers, patience)
    return followers


def outcome_of(run: Run) -> Outcome:
    """Return what the worker must know of a run, and let go of what it held."""
    exc = run.exc
    outcome = Outcome(
        request=0,
        kind=run.kind,
        runtime=run.runtime,
        text=run.text,
        results=run.results,
        publications=run.publications,
        requeue=run.requeue,
        expected=run.expected,
        claims=run.claims,
        parts=run.late,
    )
    if exc is not None:
        if run.einfo is not None and (run.describe or run.kind == FAILED):
            outcome.traceback = run.einfo.traceback
        # The frames hold the task's local variables, and this run: they would live until the
        # next garbage collection.
        run.einfo = run.exc = None
        forget_frames(exc)
    return outcome


def _storable(exc: BaseException) -> BaseException:
    """Return an exception that a caller can be given: SystemExit would end the caller."""
    return exc if isinstance(exc, Exception) else TaskctlError(repr(exc))


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:TEXT_LENGTH]
