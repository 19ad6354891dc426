"""`taskctl beat`: send tasks on schedule, in the foreground or detached; `beat status`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskctl.apps import user_app
from taskctl.command import AtLeast, Command, Group, Option
from taskctl.context import Context
from taskctl.core.beat.looking import Shared, ask
from taskctl.core.beat.store import Glance, look, store_path
from taskctl.core.errors import BrokerError
from taskctl.failures import OK, PARTIAL, UNAVAILABLE, CommandError, usage
from taskctl.selection import list_options, take_selection
from taskctl.views.beat import COLUMNS, WIDE, leading, record_row, summary

from .worker_options import DAEMON, LOG_LEVELS
from .worker_options import Option as Row
from .worker_values import click_option

BEAT = "Beat options"
_LISTS = ("table", "wide", "plain", "name", "json", "jsonl")

#: Seconds an entry may be late before `status` says that not all is well.
MAX_LAG = 60.0

_SCHEDULE = Row(
    ("-s", "--schedule"),
    "path",
    BEAT,
    "file that remembers what was sent; .sqlite is added",
    "FILE",
    "celerybeat-schedule",
)

OPTIONS = (
    Row(("--detach",), "flag", BEAT, "run in the background; return once ready"),
    _SCHEDULE,
    Row(
        ("-S", "--scheduler"),
        "text",
        BEAT,
        "class of the scheduler, as a path or a short name",
        "CLASS",
        "PersistentScheduler",
    ),
    Row(
        ("--max-interval",),
        "float",
        BEAT,
        "longest time between looks at the schedule",
        "SECONDS",
        "300",
    ),
    Row(
        ("-n", "--hostname"),
        "text",
        BEAT,
        "name under which it answers ping",
        "NAME",
        "celerybeat@%h",
    ),
    Row(
        ("-l", "--loglevel"),
        "choice",
        BEAT,
        "log this level and above: DEBUG, INFO, WARNING, ERROR",
        "LEVEL",
        "WARNING",
        LOG_LEVELS,
    ),
    Row(("-f", "--logfile"), "path", DAEMON, "log to this file", "FILE", "stderr"),
    Row(("--pidfile",), "path", DAEMON, "hold this pidfile while running", "FILE"),
    Row(("--uid",), "text", DAEMON, "become this user", "USER"),
    Row(("--gid",), "text", DAEMON, "become this group", "GROUP"),
    Row(("--umask",), "text", DAEMON, "umask for new files; octal if it begins with 0", "MASK"),
    Row(("--executable",), "path", DAEMON, "go on in this Python", "FILE"),
)


@click.pass_obj
def _beat(context: Context, /, **given: Any) -> int:
    # It brings the scheduler with it, which `beat status` and `--help` have no use for.
    from .beat_start import start

    context.enter()
    return start(context, given)


@click.pass_obj
def _status(context: Context, /, schedule: str | None, max_lag: float, **options: Any) -> int:
    console = context.console(formats=_LISTS, selection=take_selection(options))
    name = schedule or _given_before("schedule")
    if name is None:
        app = user_app(context)
        shared = _ask(console, app) if app.conf.beat_election else None
        if shared is not None and shared.records:
            return _show_shared(console, shared, app.conf.beat_schedule, max_lag)
        name = str(app.conf.beat_schedule_filename)
    return _show_file(console, name, max_lag)


def _ask(console: Any, app: Any) -> Shared | None:
    """Return what the broker knows; without it the file of this host has to do."""
    try:
        return ask(app)
    except BrokerError as exc:
        console.warn(f"{exc}; this is what the file of this host says")
        return None


def _show_shared(
    console: Any, shared: Shared, configured: Mapping[str, Any], max_lag: float
) -> int:
    now, leader = time.time(), shared.leader
    host, node = (None, None) if leader is None else (leader.host, leader.node)
    rows = [
        record_row(record, leader, host, now, node=node, group=shared.group)
        for record in shared.records
    ]
    late = [row["entry"] for row in rows if row["lag_seconds"] > max_lag]
    known = {row["entry"] for row in rows}
    unknown = [name for name in configured if name not in known]
    code = PARTIAL if late or unknown or leader is None else OK
    missing = [*([] if leader is not None else ["beat"]), *unknown]
    console.rows("beat.status", COLUMNS, rows, wide=WIDE, ok=code == OK, missing=missing)
    text = leading(leader, shared.group, late, unknown)
    if code == OK:
        console.summary(text)
    else:
        console.warn(text)
    return code


def _show_file(console: Any, name: str, max_lag: float) -> int:
    glance = look(name)
    if glance is None:
        raise CommandError(
            f"no beat has run here: there is no file {store_path(name)}",
            "name its file with --schedule, or its folder with --workdir",
            exit_code=UNAVAILABLE,
            code="no_reply",
        )
    now = time.time()
    rows = [record_row(record, glance.beat, glance.host, now) for record in glance.records]
    late = [row["entry"] for row in rows if row["lag_seconds"] > max_lag]
    code = PARTIAL if late or glance.beat is None else OK
    missing = [] if glance.beat is not None else ["beat"]
    console.rows("beat.status", COLUMNS, rows, wide=WIDE, ok=code == OK, missing=missing)
    _say(console, glance, late)
    return code


def _given_before(option: str) -> Any:
    """Return an option that stands before `status`."""
    above = click.get_current_context().parent
    return None if above is None else above.params.get(option)


def _say(console: Any, glance: Glance, late: Sequence[str]) -> None:
    text = summary(glance.beat, glance.host, str(glance.path), late)
    if glance.beat is None or late:
        console.warn(text)
    else:
        console.summary(text)


class _Beat(Group):
    """A command of its own, with settings as words behind it, and a command below it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = self._command_at(ctx, args)
        ctx.allow_interspersed_args = True
        words = click.Command.parse_args(self, ctx, args[:at])
        for word in words:
            if "=" not in word:
                raise usage(f"{word!r}: status, an option or key=value expected")
        ctx.params["overrides"] = tuple(words)
        ctx.args = args[at:]
        return ctx.args

    def _command_at(self, ctx: click.Context, args: Sequence[str]) -> int:
        """Return where the name of a command stands; behind the end if there is none."""
        takes_value = {
            spelling
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and not (param.is_flag or param.count)
            for spelling in param.opts
        }
        for at, word in enumerate(args):
            if word == "--":
                break
            if word in self.commands and not (at and args[at - 1] in takes_value):
                return at
        return len(args)

    def invoke(self, ctx: click.Context) -> Any:
        if not ctx.args:
            return click.Command.invoke(self, ctx)
        name, command, words = self.resolve_command(ctx, ctx.args)
        assert command is not None
        ctx.invoked_subcommand = name
        with command.make_context(name, words, parent=ctx) as below:
            return below.command.invoke(below)


_REMOTE_CONTROL = Option(
    ["--enable-remote-control/--no-enable-remote-control", "remote_control"],
    default=None,
    group=BEAT,
    help="answer inspect ping (default: the setting, no)",
)

_STATUS = Command(
    "status",
    callback=_status,
    params=[
        click_option(_SCHEDULE),
        Option(
            ["--max-lag"], type=AtLeast(float, 0), default=MAX_LAG, metavar="SECONDS", group=BEAT,
            help=f"exit 3 if an entry is later than this (default: {MAX_LAG:g})",
        ),
        *list_options(),
    ],
    help="Show who leads, when each entry was last sent, is due, and how late it is.",
    examples=("taskctl -A proj beat status", "taskctl beat status -s /var/lib/shop/beat -o json"),
)  # fmt: skip

command = _Beat(
    "beat",
    callback=_beat,
    params=[*map(click_option, OPTIONS), _REMOTE_CONTROL],
    commands=[_STATUS],
    invoke_without_command=True,
    subcommand_metavar="[status] [KEY=VALUE]...",
    help="Send tasks on schedule.",
    examples=(
        "taskctl -A proj beat -l INFO",
        "taskctl -A proj beat --detach --pidfile=run/beat.pid -f log/beat.log",
        "taskctl -A proj beat status",
    ),
)
