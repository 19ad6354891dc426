"""All that a node hears from others, and its answers: commands, pauses, events, its own hello."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..wire.command_message import CommandRequest

if TYPE_CHECKING:
    from .worker import Worker


class Post:
    """Reads the broadcasts of one worker's broker, and hands each to whom it concerns."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def open(self) -> None:
        """Hear, on a connection that may be new; the others are asked before we can be.

        Raises BrokerError.
        """
        worker = self.worker
        now = time.monotonic()
        worker.pauses.open(now)
        worker.gossip.open()
        if worker.app.conf.worker_enable_remote_control:
            worker.mingle.ask(now)
            worker.mailbox.open(worker.consumer.broker)
        # What is revoked from here on is heard, or stands there already.
        worker.standing.look(now)

    def read(self, now: float) -> None:
        """Take in what has come.  Raises BrokerError."""
        worker = self.worker
        for heard in worker.consumer.broker.hear():
            if worker.pauses.hear(heard, now) or worker.gossip.hear(heard):
                continue
            request = worker.mailbox.read(heard)
            if request is not None:
                self._obey(request)
        worker.mingle.look(now)
        worker.gossip.look(now)

    def next_due(self, now: float) -> float | None:
        """Return seconds until `read` has something to do though nothing is heard."""
        return self.worker.mingle.next_due(now)

    def _obey(self, request: CommandRequest) -> None:
        worker = self.worker
        worker.clock.forward()
        worker.clock.adjust(request.clock)
        if not request.is_for(worker.hostname):
            return
        value = worker.commands.obey(request)
        reply = worker.mailbox.answer(request, value, worker.clock.forward())
        if reply is not None:
            worker.consumer.broker.publish([reply])
