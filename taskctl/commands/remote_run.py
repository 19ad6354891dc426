"""Sends one command of the vocabulary, and draws what comes back."""

from __future__ import annotations

import functools
from typing import Any

import click

from taskctl.apps import client_app
from taskctl.command import Command as HelpCommand
from taskctl.command import Option
from taskctl.completions import remote_commands
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.redact import mask
from taskctl.core.remote.cluster import Answer, CommandReply
from taskctl.core.remote.vocabulary import Command
from taskctl.failures import OK
from taskctl.remote import REMOTE, Asking, Fleet, native, remote_options
from taskctl.views.celery_text import online, reply_lines
from taskctl.views.replies import draw_control, draw_inspect

from .remote_words import RemoteCommand, arguments, choose, list_text


def make_command(
    kind: str, help: str, examples: tuple[str, ...], params: list[click.Parameter]
) -> click.Command:
    """Return the click command `inspect` or `control`."""

    @click.pass_obj
    def run(context: Context, /, method: str | None, words: tuple[str, ...], **options: Any) -> int:
        return _run(context, kind, method, words, options)

    class Remote(RemoteCommand, HelpCommand):
        pass

    Remote.kind = kind
    return Remote(
        kind,
        callback=run,
        params=[
            click.Argument(
                ["method"], required=False, metavar="COMMAND",
                shell_complete=lambda ctx, param, begun: remote_commands(kind, begun),
            ),
            click.Argument(["words"], nargs=-1, metavar="[ARGUMENT]..."),
            *remote_options(),
            *params,
            Option(
                ["--list"], is_flag=True, is_eager=True, expose_value=False, group=REMOTE,
                callback=functools.partial(_list, kind), help="list the commands, and exit",
            ),
        ],
        help=help,
        examples=examples,
    )  # fmt: skip


def _list(kind: str, ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(list_text(kind), nl=False)
        ctx.exit()


def _run(
    context: Context, kind: str, method: str | None, words: tuple[str, ...], options: dict[str, Any]
) -> int:
    asking = Asking(**{name: options.pop(name) for name in Asking.__dataclass_fields__})
    dry_run = options.pop("dry_run", False)
    command = choose(kind, method)
    found = arguments(command, words, options)
    console = context.console(piped="celery", celery_json=True)
    fleet = Fleet(client_app(context), asking)
    destructive = command.destructive or bool(found.get("terminate"))
    if dry_run or (destructive and context.asks):
        targets = fleet.targets()
        if dry_run:
            return _say_what(console, command, words, targets)
        context.confirm(f"{command.name} {_said(words)}on {_nodes(targets)}?")
    streams = console.format == "jsonl"
    answer = fleet.ask(
        command.name, found, functools.partial(_draw_line, console) if streams else None
    )
    code = fleet.exit_code(answer)
    for name in answer.duplicates():
        console.warn(f"two nodes are called {name}")
    if not streams:
        _draw(console, command, answer, code)
    return code


def _draw(console: Console, command: Command, answer: Answer, code: int) -> None:
    inspecting = command.kind == "inspect"
    if console.celery_json:
        replies = [{reply.node: reply.value} for reply in answer.replies]
        console.json(answer.by_node() if inspecting else replies)
    elif console.format == "celery":
        for line in reply_lines(answer.replies, quiet=console.quiet):
            console.line(line)
        for line in online(len(answer.replies)) if inspecting and not console.quiet else ():
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
        draw_control(console, answer)


def _draw_line(console: Console, reply: CommandReply) -> None:
    """Write one node's answer as it comes."""
    shown = CommandReply(node=reply.node, value=mask(reply.value), ticket=reply.ticket)
    (value,) = native(Answer(replies=[shown], missing={}, seconds=0.0)).values()
    console.json({"node": reply.node, **value})
    console.out.flush()


def _say_what(
    console: Console, command: Command, words: tuple[str, ...], targets: list[str]
) -> int:
    """Say what would be sent, and to whom."""
    console.line(f"would send {command.name} {_said(words)}to {_nodes(targets)}".rstrip())
    for name in targets:
        console.line(f"  {name}")
    return OK


def _said(words: tuple[str, ...]) -> str:
    return f"{' '.join(words)} " if words else ""


def _nodes(names: list[str]) -> str:
    count = len(names)
    return f"{count} node" if count == 1 else f"{count} nodes"
