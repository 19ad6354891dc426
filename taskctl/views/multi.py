"""Draws what `multi` did: one line per node as it happens, or one document at the end.

Node lines go to stdout. Banner, notes, reasons and summary are talk and go to stderr, except in
the `celery` format, where Celery's own lines all stand on stdout, so that old scripts find them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from taskctl.tables import shorten, up, width_of

from .multi_celery import celery_lines, waiting_line
from .multi_live import Live

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "34"}
_STATE_COLOURS = {
    "ready": "green",
    "running": "green",
    "spawned": "green",
    "stopped": "green",
    "failed": "red",
    "refused": "red",
    "timeout": "red",
    "killed": "yellow",
    "held": "yellow",
}
_PLAIN = (
    "node",
    "state",
    "pid",
    "old_pid",
    "exit_code",
    "seconds",
    "running_tasks",
    "pidfile",
    "logfile",
    "error",
)
_GOOD = frozenset({"ready", "running", "spawned", "stopped", "killed", "signalled"})
#: Narrower than this a list of queues is left out.
_NARROWEST = 8

Report = Mapping[str, Any]


class Screen:
    """Where the reports of one sub-command go.

    A report is a mapping with the keys of taskctl.multi.report, `last_words` and `note`.
    `width`: of the widest name of a node; `columns`: of the terminal, None if there is none.
    """

    def __init__(
        self,
        command: str,
        format: str,
        *,
        colour: bool = False,
        quiet: bool = False,
        splash: str = "",
        width: int = 0,
        columns: int | None = None,
        timeout: float | None = None,
        live: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.command = command
        self.format = format
        self.colour = colour
        self.quiet = quiet
        self.splash = splash
        # State and numbers need some 40 columns behind the name.
        self.width = width if columns is None else min(width, max(_NARROWEST, columns - 40))
        self.columns = columns
        self.timeout = timeout
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.reports: dict[str, Report] = {}
        self.live = Live(self.err) if live else None
        self._said: set[str] = set()
        self._going: dict[str, Report] = {}

    def tell(self, report: Report) -> None:
        """Take in a report, and draw it if this format draws as things happen."""
        self.reports[report["node"]] = report
        if self.live is not None:
            self.live.clear()
        # That a node runs already a table says in the line of the node.
        if (note := report.get("note")) and not (report["state"] == "running" and self._is_table):
            self.note(note)
        draw = getattr(self, f"_draw_{self.format}", None)
        if draw is not None:
            draw(report)
            self.out.flush()

    @property
    def _is_table(self) -> bool:
        return self.format in ("table", "wide")

    def note(self, text: str) -> None:
        """Say something on the side."""
        if not self.quiet:
            print(f"note: {text}", file=self.err, flush=True)

    def waiting(self, stopping: Callable[[], Sequence[Report]]) -> None:
        """Say for whom we wait: once in Celery's words, else again and again on a terminal."""
        if self.format == "celery" and "waiting" not in self._said:
            self._said.add("waiting")
            self._say(waiting_line([report["pid"] for report in stopping()]))
            self.out.flush()
        elif self.live is not None and self.live.due():
            for report in stopping():
                self._going[report["node"]] = self._with_last_work(report)
            self.live.draw(list(map(self._table_line, self._going.values())), self.columns)

    def _with_last_work(self, report: Report) -> Report:
        """Return a report with what was known of its tasks: its health file may go before it."""
        last = self._going.get(report["node"])
        if last is None or report["running_tasks"] is not None:
            return report
        work = ("running_tasks", "oldest_seconds")
        return {**report, **{key: last[key] for key in work}}

    def finish(self, summary: str = "", *, ok: bool = True) -> None:
        """Write what stands at the end."""
        if self.live is not None:
            self.live.clear()
        if self.format == "json":
            self._write_document(ok)
        elif self._is_table and summary and not self.quiet:
            print(summary, file=self.err, flush=True)
        self.out.flush()

    def _write_document(self, ok: bool) -> None:
        nodes = node_values([_facts(report) for report in self.reports.values()])
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = {
            "schema": f"taskctl/multi.{self.command}/1",
            "at": at,
            "ok": ok,
            "nodes": nodes,
            "missing": [],
        }
        json.dump(document, self.out, ensure_ascii=False, default=str)
        self.out.write("\n")

    # one method per format that draws as things happen

    def _draw_jsonl(self, report: Report) -> None:
        print(json.dumps(_facts(report), ensure_ascii=False, default=str), file=self.out)

    def _draw_name(self, report: Report) -> None:
        if report["state"] in _GOOD and report["node"] not in self._said:
            self._said.add(report["node"])
            print(report["node"], file=self.out)
        self._draw_reason(report)

    def _draw_plain(self, report: Report) -> None:
        if "header" not in self._said:
            self._said.add("header")
            print("\t".join(_PLAIN), file=self.out)
        cells = ("" if report[key] is None else str(report[key]) for key in _PLAIN)
        print("\t".join(cell.replace("\t", " ") for cell in cells), file=self.out)
        self._draw_reason(report)

    def _draw_table(self, report: Report) -> None:
        last = self._going.pop(report["node"], None)
        if self.command == "restart" and report["state"] == "signalled" and self.live is not None:
            self._going[report["node"]] = report  # drawn for good when it is known how it went on
            return
        if self.command == "restart" and last is not None:
            print(self._table_line(last), file=self.out)
        if not (self.command == "restart" and report["state"] == "stopped"):
            print(self._table_line(report), file=self.out, flush=True)
        self._draw_reason(report)

    _draw_wide = _draw_table

    def _table_line(self, report: Report) -> str:
        state, *details = _table_cells(self.command, report, self.timeout)
        queues = ",".join(report["queues"]) if self._with_queues(report) else ""
        name = shorten(report["node"], self.width)
        padded = f"{state:<{8 if self.command == 'restart' else 7}}"
        head = f"{name}{' ' * (self.width - width_of(name))}  "
        tail = "".join(f"  {detail}" for detail in details if detail)
        if queues and self.columns is not None:
            room = self.columns - width_of(head + padded + tail) - 2
            queues = shorten(queues, room) if room >= min(_NARROWEST, width_of(queues)) else ""
        line = head + self._paint(padded, _STATE_COLOURS.get(report["state"], "")) + tail
        return (f"{line}  {queues}" if queues else line).rstrip()

    def _with_queues(self, report: Report) -> bool:
        return report["state"] == "ready" and self.command != "restart"

    def _draw_celery(self, report: Report) -> None:
        if "splash" not in self._said:
            self._said.add("splash")
            if self.splash:
                self._say(self.splash)
            if self.command == "start":
                self._say("> Starting nodes...")
        if report["state"] == "signalled" and self.command != "kill":
            self._say_once("> Stopping nodes...")
        for line in celery_lines(self.command, report):
            self._say(line)
        self._draw_reason(report)

    def _draw_reason(self, report: Report) -> None:
        """Why it went wrong, below the node, on stderr."""
        if report["error"] is None:
            return
        self.out.flush()
        for line in report.get("last_words") or ():
            print(f"   | {line}", file=self.err)
        # In a table the node stands right above.
        whose = "" if self._is_table else f"{report['node']}: "
        print(f"   {whose}{report['error']}", file=self.err)
        if report["state"] == "failed" and report["logfile"] and self.command != "kill":
            short = report["node"].partition("@")[0]
            print(f"   more: taskctl multi logs {short}", file=self.err)
        self.err.flush()

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=self.out)

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _paint(self, text: str, colour: str) -> str:
        if not (self.colour and colour):
            return text
        word = text.rstrip()
        return f"\x1b[{_COLOURS[colour]}m{word}\x1b[0m{text[len(word) :]}"


def draw_lines(lines: Iterable[str], out: TextIO | None = None) -> None:
    """Print plain lines: names, expanded templates, command lines."""
    out = out or sys.stdout
    for line in lines:
        print(line, file=out)
    out.flush()


def node_values(rows: Sequence[Report]) -> dict[str, Any]:
    """Return the `nodes` of a document; rows are plain facts, in any order."""
    nodes = {}
    for facts in sorted(rows, key=lambda row: str(row["node"])):
        if facts.get("error") is None:
            nodes[facts["node"]] = {"ok": facts}
        else:
            told = {"code": facts["state"], "message": facts["error"], **facts}
            nodes[facts["node"]] = {"error": told}
    return nodes


def _facts(report: Report) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in ("last_words", "note")}


def _table_cells(command: str, report: Report, timeout: float | None) -> list[str]:
    """Return the state as people read it, and what belongs behind it."""
    state, pid, old, seconds = (report[key] for key in ("state", "pid", "old_pid", "seconds"))
    took = "" if seconds is None else f"{seconds:.2f} s"
    match state:
        case "ready":
            was = f", was {old}" if old else ""
            return ["ready", took, f"pid {pid}{was}"]
        case "spawned":
            return ["spawned", f"pid {pid}", "not waiting until it is ready"]
        case "running":
            return ["running", f"pid {pid}", f"already, for {up(seconds)}"]
        case "failed":
            code = report["exit_code"]
            short = "" if seconds is None else f"{seconds:.1f} s"
            return ["FAILED", ", ".join(filter(None, [f"exit {code}" if code else "", short]))]
        case "signalled":
            what = "stopping" if command == "restart" else f"{report['signal']} to {pid}"
            return [what, _work(report)]
        case "stopping":
            limit = f" of {timeout:g} s" if timeout else ""
            waited = f"waited {seconds:.0f} s{limit}" if (seconds or 0) >= 1 else ""
            return ["stopping", "; ".join(filter(None, [_work(report), waited]))]
        case "stopped" | "killed":
            return [state, took, f"was {old}"]
        case "down":
            return ["not running"]
        case "timeout":
            return ["TIMEOUT", took, f"pid {pid}"]
        case "refused" | "held":
            return [state.upper()]
    return [state]


def _work(report: Report) -> str:
    """Return `2 tasks running, oldest 8 s`, `idle`, or nothing if that is not known."""
    count, oldest = report["running_tasks"], report["oldest_seconds"]
    if count is None:
        return ""
    if count == 0:
        return "idle"
    since = "" if oldest is None else f", oldest {up(oldest)}"
    return f"{count} task{'' if count == 1 else 's'} running{since}"
