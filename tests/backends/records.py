"""Records that tests of result backends store."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from taskctl.core.backends.base import Backend
from taskctl.core.wire import codecs
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import encode_meta
from taskctl.core.wire.states import READY_STATES

OpenBackend = Callable[..., Backend]


#: When all tasks of these tests ended; a final meta says so, as in life.  MongoDB keeps
#: milliseconds.
DONE = datetime.now(UTC).replace(microsecond=123000)


def meta(
    task_id: str,
    state: str = "SUCCESS",
    result: Any = None,
    *,
    date_done: datetime = DONE,
    **more: Any,
) -> StoredMeta:
    """Return a record ready to store."""
    if state in READY_STATES:
        more["date_done"] = date_done
    data = encode_meta(task_id=task_id, state=state, result=result, **more)
    return StoredMeta(task_id=task_id, state=state, meta=data)


def fresh(task_id: str, state: str = "SUCCESS", result: Any = None) -> StoredMeta:
    """Return a record of a task that ended just now; its lifetime begins."""
    return meta(task_id, state, result, date_done=datetime.now(UTC))


def saved(group_id: str, *task_ids: str) -> bytes:
    """Return a group ready to be saved."""
    members = [[[task_id, None], None] for task_id in task_ids]
    return codecs.encode({"result": [[group_id, None], members]}, "json")[2]


def within(seconds: float) -> float:
    return time.monotonic() + seconds
