"""The help of `inspect` and `control`: their lists of commands, and the page of each."""

from __future__ import annotations

import itertools
import re

import click

from taskctl.core.remote.vocabulary import Argument, Command
from taskctl.watch import EVERY

from .remote_words import choose, visible

_HELP = ("--help", "-h")
_NUMBER = re.compile(r"-?[\d.]+\w*")


def list_text(kind: str) -> str:
    """Return what `--list` prints."""
    formatter = click.HelpFormatter(max_width=80)
    with formatter.section(f"{kind.capitalize()} Commands"):
        formatter.write_dl([(c.signature(), c.help) for c in visible(kind).values()])
    return formatter.getvalue()


def list_items(kind: str) -> list[dict[str, str]]:
    """Return what `--list` prints, as plain data."""
    return [
        {"command": c.name, "arguments": c.words(), "help": c.help} for c in visible(kind).values()
    ]


def help_text(command: Command) -> str:
    """Return the help of one command."""
    formatter = click.HelpFormatter(max_width=80)
    formatter.write_usage(f"taskctl {command.kind}", f"{command.signature()} [OPTIONS]")
    if command.help:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(f"{command.help}.")
    if command.example:
        formatter.write_paragraph()
        formatter.write(f"  $ {command.example}\n")
    if takes := command.positional:
        with formatter.section("Arguments"):
            formatter.write_dl([(a.name.upper(), _argument_help(a)) for a in takes])
    if options := [argument for argument in command.arguments if argument.option]:
        with formatter.section("Options of its own"):
            formatter.write_dl([(f"--{a.name}", _argument_help(a)) for a in options])
    formatter.write_paragraph()
    formatter.write_text(f"Other options: see taskctl {command.kind} --help.")
    return formatter.getvalue()


def _argument_help(argument: Argument) -> str:
    default = "" if argument.default in (None, False) else f"(default: {argument.default})"
    return f"{argument.help} {default}".strip() or "-"


class RemoteCommand(click.Command):
    """`--help` behind a command of the vocabulary shows the help of that one."""

    def learn(self, ctx: click.Context, word: str) -> None:
        """Get to know a word that may be a command of the app's own."""
        raise NotImplementedError

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = _watch_without_seconds(args)
        if any(word in _HELP for word in args):
            super().parse_args(ctx, [word for word in args if word not in _HELP])
            if (method := ctx.params.get("method")) is not None:
                self.learn(ctx, method)
                click.echo(help_text(choose(str(self.name), method)), nl=False)
                ctx.exit()
            args = ["--help"]
        return super().parse_args(ctx, args)


def _watch_without_seconds(args: list[str]) -> list[str]:
    """Return the words with `-w stats` parted: there the word behind -w is the command."""
    parted = list(args)
    for number, (word, following) in enumerate(itertools.pairwise(args)):
        if word in ("-w", "--watch") and not _NUMBER.fullmatch(following):
            parted[number] = f"--watch={EVERY:g}"
    return parted
