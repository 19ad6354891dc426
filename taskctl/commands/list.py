"""`taskctl list`: what the broker has; Celery's command."""

from __future__ import annotations

from typing import Any

import click

from taskctl.apps import client_app
from taskctl.at_broker import reaching
from taskctl.command import Command, Group
from taskctl.context import Context
from taskctl.core.remote import queues as desk
from taskctl.failures import OK
from taskctl.selection import list_options, take_selection
from taskctl.views.bindings import draw_bindings


@click.pass_obj
def _bindings(context: Context, /, **options: Any) -> int:
    console = context.console(piped="celery", selection=take_selection(options))
    app = client_app(context)
    with reaching(app):
        rows = desk.list_bindings(app.shared_connection())
    draw_bindings(console, rows)
    return OK


command = Group(
    "list",
    no_args_is_help=False,
    help="Show what the broker has.",
    examples=("taskctl -A proj list bindings", "taskctl list bindings -o json"),
    commands={
        "bindings": Command(
            "bindings",
            callback=_bindings,
            params=list_options(),
            help="List which exchange and routing key lead to which queue.",
            examples=(
                "taskctl -A proj list bindings",
                "taskctl list bindings --where 'exchange == news'",
            ),
        )
    },
)
