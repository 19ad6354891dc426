"""Whether the node lives and takes tasks, told to whoever watches over it.

The main loop calls `look` in every turn: it writes the health file, speaks to systemd, and leaves
what the HTTP pages show. Nothing here is done by a thread on behalf of the loop, so that a loop
that stands still is seen to stand still. (Solo's second thread calls it while a task runs in the
loop's own place: that loop is at work.)
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from ..errors import BrokerError, HealthFileError
from ..health import PATIENCE, Health, remove_health, stalled, write_health
from ..process import birth
from .listener import Listener, Page, Response
from .metrics import CONTENT_TYPE, Gauges, Metrics, QueueDepth
from .notify import Notifier, Service
from .selfview import record

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Seconds between two looks for a change of the state word.
_STATE_EVERY = 1.0
#: Seconds between two questions for the depth of queues, at least; and the share of the loop's
#: time they may take, for brokers that have to count.
_DEPTHS_EVERY, _DEPTHS_SHARE = 5.0, 0.01
#: Seconds the thread that answers waits for the loop to say how it is now.
_FRESH_WITHIN = 0.3


class Vitals:
    """The signs of life of one worker."""

    def __init__(self, worker: Worker) -> None:
        options = worker.options
        self.worker = worker
        self.path = options.health_file
        self.every = options.health_every
        self.notifier = Notifier()
        self.service = Service(self.notifier)
        self.metrics = (
            Metrics(options.hostname, worker.app.version) if options.metrics_listen else None
        )
        self.listeners = self._listeners()
        self.reasons: tuple[str, ...] = ("starting",)
        self.turned_at = time.monotonic()
        self._born = birth(os.getpid()) or ""
        self._state = ""
        self._next_writing = self._next_state = self._next_depths = 0.0
        self._depths: tuple[QueueDepth, ...] = ()
        self._is_open = self._stands = self._warned = False
        self._gauges: Gauges | None = None
        self._asked, self._answered = False, threading.Event()

    def _listeners(self) -> list[Listener]:
        """Return what listens; one address may serve health and metrics both."""
        options = self.worker.options
        wanted: dict[Any, dict[str, Page]] = {}
        if options.health_listen:
            pages = wanted.setdefault(options.health_listen, {})
            pages.update({"/livez": self.livez, "/readyz": self.readyz})
        if options.metrics_listen:
            wanted.setdefault(options.metrics_listen, {})["/metrics"] = self.metrics_page
        return [Listener(address, pages) for address, pages in wanted.items()]

    @property
    def on(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self.path or self.listeners or self.notifier)

    # --- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Listen, and write the file for the first time; opened already, do nothing.

        Raises ListenError, and HealthFileError if the file was asked for.
        """
        if self._is_open:
            return
        with contextlib.ExitStack() as undo:
            for listener in self.listeners:
                listener.open()
                undo.callback(listener.close)
                log.info("%s on %s", " ".join(listener.pages), listener.address)
            self._write_first()
            undo.pop_all()
        if self.metrics is not None:
            self.metrics.open()
        self._is_open = True

    def _write_first(self) -> None:
        try:
            self._write(time.monotonic())
        except HealthFileError as exc:
            if self.worker.options.health_required:
                raise
            log.warning("%s; going on without one (--health-file names another place)", exc)
            self.path = None

    def stand(self) -> None:
        """Note that the worker has started everything it is made of."""
        self._stands = True

    def pause(self, seconds: float, why: str) -> None:
        """Wait while starting, and say that the node lives meanwhile."""
        end = time.monotonic() + seconds
        self.reasons, self._next_writing = (why,), 0.0
        self.service.waiting(time.monotonic(), why, seconds)
        while (left := end - time.monotonic()) > 0:
            self._tell(time.monotonic())
            time.sleep(min(left, _STATE_EVERY))

    def close(self) -> None:
        """Answer no longer, and remove the file: this end was meant."""
        if not self._is_open:
            return
        self._is_open = False
        for listener in self.listeners:
            listener.close()
        if self.metrics is not None:
            self.metrics.close()
        if self.path is not None:
            remove_health(self.path, os.getpid())

    # --- in the main loop -------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Tell what is due at `now` (time.monotonic)."""
        if not self._is_open or not self.on:
            return
        reasons = why_not_ready(self.worker)
        if reasons != self.reasons:
            self.reasons = reasons
            self._next_writing = 0.0
        self._tell(now)
        # The first time unasked: a loop that stands still from then on has said something.
        if self._asked or (self._gauges is None and self.metrics is not None):
            self._asked = False
            self._gauges = self._measured(now)
            self._answered.set()

    def _tell(self, now: float) -> None:
        self.turned_at = now
        if now >= self._next_state or now >= self._next_writing:
            self._next_state = now + _STATE_EVERY
            if now >= self._next_writing or self.facts()["state"] != self._state:
                self._write_or_warn(now)
        shutdown = self.worker.shutdown
        left = None if shutdown.deadline is None else max(0.0, shutdown.deadline - now)
        self.service.look(
            now,
            self.words,
            ready=not self.reasons,
            stage=None if shutdown.stage is None else "reloading" if shutdown.again else "stopping",
            finishing=(float("inf") if left is None else left) if self.worker.requests else None,
        )

    def next_due(self, now: float) -> float | None:
        """Return seconds until `look` has something to tell; None if nobody wants to know."""
        if not self._is_open or not self.on:
            return None
        due = self.service.next_due(now)
        writing = max(0.0, self._next_writing - now)
        return writing if due is None else min(due, writing)

    def _write_or_warn(self, now: float) -> None:
        try:
            self._write(now)
        except HealthFileError as exc:
            if not self._warned:
                log.warning("%s; probes will take this node for dead until it can be", exc)
            self._warned = True
        else:
            self._warned = False

    def _write(self, now: float) -> None:
        self._next_writing = now + self.every
        facts = self.facts()
        self._state = facts["state"]
        if self.path is None:
            return
        health = Health(
            node=self.worker.hostname,
            pid=os.getpid(),
            born=self._born,
            at=time.time(),
            every=self.every,
            ready=not self.reasons,
            reasons=self.reasons,
            facts=facts,
            tick=now,
        )
        write_health(self.path, health)

    def facts(self) -> dict[str, Any]:
        """Return what the node says of itself."""
        worker = self.worker
        found: dict[str, Any] = {"state": "starting"}
        if self._stands:
            found = record(worker)
            # Some hundred names, the same every time; the registry has them.
            found.pop("tasks", None)
        return {
            **found,
            "version": worker.app.version,
            "uptime_seconds": time.monotonic() - worker.started_at,
            "running_tasks": found.get("busy", 0),
            "reconnects": worker.line.reconnects,
            "health": self.path,
            "listens": {path: str(one.address) for one in self.listeners for path in one.pages},
        }

    def words(self) -> str:
        """Return in one line what the node does."""
        return in_words(self.facts(), self.reasons)

    # --- in the thread that answers ---------------------------------------------------------------

    def livez(self) -> Response:
        """Whether the main loop turns."""
        age = time.monotonic() - self.turned_at
        if age > self.every * PATIENCE:
            return Response(503, f"{stalled(age)}\n")
        return Response(200, "ok\n")

    def readyz(self) -> Response:
        """Whether it turns, and the node takes tasks."""
        live = self.livez()
        if live.status != 200 or not self.reasons:
            return live
        return Response(503, "".join(f"{reason}\n" for reason in self.reasons))

    def metrics_page(self) -> Response:
        """What the node counts; of a loop that stands still, what it said last."""
        assert self.metrics is not None
        self._answered.clear()
        self._asked = True
        self.worker.signals.wake()
        self._answered.wait(_FRESH_WITHIN)
        gauges, age = self._gauges, time.monotonic() - self.turned_at
        if gauges is None:
            return Response(503, "the node is starting\n")
        ready = self.readyz().status == 200
        return Response(200, self.metrics.text(gauges, ready=ready, loop_age=age), CONTENT_TYPE)

    def _measured(self, now: float) -> Gauges | None:
        if not self._stands:
            return None
        worker = self.worker
        starts, losses = worker.pool.turnover()
        self._ask_for_depths(now)
        return Gauges(
            facts=self.facts(),
            held=len(worker.requests),
            prefetch=worker.window(),
            connected=worker.line.up,
            reconnects=worker.line.reconnects,
            starts=starts,
            losses=losses,
            pids=tuple(worker.pool.pids()),
            started=dict(worker.totals.accepted),
            depths=self._depths,
        )

    def _ask_for_depths(self, now: float) -> None:
        worker = self.worker
        if now < self._next_depths or not worker.line.up:
            return
        try:
            stats = worker.consumer.broker.queues()
        except BrokerError as exc:
            worker.line.lost(exc)
            return
        took = time.monotonic() - now
        self._next_depths = now + max(_DEPTHS_EVERY, took / _DEPTHS_SHARE)
        self._depths = tuple(
            QueueDepth(stat.name, stat.ready, stat.unacked, stat.due, stat.oldest)
            for stat in stats
            if stat.name in worker.consumer.queues
        )


def why_not_ready(worker: Worker) -> tuple[str, ...]:
    """Return why a worker takes no new tasks; nothing if it does. Asked in every turn."""
    if worker.stopping:
        return ("stopping, to start again" if worker.shutdown.again else "stopping",)
    reasons = []
    if not worker.line.up:
        reasons.append("the broker is away")
    if worker.quiet:
        reasons.append("quiet: told to take nothing new")
    if not worker.consumer.queues:
        reasons.append("there is no queue to take from")
    if worker.settlement.stuck:
        reasons.append("results cannot be stored")
    if worker.pool.size and not worker.pool.ready():
        reasons.append("no child is ready to run a task")
    return tuple(reasons)


def in_words(facts: dict[str, Any], reasons: tuple[str, ...]) -> str:
    """Return one line for people: what a node takes, runs and has done."""
    parts = ["; ".join(reasons) or f"taking tasks from {', '.join(facts['queues'])}"]
    if "slots" in facts:
        running = f"{facts['busy']} of {facts['slots']} busy"
        if facts["oldest_seconds"] is not None:
            running += f", oldest {facts['oldest_seconds']:.0f} s"
        parts += [running, f"{facts['done']} done, {facts['failed']} failed"]
    return "; ".join(parts)
