"""`taskctl events`: what workers and tasks do, as it happens: live, as lines, or in pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from taskctl.apps import client_app, unreachable
from taskctl.command import AtLeast, Command, Option
from taskctl.conditions import Condition
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError, BrokerError
from taskctl.core.redact import mask
from taskctl.failures import OK, usage
from taskctl.live.model import TASKS, View
from taskctl.views.events import STARTING, CeleryDump, People, seconds_of

from .top import has_terminal, live_options, live_view
from .worker_options import DAEMON, LOG_LEVELS
from .worker_options import Option as Row
from .worker_values import click_option

_FORMATS = ("table", "json", "jsonl", "celery")
DUMP, LIVE, CAMERA = "Options of the dump", "Options of the live view", "Options of a camera"
#: What makes sense with a camera alone; `frequency` and `loglevel` have defaults.
_CAMERA_ONLY = ("detach", "maxrate", "logfile", "pidfile", "uid", "gid", "umask", "executable")
#: Seconds between two tries to reach a broker that is gone, at first and at most.
_PAUSES = (0.5, 8.0)

Event = dict[str, Any]
Draw = Callable[[Event], str]


class _Enough(Exception):
    """Raised out of the receiver when as many events have come as were asked for."""


@click.pass_obj
def _events(context: Context, /, camera: str | None, **options: Any) -> int:
    if camera is not None:
        # It brings what programs that stay need, which a dump does not.
        from .events_camera import start

        return start(context, camera, options)
    for name in _CAMERA_ONLY:
        if options[name]:
            raise usage(
                f"--{name} goes with --camera: nothing else runs on its own",
                "example: taskctl -A proj events -c proj.cams.Camera --detach",
            )
    asked = context.options.get("json") or context.get("output", "TASKCTL_OUTPUT")
    console = context.console(piped="celery", formats=_FORMATS)
    dump = options["dump"] or options["limit"] or options["where"]
    app = client_app(context)
    if console.format == "table" and not dump and has_terminal():
        view = View(panes=(TASKS,), read_only=options["read_only"])
        _prepare(context, app, options, told=False)
        return live_view(context, app, view, options["interval"], 1.0)
    if console.format == "table" and not asked:
        console.format = "celery"
    _prepare(context, app, options, told=True)
    return Dump(console, app, options["limit"], options["where"]).run()


def _prepare(context: Context, app: App, options: Any, *, told: bool) -> None:
    """Turn task events on, if that was asked for; say if nobody sends them."""
    try:
        if options["enable"]:
            app.control.enable_events()
        elif told:
            _tell_of_silence(context, app)
    except BrokerConnectionError as exc:
        raise unreachable(app, exc) from exc


def _tell_of_silence(context: Context, app: App) -> None:
    nodes = [node for node in app.control.cluster.nodes() if node.alive]
    if not nodes or any(node.record.get("task_events") for node in nodes):
        return
    count = "the node sends" if len(nodes) == 1 else f"none of {len(nodes)} nodes sends"
    text = f"{count} no task events" if len(nodes) == 1 else f"{count} task events"
    context.note(f"{text}; turn them on: events --enable, or control enable_events, or worker -E")


class Dump:
    """Writes events as they come, one a line, until Ctrl-C or `limit` of them."""

    def __init__(self, console: Console, app: App, limit: int | None, where: str | None) -> None:
        self.console = console
        self.app = app
        self.limit = limit
        self.condition = Condition(where, None, "--where") if where else None
        self.count = 0
        self.draw: Draw = {
            "celery": CeleryDump().line,
            "table": People(console.paint).line,
        }.get(console.format, _json)

    def run(self) -> int:
        """Write; a broker that was there once is waited for when it goes."""
        pause, reached = _PAUSES[0], False
        while True:
            connection = self.app.connection()
            try:
                connection.open()
                if reached:
                    self.console.note("the broker is back; what happened meanwhile is not known")
                elif self.console.format == "celery" and not self.console.quiet:
                    self._write(STARTING)
                pause, reached = _PAUSES[0], True
                self.app.events.Receiver(connection, {"*": self._take}).capture()
            except _Enough:
                return OK
            except BrokerError as exc:
                if not reached and isinstance(exc, BrokerConnectionError):
                    raise unreachable(self.app, exc) from exc
                self.console.warn(f"{exc}; trying again in {pause:g} s")
            finally:
                connection.close()
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])

    def _take(self, event: Event) -> None:
        event = mask(event)
        if self.condition is not None and not self.condition.holds(event):
            return
        self._write(self.draw(event))
        self.count += 1
        if self.limit is not None and self.count >= self.limit:
            raise _Enough

    def _write(self, line: str) -> None:
        if line:
            self.console.line(line)
        self.console.out.flush()


def _json(event: Event) -> str:
    import json  # of the one format that writes it

    at = datetime.fromtimestamp(seconds_of(event), UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at.replace("+00:00", "Z"), **event}, ensure_ascii=False, default=str)


_DAEMON_ROWS = (
    Row(
        ("-l", "--loglevel"), "choice", CAMERA, "log this level and above", "LEVEL", "WARNING",
        LOG_LEVELS,
    ),
    Row(("--detach",), "flag", DAEMON, "run in the background; return once it works"),
    Row(("-f", "--logfile"), "path", DAEMON, "log to this file", "FILE", "stderr"),
    Row(("--pidfile",), "path", DAEMON, "hold this pidfile while running", "FILE"),
    Row(("--uid",), "text", DAEMON, "become this user", "USER"),
    Row(("--gid",), "text", DAEMON, "become this group", "GROUP"),
    Row(("--umask",), "text", DAEMON, "umask for new files; octal if it begins with 0", "MASK"),
    Row(("--executable",), "path", DAEMON, "go on in this Python", "FILE"),
)  # fmt: skip

command = Command(
    "events",
    callback=_events,
    params=[
        Option(
            ["-d", "--dump"], is_flag=True, group=DUMP,
            help="one line an event; so it is in a pipe, too",
        ),
        Option(
            ["-n", "--limit"], type=AtLeast(int, 1), metavar="N", group=DUMP,
            help="end after so many events",
        ),
        Option(
            ["--where"], metavar="CONDITION", group=DUMP,
            help="events that meet it: 'type == task-failed and name == proj.*'",
        ),
        Option(
            ["-e", "--enable"], is_flag=True,
            help="first let all nodes send task events, until they restart",
        ),
        *live_options(LIVE),
        Option(
            ["-c", "--camera"], metavar="CLASS", group=CAMERA,
            help="take pictures with this class, a Polaroid: proj.cams.Camera",
        ),
        Option(
            ["-F", "--frequency", "--freq"], type=AtLeast(float, 0.01), default=1.0,
            metavar="SECONDS", group=CAMERA, help="a picture every so many seconds (default: 1)",
        ),
        Option(
            ["-r", "--maxrate"], metavar="RATE", group=CAMERA,
            help="no more pictures than this: 10/m",
        ),
        *map(click_option, _DAEMON_ROWS),
    ],
    help="Show what workers and tasks do, as it happens; on a terminal a live list.",
    examples=(
        "taskctl -A proj events",
        "taskctl -A proj events --json --where 'type == task-failed' | jq .exception",
    ),
)  # fmt: skip
