"""`taskctl amqp`: say single words of AMQP to a RabbitMQ broker, from the shell or in a session."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from taskctl.command import Command, Group
from taskctl.context import Context
from taskctl.failures import OK, usage

from .amqp_session import Session
from .amqp_verbs import VERBS, Verb


def _verb_command(verb: Verb) -> click.Command:
    @click.pass_obj
    def run(context: Context, words: tuple[str, ...]) -> int:
        session = Session(context)
        try:
            session.say(verb, words)
        finally:
            session.close()
        return OK

    words = click.Argument(["words"], nargs=-1, metavar=verb.signature)
    return Command(
        verb.name, callback=run, params=[words], help=verb.help,
        examples=(f"taskctl {verb.example.join(('amqp ', ''))}", f"taskctl -A proj amqp {verb.name}"
                  f"{''.join(' ' + one.name.upper() for one in verb.arguments if one.required)}"),
    )  # fmt: skip


@click.pass_context
def _alone(ctx: click.Context) -> int | None:
    if ctx.invoked_subcommand is not None:
        return None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise usage(
            "amqp wants a command, or a terminal for a session",
            "example: taskctl amqp queue.declare images no yes",
            "commands from a pipe: taskctl amqp -",
        )
    return _session(ctx.obj, prompting=True)


@click.pass_obj
def _repl(context: Context) -> int:
    return _session(context, prompting=sys.stdin.isatty())


def _session(context: Context, *, prompting: bool) -> int:
    # It brings readline with it.
    from .amqp_shell import run_session

    session = Session(context)
    try:
        session.connect()
        return run_session(session, prompting=prompting)
    finally:
        session.close()


def _reading(name: str, help: str, callback: Callable[..., int]) -> Command:
    return Command(
        name, callback=callback, help=help,
        examples=(f"taskctl -A proj amqp {name}", f"echo queue.purge images | taskctl amqp {name}"),
    )  # fmt: skip


command = Group(
    "amqp",
    callback=_alone,
    invoke_without_command=True,
    commands={
        **{verb.name: _verb_command(verb) for verb in VERBS.values()},
        "repl": _reading("repl", "Open a session on one connection.", _repl),
        "-": _reading("-", "Read commands from stdin, one a line.", _repl),
    },
    help="Administer a RabbitMQ broker: exchanges, queues, bindings and messages.",
    examples=(
        "taskctl -A proj amqp queue.declare images no yes",
        "taskctl amqp -b amqp://guest:guest@localhost//",
    ),
    subcommand_metavar="[COMMAND] [ARGS]",
)
