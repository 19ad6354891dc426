"""What could stand at the cursor, where the grammar alone does not tell: names and words.

Nodes come from multi's records and the registry, queues and tasks from what nodes said (see
taskctl.names); the user's code is never imported.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from itertools import chain

import click
from click.shell_completion import CompletionItem

from taskctl.commands.worker_options import GLOBAL_OPTIONS, LOG_LEVELS, WORKER_OPTIONS
from taskctl.core.remote.vocabulary import COMMANDS
from taskctl.multi import grammar
from taskctl.multi.records import Record, RecordError, Records

from .names import known_names

#: Finds what could stand at the cursor, from the options given so far and the word begun.
Source = Callable[[click.Context, str], list[CompletionItem]]


def remote_commands(kind: str, begun: str) -> list[CompletionItem]:
    """Return the commands of `inspect` or `control`, with their help."""
    return [
        CompletionItem(name, help=command.help)
        for name, command in COMMANDS.items()
        if command.kind == kind and not command.hidden and name.startswith(begun)
    ]


def nodes(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """Return nodes on record and in the registry, by their full names."""
    recorded = {record.name for record in _records()}
    return _listed(begun, sorted(recorded | set(known_names(ctx.obj).nodes)))


def queues(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """Return the queues that nodes take tasks from."""
    return _listed(begun, known_names(ctx.obj).queues)


def tasks(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """Return the tasks that nodes know."""
    return _listed(begun, known_names(ctx.obj).tasks)


def signals(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """Return the names of signals."""
    return _beginning(begun.upper(), sorted(one.name for one in signal.Signals))


def levels(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """Return the log levels."""
    return _beginning(begun.upper(), LOG_LEVELS)


def remote_words(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """Return what could be the next argument of an inspect or control command."""
    command = COMMANDS.get(str(ctx.params.get("method")))
    given = ctx.params.get("words") or ()
    if command is None or not command.arguments:
        return []
    argument = command.arguments[min(len(given), len(command.arguments) - 1)]
    source = {"task_name": tasks, "queue": queues, "signal": signals}.get(argument.name)
    return [] if source is None else source(ctx, begun)


class Named(click.types.StringParamType):
    """A text whose possible values `source` knows."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return self.source(ctx, incomplete)


#: Where the values of a parameter are known, by its name; every command spells them alike.
SOURCES: dict[str, Source] = {
    "destination": nodes, "node": nodes, "nodes": nodes,
    "queue": queues, "queues": queues, "exclude_queues": queues,
    "task": tasks, "tasks": tasks, "task_name": tasks,
    "signal": signals, "loglevel": levels,
    "words": remote_words,
}  # fmt: skip


def multi_words(words: list[str], begun: str) -> list[CompletionItem]:
    """Return what could follow in a line of `multi`: a command, an option, or a node on record."""
    plain = [word for word in words if not word.startswith("-")]
    if begun.startswith("-"):
        own = (option.names for option in grammar.OWN_OPTIONS)
        handed_on = (option.names for option in (*WORKER_OPTIONS, *GLOBAL_OPTIONS))
        return _beginning(begun, dict.fromkeys(chain.from_iterable((*own, *handed_on))))
    if not plain:
        return _beginning(begun, grammar.COMMANDS)
    return _beginning(begun, sorted(record.name.partition("@")[0] for record in _records()))


def _listed(begun: str, names: Iterable[str]) -> list[CompletionItem]:
    """Return names for the last of a list with commas; what goes before it is kept."""
    before, comma, last = begun.rpartition(",")
    return [CompletionItem(before + comma + name) for name in names if name.startswith(last)]


def _records() -> Iterable[Record]:
    try:
        return Records().all()
    except RecordError:
        return ()


def _beginning(begun: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(begun)]
