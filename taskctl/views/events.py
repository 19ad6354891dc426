"""Events as text: Celery's dump, and a line for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from taskctl.core.remote.event_memory import Recent
from taskctl.tables import short_id

from .top import arguments, clip

Event = Mapping[str, Any]

#: Celery's first line (events/dumper.py of 5.7).
STARTING = "-> evdump: starting capture..."
#: The end of the year 9999, which is as far as dates go.
_LAST = 253402300800.0
#: Most tasks whose names are remembered, as in Celery.
_NAMES = 0xFFF
_TYPES = {
    "worker-offline": "shutdown", "worker-online": "started", "worker-heartbeat": "heartbeat",
}  # fmt: skip
#: What a line for people says otherwise, or not at all.
_SAID = frozenset(
    {
        "type", "hostname", "timestamp", "uuid", "name", "args", "kwargs", "pid", "clock",
        "utcoffset", "local_received", "root_id", "parent_id", "traceback",
    }
)  # fmt: skip
_WORDS = {
    "task-succeeded": "green", "task-failed": "red", "task-retried": "yellow",
    "task-revoked": "yellow", "task-rejected": "yellow", "worker-offline": "yellow",
}  # fmt: skip

Paint = Callable[[str, str], str]


def seconds_of(event: Event) -> float:
    """Return the Unix time an event bears; 0 if it bears none that can be shown."""
    value = event.get("timestamp")
    return float(value) if isinstance(value, int | float) and 0 <= value < _LAST else 0.0


class CeleryDump:
    """Writes events as `celery events --dump` does; knows the names of tasks it has seen."""

    def __init__(self) -> None:
        self._names: Recent[str] = Recent(_NAMES)

    def line(self, event: Event) -> str:
        """Return the line of one event."""
        fields = dict(event)
        at = datetime.fromtimestamp(seconds_of(event), UTC)
        fields.pop("timestamp", None)
        kind = str(fields.pop("type")).lower()
        head = f"{fields.pop('hostname', None)} [{at}] {_TYPES.get(kind, kind.replace('-', ' '))}"
        if not kind.startswith("task-"):
            rest = _pairs(fields)
            return f"{head}{':' if rest else ''} {rest}"
        task = self._task(kind, fields)
        rest = _pairs(fields)
        return f"{head}{':' if rest else ''} {task} {rest}"

    def _task(self, kind: str, fields: dict[str, Any]) -> str:
        uuid = str(fields.pop("uuid", None))
        if kind in ("task-received", "task-sent"):
            name, args, kwargs = (fields.pop(word, None) for word in ("name", "args", "kwargs"))
            self._names[uuid] = f"{name}({uuid}) args={args} kwargs={kwargs}"
        return self._names.get(uuid, "")


def _pairs(fields: Event) -> str:
    return ", ".join(f"{key}={fields[key]}" for key in sorted(fields))


class People:
    """Writes events as lines for people: time, node, what happened, to which task."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint
        self._names: Recent[str] = Recent(_NAMES)

    def line(self, event: Event) -> str:
        """Return the line of one event."""
        at = datetime.fromtimestamp(seconds_of(event))
        kind = str(event["type"])
        word = self._paint(f"{kind:<16}", _WORDS.get(kind, ""))
        parts = [f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}", clip(event.get("hostname")), word]
        if uuid := event.get("uuid"):
            parts.append(self._task(str(uuid), event))
        parts.append(clip(_pairs({k: v for k, v in event.items() if k not in _SAID and v})))
        return "  ".join(part for part in parts if part).rstrip()

    def _task(self, uuid: str, event: Event) -> str:
        if event.get("name"):
            self._names[uuid] = clip(event["name"])
        task = f"{self._names.get(uuid, '')}[{clip(short_id(uuid))}]"
        given = arguments({"args": event.get("args"), "kwargs": event.get("kwargs")})
        return f"{task}  {clip(given)}" if given else task
