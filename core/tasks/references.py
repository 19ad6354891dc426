"""What follows a task, kept once in the result backend and only referred to by messages.

A message holds the rest of its chain and the body of its chord.  In a large workflow each of its
messages would carry nearly all of it, again and again.  Where `task_workflow_references` says
that Celery's workers are not among the readers, what is large is stored step by step under a key
of its own, and a *reference* stands in its place, in `chain` or `chord`: a signature of a task
that nobody has.  docs/decisions/0034 tells why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from ..clock import maybe_seconds
from ..errors import BackendError, EncodeError, TaskctlError
from ..wire import codecs
from .signature import Signature

log = logging.getLogger("taskctl.tasks")
T = TypeVar("T")

#: Name of the task that a reference is a signature of.
REFERENCE = "taskctl.reference"
#: Bytes that the rest of a chain, or the body of a chord, may have in a message: with 1 KB of
#: headers, and a third more for base64, such a message stays below 4 KB beyond its arguments.
INLINE = 2048
#: Most bytes of one step; what is larger travels in the messages.  As much as memcached keeps.
_LARGEST = 1000 << 10
#: Seconds for which steps stay after the last of them was sent: until then, the message that sent
#: it may be delivered once more.
_AFTERWARDS = 3600.0
#: Seconds a child waits for a backend that is away, and between two tries (first, longest).
PATIENCE = 30.0
_PAUSES = (0.1, 2.0)


class StepsUnreachable(BackendError):
    """Raised when the backend cannot be asked for steps; they are there all the same."""


class StepsMissing(TaskctlError):
    """Raised when steps are not in the backend any more."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"the rest of the workflow (kept as {key}) is no longer in the result backend: it was"
            " removed, or result_workflow_expires is shorter than the workflow took"
        )


class _Kept(NamedTuple):
    """What a reference says: the first `steps` of the `of` that were stored under `key`."""

    key: str
    steps: int
    of: int
    serializer: str

    def id(self, position: int) -> str:
        return f"{self.key}.{position}"

    def ids(self, count: int | None = None) -> list[str]:
        return [self.id(position) for position in range(self.of if count is None else count)]

    def signature(self, task_id: str | None) -> dict[str, Any]:
        """Return the reference; `task_id` is the task whose value is that of all steps."""
        return {
            "task": REFERENCE,
            "args": [],
            "kwargs": self._asdict(),
            "options": {"task_id": task_id} if task_id else {},
            "subtask_type": None,
            "immutable": False,
        }


def kept_of(signature: Any) -> _Kept | None:
    """Return what a reference says; None for any other signature.

    Raises StepsMissing for one that says nothing.
    """
    if not isinstance(signature, Mapping) or signature.get("task") != REFERENCE:
        return None
    fields = signature.get("kwargs")
    try:
        kept = _Kept(**fields)  # type: ignore[arg-type]  # checked right here
        key, steps, of, serializer = kept
        if isinstance(key, str) and isinstance(serializer, str) and 0 < steps <= of:
            return kept
    except TypeError:
        pass
    raise StepsMissing(str(fields))


# --- storing --------------------------------------------------------------------------------------


def shortened(app: Any, steps: list[Any]) -> list[Any]:
    """Return the rest of a chain as a message carries it: the steps, or a reference to them."""
    if not _wanted(app):
        return steps
    fresh = [step for step in steps if step.get("task") != REFERENCE]
    encoded = _encoded(app, steps) if fresh else None
    if encoded is None or sum(map(len, encoded)) <= INLINE:
        return steps
    return [_store(app, uuid4().hex, encoded).signature(_id_of_end(steps[0]))]


def body_for_messages(app: Any, body: Signature, group_id: str) -> Any:
    """Return the body of a chord as its header's messages carry it: itself, or a reference."""
    if not app.backend.counts_parts or not _wanted(app):
        return body
    encoded = _encoded(app, [body])
    if encoded is None or len(encoded[0]) <= INLINE:
        return body
    return Signature(_store(app, group_id, encoded).signature(body.id), app=body._app)


def _id_of_end(step: Any) -> str | None:
    """Return the id of the task whose value is that of a step; None for several."""
    while step.get("subtask_type") in ("chain", "chord"):
        kwargs = step["kwargs"]
        step = kwargs["tasks"][-1] if "tasks" in kwargs else kwargs["body"]
    task_id: str | None = step["options"].get("task_id")
    return None if step.get("subtask_type") == "group" else task_id


def _wanted(app: Any) -> bool:
    wanted = app.conf.task_workflow_references
    if wanted == "auto":
        # Celery has no such brokers: whoever reads the message is one of ours.
        urls = app.calling.producer.connection.urls
        wanted = all(url.startswith(("sqlite:", "memory:")) for url in urls)
    return bool(wanted) and bool(app.backend.keeps_steps)


def _encoded(app: Any, steps: Sequence[Any]) -> list[bytes] | None:
    """Return the steps as they are stored; None if that cannot be."""
    try:
        encoded = [codecs.encode(step, app.conf.task_serializer)[2] for step in steps]
    except EncodeError:
        return None  # a serializer of its own may write it, or say what is wrong
    return None if any(len(one) > _LARGEST for one in encoded) else encoded


def _store(app: Any, key: str, encoded: Sequence[bytes]) -> _Kept:
    kept = _Kept(key, len(encoded), len(encoded), app.conf.task_serializer)
    lifetime = maybe_seconds(app.conf.result_workflow_expires)
    app.backend.store_steps(dict(zip(kept.ids(), encoded, strict=True)), lifetime or None)
    return kept


# --- reading --------------------------------------------------------------------------------------


class References:
    """Finds what references stand for.

    `patience` is how many seconds a backend that is away is waited for; None is PATIENCE, and
    with 0 it is asked once, by those who must not wait.
    """

    def __init__(self, app: Any, patience: float | None = None) -> None:
        self.app = app
        self.patience = PATIENCE if patience is None else patience

    def next_step(self, chain: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the step that comes next, and the rest of the chain.

        A chain travels reversed: its next step is its last element.  Raises StepsMissing,
        StepsUnreachable.
        """
        *rest, last = chain
        kept = kept_of(last)
        if kept is None:
            return last, rest
        step = self._load(kept, [kept.id(kept.steps - 1)])[0]
        if kept.steps > 1:
            end = last["options"].get("task_id")
            return step, [*rest, kept._replace(steps=kept.steps - 1).signature(end)]
        self.release(kept)
        # A step that was stored may be a reference itself.
        return self.next_step([*rest, step]) if kept_of(step) else (step, rest)

    def unfolded(self, chain: Sequence[Any]) -> list[Any]:
        """Return the whole rest of a chain that is at its end here, or goes another way.

        What is missing is logged; the reference stays, and names the last task at least.  Raises
        StepsUnreachable.
        """
        steps: list[Any] = []
        for step in chain:
            try:
                kept = kept_of(step)
                found = [step] if kept is None else self._load(kept, kept.ids(kept.steps))
            except StepsMissing as exc:
                log.error("%s: its other tasks are not told", exc)
                kept, found = None, [step]
            if kept is not None:
                found = self.unfolded(found)
                self.release(kept)
            steps += found
        return steps

    def body(self, body: Any) -> Any:
        """Return the body that a header's message names.  Raises StepsMissing, StepsUnreachable."""
        kept = kept_of(body)
        return body if kept is None else self._load(kept, kept.ids())[0]

    def release(self, kept: _Kept) -> None:
        """Let steps go, after some time."""
        self._ask(lambda backend: backend.forget_steps(kept.ids(), _AFTERWARDS))

    def _load(self, kept: _Kept, ids: Sequence[str]) -> list[Any]:
        found = self._ask(lambda backend: backend.load_steps(ids))
        if len(found) < len(ids):
            raise StepsMissing(kept.key)
        codec = codecs.codec_named(kept.serializer)
        accept = codecs.accepted_types(self.app.conf.accept_content)
        return [
            codecs.decode(found[id], codec.content_type, codec.content_encoding, accept)
            for id in ids
        ]

    def _ask(self, verb: Callable[[Any], T]) -> T:
        backend = self.app.backend if self.patience else self.app.backend.at_once
        deadline = time.monotonic() + self.patience
        pause, longest = _PAUSES
        while True:
            try:
                return verb(backend)
            except BackendError as exc:
                if time.monotonic() + pause > deadline or not backend.may_pass(exc):
                    raise StepsUnreachable(str(exc)) from exc
                log.warning("%s; trying again to read what follows", exc)
            time.sleep(pause)
            pause = min(2 * pause, longest)


def released_ids(body: Any) -> list[str]:
    """Return the ids of the steps that are of no use once a chord with this body has ended."""
    try:
        kept = kept_of(body)
    except StepsMissing:
        return []
    return [] if kept is None else kept.ids()
