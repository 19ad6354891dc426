"""What nodes, queues and events say, as rows: plain dicts with the same keys always."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

#: What a row of a task bears; what is not known is None.
TASK_KEYS = (
    "id", "name", "state", "node", "since", "running_seconds", "runtime_seconds", "args",
    "kwargs", "child", "queue", "retries", "eta", "expires", "sent", "received", "started",
    "ended", "result", "exception", "traceback", "parent_id", "root_id",
)  # fmt: skip
#: Events that tell of an end.
_ENDS = ("succeeded", "failed", "retried", "revoked", "rejected")
#: Seconds by which news from two ways may cross.
_CROSSING = 2.0
STARTED = "STARTED"
FAILED = ("FAILURE", "RETRY", "REJECTED")


@dataclass(frozen=True)
class Look:
    """What asking brought, at unix time `at`: rows of nodes, queues and running tasks.

    `missing` are the nodes that were expected and silent; `events` says whether task events are
    sent: by all ("on"), some or none of the registered nodes, None if none is registered.
    """

    at: float = 0.0
    nodes: Sequence[Row] = ()
    queues: Sequence[Row] = ()
    active: Sequence[Row] = ()
    answered: int = 0
    missing: Sequence[str] = ()
    events: str | None = None


@dataclass(frozen=True)
class Picture:
    """All that a frame shows; `gone_seconds` is how long the broker has been away."""

    at: float = field(default_factory=time.time)
    broker: str = ""
    nodes: Sequence[Row] = ()
    queues: Sequence[Row] = ()
    tasks: Sequence[Row] = ()
    failures: Sequence[Row] = ()
    gone_seconds: float | None = None
    events: str | None = None
    event_count: int = 0


def active_row(node: str, request: Mapping[str, Any], now: float) -> Row:
    """Return the row of a task that `inspect active` tells of."""
    start = request.get("time_start")
    place = request.get("delivery_info") or {}
    row: Row = dict.fromkeys(TASK_KEYS)
    row.update(
        id=request.get("id"),
        name=request.get("name"),
        state=STARTED,
        node=node,
        since=start,
        started=start,
        running_seconds=None if start is None else max(0.0, now - start),
        args=_text(request.get("args")),
        kwargs=_text(request.get("kwargs")),
        child=request.get("worker_pid"),
        queue=place.get("routing_key"),
    )
    return row


def event_row(task: Any, now: float) -> Row:
    """Return the row of a task that events tell of."""
    running = task.state == STARTED and task.started is not None
    row: Row = {key: getattr(task, key, None) for key in TASK_KEYS}
    row.update(
        node=task.worker.hostname if task.worker is not None else task.client,
        since=task.timestamp,
        running_seconds=max(0.0, now - task.started) if running else None,
        runtime_seconds=task.runtime,
        child=None,
        queue=getattr(task, "queue", None) or task.routing_key,
        ended=max((t for t in (getattr(task, e) for e in _ENDS) if t), default=None),
    )
    return row


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else repr(value)


def running_rows(look: Look, tasks: Iterable[Any], now: float) -> list[Row]:
    """Return the tasks that run: those asked for, as far as events do not know better."""
    told = {task.uuid: task for task in tasks}
    rows = []
    for row in look.active:
        task = told.get(row["id"])
        if task is None:
            rows.append(_aged(row, now))
        elif not (task.ready and (task.timestamp or 0.0) > look.at - _CROSSING):
            rows.append(_merged(row, task, now))
    known = {row["id"] for row in look.active}
    rows += [
        event_row(task, now)
        for task in told.values()
        if task.state == STARTED and task.uuid not in known and (task.started or 0.0) > look.at
    ]
    return rows


def all_rows(look: Look, tasks: Iterable[Any], now: float) -> list[Row]:
    """Return every task that events or nodes tell of, each once."""
    running = {row["id"]: row for row in running_rows(look, tasks, now)}
    rows = [
        running.pop(task.uuid) if task.uuid in running else event_row(task, now) for task in tasks
    ]
    return rows + list(running.values())


def failure_rows(tasks: Iterable[Any], now: float) -> list[Row]:
    """Return tasks whose last run failed, the latest first."""
    failed = [event_row(task, now) for task in tasks if task.state in FAILED]
    return sorted(failed, key=lambda row: row["since"] or 0.0, reverse=True)


def _aged(row: Row, now: float) -> Row:
    start = row["started"]
    return row if start is None else {**row, "running_seconds": max(0.0, now - start)}


def _merged(row: Row, task: Any, now: float) -> Row:
    """Return a running task's row with what only its events say."""
    told = event_row(task, now)
    keys = ("sent", "received", "retries", "eta", "expires", "parent_id", "root_id")
    return {**_aged(row, now), **{key: told[key] for key in keys}}


def unknown_nodes(nodes: Iterable[Row]) -> list[Row]:
    """Return the rows of nodes of which nobody can say how they are now."""
    return [{**row, "state": "unknown", "busy": None, "oldest_seconds": None} for row in nodes]
