"""Where the output of `taskctl multi` goes, and the exit code that says how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from taskctl.core.redact import mask_text
from taskctl.core.version import __version__
from taskctl.multi.grammar import Line, UsageError
from taskctl.multi.report import Report
from taskctl.views.multi import FORMATS, Screen

OK, FAILED, USAGE, PARTIAL = 0, 1, 2, 3
UNAVAILABLE, CANT_CREATE, TRY_LATER, NOT_ALLOWED, TIMED_OUT = 69, 73, 75, 77, 124


class Tally:
    """Hands reports to the screen, and knows how it went in the end."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.last: dict[str, Report] = {}

    def tell(self, report: Report) -> None:
        """Take in a report, and draw it without secrets."""
        if report.error:
            report = replace(
                report, error=mask_text(report.error), last_words=_masked(report.last_words)
            )
        if report.state == "running":
            report = replace(report, note=f"{report.node} runs already, pid {report.pid}")
        self.last[report.node] = report
        self.screen.tell(report.facts())

    def count(self, *states: str) -> int:
        """Return how many nodes are in one of these states by now."""
        return sum(report.state in states for report in self.last.values())

    def finish(self, summary: str) -> int:
        """Draw what stands at the end; return the exit code."""
        code = self.exit_code()
        self.screen.finish(summary, ok=code == OK)
        return code

    def exit_code(self) -> int:
        """Return one code for all: that of the failures if they agree, else 1."""
        failures = [report for report in self.last.values() if report.failed]
        if not failures:
            return OK
        if all(report.state == "timeout" for report in failures):
            return TIMED_OUT
        if all(report.state == "refused" for report in failures):
            return NOT_ALLOWED
        if all(report.exit_code == CANT_CREATE for report in failures):
            return CANT_CREATE
        return FAILED


def screen_for(
    line: Line, names: Sequence[str], warnings: Sequence[str], piped: str = "celery"
) -> Screen:
    """Return the screen a line asks for; `piped` is the format where stdout is no terminal.

    Raises UsageError for a format that does not exist.
    """
    chosen = line.own.get("--output") or os.environ.get("TASKCTL_OUTPUT")
    if "--json" in line.own:
        chosen = "json"
    if chosen is None:
        chosen = "table" if sys.stdout.isatty() else piped
    if chosen not in FORMATS:
        raise UsageError(f"-o {chosen}: choose from {', '.join(FORMATS)}")
    if chosen == "celery" and line.command == "status":
        raise UsageError("-o celery: Celery has no multi status; choose another format")
    warn(line, warnings)
    return Screen(
        line.command,
        chosen,
        colour=_coloured(line),
        quiet=is_quiet(line),
        splash="" if "--nosplash" in line.own else f"taskctl multi v{__version__}",
        width=max((len(name) for name in names), default=0),
    )


def _coloured(line: Line) -> bool:
    """Colour order: options, TASKCTL_COLOR, NO_COLOR, FORCE_COLOR, TERM, a terminal."""
    when = os.environ.get("TASKCTL_COLOR", "auto")
    for setting in line.settings:
        if setting.option.name == "--color":
            when = str(setting.value).lower()
        elif setting.option.name == "--no-color":
            when = "never"
    if when in ("always", "never"):
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def is_quiet(line: Line) -> bool:
    """Return whether notes, banner and summary are unwanted."""
    return "--quiet" in line.own or bool(os.environ.get("TASKCTL_QUIET"))


def warn(line: Line, warnings: Sequence[str]) -> None:
    """Say what was left out of account."""
    if not is_quiet(line):
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def _masked(lines: Sequence[str]) -> list[str]:
    return [mask_text(text) for text in lines]
