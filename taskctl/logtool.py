"""What happened to tasks, read from the logs of workers: ours and Celery 5.7's, text and JSON.

Logs are read line by line; what is kept is one count for each kind of task, and the tasks that
have begun and not ended.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .logtool_lines import LogLine, read_line

#: More lines below a record than this are counted, not kept: a file of another kind has no end.
LONGEST = 1000

_TASK = re.compile(r"Task (?P<task>.+?)\[(?P<id>[^\[\]\s]+)\] (?P<rest>.+)")
_DISCARDED = re.compile(r"Discarding \w+ task: (?P<task>.+?)\[(?P<id>[^\[\]\s]+)\]")
_LIMIT = re.compile(r"Hard time limit \(\S+\) exceeded for (?P<task>.+?)\[(?P<id>[^\[\]\s]+)\]")
_TERMINATING = re.compile(r"Terminating (?P<id>\S+) \(")
_RUNTIME = re.compile(r"succeeded in (?P<seconds>[\d.e+-]+)s: (?P<result>.*)", re.DOTALL)
#: How the rest of a line about a task begins, and what has become of the task.
_ENDINGS = (
    ("received", "received"),
    ("succeeded in ", "succeeded"),
    ("raised expected", "failed"),
    ("raised unexpected", "failed"),
    ("INTERNAL ERROR", "failed"),
    ("killed: hard time limit", "failed"),
    ("moved to the dead-letter queue", "failed"),
    ("cut off by the shutdown", "cut off"),
    ("retry:", "retried"),
    ("ignored", "ignored"),
    ("reject requeue=True", "requeued"),
    ("goes back to queue", "requeued"),
    ("reject", "rejected"),
    ("terminated by", "revoked"),
)
#: Ends after which a task is not expected to be heard of again in this run.
ENDED = frozenset({"succeeded", "failed", "ignored", "rejected", "revoked", "cut off"})
#: Ends that a human should know of.
BAD = frozenset({"failed", "rejected", "cut off"})


@dataclass
class Entry:
    """One record of a log with the lines below it; `outcome` if it is about a task's life."""

    file: str
    number: int
    line: LogLine
    below: list[str] = field(default_factory=list)
    left_out: int = 0
    task: str | None = None
    id: str | None = None
    outcome: str | None = None
    detail: str = ""
    runtime: float | None = None

    @property
    def raw(self) -> list[str]:
        """The record as it stands in the log."""
        if self.line.extras:
            return [self.line.raw]
        more = [f"... and {self.left_out} more lines"] if self.left_out else []
        return [self.line.raw, *self.below, *more]

    @property
    def traceback(self) -> list[str]:
        """The lines of the traceback in it, if there is one."""
        for position, text in enumerate(self.below):
            if text.startswith("Traceback (most recent call last)"):
                return self.below[position:]
        return []


def entries(files: Sequence[str]) -> Iterator[Entry]:
    """Yield the records of logs one after another; `-` is stdin.

    Raises OSError for a file that cannot be read.
    """
    for name in files:
        if name == "-":
            yield from _entries("-", sys.stdin.buffer)
        else:
            with open(name, "rb") as file:
                yield from _entries(name, file)


def _entries(name: str, lines: BinaryIO | Iterable[bytes]) -> Iterator[Entry]:
    entry: Entry | None = None
    for number, raw in enumerate(lines, start=1):
        text = raw.decode(errors="replace").rstrip("\r\n")
        line = read_line(text)
        if line is not None:
            if entry is not None:
                yield _understood(entry)
            entry = Entry(name, number, line)
        elif entry is not None and len(entry.below) < LONGEST:
            entry.below.append(text)
        elif entry is not None:
            entry.left_out += 1
    if entry is not None:
        yield _understood(entry)


def _understood(entry: Entry) -> Entry:
    """Find out what a record says of a task."""
    first, *more = entry.line.text.split("\n")
    if entry.line.extras:  # in JSON all of it stands in one line
        entry.below = [*more, *str(entry.line.extras.get("exception") or "").splitlines()]
    if (found := _TASK.match(first)) is not None:
        outcome = next((what for head, what in _ENDINGS if found["rest"].startswith(head)), None)
        entry.task, entry.id, entry.outcome = found["task"], found["id"], outcome
        entry.detail = found["rest"]
        if outcome == "succeeded" and (times := _RUNTIME.match(found["rest"])) is not None:
            entry.runtime, entry.detail = float(times["seconds"]), times["result"]
    elif (found := _DISCARDED.match(first)) is not None:
        entry.task, entry.id, entry.outcome = found["task"], found["id"], "revoked"
    elif (found := _LIMIT.match(first)) is not None:
        entry.task, entry.id, entry.outcome = found["task"], found["id"], "failed"
        entry.detail = first
    elif (found := _TERMINATING.match(first)) is not None:
        entry.id, entry.outcome = found["id"], "revoked"
    return entry


@dataclass
class TaskCounts:
    """How often each thing happened to tasks of one name; times in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    runtime: float = 0.0
    longest: float | None = None


@dataclass(frozen=True)
class OpenTask:
    """A task that has been received and of which no end is told."""

    task: str
    id: str
    at: float | None
    file: str


class Audit:
    """Follows tasks through logs; feed it every record in order."""

    def __init__(self) -> None:
        self.counts: dict[str, TaskCounts] = {}
        self.open: dict[str, OpenTask] = {}
        self.records = 0
        # A retry may be received before the line of the run that asked for it: how often each is
        # under way tells them apart.
        self._under_way: Counter[str] = Counter()

    def feed(self, entry: Entry) -> None:
        """Take in one record."""
        self.records += 1
        if entry.outcome is None or entry.id is None:
            return
        begun = self.open.get(entry.id)
        name = entry.task or (begun.task if begun is not None else None)
        if entry.outcome == "received":
            self._under_way[entry.id] += 1
            self.open[entry.id] = OpenTask(name or "", entry.id, entry.line.at, entry.file)
        elif entry.outcome in ENDED or self._under_way[entry.id] <= 1:
            del self._under_way[entry.id]
            self.open.pop(entry.id, None)
        else:
            self._under_way[entry.id] -= 1
        if name is None or (entry.task is None and begun is None):
            return
        counts = self.counts.setdefault(name, TaskCounts())
        counts.outcomes[entry.outcome] += 1
        if entry.runtime is not None:
            counts.runtime += entry.runtime
            counts.longest = max(counts.longest or 0.0, entry.runtime)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each kind of task, the most frequent first."""
        rows = []
        for name, counts in self.counts.items():
            outcomes = counts.outcomes
            succeeded = outcomes["succeeded"]
            row: dict[str, Any] = {"task": name}
            for key in ("received", "succeeded", "failed", "retried", "rejected", "revoked"):
                row[key] = outcomes[key]
            row["ignored"] = outcomes["ignored"]
            row["requeued"] = outcomes["requeued"] + outcomes["cut off"]
            row["incomplete"] = 0
            row["mean_seconds"] = counts.runtime / succeeded if succeeded else None
            row["longest_seconds"] = counts.longest
            rows.append(row)
        by_name = {row["task"]: row for row in rows}
        for task in self.open.values():
            by_name[task.task]["incomplete"] += 1
        return sorted(rows, key=lambda row: (-row["received"], row["task"]))
