"""How a running task hands its place to other tasks, or adds some to its chord.

Source of what moves where: Celery 5.7 app/task.py (protocol.md 8.6).
"""

from __future__ import annotations

from typing import Any

from ..errors import Ignore, ImproperlyConfigured
from ..messaging.producer import gather
from .chain import chain
from .chord import as_list, parts_of
from .group import group
from .references import References
from .signature import Signature, maybe_signature


def replacement(task: Any, signature: Signature) -> Signature:
    """Return what is sent in place of the task that runs: it bears its id, and ends as it would.

    Its callbacks and errbacks, the rest of its chain, its place in a group, its chord and its
    stamps move along.

    Raises ImproperlyConfigured for a signature that is part of a chord, or an empty chain.
    """
    request = task.request
    if "chord" in signature.options:
        raise ImproperlyConfigured(
            f"{task.name} cannot be replaced by {signature!r}: it is part of a chord of its own"
        )
    if isinstance(signature, chain) and not signature.tasks:
        raise ImproperlyConfigured(f"{task.name} cannot be replaced by an empty chain")
    signature = _with_one_end(task, signature)
    for callback in as_list(request.callbacks):
        signature.link(callback)
    for errback in as_list(request.errbacks):
        signature.link_error(errback)
    if isinstance(signature, chain) and "link" in signature.options:
        # To the last step: it is not the last one of what is sent if a chain goes on.
        for callback in as_list(signature.options.pop("link")):
            signature.tasks[-1].link(callback)
    if request.stamps:
        signature.stamp(**{name: request.stamps.get(name) for name in request.stamped_headers})
    if request.reply_to:  # results that travel (rpc) go to whoever called the first task
        for step in [signature, *(signature.tasks if isinstance(signature, chain) else ())]:
            step.set(reply_to=request.reply_to)
    if request.reply_to:  # or a caller that gets results as messages waits in vain
        _end_of(signature).options.setdefault("reply_to", request.reply_to)
    signature.freeze(request.id)
    nesting = (request.replaced_task_nesting or 0) + 1
    signature.set(
        chord=request.chord,
        group_id=request.group,
        group_index=request.group_index,
        root_id=request.root_id,
        replaced_task_nesting=nesting,
    )
    if isinstance(signature, chain):
        for step in signature.tasks:
            step.set(replaced_task_nesting=nesting)
    for step in reversed(References(task.app).unfolded(request.chain or ())):
        following = maybe_signature(step, app=task.app, clone=True)
        following.set(replaced_task_nesting=nesting)
        signature = signature | following
    return signature


def _with_one_end(task: Any, signature: Signature) -> Signature:
    """Return a signature whose last step is one task: the values of a group become its value."""
    gather_values = task.app.tasks["celery.accumulate"].s(index=0)
    ends_in_group = isinstance(signature, chain) and isinstance(signature.tasks[-1], group)
    if isinstance(signature, group) or ends_in_group:
        joined: Signature = signature | gather_values
        return joined
    return signature.clone()


def _end_of(signature: Any) -> Signature:
    """Return the task whose value is that of the whole."""
    while signature.subtask_type in ("chain", "chord"):
        kwargs = signature["kwargs"]
        signature = kwargs["tasks"][-1] if "tasks" in kwargs else kwargs["body"]
    end: Signature = signature
    return end


def send_replacement(task: Any, signature: Signature) -> Any:
    """Send what replaces the task, with its end, and end it by raising Ignore.

    In an eager run, return its value.
    """
    if task.request.is_eager:
        return signature.apply().get()
    with gather() as publications:
        signature.delay()
    end = Ignore("Replaced by new task")
    end.publications = publications  # type: ignore[attr-defined]
    raise end


def added_to_chord(task: Any, signature: Signature, lazy: bool) -> Any:
    """Make a signature one more part of the chord that the task is a part of; send it.

    With `lazy`, return it instead, to be sent by the caller.

    Raises ValueError in a task that is part of no chord, ImproperlyConfigured if the result
    backend counts no parts.
    """
    request = task.request
    if not request.chord:
        raise ValueError(f"{task.name}[{request.id}] is not part of a chord")
    backend = task.app.backend
    if not backend.counts_parts:
        raise ImproperlyConfigured(
            "add_to_chord needs a result backend that counts the parts of chords,"
            " such as redis or sqlite"
        )
    signature.set(
        group_id=request.group,
        group_index=request.group_index,
        chord=request.chord,
        root_id=request.root_id,
    )
    signature.freeze()
    backend.grow_chord(request.group, parts_of(signature))
    return signature if lazy else signature.delay()
