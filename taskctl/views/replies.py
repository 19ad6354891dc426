"""Tables of what nodes answered to `inspect` and `control`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from taskctl.console import Console
from taskctl.core.remote.cluster import Answer
from taskctl.remote import by_name, content, error_of
from taskctl.tables import Column, number, seconds, short_id

from .stats import stats_lines

NODE = Column("node", "NODE", shrinks=True)
_ID = Column("id", "ID", short_id)
_ARGUMENTS = Column("arguments", "ARGUMENTS", shrinks=True, need=1)
_TASK = Column("task", "TASK", shrinks=True)

Rows = Iterator[dict[str, Any]]


def _requests(value: Any) -> Rows:
    for request in value:
        began = request.get("time_start")
        yield {
            "task": request.get("name"),
            "id": request.get("id"),
            "running_seconds": None if began is None else max(0.0, time.time() - began),
            "child": request.get("worker_pid"),
            "arguments": call_text(request.get("args"), request.get("kwargs")),
        }


def _scheduled(value: Any) -> Rows:
    for entry in value:
        (request,) = _requests([entry["request"]])
        yield {"eta": entry["eta"], **request}


def _queried(value: Any) -> Rows:
    for state, found in value.values():
        (request,) = _requests([found])
        yield {"where": state, **request}


def _queues(value: Any) -> Rows:
    for queue in value:
        exchange = queue.get("exchange") or {}
        yield {
            "queue": queue.get("name"),
            "exchange": exchange.get("name"),
            "type": exchange.get("type"),
            "routing_key": queue.get("routing_key"),
        }


def _single(key: str) -> Callable[[Any], Rows]:
    return lambda value: ({key: item} for item in value)


def _settings(value: Any) -> Rows:
    return ({"setting": key, "value": shown} for key, shown in sorted(value.items()))


#: How each answer becomes rows, the columns behind the node's, and what `-o name` prints.
_LISTS: Mapping[str, tuple[Callable[[Any], Rows], Sequence[Column], str]] = {
    "active": (
        _requests,
        (
            _TASK,
            _ID,
            Column("running_seconds", "RUNNING", seconds, right=True),
            Column("child", "CHILD", right=True, need=2),
            _ARGUMENTS,
        ),
        "id",
    ),
    "reserved": (_requests, (_TASK, _ID, _ARGUMENTS), "id"),
    "scheduled": (_scheduled, (_TASK, _ID, Column("eta", "ETA"), _ARGUMENTS), "id"),
    "query_task": (
        _queried,
        (_TASK, _ID, Column("where", "STATE"), Column("child", "CHILD", right=True), _ARGUMENTS),
        "id",
    ),
    "revoked": (_single("id"), (Column("id", "ID"),), "id"),
    "registered": (_single("task"), (_TASK,), "task"),
    "active_queues": (
        _queues,
        (
            Column("queue", "QUEUE", shrinks=True),
            Column("exchange", "EXCHANGE", shrinks=True, need=2),
            Column("type", "TYPE", need=1),
            Column("routing_key", "ROUTING KEY", shrinks=True, need=3),
        ),
        "queue",
    ),
    "clock": (
        lambda value: iter([{"clock": value["clock"]}]),
        (Column("clock", "CLOCK", number, right=True),),
        "node",
    ),
    "conf": (
        _settings,
        (Column("setting", "SETTING"), Column("value", "VALUE", shrinks=True)),
        "setting",
    ),
    "ping": (lambda value: iter([{"result": "ok"}]), (Column("result", "RESULT"),), "node"),
}


def draw_inspect(console: Console, method: str, answer: Answer) -> None:
    """Draw the answers to an inspect command."""
    if console.format in ("table", "wide") and method not in _LISTS:
        _draw_blocks(console, method, answer)
    elif method in _LISTS:
        read, columns, name = _LISTS[method]
        empty = columns[0].key if console.format in ("table", "wide") else None
        rows = list(_rows(answer, read, empty))
        wide = None if method == "conf" else [NODE, *(_whole(column) for column in columns)]
        console.rows(f"inspect.{method}", [NODE, *columns], rows, name=name, wide=wide)
    else:
        rows = [{"node": n, "answer": content(value)} for n, value in by_name(answer).items()]
        console.rows(f"inspect.{method}", [NODE, Column("answer", "ANSWER")], rows)
    _draw_errors(console, answer)
    _sum_up(console, answer)


def _whole(column: Column) -> Column:
    """Return a column that shows ids in full."""
    return Column("id", "ID") if column is _ID else column


def _rows(answer: Answer, read: Callable[[Any], Rows], empty: str | None) -> Rows:
    """Yield the rows of all nodes; one without any shows that in its column `empty`, if given."""
    for node, value in by_name(answer).items():
        if error_of(value) is not None:
            continue
        rows = [{"node": node, **row} for row in read(content(value) or {})]
        yield from rows or ([{"node": node, empty: None}] if empty else [])


def _draw_blocks(console: Console, method: str, answer: Answer) -> None:
    """Draw answers that are no lists: some lines for each node."""
    for node, value in by_name(answer).items():
        if error_of(value) is not None:
            continue
        if method == "stats":
            for line in stats_lines(node, value):
                console.line(line)
        else:
            console.line(node)
            for line in str(content(value)).strip("\n").splitlines():
                console.line(f"  {line}".rstrip())


def _draw_errors(console: Console, answer: Answer) -> None:
    for node, value in by_name(answer).items():
        if (message := error_of(value)) is not None:
            console.warn(f"{node}: {message}")


def _sum_up(console: Console, answer: Answer) -> None:
    if answer.missing:
        total = len(answer.replies) + len(answer.missing)
        silent = ", ".join(answer.missing)
        console.summary(f"{len(answer.replies)} of {total} nodes answered; silent: {silent}")


def draw_control(console: Console, answer: Answer) -> None:
    """Draw what each node said to a control command."""
    rows = []
    for node, value in by_name(answer).items():
        message = error_of(value)
        text = content(value) if message is None else message
        rows.append(
            {
                "node": node,
                "result": "ok" if message is None else "error",
                "text": "" if text is None else str(text),
            }
        )
    console.rows(
        "control", [NODE, Column("result", "RESULT"), Column("text", "ANSWER", shrinks=True)], rows
    )
    refused = sum(row["result"] == "error" for row in rows)
    if refused:
        console.summary(f"{refused} of {len(rows)} node{'s' if len(rows) != 1 else ''} refused")
    _sum_up(console, answer)


def call_text(args: Any, kwargs: Any) -> str:
    """Return arguments as they stand in a call: `'a.png', size=256`."""
    if isinstance(args, str) or isinstance(kwargs, str):
        return f"{args} {kwargs}"
    words = [repr(value) for value in args or ()]
    words += [f"{key}={value!r}" for key, value in (kwargs or {}).items()]
    return ", ".join(words)
