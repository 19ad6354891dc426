"""One task in full, and the keys of the live view."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from taskctl.core.redact import mask_text
from taskctl.tables import NOTHING, seconds, up

Line = list[tuple[str, str]]
Row = Mapping[str, Any]

_TIMES = ("sent", "received", "started", "ended")
_TEXTS = ("args", "kwargs", "result", "exception", "eta", "expires", "parent_id", "root_id")
_INDENT = 11

_KEYS = (
    ("q", "quit"),
    ("↑ ↓  j k", "select; PgUp PgDn Home End: further"),
    ("Enter", "open a task: arguments, times, node, traceback"),
    ("s  r", "sort tasks by the next key; the other way round"),
    ("/", "show only what has this text: in name, id, node, state, arguments"),
    ("p", "hold the display, and go on"),
    ("x", "revoke the task: it is skipped if it has not begun"),
    ("X", "kill the task that runs (revoke, with SIGTERM)"),
    ("e", "let all nodes send task events, until they restart"),
    ("?", "this"),
)


def help_lines(read_only: bool, width: int) -> list[Line]:
    """Return the page of keys, in lines that fit."""
    room = max(10, width - 12)
    lines: list[Line] = [[]]
    for key, text in _KEYS:
        if read_only and key in ("x", "X", "e"):
            continue
        first, *rest = textwrap.wrap(text, room)
        lines.append([(f"  {key:<10}", "bold"), (first, "")])
        lines += [[(" " * 12 + more, "")] for more in rest]
    if read_only:
        lines += [[], [("  read-only: nothing can be revoked", "dim")]]
    return lines


def detail_lines(row: Row, now: float, width: int) -> list[Line]:
    """Return all that is known of a task, in lines that fit."""
    lines: list[Line] = [[(str(row["name"] or "unknown task"), "bold")]]
    for key, text in _facts(row, now):
        lines += _pair(key, text, width)
    if row["traceback"]:
        lines.append([])
        for text in mask_text(str(row["traceback"])).splitlines():
            lines += [[(part, "")] for part in _wrapped(text, width)]
    elif row["exception"]:
        lines += [[], [("no traceback was sent", "dim")]]
    return lines


def _facts(row: Row, now: float) -> Iterator[tuple[str, str]]:
    yield "id", str(row["id"])
    yield "state", str(row["state"])
    yield "node", str(row["node"] or NOTHING) + (f", child {row['child']}" if row["child"] else "")
    if row["queue"]:
        yield "queue", str(row["queue"])
    for key in _TIMES:
        if row[key]:
            yield key, _when(row[key], now)
    if row["running_seconds"] is not None:
        yield "running", seconds(row["running_seconds"])
    if row["runtime_seconds"] is not None:
        yield "took", f"{row['runtime_seconds']:.3f} s"
    if row["retries"]:
        yield "retries", str(row["retries"])
    for key in _TEXTS:
        if row[key] is not None:
            yield key.removesuffix("_id"), mask_text(str(row[key]))


def _when(at: float, now: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {up(now - at)} ago"


def _pair(key: str, text: str, width: int) -> list[Line]:
    parts = [p for line in text.splitlines() or [""] for p in _wrapped(line, width - _INDENT)]
    first: Line = [(f"{key:<{_INDENT}}", "dim"), (parts[0], "")]
    return [first, *([(" " * _INDENT + part, "")] for part in parts[1:])]


def _wrapped(text: str, width: int) -> list[str]:
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    options: dict[str, Any] = {"drop_whitespace": False, "break_on_hyphens": False}
    return textwrap.wrap(clean, max(10, width), **options) or [""]
