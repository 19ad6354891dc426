"""Draw the bindings of queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.tables import Column

from .purge import plural

_COLUMNS: Sequence[Column] = (
    Column("queue", "QUEUE", shrinks=True),
    Column("exchange", "EXCHANGE", shrinks=True),
    Column("routing_key", "ROUTING KEY", shrinks=True),
    Column("type", "TYPE", need=1),
)
_CELERY = ("Queue", "Exchange", "Routing Key")


def draw_bindings(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """List bindings, in Celery's three columns if that is wanted."""
    if console.format != "celery":
        console.rows("list.bindings", _COLUMNS, rows)
        console.summary(plural(len(rows), "binding"))
        return
    if console.selection is not None:
        rows = console.selection.rows(rows, [column.key for column in _COLUMNS])
    for cells in (_CELERY, ("-" * 16,) * 3):
        console.line(_celery_line(*cells))
    for row in rows:
        console.line(_celery_line(row["queue"], row["exchange"], row["routing_key"]))


def _celery_line(queue: str, exchange: str, key: str) -> str:
    """Return a line as Celery 5.7 writes it (bin/list.py)."""
    return f"{queue:<28} {exchange:<28} {key}"
