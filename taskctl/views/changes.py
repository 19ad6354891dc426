"""What nodes said to a control command: what is, and what was before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskctl.console import Console
from taskctl.core.remote.cluster import Answer, NodeRecord
from taskctl.remote import by_name, content, error_of, silence
from taskctl.tables import NOTHING, Column, joined

_NODE = Column("node", "NODE", shrinks=True)
#: Nothing of this outlives the node.
_UNTIL = "(until the node restarts)"


def draw_control(console: Console, command: str, answer: Answer) -> None:
    """Draw what each node said."""
    rows = []
    for node, value in by_name(answer).items():
        facts = value if isinstance(value, dict) else {}
        rows.append(
            {
                "node": node,
                "result": "ok" if error_of(value) is None else "error",
                "text": answer_text(command, value),
                **{key: facts.get(key) for key in ("what", "old", "new")},
            }
        )
    text = Column("text", "TEXT")
    # A text holds numbers, so it is not cut: a terminal wraps it.
    columns = [_NODE, Column("result", "RESULT"), Column("text", "")]
    changes = [Column(key, key.upper(), of_row=_shown(key)) for key in ("what", "old", "new")]
    console.rows("control", columns, rows, wide=[*columns[:2], text, *changes])
    refused = sum(row["result"] == "error" for row in rows)
    if refused:
        console.summary(f"{refused} of {len(rows)} node{'s' if len(rows) != 1 else ''} refused")
    if silent := silence(answer):
        total = len(answer.replies) + len(answer.missing) + answer.unnamed
        console.summary(f"{len(answer.replies)} of {total} nodes answered; {silent}")


def answer_text(command: str, value: Any) -> str:
    """Return what one node said, in a line."""
    message = error_of(value)
    if message is not None:
        return message
    if isinstance(value, dict) and "new" in value and "old" in value:
        new, old = (said(command, value[key]) for key in ("new", "old"))
        was = "as it was" if new == old else f"was {old}"
        lasting = "" if new == old else f" {_UNTIL}"
        return f"{value.get('what')}: {new}, {was}{lasting}"
    text = content(value)
    return "" if text is None else str(text)


def said(command: str, value: Any) -> str:
    """Return an old or a new value as people say it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, Mapping):
        known = {key: one for key, one in value.items() if one is not None}
        times = command == "time_limit"
        parts = [f"{key} {one:g} s" if times else f"{key} {one}" for key, one in known.items()]
        return ", ".join(parts) or "none"
    return joined(value) if isinstance(value, list) else str(value)


def draw_dry_run(
    console: Console,
    command: str,
    arguments: str,
    targets: Mapping[str, NodeRecord | None],
    waiting: int | None,
) -> None:
    """Draw what would be sent, and what the nodes it would go to do now."""
    rows = [
        {"node": name, "running": None if node is None else node.record.get("busy")}
        for name, node in targets.items()
    ]
    line = f"{command} {arguments}".rstrip()
    if console.format == "json":
        console.document("control.dry_run", ok=True, items=rows, command=line, messages=waiting)
    elif console.format in ("jsonl", "plain", "name"):
        columns = [_NODE, Column("running", "RUNNING", right=True)]
        console.rows("control.dry_run", columns, rows)
    else:
        count = f"{len(rows)} node{'s' if len(rows) != 1 else ''}"
        console.line(f"would send {line} to {count}")
        for row in rows:
            console.line(f"  {row['node']}  {_doing(row)}")
        if waiting is not None:
            console.line(f"  {waiting} message{'s' if waiting != 1 else ''} in the queue now")


def _doing(row: Mapping[str, Any]) -> str:
    running = row["running"]
    if running is None:
        return "not registered"
    return f"{running} task{'s' if running != 1 else ''} running" if running else "idle"


def _shown(key: str) -> Any:
    return lambda row: NOTHING if row[key] is None else str(row[key])
