"""How a worker ends: warmly, coldly, at once."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from .. import terminal
from ..signals import worker_shutting_down
from .signalbox import remapped

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Seconds between two lines on how many tasks a shutdown waits for.
PROGRESS_EVERY = 10.0
#: Seconds children get to go: after their work was taken away, and when they have none.
COLD_GRACE, WARM_GRACE = 0.2, 10.0
#: Seconds in which the last results and acks must be said, in a warm and in a cold shutdown;
#: what could not be said runs again elsewhere.
FLUSH_WITHIN = {"warm": 10.0, "cold": 1.0}


class Shutdown:
    """The end of one worker.

    `stage` is None, "warm" (nothing new is taken, what runs is finished) or "cold" (what runs is
    given back or failed when `deadline`, time.monotonic, comes).
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.stage: str | None = None
        #: Whether whoever runs the worker shall start it again when it has ended.
        self.again = False
        self.deadline: float | None = None
        self._flush_by: float | None = None
        self._next_progress = 0.0

    def obey(self, number: int) -> None:
        """TERM and INT: warm; QUIT, or INT again: cold; after that: at once."""
        number = remapped(number)
        if self.again:
            self.again = False
            log.warning("%s: the node will not start again", signal.Signals(number).name)
            if number != signal.SIGQUIT:
                return  # the first of its kind; it is finishing warmly already
        if self.stage == "cold":
            if number != signal.SIGTERM:
                log.error("stopped at once")
                os._exit(1)
        elif number == signal.SIGQUIT or (number == signal.SIGINT and self.stage):
            self.cold()
        elif self.stage is None:
            self.warm(number)

    def start_again(self) -> None:
        """HUP: end warmly, and have the program executed anew with the same arguments.

        From a terminal that is gone it only means the end.
        """
        if self.stage is not None:
            log.warning("SIGHUP ignored: the node is stopping")
            return
        self.again = not terminal.is_gone()
        log.warning("SIGHUP: %s", "will start again" if self.again else "the terminal is gone")
        self.warm(signal.SIGHUP)

    def warm(self, number: int = signal.SIGTERM) -> None:
        """Take nothing new, finish what runs, give the rest back."""
        self._tell(signal.Signals(number).name, "Warm", 0)
        self.stage = "warm"
        limit = self.worker.options.shutdown_timeout
        if limit is not None:
            self.deadline = time.monotonic() + limit
        self._next_progress = time.monotonic() + PROGRESS_EVERY
        self.give_back_waiting()
        running = len(self.worker.requests)
        hint = "; Ctrl-C again: stop them" if number == signal.SIGINT and running else ""
        log.warning("warm shutdown: %s%s", _still(running), hint)

    def cold(self) -> None:
        """Give back or fail what runs, after the soft shutdown timeout if there is one."""
        self._tell("SIGQUIT", "Cold", 1)
        self.stage = "cold"
        self.give_back_waiting()
        grace = self.worker.options.soft_shutdown_timeout if self.worker.requests else 0.0
        self.deadline = time.monotonic() + grace
        log.warning("cold shutdown: %s", _still(len(self.worker.requests)))

    def _tell(self, sig: str, how: str, exitcode: int) -> None:
        self.worker.consumer.paused = True
        self.worker.attendants.stop_beat()
        worker_shutting_down.send(sender=self.worker.hostname, sig=sig, how=how, exitcode=exitcode)

    def give_back_waiting(self) -> None:
        """Put back what was received and has not begun."""
        worker = self.worker
        for request in worker.recall():
            worker.settlement.give_back(request)
        for delivery in worker.inbox:
            worker.consumer.reject(delivery.tag, requeue=True)
        worker.inbox.clear()

    def look(self, now: float) -> bool:
        """Say what is waited for, cut off what is late; return whether the end has come."""
        worker = self.worker
        if self.stage is None:
            return False
        if worker.requests and self.deadline is not None and now >= self.deadline:
            self._cut_off()
        if worker.requests:
            self._tell_progress(now)
            return False
        if self._flush_by is None:
            self._flush_by = now + FLUSH_WITHIN[self.stage]
        return not worker.settlement.pending() or now >= self._flush_by

    def _tell_progress(self, now: float) -> None:
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_EVERY
            log.warning("shutdown: %s", _still(len(self.worker.requests)))

    def next_look(self, now: float) -> float | None:
        """Return seconds until `look` has something to do; None without a deadline."""
        times = [time for time in (self.deadline, self._flush_by) if time is not None]
        return max(0.0, min(times) - now) if times else None

    def _cut_off(self) -> None:
        """Take their tasks away from the children: back to the queue, or failed."""
        worker = self.worker
        worker.exit_code = 1
        for request in list(worker.requests.values()):
            log.warning("Task %s cut off by the shutdown", request)
            if request.acks_late and not request.acked:
                worker.events.task("task-cancelled", request.task, uuid=request.id)
                worker.settlement.give_back(request)
            else:
                worker.settlement.cut_off(request)
        worker.pool.close(time.monotonic() + COLD_GRACE)


def _still(count: int) -> str:
    if not count:
        return "no task is running"
    return f"waiting for {count} running task{'s' if count != 1 else ''}"
