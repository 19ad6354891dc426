"""`taskctl report`: what to put into a bug report."""

from __future__ import annotations

from typing import Any

import click

from taskctl.apps import user_app
from taskctl.command import Command
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.redact import mask, mask_url
from taskctl.core.report import platform_facts, software
from taskctl.failures import OK


@click.pass_obj
def _report(context: Context) -> int:
    console = context.console(piped="celery", formats=("table", "plain", "celery", "json"))
    app = user_app(context)
    app.import_default_modules()
    if console.format == "json":
        console.document("report", ok=True, items=[_facts(app)])
    else:
        text = app.celery_report() if console.format == "celery" else None
        console.line(text or app.bugreport(ask_broker=True))
    return OK


def _facts(app: App) -> dict[str, Any]:
    results = app.backend_url()
    return {
        "software": software(app.version),
        "platform": platform_facts(),
        "broker": {"url": mask_url(app.broker_url()), **mask(app.broker_state())},
        "results": mask_url(results) if results else None,
        "settings": app.conf.table(),
    }


command = Command(
    "report",
    callback=_report,
    help="Show versions, platform and settings for a bug report, secrets masked.",
    examples=("taskctl -A proj report", "taskctl -A proj report -o json"),
)
