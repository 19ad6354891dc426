"""What a worker counts, in the text format of Prometheus (version 0.0.4).

The main loop counts and hands over `Gauges`; the thread that answers only reads. Labels are task,
queue, node, outcome and state, so that the number of series is bounded by what is configured;
`taskctl_worker_info` alone bears a version too.
"""

from __future__ import annotations

import bisect
import itertools
import os
import resource
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..signals import task_rejected, task_revoked, task_unknown
from ..wire import outcome as kinds
from ..wire.outcome import Outcome
from .request import Request

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds of the run time histogram, in seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

#: Every word `state` may bear; see selfview.state.
STATES = ("starting", "ok", "busy", "stuck", "stopping", "quiet")

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


class QueueDepth(NamedTuple):
    """How a queue of this node stood when the broker was last asked."""

    name: str
    waiting: int
    unacked: int
    due: int
    oldest: float | None


class Gauges(NamedTuple):
    """What the main loop last said of the moment; `facts` are those of the health file."""

    facts: Mapping[str, Any]
    held: int
    prefetch: int
    connected: bool
    reconnects: int
    starts: int
    losses: int
    pids: tuple[int, ...]
    started: Mapping[str, int]
    depths: tuple[QueueDepth, ...]


class Times:
    """Lengths of time: how many, their sum, and how many up to each bound."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        self.buckets[bisect.bisect_left(BUCKETS, seconds)] += 1


class Metrics:
    """The counters of one node."""

    def __init__(self, node: str, version: str) -> None:
        self.node = node
        self.version = version
        #: By task, queue and outcome.
        self.ended: dict[tuple[str, str, str], int] = {}
        self.runtimes: dict[str, Times] = {}
        self.waits: dict[str, Times] = {}

    def open(self) -> None:
        """Count from now on what ends without having run, too."""
        task_revoked.connect(self._on_revoked)
        task_rejected.connect(self._on_rejected)
        task_unknown.connect(self._on_unknown)

    def close(self) -> None:
        task_revoked.disconnect(self._on_revoked)
        task_rejected.disconnect(self._on_rejected)
        task_unknown.disconnect(self._on_unknown)

    # --- counting, in the main loop ---------------------------------------------------------------

    def settled(self, request: Request, outcome: Outcome) -> None:
        """Count a request that has run."""
        if outcome.kind == kinds.LOST and request.terminated is not None:
            return  # counted as revoked
        self._count(request.type, request.delivery.queue, outcome.kind.replace(" ", "_"))
        self.runtimes.setdefault(request.type, Times()).add(outcome.runtime)
        waited = time.time() - request.received - outcome.runtime
        self.waits.setdefault(request.type, Times()).add(max(0.0, waited))

    def _count(self, task: str, queue: str, outcome: str) -> None:
        key = task, queue, outcome
        self.ended[key] = self.ended.get(key, 0) + 1

    def _on_revoked(self, request: Any, expired: bool, terminated: bool, **_: Any) -> None:
        word = "expired" if expired else "terminated" if terminated else "revoked"
        self._count(request.task, request.queue, word)

    def _on_rejected(self, message: Any, exc: Any, **_: Any) -> None:
        if exc is not None:  # else it is the outcome of a request
            self._count("", message.queue, "malformed")

    def _on_unknown(self, message: Any, **_: Any) -> None:
        # Its name is whatever somebody has sent, and would be a series for ever.
        self._count("", message.queue, "unregistered")

    # --- the text, in the thread that answers -----------------------------------------------------

    def text(self, gauges: Gauges, *, ready: bool, loop_age: float) -> str:
        """Return everything there is to say."""
        page = _Page(self.node)
        self._tell_node(page, gauges, ready, loop_age)
        self._tell_tasks(page, gauges)
        _tell_pool(page, gauges)
        _tell_queues(page, gauges)
        return page.text()

    def _tell_node(self, page: _Page, gauges: Gauges, ready: bool, loop_age: float) -> None:
        facts = gauges.facts
        page.one("worker_info", "The version of the node.", 1, version=self.version)
        page.family("worker_state", "gauge", "1 for the state the node is in.", (
            ("", {"state": word}, float(facts.get("state") == word)) for word in STATES
        ))  # fmt: skip
        page.one("worker_ready", "Whether the node takes tasks.", ready)
        page.one("uptime_seconds", "Time since the node started.", facts.get("uptime_seconds"))
        page.one("loop_age_seconds", "Time since the main loop last turned.", loop_age)
        page.one("broker_connected", "Whether the line to the broker stands.", gauges.connected)
        page.one("broker_reconnects_total", "Lines to the broker made anew.", gauges.reconnects)
        page.one("parent_cpu_seconds_total", "Processor time of the parent.", time.process_time())
        page.one("parent_memory_bytes", "Resident memory of the parent.", resident(os.getpid()))

    def _tell_tasks(self, page: _Page, gauges: Gauges) -> None:
        # Copied in one step: the main loop goes on counting.
        ended = list(self.ended.items())
        page.family("tasks_total", "counter", "Tasks that ended, by outcome.", (
            ("", {"task": task, "queue": queue, "outcome": outcome}, count)
            for (task, queue, outcome), count in sorted(ended)
        ))  # fmt: skip
        page.family("tasks_started_total", "counter", "Tasks handed to the pool.", (
            ("", {"task": task}, count) for task, count in sorted(gauges.started.items())
        ))  # fmt: skip
        page.family("task_runtime_seconds", "histogram", "How long tasks ran.", (
            sample for task, times in sorted(list(self.runtimes.items()))
            for sample in _histogram({"task": task}, times)
        ))  # fmt: skip
        page.family("task_wait_seconds", "histogram", "From receipt by the node to the start.", (
            sample for task, times in sorted(list(self.waits.items()))
            for sample in _histogram({"task": task}, times)
        ))  # fmt: skip
        page.one("tasks_running", "Tasks that run now.", gauges.facts.get("busy"))
        page.one("tasks_held", "Tasks received and not ended, running ones too.", gauges.held)
        page.one("prefetch", "Messages held or wanted.", gauges.prefetch)
        oldest = gauges.facts.get("oldest_seconds")
        page.one("oldest_task_seconds", "How long the oldest running task has run.", oldest or 0)


def _tell_pool(page: _Page, gauges: Gauges) -> None:
    page.one("pool_size", "Children, or threads, of the pool.", gauges.facts.get("slots"))
    page.one("pool_busy", "Children at a task.", gauges.facts.get("busy"))
    page.one("child_starts_total", "Children ever started.", gauges.starts)
    page.one("child_losses_total", "Children that died unasked.", gauges.losses)
    children = [pid for pid in gauges.pids if pid != os.getpid()]
    memory = sum(resident(pid) for pid in children)
    page.one("children_memory_bytes", "Resident memory of all children, shared pages too.", memory)


def _tell_queues(page: _Page, gauges: Gauges) -> None:
    page.family("queue_messages", "gauge", "Messages of the queues this node takes from.", (
        ("", {"queue": depth.name, "state": state}, count)
        for depth in gauges.depths
        for state, count in (
            ("waiting", depth.waiting), ("unacked", depth.unacked), ("due", depth.due)
        )
    ))  # fmt: skip
    page.family("queue_oldest_seconds", "gauge", "Age of the oldest message that waits.", (
        ("", {"queue": depth.name}, depth.oldest)
        for depth in gauges.depths if depth.oldest is not None
    ))  # fmt: skip


class _Page:
    """The lines of one answer; every name begins with taskctl_, every sample bears the node."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.lines: list[str] = []

    def one(self, name: str, help: str, value: float | None, **labels: str) -> None:
        """Add a family of one sample; nothing if its value is not known."""
        kind = "counter" if name.endswith("_total") else "gauge"
        if value is not None:
            self.family(name, kind, help, [("", labels, value)])

    def family(self, name: str, kind: str, help: str, samples: Iterable[Sample]) -> None:
        """Add a family; a sample is the ending of its name, its labels and its value."""
        self.lines += [f"# HELP taskctl_{name} {help}", f"# TYPE taskctl_{name} {kind}"]
        for ending, labels, value in samples:
            pairs = ",".join(
                f'{key}="{_escaped(text)}"' for key, text in {"node": self.node, **labels}.items()
            )
            self.lines.append(f"taskctl_{name}{ending}{{{pairs}}} {_number(value)}")

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _histogram(labels: Labels, times: Times) -> list[Sample]:
    sums = list(itertools.accumulate(times.buckets))
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    samples: list[Sample] = [
        ("_bucket", {**labels, "le": bound}, count)
        for bound, count in zip(bounds, sums, strict=True)
    ]
    # From the same copy: count and buckets must agree.
    return [*samples, ("_sum", labels, times.sum), ("_count", labels, sums[-1])]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, bool) or value == int(value):
        return str(int(value))
    return repr(float(value))


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it is over."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
