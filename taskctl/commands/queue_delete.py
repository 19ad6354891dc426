"""`taskctl queue delete`: remove queues with their bindings and all that waits in them."""

from __future__ import annotations

from typing import Any

import click

from taskctl.apps import client_app
from taskctl.at_broker import foreign_takers, reaching, refuse_unknown
from taskctl.command import Command, Option
from taskctl.completions import Named, queues
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.remote import queues as desk
from taskctl.failures import OK, TRY_LATER, CommandError
from taskctl.views.purge import plural
from taskctl.views.queue import draw_deleted

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")


@click.pass_obj
def _delete(context: Context, names: tuple[str, ...], force: bool, dry_run: bool) -> int:
    console = context.console(formats=_FORMATS)
    app = client_app(context)
    with reaching(app):
        rows = _rows(app, names)
        if not dry_run:
            if not force:
                _refuse_consumed(rows)
            _ask(context, rows, force)
            for row in rows:
                row["messages"] = _drop(app, row, force)
    draw_deleted(console, rows, dry_run=dry_run)
    lent = sum(row["unacked"] for row in rows)
    if lent:
        console.note(f"{plural(lent, 'message')} lent to nodes stay with them")
    return OK


def _rows(app: App, names: tuple[str, ...]) -> list[dict[str, Any]]:
    known = {row["queue"]: row for row in desk.list_queues(app.shared_connection())}
    refuse_unknown(names, known)
    foreign = foreign_takers(app, names, 1.0)
    rows = []
    for name in dict.fromkeys(names):
        row = known[name]
        nodes = [*row["nodes"], *foreign.get(name, [])]
        rows.append(
            {
                "queue": name,
                "messages": row["depth"] + row["due"],
                "unacked": row["unacked"],
                "consumers": len(nodes),
                "nodes": nodes,
            }
        )
    return rows


def _refuse_consumed(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["consumers"]:
            name = row["queue"]
            raise CommandError(
                f"queue {name!r} has {plural(row['consumers'], 'consumer')}:"
                f" {', '.join(row['nodes'])}; nothing was deleted",
                f"let them stop first: taskctl control cancel_consumer {name}",
                "or delete it all the same: --force",
                code="consumed",
            )


def _ask(context: Context, rows: list[dict[str, Any]], force: bool) -> None:
    total = sum(row["messages"] for row in rows)
    if total:
        where = ", ".join(row["queue"] for row in rows)
        context.confirm(
            f"delete {plural(len(rows), 'queue')} ({where}) with {plural(total, 'message')}"
            " for good?",
            required=True,
            force=force,
        )


def _drop(app: App, row: dict[str, Any], force: bool) -> int:
    """Delete one queue; one that was empty goes only if it still is."""
    connection, name = app.shared_connection(), row["queue"]
    if row["messages"] or force:
        return desk.delete_queue(connection, name)
    if not desk.delete_empty_queue(connection, name):
        raise CommandError(
            f"a message has just come to queue {name!r}: it was not deleted",
            "look again: taskctl queue ls",
            exit_code=TRY_LATER,
            code="busy",
        )
    return 0


delete = Command(
    "delete",
    callback=_delete,
    params=[
        click.Argument(
            ["names"], nargs=-1, required=True, metavar="NAME...", type=Named(queues)
        ),
        Option(
            ["-f", "--force"], is_flag=True, help="do not ask, and also if nodes take from it"
        ),
        Option(["--dry-run"], is_flag=True, help="delete nothing; count what would go"),
    ],
    help="Delete queues with all that waits there; refused while nodes take from them.",
    examples=("taskctl queue delete old --dry-run", "taskctl queue delete old older -y"),
)  # fmt: skip
