"""Draw how a task ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskctl.console import Console

FORMATS = ("table", "wide", "plain", "name", "json", "jsonl", "celery")


def draw_sent(console: Console, call: Mapping[str, Any]) -> None:
    """Print the id of a call that was sent."""
    if console.format == "json":
        console.document("call", ok=True, items=[call])
    elif console.format == "jsonl":
        console.json(call)
    else:
        console.line(call["id"])


def draw_outcome(console: Console, schema: str, outcome: Mapping[str, Any], *, ok: bool) -> None:
    """Print what a task returned; of one that failed only a document says anything here."""
    if console.format == "json":
        console.document(schema, ok=ok, items=[outcome])
    elif console.format == "jsonl":
        console.json(outcome)
    elif ok:
        console.line(str(outcome["result"]))


def draw_traceback(console: Console, outcome: Mapping[str, Any]) -> None:
    """Print where a task failed."""
    if console.format == "json":
        console.document("result", ok=True, items=[outcome])
    elif console.format == "jsonl":
        console.json(outcome)
    elif outcome["traceback"]:
        console.line(outcome["traceback"].rstrip())
    else:
        console.note(f"{outcome['id']} ended {outcome['state']}: there is no traceback")
