"""The pages of commands, read from the tree that the program itself runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import click

from taskctl.command import OPTIONS
from taskctl.commands.multi_help import help_lines
from taskctl.commands.remote_words import visible
from taskctl.context import Context
from taskctl.core.remote.vocabulary import Command as RemoteCommand
from taskctl.global_options import GROUP as GLOBAL
from taskctl.multi.grammar import variables as multi_variables
from taskctl.program import COMMANDS, Program

from .page import Block, Code, Heading, Page, Terms, reference
from .tables import ENVIRONMENT, EXITS, FILES, exits_of

_OTHER_PAGES = ("taskctl.toml.5", "taskctl-exit-codes.7", "taskctl-json.7", "taskctl-internals.7")
#: Pages a reader of this one may want next.
_RELATED: dict[str, tuple[str, ...]] = {
    "worker": ("multi", "status", "probe", "beat"),
    "multi": ("worker", "status"),
    "beat": ("worker",),
    "status": ("inspect", "top", "probe"),
    "inspect": ("control", "status"),
    "control": ("inspect", "status"),
    "events": ("top",),
    "top": ("events", "status"),
    "queue": ("dlq", "purge", "wait"),
    "dlq": ("queue",),
    "purge": ("queue",),
    "call": ("result",),
    "result": ("call",),
    "doctor": ("config", "status"),
    "config": ("doctor", "upgrade"),
    "probe": ("worker", "status"),
    "migrate": ("queue",),
    "wait": ("queue", "status"),
}


def overview() -> Page:
    """Return taskctl(1)."""
    program = Program()
    ctx = _context(program, "taskctl")
    summary = Terms([(name, f"{help}. See taskctl-{name}(1).") for name, (_, help) in _named()])
    sections: dict[str, list[Block]] = {
        "SYNOPSIS": [Code(["taskctl [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]"])],
        "DESCRIPTION": [
            "A distributed task queue for Python, and the tools to operate it. It starts with "
            "nothing but an embedded broker; Redis is chosen by a URL. It speaks Celery's "
            "protocol: clients, workers and tools of both mix in one fleet.",
            "Global options stand before or after the command; the last one wins. A command line "
            "of celery works with the word replaced.",
            Heading("Commands"),
            summary,
        ],
        "OPTIONS": [Terms(_options(program, ctx)[GLOBAL] + _options(program, ctx)[OPTIONS])],
        "EXIT STATUS": [Terms([(str(code), text) for code, text in EXITS.items()])],
        "ENVIRONMENT": [Terms(ENVIRONMENT)],
        "FILES": [Terms(FILES)],
        "EXAMPLES": [Code(["taskctl init shop && cd shop", "taskctl -A proj worker -l INFO",
                           "taskctl -A proj status"])],
        "SEE ALSO": [_see([f"taskctl-{name}.1" for name in COMMANDS])],
    }  # fmt: skip
    return Page("taskctl", 1, "a distributed task queue, and the tools to operate it", sections)


def command_page(name: str) -> Page:
    """Return the page of one command."""
    program = Program()
    ctx = _context(program, "taskctl")
    command = program.get_command(ctx, name)
    assert command is not None
    below = _context(command, name, ctx)
    related = [f"taskctl-{other}.1" for other in _RELATED.get(name, ())]
    own = _own(name, command, below)
    sections: dict[str, list[Block]] = {
        "SYNOPSIS": [Code(_synopsis(name, command, below))],
        "DESCRIPTION": own.pop("DESCRIPTION"),
        **own,
        "EXIT STATUS": [Terms(exits_of(name))],
        "ENVIRONMENT": _environment(name, command),
        "FILES": [Terms(FILES)],
        "EXAMPLES": [Code(_examples(name, command))],
        "SEE ALSO": [_see(["taskctl.1", *related, *_OTHER_PAGES])],
    }
    return Page(f"taskctl-{name}", 1, _lower(COMMANDS[name][1]), sections)


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """Return the context that click would make for a call, down to how --help is spelt."""
    return click.Context(command, parent, info_name=name, obj=Context(), **command.context_settings)


def _named() -> Iterable[tuple[str, tuple[str, str]]]:
    return COMMANDS.items()


def _own(name: str, command: click.Command, ctx: click.Context) -> dict[str, list[Block]]:
    """Return DESCRIPTION and OPTIONS, as this kind of command has them."""
    if name == "multi":
        return _multi()
    sections = _options(command, ctx)
    shared = sections.pop(GLOBAL, [])
    options: list[Block] = []
    for heading, items in sections.items():
        options += [Heading(heading), Terms(items)] if len(sections) > 1 else [Terms(items)]
    options += [Heading(GLOBAL), Terms(shared)]
    return {"DESCRIPTION": list(_description(name, command, ctx)), "OPTIONS": options}


def _description(name: str, command: click.Command, ctx: click.Context) -> Iterator[Block]:
    yield str(command.help)
    yield from getattr(command, "details", ())
    if arguments := _arguments(command, ctx):
        yield Terms(arguments)
    if name in ("inspect", "control"):
        for remote in visible(name).values():
            yield from _remote(name, remote)
    elif isinstance(command, click.Group):
        for word in command.list_commands(ctx):
            sub = command.get_command(ctx, word)
            assert sub is not None
            yield from _sub_command(word, sub, ctx)


def _remote(kind: str, remote: RemoteCommand) -> Iterator[Block]:
    yield Heading(f"{kind} {remote.signature()}")
    yield f"{remote.help}."
    if remote.arguments:
        yield Terms([(arg.name, f"{arg.help}.") for arg in remote.arguments])


def _sub_command(word: str, command: click.Command, parent: click.Context) -> Iterator[Block]:
    ctx = _context(command, word, parent)
    yield Heading(_usage(command, ctx).partition(" ")[2])
    yield str(command.help or command.short_help)
    yield from getattr(command, "details", ())
    own = [item for heading, items in _options(command, ctx).items() if heading != GLOBAL
           for item in items if not item[0].startswith("-h,")]  # fmt: skip
    if items := _arguments(command, ctx) + own:
        yield Terms(items)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            sub = command.get_command(ctx, name)
            assert sub is not None
            yield from _sub_command(name, sub, ctx)


def _arguments(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    return [
        (param.make_metavar(ctx), _sentence(str(help)))
        for param in command.params
        if isinstance(param, click.Argument) and (help := getattr(param, "help", None))
    ]


def _options(command: click.Command, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Return options and their help under their headings; the global ones last."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
            heading = getattr(param, "group", OPTIONS)
            sections.setdefault(heading, []).append((record[0], _sentence(record[1])))
    return sections


def _multi() -> dict[str, list[Block]]:
    """Return the sections of multi, whose help is a text of its own."""
    parts = "\n".join(help_lines()).split("\n\n")
    description: list[Block] = [" ".join(parts[1].split())]
    options: list[Block] = []
    for part in parts[3:]:
        heading, _, rest = part.partition(":\n")
        if heading == "Commands":
            description += [Heading(heading), Terms(_pairs(rest))]
        elif rest.startswith("  -"):
            options += [Heading(heading), Terms(_pairs(rest))]
        else:
            description.append(_sentence(" ".join(part.split())))
    return {"DESCRIPTION": description, "OPTIONS": options}


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the two columns of a list; a line without a first column goes on with the last."""
    pairs: list[tuple[str, str]] = []
    for line in text.strip("\n").splitlines():
        term, _, meaning = line.strip().partition("  ")
        if meaning.strip():
            pairs.append((term, _sentence(meaning.strip())))
        elif pairs and term:
            pairs[-1] = (pairs[-1][0], _sentence(f"{pairs[-1][1].rstrip('.')} {term}"))
    return pairs


def _synopsis(name: str, command: click.Command, ctx: click.Context) -> list[str]:
    if name == "multi":
        first = next(iter(help_lines())).removeprefix("Usage: ")
        return [re.sub(r"\s+", " ", first)]
    return [_usage(command, ctx)]


def _usage(command: click.Command, ctx: click.Context) -> str:
    return " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])


def _examples(name: str, command: click.Command) -> list[str]:
    if name == "multi":
        return [line.strip()[2:] for line in help_lines() if line.strip().startswith("$ ")]
    return list(getattr(command, "examples", ()))


def _environment(name: str, command: click.Command) -> list[Block]:
    own = sorted(multi_variables() if name == "multi" else _variables(command))
    blocks: list[Block] = []
    if own:
        blocks.append(
            f"Each option may be given by a variable: {', '.join(own)}. The same with CELERY_ is "
            "read when the first is not set."
        )
    return [*blocks, "Variables of all commands are described in taskctl(1)."]


def _variables(command: click.Command) -> Iterator[str]:
    """Return the variables of a command's options, and of those of its sub-commands."""
    for param in command.params:
        if isinstance(param, click.Option) and isinstance(param.envvar, list):
            yield param.envvar[0]
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            yield from _variables(sub)


def _see(pages: list[str]) -> str:
    return ", ".join(reference(page) for page in dict.fromkeys(pages))


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def pages() -> dict[str, Any]:
    """Return how to make each page of a command, by the name of its file."""
    made: dict[str, Any] = {"taskctl.1": overview}
    for name in COMMANDS:
        made[f"taskctl-{name}.1"] = lambda name=name: command_page(name)
    return made
