"""What a node says of itself: its record in the registry, and the state word in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .worker import Worker


def record(worker: Worker) -> dict[str, Any]:
    """Return what the registry says of a node."""
    running = worker.pool.running()
    now = time.monotonic()
    return {
        "state": state(worker, len(running)),
        "pool": worker.pool.name,
        "slots": worker.pool.size,
        "busy": len(running),
        "queues": sorted(worker.consumer.queues),
        "done": worker.totals.done,
        "failed": worker.totals.failed,
        "oldest_seconds": max((now - one.since for one in running), default=None),
        "uptime_seconds": now - worker.started_at,
        "tasks": sorted(name for name in worker.tasks if not name.startswith("celery.")),
    }


def state(worker: Worker, busy: int) -> str:
    """Return the state word of a node with so many `busy` children."""
    if worker.stopping:
        return "stopping"
    if not worker.ready:
        return "starting"
    return "busy" if busy >= worker.pool.size else "ok"
