"""A frame of the live view: lines of words, each with a style, that fit a width and a height.

A line is a list of (text, style); a style is a colour, `bold`, `dim` or `reverse`, or nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from taskctl.console import WORDS
from taskctl.core.redact import mask_text
from taskctl.tables import (
    GAP,
    NOTHING,
    Column,
    lay_out,
    number,
    seconds,
    short_id,
    shorten,
    up,
    width_of,
)

from .queue import COLUMNS as QUEUES
from .status import COLUMNS as NODES
from .top_detail import detail_lines, help_lines

Line = list[tuple[str, str]]
Row = Mapping[str, Any]

#: Longest text of a cell before it is fitted to the screen.
_LONGEST = 300
#: Colours of the states of tasks; those of nodes are the console's.
_STATES = {
    "STARTED": "blue", "SUCCESS": "green", "FAILURE": "red", "RETRY": "yellow", "REVOKED": "yellow",
    "REJECTED": "yellow",
}  # fmt: skip
#: A broker's URL is not shown in fewer columns.
_SHORTEST = 12
#: Rows of each pane that are shown before another gets more, and who then gets how soon.
_FAIR = {"nodes": 4, "queues": 3, "tasks": 5, "failures": 3}
#: Panes that a low screen leaves out, in this order.
_DROPPED = ("failures", "queues", "nodes")
_EMPTY = {
    "nodes": "NODES     none is registered",
    "queues": "QUEUES    none is known",
    "tasks": "TASKS     none is running",
    "failures": "FAILURES  none was told of",
}


def arguments(row: Row) -> str:
    """Return arguments as they stand in a call, out of the texts of args and kwargs."""
    args, kwargs = str(row["args"] or ""), str(row["kwargs"] or "")
    if args[:1] + args[-1:] in ("()", "[]"):
        args = args[1:-1].removesuffix(",")
    return mask_text(", ".join(part for part in (args, _by_name(kwargs)) if part))


def _by_name(kwargs: str) -> str:
    """Return `a=1, b=2` of a dict's text; the text itself where it was cut short."""
    try:
        found = ast.literal_eval(kwargs or "{}")
        return ", ".join(f"{key}={value!r}" for key, value in found.items())
    except (ValueError, SyntaxError, AttributeError, RecursionError, MemoryError):
        return kwargs


def clip(value: Any) -> str:
    """Return a text as a cell takes it: one line, not endless, without secrets."""
    return NOTHING if value is None else mask_text(" ".join(str(value)[:_LONGEST].split()))


def clock(value: float | None) -> str:
    """Return the local time of day."""
    return NOTHING if value is None else f"{datetime.fromtimestamp(value):%H:%M:%S}"


def outcome(row: Row) -> str:
    """Return what there is to say of a task: its exception, its result, or its arguments."""
    if row["exception"]:
        return clip(row["exception"])
    given = arguments(row)[:_LONGEST]
    return f"{given} → {clip(str(row['result']))}" if row["result"] else given


def _took(row: Row) -> str:
    if row["running_seconds"] is not None:
        return seconds(row["running_seconds"])
    return NOTHING if row["runtime_seconds"] is None else f"{row['runtime_seconds']:.3f} s"


def _name(row: Row) -> str:
    return clip(row["name"])


TASKS = (
    Column("name", "TASK", of_row=_name, shrinks=True),
    Column("id", "ID", short_id),
    Column("node", "NODE", shrinks=True, need=4),
    Column("running_seconds", "RUNNING", seconds, right=True),
    Column("child", "CHILD", right=True, need=1),
    Column("args", "ARGUMENTS", of_row=lambda row: arguments(row)[:_LONGEST], shrinks=True, need=2),
)
#: Tasks of all states, in the live view of `events`.
ALL_TASKS = (
    Column("since", "TIME", clock, need=3),
    Column("state", "STATE"),
    Column("name", "TASK", of_row=_name, shrinks=True),
    Column("id", "ID", short_id),
    Column("node", "NODE", shrinks=True, need=4),
    Column("running_seconds", "TOOK", of_row=_took, right=True, need=5),
    Column("result", "OUTCOME OR ARGUMENTS", of_row=outcome, shrinks=True, need=2),
)
FAILURES = (
    Column("since", "FAILED", clock),
    Column("state", "STATE", need=1),
    Column("name", "TASK", of_row=_name, shrinks=True),
    Column("id", "ID", short_id),
    Column("node", "NODE", shrinks=True, need=4),
    Column("exception", "EXCEPTION", clip, shrinks=True, need=5),
)


class Pane(NamedTuple):
    """A list in the frame; `selected` is the position of the row under the cursor."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    selected: int | None = None


# -- the frame


def frame(picture: Any, view: Any, width: int, height: int) -> list[Line]:
    """Return the lines of a screen, exactly `height` of them."""
    room = max(0, height - 2)
    if view.mode == "help":
        body = help_lines(view.read_only, width)
    elif view.opened is not None:
        body = detail_lines(view.opened, picture.at, width)
        view.scroll = max(0, min(view.scroll, len(body) - room))
        body = body[view.scroll :]
    else:
        body = _panes(panes(picture, view), width, room)
    body = body[:room] + [[] for _ in range(room - len(body))]
    return [_head(picture, view, width), *body, _foot(picture, view, width)][:height]


def page(picture: Any, view: Any, width: int | None) -> list[Line]:
    """Return the lines of one whole frame, however many, with no row selected: no key can be."""
    lines: list[Line] = []
    for pane in panes(picture, view):
        lines += ([[]] if lines else []) + _draw(pane._replace(selected=None), width, None)
    return lines


def panes(picture: Any, view: Any) -> list[Pane]:
    """Return the lists of a frame, ordered and filtered as the view says."""
    at = view.selected(picture) or ("", 0)
    chosen: dict[str, tuple[Sequence[Column], Sequence[Row]]] = {
        "nodes": (NODES, picture.nodes),
        "queues": (QUEUES, picture.queues),
        "tasks": (TASKS if len(view.panes) > 1 else ALL_TASKS, view.tasks(picture)),
        "failures": (FAILURES, view.failures(picture)),
    }
    return [Pane(name, *chosen[name], at[1] if at[0] == name else None) for name in view.panes]


def _panes(shown: list[Pane], width: int, room: int) -> list[Line]:
    for name in _DROPPED:
        # A pane takes a title, a row, and a line between it and the next.
        if len(shown) > 1 and 3 * len(shown) - 1 > room:
            shown = [pane for pane in shown if pane.name != name]
    rows = room - 2 * len(shown) + 1
    shares = allot({pane.name: len(pane.rows) for pane in shown}, rows)
    lines: list[Line] = []
    for pane in shown:
        lines += ([[]] if lines else []) + _draw(pane, width, shares[pane.name])
    return lines


def allot(wanted: Mapping[str, int], room: int) -> dict[str, int]:
    """Share `room` rows among panes that want so many: each its fair part, then tasks first."""
    shares = dict.fromkeys(wanted, 0)
    for limit in (1, *sorted(set(_FAIR.values())), None):
        for name in sorted(wanted, key=lambda name: name != "tasks"):
            fair = wanted[name] if limit is None else min(limit, _FAIR[name])
            more = max(0, min(wanted[name], fair) - shares[name])
            shares[name] += min(more, max(0, room - sum(shares.values())))
    return shares


def _draw(pane: Pane, width: int | None, share: int | None) -> list[Line]:
    """Return a list under its titles, cut to `share` rows around the selected one."""
    if not pane.rows:
        return [[(_EMPTY[pane.name][:width], "dim")]]
    if share is not None and share < min(2, len(pane.rows)):
        return [[(f"{pane.name.upper():<10}{len(pane.rows):,} not shown"[:width], "dim")]]
    first, last = _window(len(pane.rows), share, pane.selected or 0)
    layout = lay_out(pane.columns, pane.rows[first:last], width)
    lines: list[Line] = [[(GAP.join(layout.lines[0]).rstrip()[:width], "bold")]]
    for position, cells in enumerate(layout.lines[1:], first):
        lines.append(_row(layout.columns, cells, position == pane.selected))
    hidden = len(pane.rows) - (last - first)
    if hidden:
        lines.append([(f"… {hidden:,} more"[:width], "dim")])
    return lines


def _window(count: int, share: int | None, selected: int) -> tuple[int, int]:
    """Return which rows are shown; one line is kept for `… n more` if some are not."""
    if share is None or count <= share:
        return 0, count
    size = max(0, share - 1)
    first = max(0, min(selected - size // 2, count - size))
    return first, first + size


def _row(columns: Sequence[Column], cells: Sequence[str], selected: bool) -> Line:
    if selected:
        return [(GAP.join(cells), "reverse")]
    line: Line = []
    for column, cell in zip(columns, cells, strict=True):
        word = cell.strip()
        style = WORDS.get(word) or _STATES.get(word, "") if column.key == "state" else ""
        line += [(cell, style), (GAP, "")]
    return line[:-1]


# -- above and below


def _head(picture: Any, view: Any, width: int) -> Line:
    right = f"paused · {clock(picture.at)}" if view.paused else clock(picture.at)
    if picture.gone_seconds is not None:
        text, style = f"broker gone since {up(picture.gone_seconds)}", "red"
    else:
        text, style = _counts(picture), ""
    room = width - width_of(text) - width_of(right) - 4
    broker = f"  {shorten(picture.broker, room)}" if room >= _SHORTEST else ""
    gap = " " * max(2, width - width_of(text) - width_of(broker) - width_of(right))
    return [(text, style), (broker, "dim"), (gap, ""), (right, "bold")]


def _counts(picture: Any) -> str:
    ready = sum(1 for node in picture.nodes if node["state"] != "silent")
    running = sum(1 for row in picture.tasks if row["running_seconds"] is not None)
    waiting = sum(row["depth"] for row in picture.queues)
    nodes = f"{ready}/{len(picture.nodes)} nodes" if picture.nodes else "no nodes"
    return f"{nodes} · {number(running)} running · {number(waiting)} waiting"


def _foot(picture: Any, view: Any, width: int) -> Line:
    if view.mode == "filter":
        return [(f"filter: {view.typed}"[1 - width :], ""), ("█", "dim")]
    if view.mode == "confirm":
        row = view.asking.row
        word = "kill" if view.asking.what == "terminate" else "revoke"
        question = f"{word} {row['name']}[{short_id(row['id'])}] on {row['node'] or 'all nodes'}?"
        return [(shorten(question, max(10, width - 7)), "yellow"), (" [y/N] ", "bold")]
    if view.message:
        return [(shorten(view.message, width), "yellow")]
    if view.mode == "help":
        return [("any key goes back"[:width], "dim")]
    if view.opened is not None:
        keys = "Esc back  ↑↓ scroll" + ("" if view.read_only else "  x revoke  X kill")
        return [(keys[:width], "dim")]
    line: Line = []
    for text, style in _hints(picture, view):
        if sum(width_of(part) for part, _ in line) + width_of(text) > width:
            break
        line.append((text, style))
    return line


def _hints(picture: Any, view: Any) -> Line:
    """Return what is worth knowing now: what is filtered, what is missing, which keys there are."""
    found: Line = []
    if view.filter:
        found.append((f"filter {view.filter!r} (Esc: all)  ", "yellow"))
    if picture.events in ("off", "some"):
        whose = (
            "no node sends task events" if picture.events == "off" else "some send no task events"
        )
        found.append((whose + ("  " if view.read_only else " (e: on)  "), "yellow"))
    keys = ("? help", "q quit", "Enter open", "/ filter", "s sort", "p pause", "x revoke", "X kill")
    return found + [(f"{key}  ", "dim") for key in keys if not (view.read_only and key[0] in "xX")]
