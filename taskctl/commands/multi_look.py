"""`taskctl multi status|logs|show|names|expand|get|forget`: what only looks, or only forgets."""

from __future__ import annotations

import json
import os

from taskctl.complaints import tell
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.errors import TemplateError
from taskctl.core.redact import mask_text
from taskctl.core.templates import expand, multi_letters
from taskctl.failures import FAILED, OK, PARTIAL, UNAVAILABLE, CommandError, usage
from taskctl.multi.grammar import Line, UsageError
from taskctl.multi.logs import point_in_time, show_logs
from taskctl.multi.records import Records
from taskctl.multi.report import Report
from taskctl.multi.resolve import nodes_to_start, targets
from taskctl.multi.stopper import status
from taskctl.views.multi_status import draw_status
from taskctl.watch import watching

from .multi_output import console_for, list_words, shell_line, warn

#: States of a node that is up in some way.
_UP = frozenset({"ready", "starting", "unready", "quiet", "stopping", "stuck"})


def show_status(line: Line, context: Context) -> int:
    """Show how each node is, once or again and again."""
    every = line.number("--watch", 2.0) if "--watch" in line.own else None
    console = console_for(line, context)

    def draw(page: Console) -> int:
        found, warnings = targets(line, Records(), lenient=True)
        warn(context, warnings)
        reports = [status(target) for target in sorted(found, key=lambda target: target.name)]
        draw_status(page, [report.facts() for report in reports])
        return _exit_code(reports)

    return watching(console, every, draw)


def _exit_code(reports: list[Report]) -> int:
    if all(report.state == "ready" for report in reports):
        return OK
    return PARTIAL if any(report.state in _UP for report in reports) else UNAVAILABLE


def show_lines(line: Line, context: Context) -> int:
    """Show the command line of each node."""
    nodes, warnings = nodes_to_start(line, line.words)
    warn(context, warnings)
    items = [
        {
            "node": node.name,
            "line": shell_line(line, node.argv),
            "pidfile": node.pidfile,
            "logfile": node.logfile,
            "health_file": node.healthfile,
        }
        for node in nodes
    ]
    list_words(line, context, items, "line")
    return OK


def show_names(line: Line, context: Context) -> int:
    """Show the full names."""
    nodes, warnings = nodes_to_start(line, line.words)
    warn(context, warnings)
    list_words(line, context, [{"node": node.name} for node in nodes], "node")
    return OK


def show_expanded(line: Line, context: Context) -> int:
    """Show what a template is for each node."""
    if not line.words:
        raise UsageError("multi expand wants a template", "example: taskctl multi expand %n.pid 3")
    template, *words = line.words
    nodes, warnings = nodes_to_start(line, words)
    warn(context, warnings)
    try:
        items = [
            {
                "node": node.name,
                "text": expand(template, multi_letters(node.name), option="expand"),
            }
            for node in nodes
        ]
    except TemplateError as exc:
        raise UsageError(str(exc)) from exc
    list_words(line, context, items, "text")
    return OK


def show_one(line: Line, context: Context) -> int:
    """Show the arguments of one node."""
    if not line.words:
        raise UsageError(
            "multi get wants the name of a node", "example: taskctl multi get w1 w1 w2"
        )
    wanted, *words = line.words
    nodes, warnings = nodes_to_start(line, words)
    warn(context, warnings)
    for node in nodes:
        if wanted in (node.name, node.short_name):
            item = {"node": node.name, "line": shell_line(line, node.argv[1:])}
            list_words(line, context, [item], "line")
            return OK
    raise CommandError(f"no node {wanted!r}: there are {', '.join(node.name for node in nodes)}")


def forget(line: Line, context: Context) -> int:
    """Drop the record of nodes; what runs goes on."""
    if not line.words:
        raise UsageError("multi forget wants names of nodes", "see: taskctl multi status")
    records = Records()
    found, warnings = targets(line, records, lenient=True)
    warn(context, warnings)
    for target in found:
        if status(target).pid is not None:
            context.note(f"{target.name} runs on; stop needs its --pidfile again if it has one")
    items = []
    for target in found:
        what = "forgotten" if records.forget(target.name) else "was not on record"
        items.append({"node": target.name, "result": what, "text": f"{target.name}  {what}"})
    list_words(line, context, items, "text")
    return OK


def show_log_lines(line: Line, context: Context) -> int:
    """Show the ends of logs; follow them if that was asked for."""
    follow = "--follow" in line.own
    since = _since(line)
    lines = line.whole("--lines", 20) if "--lines" in line.own or since is None else None
    found, warnings = targets(line, Records(), lenient=True)
    console = context.console(piped="celery")
    if follow and console.format == "json":
        raise usage("-o json is one document, and -f has no end", "use -o jsonl")
    warn(context, warnings)
    items: list[dict[str, str]] = []

    def show(node: str, text: str) -> None:
        text = mask_text(text)
        if console.format == "json":
            items.append({"node": node, "line": text})
            return
        if console.format == "jsonl":
            text = json.dumps({"node": node, "line": text}, ensure_ascii=False)
        elif len(found) > 1:
            text = f"{node}  {text}"
        console.line(text)
        if follow:
            console.out.flush()

    files = {target.name: target.logfile for target in found}
    if follow:
        _tell_missing(context, files)
    missing = show_logs(files, show, lines=lines, since=since, follow=follow)
    if console.format == "json" and len(missing) < len(files):
        console.document("multi.logs", ok=not missing, items=items, missing=missing)
    for name in missing:
        console.out.flush()
        tell(CommandError(f"{name} has no log at {files[name]}"))
    return FAILED if missing else OK


def _tell_missing(context: Context, files: dict[str, str]) -> None:
    for name, path in files.items():
        if not os.path.isfile(path):
            context.note(f"{name} has no log at {path} yet")


def _since(line: Line) -> float | None:
    text = line.own.get("--since")
    if text is None:
        return None
    try:
        return point_in_time(text)
    except ValueError:
        raise UsageError(
            f"--since {text}: no point in time",
            "examples: --since 10m, --since 14:30, --since '2026-01-31 14:30'",
        ) from None
