"""The words behind `inspect` and `control`: a command of the vocabulary and its arguments.

They are checked before anything is sent.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskctl.core.remote.vocabulary import ALIASES, COMMANDS, Argument, Command
from taskctl.core.settings_table import SETTINGS
from taskctl.core.settings_types import coerce
from taskctl.failures import usage

_TRUE, _FALSE = ("1", "true", "yes", "on", "y", "t"), ("0", "false", "no", "off", "n", "f")
#: Arguments that are options, since Celery has no place for them among the words.
_OPTIONS = {"revoke": ("terminate", "signal")}
_WHAT = {int: "a whole number", float: "a number of seconds", bool: "yes or no"}


def visible(kind: str) -> dict[str, Command]:
    """Return the commands of a kind that people may give, by name."""
    return {n: c for n, c in sorted(COMMANDS.items()) if c.kind == kind and not c.hidden}


def choose(kind: str, word: str | None) -> Command:
    """Return the command a word stands for.

    Raises CommandError with the nearest one, or all.
    """
    choices = visible(kind)
    if word is None:
        raise usage(
            f"{kind} wants a command, got nothing; nothing was sent",
            f"choose from {', '.join(choices)}",
        )
    found = COMMANDS.get(ALIASES.get(word, word))
    if found is not None and found.name in choices:
        return found
    if found is not None and not found.hidden:
        raise usage(f"{word} is no {kind} command", f"did you mean: taskctl {found.kind} {word}")
    near = difflib.get_close_matches(word, choices, 1)
    hint = f"did you mean: {near[0]}" if near else f"choose from {', '.join(choices)}"
    raise usage(f"no {kind} command {word!r}; nothing was sent", hint)


def arguments(command: Command, words: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command by name, converted and checked.

    `options` are those of the command line that only some commands know; None is not given.
    Raises CommandError naming what is wrong.
    """
    takes = _positional(command)
    known = _OPTIONS.get(command.name, ())
    for name, value in options.items():
        if value is not None and name not in known:
            raise usage(f"--{name} goes with control revoke, not with {command.name}")
    found: dict[str, Any] = {}
    left = list(words)
    for argument in takes:
        if argument.variadic:
            if left or argument.required:
                found[argument.name] = [_convert(command, argument, word) for word in left]
            left = []
        elif left:
            found[argument.name] = _convert(command, argument, left.pop(0))
    if left or any(a.required and not found.get(a.name) for a in takes):
        raise _wrong_count(command, words)
    found.update({name: value for name, value in options.items() if value is not None})
    _check(command, found)
    return found


def _positional(command: Command) -> list[Argument]:
    options = _OPTIONS.get(command.name, ())
    return [argument for argument in command.arguments if argument.name not in options]


def _convert(command: Command, argument: Argument, word: str) -> Any:
    try:
        if argument.type is bool:
            return _bool(word)
        value = argument.type(word)
    except ValueError:
        raise usage(
            f"{command.kind} {command.name}: {argument.name} must be {_WHAT[argument.type]}, "
            f"got {word!r}; nothing was sent",
            _example(command),
        ) from None
    if isinstance(value, int | float) and value < 0:
        raise usage(f"{command.name}: {argument.name} must be 0 or more, got {word}")
    return value


def _bool(word: str) -> bool:
    lower = word.lower().partition("=")[2] if "=" in word else word.lower()
    if lower not in (*_TRUE, *_FALSE):
        raise ValueError(word)
    return lower in _TRUE


def _check(command: Command, found: Mapping[str, Any]) -> None:
    """Look at values that a node would refuse."""
    if "rate_limit" in found:
        try:
            coerce(SETTINGS["task_default_rate_limit"], found["rate_limit"], text=True)
        except ValueError as exc:
            reason = str(exc).replace("task_default_rate_limit", "the rate")
            raise usage(
                f"control rate_limit: {reason}; nothing was sent", _example(command)
            ) from exc
    if "signal" in found:
        _check_signal(command, str(found["signal"]))
    if command.name == "autoscale" and found.get("min", 0) > found.get("max", float("inf")):
        raise usage(
            f"control autoscale: max {found['max']} is below min {found['min']}; nothing was sent",
            _example(command),
        )


def _check_signal(command: Command, word: str) -> None:
    name = "SIG" + word.upper().removeprefix("SIG")
    numbers = {str(int(number)) for number in signal.Signals}
    if word not in numbers and name not in signal.Signals.__members__:
        raise usage(f"no signal {word!r}: write TERM, KILL, USR1 or a number; nothing was sent")


def _wrong_count(command: Command, words: Sequence[str]) -> Exception:
    wanted = usage_words(command) or "no arguments"
    got = " ".join(words) or "nothing"
    return usage(
        f"{command.kind} {command.name} wants {wanted}, got {got}; nothing was sent",
        _example(command),
    )


def usage_words(command: Command) -> str:
    """Return the arguments of a command as usage lines show them."""
    words = []
    for argument in _positional(command):
        word = argument.name.upper() + ("..." if argument.variadic else "")
        words.append(word if argument.required else f"[{word}]")
    return " ".join(words)


def _example(command: Command) -> str:
    return f"example: {command.example}" if command.example else ""


# -- help


def list_text(kind: str) -> str:
    """Return what `--list` prints."""
    formatter = click.HelpFormatter(max_width=80)
    with formatter.section(f"{kind.capitalize()} Commands"):
        formatter.write_dl(
            [(f"{c.name} {usage_words(c)}".rstrip(), c.help) for c in visible(kind).values()]
        )
    return formatter.getvalue()


def help_text(command: Command) -> str:
    """Return the help of one command."""
    formatter = click.HelpFormatter(max_width=80)
    formatter.write_usage(f"taskctl {command.kind}", f"{command.name} {usage_words(command)}")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(f"{command.help}.")
    if command.example:
        formatter.write_paragraph()
        formatter.write(f"  $ {command.example}\n")
    if takes := _positional(command):
        with formatter.section("Arguments"):
            formatter.write_dl([(a.name.upper(), _argument_help(a)) for a in takes])
    formatter.write_paragraph()
    formatter.write_text(f"Options: see taskctl {command.kind} --help.")
    return formatter.getvalue()


def _argument_help(argument: Argument) -> str:
    if argument.required or argument.default in (None, False):
        return argument.help
    return f"{argument.help} (default: {argument.default})"


class RemoteCommand(click.Command):
    """`--help` behind a command of the vocabulary shows the help of that one."""

    kind = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(word in ("--help", "-h") for word in args):
            named = next((visible(self.kind)[w] for w in args if w in visible(self.kind)), None)
            if named is not None:
                click.echo(help_text(named), nl=False)
                ctx.exit()
        return super().parse_args(ctx, args)
