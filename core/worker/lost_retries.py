"""A task whose child died, tried again as by its own `retry`: `retry_on_worker_lost`.

Unlike a message that is given back it waits `default_retry_delay` and counts as a retry; meaning
as in Celery 5.7 worker/request.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import current
from ..errors import Retry, TaskctlError, WorkerLostError
from ..messaging.producer import gather
from ..signals import task_retry
from ..tasks.metas import MetaWriter, wants_result
from ..tasks.record import Plan
from ..tasks.task import Task
from ..wire.message import Publication
from ..wire.outcome import StoredMeta
from ..wire.states import RETRY
from .listeners import call_hook, context_of, einfo_of
from .request import Request


class Again(NamedTuple):
    """What a retry stores and sends, and what the log and events say of it."""

    results: list[StoredMeta]
    publications: list[Publication]
    reason: Retry


def retry_lost(app: Any, request: Request, exc: WorkerLostError, hostname: str) -> Again | None:
    """Return the next try of a task whose child died; None if its retries are used up.

    Tells `on_retry` and `task_retry`.  Raises TaskctlError or ValueError if it cannot be sent.
    """
    task = request.task
    context = context_of(app, request, hostname)
    retries = context.retries or 0
    if task.max_retries is not None and retries >= task.max_retries:
        return None
    delay = task.default_retry_delay
    call = task.signature_from_request(context, countdown=delay, retries=retries + 1)
    options = {key: value for key, value in call.options.items() if value is not None}
    with gather() as publications:
        task.apply_async(call.args, call.kwargs, **{**options, "add_to_parent": False})
    einfo = einfo_of(exc)
    results = []
    if wants_result(app, request.message, task, failed=True):
        results.append(MetaWriter(app).write(context, RETRY, exc, einfo.traceback))
    reason = Retry(exc=exc, when=delay, sig=call)
    current.push_task(task, context)
    try:
        on_retry = Plan(task, Task).on_retry
        if on_retry is not None:
            call_hook(on_retry, request, exc, context.id, context.args, context.kwargs, einfo)
        task_retry.send(sender=task, request=context, reason=reason, einfo=einfo)
    finally:
        current.pop_task()
        exc.__traceback__ = None
    return Again(results, publications, reason)


#: What may go wrong when the next try is made: then the message goes the usual way.
UNSENDABLE = (TaskctlError, ValueError, TypeError)
