"""`taskctl upgrade settings`: give old names of settings their new ones, in a file."""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
import sys
import tempfile
from typing import Any

import click

from taskctl.command import Command, Group, Option
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.redact import mask_text
from taskctl.failures import FAILED, OK, CommandError
from taskctl.upgrading import upgrade

UPGRADING = "Upgrading options"


@click.pass_obj
def _settings(
    context: Context,
    /,
    filename: str,
    django: bool,
    compat: bool,
    no_backup: bool,
    check: bool,
    dry_run: bool,
) -> int:
    console = context.console(piped="celery", formats=("table", "plain", "celery", "json"))
    _talk(context, f"processing {filename}...")
    old = _read(filename)
    new, changes = upgrade(old, compat=django or compat)
    only_look = check or dry_run
    backup = None
    if changes and not only_look:
        backup = None if no_backup else _back_up(context, filename)
        _replace(filename, new)
    if console.format == "json":
        items = [change._asdict() for change in changes]
        console.document(
            "upgrade.settings", ok=not (check and changes), items=items, path=filename,
            backup=backup, written=bool(changes) and not only_look,
        )  # fmt: skip
    elif only_look:
        _draw_diff(console, filename, old, new)
    else:
        console.line(
            "Changes to your setting have been made!" if changes
            else "Does not seem to require any changes :-)"
        )  # fmt: skip
    return FAILED if check and changes else OK


def _talk(context: Context, text: str) -> None:
    if not context.quiet:
        print(mask_text(text), file=sys.stderr)


def _read(filename: str) -> str:
    """Return the file's text, its line ends as they are; what is no UTF-8 survives."""
    with open(filename, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _back_up(context: Context, filename: str) -> str:
    """Copy the file to FILE.orig, or to FILE.orig.1 and so on if there is one from before."""
    backup, number = f"{filename}.orig", 0
    while os.path.lexists(backup):
        number += 1
        backup = f"{filename}.orig.{number}"
    _talk(context, f"writing backup to {backup}...")
    try:
        shutil.copy2(filename, backup)
    except OSError as exc:
        raise CommandError(
            f"cannot write {backup}: {(exc.strerror or str(exc)).lower()}; nothing was changed",
            "go on without a copy: --no-backup",
        ) from exc
    return backup


def _replace(filename: str, text: str) -> None:
    """Write the file whole or not at all, with the rights it had; a link stays a link."""
    path = os.path.realpath(filename)
    handle, aside = tempfile.mkstemp(prefix=".upgrade-", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        shutil.copymode(path, aside)
        os.replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def _draw_diff(console: Console, filename: str, old: str, new: str) -> None:
    lines: Any = difflib.unified_diff(
        old.splitlines(), new.splitlines(), filename, filename, n=1, lineterm=""
    )
    for line in lines:
        colour = {"+": "green", "-": "red"}.get(line[:1], "")
        console.line(console.paint(mask_text(line), colour))


command = Group(
    "upgrade",
    no_args_is_help=False,
    help="Bring a project's files up to date.",
    examples=("taskctl upgrade settings proj/config.py", "taskctl upgrade settings --check c.py"),
    commands={
        "settings": Command(
            "settings",
            callback=_settings,
            params=[
                click.Argument(["filename"], metavar="FILE"),
                Option(["--django"], is_flag=True, group=UPGRADING,
                       help="for a Django project: CELERY_ before each name"),
                Option(["--compat"], is_flag=True, group=UPGRADING,
                       help="the same, for namespace='CELERY'"),
                Option(["--no-backup"], is_flag=True, group=UPGRADING,
                       help="keep no copy (else FILE.orig)"),
                Option(["--check"], is_flag=True, group=UPGRADING,
                       help="write nothing; show the changes, exit 1 if there are any"),
                Option(["--dry-run"], is_flag=True, group=UPGRADING,
                       help="write nothing; show the changes"),
            ],
            help="Give settings from before Celery 4 their new names, in a file.",
            examples=(
                "taskctl upgrade settings proj/config.py",
                "taskctl upgrade settings --django --dry-run proj/settings.py",
            ),
        ),
    },
)  # fmt: skip
