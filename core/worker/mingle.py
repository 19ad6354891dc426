"""Mingle: a node that starts learns from the others which tasks are revoked, and how late it is.

It asks `hello` before its own mailbox is open, as Celery's workers do, and then goes on: the
answers are taken in by the loop as they come.  They are there before the first child can run a
task, where the broker tells how many were asked; where it does not, within `PATIENCE`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from ..errors import BrokerError
from ..messaging.mailbox import Inquiry
from ..wire.command_message import CommandReply, CommandRequest

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Seconds in which the others may answer, as Celery 5.7 worker/consumer/mingle.py.
PATIENCE = 1.0
#: Seconds between two looks for answers: quick at first, then patient.
FIRST_LOOK, LAST_LOOK = 0.002, 0.1


class Mingle:
    """Asks the other nodes of one worker, and takes in what they answer."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._inquiry: Inquiry | None = None
        self._deadline = self._next_look = self._pause = 0.0
        self._heard: set[str] = set()

    def ask(self, now: float) -> None:
        """Ask on a connection that is new; if nobody listens, that is the end of it.

        Raises BrokerError.
        """
        self._inquiry = None
        worker = self.worker
        broker = worker.consumer.broker
        if not worker.options.mingle or not self._anybody():
            return
        arguments = {"from_node": worker.hostname, "revoked": list(worker.revoked)}
        clock = worker.clock.forward()
        inquiry = Inquiry(
            broker,
            CommandRequest(method="hello", arguments=arguments, clock=clock),
            namespace=worker.mailbox.namespace,
            serializer=worker.mailbox.serializer,
            accept=worker.mailbox.accept,
            timeout=PATIENCE,
            private=worker.mailbox.queue,
        )
        if inquiry.reach == 0:
            inquiry.close()
            return
        self._inquiry, self._heard = inquiry, set()
        self._deadline, self._pause = now + PATIENCE, FIRST_LOOK
        self._next_look = now

    def _anybody(self) -> bool:
        """Return whether it is worth asking: an embedded broker has none but registered nodes."""
        worker = self.worker
        if worker.gossip.foreigners_possible():
            return True
        own = worker.consumer.connection.owner
        return any(node.alive and node.owner != own for node in worker.consumer.broker.nodes())

    def look(self, now: float) -> None:
        """Take in the answers that have come.  Raises BrokerError."""
        inquiry = self._inquiry
        if inquiry is None or now < self._next_look:
            return
        try:
            replies = inquiry.collect()
        except BrokerError:
            self._inquiry = None  # the queue went with the line; `ask` comes again with a new one
            raise
        for reply in replies:
            self._take_in(reply)
        self._next_look = now + self._pause
        self._pause = min(2 * self._pause, LAST_LOOK)
        if now >= self._deadline or (inquiry.reach and len(self._heard) >= inquiry.reach):
            self._inquiry = None
            inquiry.close()
            if self._heard:
                log.info("mingled with %s", ", ".join(sorted(self._heard)))

    def next_due(self, now: float) -> float | None:
        """Return seconds until `look` has something to do; None when all is said."""
        return None if self._inquiry is None else max(0.0, self._next_look - now)

    def _take_in(self, reply: CommandReply) -> None:
        """Adopt clock and revoked ids of another node; a node has nothing to say to itself."""
        worker = self.worker
        worker.clock.adjust(reply.clock)
        self._heard.add(reply.node)
        if reply.node == worker.hostname or reply.value is None:
            return
        told = _as_told(reply.value)
        if told is None:
            log.warning("%s answered hello with nonsense: nothing is taken over", reply.node)
            return
        if reply.pid is None:
            worker.gossip.meet(reply.node, time.monotonic())
        clock, ids = told
        worker.clock.adjust(clock)
        fresh = {task_id for task_id in ids if task_id not in worker.revoked}
        worker.revoked.update(ids)
        worker.reconsider(lambda request: request.id in fresh)


def _as_told(value: Any) -> tuple[int, list[str]] | None:
    """Return clock and revoked ids of an answer; None if it is none."""
    if not isinstance(value, dict):
        return None
    clock, ids = value.get("clock") or 0, value.get("revoked") or []
    fine = isinstance(clock, int) and isinstance(ids, list) and all(type(i) is str for i in ids)
    return (clock, ids) if fine else None
