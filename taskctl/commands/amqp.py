"""`taskctl amqp`: say single words of AMQP to a RabbitMQ broker, from the shell or in a session."""

from __future__ import annotations

import json
import pprint
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from taskctl.apps import client_app
from taskctl.command import Command, Group
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.clock import maybe_seconds
from taskctl.core.redact import mask, mask_url
from taskctl.failures import OK, usage

from .amqp_verbs import VERBS, Verb

if TYPE_CHECKING:
    from .amqp_broker import Rabbit

_FORMATS = ("table", "wide", "plain", "json", "jsonl", "celery")
_NO_MESSAGE = "No messages in queue. basic.publish something."


class Session:
    """A connection to the app's broker, and where its answers go."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.console = context.console(piped="celery", formats=_FORMATS)
        self.app = client_app(context)
        self._rabbit: Rabbit | None = None

    def connect(self) -> Rabbit:
        """Return the connection, made anew if it is gone.

        Raises CommandError if no broker answers or it is none of RabbitMQ's kind.
        """
        # Only now: pika costs as much to import as the rest of the command line.
        from .amqp_broker import Rabbit, check_scheme

        if self._rabbit is None or not self._rabbit.alive:
            urls = self.app.broker_urls()
            for url in urls:
                check_scheme(url)
            self._talk(f"-> connecting to {mask_url(urls[0])}.")
            timeout = maybe_seconds(self.app.conf.broker_connection_timeout) or 4.0
            self._rabbit = Rabbit(urls, self.app.broker_options(), timeout)
            self._talk("-> connected.")
        return self._rabbit

    def say(self, verb: Verb, words: Sequence[str]) -> None:
        """Do one word and print what came of it.

        Raises CommandError if the words make no sense, or the broker refuses.
        """
        values = verb.read(words)
        result = self.connect().do(lambda channel: verb.run(channel, **values))
        draw(self.console, verb, mask(result))

    def close(self) -> None:
        """Let go of the broker."""
        if self._rabbit is not None:
            self._rabbit.close()

    def _talk(self, text: str) -> None:
        if not self.context.quiet:
            print(text, file=sys.stderr, flush=True)


def draw(console: Console, verb: Verb, result: dict[str, Any]) -> None:
    """Print a result: Celery's lines, or JSON."""
    item = {"command": verb.name, **result}
    if console.format == "json":
        console.document("amqp", ok=True, items=[item])
    elif console.format == "jsonl":
        console.line(json.dumps(item, ensure_ascii=False, default=str))
    else:
        if "message" in result:
            message = result["message"]
            console.line(_NO_MESSAGE if message is None else pprint.pformat(message))
        elif (line := verb.say(result)) is not None:
            console.line(line)
        console.line("OK")
    console.out.flush()


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
