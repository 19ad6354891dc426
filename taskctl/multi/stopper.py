"""Ending nodes: signal exactly the process that holds the pidfile, and see it go."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from taskctl.core.errors import PidfileError
from taskctl.core.pidfile import LivePid, Stale, read_pid, remove_stale
from taskctl.core.process import age, is_alive, send_signal

from .doing import Doing, doing
from .records import Record
from .report import Report


@dataclass(frozen=True)
class Target:
    """A node to look for: its name, where its files are, and what was recorded of it.

    `trouble`: why its record cannot be read.
    """

    name: str
    pidfile: str
    logfile: str
    healthfile: str
    record: Record | None = None
    trouble: str | None = None

    def look(self) -> LivePid | Stale | None:
        """Return who stands behind the pidfile; change nothing.

        Raises PidfileError if it cannot be read.
        """
        return read_pid(self.pidfile, self.record.identity if self.record else None)

    def report(self, state: str, **facts: object) -> Report:
        """Return a report on this node."""
        return Report(
            self.name,
            state,
            pidfile=self.pidfile,
            logfile=self.logfile,
            **facts,  # type: ignore[arg-type]
        )

    def clear(self, stale: Stale) -> str | None:
        """Remove a stale pidfile; return a note for people, None if it changed meanwhile."""
        if not remove_stale(self.pidfile):
            return None
        return f"removed stale pidfile {self.pidfile}: {stale.why}; nothing was signalled"


def status(target: Target) -> Report:
    """Return how a node is right now; change nothing."""
    try:
        found = target.look()
    except PidfileError as exc:
        return target.report("unknown", error=str(exc))
    if isinstance(found, LivePid):
        said = doing(target.healthfile, found.pid)
        state, note = _state(found, said)
        recorded = target.record.queues if target.record and found.ready else ()
        return target.report(
            state,
            pid=found.pid,
            seconds=age(found.pid),
            queues=list(said.queues or recorded),
            note=note and f"{target.name}: {note}",
            error=target.trouble,
            **_work(said),
        )
    if target.trouble:
        return target.report("unknown", error=target.trouble)
    if isinstance(found, Stale):
        return target.report("stale", note=f"stale pidfile {target.pidfile}: {found.why}")
    return target.report("down")


def _state(live: LivePid, said: Doing) -> tuple[str, str | None]:
    """Return the state of a live process, and the reason if it is not ready.

    The lock of the pidfile says that it was ready once, the health file that it still is.
    """
    verdict = said.verdict
    if not live.ready:
        return "starting", None
    if verdict is None or verdict.health is None:
        return "ready", None
    reasons = "; ".join(verdict.reasons) or None
    if not verdict.live:
        return "stuck", reasons
    if verdict.ready:
        return "ready", None
    state = verdict.health.facts.get("state")
    return (str(state) if state in ("stopping", "quiet", "stuck") else "unready"), reasons


def _work(said: Doing) -> dict[str, float | None]:
    return {"running_tasks": said.running_tasks, "oldest_seconds": said.oldest_seconds}


@dataclass
class _Going:
    """A process that was told to end."""

    target: Target
    live: LivePid
    since: float
    deadline: float | None
    killed: bool = False


class Stopper:
    """Signals nodes, and reports each when it is gone or its time is up."""

    def __init__(
        self, number: int, *, timeout: float | None = None, then_kill: bool = False
    ) -> None:
        self.number = number
        self.timeout = timeout
        self.then_kill = then_kill
        self._going: list[_Going] = []

    @property
    def idle(self) -> bool:
        return not self._going

    @property
    def pids(self) -> list[int]:
        """The processes that are watched."""
        return [going.live.pid for going in self._going]

    def waited(self) -> list[Report]:
        """Return how each is that was told to end and has not: state `stopping`.

        `seconds` is how long it was waited for.
        """
        now = time.monotonic()
        return [
            going.target.report(
                "stopping",
                pid=going.live.pid,
                seconds=now - going.since,
                **_work(doing(going.target.healthfile, going.live.pid)),
            )
            for going in self._going
        ]

    def tell(self, target: Target) -> Report:
        """Signal a node; from now on `turn` watches it. Its report says what was done.

        States: `signalled`, `down` (nobody was there), `refused`, `failed`.
        """
        try:
            found = target.look()
            if not isinstance(found, LivePid):
                note = target.clear(found) if isinstance(found, Stale) else None
                return target.report("down", note=note)
        except PidfileError as exc:
            return target.report("failed", exit_code=73, error=str(exc))
        said = doing(target.healthfile, found.pid)
        try:
            if not send_signal(found.pid, found.born, self.number):
                return target.report("down", old_pid=found.pid)
        except PermissionError:
            error = f"not allowed to signal pid {found.pid}: it belongs to another user"
            return target.report("refused", pid=found.pid, exit_code=77, error=error)
        now = time.monotonic()
        deadline = None if self.timeout is None else now + self.timeout
        self._going.append(
            _Going(target, found, now, deadline, killed=self.number == signal.SIGKILL)
        )
        return target.report(
            "signalled", pid=found.pid, signal=signal_name(self.number), **_work(said)
        )

    def turn(self) -> list[Report]:
        """Look at each once; return those that are gone (`stopped`, `killed`) or `timeout`."""
        reports = []
        for going in list(self._going):
            report = self._look(going, time.monotonic())
            if report is not None:
                self._going.remove(going)
                reports.append(report)
        return reports

    def _look(self, going: _Going, now: float) -> Report | None:
        target, live = going.target, going.live
        if not is_alive(live.pid, live.born):
            # A killed process leaves its pidfile behind.
            remove_stale(target.pidfile)
            state = "killed" if going.killed else "stopped"
            return target.report(state, old_pid=live.pid, seconds=now - going.since)
        if going.deadline is None or now < going.deadline:
            return None
        if self.then_kill and not going.killed:
            going.killed = True
            # The kernel needs a moment, longer if the process waits for a disk.
            going.deadline = now + 5.0
            send_signal(live.pid, live.born, signal.SIGKILL)
            return None
        waited = now - going.since
        error = f"pid {live.pid} still runs after {waited:.0f} s"
        return target.report("timeout", pid=live.pid, seconds=waited, error=error)


def signal_name(number: int) -> str:
    """Return TERM for 15; the number itself if it has no name."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
