"""A second thread for a pool that runs tasks in the loop's own thread.

While the solo pool runs a task, nobody turns the loop; this thread keeps the lease and answers
remote control, so that a node at work is never taken for dead.  It speaks to the broker only while
it holds the worker's lock, as the loop does.
"""

from __future__ import annotations

import logging
import select
import signal
import threading
import time
from typing import TYPE_CHECKING

from ..errors import BrokerError
from .obedience import obey

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Longest pause (s) between two looks.
PAUSE = 0.2


class Aside:
    """Answers and beats for a worker while its loop is busy."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskctl-aside", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait until it has."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            # While the loop turns it does all this itself, and no bell may be quieted for it.
            fd = self._step() if self.worker.pool.running() else None
            if fd is None:
                self._stop.wait(PAUSE)
            else:
                self._listen(fd)

    def _listen(self, fd: int) -> None:
        try:
            select.select([fd], [], [], PAUSE)
        except (OSError, ValueError):
            self._stop.wait(PAUSE)  # the loop has dropped the line meanwhile

    def _step(self) -> int | None:
        """Do what is due; return the broker's descriptor, None while the line is down."""
        worker = self.worker
        if worker.signals.take_only(signal.SIGUSR1):
            obey(worker, signal.SIGUSR1)
        with worker.lock:
            worker.vitals.look(time.monotonic())
            if not worker.line.mend(time.monotonic()) or not worker.pool.running():
                return None
            try:
                worker.beat(time.monotonic())
                worker.post.read(time.monotonic())
                worker.consumer.receive(0)  # else new messages would ring on and on
                return worker.consumer.broker.fileno()
            except BrokerError as exc:
                worker.line.lost(exc)
                return None
