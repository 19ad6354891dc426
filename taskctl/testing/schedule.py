"""Beat for a test: sends what the app's schedule says, when the clock of the test gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskctl.core.beat.entry import ScheduleEntry
from taskctl.core.beat.scheduler import Scheduler

if TYPE_CHECKING:
    from .bench import Bench


class _Noting(Scheduler):
    """Keeps a list of what it sent."""

    def has_run(self, entry: ScheduleEntry, *, due_at: float, next_at: float | None) -> None:
        self.sent.append(entry.name)

    sent: list[str]


class InProcessBeat:
    """The scheduler of the program, which remembers nothing beyond the test.

    Made by the fixture `beat` or by `worker.beat`; the time it was made counts as the last run of
    each entry.
    """

    def __init__(self, bench: Bench) -> None:
        self.scheduler = _Noting(app=bench.app)
        self.scheduler.sent = []

    @property
    def sent(self) -> list[str]:
        """Names of the entries that were sent, in order."""
        return self.scheduler.sent

    def run_until_idle(self) -> list[str]:
        """Send all that is due; return the names of the entries, in order."""
        before = len(self.sent)
        while self.scheduler.next_due() is not None and self.scheduler.tick() <= 0:
            continue
        return self.sent[before:]

    def next_due(self) -> float | None:
        """Return when (Unix seconds) the next entry is due; None if there is none."""
        event = self.scheduler.next_due()
        return None if event is None else float(event.time)

    def close(self) -> None:
        """Let go of it."""
        self.scheduler.close()
