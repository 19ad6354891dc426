"""Draw dead letters: the list, one of them whole, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskctl.console import Console
from taskctl.tables import NOTHING, Column, number, short_id, up

from .purge import plural


def _ago(value: str | None) -> str:
    if value is None:
        return NOTHING
    passed = datetime.now(UTC) - datetime.fromisoformat(value)
    return f"{up(max(0.0, passed.total_seconds()))} ago"


def _last_line(value: str | None) -> str:
    return (value or "").strip().rpartition("\n")[2] or NOTHING


COLUMNS: Sequence[Column] = (
    Column("id", "ID", short_id),
    Column("task", "TASK", shrinks=True),
    Column("queue", "QUEUE", shrinks=True, need=4),
    Column("reason", "REASON", need=6),
    Column("failed_at", "FAILED", _ago, right=True, need=5),
    Column("attempts", "TRIES", number, right=True, need=1),
    Column("exception", "EXCEPTION", _last_line, shrinks=True, need=3),
)
WIDE: Sequence[Column] = (
    Column("id", "ID"),
    Column("task", "TASK"),
    Column("queue", "QUEUE"),
    Column("reason", "REASON"),
    Column("failed_at", "FAILED"),
    Column("attempts", "TRIES", number, right=True),
    Column("node", "NODE"),
    Column("exception", "EXCEPTION"),
    Column("traceback", "TRACEBACK"),
)
DONE: Sequence[Column] = (
    Column("id", "ID", short_id),
    Column("task", "TASK", shrinks=True),
    Column("queue", "QUEUE", shrinks=True),
    Column("result", "RESULT"),
)
_FACTS = ("task", "args_repr", "queue", "reason", "failed_at", "attempts", "node", "priority")
#: Headers that say nothing, and those that the facts say already.
_DEFAULTS: Sequence[Any] = (None, {}, [], [None, None], 0)
_SHOWN_ABOVE = ("id", "task", "argsrepr", "kwargsrepr")
_WHOLE = (*WIDE, *(Column(key, key.upper()) for key in ("args_repr", "priority", "headers")))


def draw_letters(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """List dead letters, the oldest first."""
    console.rows("dlq.ls", COLUMNS, rows, wide=WIDE)
    console.summary(plural(len(rows), "dead letter"))


def draw_letter(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show letters with everything that is known."""
    if console.format not in ("table", "wide"):
        console.rows("dlq.show", _WHOLE, rows)
        return
    for row in rows:
        console.line(str(row["id"]))
        for key in _FACTS:
            if row[key] is not None:
                console.line(f"  {key.replace('args_repr', 'arguments'):<9}  {row[key]}")
        if row["exception"]:
            console.line(f"  {'exception':<9}  {row['exception']}")
        for key, value in row["headers"].items():
            if value not in _DEFAULTS and key not in _SHOWN_ABOVE:
                console.line(f"  header {key}: {json.dumps(value, ensure_ascii=False)}")
        if row["traceback"]:
            console.line()
            for line in str(row["traceback"]).rstrip().splitlines():
                console.line(f"  {line}")


def draw_done(
    console: Console, schema: str, rows: Sequence[Mapping[str, Any]], said: str, *, ok: bool = True
) -> None:
    """List what was done to each letter."""
    console.rows(schema, DONE, rows, ok=ok)
    console.summary(said)
