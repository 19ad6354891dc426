"""Waiting for results: who may wait, how, and how a remote failure is raised here.

Used by every result object; knows ids and metas, no tasks.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import current
from ..backends.base import Backend
from ..errors import DecodeError, SecurityError, TimeoutError
from ..redact import mask_url
from ..wire.result_meta import decode_meta
from ..wire.states import PROPAGATE_STATES

#: True or False inside allow_join_result and denied_join_result, None elsewhere.
_join_allowed: contextvars.ContextVar[bool | None] = contextvars.ContextVar(
    "taskctl_join_allowed", default=None
)

Meta = dict[str, Any]


# --- who may wait ---------------------------------------------------------------------------


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Permit waiting for other tasks inside this one."""
    token = _join_allowed.set(True)
    try:
        yield
    finally:
        _join_allowed.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Forbid waiting for results, wherever we are."""
    token = _join_allowed.set(False)
    try:
        yield
    finally:
        _join_allowed.reset(token)


def assert_may_wait() -> None:
    """Raise RuntimeError if a task of a worker runs here: its child would wait for itself."""
    allowed = _join_allowed.get()
    if allowed:
        return
    request = current.current_request()
    if allowed is None and (request is None or request.is_eager or request.called_directly):
        return
    task = current.current_task()
    raise RuntimeError(
        f"{task.name if task is not None else 'this code'} waits for a result inside a task, "
        "which can stop the whole pool: link the tasks with chain, group or chord, or wrap the "
        "wait in allow_join_result()"
    )


# --- how to wait ----------------------------------------------------------------------------


def deadline_after(timeout: float | None) -> float | None:
    """Return the time.monotonic at which `timeout` seconds have passed; None is never."""
    return None if timeout is None else time.monotonic() + timeout


def read_meta(app: Any, data: bytes, task_id: str = "", backend: Backend | None = None) -> Meta:
    """Return a stored meta's fields, read as the app's settings say.

    Raises DecodeError, ContentDisallowed or SecurityError, naming the task and the backend.
    """
    conf = app.conf
    accept = conf.result_accept_content or conf.accept_content
    try:
        return decode_meta(data, conf.result_serializer, accept)
    except (DecodeError, SecurityError) as exc:
        place = mask_url(backend.url) if backend is not None else "the result backend"
        where = f"the result of task {task_id} in {place}"
        raise type(exc)(f"{where} cannot be read: {exc}") from exc


def timed_out(app: Any, backend: Backend, task_ids: list[str], timeout: float) -> TimeoutError:
    """Return the error of a wait that ran out, saying in what state the tasks are."""
    states: dict[str, str] = {}
    for task_id, data in backend.load(task_ids[:100]).items():
        states[task_id] = read_meta(app, data, task_id, backend)["status"]
    return overdue(states.get(task_ids[0], "PENDING"), task_ids, timeout)


def overdue(state: str, task_ids: list[str], timeout: float) -> TimeoutError:
    """Return the error of a wait that ran out while the first of these tasks is in `state`."""
    first = task_ids[0]
    hint = "; no worker has reported on it" if state == "PENDING" else ""
    others = f" (and {len(task_ids) - 1} more)" if len(task_ids) > 1 else ""
    return TimeoutError(
        f"The operation timed out: after {timeout:g} s task {first} is {state}{hint}{others}"
    )


def order(terminate: bool, signal: str | None, wait: bool, timeout: float | None) -> dict[str, Any]:
    """Return the options of the command `revoke`: those that are set, and whether to wait."""
    options: dict[str, Any] = {"terminate": terminate, "reply": wait}
    if signal is not None:
        options["signal"] = signal
    if timeout is not None:
        options["timeout"] = timeout
    return options


# --- how a remote failure is raised here ------------------------------------------------------


class RemoteTraceback(Exception):
    """The traceback of a task that failed elsewhere: the cause of the exception raised here."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n\n{self.text.rstrip()}\n"


def raise_if_failed(meta: Meta) -> None:
    """Raise the exception of a failed or revoked task, with the traceback of the worker."""
    if meta["status"] not in PROPAGATE_STATES:
        return
    value = meta["result"]
    exc = value if isinstance(value, BaseException) else Exception(value)
    text = meta.get("traceback")
    if text:
        raise exc from RemoteTraceback(text)
    raise exc
