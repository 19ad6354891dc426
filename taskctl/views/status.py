"""The table of `status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskctl.tables import NOTHING, Column, joined, number, seconds, up


def _slots(row: Any) -> str:
    if row["slots"] is None:
        return NOTHING
    return "?" if row["busy"] is None else f"{row['busy']}/{row['slots']}"


def _up(row: Any) -> str:
    if row["state"] != "silent":
        return up(row["uptime_seconds"])
    seen = row["last_seen_seconds"]
    return "never seen" if seen is None else f"seen {up(seen)} ago"


COLUMNS: Sequence[Column] = (
    Column("node", "NODE", shrinks=True),
    Column("state", "STATE"),
    Column("slots", "SLOTS", right=True, of_row=_slots, need=5),
    Column("queues", "QUEUES", joined, shrinks=True, need=6),
    Column("done", "DONE", number, right=True, need=3),
    Column("failed", "FAILED", number, right=True, need=4),
    Column("oldest_seconds", "OLDEST", seconds, right=True, need=2),
    Column("uptime_seconds", "UP", of_row=_up, need=1),
)

WIDE: Sequence[Column] = (
    *COLUMNS,
    Column("busy", "BUSY", number, right=True),
    Column("host", "HOST"),
    Column("pid", "PID", right=True),
    Column("pool", "POOL"),
    Column("last_seen_seconds", "SEEN", seconds, right=True),
)


def summary(answered: int, missing: int, silent: str) -> str:
    """Return how many answered, and who did not."""
    total = answered + missing
    text = f"{answered} of {total} node{'s' if total != 1 else ''} answered"
    return f"{text}; {silent}" if silent else text
