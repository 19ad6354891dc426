"""Draw settings: what they are, where they were set, and what is wrong with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.tables import Column, Row, folded

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
    bare = console.format in ("json", "jsonl")
    console.rows("config.show", _COLUMNS, list(map(_native, items)) if bare else items)
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


def draw_explanation(console: Console, item: Mapping[str, Any]) -> None:
    """Tell all there is to say of one setting, a line each."""
    match console.format:
        case "json":
            console.document("config.explain", ok=True, items=[_native(item)])
        case "jsonl":
            console.json(_native(item))
        case "name":
            console.line(item["key"])
        case "plain":
            for name, text in _explained(item):
                console.line(f"{name}\t{text}")
        case _:
            console.line(f"{console.paint(item['key'], 'bold')} = {shown(item['value'])}")
            for name, text in _explained(item):
                if name != "value":  # the first line holds it
                    first, *others = folded(text, console.width(), 12)
                    console.line(f"  {name:<9} {first}")
                    for line in others:
                        console.line(" " * 12 + line)


def _explained(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a setting means and where it comes from, as (word, text)."""
    if "help" in item:
        yield "meaning", item["help"]
        yield "type", item["type"]
    yield "value", shown(item["value"])
    yield "from", item["from"]
    for place in item["places"][1:]:
        yield "hides", f"{shown(place['value'])} ({place['from']})"
    if "help" not in item:
        yield "note", "no setting of taskctl's: kept for whoever asks for it"
        return
    default = shown(item["default"])
    if not item["own"] and item["celery_default"] != item["default"]:
        default += f" (Celery: {shown(item['celery_default'])})"
    yield "default", default
    yield "old name", ", ".join(item["old"]) or "none: Celery does not know it"
    yield "read by", ", ".join(item["read_by"]) or "nobody"
    if item["note"]:
        yield "note", item["note"]


def draw_differences(console: Console, items: Sequence[Row], sides: tuple[str, str]) -> None:
    """Put two sets of settings side by side."""
    columns = (
        Column("key", "SETTING"),
        Column("left", sides[0].upper(), show=shown, shrinks=True),
        Column("right", sides[1].upper(), show=shown, shrinks=True),
    )
    wide = (
        *columns,
        Column("left_from", "FROM", shrinks=True),
        Column("right_from", "FROM", shrinks=True),
    )
    console.rows("config.diff", columns, items, ok=not items, wide=wide)
    if not items:
        console.summary(f"no difference between {sides[0]} and {sides[1]}")
    else:
        count = len(items)
        console.summary(f"{count} setting{'' if count == 1 else 's'} differ{'s' * (count == 1)}")


#: Columns that the longest severity and its colon take.
_HEAD = 9
_SEVERITIES = {"error": "red", "warning": "yellow", "advice": "blue"}


def draw_problems(console: Console, problems: Sequence[Row], *, ok: bool) -> None:
    """List what is wrong, one line each, with its place; or say that nothing is."""
    if console.format != "table" or _selected(console):
        console.rows("config.check", _PROBLEM_COLUMNS, problems, ok=ok, name="key")
        return
    for problem in problems:
        colour = _SEVERITIES[problem["severity"]]
        place = f"{problem['from']}: " if problem["from"] else ""
        first, *others = folded(place + problem["message"], console.width(), _HEAD)
        console.line(f"{console.paint(problem['severity'], colour)}: {first}")
        for line in others:
            console.line(" " * _HEAD + line)
    count = Counter(problem["severity"] for problem in problems)
    if not problems:
        console.line("ok: no unknown, unused or conflicting settings")
    else:
        told = (
            f"{count['error']} wrong", f"{count['warning']} without effect or doubtful",
            f"{count['advice']} to think about",
        )  # fmt: skip
        console.summary(", ".join(text for text in told if not text.startswith("0 ")))


def _selected(console: Console) -> bool:
    """Return whether somebody chose rows or columns, which a list shows better than sentences."""
    chosen = console.selection
    return chosen is not None and bool(chosen.where or chosen.sort or chosen.fields)


def _bare(value: Any) -> str:
    """Return what a script can read: JSON where there is a word for it."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _native(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "from"}
