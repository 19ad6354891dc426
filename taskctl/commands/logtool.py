"""`taskctl logtool`: what became of tasks, from the logs of workers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from taskctl.command import Command, Group
from taskctl.conditions import Condition
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.redact import mask_text
from taskctl.failures import OK, usage
from taskctl.logtool import BAD, Audit, Entry, entries
from taskctl.selection import Selection, list_options, take_selection
from taskctl.views.logtool import draw_incomplete, draw_stats, report_lines

_FORMATS = ("table", "wide", "plain", "name", "json", "jsonl", "celery")
_KEYS = (
    "at", "level", "process", "task", "id", "outcome", "text", "traceback", "file", "line",
)  # fmt: skip


@click.pass_obj
def _stats(context: Context, /, files: tuple[str, ...], **options: Any) -> int:
    console, audit = _audit(context, files, options)
    if console.format == "celery":
        for line in report_lines(audit.rows()):
            console.line(line)
    else:
        draw_stats(console, audit.rows(), audit.records)
    return OK


@click.pass_obj
def _incomplete(context: Context, /, files: tuple[str, ...], **options: Any) -> int:
    console, audit = _audit(context, files, options)
    rows = [
        {"task": one.task, "id": one.id, "at": _moment(one.at), "file": one.file}
        for one in audit.open.values()
    ]
    if console.format == "celery":
        for row in rows:
            console.line(f"Did not complete: {row['id']}")
    else:
        draw_incomplete(console, rows)
    return OK


def _audit(
    context: Context, files: tuple[str, ...], options: dict[str, Any]
) -> tuple[Console, Audit]:
    selection = take_selection(options)
    console = context.console(formats=_FORMATS, selection=selection)
    audit = Audit()
    for entry in entries(_chosen(files)):
        audit.feed(entry)
    if not audit.records:
        console.warn("no line in the format of a worker's log; is it a log of one?")
    return console, audit


def _stream(wanted: Callable[[Entry], bool], text: Callable[[Entry], list[str]]) -> Any:
    """Return the callback of a command that prints some of the records as they are read."""

    @click.pass_obj
    def run(context: Context, /, files: tuple[str, ...], **options: Any) -> int:
        selection = take_selection(options)
        if selection.sort:
            raise usage("--sort wants all lines at once; here they come as they are read")
        console = context.console(formats=_FORMATS, selection=selection)
        schema = str(click.get_current_context().info_name)
        found = _selected(selection, (entry for entry in _read(console, files) if wanted(entry)))
        _print(console, schema, selection, found, text)
        return OK

    return run


def _print(
    console: Console,
    schema: str,
    selection: Selection,
    found: Iterator[tuple[Entry, dict[str, Any]]],
    text: Callable[[Entry], list[str]],
) -> None:
    """Print records as they stand in the log, or as objects."""
    if console.format == "json":
        items = [selection.pick(row) for _, row in found]
        console.document(f"logtool.{schema}", ok=True, items=items)
        return
    if selection.fields and selection.header and console.format not in ("jsonl", "name"):
        console.line("\t".join(selection.fields))
    for entry, row in found:
        if console.format == "jsonl":
            console.line(json.dumps(selection.pick(row), ensure_ascii=False))
        elif console.format == "name":
            if entry.id is not None:
                console.line(entry.id)
        elif selection.fields:
            console.line("\t".join(_cell(row[key]) for key in selection.fields))
        else:
            for line in text(entry):
                console.line(mask_text(line))


def _selected(
    selection: Selection, found: Iterator[Entry]
) -> Iterator[tuple[Entry, dict[str, Any]]]:
    selection.check_fields(_KEYS)
    condition = None if selection.where is None else Condition(selection.where, _KEYS, "--where")
    for entry in found:
        row = _row(entry)
        if condition is None or condition.holds(row):
            yield entry, row


def _read(console: Console, files: tuple[str, ...]) -> Iterator[Entry]:
    count = 0
    for entry in entries(_chosen(files)):
        count += 1
        yield entry
    if not count:
        console.warn("no line in the format of a worker's log; is it a log of one?")


def _chosen(files: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files to read; stdin is read only if it is named."""
    if not files:
        raise usage(
            "logtool wants log files, or - for stdin",
            "example: taskctl logtool stats /var/log/taskctl/*.log",
        )
    for name in files:
        if name != "-" and os.path.isdir(name):
            raise usage(f"{name} is a folder", f"example: taskctl logtool stats {name}/*.log")
    return files


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "at": _moment(entry.line.at),
        "level": entry.line.level,
        "process": entry.line.process,
        "task": entry.task or entry.line.extras.get("task_name"),
        "id": entry.id or entry.line.extras.get("task_id"),
        "outcome": entry.outcome,
        "text": mask_text(entry.line.text.split("\n")[0]),
        "traceback": mask_text("\n".join(entry.traceback)).rstrip() or None,
        "file": entry.file,
        "line": entry.number,
    }


def _moment(at: float | None) -> str | None:
    if at is None:
        return None
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("\t", " ").replace("\n", "\\n")


def _whole(entry: Entry) -> list[str]:
    return entry.raw


def _first(entry: Entry) -> list[str]:
    return entry.raw[:1]


def _with_traceback(entry: Entry) -> list[str]:
    return [entry.line.text.split("\n")[0], *entry.traceback] if entry.line.extras else entry.raw


def _make(name: str, callback: Any, help: str, *examples: str) -> Command:
    return Command(
        name,
        callback=callback,
        params=[click.Argument(["files"], nargs=-1, metavar="[FILE|-]..."), *list_options()],
        help=help,
        examples=examples,
    )


command = Group(
    "logtool",
    commands={
        "stats": _make(
            "stats", _stats, "Count what became of the tasks, and how long they took.",
            "taskctl logtool stats /var/log/taskctl/*.log",
            "taskctl logtool stats --sort -longest_seconds w1.log",
        ),
        "traces": _make(
            "traces", _stream(lambda entry: bool(entry.traceback), _with_traceback),
            "Show tracebacks, each with the line it belongs to.",
            "taskctl logtool traces w1.log", "taskctl logtool traces --where 'task == proj.*' -",
        ),
        "errors": _make(
            "errors", _stream(lambda entry: entry.outcome in BAD, _first),
            "Show the line of each task that failed, was rejected or cut off.",
            "taskctl logtool errors w1.log", "taskctl logtool errors -o name w1.log | sort -u",
        ),
        "incomplete": _make(
            "incomplete", _incomplete, "Show tasks that were received and never ended.",
            "taskctl logtool incomplete /var/log/taskctl/*.log",
            "taskctl logtool incomplete -o name w1.log",
        ),
        "debug": _make(
            "debug", _stream(lambda entry: entry.outcome is None, _whole),
            "Show the lines that do not tell of a task's life.",
            "taskctl logtool debug w1.log", "taskctl logtool debug --where 'level == ERROR' w1.log",
        ),
    },
    help="Make sense of worker logs: ours and Celery's, text and JSON.",
    examples=(
        "taskctl logtool stats /var/log/taskctl/*.log",
        "taskctl multi logs -n 10000 | taskctl logtool errors -",
    ),
)  # fmt: skip
