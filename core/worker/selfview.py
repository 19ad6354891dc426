"""What a node says of itself: its record in the registry, and the state word in it.

| state | means |
|---|---|
| starting | no child has booted yet |
| ok | takes tasks, and has a free slot |
| busy | every slot runs a task |
| quiet | told to take no new tasks; answers, and finishes what runs |
| stopping | takes no new tasks, and ends when what runs has ended |
| stuck | answers, but its tasks do not get on; the reasons are in the record |

A node is stuck if a child was halted (SIGSTOP, a debugger); if a task still runs `PAST_LIMIT`
seconds after its hard time limit, since its child cannot be killed or its pool cannot kill; if
each slot has been at one task for `OVERDUE` times its usual run time, and for no less than
`OVERDUE_LEAST` seconds; if no child can be started; or if the result backend takes no results.
Of nodes that do not answer at all the others say `silent`, and `unknown` of those that answer and
keep no record, as Celery's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..pool.base import Running
from ..process import is_stopped

if TYPE_CHECKING:
    from .worker import Worker

#: Seconds: a child that is killed at its limit is gone long before.
PAST_LIMIT = 2.0
#: How often the usual run time, and how many seconds at least, tell a slow task from a hang.
OVERDUE, OVERDUE_LEAST = 20.0, 60.0
#: Seconds for which a node tells of others that died and did not come back.
LOST_FOR = 600.0


def record(worker: Worker) -> dict[str, Any]:
    """Return what the registry says of a node."""
    running = worker.pool.running()
    now = time.monotonic()
    word, reasons = assess(worker, running, now)
    return {
        "state": word,
        "reasons": reasons,
        "pool": worker.pool.name,
        "slots": worker.pool.size,
        "busy": len(running),
        "queues": sorted(worker.consumer.queues),
        "paused": sorted(worker.consumer.paused_queues & worker.consumer.queues.keys()),
        "rates": worker.rates.look(worker.consumer.queues, now),
        "done": worker.totals.done,
        "failed": worker.totals.failed,
        "oldest_seconds": max((now - one.since for one in running), default=None),
        "uptime_seconds": now - worker.started_at,
        "task_events": worker.events.task_events,
        "tasks": sorted(name for name in worker.tasks if not name.startswith("celery.")),
        "lost": lost(worker, now),
        "neighbours": worker.gossip.neighbours(now),
    }


def assess(worker: Worker, running: list[Running], now: float) -> tuple[str, list[str]]:
    """Return the state word of a node that runs these, and the reasons for a bad one."""
    reasons = list(_reasons(worker, running, now))
    if worker.stopping:
        return "stopping", reasons
    if not worker.ready:
        return "starting", reasons
    if reasons:
        return "stuck", reasons
    if worker.quiet:
        return "quiet", reasons
    return "busy" if len(running) >= worker.pool.size else "ok", reasons


def _reasons(worker: Worker, running: list[Running], now: float) -> Iterator[str]:
    """Yield why the node's tasks do not get on; nothing if they do."""
    by_pid = {one.pid: one for one in running}
    for pid in worker.pool.pids():
        if is_stopped(pid):
            yield f"child {pid} is halted{_while(worker, by_pid.get(pid))}: kill -CONT {pid}"
    for one in running:
        request = worker.requests.get(one.request)
        hard = request.limits[0] if request is not None else None
        if hard is not None and now - one.since > hard + PAST_LIMIT:
            yield f"{request} runs {now - one.since:.0f} s, its limit is {hard:g} s"
    if running and len(running) >= worker.pool.size and all(_overdue(worker, running, now)):
        yield "every slot is at a task that runs far longer than it used to"
    if not worker.pool.ready() and (trouble := worker.pool.trouble()):
        yield trouble
    if worker.settlement.stuck:
        yield "the result backend takes no results"


def _overdue(worker: Worker, running: list[Running], now: float) -> Iterator[bool]:
    for one in running:
        request = worker.requests.get(one.request)
        usual = worker.prefetch.usual(request.type) if request is not None else None
        ran = now - one.since
        yield usual is not None and ran > max(OVERDUE_LEAST, OVERDUE * usual)


def _while(worker: Worker, running: Running | None) -> str:
    request = worker.requests.get(running.request) if running is not None else None
    return f" while it runs {request}" if request is not None else ""


def lost(worker: Worker, now: float) -> dict[str, float]:
    """Return nodes that died lately, as far as this one took over from them, and how long ago."""
    for name, at in list(worker.lost.items()):
        if now - at > LOST_FOR:
            del worker.lost[name]
    return {name: now - at for name, at in worker.lost.items()}
