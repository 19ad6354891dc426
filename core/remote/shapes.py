"""What a node must answer to each question; who draws answers need not fear nonsense.

Nodes of Celery's are other programs, and so are those that only look like them.  Fields that a
release of theirs may leave out have a default here; more than is named may be said.
"""

from __future__ import annotations

from typing import Any

import msgspec

Table = dict[str, Any]


class _Task(msgspec.Struct):
    """A task as `active` and others show it."""

    id: str
    name: str | None = None
    type: str | None = None
    args: Any = None
    kwargs: Any = None
    time_start: float | None = None
    delivery_info: Table | None = None
    worker_pid: int | None = None


class _Entry(msgspec.Struct):
    """A task that waits for its ETA."""

    request: _Task
    eta: str | None


class _Exchange(msgspec.Struct):
    name: str | None = None
    type: str | None = None


class _Queue(msgspec.Struct):
    name: str
    exchange: _Exchange | None = None
    routing_key: str | None = None


class _Pool(msgspec.Struct, rename={"max_concurrency": "max-concurrency"}):
    implementation: str = ""
    max_concurrency: Any = None
    processes: list[Any] = []


class _Memory(msgspec.Struct):
    parent: int
    children: int
    peak: int


class _Stats(msgspec.Struct):
    total: dict[str, int] = {}
    pool: _Pool | None = None
    broker: Table | None = None
    pid: int | None = None
    uptime: float | None = None
    rusage: dict[str, float] | str | None = None
    memory: _Memory | None = None


class _Clock(msgspec.Struct):
    clock: int


class _Done(msgspec.Struct):
    ok: Any


_ANSWERS: dict[str, Any] = {
    "active": list[_Task],
    "reserved": list[_Task],
    "scheduled": list[_Entry],
    "query_task": dict[str, tuple[str, _Task]],
    "active_queues": list[_Queue],
    "registered": list[str],
    "revoked": list[str],
    "stats": _Stats,
    "clock": _Clock,
    "conf": Table,
    "ping": _Done,
    "report": _Done,
    "memsample": str | None,
    "memdump": str | None,
}


def sound(method: str, value: Any) -> Any:
    """Return an answer if it is one to the question; else an error reply that says why not."""
    expected = _ANSWERS.get(method)
    if expected is None or (isinstance(value, dict) and "error" in value):
        return value
    wrapped = expected is not _Done and isinstance(value, dict) and "ok" in value
    try:
        msgspec.convert(value["ok"] if wrapped else value, expected)
    except msgspec.ValidationError as exc:
        text = str(exc)[:1].lower() + str(exc)[1:]
        return {"error": f"the node's answer makes no sense: {text}"}
    return value
