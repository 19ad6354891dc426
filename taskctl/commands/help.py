"""`taskctl help`: the help of a command, as its --help prints it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import click

from taskctl.command import Command
from taskctl.context import Context
from taskctl.failures import OK


@click.pass_context
def _help(ctx: click.Context, /, words: tuple[str, ...]) -> int:
    root = ctx.find_root()
    program = root.command
    console = ctx.obj.console(formats=("table", "plain", "json"))
    if console.format != "json":
        _tell(program, words)
        return OK
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(click.exceptions.Exit):
        _tell(program, words)
    item = {"command": " ".join(words) or None, "text": text.getvalue()}
    console.document("help", ok=True, items=[item])
    return OK


def _tell(program: click.Command, words: Sequence[str]) -> None:
    # Asked of a program of its own: what was said in front of `help` is not meant for it.
    with program.make_context("taskctl", [*words, "--help"], obj=Context()) as below:
        program.invoke(below)


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[Any]:
    command = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        found = command.get_command(ctx, word) if isinstance(command, click.Group) else None
        if found is None:
            return []
        command = found
    names = command.list_commands(ctx) if isinstance(command, click.Group) else []
    return [name for name in names if name.startswith(begun)]


command = Command(
    "help",
    callback=_help,
    params=[
        click.Argument(["words"], nargs=-1, metavar="[COMMAND [SUBCOMMAND]]",
                       shell_complete=_complete),
    ],
    help="Show the help of a command.",
    examples=("taskctl help worker", "taskctl help config diff"),
)  # fmt: skip
