"""How a request ends: results stored, message acked or given back, the world told.

Results are noted first and stored before the acks are said, so that a crash between the two runs
a task again rather than losing what it did.
"""

from __future__ import annotations

import functools
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..backends.base import Backend
from ..errors import (
    BackendError,
    BrokerError,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from ..messaging import deadletters
from ..messaging.consumer import Consumer, Delivery
from ..messaging.events import EventDispatcher, retry_cause
from ..result_place import worker_pauses
from ..tasks.execute import failure_followers
from ..tasks.metas import failure_meta, revoked_meta, wants_result
from ..tasks.parts import unpack
from ..tasks.revoking import unseen_meta
from ..wire import outcome as kinds
from ..wire.message import Publication
from ..wire.outcome import Outcome, StoredMeta
from ..wire.states import FAILURE, REVOKED
from ..wire.task_message import TaskMessage
from .joins import Joins
from .listeners import tell_failed, tell_rejected, tell_revoked
from .lost_retries import UNSENDABLE, retry_lost
from .request import Request
from .totals import Totals

__all__ = ["Settlement", "Totals"]

log = logging.getLogger("taskctl.worker")

#: Seconds between two lines in the log about one trouble.
REPEAT = 30.0


class Settlement:
    """Ends requests.

    `release` is called for each request that ends, whichever way.
    """

    def __init__(
        self,
        app: Any,
        *,
        consumer: Consumer,
        backend: Backend,
        events: EventDispatcher,
        totals: Totals,
        release: Callable[[Request], None],
        hostname: str,
        dead_queue: str,
        max_deliveries: int,
    ) -> None:
        self.app = app
        self.consumer = consumer
        self.backend = backend
        self.events = events
        self.totals = totals
        self.release = release
        self.hostname = hostname
        self.dead_queue = dead_queue
        self.max_deliveries = max_deliveries
        consumer.bury = self.bury_refused
        self._results: list[StoredMeta] = []
        self.joins = Joins(app, backend)
        self._pauses = worker_pauses(app.conf)
        self._retry_at, self._retry_wait = 0.0, self._pauses[0]
        self._told_stuck: float | None = None
        self._branches: dict[str, Callable[[Request, Outcome], None]] = {
            kinds.SUCCEEDED: self._succeeded,
            kinds.FAILED: self._failed,
            kinds.RETRIED: self._retried,
            kinds.IGNORED: self._ignored,
            kinds.REJECTED: self._rejected,
            kinds.TIMED_OUT: self._timed_out,
            kinds.LOST: self._lost,
            kinds.INVALID: self._invalid,
        }

    # --- what is noted ---------------------------------------------------------------------

    @property
    def stuck(self) -> bool:
        """Whether results pile up because the backend does not take them."""
        return len(self._results) > 10_000

    def pending(self) -> bool:
        """Return whether `flush` has anything to say."""
        if self._results or self.joins.claims or self.consumer.pending():
            return True
        due = self.joins.next_due()
        return due is not None and due <= time.monotonic()

    def flush(self) -> None:
        """Store the results, count parts of chords, then tell the broker; raises BackendError or
        BrokerConnectionError, and everything not said stays noted."""
        if self._results:
            self.backend.store(self._results)
            self._results = []
        if self.joins.pending():
            self.joins.count()
            self.consumer.flush()
            self.joins.end()
        else:
            self.consumer.flush()

    def flush_when_due(self, now: float) -> None:
        """Flush what is noted; while the backend is gone, results and acks wait."""
        if not self.pending() or now < self._retry_at:
            return
        try:
            self.flush()
        except BackendError as exc:
            # A backend that hangs holds up the loop: ever more rarely.
            self._retry_at = time.monotonic() + self._retry_wait
            self._retry_wait = min(2 * self._retry_wait, self._pauses[1])
            self._tell_stuck(exc, now)
        else:
            self._retry_wait = self._pauses[0]
            if self._told_stuck is not None:
                log.warning("results are stored again")
            self._told_stuck = None

    def _tell_stuck(self, exc: BackendError, now: float) -> None:
        if self._told_stuck is None or now - self._told_stuck >= REPEAT:
            self._told_stuck = now
            held = len(self._results)
            text = "%s; %d results are held and stored later, their tasks are not acknowledged"
            log.error(text, exc, held)

    def next_flush(self, now: float) -> float | None:
        """Return seconds until `flush_when_due` has something to do; None if nothing is noted."""
        due = self.joins.next_due()
        if not self.pending() and due is None:
            return None
        return max(0.0, self._retry_at - now, 0.0 if self.pending() else (due or 0.0) - now)

    def settle(self, request: Request, outcome: Outcome) -> None:
        """End a request as its outcome says."""
        self._results.extend(outcome.results)
        if outcome.claims:
            self.joins.claims.extend(outcome.claims)
        if outcome.parts:
            self.joins.wait(
                [unpack(late) for late in outcome.parts],
                lambda more: self._end_as_told(request, outcome, more),
            )
        else:
            self._end_as_told(request, outcome)

    def _end_as_told(
        self, request: Request, outcome: Outcome, more: Sequence[Publication] = ()
    ) -> None:
        outcome.publications.extend(more)
        self._branches[outcome.kind](request, outcome)
        self.release(request)

    # --- one branch for each kind of outcome --------------------------------------------------

    def _succeeded(self, request: Request, outcome: Outcome) -> None:
        self.totals.done += 1
        self._ack(request, outcome)
        if log.isEnabledFor(logging.INFO):
            log.info("Task %s succeeded in %.6gs: %s", request, outcome.runtime, outcome.text)
        self.events.task(
            "task-succeeded",
            request.task,
            uuid=request.id,
            result=outcome.text,
            runtime=outcome.runtime,
        )

    def _failed(self, request: Request, outcome: Outcome) -> None:
        self.totals.failed += 1
        if request.acks_late and not request.task.acks_on_failure:
            self.consumer.publish(outcome.publications)
            self.bury(
                request.delivery,
                deadletters.REJECTED,
                outcome.text,
                request.id,
                traceback=outcome.traceback,
            )
        else:
            self._ack(request, outcome)
        if outcome.expected:
            log.info("Task %s raised expected: %s", request, outcome.text)
        else:
            log.error("Task %s raised unexpected: %s\n%s", request, outcome.text, outcome.traceback)
        self._tell_failed(request, outcome.text, outcome.traceback)

    def _retried(self, request: Request, outcome: Outcome) -> None:
        request.goes_on = True
        self._ack(request, outcome)
        log.info("Task %s retry: %s", request, outcome.text)
        self.events.task(
            "task-retried",
            request.task,
            uuid=request.id,
            exception=retry_cause(outcome.text),
            traceback=outcome.traceback,
        )

    def _ignored(self, request: Request, outcome: Outcome) -> None:
        self.totals.done += 1
        self._ack(request, outcome)
        log.info("Task %s ignored", request)

    def _rejected(self, request: Request, outcome: Outcome) -> None:
        log.warning("Task %s %s", request, outcome.text or "rejected")
        self.events.task("task-rejected", request.task, uuid=request.id, requeue=outcome.requeue)
        self.consumer.publish(outcome.publications)
        if request.acked:
            return
        if outcome.requeue:
            request.goes_on = True
            self.consumer.reject(request.delivery.tag, requeue=True)
        else:
            self.totals.failed += 1
            self.bury(request.delivery, deadletters.REJECTED, outcome.text, request.id)

    def _timed_out(self, request: Request, outcome: Outcome) -> None:
        hard = request.limits[0]
        log.error("Task %s killed: hard time limit of %g s exceeded", request, hard or 0)
        requeue = request.acks_late and not request.task.acks_on_timeout
        if requeue and request.delivery.deliveries + 1 < self.max_deliveries:
            self._give_back_lost(request)
        else:
            seconds = hard or 0.0  # told as it was given, like Celery: 30, not 30.0
            seconds = int(seconds) if float(seconds).is_integer() else seconds
            self._fail(request, TimeLimitExceeded(seconds))

    def _lost(self, request: Request, outcome: Outcome) -> None:
        if request.terminated is not None:
            self.revoked(request, "terminated", signum=request.terminated, release=False)
            return
        exc = WorkerLostError(f"child {outcome.pid} {outcome.text} while running {request}")
        log.error("%s", exc)
        if request.task.retry_on_worker_lost and self._retry_lost(request, exc):
            return
        if not request.requeue_lost or request.acked:
            self._fail(request, exc)
        elif outcome.blameless:
            self.consumer.reject(request.delivery.tag, requeue=True)
        elif request.delivery.deliveries + 1 >= self.max_deliveries:
            self._condemn(request, exc, request.delivery.deliveries + 1)
        else:
            self._give_back_lost(request)

    def _retry_lost(self, request: Request, exc: WorkerLostError) -> bool:
        """Try a lost task again if it may be; return whether its message is settled."""
        try:
            again = retry_lost(self.app, request, exc, self.hostname)
        except UNSENDABLE as problem:
            log.error("cannot retry %s: %s", request, problem)
            return False
        if again is None:
            self._fail(request, exc)
            return True
        self._results.extend(again.results)
        self._let_go(request, again.publications)
        log.info("Task %s retry: %s", request, again.reason)
        fields = {"exception": repr(exc), "traceback": ""}
        self.events.task("task-retried", request.task, uuid=request.id, **fields)
        return True

    def _invalid(self, request: Request, outcome: Outcome) -> None:
        log.error("Task %s; moved to the dead-letter queue", outcome.text)
        tell_rejected(self.app, request.delivery, None)
        self.bury(request.delivery, deadletters.MALFORMED, outcome.text, request.id)

    # --- ways to end --------------------------------------------------------------------------

    def _ack(self, request: Request, outcome: Outcome) -> None:
        if request.acked:
            self.consumer.publish(outcome.publications)
        else:
            self._part_with(request.delivery, outcome.publications)
            request.acked = True

    def _part_with(self, delivery: Delivery, publications: Sequence[Publication] = ()) -> None:
        """Ack for good, and count what left its queue."""
        left = self.totals.left
        left[delivery.queue] = left.get(delivery.queue, 0) + 1
        self.consumer.ack(delivery.tag, publications)

    def ack_early(self, request: Request) -> None:
        """Ack a request that has just begun, as its task asks."""
        if not request.acked:
            self._part_with(request.delivery)
            request.acked = True

    def give_back(self, request: Request) -> None:
        """Put a request that never began back at the head of its queue."""
        if not request.acked:
            request.goes_on = True
            self.consumer.reject(request.delivery.tag, requeue=True)
        self.release(request)

    def _give_back_lost(self, request: Request) -> None:
        request.goes_on = True
        count = request.delivery.deliveries + 1
        log.warning(
            "Task %s goes back to queue %r: delivery %d of %d was lost",
            request,
            request.delivery.queue,
            count,
            self.max_deliveries,
        )
        self.consumer.reject(request.delivery.tag, requeue=True, lost=True)

    def bury(
        self,
        delivery: Delivery,
        reason: str,
        detail: str,
        task_id: str | None = None,
        *,
        attempts: int | None = None,
        traceback: str | None = None,
    ) -> None:
        """Move a message to the dead-letter queue, with its reason."""
        letter = deadletters.bury(
            delivery.envelope,
            reason=reason,
            detail=detail,
            source=delivery.queue,
            node=self.hostname,
            queue=self.dead_queue,
            deliveries=delivery.deliveries,
            attempts=attempts,
            traceback=traceback,
            task_id=task_id,
        )
        self._part_with(delivery, [letter])

    def bury_refused(self, publication: Publication, exc: BrokerError) -> Publication:
        """Return the dead letter of a message that the broker will not take."""
        return deadletters.bury(
            publication.envelope,
            reason=deadletters.REFUSED,
            detail=str(exc),
            source=publication.routing_key,
            node=self.hostname,
            queue=self.dead_queue,
            task_id=publication.task_id,
        )

    def condemn(self, request: Request, exc: WorkerLostError) -> None:
        """Fail a request that has killed too often, and bury its message."""
        log.error("%s", exc)
        self._condemn(request, exc, request.delivery.deliveries)

    def _condemn(self, request: Request, exc: WorkerLostError, count: int) -> None:
        log.error(
            "Task %s moved to the dead-letter queue %r after %d lost deliveries",
            request,
            self.dead_queue,
            count,
        )

        def bury(publications: list[Publication]) -> None:
            self.consumer.publish(publications)
            letter = deadletters.WORKER_LOST
            self.bury(request.delivery, letter, str(exc), request.id, attempts=count)

        self._note_failure(request, exc, bury)

    def _fail(self, request: Request, exc: Exception) -> None:
        self._note_failure(request, exc, lambda following: self._let_go(request, following))

    def _let_go(self, request: Request, following: list[Publication]) -> None:
        """Ack a request that is at its end here, and publish what follows."""
        if request.acked:
            self.consumer.publish(following)
        else:
            self._part_with(request.delivery, following)
            request.acked = True

    def _follow(
        self,
        delivery: Delivery,
        exc: Exception,
        end: Callable[[list[Publication]], None],
        state: str = FAILURE,
    ) -> None:
        """Tell those who wait for a task that no child has ended, then `end` its message."""
        envelope = delivery.envelope
        found = self.joins.follow(
            lambda: failure_followers(self.app, envelope, exc, state=state), end
        )
        self._results.extend(found)

    def _note_failure(
        self, request: Request, exc: Exception, end: Callable[[list[Publication]], None]
    ) -> None:
        """Store the failure of a task that cannot say so itself, and tell those who wait for it."""
        self.totals.failed += 1
        self.fail_message(request.message, exc, request.task)
        self._follow(request.delivery, exc, end)
        tell_failed(self.app, request, exc, self.hostname, hooks=isinstance(exc, TimeLimitExceeded))
        self._tell_failed(request, repr(exc), "")

    def unregistered(self, delivery: Delivery, message: TaskMessage, exc: Exception) -> None:
        """Fail and bury a message of a task that is not known, and tell those who wait for it."""
        self.fail_message(message, exc)

        def bury(publications: list[Publication]) -> None:
            self.consumer.publish(publications)
            detail = f"unknown task {message.headers.task!r}"
            self.bury(delivery, deadletters.UNREGISTERED, detail, message.headers.id)

        self._follow(delivery, exc, bury)

    def fail_message(self, message: TaskMessage, exc: Exception, task: Any = None) -> None:
        """Note the FAILURE of a message."""
        if wants_result(self.app, message, task, failed=True):
            self._results.append(failure_meta(self.app, message, exc, hostname=self.hostname))

    def cut_off(self, request: Request) -> None:
        """Fail a running request that was acked early: nothing would run it again."""
        self._fail(request, WorkerLostError(f"{request} was cut off by a cold shutdown"))
        self.release(request)

    def revoke_unseen(self, task_ids: list[str]) -> None:
        """Note REVOKED for tasks that no node has seen yet."""
        self._results.extend(unseen_meta(self.app, task_id) for task_id in task_ids)

    def revoked(
        self,
        request: Request,
        reason: str,
        *,
        expired: bool = False,
        signum: int | None = None,
        release: bool = True,
    ) -> None:
        """End a request that is not wanted any more: revoked, expired or terminated."""
        if signum is not None:
            name = signal.Signals(signum).name
            log.warning("Task %s terminated by %s: %s", request, name, Terminated(name).args)
        else:
            log.info("Discarding %s task: %s", reason, request)
        if wants_result(self.app, request.message, request.task):
            meta = revoked_meta(self.app, request.message, reason, hostname=self.hostname)
            self._results.append(meta)
        exc = TaskRevokedError(reason)
        request.unwanted = not expired
        let_go = functools.partial(self._let_go, request)
        self._follow(request.delivery, exc, let_go, REVOKED)
        terminated = signum is not None
        tell_revoked(self.app, request, self.hostname, signum=signum, expired=expired)
        self.events.task(
            "task-revoked",
            request.task,
            uuid=request.id,
            terminated=terminated,
            signum=signum,
            expired=expired,
        )
        if release:
            self.release(request)

    def _tell_failed(self, request: Request, text: str, traceback: str) -> None:
        self.events.task(
            "task-failed", request.task, uuid=request.id, exception=text, traceback=traceback
        )
