"""What happens to a delivery on receipt: it becomes a request, or is settled at once.

The order of the questions is the protocol's: can it be read, is the task known, has it killed too
often, has it expired or been revoked, is it due, is there a rate limit.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from .. import clock
from ..clock import to_unix
from ..errors import (
    BackendError,
    BrokerError,
    DecodeError,
    InvalidTaskError,
    NotRegistered,
    WorkerLostError,
)
from ..messaging import deadletters
from ..messaging.consumer import Consumer, Delivery
from ..messaging.events import EventDispatcher
from ..signals import task_unknown
from ..wire.codecs import accepted_types
from ..wire.task_message import TaskMessage, decode_task
from .listeners import Heard, tell_received, tell_rejected
from .request import Request
from .revoked import LimitedSet
from .settlement import Settlement
from .stamps import RevokedStamps

log = logging.getLogger("taskctl.worker")


class Policy:
    """The settings that decide about a request, as values."""

    def __init__(
        self,
        *,
        acks_late: bool,
        reject_on_worker_lost: bool,
        hard: float | None,
        soft: float | None,
        max_deliveries: int,
        zone: tzinfo,
    ) -> None:
        self.acks_late = acks_late
        self.reject_on_worker_lost = reject_on_worker_lost
        self.hard = hard
        self.soft = soft
        self.max_deliveries = max_deliveries
        self.zone = zone

    def apply(self, request: Request) -> None:
        """Decide ack and limits: call option, then task attribute, then setting."""
        task = request.task
        late = getattr(task, "acks_late", None)
        request.acks_late = self.acks_late if late is None else bool(late)
        lost = getattr(task, "reject_on_worker_lost", None)
        request.requeue_lost = request.acks_late and (
            self.reject_on_worker_lost if lost is None else bool(lost)
        )
        hard, soft = request.headers.limits()
        if hard is None:
            hard = _first(getattr(task, "time_limit", None), self.hard)
        if soft is None:
            soft = _first(getattr(task, "soft_time_limit", None), self.soft)
        request.limits = (hard, soft)


def _first(value: float | None, default: float | None) -> float | None:
    return default if value is None else value


class Admission:
    """Turns deliveries into requests."""

    def __init__(
        self,
        app: Any,
        policy: Policy,
        *,
        consumer: Consumer,
        settlement: Settlement,
        revoked: LimitedSet,
        stamps: RevokedStamps,
        events: EventDispatcher,
        admit: Callable[[Request], None],
        aside: Callable[[Request], float | None],
        sender: Any = None,
    ) -> None:
        self.app = app
        self.tasks: dict[str, Any] = app.tasks
        self.policy = policy
        self.accept = accepted_types(app.conf.accept_content, app.conf.task_max_decompressed_size)
        self.consumer = consumer
        self.settlement = settlement
        self.revoked = revoked
        self.stamps = stamps
        self.events = events
        self.admit = admit
        self.aside = aside
        #: Who sends the signals: the node.
        self.sender = sender
        self._numbers = itertools.count(1)

    def take(self, delivery: Delivery) -> None:
        """Answer for one delivery from now on."""
        try:
            self._decide(delivery)
        except (BrokerError, BackendError):
            raise
        except Exception as exc:
            # What others wrote may break us in ways nobody thought of; let it not end the node,
            # and then the next one.
            log.exception("a message on queue %r broke the worker's code", delivery.queue)
            self._malformed(delivery, exc)

    def _decide(self, delivery: Delivery) -> None:
        try:
            message = decode_task(delivery.envelope, self.accept)
        except (DecodeError, InvalidTaskError) as exc:
            self._malformed(delivery, exc)
            return
        name = message.headers.task or ""
        task = self.tasks.get(name)
        if task is None:
            self._unregistered(delivery, message, name)
            return
        request = Request(next(self._numbers), delivery, message, task)
        request.hostname = self.settlement.hostname
        self.policy.apply(request)
        try:
            expired, due = self._times(request)
        except ValueError as exc:
            self._malformed(delivery, exc)
            return
        if delivery.deliveries >= self.policy.max_deliveries:
            self._condemned(request)
        elif expired:
            self.revoked.add(request.id)
            self.settlement.revoked(request, "expired", expired=True)
        elif self._is_revoked(request):
            self.settlement.revoked(request, "revoked")
        else:
            self._received(request, due)

    def still_wanted(self, request: Request) -> bool:
        """Return whether a request may start now; if it was revoked or expired it is settled."""
        expires = request.headers.expires
        if expires and to_unix(expires, self.policy.zone) <= clock.now():
            self.settlement.revoked(request, "expired", expired=True)
            return False
        if self._is_revoked(request):
            self.settlement.revoked(request, "revoked")
            return False
        return True

    def _is_revoked(self, request: Request) -> bool:
        return request.id in self.revoked or self.stamps.cover(request.headers)

    def _times(self, request: Request) -> tuple[bool, float | None]:
        """Return whether it has expired, and when it is due if that is to come.

        Raises ValueError for a time that cannot be read.
        """
        headers, now = request.headers, clock.now()
        expired = bool(headers.expires) and to_unix(headers.expires or "", self.policy.zone) <= now
        if not headers.eta:
            return expired, None
        due = to_unix(headers.eta, self.policy.zone)
        return expired, due if due > now else None

    def _received(self, request: Request, due: float | None) -> None:
        if due is None and (seconds := self.aside(request)) is not None:
            self.consumer.broker.park(request.delivery.tag, clock.now() + seconds, request.id)
            return
        if due is not None:
            # Announced when it comes back: a message is received once, wherever its ETA is kept.
            self.consumer.broker.park(request.delivery.tag, due, request.id)
            log.info("Task %s waits in the broker until %s", request, request.headers.eta)
            return
        self._announce(request)
        self.admit(request)

    def _announce(self, request: Request) -> None:
        headers = request.headers
        self.events.task(
            "task-received",
            request.task,
            uuid=request.id,
            name=request.name,
            args=headers.argsrepr,
            kwargs=headers.kwargsrepr,
            root_id=headers.root_id,
            parent_id=headers.parent_id,
            retries=headers.retries,
            eta=headers.eta,
            expires=headers.expires,
        )
        if log.isEnabledFor(logging.INFO):
            log.info("Task %s received", request)
        tell_received(self.sender, request)

    def _malformed(self, delivery: Delivery, exc: Exception) -> None:
        reason = " ".join(str(exc).split())
        log.error(
            "message on queue %r cannot be read: %s; moved to the dead-letter queue",
            delivery.queue,
            reason,
        )
        tell_rejected(self.sender, delivery, exc)
        self.settlement.bury(delivery, deadletters.MALFORMED, reason)

    def _unregistered(self, delivery: Delivery, message: TaskMessage, name: str) -> None:
        exc = NotRegistered(name)
        log.error(
            "unknown task %r on queue %r; moved to the dead-letter queue: is the module that "
            "defines it among `include` or `imports`?",
            name,
            delivery.queue,
        )
        task_unknown.send(
            sender=self.sender, message=Heard(delivery), exc=exc, name=name, id=message.headers.id
        )
        self.events.task("task-failed", uuid=message.headers.id, exception=repr(exc))
        self.settlement.unregistered(delivery, message, exc)

    def _condemned(self, request: Request) -> None:
        count = request.delivery.deliveries
        exc = WorkerLostError(
            f"{request} was running in {count} workers or children that died; "
            f"not delivered again (task_max_deliveries={self.policy.max_deliveries})"
        )
        self.settlement.condemn(request, exc)
