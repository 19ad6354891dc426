"""Answers a shell that asks what could stand at the cursor.

The commands are found by click; this reads the words as each shell cuts them, and writes the
candidates. On any trouble there is no output: a shell must not fill up with our errors.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem, ShellComplete

from .shells import SCRIPTS

#: Characters at which bash cuts words, and which mean nothing to us there.
_BREAKS = frozenset("=:")


class Line(NamedTuple):
    """The words before the cursor, and the one it stands in, as far as it is written.

    `ahead` characters of that word the shell has parted off: candidates are given without them.
    """

    args: list[str]
    incomplete: str
    ahead: int


def answer(program: click.Group, context: Any, instruction: str) -> int:
    """Do what `bash_complete` or `bash_source` asks for; return the exit code."""
    shell, _, wanted = instruction.partition("_")
    if shell not in SCRIPTS:
        return 1
    if wanted == "source":
        print(SCRIPTS[shell], end="")
        return 0
    try:
        line = read_line(os.environ, glued=shell == "bash")
        for word in line.args:
            if (command := program.get_command(click.Context(program), word)) is not None:
                _dress(command)
                break
        found = ShellComplete(program, {"obj": context}, "taskctl", "_TASKCTL_COMPLETE")
        for item in found.get_completions(line.args, line.incomplete):
            print(candidate(item, line))
    except Exception:  # plug-ins are asked too; whatever they raise, a shell has no use for it
        return 1
    return 0


def _dress(command: click.Command) -> None:
    """Let parameters whose values are known by name complete themselves."""
    from .completions import SOURCES, Named  # not for a line that has no command yet

    for param in command.params:
        plain = type(param.type).shell_complete is click.ParamType.shell_complete
        if plain and param.name in SOURCES:
            param.type = Named(SOURCES[param.name])
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _dress(below)


def read_line(environ: Mapping[str, str], *, glued: bool) -> Line:
    """Return the command line that a script has put into the environment.

    `glued`: words that were cut at = and : are put together again.
    """
    text, at = environ["COMP_WORDS"], int(environ["COMP_CWORD"])
    words = text.split("\n") if "\n" in text else text.split(" ")
    words = [*words[: at + 1], *[""] * (at + 1 - len(words))]
    whole = _glue(words) if glued else words
    incomplete = _plain(whole[-1])
    piece = "" if set(words[-1]) <= _BREAKS else _plain(words[-1])
    ahead = len(incomplete) - len(piece) if glued else 0
    return Line([_plain(word) for word in whole[1:-1]], incomplete, ahead)


def _glue(words: Sequence[str]) -> list[str]:
    """Put `--pool`, `=`, `pre` together; a lone break belongs to what is around it."""
    whole: list[str] = []
    broken = False
    for number, word in enumerate(words):
        is_break = bool(word) and set(word) <= _BREAKS
        if number > 1 and (is_break or broken):
            whole[-1] += word
        else:
            whole.append(word)
        broken = is_break and number > 1
    return whole


def _plain(word: str) -> str:
    """Return a word without the quotes of the shell; they may be open still."""
    for closing in ("", "'", '"'):
        try:
            parts = shlex.split(word + closing)
        except ValueError:
            continue
        return parts[0] if len(parts) == 1 else word if parts else ""
    return word


def candidate(item: CompletionItem[Any], line: Line) -> str:
    """Return the line that tells the shell of one candidate."""
    value = str(item.value)
    if item.type == "plain":
        # click completes the value alone of --option=value.
        name, sign, _ = line.incomplete.partition("=")
        if sign and name.startswith("-") and not value.startswith(name):
            value = name + sign + value
        value = value[line.ahead :]
    help = " ".join((item.help or "").split())
    return f"{item.type}\t{value}\t{help}"
