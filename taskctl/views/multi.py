"""Draws what `multi` did: one line per node as it happens, or one document at the end.

Node lines go to stdout. Banner, notes, reasons and summary are talk and go to stderr, except in
the `celery` format, where Celery's own lines all stand on stdout, so that old scripts find them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

FORMATS = ("table", "wide", "plain", "name", "json", "jsonl", "celery")

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
    "stale": "yellow",
    "starting": "yellow",
}
_PLAIN = ("node", "state", "pid", "old_pid", "exit_code", "seconds", "pidfile", "logfile", "error")
_GOOD = frozenset({"ready", "running", "spawned", "stopped", "killed", "signalled"})


class Screen:
    """Where the reports of one sub-command go.

    A report is a mapping with the keys of taskctl.multi.report, `last_words` and `note`.
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
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.command = command
        self.format = format
        self.colour = colour
        self.quiet = quiet
        self.splash = splash
        self.width = width
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.reports: dict[str, Mapping[str, Any]] = {}
        self._said: set[str] = set()

    def tell(self, report: Mapping[str, Any]) -> None:
        """Take in a report, and draw it if this format draws as things happen."""
        self.reports[report["node"]] = report
        if note := report.get("note"):
            self.note(note)
        draw = getattr(self, f"_draw_{self.format}", None)
        if draw is not None:
            draw(report)
            self.out.flush()

    def note(self, text: str) -> None:
        """Say something on the side."""
        if not self.quiet:
            print(f"note: {text}", file=self.err, flush=True)

    def waiting(self, pids: Sequence[int]) -> None:
        """Say for which processes we wait from now on."""
        if self.format == "celery":
            nodes = "node" if len(pids) == 1 else "nodes"
            self._say(f"> Waiting for {len(pids)} {nodes} -> {', '.join(map(str, pids))}...")
            self.out.flush()

    def finish(self, summary: str = "", *, ok: bool = True) -> None:
        """Write what stands at the end."""
        if self.format == "json":
            json.dump(self._document(ok), self.out, ensure_ascii=False, default=str)
            self.out.write("\n")
        elif self.format in ("table", "wide") and summary and not self.quiet:
            print(summary, file=self.err, flush=True)
        self.out.flush()

    def _document(self, ok: bool) -> dict[str, Any]:
        nodes = {}
        for name in sorted(self.reports):
            facts = _facts(self.reports[name])
            if facts["error"] is None:
                nodes[name] = {"ok": facts}
            else:
                nodes[name] = {
                    "error": {"code": facts["state"], "message": facts["error"], **facts}
                }
        at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            "schema": f"taskctl/multi.{self.command}/1",
            "at": at,
            "ok": ok,
            "nodes": nodes,
            "missing": [],
        }

    # one method per format that draws as things happen

    def _draw_jsonl(self, report: Mapping[str, Any]) -> None:
        print(json.dumps(_facts(report), ensure_ascii=False, default=str), file=self.out)

    def _draw_name(self, report: Mapping[str, Any]) -> None:
        if report["state"] in _GOOD and report["node"] not in self._said:
            self._said.add(report["node"])
            print(report["node"], file=self.out)

    def _draw_plain(self, report: Mapping[str, Any]) -> None:
        if "header" not in self._said:
            self._said.add("header")
            print("\t".join(_PLAIN), file=self.out)
        cells = ("" if report[key] is None else str(report[key]) for key in _PLAIN)
        print("\t".join(cell.replace("\t", " ") for cell in cells), file=self.out)
        self._draw_reason(report)

    def _draw_table(self, report: Mapping[str, Any]) -> None:
        state, *details = _table_cells(self.command, report)
        coloured = self._paint(f"{state:<8}", _STATE_COLOURS.get(report["state"], ""))
        line = "  ".join([f"{report['node']:<{self.width}}", coloured, *details])
        print(line.rstrip(), file=self.out, flush=True)
        self._draw_reason(report)

    _draw_wide = _draw_table

    def _draw_celery(self, report: Mapping[str, Any]) -> None:
        if "splash" not in self._said:
            self._said.add("splash")
            if self.splash:
                self._say(self.splash)
            if self.command == "start":
                self._say("> Starting nodes...")
        if report["state"] == "signalled" and self.command != "kill":
            self._say_once("> Stopping nodes...")
        for line in _celery_lines(self.command, report):
            self._say(line)
        self._draw_reason(report)

    def _draw_reason(self, report: Mapping[str, Any]) -> None:
        """Why it went wrong, below the node, on stderr."""
        if report["error"] is None:
            return
        self.out.flush()
        for line in report.get("last_words") or ():
            print(f"   | {line}", file=self.err)
        print(f"   {report['node']}: {report['error']}", file=self.err)
        if report["state"] == "failed" and report["logfile"]:
            print(f"   log: {report['logfile']}", file=self.err)
        self.err.flush()

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=self.out)

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour and colour else text


def draw_lines(lines: Iterable[str], out: TextIO | None = None) -> None:
    """Print plain lines: names, expanded templates, command lines."""
    out = out or sys.stdout
    for line in lines:
        print(line, file=out)
    out.flush()


def draw_status(reports: Sequence[Mapping[str, Any]], *, colour: bool, out: TextIO) -> None:
    """Print the table of `multi status`."""
    rows = [("NODE", "STATE", "PID", "UP", "QUEUES", "LOG")]
    for report in reports:
        rows.append(
            (
                report["node"],
                report["state"],
                str(report["pid"] or "–"),
                _up(report["seconds"]),
                ",".join(report["queues"]) or "–",
                report["logfile"] or "–",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if colour and number:
            paint = _COLOURS.get(_STATE_COLOURS.get(row[1], ""), "0")
            cells[1] = f"\x1b[{paint}m{cells[1]}\x1b[0m"
        print("  ".join(cells).rstrip(), file=out)


def _facts(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in ("last_words", "note")}


def _table_cells(command: str, report: Mapping[str, Any]) -> list[str]:
    """Return the state as people read it, and what belongs behind it."""
    state, pid, old, seconds = (report[key] for key in ("state", "pid", "old_pid", "seconds"))
    took = "" if seconds is None else f"{seconds:.2f} s"
    match state:
        case "ready":
            was = f", was {old}" if old else ""
            return ["ready", took, f"pid {pid}{was}", ",".join(report["queues"])]
        case "spawned":
            return ["spawned", f"pid {pid}", "not waiting until it is ready"]
        case "running":
            return ["running", f"pid {pid}", f"already, for {_up(seconds)}"]
        case "failed":
            code = report["exit_code"]
            return ["FAILED", ", ".join(filter(None, [f"exit {code}" if code else "", took]))]
        case "signalled":
            return ["stopping" if command == "restart" else report["signal"], f"to {pid}"]
        case "stopped" | "killed":
            return [state, took, f"was {old}"]
        case "down":
            return ["not running"]
        case "timeout":
            return ["TIMEOUT", took, f"pid {pid}"]
        case "refused" | "held":
            return [state.upper()]
    return [state]


def _celery_lines(command: str, report: Mapping[str, Any]) -> list[str]:
    """Return Celery 5.7's lines for this report."""
    node, pid, old, state = (report[key] for key in ("node", "pid", "old_pid", "state"))
    intro = f"> Restarting node {node}: " if command == "restart" else f"\t> {node}: "
    match state:
        case "ready" | "running" | "spawned":
            return [f"{intro}OK"]
        case "failed":
            code = report["exit_code"] or 0
            if code > 128:
                return [f"{intro}* Child was terminated by signal {code - 128}", "FAILED"]
            if code:
                return [f"{intro}* Child terminated with exit code {code}", "FAILED"]
            return [f"{intro}FAILED"]
        case "signalled" if command == "kill":
            return [f"Sending {report['signal']} to node {node} ({pid})"]
        case "signalled":
            return [f"\t> {node}: {report['signal']} -> {pid}"]
        case "stopped":
            return [] if command == "restart" else [f"\t> {node}: OK", f"> {node}: DOWN"]
        case "down" if old:
            return [f"Could not signal {node} ({old}): No such process", f"> {node}: DOWN"]
        case "down":
            return [] if command == "restart" else [f"> {node}: DOWN"]
        case "killed":
            return [] if command == "kill" else [f"\t> {node}: KILLED"]
    return [f"\t> {node}: {state.upper()}"]


def _up(seconds: float | None) -> str:
    """Return a length of time as `8 s`, `12 m 5 s`, `3 h 12 m` or `2 d 4 h`."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    for unit, size, lower, smaller in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {lower}"
    return f"{whole} s"
