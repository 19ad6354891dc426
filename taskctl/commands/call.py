"""`taskctl call`: send a task by its name, which need not be known here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from taskctl.apps import client_app, unreachable, user_app
from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.core.clock import parse_iso8601
from taskctl.core.errors import BrokerConnectionError, ImproperlyConfigured
from taskctl.failures import OK, usage
from taskctl.views.result import FORMATS, draw_sent

from .outcome import need_backend, report_outcome, wait

CALLING, ROUTING = "Calling options", "Routing options"


class _Json(click.ParamType):  # type: ignore[type-arg]
    """A JSON document of one kind."""

    def __init__(self, kind: type, word: str, example: str) -> None:
        self.kind = kind
        self.name = word
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, self.kind):
            return value
        try:
            parsed = json.loads(value)
        except ValueError as exc:
            self.fail(f"{value!r} is no JSON: {exc}; write {self.example}", param, ctx)
        if not isinstance(parsed, self.kind):
            got = type(parsed).__name__
            self.fail(f"{self.name} expected, got {got} {value}; write {self.example}", param, ctx)
        return parsed


class _Time(click.ParamType):  # type: ignore[type-arg]
    """An ISO 8601 time, or seconds from now where that makes sense."""

    def __init__(self, *, seconds: bool) -> None:
        self.name = "time"
        self.seconds = seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, datetime | float):
            return value
        if self.seconds:
            try:
                seconds = float(value)
            except ValueError:
                pass
            else:
                if math.isfinite(seconds):
                    return seconds
        try:
            return parse_iso8601(value)
        except ValueError:
            also = " or seconds" if self.seconds else ""
            self.fail(f"{value!r} is no time: write 2026-08-01T12:00:00Z{also}", param, ctx)


class _Call(Command):
    """`--wait` may stand alone, also in front of the name of the task."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        end = words.index("--") if "--" in words else len(words)
        for at in range(end):
            if words[at] == "--wait" and not _is_number(words[at + 1 : at + 2]):
                words[at] = "--wait=inf"
        return super().parse_args(ctx, words)


def _is_number(words: Sequence[str]) -> bool:
    try:
        return bool(words) and float(words[0]) >= 0
    except ValueError:
        return False


@click.pass_obj
def _call(
    context: Context,
    /,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    seconds: float | None,
    **options: Any,
) -> int:
    if options["eta"] is not None and options["countdown"] is not None:
        raise usage("--eta and --countdown both say when: choose one")
    console = context.console(piped="celery", formats=FORMATS)
    # Routes and queues are the app's; without them the task would go where nobody looks.
    app = user_app(context) if context.app_spec else client_app(context)
    given = {key: value for key, value in options.items() if value is not None}
    if seconds is not None:
        need_backend(app)
        # The task may keep no results; of this call we want one.
        given["ignore_result"] = False
    try:
        result = app.send_task(name, args, kwargs, **given)
    except BrokerConnectionError as exc:
        raise unreachable(app, exc) from exc
    except ImproperlyConfigured as exc:
        if repr(options["serializer"]) in str(exc):
            raise usage(f"--serializer: {exc}") from exc
        raise
    if seconds is None:
        draw_sent(console, {"id": result.id, "task": name})
        return OK
    wait(result, seconds)
    return report_outcome(console, "call", result)


command = _Call(
    "call",
    callback=_call,
    params=[
        click.Argument(["name"]),
        Option(
            ["-a", "--args"],
            type=_Json(list, "a JSON array", "'[2, 3]'"),
            default="[]",
            metavar="JSON",
            group=CALLING,
            help="positional arguments: '[2, 3]'",
        ),
        Option(
            ["-k", "--kwargs"],
            type=_Json(dict, "a JSON object", "'{\"x\": 2}'"),
            default="{}",
            metavar="JSON",
            group=CALLING,
            help="arguments by name: '{\"x\": 2}'",
        ),
        Option(
            ["--eta"],
            type=_Time(seconds=False),
            metavar="TIME",
            group=CALLING,
            help="run at this time: 2026-08-01T12:00:00Z",
        ),
        Option(
            ["--countdown"],
            type=float,
            metavar="SECONDS",
            group=CALLING,
            help="run after so many seconds",
        ),
        Option(
            ["--expires"],
            type=_Time(seconds=True),
            metavar="TIME",
            group=CALLING,
            help="do not run after this time, or so many seconds from now",
        ),
        Option(
            ["--serializer"],
            metavar="NAME",
            group=CALLING,
            help="json, pickle, yaml or msgpack (default: the app's)",
        ),
        Option(
            ["--wait", "seconds"],
            type=click.FloatRange(min=0),
            metavar="[SECONDS]",
            group=CALLING,
            help="wait for the result and print it; after so many seconds exit 124",
        ),
        Option(["--queue"], metavar="NAME", group=ROUTING, help="send to this queue"),
        Option(["--exchange"], metavar="NAME", group=ROUTING, help="send to this exchange"),
        Option(["--routing-key"], metavar="KEY", group=ROUTING, help="with this routing key"),
    ],
    help="Send a task by its name and print its id.",
    examples=(
        "taskctl -A proj call proj.tasks.add -a '[2, 3]' --countdown 5",
        'taskctl -A proj call proj.tasks.add -k \'{"x": 2, "y": 3}\' --wait 10',
    ),
)
