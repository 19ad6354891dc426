"""What a node does right now, as it said itself in its health file; nothing is asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from taskctl.core.errors import HealthFileError
from taskctl.core.health import Verdict, judge


@dataclass(frozen=True)
class Doing:
    """What a node last said; None where it said nothing that can be believed."""

    running_tasks: int | None = None
    oldest_seconds: float | None = None
    queues: tuple[str, ...] = ()
    verdict: Verdict | None = None


def doing(healthfile: str, pid: int) -> Doing:
    """Return what the process `pid` says of itself; nothing if the file is another's, or none."""
    try:
        verdict = judge(healthfile)
    except HealthFileError:
        return Doing()  # a broken file says nothing; whether the node lives, its pidfile says
    health = verdict.health
    if health is None or health.pid != pid:
        return Doing()
    if not verdict.live:
        return Doing(verdict=verdict)
    busy, oldest = health.facts.get("busy"), health.facts.get("oldest_seconds")
    running = busy if isinstance(busy, int) else None
    if running and isinstance(oldest, int | float):
        oldest = float(oldest) + (verdict.age or 0.0)  # it has gone on since
    else:
        oldest = None
    queues = health.facts.get("queues") or ()
    return Doing(running, oldest, tuple(map(str, queues)), verdict)
