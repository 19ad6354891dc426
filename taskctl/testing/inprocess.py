"""The worker of a test: the program's own worker with the solo pool, turned by hand.

Nothing runs unless it is told to, everything runs in the test's own thread, in the order in which
it comes: so a test does the same every time, and a debugger stops inside a task.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskctl.core import clock as house_clock
from taskctl.core import signals
from taskctl.core.tasks.joining import read_meta
from taskctl.core.wire.outcome import FAILED, LOST, SUCCEEDED, Outcome
from taskctl.core.wire.queues import Queue
from taskctl.core.wire.saferepr import saferepr
from taskctl.core.worker.options import resolve
from taskctl.core.worker.signalbox import SignalBox
from taskctl.core.worker.worker import Worker

if TYPE_CHECKING:
    from taskctl.core.pool.base import Started

    from .bench import Bench
    from .published import Published
    from .schedule import InProcessBeat
    from .timepiece import VirtualClock

#: Tasks that one call may run; a task that sends itself at once would run for ever.
MOST = 10_000
#: Turns of the loop that a task takes at most: to be received, started, announced, settled.
_TURNS = 4


@dataclass(frozen=True)
class Ran:
    """One run of a task: its name and id, and how it ended.

    `end` is a kind of outcome (succeeded, failed, retried, ignored, rejected, ...); `text` the
    repr of its result or one line on its failure.
    """

    task: str
    id: str
    end: str
    text: str = ""
    exception: BaseException | None = None
    traceback: str = ""

    def __repr__(self) -> str:
        return f"{self.task}[{self.id}] {self.end}" + (f": {self.text}" if self.text else "")


class _NoSignals(SignalBox):
    """Leaves the signals of the system to those who run the tests."""

    def open(self) -> None:
        """Take none."""


class _Turned(Worker):
    """A worker whose loop is elsewhere, and whose rate limits go by the clock of the test."""

    def __init__(self, app: Any, bench: InProcessWorker, **options: Any) -> None:
        super().__init__(app, resolve(app, pool="solo", **options))
        self.bench = bench
        self.aside = None
        self.signals.close()
        self.signals = _NoSignals()

    def start_due(self, now: float) -> None:
        super().start_due(house_clock.monotonic())

    def room(self) -> int:
        # A task that waits for another lets it run meanwhile, as a second worker would.
        return super().room() + self.bench.depth - 1

    def settle(self, outcomes: list[Outcome | Started]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Outcome):
                self.bench.note(outcome)
        super().settle(outcomes)


class InProcessWorker:
    """A worker in this process; made by `worker_for` and by the fixture `worker`.

    It takes from every queue there is, unless `queues` names some.  With `propagate` the first
    exception of a task that fails is raised from whatever let it run.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        queues: str | list[str] | None = None,
        propagate: bool = False,
        hostname: str = "worker@test",
    ) -> None:
        self.bench = bench
        self.app = bench.app
        self.propagate = propagate
        #: All runs, oldest first.
        self.ran: list[Ran] = []
        #: How deep tasks wait for tasks.
        self.depth = 0
        self._takes_all = queues is None
        self._dead_letters = self.app.conf.task_dead_letter_queue
        self._lock = threading.RLock()
        self._errors: dict[str, tuple[BaseException, str]] = {}
        self._raised = 0
        self._closed = False
        self.worker = _Turned(
            self.app,
            self,
            hostname=hostname,
            queues=queues,
            prefetch_multiplier=1,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )

    # --- what belongs to it ---------------------------------------------------------------------

    @property
    def clock(self) -> VirtualClock:
        """The clock of this test."""
        return self.bench.clock

    @property
    def published(self) -> Published:
        """What was sent in this test."""
        return self.bench.published

    @property
    def beat(self) -> InProcessBeat:
        """What sends the app's periodic tasks in this test."""
        return self.bench.beat

    # --- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Start it, as a worker starts."""
        signals.task_failure.connect(self._note_failure, weak=False)
        self.worker.open()

    def close(self) -> None:
        """Stop it, as a worker stops."""
        with self._lock:  # a thread that looks for coroutines may let it work
            self._closed = True
            signals.task_failure.disconnect(self._note_failure)
            self.worker.close()

    # --- work -----------------------------------------------------------------------------------

    def run_until_idle(self) -> list[Ran]:
        """Run all that is due, and what follows from it; return the runs, oldest first.

        What waits for a later time stays: see `VirtualClock.advance`.  Raises RuntimeError after
        10,000 tasks, and what a task raised if `propagate` was asked for.
        """
        return self.run_while(lambda: True)

    def run_one(self) -> Ran | None:
        """Run one task; return how it ended, or None if there is nothing to do."""
        with self._lock:
            before = len(self.ran)
            ran = self.run_while(lambda: len(self.ran) == before)
            return ran[0] if ran else None

    def run_while(self, wanted: Callable[[], bool], *, raising: bool = True) -> list[Ran]:
        """Run tasks one by one while `wanted` says so, until there is nothing to do.

        Without `raising`, `propagate` has no effect.
        """
        with self._lock:
            before = len(self.ran)
            if self._closed:
                return []
            self.depth += 1
            try:
                while wanted() and self._step():
                    if len(self.ran) - before > MOST:
                        raise RuntimeError(
                            f"{MOST} tasks ran and there are more: does a task call itself?"
                            f" the last was {self.ran[-1]!r}"
                        )
            finally:
                self.depth -= 1
            if raising and self.propagate and self.depth == 0:
                self.raise_failure()
            return self.ran[before:]

    def _step(self) -> bool:
        """Turn the worker until something was done; return whether anything was."""
        worker, done = self.worker, len(self.ran)
        for _ in range(_TURNS):
            worker.turn()
            if worker.settlement.pending():
                worker.settlement.flush()
                return True
            if len(self.ran) > done:
                return True
            if len(worker.requests) == worker.scheduler.limited():
                break
        return self._adopt_queues()

    def _adopt_queues(self) -> bool:
        """Take from queues that are new; return whether anything waits there."""
        if not self._takes_all:
            return False
        consumer = self.worker.consumer
        found = False
        for stat in consumer.broker.queues():
            if stat.name not in consumer.queues and stat.name != self._dead_letters:
                consumer.add(self.app.known_queue(stat.name) or Queue(name=stat.name))
                found = found or bool(stat.ready)
        return found

    def next_due(self) -> float | None:
        """Return when (Unix seconds) there is more to do; None if nothing waits for a time."""
        times = [due for due in self.bench.held() if due is not None]
        wait = self.worker.scheduler.next_due(house_clock.monotonic())
        if wait is not None:
            times.append(house_clock.now() + wait)
        return min(times, default=None)

    # --- failures -------------------------------------------------------------------------------

    @property
    def failures(self) -> list[Ran]:
        """The runs that failed, with exception and traceback."""
        return [ran for ran in self.ran if ran.end in (FAILED, LOST)]

    def raise_failure(self) -> None:
        """Raise what the first task raised that failed since the last call, if one did."""
        failures = self.failures
        fresh, self._raised = failures[self._raised :], len(failures)
        if fresh:
            first = fresh[0]
            if first.exception is None:
                raise RuntimeError(f"{first!r}")
            # A task's exception keeps no frames: they would keep its arguments alive.
            first.exception.add_note(f"{first.task}[{first.id}] failed:\n{first.traceback}")
            raise first.exception

    def assert_no_failures(self) -> None:
        """Raise AssertionError, with the tracebacks, if any task has failed."""
        if self.failures:
            raise AssertionError("\n".join(describe(ran) for ran in self.failures))

    def _note_failure(
        self, task_id: str = "", exception: Any = None, einfo: Any = None, **_: Any
    ) -> None:
        self._errors[task_id] = (exception, getattr(einfo, "traceback", "") or "")

    def note(self, outcome: Outcome) -> None:
        """Write a run down."""
        request = self.worker.requests.get(outcome.request)
        if request is None:
            return
        exception, traceback = self._errors.pop(request.id, (None, ""))
        text = outcome.text or self._returned(outcome)
        self.ran.append(Ran(request.type, request.id, outcome.kind, text, exception, traceback))

    def _returned(self, outcome: Outcome) -> str:
        """Return the repr of what a task returned, if that is kept."""
        if outcome.kind != SUCCEEDED or not outcome.results:
            return ""
        last = outcome.results[-1]
        meta = read_meta(self.app, last.meta, last.task_id, self.app.backend)
        return saferepr(meta["result"])

    def __repr__(self) -> str:
        return f"<InProcessWorker: {len(self.ran)} ran, {len(self.failures)} failed>"


def describe(ran: Ran) -> str:
    """Return what a report shows of a failed run."""
    return f"{ran!r}\n{ran.traceback}".rstrip() + "\n"
