"""Sends one command of the vocabulary, and draws what comes back."""

from __future__ import annotations

import functools
from typing import Any

import click

from taskctl.apps import client_app, user_app
from taskctl.command import Command as HelpCommand
from taskctl.command import Option
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.errors import AppNotFound
from taskctl.core.redact import mask
from taskctl.core.remote.cluster import Answer, CommandReply, NodeRecord
from taskctl.core.remote.vocabulary import Command
from taskctl.failures import OK
from taskctl.remote import (
    REMOTE,
    Asking,
    Fleet,
    native,
    native_value,
    remote_options,
    warn_of_namesakes,
)
from taskctl.selection import Selection, take_selection
from taskctl.views.celery_text import online, reply_lines
from taskctl.views.changes import draw_control, draw_dry_run
from taskctl.views.replies import draw_inspect, narrow
from taskctl.watch import watching

from .remote_help import RemoteCommand, list_items, list_text
from .remote_words import arguments, choose, find


def make_command(
    kind: str, help: str, examples: tuple[str, ...], params: list[click.Parameter]
) -> click.Command:
    """Return the click command `inspect` or `control`."""

    @click.pass_obj
    def run(context: Context, /, method: str | None, words: tuple[str, ...], **options: Any) -> int:
        if options.pop("list"):
            return _list(context, kind)
        return _run(context, kind, method, words, options)

    class Remote(RemoteCommand, HelpCommand):
        def learn(self, ctx: click.Context, word: str) -> None:
            _learn(ctx.obj, kind, word)

    return Remote(
        kind,
        callback=run,
        params=[
            click.Argument(["method"], required=False, metavar="COMMAND", shell_complete=_methods),
            click.Argument(["words"], nargs=-1, metavar="[ARGUMENT]..."),
            *remote_options(),
            *params,
            Option(["--list"], is_flag=True, group=REMOTE, help="list the commands, and exit"),
        ],
        help=help,
        examples=examples,
    )


def _methods(ctx: click.Context, param: click.Parameter, begun: str) -> list[Any]:
    # Only a shell that completes needs it, and all of multi comes with it.
    from taskctl.completions import remote_commands

    return list(remote_commands(str(ctx.info_name), begun))


# -- commands of the app's own


def _learn(context: Context, kind: str, word: str | None) -> App | None:
    """Import the app if the word may be a command of its own; return the app if it was imported.

    Without a word: to learn of all of them.
    """
    if context.app_spec is None or (word is not None and find(kind, word) is not None):
        return None
    app = user_app(context)
    if word is None or find(kind, word) is None:
        app.import_default_modules()
    return app


def _list(context: Context, kind: str) -> int:
    try:
        _learn(context, kind, None)
    except (AppNotFound, ImportError) as exc:
        context.note(f"commands of the app's own are not listed: {exc}")
    console = context.console(piped="celery")
    if console.format == "json":
        console.document(f"{kind}.list", ok=True, items=list_items(kind))
    elif console.format == "jsonl":
        for item in list_items(kind):
            console.json(item)
    else:
        click.echo(list_text(kind), nl=False)
    return OK


# -- one call


def _run(
    context: Context, kind: str, method: str | None, words: tuple[str, ...], options: dict[str, Any]
) -> int:
    asking = Asking(**{name: options.pop(name) for name in Asking.__dataclass_fields__})
    dry_run, every = options.pop("dry_run", False), options.pop("watch", None)
    selection = take_selection(options) if kind == "inspect" else None
    app = _learn(context, kind, method) if method is not None else None
    command = choose(kind, method)
    found = arguments(command, words, options)
    piped = "celery" if selection in (None, Selection()) else "plain"
    console = context.console(piped=piped, celery_json=True, selection=selection)
    fleet = Fleet(app or client_app(context), asking)
    destructive = command.destructive or bool(found.get("terminate"))
    if dry_run or (destructive and context.asks):
        targets, waiting = fleet.targets(), _waiting(fleet, command, found)
        if dry_run:
            draw_dry_run(console, command.name, _shown(command, words, found), targets, waiting)
            return OK
        context.confirm(_question(command, words, targets, waiting))
    return watching(console, every, lambda page: _ask(page, fleet, command, found))


def _waiting(fleet: Fleet, command: Command, found: dict[str, Any]) -> int | None:
    """Return how many messages a command would leave without their consumers."""
    return fleet.waiting(found["queue"]) if command.name == "cancel_consumer" else None


def _shown(command: Command, words: tuple[str, ...], found: dict[str, Any]) -> str:
    """Return the arguments of a command as they would be typed."""
    options = [a.name for a in command.arguments if a.option and a.name in found]
    given = [f"--{n}" if found[n] is True else f"--{n} {found[n]}" for n in options]
    return " ".join([*words, *given])


def _question(
    command: Command,
    words: tuple[str, ...],
    targets: dict[str, NodeRecord | None],
    waiting: int | None,
) -> str:
    running = sum((node.record.get("busy") or 0) for node in targets.values() if node is not None)
    facts = [f"{running} {'task runs' if running == 1 else 'tasks run'} there"] if running else []
    facts += [f"{waiting} messages wait in {words[0]}"] if waiting else []
    nodes = f"{len(targets)} node{'s' if len(targets) != 1 else ''}"
    what = " ".join([command.name, *words])
    return f"{what} on {nodes}{' (' + ', '.join(facts) + ')' if facts else ''}?"


def _ask(console: Console, fleet: Fleet, command: Command, found: dict[str, Any]) -> int:
    streams = console.format == "jsonl"
    line = functools.partial(_draw_line, console, command)
    answer = fleet.ask(command.name, found, line if streams else None)
    code = fleet.exit_code(answer)
    warn_of_namesakes(console, answer)
    if not answer.replies:
        console.summary("no worker answered; noted at the broker, for those that start later")
    if not streams:
        _draw(console, command, answer, code)
    return code


def _draw(console: Console, command: Command, answer: Answer, code: int) -> None:
    inspecting = command.kind == "inspect"
    if console.celery_json or console.format in ("json", "celery"):
        for reply in answer.replies:
            reply.value = narrow(command.name, reply.value, console.selection)
    if console.celery_json:
        replies = [{reply.node: reply.value} for reply in answer.replies]
        console.json(answer.by_node() if inspecting else replies)
    elif console.format == "celery":
        for line in reply_lines(answer.replies, quiet=console.quiet):
            console.line(line)
        for line in online(len(answer.by_node())) if inspecting and not console.quiet else ():
            console.line(line)
    elif console.format == "json":
        console.document(
            f"{command.kind}.{command.name}",
            ok=code == OK,
            nodes=native(answer),
            missing=list(answer.missing),
        )
    elif inspecting:
        draw_inspect(console, command.name, answer)
    else:
        draw_control(console, command.name, answer)


def _draw_line(console: Console, command: Command, reply: CommandReply) -> None:
    """Write one node's answer as it comes."""
    value = narrow(command.name, mask(reply.value), console.selection)
    console.json({"node": reply.node, **native_value(value)})
    console.out.flush()
