"""`taskctl queue pause` and `resume`: let no node take from a queue, or let them again."""

from __future__ import annotations

import time
from typing import Any

import click

from taskctl.apps import client_app
from taskctl.at_broker import foreign_takers, reaching, refuse_unknown
from taskctl.command import AtLeast, Command, Option
from taskctl.completions import Named, queues
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.remote import queues as desk
from taskctl.failures import OK, PARTIAL
from taskctl.views.queue import DONE

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")
#: Seconds between two looks at whether the nodes have obeyed.
_LOOK = 0.05


@click.pass_obj
def _pause(context: Context, names: tuple[str, ...], timeout: float) -> int:
    console = context.console(formats=_FORMATS)
    app = client_app(context)
    with reaching(app):
        connection = app.shared_connection()
        for name in names:
            if not desk.queue_exists(connection, name):
                refuse_unknown([name], app.existing_queues())
        fresh = {name: desk.pause_queue(connection, name) for name in names}
        words = {name: "paused" if new else "paused already" for name, new in fresh.items()}
        code = _report(console, app, words, timeout, paused=True)
        foreign = foreign_takers(app, names, min(timeout, 1.0))
    for queue, nodes in foreign.items():
        console.warn(
            f"nodes of Celery's take from {queue!r} and cannot obey: {', '.join(nodes)}; tell them:"
            f" taskctl control cancel_consumer {queue} -d {','.join(nodes)}"
        )
    return PARTIAL if foreign else code


@click.pass_obj
def _resume(context: Context, names: tuple[str, ...], timeout: float) -> int:
    console = context.console(formats=_FORMATS)
    app = client_app(context)
    with reaching(app):
        connection = app.shared_connection()
        for name in names:
            if name not in desk.paused_queues(connection) and not desk.queue_exists(
                connection, name
            ):
                refuse_unknown([name], app.existing_queues())
        found = {name: desk.resume_queue(connection, name) for name in names}
        words = {name: "resumed" if was else "was not paused" for name, was in found.items()}
        return _report(console, app, words, timeout, paused=False)


def _report(
    console: Console, app: App, words: dict[str, str], timeout: float, *, paused: bool
) -> int:
    """Wait until the nodes have obeyed, say who did; return 3 if some did not in time."""
    rows = []
    deadline = time.monotonic() + timeout
    while True:
        rows = [_row(app, name, word, paused) for name, word in words.items()]
        silent = [node for row in rows for node in row["silent"]]
        if not silent or time.monotonic() >= deadline:
            break
        time.sleep(_LOOK)
    console.rows("queue.pause" if paused else "queue.resume", DONE, rows, ok=not silent)
    return PARTIAL if silent else OK


def _row(app: App, queue: str, word: str, paused: bool) -> dict[str, Any]:
    takers = [
        node
        for node in app.control.cluster.nodes(1.0)
        if node.alive and queue in (node.record.get("queues") or ())
    ]
    obeyed = {node.name: (queue in (node.record.get("paused") or ())) == paused for node in takers}
    return {
        "queue": queue,
        "result": word,
        "paused": paused,
        "nodes": [name for name, did in obeyed.items() if did],
        "silent": [name for name, did in obeyed.items() if not did],
    }


def _params() -> list[click.Parameter]:
    return [
        click.Argument(
            ["names"], nargs=-1, required=True, metavar="NAME...", type=Named(queues)
        ),
        Option(
            ["-t", "--timeout"], type=AtLeast(float, 0.0), default=2.0, metavar="SECONDS",
            help="longest time to wait for the nodes to obey (default: 2.0)",
        ),
    ]  # fmt: skip


pause = Command(
    "pause",
    callback=_pause,
    params=_params(),
    help="Let no node take from a queue until it is resumed; what runs goes on.",
    examples=("taskctl queue pause images", "taskctl queue pause images video -t 10"),
)
resume = Command(
    "resume",
    callback=_resume,
    params=_params(),
    help="Let nodes take from a paused queue again.",
    examples=("taskctl queue resume images", "taskctl queue resume images video"),
)
