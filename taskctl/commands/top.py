"""`taskctl top`: nodes, queues, running tasks and failures, live."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from taskctl.apps import client_app, unreachable
from taskctl.command import OPTIONS, AtLeast, Command, Option
from taskctl.console import Console, wants_colour
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError
from taskctl.core.remote.queues import timestamp
from taskctl.failures import OK, UNAVAILABLE
from taskctl.live.gather import Gatherer, look
from taskctl.live.model import View
from taskctl.live.rows import Look, Picture, Row
from taskctl.views.top import page

_FORMATS = ("table", "wide", "json")
#: The panes of one frame; failures only events tell of, and one frame hears none.
_ONCE = ("nodes", "queues", "tasks")


@click.pass_obj
def _top(context: Context, /, once: bool, read_only: bool, interval: float, timeout: float) -> int:
    console = context.console(piped="table", formats=_FORMATS)
    app = client_app(context)
    live = not once and console.format != "json"
    if live and not has_terminal():
        context.note("no terminal to draw on: one frame, as with --once")
        live = False
    if live:
        return live_view(context, app, View(read_only=read_only), interval, timeout)
    return _draw_once(console, app, timeout)


def has_terminal() -> bool:
    """Return whether a live view can be drawn, and its keys read."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "")


def live_view(context: Context, app: App, view: View, interval: float, timeout: float) -> int:
    """Show the live view until it is left; return the exit code."""
    # Imported here alone: it brings rich, which nothing else needs.
    from taskctl.live.run import run_live

    everything = len(view.panes) == 1
    gatherer = Gatherer(app, interval=interval, timeout=timeout, everything=everything)
    try:
        gatherer.start()
        return run_live(gatherer, view, colour=wants_colour(context.color, sys.stdout))
    except BrokerConnectionError as exc:
        raise unreachable(app, exc) from exc
    finally:
        gatherer.stop()


def _draw_once(console: Console, app: App, timeout: float) -> int:
    try:
        seen = look(app, timeout)
    except BrokerConnectionError as exc:
        raise unreachable(app, exc) from exc
    code = OK if seen.answered else UNAVAILABLE
    if console.format == "json":
        _draw_document(console, seen, code)
        return code
    picture = Picture(at=seen.at, nodes=seen.nodes, queues=seen.queues, tasks=seen.active)
    width = None if console.format == "wide" else console.width()
    for line in page(picture, View(panes=_ONCE), width):
        console.line("".join(console.paint(text, style) for text, style in line).rstrip())
    if not seen.answered:
        console.warn(f"no node answered in {timeout:g} s")
    elif seen.missing:
        console.warn(f"silent: {', '.join(seen.missing)}")
    return code


def _draw_document(console: Console, seen: Look, code: int) -> None:
    nodes: dict[str, Any] = {}
    for row in seen.nodes:
        facts = {key: value for key, value in row.items() if key != "node"}
        error = {"code": "silent", "message": "did not answer", **facts}
        nodes[row["node"]] = {"error": error} if row["state"] == "silent" else {"ok": facts}
    console.document(
        "top",
        ok=code == OK and not seen.missing,
        nodes=nodes,
        missing=seen.missing,
        queues=list(seen.queues),
        tasks=[_task(row) for row in seen.active],
    )


def _task(row: Row) -> Row:
    """Return a running task as documents bear it, without what only events could tell."""
    keys = ("id", "name", "state", "node", "running_seconds", "args", "kwargs", "child", "queue")
    started = row["started"]
    return {
        **{key: row[key] for key in keys},
        "started_at": None if started is None else timestamp(started),
    }


def live_options(group: str = OPTIONS) -> list[click.Parameter]:
    """Return the options of every live view, under this heading of the help."""
    return [
        Option(
            ["--interval"], type=AtLeast(float, 0.1), default=1.0, metavar="SECONDS", group=group,
            help="ask nodes again after so many seconds (default: 1)",
        ),
        Option(
            ["--read-only"], is_flag=True, group=group,
            help="no key revokes, kills or changes anything",
        ),
    ]  # fmt: skip


command = Command(
    "top",
    callback=_top,
    params=[
        Option(["--once"], is_flag=True, help="print one frame, and exit"),
        *live_options(),
        Option(
            ["-t", "--timeout"], type=AtLeast(float, 0.01), default=1.0, metavar="SECONDS",
            help="longest time to wait for nodes (default: 1)",
        ),
    ],
    help="Watch nodes, queues and tasks live; ? shows the keys.",
    examples=("taskctl -A proj top", "taskctl -A proj top --once -o json | jq .queues"),
)  # fmt: skip
