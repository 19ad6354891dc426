"""`taskctl worker`: run a node, in the foreground or detached."""

from __future__ import annotations

from typing import Any

import click

from taskctl.command import Command
from taskctl.context import Context

from .worker_options import WORKER_OPTIONS
from .worker_start import start
from .worker_values import click_option


@click.pass_obj
def _worker(context: Context, /, **given: Any) -> int:
    return start(context, given)


command = Command(
    "worker",
    callback=_worker,
    params=[
        *map(click_option, WORKER_OPTIONS),
        click.Argument(["overrides"], nargs=-1, metavar="[KEY=VALUE]..."),
    ],
    help="Run a node: take tasks from queues and see each to its end.",
    examples=(
        "taskctl -A proj worker -l INFO -c 4 -Q images,video -n w1@%h",
        "taskctl -A proj worker -D --pidfile=run/%n.pid --logfile=log/%n%I.log",
    ),
)
