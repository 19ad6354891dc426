"""Tables of what nodes answered to `inspect`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from taskctl.console import Console, field_column
from taskctl.core.remote.cluster import Answer
from taskctl.remote import by_name, content, error_of, silence
from taskctl.selection import Selection
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
            **request,
            "task": request.get("name"),
            "running_seconds": None if began is None else max(0.0, time.time() - began),
            "child": request.get("worker_pid"),
            "queue": (request.get("delivery_info") or {}).get("routing_key"),
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
            **queue,
            "queue": queue.get("name"),
            "exchange": exchange.get("name"),
            "type": exchange.get("type"),
            "routing_key": queue.get("routing_key"),
        }


def _single(key: str) -> Callable[[Any], Rows]:
    return lambda value: ({key: item} for item in value)


def _settings(value: Any) -> Rows:
    return ({"setting": key, "value": shown} for key, shown in sorted(value.items()))


def _whole(value: Any) -> Rows:
    """Yield an answer that is one object as one row."""
    yield dict(value) if isinstance(value, Mapping) else {"value": value}


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
        _whole,
        (Column("clock", "CLOCK", number, right=True),),
        "node",
    ),
    "conf": (
        _settings,
        (Column("setting", "SETTING"), Column("value", "VALUE", shrinks=True)),
        "setting",
    ),
    "memsample": (
        lambda value: iter([{"memory": value}]),
        (Column("memory", "MEMORY", right=True),),
        "node",
    ),
    "objgraph": (_whole, (Column("filename", "FILE ON THE NODE", shrinks=True),), "filename"),
    "ping": (lambda value: iter([{"result": "ok"}]), (Column("result", "RESULT"),), "node"),
}
#: Answers of which people get some lines for each node.
_BLOCKS = ("memdump", "report", "stacks", "stats")


def draw_inspect(console: Console, method: str, answer: Answer) -> None:
    """Draw the answers to an inspect command."""
    selects = console.selection not in (None, Selection())
    if all(error_of(reply.value) is not None for reply in answer.replies):
        _draw_errors(console, answer)
        _sum_up(console, answer)
        return
    people = console.format in ("table", "wide")
    if people and method in _BLOCKS and not selects:
        _draw_blocks(console, method, answer)
    elif method in _LISTS:
        read, columns, name = _LISTS[method]
        empty = columns[0].key if people and not selects else None
        rows = list(_rows(answer, read, empty))
        wide = None if method == "conf" else [NODE, *(_in_full(column) for column in columns)]
        console.rows(f"inspect.{method}", [NODE, *columns], rows, name=name, wide=wide)
    else:
        _draw_others(console, method, answer)
    _draw_errors(console, answer)
    _sum_up(console, answer)


def narrow(method: str, value: Any, selection: Selection | None) -> Any:
    """Return an answer with what was asked for alone, still in the shape machines know.

    Of a list its items are chosen, of an object its keys; a node that meets no condition is left
    with nothing.
    """
    if selection in (None, Selection()) or error_of(value) is not None:
        return value
    assert selection is not None
    inner = content(value)
    listed = method in _LISTS and _LISTS[method][0] is not _whole and inner is not None
    rows = list(_LISTS[method][0](inner)) if listed else list(_whole(inner))
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if rows:
        selection.check_fields(keys)
    chosen: Any = [selection.pick(row) for row in selection.rows(rows, keys)] if rows else []
    if listed and not selection.fields:
        chosen = _originals(inner, rows, selection.rows(rows, keys)) if rows else inner
    elif not listed:
        chosen = chosen[0] if chosen else None
    return {**value, "ok": chosen} if isinstance(value, dict) and "ok" in value else chosen


def _originals(inner: Any, rows: list[dict[str, Any]], chosen: Sequence[Any]) -> Any:
    """Return those items of an answer whose rows were chosen, in the order of these."""
    items = list(inner.items()) if isinstance(inner, Mapping) else list(inner)
    if isinstance(inner, Mapping) and rows and "setting" in rows[0]:
        items.sort()
    by_row = {id(row): item for row, item in zip(rows, items, strict=True)}
    kept = [by_row[id(row)] for row in chosen]
    return dict(kept) if isinstance(inner, Mapping) else kept


def _draw_others(console: Console, method: str, answer: Answer) -> None:
    """Draw answers of which nothing is known here, as commands of an app's own give them."""
    rows = []
    for node, value in by_name(answer).items():
        inner = content(value)
        if error_of(value) is None:
            items = inner if isinstance(inner, list) else [inner]
            rows += [
                {"node": node, **(item if isinstance(item, Mapping) else {"answer": item})}
                for item in items
            ]
    keys = list(dict.fromkeys(key for row in rows for key in row if key != "node")) or ["answer"]
    columns = [NODE, *(field_column(key) for key in keys)]
    console.rows(f"inspect.{method}", columns, rows, name="node")


def _in_full(column: Column) -> Column:
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
            # Said in any case: without it an empty table would look like an answer.
            console.out.flush()
            print(f"error: {node}: {message}", file=console.err, flush=True)


def _sum_up(console: Console, answer: Answer) -> None:
    if silent := silence(answer):
        total = len(answer.replies) + len(answer.missing) + answer.unnamed
        console.summary(f"{len(answer.replies)} of {total} nodes answered; {silent}")


def call_text(args: Any, kwargs: Any) -> str:
    """Return arguments as they stand in a call: `'a.png', size=256`."""
    if isinstance(args, str) or isinstance(kwargs, str):
        return f"{args} {kwargs}"
    words = [repr(value) for value in args or ()]
    words += [f"{key}={value!r}" for key, value in (kwargs or {}).items()]
    return ", ".join(words)
