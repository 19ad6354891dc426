"""`taskctl man`: a page of the manual, made on the spot; nothing needs to be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import click

from taskctl.command import Command, Option
from taskctl.console import Console
from taskctl.context import Context
from taskctl.failures import OK
from taskctl.manual import roff, text
from taskctl.manual.library import find, names
from taskctl.manual.page import Page
from taskctl.program import unknown


@click.pass_obj
def _man(context: Context, page: str | None, list_pages: bool, source: bool) -> int:
    console = context.console(piped="plain", formats=("table", "wide", "plain", "name", "json"))
    if list_pages:
        return _list(console)
    found = find(page or "taskctl")
    if found is None:
        raise unknown(str(page), (name.rpartition(".")[0] for name in names()), "page",
                      "taskctl man --list")  # fmt: skip
    if console.format == "json":
        item = {"page": found.name, "section": found.number, "text": text.render(found)}
        console.document("man", ok=True, items=[item])
    elif source:
        console.line(roff.render(found).rstrip("\n"))
    elif sys.stdout.isatty() and shutil.which("man"):
        return _with_man(found)
    else:
        console.line(text.render(found, min(console.width() or 80, 100)).rstrip("\n"))
    return OK


def _list(console: Console) -> int:
    if console.format == "json":
        pairs = (name.rpartition(".") for name in names())
        items = [{"page": page, "section": int(number)} for page, _, number in pairs]
        console.document("man.list", ok=True, items=items)
    else:
        for name in names():
            console.line(name)
    return OK


def _with_man(page: Page) -> int:
    """Let man(1) show a page on the terminal, with the reader's own pager."""
    handle, path = tempfile.mkstemp(prefix="taskctl-", suffix=f".{page.number}")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(roff.render(page))
        return subprocess.run(["man", path], check=False).returncode
    finally:
        os.unlink(path)


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[Any]:
    words = (name.rpartition(".")[0].removeprefix("taskctl-") for name in names())
    return [word for word in words if word.startswith(begun)]


command = Command(
    "man",
    callback=_man,
    params=[
        click.Argument(["page"], required=False, metavar="[PAGE]", shell_complete=_complete),
        Option(["--list", "list_pages"], is_flag=True, help="list the pages, and exit"),
        Option(["--source"], is_flag=True, help="print the source, for man(1), troff or mandoc"),
    ],
    help="Show a manual page: of taskctl itself, of a command, or of a topic.",
    examples=("taskctl man worker", "taskctl man exit-codes"),
)
