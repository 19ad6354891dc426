"""Draw settings: what they are, where they were set, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.tables import Column, Row

_COLUMNS = (
    Column("key", "SETTING"),
    Column("value", "VALUE", show=lambda value: shown(value), shrinks=True),
    Column("from", "FROM", shrinks=True),
)
_PROBLEM_COLUMNS = (
    Column("severity", "SEVERITY"),
    Column("key", "SETTING"),
    Column("message", "PROBLEM"),
    Column("from", "FROM"),
)


def shown(value: Any) -> str:
    """Return a value as people read it: texts bare, everything else as Python writes it."""
    return value if isinstance(value, str) and value.strip() == value != "" else repr(value)


def draw_settings(console: Console, items: Sequence[Row], *, total: int) -> None:
    """List settings; a summary counts those that differ from their defaults."""
    if console.format == "json":
        console.document("config.show", ok=True, items=list(map(_native, items)))
        return
    if console.format == "jsonl":
        for item in items:
            console.json(_native(item))
        return
    console.rows("config.show", _COLUMNS, items)
    changed = sum(item["value"] != item["default"] for item in items)
    differ = "differs from its default" if changed == 1 else "differ from their defaults"
    more = "" if len(items) == total else " (-a shows all)"
    console.summary(f"{changed} of {total} settings {differ}{more}")


def draw_setting(console: Console, item: Mapping[str, Any]) -> None:
    """Print one bare value, or the document of it."""
    if console.format in ("json", "jsonl"):
        native = _native(item)
        if console.format == "json":
            console.document("config.get", ok=True, items=[native])
        else:
            console.json(native)
        return
    value = item["value"]
    console.line(value if isinstance(value, str) else _bare(value))


def draw_problems(console: Console, problems: Sequence[Mapping[str, Any]], *, ok: bool) -> None:
    """List what is wrong, one line each, with its place; or say that nothing is."""
    if console.format in ("json", "jsonl", "name"):
        console.rows("config.check", _PROBLEM_COLUMNS, problems, ok=ok, name="key")
        return
    if console.format == "plain":
        console.rows("config.check", _PROBLEM_COLUMNS, problems, ok=ok)
        return
    for problem in problems:
        colour = "red" if problem["severity"] == "error" else "yellow"
        place = f"{problem['from']}: " if problem["from"] else ""
        console.line(f"{console.paint(problem['severity'], colour)}: {place}{problem['message']}")
    if not problems:
        console.line("ok: no unknown, unused or conflicting settings")
        return
    errors = sum(problem["severity"] == "error" for problem in problems)
    console.summary(f"{errors} wrong, {len(problems) - errors} without effect or doubtful")


def _bare(value: Any) -> str:
    """Return what a script can read: JSON where there is a word for it."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _native(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "from"}
