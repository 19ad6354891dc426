"""`taskctl queue`: look at queues, pause, resume and delete them."""

from __future__ import annotations

import fnmatch
from typing import Any

import click

from taskctl.apps import client_app
from taskctl.at_broker import reaching, refuse_unknown
from taskctl.command import AtLeast, Command, Group, Option
from taskctl.completions import Named, queues
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.redact import mask
from taskctl.core.remote import queues as desk
from taskctl.failures import OK
from taskctl.selection import list_options, take_selection
from taskctl.views.queue import draw_messages, draw_queue, draw_queues
from taskctl.watch import watch_option, watching

from .queue_delete import delete
from .queue_pause import pause, resume

FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")


@click.pass_obj
def _ls(context: Context, /, names: tuple[str, ...], watch: float | None, **options: Any) -> int:
    console = context.console(formats=FORMATS, selection=take_selection(options))
    app = client_app(context)

    def draw(page: Console) -> int:
        with reaching(app):
            rows = desk.list_queues(app.shared_connection())
        draw_queues(page, _fitting(rows, names), app.conf.task_dead_letter_queue)
        return OK

    return watching(console, watch, draw)


def _fitting(rows: list[desk.Row], names: tuple[str, ...]) -> list[desk.Row]:
    """Return the rows of these names and patterns; refuse a name that nothing has."""
    if not names:
        return rows
    known = [row["queue"] for row in rows]
    refuse_unknown([name for name in names if not any(c in name for c in "*?[")], known)
    return [row for row in rows if any(fnmatch.fnmatchcase(row["queue"], n) for n in names)]


@click.pass_obj
def _show(context: Context, name: str) -> int:
    console = context.console(formats=FORMATS)
    app = client_app(context)
    with reaching(app):
        row = desk.show_queue(app.shared_connection(), name)
        if row is None:
            refuse_unknown([name], app.existing_queues())
    assert row is not None
    draw_queue(console, row)
    return OK


@click.pass_obj
def _peek(context: Context, /, name: str, limit: int, **options: Any) -> int:
    console = context.console(formats=FORMATS, selection=take_selection(options))
    app = client_app(context)
    with reaching(app):
        connection = app.shared_connection()
        rows = desk.peek(connection, name, limit)
        if not rows and not desk.queue_exists(connection, name):
            refuse_unknown([name], app.existing_queues())
        waiting = desk.depth_of(connection, name) or 0
    draw_messages(console, [mask(row) for row in rows], max(waiting, len(rows)))
    return OK


def queue_name() -> click.Argument:
    """Return the argument of a command about one queue."""
    return click.Argument(["name"], metavar="NAME", type=Named(queues))


class _Queue(Group):
    """Its commands in the order they are needed, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


command = _Queue(
    "queue",
    no_args_is_help=False,
    help="Show, pause and delete queues.",
    examples=("taskctl queue ls", "taskctl queue peek images -n 3"),
    commands={
        "ls": Command(
            "ls",
            callback=_ls,
            params=[
                click.Argument(["names"], nargs=-1, metavar="[NAME]...", type=Named(queues)),
                watch_option(),
                *list_options(),
            ],
            help="List queues: what waits, who takes it, how old it is and how fast it goes.",
            examples=("taskctl queue ls", "taskctl queue ls 'img*' --where 'depth > 100' -w"),
        ),
        "show": Command(
            "show",
            callback=_show,
            params=[queue_name()],
            help="Show one queue, with its consumers and bindings.",
            examples=("taskctl queue show images", "taskctl queue show images -o json"),
        ),
        "peek": Command(
            "peek",
            callback=_peek,
            params=[
                queue_name(),
                Option(
                    ["-n", "--limit"], type=AtLeast(int, 1), default=10, metavar="N",
                    help="how many messages (default: 10)",
                ),
                *list_options(),
            ],
            help="Show what comes next in a queue, taking nothing.",
            examples=("taskctl queue peek images", "taskctl queue peek images -n 100 -o name"),
        ),
        "pause": pause,
        "resume": resume,
        "delete": delete,
    },
)  # fmt: skip
