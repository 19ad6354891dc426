"""`config check`: what is wrong, what does nothing, and what will hurt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from taskctl.apps import user_app
from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.config import Problem
from taskctl.core.errors import AppNotFound, ImproperlyConfigured, TaskctlError
from taskctl.core.redact import mask
from taskctl.core.settings_risks import Site, find_risks
from taskctl.failures import CONFIG, OK
from taskctl.selection import list_options, take_selection
from taskctl.views.config import draw_problems

_LISTS = ("table", "wide", "plain", "name", "json", "jsonl")
ADVICE = "advice"


@click.pass_obj
def _check(context: Context, /, strict: bool, **options: Any) -> int:
    console = context.console(piped="table", formats=_LISTS, selection=take_selection(options))
    problems = list(_problems(context))
    items = [
        {"severity": p.severity, "key": p.key or None, "message": p.message, "from": p.where}
        for p in problems
    ]
    wrong = any(strict or problem.severity != ADVICE for problem in problems)
    draw_problems(console, [mask(item) for item in items], ok=not wrong)
    return CONFIG if wrong else OK


def _problems(context: Context) -> Iterator[Problem]:
    """Yield what is wrong with the settings, also if it keeps the app from being imported."""
    try:
        app = user_app(context)
        yield from app.conf.check()
        yield from _idle_options(app)
        yield from advice(app)
    except ImproperlyConfigured as exc:
        yield Problem.of_error(exc)
    except AppNotFound as exc:
        cause = settings_error(exc)
        if cause is None:
            raise
        yield Problem.of_error(cause)


def _idle_options(app: App) -> Iterator[Problem]:
    """Yield the options of the broker that it cannot use, or that do nothing there."""
    key = "broker_transport_options"
    if not app.conf[key]:
        return
    where = app.conf.origin(key).where
    try:
        idle = app.connection().idle_options()
    except ImproperlyConfigured as exc:
        yield Problem(key, "error", str(exc), where)
        return
    for name, reason in idle.items():
        yield Problem(key, "warning", f"{name} of {key} has no effect: {reason}", where)


def advice(app: App) -> list[Problem]:
    """Return what is allowed and dangerous; nothing if the settings cannot even be read."""
    try:
        app.conf.read()
        app.import_default_modules()
        tasks = {name: app.tasks[name] for name in app.tasks if not name.startswith("celery.")}
        return find_risks(app.conf, Site(app.broker_url(), app.backend_url(), tasks))
    except TaskctlError:
        # The checks before this one, or the import, have told it already.
        return []


def settings_error(exc: BaseException) -> ImproperlyConfigured | None:
    """Return the settings error that ended an import, if one did."""
    cause = exc.__cause__ or exc.__context__
    while cause is not None:
        if isinstance(cause, ImproperlyConfigured):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


check = Command(
    "check",
    callback=_check,
    params=[
        Option(["--strict"], is_flag=True, help="exit 78 for advice too, not for faults alone"),
        *list_options(),
    ],
    help="Find unknown, unused, conflicting and dangerous settings.",
    examples=("taskctl -A proj config check", "taskctl -A proj config check --strict -o json"),
)
