"""`taskctl wait`: return when a condition holds."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from taskctl.at_broker import settled_app
from taskctl.command import AtLeast, Command, Option
from taskctl.conditions import Condition
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.errors import BackendError, BrokerConnectionError
from taskctl.failures import OK, TIMED_OUT, CommandError
from taskctl.tables import Column, seconds
from taskctl.waiting import ROOTS, Look, Pace, Values, check

from .outcome import need_backend

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl")
_COLUMNS = (Column("name", "NAME", shrinks=True), Column("value", "VALUE"))
#: Seconds after which people are told what is waited for.
_QUIET_FOR = 0.5


@click.pass_obj
def _wait(context: Context, text: str, timeout: float | None, interval: float) -> int:
    console = context.console(formats=_FORMATS)
    condition = Condition(text, ROOTS)
    names = condition.names()
    check(names)
    app = settled_app(context)
    if any(name.startswith("task.") for name in names):
        need_backend(app)
    return _Waiter(console, app, condition, Look(app, names), Pace(interval, timeout)).run()


class _Waiter:
    """Looks again and again, and says what it waits for."""

    def __init__(
        self, console: Console, app: App, condition: Condition, look: Look, pace: Pace
    ) -> None:
        self.console = console
        self.app = app
        self.condition = condition
        self.look = look
        self.pace = pace
        self.values: Values = {}
        self._connect_within = app.shared_connection().timeout
        self._trouble: str | None = None
        self._noted: set[str] = set()
        self._shows = console.err.isatty() and not console.quiet
        self._shown = False

    def run(self) -> int:
        """Return 0 once the condition holds; raise CommandError when the time is over."""
        try:
            while not self._holds():
                self._show()
                if not self.pace.rest():
                    raise self._late()
        finally:
            self._wipe()
        rows = [{"name": name, "value": value} for name, value in self.values.items()]
        self.console.rows("wait", _COLUMNS, rows)
        return OK

    def _holds(self) -> bool:
        """Return whether the condition holds now; while broker or backend are away it does not."""
        # A broker that swallows what it is sent must not hold us beyond the time.
        connection = self.app.shared_connection()
        connection.timeout = self.pace.left(self._connect_within)
        try:
            self.values = self.look.values()
        except (BrokerConnectionError, BackendError) as exc:
            self._tell(str(exc))
            return False
        if self._trouble is not None:
            self._note("reached again")
            self._trouble = None
        for queue in self.look.unknown_queues(self.values):
            if queue not in self._noted:
                self._noted.add(queue)
                self._note(f"there is no queue {queue!r} yet")
        return self.condition.holds(_nested(self.values))

    def _tell(self, trouble: str) -> None:
        """Say once that the broker is away: whoever waits may be waiting for just that."""
        if self._trouble is None:
            self._note(f"{trouble}; waiting for it")
        self._trouble = trouble

    def _note(self, text: str) -> None:
        self._wipe()
        self.console.note(text)

    def _late(self) -> CommandError:
        hints = [f"last: {_said(self.values)}"] if self.values else []
        if self._trouble is not None:
            hints.append(self._trouble)
        return CommandError(
            f"after {seconds(self.pace.elapsed)} it does not hold: {self.condition.text}",
            *hints,
            exit_code=TIMED_OUT,
            code="timeout",
        )

    # -- progress, for people

    def _show(self) -> None:
        if not self._shows or self.pace.elapsed < _QUIET_FOR:
            return
        self._shown = True
        said = _said(self.values) if self._trouble is None else self._trouble
        width = self.console.width() or 80
        line = f"waiting {seconds(self.pace.elapsed)}: {said}"[: width - 1]
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def _wipe(self) -> None:
        if self._shown:
            self._shown = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _said(values: Values) -> str:
    return ", ".join(f"{name} is {_word(value)}" for name, value in values.items())


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return value if isinstance(value, str) else "unknown" if value is None else json.dumps(value)


def _nested(values: Values) -> dict[str, Any]:
    """Return the row that conditions read: `{"queue": {"a.b": {"depth": 3}}}`."""
    row: dict[str, Any] = {root: {} for root in ROOTS}
    for name, value in values.items():
        root, _, rest = name.partition(".")
        subject, _, measure = rest.rpartition(".")
        (row[root].setdefault(subject, {}) if subject else row[root])[measure] = value
    return row


command = Command(
    "wait",
    callback=_wait,
    params=[
        click.Argument(["text"], metavar="CONDITION"),
        Option(
            ["--timeout"], type=AtLeast(float, 0.0), metavar="SECONDS",
            help="give up after so long, and exit 124 (default: never)",
        ),
        Option(
            ["--interval"], type=AtLeast(float, 0.05), default=1.0, metavar="SECONDS",
            help="look so often (default: 1.0)",
        ),
    ],
    help="Wait until a condition holds; also for a broker that is not there yet.",
    examples=(
        "taskctl -A proj wait 'workers.ready>=4' --timeout 60",
        "taskctl -A proj wait 'queue.images.depth==0 and tasks.running==0'",
    ),
)  # fmt: skip
