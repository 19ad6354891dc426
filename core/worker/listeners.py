"""What listeners are told of requests that end in the parent, where no child could tell them.

Arguments and senders are Celery's (5.7 worker/request.py).  Everything here is made only if
somebody listens; what a hook of the user's raises is logged, since the end is decided by then.
"""

from __future__ import annotations

import functools
import logging
import signal
from typing import Any

from .. import current, loops
from ..errors import TaskctlError
from ..messaging.consumer import Delivery
from ..signals import task_failure, task_received, task_rejected, task_revoked
from ..tasks.context import Context, open_body
from ..tasks.record import Plan
from ..tasks.task import Task
from ..tasks.tracebacks import ExceptionInfo
from ..wire import codecs
from ..wire.message import Message, decode_envelope
from ..wire.states import FAILURE
from ..wire.task_message import TaskBody
from .request import Request

log = logging.getLogger("taskctl.worker")


class Heard:
    """A message as Celery's listeners know it: `headers`, `properties`, `body`, `payload`, ..."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.delivery_tag = delivery.tag
        self.queue = delivery.queue

    @functools.cached_property
    def _message(self) -> Message:
        try:
            return decode_envelope(self.delivery.envelope)
        except TaskctlError:  # it is no message at all, and is shown as it came
            return Message(body=self.delivery.envelope)

    @property
    def headers(self) -> dict[str, Any]:
        return self._message.headers

    @property
    def properties(self) -> dict[str, Any]:
        return self._message.properties

    @property
    def body(self) -> bytes:
        return self._message.body

    @property
    def content_type(self) -> str:
        return self._message.content_type

    @property
    def content_encoding(self) -> str:
        return self._message.content_encoding

    @property
    def delivery_info(self) -> dict[str, Any]:
        info = dict(self._message.properties.get("delivery_info") or {})
        return {**info, "redelivered": self.delivery.redelivered}

    @property
    def payload(self) -> Any:
        """The decoded body; raises DecodeError or ContentDisallowed."""
        return self.decode()

    def decode(self) -> Any:
        message = self._message
        return codecs.decode(message.body, message.content_type, message.content_encoding)

    def __repr__(self) -> str:
        return f"<Message: {self.delivery_tag} on {self.delivery.queue}>"


def context_of(app: Any, request: Request, hostname: str) -> Context:
    """Return the request as its task would see it; arguments that cannot be read are empty."""
    conf = app.conf
    accept = codecs.accepted_types(conf.accept_content, conf.task_max_decompressed_size)
    try:
        body = open_body(request.message, accept)
    except TaskctlError:
        body = TaskBody(args=[], kwargs={})
    delivery = request.delivery
    return Context.of_message(
        request.message, body, delivery.envelope, hostname, delivery.deliveries,
        delivery.redelivered, *request.limits, delivery.queue,
    )  # fmt: skip


def tell_received(sender: Any, request: Request) -> None:
    """Send `task_received`."""
    if task_received.receivers:
        task_received.send(sender=sender, request=request)


def tell_rejected(sender: Any, delivery: Delivery, exc: Exception | None) -> None:
    """Send `task_rejected`: a message that can never run."""
    if task_rejected.receivers:
        task_rejected.send(sender=sender, message=Heard(delivery), exc=exc)


def tell_revoked(
    app: Any, request: Request, hostname: str, *, signum: int | None, expired: bool
) -> None:
    """Send `task_revoked`."""
    if task_revoked.receivers:
        task_revoked.send(
            sender=request.task,
            request=context_of(app, request, hostname),
            terminated=signum is not None,
            signum=None if signum is None else signal.Signals(signum),
            expired=expired,
        )


def tell_failed(
    app: Any, request: Request, exc: Exception, hostname: str, *, hooks: bool = False
) -> None:
    """Send `task_failure`; with `hooks`, call the task's on_failure and after_return first.

    The request is the task's current one meanwhile.
    """
    plan = Plan(request.task, Task)
    on_failure, after_return = (plan.on_failure, plan.after_return) if hooks else (None, None)
    if on_failure is None and after_return is None and not task_failure.receivers:
        return
    context = context_of(app, request, hostname)
    einfo = einfo_of(exc)
    current.push_task(request.task, context)
    try:
        what = (context.id, context.args, context.kwargs, einfo)
        if on_failure is not None:
            call_hook(on_failure, request, exc, *what)
        if after_return is not None:
            call_hook(after_return, request, FAILURE, exc, *what)
        task_failure.send(
            sender=request.task,
            task_id=context.id,
            exception=exc,
            args=context.args,
            kwargs=context.kwargs,
            traceback=einfo.tb,
            einfo=einfo,
        )
    finally:
        current.pop_task()
        exc.__traceback__ = None  # its frames would keep all this until a garbage collection


def einfo_of(exc: Exception) -> ExceptionInfo:
    """Return what hooks get of an error that nobody has raised."""
    try:
        raise exc
    except Exception:  # to give it a traceback, which listeners format
        return ExceptionInfo(exc)


def call_hook(hook: Any, request: Request, *args: Any) -> None:
    """Call a hook of the user's; what it raises is logged."""
    try:
        loops.finished(hook(*args))
    except Exception:  # the user's code; the task has ended already
        log.exception("%s of %s raised", getattr(hook, "__name__", repr(hook)), request)
