"""What every thread and child of a node is doing right now, as text for people.

The parent's threads are read from inside; children write theirs by a handler in C (pool/dumps.py),
so that one that hangs in an extension, or loops, answers too.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import traceback
from types import FrameType
from typing import TYPE_CHECKING

from ..pool.base import Running

if TYPE_CHECKING:
    from .worker import Worker

#: Longest wait (s) for children to answer; one that is stopped never does.  Only a person asks.
WITHIN = 0.25

#: faulthandler's lines, Python 3.11 to 3.14.
_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+)(?: \[(.*)\])? \(most recent")
_FRAME = re.compile(r'  File "(.*)", line (\d+|\?+) in (.*)')
#: Where a child begins, and where it stands while it waits for work: file and function.
_BEGINS, _WAITS = ("pool/child.py", "main"), ("pool/frames.py", "receive")


def stacks(worker: Worker) -> str:
    """Return the stacks of all threads of this process and of every child, with their tasks.

    Waits for the children's answers, a few milliseconds as a rule, at most `WITHIN`.
    """
    running = {one.request: one for one in worker.pool.running()}
    parts = [f"stacks of {worker.hostname}", *_of_parent(worker, list(running.values()))]
    dumps = worker.pool.stacks(WITHIN)
    for index, (pid, dump) in enumerate(dumps.items()):
        here = [one for one in running.values() if one.pid == pid]
        task = _tasks(worker, here)
        parts += _of_child(f"child {index}, pid {pid}", task, dump)
    return "\n".join(parts)


def _of_parent(worker: Worker, running: list[Running]) -> list[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    tasks = {_thread_of(worker, one): _task(worker, one) for one in running}
    parts = []
    for ident, frame in sys._current_frames().items():
        name = names.get(ident, f"0x{ident:x}")
        head = f"parent, pid {worker.pid}, thread {name}"
        parts += ["", f"{head}: {tasks[name]}" if tasks.get(name) else f"{head}:"]
        parts += _draw(_summary(frame))
    return parts


def _thread_of(worker: Worker, running: Running) -> str | None:
    """Return the name of the parent's thread that runs this, None if a child does."""
    if running.pid != worker.pid:
        return None
    return "MainThread" if worker.pool.name == "solo" else f"taskctl-{running.child}"


def _summary(frame: FrameType) -> traceback.StackSummary:
    return traceback.extract_stack(frame)


def _of_child(head: str, task: str | None, dump: str) -> list[str]:
    threads = _threads(dump)
    if not threads:
        return ["", f"{head}: {task or 'no task'}; no answer within {WITHIN:g} s, is it stopped?"]
    main = threads[-1][1]
    doing = task or ("waits for work" if main and _is_waiting(main[-1]) else "no task")
    parts = []
    for name, summary in reversed(threads):
        thread = f", thread {name}" if len(threads) > 1 else ""
        parts += ["", f"{head}{thread}: {doing}" if summary is main else f"{head}{thread}:"]
        parts += _draw(summary)
    return parts


def _threads(dump: str) -> list[tuple[str, traceback.StackSummary]]:
    """Return name and stack of each thread in what faulthandler wrote, the main one last."""
    main = threading.main_thread().ident  # a fork keeps it
    found: list[tuple[str, list[tuple[str, int, str, None]]]] = []
    for line in dump.splitlines():
        if thread := _THREAD.match(line):
            ident = int(thread[1], 16)
            name = "MainThread" if ident == main else thread[2] or f"0x{ident:x}"
            found.append((name, []))
        elif found and (frame := _FRAME.match(line)):
            number = int(frame[2]) if frame[2].isdigit() else 0
            found[-1][1].append((frame[1], number, frame[3], None))
    # Written innermost first; people read tracebacks the other way round.
    return [(name, _of_its_own(lines[::-1])) for name, lines in found]


def _of_its_own(lines: list[tuple[str, int, str, None]]) -> traceback.StackSummary:
    """Return a stack without what a child has from the parent's, at the time of the fork."""
    for position, (path, _, function, _) in enumerate(lines):
        if path.endswith(_BEGINS[0]) and function == _BEGINS[1]:
            return traceback.StackSummary.from_list(lines[position + 1 :])
    return traceback.StackSummary.from_list(lines)


def _is_waiting(innermost: traceback.FrameSummary) -> bool:
    return innermost.filename.endswith(_WAITS[0]) and innermost.name == _WAITS[1]


def _draw(summary: traceback.StackSummary) -> list[str]:
    return "".join(summary.format()).rstrip("\n").splitlines()


def _tasks(worker: Worker, running: list[Running]) -> str | None:
    """Return what a child runs; of many on one loop, how many, and the one that began first."""
    oldest = min(running, key=lambda one: one.since, default=None)
    text = _task(worker, oldest)
    return text if len(running) < 2 else f"runs {len(running)} tasks; the oldest {text}"


def _task(worker: Worker, running: Running | None) -> str | None:
    if running is None:
        return None
    request = worker.requests.get(running.request)
    return f"runs {request} for {time.monotonic() - running.since:.1f} s" if request else None
