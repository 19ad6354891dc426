"""Lines of a worker's log as facts: Celery's text format, ours, the journal's, and JSON.

A line that begins no record (a traceback, a text of several lines) belongs to the one above it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: `[2026-01-31 12:00:00,123: INFO/MainProcess] text`; before it stands nothing, or the name of a
#: node, as `multi logs` writes it.
_TEXT = re.compile(
    r"(?:\S+@\S*  )?\[(?P<at>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[,.]\d+)?): "
    r"(?P<level>[A-Z]+)/(?P<process>[^\]]*)\] ?(?P<text>.*)",
    re.DOTALL,
)
#: The same without a time, under systemd: `<6>[INFO/MainProcess] text`, and what journalctl makes.
_JOURNAL = re.compile(
    r"(?:<\d>|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \S+: |\d{4}-\d\d-\d\dT\S+ \S+ \S+: )?"
    r"\[(?P<level>[A-Z]+)/(?P<process>[^\]]*)\] ?(?P<text>.*)",
    re.DOTALL,
)
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\S+")


@dataclass(frozen=True)
class LogLine:
    """One record of a log; `at` is unix time, None where the line bears none.

    `text` is the message, `raw` the whole line, `extras` what a JSON line holds.
    """

    at: float | None
    level: str
    process: str
    text: str
    raw: str
    extras: dict[str, Any] = field(default_factory=dict)


def read_line(raw: str) -> LogLine | None:
    """Return the record a line begins, None for a line that belongs to the one above."""
    line = raw.rstrip("\r\n")
    if line.startswith("{"):
        return _read_json(line)
    bare = _COLOUR.sub("", line) if "\x1b" in line else line
    if (found := _TEXT.match(bare)) is not None:
        return LogLine(_time(found["at"]), found["level"], found["process"], found["text"], line)
    if (found := _JOURNAL.match(bare)) is not None:
        stamp = _STAMP.match(bare)
        at = _time(stamp[0]) if stamp else None
        return LogLine(at, found["level"], found["process"], found["text"], line)
    return None


def _read_json(line: str) -> LogLine | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or "message" not in fields:
        return None
    at = fields.get("time")
    return LogLine(
        _time(at) if isinstance(at, str) else None,
        str(fields.get("level", "")),
        str(fields.get("process", "")),
        str(fields["message"]),
        line,
        fields,
    )


def _time(text: str) -> float | None:
    """Return unix time; a time without zone is this host's, as the log is."""
    try:
        return datetime.fromisoformat(text.replace(",", ".")).timestamp()
    except ValueError:
        return None
