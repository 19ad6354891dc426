"""Draws `multi status`: how each node on this host is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.tables import Column, joined, number, seconds, up

from .multi import node_values

COLUMNS = (
    Column("node", "NODE", shrinks=True),
    Column("state", "STATE"),
    Column("pid", "PID", right=True),
    Column("seconds", "UP", up, right=True, need=5),
    Column("running_tasks", "TASKS", number, right=True, need=4),
    Column("oldest_seconds", "OLDEST", seconds, right=True, need=3),
    Column("queues", "QUEUES", joined, shrinks=True, need=2),
    Column("logfile", "LOG", shrinks=True, need=1),
)
WIDE = (
    *COLUMNS,
    Column("pidfile", "PIDFILE"),
    Column("error", "ERROR"),
)


def draw_status(console: Console, reports: Sequence[Mapping[str, Any]]) -> None:
    """Draw the nodes, and what is wrong with them."""
    rows = [
        {key: value for key, value in report.items() if key not in ("last_words", "note")}
        for report in reports
    ]
    ready = sum(report["state"] == "ready" for report in reports)
    selection = console.selection
    if console.format == "json" and (selection is None or not selection.fields):
        if selection is not None and rows:
            rows = [dict(row) for row in selection.rows(rows, list(rows[0]))]
        console.document("multi.status", ok=ready == len(reports), nodes=node_values(rows))
    else:
        console.rows("multi.status", COLUMNS, rows, ok=ready == len(reports), wide=WIDE)
    for report in reports:
        for text in filter(None, (report["note"], report["error"])):
            console.note(text)
    plural = "node" if len(reports) == 1 else "nodes"
    console.summary(f"{ready} of {len(reports)} {plural} ready")
