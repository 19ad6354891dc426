"""What `wait` can wait for: names, what they mean, and how their values are found.

A name is looked at only if the condition asks for it. What cannot be known is None, and meets no
comparison: a queue that is not there is not an empty one.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .core.app import App
from .core.remote import queues as desk
from .core.remote.cluster import NodeRecord
from .core.remote.letters import LetterBox
from .failures import usage

#: Names under each root, and what each is.
WORKERS: Mapping[str, str] = {
    "ready": "nodes that take tasks",
    "busy": "nodes that run a task on every slot",
    "quiet": "nodes told to take no new tasks",
    "stuck": "nodes whose tasks do not get on",
    "stopping": "nodes that shut down",
    "silent": "registered nodes that do not answer",
    "total": "nodes that answer",
}
TASKS: Mapping[str, str] = {"running": "tasks that run now, as registered nodes say"}
DLQ: Mapping[str, str] = {"depth": "dead letters"}
QUEUE: Mapping[str, str] = {
    "depth": "messages that wait",
    "unacked": "messages lent to nodes",
    "consumers": "registered nodes that take from it",
    "oldest_seconds": "age of the oldest message",
    "rate": "messages a second that leave it",
    "paused": "whether it is paused",
    "due": "messages held for their time",
}
TASK: Mapping[str, str] = {
    "state": "PENDING, STARTED, SUCCESS, FAILURE, ...",
    "ready": "whether it has ended",
}
ROOTS = ("workers", "tasks", "queue", "dlq", "task")
#: Numbers of a queue that need no look at anything else.
_CHEAP = frozenset({"depth"})
_READY_STATES = ("ok", "busy")
#: Longest time (s) one look may take to hear of all nodes.
_ASK_WITHIN = 1.0
#: What a step gets (s) when the time is over: a look at the end is still a look.
_SHORTEST = 0.1

Values = dict[str, Any]


def check(names: Iterable[str]) -> None:
    """Refuse names that nothing answers to."""
    for name in names:
        root, _, rest = name.partition(".")
        measure = rest.rpartition(".")[2] if root in ("queue", "task") else rest
        known = {"workers": WORKERS, "tasks": TASKS, "dlq": DLQ, "queue": QUEUE, "task": TASK}[root]
        if root in ("queue", "task") and not rest.rpartition(".")[0]:
            what = "NAME" if root == "queue" else "ID"
            raise usage(
                f"{name!r}: whose? write {root}.{what}.{measure or next(iter(known))}",
                _all_names(),
            )
        if measure not in known:
            stem = name[: len(name) - len(measure)] if measure else f"{name}."
            near = difflib.get_close_matches(measure, known, 1)
            raise usage(
                f"there is no {name!r}",
                f"did you mean: {stem}{near[0]}" if near else "",
                f"there are: {', '.join(stem + one for one in known)}",
            )


def _all_names() -> str:
    every = [f"workers.{one}" for one in WORKERS] + [f"tasks.{one}" for one in TASKS]
    every += [f"dlq.{one}" for one in DLQ]
    every += [f"queue.NAME.{one}" for one in QUEUE] + [f"task.ID.{one}" for one in TASK]
    return f"there are: {', '.join(every)}"


class Look:
    """Looks at what `names` stand for, at one broker.

    What is found may raise BrokerConnectionError or BackendError.
    """

    def __init__(self, app: App, names: Iterable[str]) -> None:
        self.app = app
        self.names = list(names)
        roots = {name.partition(".")[0] for name in self.names}
        self._asks_nodes = bool(roots & {"workers", "tasks"})
        self._queues = {_subject(name) for name in self.names if name.startswith("queue.")}
        measures = {name.rpartition(".")[2] for name in self.names if name.startswith("queue.")}
        self._only_depth = measures <= _CHEAP

    def values(self) -> Values:
        """Return the value of each name now."""
        found: Values = {}
        nodes = self._nodes() if self._asks_nodes else {}
        queues = self._queue_rows()
        for name in self.names:
            root, _, rest = name.partition(".")
            measure = rest.rpartition(".")[2]
            if root in ("workers", "tasks"):
                found[name] = nodes[measure]
            elif root == "dlq":
                found[name] = self._box().count()
            elif root == "queue":
                found[name] = queues.get(_subject(name), {}).get(measure)
            else:
                result = self.app.AsyncResult(_subject(name))
                found[name] = result.state if measure == "state" else result.ready()
        return found

    def unknown_queues(self, values: Values) -> list[str]:
        """Return the queues of the condition that do not exist."""
        return sorted(
            {
                _subject(name)
                for name, value in values.items()
                if name.startswith("queue.") and name.endswith(".depth") and value is None
            }
        )

    def _queue_rows(self) -> dict[str, dict[str, Any]]:
        connection = self.app.shared_connection()
        if self._only_depth:
            return {name: {"depth": desk.depth_of(connection, name)} for name in self._queues}
        return {row["queue"]: row for row in desk.list_queues(connection)}

    def _nodes(self) -> dict[str, int]:
        """Count nodes by what they say of themselves; asked, for a record may be seconds old."""
        cluster = self.app.control.cluster
        answer = cluster.ask("ping", timeout=_ASK_WITHIN)
        answered = [reply.node for reply in answer.replies]
        records = {node.name: node for node in cluster.nodes(_ASK_WITHIN) if node.name in answered}
        # Celery's keep no record: one that answers takes tasks.
        states = [_state(records.get(name)) for name in answered]
        counts = {word: states.count(word) for word in WORKERS}
        counts["ready"] = sum(states.count(word) for word in _READY_STATES)
        counts["total"] = len(answered)
        counts["silent"] = len(answer.missing)
        counts["running"] = sum(int(one.record.get("busy") or 0) for one in records.values())
        return counts

    def _box(self) -> LetterBox:
        return LetterBox(self.app.shared_connection(), self.app.conf.task_dead_letter_queue)


def _state(node: NodeRecord | None) -> str:
    return "ok" if node is None else str(node.record.get("state", "ok"))


def _subject(name: str) -> str:
    """Return the queue or the task id in a name."""
    return name.partition(".")[2].rpartition(".")[0]


class Pace:
    """When to look next, until a deadline; `timeout` None never ends."""

    def __init__(self, interval: float, timeout: float | None) -> None:
        self.interval = interval
        self.began = time.monotonic()
        self.deadline = None if timeout is None else self.began + timeout

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def left(self, most: float) -> float:
        """Return how long one step may take: `most`, or what is left of the time."""
        if self.deadline is None:
            return most
        return max(_SHORTEST, min(most, self.deadline - time.monotonic()))

    def rest(self) -> bool:
        """Sleep until the next look is due; return false if the time is over."""
        pause = self.interval
        if self.deadline is not None:
            pause = min(pause, self.deadline - time.monotonic())
        if pause <= 0:
            return False
        time.sleep(pause)
        return True
