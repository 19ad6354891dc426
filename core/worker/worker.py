"""The worker: one thread around one select.

`turn` is the table of contents of the program.  `receive` and `collect` never wait; the only
place where the worker sleeps is `Rest.take`.  What hands out work stops before what does it: `open`
is a list, `close` is that list backwards.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..clock import LamportClock, maybe_seconds
from ..errors import BackendError, BrokerError
from ..messaging.connection import Connection
from ..messaging.consumer import Consumer, Delivery
from ..messaging.events import EventDispatcher
from ..messaging.mailbox import NodeMailbox
from ..messaging.nodes import Registration, new_owner
from ..messaging.private_queues import control_queue
from ..pool import make_pool
from ..pool.base import Started
from ..signals import (
    worker_init,
    worker_ready,
    worker_shutdown,
)
from ..wire import codecs
from ..wire.outcome import Outcome
from .admission import Admission, Policy
from .aside import Aside
from .attendants import Attendants
from .autoscaler import Autoscaler
from .beginning import begin, set_up
from .childhood import Childhood
from .commands import Commands
from .gates import make_gates
from .gossip import Gossip
from .heartbeat import Heartbeat
from .line import Line
from .mingle import Mingle
from .namesakes import warn_of_namesakes
from .obedience import obey
from .options import WorkerOptions
from .pauses import Pauses
from .post import Post
from .prefetch import Prefetch
from .rates import Rates
from .request import Request
from .rest import Rest
from .revoked import revoked_set
from .scheduler import Scheduler
from .selfview import record
from .settlement import Settlement, Totals
from .shutdown import COLD_GRACE, WARM_GRACE, Shutdown
from .signalbox import SignalBox
from .stamps import RevokedStamps
from .standing import Standing
from .starter import Starter
from .vitals import Vitals

log = logging.getLogger("taskctl.worker")

#: Seconds for one attempt to reach the broker while running; the loop stands still meanwhile.
RECONNECT_TIMEOUT = 1.0


class Worker:
    """One node: takes task messages from its queues and sees each to its end."""

    def __init__(self, app: Any, options: WorkerOptions) -> None:
        options = begin(self, app, options)
        conf = app.conf
        self.app = app
        self.options = options
        self.hostname = options.hostname
        self.pid = os.getpid()
        self.started_at = time.monotonic()
        self.clock: LamportClock = app.clock
        self.accept = codecs.accepted_types(conf.accept_content)
        self.requests: dict[int, Request] = {}
        self.revoked = revoked_set()
        self.revoked_stamps = RevokedStamps()
        self.totals = Totals()
        #: Told by remote control to take nothing new.
        self.quiet = False
        #: Nodes whose work this one took over: when, as time.monotonic().
        self.lost: dict[str, float] = {}
        self.exit_code = 0
        self.done = False
        self.ready = False
        # Held while the broker is spoken to: solo's second thread speaks too (see aside.py).
        self.lock = threading.RLock()
        self.inbox: deque[Delivery] = deque()
        self.shutdown = Shutdown(self)
        self.pauses = Pauses(self)
        self.rates = Rates(self.totals.left, self.started_at)
        self.rest = Rest(self)
        self._trouble: str | None = None
        self._build(conf)

    def _build(self, conf: Any) -> None:
        options, app = self.options, self.app
        self.tasks: dict[str, Any] = app.tasks
        self.backend = app.backend.at_once  # the loop never waits
        self.signals = SignalBox()
        self.scheduler = Scheduler()
        self.prefetch = Prefetch(options.prefetch)
        connection = Connection(
            app.broker_urls(),
            options=app.broker_options(),
            owner=new_owner(self.hostname),
            timeout=maybe_seconds(conf.broker_connection_timeout) or 4.0,
        )
        self.consumer = Consumer(connection, options.queues)
        self.line = Line(connection, self._connect)
        self.mailbox = NodeMailbox(
            self.hostname,
            namespace=conf.control_exchange,
            serializer=conf.task_serializer,
            accept=conf.accept_content,
            queue=control_queue(conf),
        )
        self.events = EventDispatcher(
            self.hostname,
            clock=self.clock,
            exchange=conf.event_exchange,
            serializer=conf.event_serializer,
            task_events=options.task_events,
        )
        self.heart = Heartbeat(
            Registration(self.hostname, lease=conf.worker_lease),
            self.events if options.heartbeat else None,
            version=app.version,
            interval=min(conf.worker_lease_interval, conf.worker_lease / 2),
            event_interval=options.heartbeat_interval,
            record=lambda: record(self),
            facts=lambda: {
                "active": len(self.pool.running()),
                "processed": sum(self.totals.accepted.values()),
            },
        )
        childhood = Childhood(app, self.hostname, self.signals, options.extras, options.pool)
        self.pool = make_pool(
            options.pool,
            options.concurrency,
            childhood.boot,
            children=options.children,
            leave=childhood.leave,
            max_tasks=options.max_tasks,
            max_memory_kib=options.max_memory_kib,
        )
        self.autoscaler = Autoscaler(self.pool, *options.autoscale) if options.autoscale else None
        max_deliveries = conf.task_max_deliveries or sys.maxsize
        self.settlement = Settlement(
            app,
            consumer=self.consumer,
            backend=self.backend,
            events=self.events,
            totals=self.totals,
            release=self.release,
            hostname=self.hostname,
            dead_queue=conf.task_dead_letter_queue,
            max_deliveries=max_deliveries,
        )
        policy = Policy(
            acks_late=conf.task_acks_late,
            reject_on_worker_lost=bool(conf.task_reject_on_worker_lost),
            hard=options.hard,
            soft=options.soft,
            max_deliveries=max_deliveries,
            zone=app.timezone,
        )
        self.admission = Admission(
            app,
            policy,
            consumer=self.consumer,
            settlement=self.settlement,
            revoked=self.revoked,
            stamps=self.revoked_stamps,
            events=self.events,
            admit=self.admit,
            aside=self.scheduler.overfull,
            sender=self,
        )
        self.starter = Starter(
            self.pool,
            self.scheduler,
            wanted=self.admission.still_wanted,
            note=self._note_started,
            events=self.events,
            totals=self.totals,
        )
        self.commands = Commands(self)
        self.gossip, self.mingle, self.post = Gossip(self), Mingle(self), Post(self)
        self.standing = Standing(self)
        self.attendants = Attendants(self)
        self.vitals = Vitals(self)
        self.aside = Aside(self) if self.pool.name == "solo" else None
        if not conf.worker_disable_rate_limits:
            for task in self.tasks.values():
                self.scheduler.limit(task.name, task.rate_limit or conf.task_default_rate_limit)
        self.scheduler.gates = make_gates(self)

    # --- life ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        self.open()
        try:
            while not self.done:
                self.turn()
                if not self.done:
                    self.rest.take()
        finally:
            self.close()
        return self.exit_code

    def open(self) -> None:
        """Start everything, in this order; what fails leaves nothing running.

        Raises BrokerConnectionError if no broker answers, PoolError if no child can be made.
        """
        worker_init.send(sender=self)
        with contextlib.ExitStack() as undo:
            undo.callback(self.rest.close)
            self.vitals.open()
            undo.callback(self.vitals.close)
            self.signals.open()
            undo.callback(self.signals.close)
            undo.callback(self.attendants.close)
            self.attendants.open()
            # Before the connection: a child that inherits one could speak on it.
            self.pool.open()
            undo.callback(lambda: self.pool.close(time.monotonic() + COLD_GRACE))
            undo.callback(self.consumer.close)
            self.consumer.connection.open()
            set_up(self)
            self.purge()
            self._connect()
            self.line.opened(time.monotonic())
            warn_of_namesakes(self)
            self.heart.renew(self.consumer.broker)
            self.heart.send(self.consumer.broker, "worker-online")
            self.rest.open()
            self.vitals.stand()
            if self.aside is not None:
                self.aside.open()
            self.attendants.steps.open()
            undo.pop_all()

    def _connect(self) -> None:
        """Subscribe to queues and mailbox, on a connection that may be new."""
        self.consumer.open(RECONNECT_TIMEOUT)
        self.post.open()

    def purge(self) -> int:
        """Drop what waits, if that was asked for; return how many messages."""
        if not self.options.purge:
            return 0
        broker = self.consumer.broker
        count = sum(broker.purge(queue.name) for queue in self.options.queues)
        log.warning("purged %d messages", count)
        return count

    def close(self) -> None:
        """Stop everything, in the order backwards."""
        self.attendants.close()
        if self.aside is not None:
            self.aside.close()
        # What still runs here has failed to end in time, or the loop broke down.
        grace = COLD_GRACE if self.requests else WARM_GRACE
        self.pool.close(time.monotonic() + grace)
        if not self._take_leave():
            self.exit_code = self.exit_code or 1
        self.consumer.close()
        worker_shutdown.send(sender=self)
        self.vitals.close()
        self.signals.close()
        self.rest.close()

    def _take_leave(self) -> bool:
        """Say what is left to be said; return whether all of it was."""
        if self.scheduler.gates is not None:
            self.scheduler.gates.close()
        if not self.line.up:
            if self.settlement.pending() or self.requests:
                log.error("the broker is away; what was not acknowledged runs again elsewhere")
            return not self.settlement.pending()
        said, broker = True, self.consumer.broker
        try:
            self.events.flush(broker)
            self.heart.send(broker, "worker-offline")
            try:
                self.settlement.flush()
            except BackendError as exc:
                # No ack without its result.
                log.error("%s; tasks without a stored result run again elsewhere", exc)
                self.consumer.forget()
                said = False
            self.heart.registration.retire(broker)
        except BrokerError as exc:
            log.error("%s; what was not acknowledged runs again elsewhere", exc)
            return False
        return said

    # --- the loop -----------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn of the worker: everything it does, in the order it does it."""
        now = time.monotonic()
        outcomes = self.pool.collect()
        with self.lock:
            self.obey_signals()
            self.settle(outcomes)
            self.converse(now)
            self.start_due(now)
            self.adjust(now)
            self.attendants.look(now)
            self.vitals.look(now)

    def converse(self, now: float) -> None:
        """Everything that needs the broker; when it is gone, the rest goes on."""
        if not self.line.mend(now):
            return
        try:
            self.beat(now)
            self.settlement.flush_when_due(now)
            self.admit_received()
            self.post.read(now)
            self.events.flush(self.consumer.broker)
        except BrokerError as exc:
            self.line.lost(exc)

    # --- the parts of a turn --------------------------------------------------------------------

    def obey_signals(self) -> None:
        """Do what signals ask for."""
        for number in self.signals.take():
            obey(self, number)

    def settle(self, outcomes: list[Outcome | Started]) -> None:
        """End the requests whose outcome has come."""
        self.rest.busy = bool(outcomes)
        for outcome in outcomes:
            request = self.requests.get(outcome.request)
            if request is None:
                continue  # given back by a cold shutdown
            if isinstance(outcome, Started):
                self._has_started(request, outcome)
                continue
            self.prefetch.ran(request.type, outcome.runtime)
            self.settlement.settle(request, outcome)
            if self.vitals.metrics is not None:
                self.vitals.metrics.settled(request, outcome)

    def _has_started(self, request: Request, started: Started) -> None:
        request.started, request.worker_pid = started.at, started.pid
        if not request.acks_late:
            self.settlement.ack_early(request)
        self.events.task("task-started", request.task, uuid=request.id, timestamp=started.at)

    def admit_received(self) -> None:
        """Take what there is room for; a delivery stays in the inbox until it is decided."""
        if not self.stopping and not self.settlement.stuck:
            # With no room the broker is asked all the same: that quiets its descriptor.
            self.inbox.extend(self.consumer.receive(0 if self.quiet else self.room()))
        while self.inbox:
            self.admission.take(self.inbox[0])
            self.inbox.popleft()

    def room(self) -> int:
        """Return how many more messages are wanted."""
        if self.pool.size and not self.pool.ready():
            return 0  # children that cannot start must not keep work from other nodes
        children = self.pool.size if self.autoscaler is None else self.autoscaler.high
        now = time.monotonic()
        overtime = 0.0
        for running in self.pool.running() if self.prefetch.multiplier == "auto" else ():
            request = self.requests.get(running.request)
            if request is not None:
                overtime += self.prefetch.overtime(request, now - running.since)
        held = len(self.requests) - self.scheduler.limited()
        return self.prefetch.room(children, held, overtime)

    def window(self) -> int:
        """Return how many messages are held or wanted: Celery's prefetch count."""
        return len(self.requests) + self.room()

    def admit(self, request: Request) -> None:
        """Answer for a request until it is settled."""
        self.requests[request.number] = request
        self.prefetch.took(request)
        self.scheduler.hold(request)

    def release(self, request: Request) -> None:
        """Answer for it no longer."""
        if self.requests.pop(request.number, None) is not None:
            self.prefetch.gave(request)
        if self.scheduler.gates is not None:
            self.scheduler.gates.ended(request)

    def start_due(self, now: float) -> None:
        """Hand to the pool what may start, and to other nodes what would wait here for long."""
        if self.stopping:
            return
        if self.prefetch.multiplier == "auto":
            for number in self.starter.stalled(now):
                if (request := self.requests.get(number)) is not None:
                    self.settlement.give_back(request)
        self.starter.start(now)

    def _note_started(self, requests: list[Request]) -> bool:
        """Tell the broker that these run: if the node dies, it is held against them."""
        if not self.line.up:
            return False
        try:
            self.consumer.broker.started([r.delivery.tag for r in requests])
        except BrokerError as exc:
            self.line.lost(exc)
            return False
        for request in requests:
            request.noted = True
        return True

    def beat(self, now: float) -> None:
        """Renew the lease, take over from the dead, and obey pauses."""
        lapsed = self.heart.lapsed(now)
        if lapsed is not None:
            log.warning(
                "the lease of this node ended %.1f s ago: it stood still, or the broker was away; "
                "tasks that run here may run a second time elsewhere",
                lapsed,
            )
            # What has not begun is another node's by now, or goes back to the queue.
            self.shutdown.give_back_waiting()
        early = self.settlement.pending()
        for node in self.heart.beat(self.consumer.broker, now, early=early):
            self.lost[node] = time.monotonic()
            log.warning("node %s is gone; what it held is back on its queues", node)
            # Its own record went with it: that it is missed stands in ours from now on.
            self.heart.renew(self.consumer.broker)
        self.pauses.look_when_due(now)
        self.standing.look_when_due(now)
        if self.scheduler.gates is not None:
            self.scheduler.gates.renew(now)

    def adjust(self, now: float) -> None:
        """Fit the pool to the work, tell of trouble, and see whether the end has come."""
        if self.autoscaler is not None and not self.stopping:
            self.autoscaler.adjust(len(self.requests), now)
        trouble = self.pool.trouble()
        if trouble and trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble
        if not self.ready and self.line.up and self.pool.ready():
            self.ready = True
            worker_ready.send(sender=self)
            self.on_ready()
        self.done = self.shutdown.look(now)

    def on_ready(self) -> None:
        """Called once, when the node takes tasks; tells whoever waits for it, here the log."""
        log.info("%s ready in %.2f s", self.hostname, time.monotonic() - self.started_at)

    # --- asked by others ------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""
        return self.shutdown.stage is not None

    def stop_warmly(self) -> None:
        """Take nothing new, finish what runs, and go."""
        self.shutdown.again = False
        if not self.stopping:
            self.shutdown.warm()

    def recall(self) -> list[Request]:
        """Take back every request that has not begun."""
        recalled = [self.requests.get(number) for number in self.pool.recall()]
        return [request for request in recalled if request is not None] + self.scheduler.recall()

    def reconsider(self, concerns: Callable[[Request], bool]) -> None:
        """End requests that wait here and are revoked by now, if it `concerns` any."""
        if not any(map(concerns, self.requests.values())):
            return
        for request in self.recall():
            if self.admission.still_wanted(request):
                self.scheduler.hold(request)
