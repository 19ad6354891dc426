"""Draws what logs say of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.tables import Column, number, seconds, short_id

_NUMBERS = ("received", "succeeded", "failed", "retried", "rejected", "revoked")


def _short(value: float | None) -> str:
    """Return a length of time; tasks are often over in milliseconds."""
    return f"{value * 1000:.1f} ms" if value is not None and value < 1 else seconds(value)


_STATS = (
    Column("task", "TASK", shrinks=True),
    *(
        Column(key, key.upper(), number, right=True, need=need)
        for key, need in zip(_NUMBERS, (8, None, None, 4, 3, 2), strict=True)
    ),
    Column("incomplete", "INCOMPLETE", number, right=True, need=6),
    Column("mean_seconds", "MEAN", _short, right=True, need=5),
    Column("longest_seconds", "LONGEST", _short, right=True, need=5),
)
_STATS_WIDE = (
    *_STATS[:7],
    Column("ignored", "IGNORED", number, right=True),
    Column("requeued", "REQUEUED", number, right=True),
    *_STATS[7:],
)
_INCOMPLETE = (
    Column("task", "TASK", shrinks=True),
    Column("id", "ID", short_id),
    Column("at", "RECEIVED", need=2),
    Column("file", "FILE", shrinks=True, need=1),
)


def draw_stats(console: Console, rows: Sequence[Mapping[str, Any]], records: int) -> None:
    """Draw one line for each kind of task, and the sum."""
    console.rows("logtool.stats", _STATS, rows, wide=_STATS_WIDE)
    total = {key: sum(row[key] for row in rows) for key in (*_NUMBERS, "incomplete")}
    console.summary(
        f"{total['received']:,} received: {total['succeeded']:,} succeeded, "
        f"{total['failed']:,} failed, {total['incomplete']:,} incomplete; {records:,} records read"
    )


def draw_incomplete(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw tasks without an end."""
    wide = [Column("id", "ID") if one.key == "id" else one for one in _INCOMPLETE]
    console.rows("logtool.incomplete", _INCOMPLETE, rows, name="id", wide=wide)
    count = len(rows)
    console.summary(f"{count:,} task{'' if count == 1 else 's'} did not complete")


def report_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the report that Celery's logtool makes."""
    succeeded = sum(row["succeeded"] for row in rows)
    errors = sum(row["failed"] + row["rejected"] for row in rows)
    completed = succeeded + errors + sum(row["ignored"] + row["revoked"] for row in rows)
    yield from ("", "Report", "======")
    yield f"Task total: {sum(row['received'] for row in rows)}"
    yield f"Task errors: {errors}"
    yield f"Task success: {succeeded}"
    yield f"Task completed: {completed}"
    yield from ("Tasks", "=====")
    for row in rows:
        yield f"{row['task']}: {row['received']}"
    yield ""
