"""`taskctl status`: one line per node, with what the registry knows and who answers now."""

from __future__ import annotations

from typing import Any

import click

from taskctl.apps import client_app
from taskctl.command import Command
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.remote.cluster import Answer, NodeRecord
from taskctl.failures import OK
from taskctl.remote import Asking, Fleet, by_name, remote_options
from taskctl.views.celery_text import online, reply_lines
from taskctl.views.status import COLUMNS, WIDE, summary

#: Facts of a node's record that are shown as they are.
_FACTS = (
    "host", "pid", "pool", "slots", "busy", "queues", "done", "failed", "oldest_seconds",
    "uptime_seconds", "version",
)  # fmt: skip


@click.pass_obj
def _status(context: Context, /, **options: Any) -> int:
    console = context.console(piped="celery", celery_json=True)
    fleet = Fleet(client_app(context), Asking(**options))
    answer = fleet.ask("ping")
    code = fleet.exit_code(answer)
    for name in answer.duplicates():
        console.warn(f"two nodes are called {name}")
    if console.celery_json:
        console.json(answer.by_node())
    elif console.format == "celery":
        for line in reply_lines(answer.replies, bodies=False, quiet=console.quiet):
            console.line(line)
        for line in () if console.quiet else online(len(answer.replies)):
            console.line(line)
    else:
        _draw(console, node_rows(answer, fleet.records()), answer, code)
    return code


def node_rows(answer: Answer, records: dict[str, NodeRecord]) -> list[dict[str, Any]]:
    """Return one row per node that answered or should have, ordered by name."""
    rows = [_row(name, records.get(name.partition("#")[0]), True) for name in by_name(answer)]
    rows += [_row(name, records.get(name), False) for name in answer.missing]
    return sorted(rows, key=lambda row: str(row["node"]))


def _row(name: str, node: NodeRecord | None, answered: bool) -> dict[str, Any]:
    record = node.record if node is not None else {}
    facts = {key: record.get(key) for key in _FACTS}
    state = record.get("state", "ok") if answered else "silent"
    seen = None if node is None else node.age
    if not answered:
        facts["busy"] = facts["oldest_seconds"] = facts["uptime_seconds"] = None
    return {"node": name, "state": state, **facts, "last_seen_seconds": seen}


def _draw(console: Console, rows: list[dict[str, Any]], answer: Answer, code: int) -> None:
    missing = list(answer.missing)
    if console.format == "json":
        nodes = {}
        for row in rows:
            facts = {key: value for key, value in row.items() if key != "node"}
            nodes[row["node"]] = {"ok": facts}
            if row["state"] == "silent":
                error = {"code": "silent", "message": "did not answer", **facts}
                nodes[row["node"]] = {"error": error}
        console.document("status", ok=code == OK and not missing, nodes=nodes, missing=missing)
        return
    console.rows("status", COLUMNS, rows, wide=WIDE)
    console.summary(summary(len(answer.replies), missing))


command = Command(
    "status",
    callback=_status,
    params=remote_options(),
    help="Show one line per node.",
    examples=("taskctl -A proj status", "taskctl -A proj status --expect 4 -q"),
)
