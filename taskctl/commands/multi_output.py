"""Where the output of `taskctl multi` goes, and the exit code that says how it went."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from taskctl.console import FORMATS, Console
from taskctl.context import Context
from taskctl.core.redact import mask, mask_text
from taskctl.core.version import __version__
from taskctl.failures import CANT_CREATE, FAILED, NOT_ALLOWED, OK, TIMED_OUT
from taskctl.multi.grammar import Line
from taskctl.multi.report import Report
from taskctl.selection import Selection
from taskctl.views.multi import Screen

_TABLES = ("table", "wide")
#: What commands can be drawn in that Celery does not have.
_OURS = tuple(name for name in FORMATS if name != "celery")


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

    def waiting(self, reports: Callable[[], list[Report]]) -> None:
        """Draw for whom we wait."""
        self.screen.waiting(lambda: [report.facts() for report in reports()])

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


def take_options(line: Line, context: Context) -> None:
    """Let the context know what the line says of output and questions."""
    for name in ("--output", "--json", "--quiet", "--yes"):
        if name in line.own:
            context.put(name[2:], line.own[name] or True)
    for setting in line.settings:
        if setting.option.name == "--color":
            context.put("color", setting.value)
        elif setting.option.name == "--no-color":
            context.put("no_color", True)


def screen_for(
    line: Line, context: Context, names: Sequence[str], warnings: Sequence[str]
) -> Screen:
    """Return the screen for a command that does something to nodes.

    Raises CommandError for a format that does not exist.
    """
    console = context.console(piped="celery")
    warn(context, warnings)
    return Screen(
        line.command,
        console.format,
        colour=console.colour,
        quiet=console.quiet,
        splash="" if "--nosplash" in line.own else f"taskctl multi v{__version__}",
        width=max((len(name) for name in names), default=0),
        columns=console.width() if console.format == "table" else None,
        timeout=line.number("--timeout", 0.0) or None,
        live=console.format in _TABLES and sys.stdout.isatty() and sys.stderr.isatty(),
    )


def console_for(line: Line, context: Context, piped: str = "plain") -> Console:
    """Return the console for a command that only looks.

    Raises CommandError for a format that does not exist here.
    """
    fields = line.own.get("--fields") or ""
    selection = Selection(
        where=line.own.get("--where"),
        sort=line.own.get("--sort"),
        fields=tuple(name.strip() for name in fields.split(",") if name.strip()),
        header="--no-header" not in line.own,
    )
    return context.console(piped=piped, formats=_OURS, selection=selection)


def list_words(
    line: Line, context: Context, items: Sequence[Mapping[str, object]], key: str
) -> None:
    """Print a word for each node; `key` is what people see, the rest is in JSON only."""
    console = context.console(piped="celery")
    if console.format == "json":
        console.document(f"multi.{line.command}", ok=True, items=items)
    for item in items if console.format != "json" else ():
        text = json.dumps(item, ensure_ascii=False) if console.format == "jsonl" else item[key]
        console.line(str(text))


def warn(context: Context, warnings: Sequence[str]) -> None:
    """Say what was left out of account."""
    if not context.quiet:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def shell_line(line: Line, argv: Sequence[str]) -> str:
    """Return a command line quoted for a shell, without secrets unless they are asked for."""
    return shlex.join(argv if "--no-censor" in line.own else mask(list(argv)))


def plural(things: Sequence[object]) -> str:
    """Return `1 node` or `3 nodes`."""
    return f"{len(things)} node" if len(things) == 1 else f"{len(things)} nodes"


def _masked(lines: Sequence[str]) -> list[str]:
    return [mask_text(text) for text in lines]
