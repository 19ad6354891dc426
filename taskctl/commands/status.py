"""`taskctl status`: one line per node, with what the registry knows and who answers now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from taskctl.apps import client_app
from taskctl.command import Command
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.remote.cluster import Answer, NodeRecord
from taskctl.failures import OK
from taskctl.remote import Asking, Fleet, remote_options, silence, warn_of_namesakes
from taskctl.selection import Selection, list_options, take_selection
from taskctl.views.celery_text import online, reply_lines
from taskctl.views.status import COLUMNS, WIDE, summary
from taskctl.watch import watch_option, watching

#: Facts of a node's record that are shown as they are.
_FACTS = (
    "host", "pid", "pool", "slots", "busy", "queues", "done", "failed", "oldest_seconds",
    "uptime_seconds", "version", "reasons",
)  # fmt: skip
#: What nobody knows of a node that is silent.
_MOMENTARY = ("busy", "done", "failed", "oldest_seconds", "uptime_seconds", "reasons")


@click.pass_obj
def _status(context: Context, /, **options: Any) -> int:
    every, selection = options.pop("watch"), take_selection(options)
    piped = "celery" if selection == Selection() else "plain"
    console = context.console(piped=piped, celery_json=True, selection=selection)
    fleet = Fleet(client_app(context), Asking(**options))
    if console.out.isatty():  # whoever looks may type a name next, and want it completed
        fleet.heard = lambda records: _remember(context, fleet, records)
    return watching(console, every, lambda page: _ask(page, fleet))


def _remember(context: Context, fleet: Fleet, records: Sequence[NodeRecord]) -> None:
    from taskctl.names import names_of, remember  # 6 ms, which a script need not pay

    names = names_of({node.name: node.record for node in records if node.alive})
    remember(context, names, fleet.app.control.connection.url)


def _ask(console: Console, fleet: Fleet) -> int:
    answer = fleet.ask("ping")
    code = fleet.exit_code(answer)
    warn_of_namesakes(console, answer)
    if console.celery_json:
        console.json(answer.by_node())
    elif console.format == "celery":
        for line in reply_lines(answer.replies, bodies=False, quiet=console.quiet):
            console.line(line)
        for line in online(len(answer.by_node())):
            console.line(line)
    else:
        _draw(console, node_rows(answer, fleet.records()), answer, code)
    return code


def node_rows(answer: Answer, records: Iterable[NodeRecord]) -> list[dict[str, Any]]:
    """Return one row per node that answered or should have, ordered by name."""
    known = list(records)
    rows = [
        _row(name, _record_of(reply.node, reply.pid, known), True)
        for name, reply in zip(answer.names(), answer.replies, strict=True)
    ]
    for name, age in answer.missing.items():
        rows.append(_row(name, _record_of(name, None, known), False, age))
    return sorted(rows, key=lambda row: str(row["node"]))


def _record_of(name: str, pid: int | None, records: Sequence[NodeRecord]) -> NodeRecord | None:
    """Return what a node said last: of several of that name the one of this pid, else the last."""
    found = [node for node in records if node.name == name]
    same = [node for node in found if pid is not None and node.record.get("pid") == pid]
    return min(same or found, key=lambda node: node.age, default=None)


def _row(
    name: str, node: NodeRecord | None, answered: bool, age: float | None = None
) -> dict[str, Any]:
    record = node.record if node is not None else {}
    facts = {key: record.get(key) for key in _FACTS}
    state = record.get("state", "unknown") if answered else "silent"
    seen = 0.0 if answered else age
    if not answered:
        facts.update(dict.fromkeys(_MOMENTARY))
    return {
        "node": name, "state": state, **facts,
        "last_seen": None if seen is None else _time(seen), "last_seen_seconds": seen,
    }  # fmt: skip


def _time(ago: float) -> str:
    at = datetime.now(UTC) - timedelta(seconds=ago)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _draw(console: Console, rows: list[dict[str, Any]], answer: Answer, code: int) -> None:
    missing = list(answer.missing)
    if console.format == "json":
        nodes = _documents(rows, console.selection or Selection())
        console.document("status", ok=code == OK and not missing, nodes=nodes, missing=missing)
        return
    console.rows("status", COLUMNS, rows, wide=WIDE)
    for row in rows:
        for reason in row["reasons"] or ():
            console.summary(f"{row['node']} {row['state']}: {reason}")
    console.summary(summary(len(answer.replies), len(missing) + answer.unnamed, silence(answer)))


def _documents(rows: list[dict[str, Any]], selection: Selection) -> dict[str, Any]:
    """Return the rows as the nodes of a native document."""
    keys = list(rows[0]) if rows else []
    selection.check_fields(keys)
    nodes: dict[str, Any] = {}
    for row in selection.rows(rows, keys):
        facts = {key: value for key, value in selection.pick(row).items() if key != "node"}
        silent = {"code": "silent", "message": "did not answer", **facts}
        nodes[row["node"]] = {"error": silent} if row["state"] == "silent" else {"ok": facts}
    return nodes


command = Command(
    "status",
    callback=_status,
    params=[*remote_options(), watch_option(), *list_options()],
    help="Show one line per node.",
    examples=("taskctl -A proj status", "taskctl -A proj status --expect 4 -q"),
)
