"""Draw what a purge took away, or would take."""

from __future__ import annotations

from collections.abc import Mapping

from taskctl.console import Console
from taskctl.tables import Column, number

_COLUMNS = (
    Column("queue", "QUEUE", shrinks=True),
    Column("messages", "MESSAGES", show=number, right=True),
)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 message`, `1,204 messages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def draw_counts(console: Console, counts: Mapping[str, int]) -> None:
    """List how many messages wait in each queue; nothing was deleted."""
    rows = [{"queue": queue, "messages": count} for queue, count in counts.items()]
    console.rows("purge", _COLUMNS, rows)
    total = plural(sum(counts.values()), "message")
    console.summary(f"would delete {total} from {plural(len(counts), 'queue')}")


def draw_purged(console: Console, counts: Mapping[str, int]) -> None:
    """Say what is gone: as Celery does, unless data was asked for."""
    if console.format in ("json", "jsonl", "plain", "name"):
        rows = [{"queue": queue, "messages": count} for queue, count in counts.items()]
        console.rows("purge", _COLUMNS, rows)
        return
    queues = "queue" if len(counts) == 1 else "queues"
    if total := sum(counts.values()):
        messages = "message" if total == 1 else "messages"
        console.line(f"Purged {total} {messages} from {len(counts)} known task {queues}.")
    else:
        console.line(f"No messages purged from {len(counts)} {queues}.")
