"""`taskctl purge`: delete what waits in queues; there is no way back."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

import click

from taskctl.apps import client_app, unreachable, user_app
from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError
from taskctl.failures import OK, usage
from taskctl.views.purge import draw_counts, draw_purged, plural

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl", "celery")


@click.pass_obj
def _purge(
    context: Context, force: bool, queues: str | None, exclude_queues: str | None, dry_run: bool
) -> int:
    console = context.console(piped="plain" if dry_run else "celery", formats=_FORMATS)
    # What queues there are, only the app knows.
    app = user_app(context) if context.app_spec else client_app(context)
    names = _chosen(app, _names(queues), _names(exclude_queues))
    try:
        _warn_of_unknown(context, app, names)
        counts = app.count_waiting(names)
        if not dry_run:
            _ask(context, counts, force)
            counts = app.purge_queues(names)
    except BrokerConnectionError as exc:
        raise unreachable(app, exc) from exc
    (draw_counts if dry_run else draw_purged)(console, counts)
    return OK


def _chosen(app: App, wanted: Sequence[str], excluded: Sequence[str]) -> list[str]:
    names = sorted(set(wanted or app.queues) - set(excluded))
    if not names:
        raise usage("purge has no queue left to empty: -X takes all of them")
    return names


def _warn_of_unknown(context: Context, app: App, names: Sequence[str]) -> None:
    """Tell of names that neither the settings nor the broker know: a slip would look like an OK."""
    unknown = [name for name in names if name not in app.queues]
    existing = app.existing_queues() if unknown else []
    for name in unknown:
        if name not in existing:
            near = difflib.get_close_matches(name, [*existing, *app.queues], 1)
            context.note(f"there is no queue {name!r}" + (f": {near[0]}?" if near else ""))


def _ask(context: Context, counts: dict[str, int], force: bool) -> None:
    total = sum(counts.values())
    if total or not sys.stdin.isatty():
        where = ", ".join(counts)
        context.confirm(
            f"delete {plural(total, 'message')} from {plural(len(counts), 'queue')} ({where})"
            " for good?",
            required=True,
            force=force,
        )


def _names(given: str | None) -> list[str]:
    return [name.strip() for name in (given or "").split(",") if name.strip()]


command = Command(
    "purge",
    callback=_purge,
    params=[
        Option(["-f", "--force"], is_flag=True, help="do not ask"),
        Option(["-Q", "--queues"], metavar="LIST", help="empty these queues only"),
        Option(["-X", "--exclude-queues"], metavar="LIST", help="empty all queues but these"),
        Option(["--dry-run"], is_flag=True, help="delete nothing; count what would go"),
    ],
    help="Delete all messages that wait in the app's queues; running tasks go on.",
    examples=("taskctl -A proj purge --dry-run", "taskctl -A proj purge -f -Q images,video"),
)
