"""`taskctl version`: the version; with -v those of Python and of the libraries too."""

from __future__ import annotations

import click

from taskctl.command import Command
from taskctl.context import Context
from taskctl.core.version import __version__
from taskctl.failures import OK


@click.pass_obj
def _version(context: Context) -> int:
    console = context.console(formats=("table", "wide", "plain", "name", "json", "jsonl"))
    if console.format in ("json", "jsonl") or context.verbose:
        # 20 ms that the plain answer need not wait for.
        from taskctl.core.report import platform_facts, software

        versions = software(__version__)
        item = {**versions, "platform": platform_facts()}
        if console.format == "json":
            console.document("version", ok=True, items=[item])
        elif console.format == "jsonl":
            console.json(item)
        else:
            for name, number in versions.items():
                console.line(f"{name} {number}")
        return OK
    console.line(f"taskctl {__version__}")
    return OK


command = Command(
    "version",
    callback=_version,
    help="Print the version; with -v those of Python and the libraries too.",
    examples=("taskctl version", "taskctl version -o json"),
)
