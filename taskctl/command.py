"""Commands whose help is one line, examples to paste, and options under headings.

A command of ours is a `Command` (or a `Group` of them) rather than click's own; apart from its
help it is the same. Options bear their heading in `group`, see `Option`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Protocol

import click

from .failures import usage

#: Heading of options that name none.
OPTIONS = "Options"


class Option(click.Option):
    """A click option with a heading in help."""

    def __init__(self, names: Sequence[str], *, group: str = OPTIONS, **settings: Any) -> None:
        super().__init__(list(names), **settings)
        self.group = group


class Argument(click.Argument):
    """A click argument with help; `metavar` is how the help calls it."""

    group = "Arguments"

    def __init__(self, name: str, *, metavar: str, help: str, **settings: Any) -> None:
        super().__init__([name], metavar=metavar, **settings)
        self.help = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return str(self.metavar), str(self.help)


class BadValue(click.BadParameter):
    """Raised for a value that makes no sense; the error shows it: `-c x4: ... expected`."""

    def __init__(self, value: Any, message: str, ctx: Any = None, param: Any = None) -> None:
        super().__init__(message, ctx, param)
        self.value = value


class AtLeast(click.ParamType):  # type: ignore[type-arg]
    """A number not below `least`; whole if `kind` is int."""

    name = "number"

    def __init__(self, kind: type[int] | type[float], least: float) -> None:
        self.kind = kind
        self.least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> int | float:
        try:
            number = self.kind(value)
        except ValueError:
            what = "a whole number" if self.kind is int else "a number"
            raise BadValue(value, f"{what} expected", ctx, param) from None
        if not self.least <= number < float("inf"):
            raise BadValue(value, f"{self.least:g} or more expected", ctx, param)
        return number


class _Help(click.Command):
    """Draws help; `examples` are command lines without the prompt."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        write_examples(formatter, self.examples)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: releases of click differ here, and `format_options` writes them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options heading by heading, in the order the headings first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Argument) and not getattr(param, "help", None):
                continue
            if (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "group", OPTIONS), []).append(record)
        for heading in sorted(sections, key=lambda name: name == "Global options"):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class AppOptions(Protocol):
    """Where options are found that the user's app adds to commands; see taskctl.app_options."""

    def looked_up(
        self, command: click.Command, ctx: click.Context, args: list[str]
    ) -> list[click.Option]:
        """Return those for `command`, in the app that the command line leads to."""

    def parsed(self, ctx: click.Context) -> None:
        """Be told that `ctx.params` holds their values now."""


class Command(_Help):
    """One command; it takes the options that the user's app adds to it, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; what is unknown at first may be known to the app."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            options: AppOptions | None = getattr(ctx.obj, "app_options", None)
            added = options.looked_up(self, ctx, given) if options is not None else []
            if options is None or not added:
                raise
        self.params += [option for option in added if option not in self.params]
        rest = super().parse_args(ctx, given)
        options.parsed(ctx)
        return rest


class Group(_Help, click.Group):
    """A command that has commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.commands, 1)
            hint = f"did you mean: {near[0]}" if near else f"see: {ctx.command_path} --help"
            raise usage(f"no command {args[0]!r} in {ctx.command_path}", hint)
        return super().resolve_command(ctx, args)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write command lines that can be pasted."""
    if examples:
        formatter.write_paragraph()
        for example in examples:
            formatter.write(f"  $ {example}\n")
