"""Many nodes at once: start, stop, restart, kill; reports are told as things happen.

One loop in one thread looks at all nodes in turn and never waits for one of them.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .nodes import Node
from .report import Report
from .starter import Starter
from .stopper import Stopper, Target

#: Seconds between two looks at nodes that boot or stop; a look at one costs some 50 µs.
_EVERY = 0.02
#: Seconds a killed process is given to be gone.
_KILL_TIMEOUT = 5.0

Tell = Callable[[Report], None]
#: Told that we wait; calls what it is given to learn for whom, if it wants to know.
Waiting = Callable[[Callable[[], list[Report]]], None]


def start(nodes: Sequence[Node], starter: Starter, tell: Tell) -> None:
    """Start nodes; tell one report of each, in their order."""
    for node in nodes:
        starter.add(node)
    expected = deque(node.name for node in nodes)
    reports: dict[str, Report] = {}
    while expected:
        for report in starter.turn():
            reports[report.node] = report
        while expected and expected[0] in reports:
            tell(reports[expected.popleft()])
        if expected:
            time.sleep(_EVERY)


def stop(
    targets: Sequence[Target],
    stopper: Stopper,
    tell: Tell,
    *,
    wait: bool,
    waiting: Waiting = lambda _: None,
) -> None:
    """Signal nodes, in their order; with `wait`, see each go, and tell that too.

    `waiting` is told again and again for whom we wait.
    """
    for target in targets:
        tell(stopper.tell(target))
    while wait and not stopper.idle:
        waiting(stopper.waited)
        for report in stopper.turn():
            tell(report)
        if not stopper.idle:
            time.sleep(_EVERY)


def kill(targets: Sequence[Target], tell: Tell) -> None:
    """Kill nodes, see them go, and remove what they leave behind."""
    stop(targets, Stopper(signal.SIGKILL, timeout=_KILL_TIMEOUT), tell, wait=True)


@dataclass(frozen=True)
class Renewal:
    """A node to restart: where it is looked for, and what is started in its place."""

    target: Target
    node: Node


class Restart:
    """Stops nodes, and starts each as soon as it is down.

    `max_down` None: all stop at once, as Celery does it. A number: no more than that many are
    down at any time, and the first that does not come back halts the rest (`held`).
    """

    def __init__(
        self,
        renewals: Sequence[Renewal],
        stopper: Stopper,
        starter: Starter,
        tell: Tell,
        *,
        max_down: int | None = None,
        waiting: Waiting = lambda _: None,
    ) -> None:
        self.stopper = stopper
        self.starter = starter
        self.tell = tell
        self.max_down = max_down
        self.waiting = waiting
        self._ahead = deque(renewals)
        self._down: dict[str, Renewal] = {}

    def run(self) -> None:
        """Restart them all; return when the last report was told."""
        while self._ahead or self._down:
            while self._ahead and (self.max_down is None or len(self._down) < self.max_down):
                self._begin(self._ahead.popleft())
            if not self.stopper.idle:
                self.waiting(self.stopper.waited)
            for report in self.stopper.turn():
                if report.failed:
                    self._finish(report)
                else:
                    self.tell(report)
                    self._start(report.node, report.old_pid)
            for report in self.starter.turn():
                self._finish(report)
            if self._down:
                time.sleep(_EVERY)

    def _begin(self, renewal: Renewal) -> None:
        self._down[renewal.target.name] = renewal
        report = self.stopper.tell(renewal.target)
        if report.failed:
            self._finish(report)
            return
        self.tell(report)
        if report.state == "down":
            self._start(report.node, report.old_pid)

    def _start(self, name: str, old_pid: int | None) -> None:
        self.starter.add(self._down[name].node, old_pid)

    def _finish(self, report: Report) -> None:
        del self._down[report.node]
        self.tell(report)
        if report.failed and self.max_down is not None:
            while self._ahead:
                target = self._ahead.popleft().target
                self.tell(
                    target.report("held", error=f"left as it was, since {report.node} failed")
                )
