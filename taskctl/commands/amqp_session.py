"""One connection of `taskctl amqp`, for a single word or a session of many."""

from __future__ import annotations

import json
import pprint
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskctl.apps import client_app
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.clock import maybe_seconds
from taskctl.core.redact import mask, mask_url

from .amqp_verbs import Verb

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
