"""Result metas of tasks: written by a child for what ran, by a worker for what never will."""

from __future__ import annotations

import functools
from datetime import UTC
from typing import Any

from ..clock import utcnow
from ..errors import EncodeError, NotRegistered, TaskctlError, TaskRevokedError
from ..wire.codecs import accepted_types
from ..wire.outcome import StoredMeta
from ..wire.result_meta import encode_meta
from ..wire.saferepr import saferepr
from ..wire.states import FAILURE, READY_STATES, REVOKED
from ..wire.task_message import TaskBody, TaskMessage
from .context import Context, open_body
from .result import ResultBase


class MetaWriter:
    """Writes metas as the settings of one app say; makes no connection."""

    def __init__(self, app: Any) -> None:
        conf = app.conf
        self._app = app
        self.serializer: str = conf.result_serializer
        self.extended = bool(conf.result_extended)
        self.timezone = app.timezone or UTC

    @functools.cached_property
    def limits(self) -> tuple[str | None, int | None]:
        """The compression, and the bytes at most, of what the app's backend keeps."""
        backend = self._app.backend
        compression = self._app.conf.result_compression if backend.compresses else None
        return compression, backend.max_bytes

    def write(
        self,
        request: Context,
        state: str,
        result: Any,
        traceback: str | None = None,
    ) -> StoredMeta:
        """Return the meta that says `state` of the task of `request`.

        Raises EncodeError if the result cannot be written by the result serializer, or is larger
        than the backend takes.
        """
        if isinstance(result, ResultBase):
            result = result.as_tuple()
        children = request._children
        fields: dict[str, Any] = {
            "task_id": request.id,
            "state": state,
            "result": result,
            "traceback": traceback or None,
            "children": [child.as_tuple() for child in children] if children else (),
            "date_done": None,
            "group_id": request.group,
            "parent_id": request.parent_id,
            "serializer": self.serializer,
            "compression": self.limits[0],
        }
        if state in READY_STATES:
            now = utcnow()
            fields["date_done"] = now if self.timezone is UTC else now.astimezone(self.timezone)
        meta = self._encode(request, fields)
        largest = self.limits[1]
        if largest is not None and len(meta) > largest:
            raise EncodeError(
                f"the result takes {len(meta)} bytes, the result backend at most {largest}:"
                " return the place where it is kept instead"
            )
        correlation_id = request.correlation_id
        return StoredMeta(
            task_id=request.id,
            state=state,
            meta=meta,
            reply_to=request.reply_to or None,
            correlation_id=None if correlation_id == request.id else correlation_id,
        )

    def _encode(self, request: Context, fields: dict[str, Any]) -> bytes:
        if not self.extended:
            return encode_meta(**fields)
        about = _about(request)
        try:
            return encode_meta(**fields, extended=about)
        except EncodeError:
            # Arguments that came as pickles need not fit the result serializer; their text does.
            about = {k: _text_of(v) for k, v in about.items()}
            return encode_meta(**fields, extended=about)


def _about(request: Context) -> dict[str, Any]:
    """Return what `result_extended` adds to a meta, in Celery's order."""
    info = request.delivery_info
    about = {
        "name": request.task,
        "args": request.args,
        "kwargs": request.kwargs,
        "worker": request.hostname,
        "retries": request.retries,
        "queue": info.get("routing_key") if info else None,
    }
    if request.stamps:
        about["stamped_headers"] = request.stamped_headers
        about.update({k: v for k, v in request.stamps.items() if k in request.stamped_headers})
    return about


def _text_of(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int) else saferepr(value)


# --- for the worker, of tasks that did not end in a child -----------------------------------


def wants_result(app: Any, message: TaskMessage, task: Any, *, failed: bool = False) -> bool:
    """Return whether the end of a task is to be stored: call option, task, setting."""
    # It may be part of a chord whose joiner looks for it: celery.chord_unlock, to begin with.
    if message.headers.group and app.backend.joins_results:
        return True
    ignored = message.headers.ignore_result
    if ignored is None:
        ignored = getattr(task, "ignore_result", None)
    if ignored is None:
        ignored = app.conf.task_ignore_result
    if not ignored:
        return True
    keep = getattr(task, "store_errors_even_if_ignored", None)
    return failed and bool(app.conf.task_store_errors_even_if_ignored if keep is None else keep)


def request_of(
    app: Any, message: TaskMessage, envelope: bytes = b"", hostname: str | None = None
) -> Context:
    """Return the request of a message that no child has run.

    Its arguments are decoded only if `result_extended` wants them, and left out if they cannot
    be read.
    """
    body = TaskBody(args=[], kwargs={})
    conf = app.conf
    if conf.result_extended:
        try:
            accept = accepted_types(conf.accept_content, conf.task_max_decompressed_size)
            body = open_body(message, accept)
        except TaskctlError:
            body = TaskBody(args=[], kwargs={})
    return Context.of_message(message, body, envelope, hostname)


def failure_meta(
    app: Any,
    message: TaskMessage,
    exc: BaseException,
    traceback: str = "",
    hostname: str | None = None,
) -> StoredMeta:
    """Return the FAILURE of a task that was lost, timed out or given up by its worker."""
    return MetaWriter(app).write(
        request_of(app, message, hostname=hostname), FAILURE, exc, traceback
    )


def revoked_meta(
    app: Any, message: TaskMessage, reason: str, hostname: str | None = None
) -> StoredMeta:
    """Return the REVOKED of a task; `reason` is revoked, expired or terminated."""
    request = request_of(app, message, hostname=hostname)
    return MetaWriter(app).write(request, REVOKED, TaskRevokedError(reason))


def not_registered_meta(app: Any, message: TaskMessage, hostname: str | None = None) -> StoredMeta:
    """Return the FAILURE of a task whose name this app does not know."""
    return failure_meta(app, message, NotRegistered(message.headers.task), hostname=hostname)


def unregistered_text(name: str) -> str:
    """Return one line on a task name that is not registered: what, and the cure."""
    return (
        f"task {name} is not registered in this worker: import its module (the app's `include`, "
        "or the setting `imports`), or compare its name with `taskctl inspect registered`"
    )
