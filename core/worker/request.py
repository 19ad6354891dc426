"""A request: a delivery that this worker answers for."""

from __future__ import annotations

import time
from typing import Any

from ..errors import TaskctlError
from ..messaging.consumer import Delivery
from ..pool.base import Running, Work
from ..tasks.limiting import Keys
from ..wire.message import decode_envelope
from ..wire.task_message import TaskHeaders, TaskMessage, decode_body
from .request_facts import RequestFacts


class Request(RequestFacts):
    """One task message from receipt to settlement.

    `number` is what the pool knows it by.  `acks_late` and `requeue_lost` are decided at receipt.
    `terminated` is the signal a revoke has sent to its child, `limits` are (hard, soft) seconds.
    `task` is the registered task object.
    """

    __slots__ = (
        "acked",
        "acks_late",
        "delivery",
        "estimate",
        "gate_keys",
        "goes_on",
        "hostname",
        "limits",
        "message",
        "noted",
        "number",
        "received",
        "requeue_lost",
        "started",
        "task",
        "terminated",
        "unwanted",
        "worker_pid",
    )

    def __init__(self, number: int, delivery: Delivery, message: TaskMessage, task: Any) -> None:
        self.number = number
        self.delivery = delivery
        self.message = message
        self.task = task
        self.received = time.time()
        #: Name of the node that answers for it.
        self.hostname = ""
        self.acks_late = True
        self.requeue_lost = True
        self.acked = False
        #: Unix time at which a child announced its start; only for those who ask.
        self.started: float | None = None
        #: Whether the broker knows that it began to run.
        self.noted = False
        self.terminated: int | None = None
        self.worker_pid: int | None = None
        #: How long it is expected to run, in seconds.
        self.estimate = 0.0
        self.limits: tuple[float | None, float | None] = (None, None)
        #: The keys by which limits count it; see gates.py.
        self.gate_keys: Keys | None = None
        #: Whether its message, or one for its next try, will be received again.
        self.goes_on = False
        #: Whether it ends because nobody wants it any more.
        self.unwanted = False

    @property
    def headers(self) -> TaskHeaders:
        return self.message.headers

    @property
    def id(self) -> str:
        return self.message.headers.id or ""

    @property
    def type(self) -> str:
        """The registered name of the task."""
        return self.message.headers.task or ""

    @property
    def name(self) -> str:
        """What logs and events call it."""
        return self.message.headers.shadow or self.type

    def __str__(self) -> str:
        return f"{self.name}[{self.id}]"

    def __repr__(self) -> str:
        headers = self.headers
        return f"<Request: {self} {headers.argsrepr or '()'} {headers.kwargsrepr or '{}'}>"

    def work(self, *, announce: bool, describe: bool) -> Work:
        """Return what the pool is given."""
        hard, soft = self.limits
        return Work(
            request=self.number,
            envelope=self.delivery.envelope,
            queue=self.delivery.queue,
            deliveries=self.delivery.deliveries,
            redelivered=self.delivery.redelivered,
            hard=hard,
            soft=soft,
            announce=announce,
            describe=describe,
        )

    def info(
        self,
        hostname: str,
        accept: frozenset[str],
        *,
        safe: bool = False,
        running: Running | None = None,
    ) -> dict[str, Any]:
        """Return what `inspect` shows of it, in Celery's shape.

        `safe` gives the arguments as their repr texts, as does a body that cannot be read here.
        """
        args, kwargs = self._arguments(accept, safe)
        start = None
        if running is not None:
            start = time.time() - (time.monotonic() - running.since)
        return {
            "id": self.id,
            "name": self.name,
            "args": args,
            "kwargs": kwargs,
            "type": self.type,
            "hostname": hostname,
            "time_start": start,
            "acknowledged": self.acked,
            "delivery_info": self.delivery_info,
            "worker_pid": running.pid if running is not None else None,
        }

    def _arguments(self, accept: frozenset[str], safe: bool) -> tuple[Any, Any]:
        if not safe:
            try:
                body = decode_body(decode_envelope(self.delivery.envelope), accept)
            except TaskctlError:
                safe = True  # shown as text; the child will say what is wrong with it
            else:
                return body.args, body.kwargs
        return self.headers.argsrepr or "()", self.headers.kwargsrepr or "{}"
