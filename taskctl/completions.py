"""What could stand at the cursor, where the grammar alone does not tell: names and words.

Asks files of this host only, never a broker and never the user's code.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import click
from click.shell_completion import CompletionItem

from taskctl.commands.worker_options import GLOBAL_OPTIONS, WORKER_OPTIONS
from taskctl.core.remote.vocabulary import COMMANDS
from taskctl.multi import grammar
from taskctl.multi.records import Record, RecordError, Records


def remote_commands(kind: str, begun: str) -> list[CompletionItem]:
    """Return the commands of `inspect` or `control`, with their help."""
    return [
        CompletionItem(name, help=command.help)
        for name, command in COMMANDS.items()
        if command.kind == kind and not command.hidden and name.startswith(begun)
    ]


def nodes(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the last of a list of nodes on record, by their full names; the list goes before."""
    before, comma, last = begun.rpartition(",")
    names = sorted(record.name for record in _records())
    return [CompletionItem(before + comma + name) for name in names if name.startswith(last)]


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


def _records() -> Iterable[Record]:
    try:
        return Records().all()
    except RecordError:
        return ()


def _beginning(begun: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(begun)]
