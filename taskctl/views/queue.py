"""Draw queues: their numbers, their messages, and what was done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.tables import NOTHING, Column, joined, number, seconds, short_id

from .purge import plural


def _rate(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value == 0 or value >= 100:
        return f"{value:,.0f}/s"
    return f"{value:.1f}/s" if value >= 10 else f"{value:.2f}/s"


def _flag(word: str) -> Any:
    return lambda value: word if value else ""


COLUMNS: Sequence[Column] = (
    Column("queue", "QUEUE", shrinks=True),
    Column("depth", "DEPTH", number, right=True),
    Column("unacked", "UNACKED", number, right=True, need=4),
    Column("consumers", "CONSUMERS", number, right=True, need=5),
    Column("oldest_seconds", "OLDEST", seconds, right=True, need=3),
    Column("rate", "RATE", _rate, right=True, need=2),
    Column("paused", "PAUSED", _flag("paused"), need=6),
)
WIDE: Sequence[Column] = (
    *COLUMNS,
    Column("due", "DUE LATER", number, right=True),
    Column("nodes", "NODES", joined),
)
MESSAGES: Sequence[Column] = (
    Column("id", "ID", short_id),
    Column("task", "TASK", shrinks=True),
    Column("args_repr", "ARGUMENTS", shrinks=True),
    Column("enqueued_at", "ENQUEUED", need=1),
    Column("redelivered", "AGAIN", _flag("again"), need=2),
    Column("priority", "PRIORITY", number, right=True, need=0),
)
MESSAGES_WIDE: Sequence[Column] = (Column("id", "ID"), *MESSAGES[1:])
DONE: Sequence[Column] = (
    Column("queue", "QUEUE", shrinks=True),
    Column("result", "RESULT"),
    Column("nodes", "NODES", joined, shrinks=True, need=2),
    Column("silent", "SILENT", joined, shrinks=True, need=3),
)
DELETED: Sequence[Column] = (
    Column("queue", "QUEUE", shrinks=True),
    Column("messages", "MESSAGES", number, right=True),
    Column("unacked", "UNACKED", number, right=True, need=1),
    Column("consumers", "CONSUMERS", number, right=True, need=2),
)


def draw_queues(console: Console, rows: Sequence[Mapping[str, Any]], dead_queue: str) -> None:
    """List queues, and say in a line what needs an eye; `dead_queue` holds the dead letters."""
    console.rows("queue.ls", COLUMNS, rows, wide=WIDE)
    console.summary(summary(rows, dead_queue))


def summary(rows: Sequence[Mapping[str, Any]], dead_queue: str) -> str:
    """Return how much waits, and where nobody takes it."""
    alive = [row for row in rows if row["queue"] != dead_queue]
    waiting = sum(row["depth"] for row in alive)
    dead = sum(row["depth"] for row in rows) - waiting
    parts = [f"{plural(waiting, 'message')} in {plural(len(alive), 'queue')}"]
    if left := [row["queue"] for row in alive if row["depth"] and not row["consumers"]]:
        parts.append(f"no taskctl node takes from: {', '.join(left)}")
    if len(alive) < len(rows):
        parts.append(f"{plural(dead, 'dead letter')}" + (": taskctl dlq ls" if dead else ""))
    return "; ".join(parts)


def draw_queue(console: Console, row: Mapping[str, Any]) -> None:
    """Show one queue with all that is known."""
    if console.format not in ("table", "wide"):
        extra = (Column("paused_since", ""), Column("bindings", ""))
        console.rows("queue.show", (*WIDE, *extra), [row])
        return
    oldest = "" if row["oldest_seconds"] is None else f", oldest {seconds(row['oldest_seconds'])}"
    console.line(f"{row['queue']}  {plural(row['depth'], 'message')} waiting{oldest}")
    facts = {
        "unacked": number(row["unacked"]),
        "due later": number(row["due"]),
        "consumers": ", ".join(row["nodes"]) or "none registered",
        "rate": f"{_rate(row['rate'])} in the last minute" if row["rate"] is not None else "",
        "paused": f"since {row['paused_since']}" if row["paused"] else "",
    }
    for name, text in facts.items():
        if text:
            console.line(f"  {name:<9}  {text}")
    for binding in row["bindings"]:
        kind = f"{binding['type']} " if binding["type"] else ""
        key = f", key {binding['routing_key']}" if binding["routing_key"] else ""
        console.line(f"  {'bound to':<9}  {kind}exchange {binding['exchange']}{key}")


def draw_messages(console: Console, rows: Sequence[Mapping[str, Any]], waiting: int) -> None:
    """List what comes next in a queue."""
    console.rows("queue.peek", MESSAGES, rows, wide=MESSAGES_WIDE)
    console.summary(f"the next {len(rows):,} of {plural(waiting, 'message')}")


def draw_deleted(console: Console, rows: Sequence[Mapping[str, Any]], *, dry_run: bool) -> None:
    """List deleted queues, or those that would be."""
    console.rows("queue.delete", DELETED, rows)
    total = plural(sum(row["messages"] for row in rows), "message")
    verb = "would delete" if dry_run else "deleted"
    console.summary(f"{verb} {plural(len(rows), 'queue')} with {total}")
