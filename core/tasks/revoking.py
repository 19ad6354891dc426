"""What a client does beside telling nodes that tasks are revoked, so that it holds without nodes.

Before the command goes out the revocation is noted at the broker, where workers that start later
read it; messages that the broker can find are taken out, and what waits for them is told.  Who
takes a message out ends it: of a client and many workers it is one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import BackendError, TaskctlError, TaskRevokedError
from ..messaging import revocations
from ..wire.command_message import CommandRequest
from ..wire.message import Publication
from ..wire.outcome import StoredMeta
from ..wire.result_meta import encode_meta
from ..wire.stamp_values import as_stamps, matching
from ..wire.states import PENDING, RECEIVED, REJECTED, RETRY, REVOKED
from ..wire.task_message import TaskMessage, decode_task
from .execute import failure_followers, followers_of
from .joining import read_meta
from .metas import revoked_meta, wants_result
from .parts import Effects, Returned

log = logging.getLogger("taskctl.control")

#: Stored states that a revoke may turn into REVOKED (Celery 5.7): the task has not begun.
REVOCABLE = frozenset({PENDING, RECEIVED, RETRY, REJECTED})
#: Held messages that are looked at for a stamp.
_LOOKED_AT = 10_000
#: Seconds for which a part of a chord that somebody else is ending is counted again.
_PATIENCE = 10.0


class RevokeEscort:
    """Goes with the commands of one app's clients, and makes revocations last."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def before(self, request: CommandRequest) -> None:
        """Note what is revoked, take its messages out and end them.

        What is revoked on some nodes only is theirs to remember.
        """
        if request.destination or request.pattern:
            return
        arguments = request.arguments
        if request.method in ("revoke", "terminate"):
            self._revoke(_ids(arguments.get("task_id")))
        elif request.method == "revoke_by_stamped_headers":
            self._revoke_stamps(as_stamps(arguments.get("headers") or {}))

    def after(self, request: CommandRequest, reach: int | None) -> None:
        """Say REVOKED for tasks that nobody has seen, if there is no node to say it."""
        if request.destination or request.pattern or request.method not in ("revoke", "terminate"):
            return
        ids = _ids(request.arguments.get("task_id"))
        if ids and self.app.backend.persistent and self._nobody(reach):
            mark_unseen(self.app, ids)

    def _nobody(self, reach: int | None) -> bool:
        if reach is not None:
            return reach == 0
        nodes = self.app.shared_connection().call(lambda broker: broker.nodes())
        return not any(node.alive for node in nodes)

    def _revoke(self, ids: list[str]) -> None:
        if not ids:
            return
        seconds = float(self.app.conf.task_revoke_expires)

        def note_and_drop(broker: Any) -> list[bytes]:
            revocations.note_ids(broker, ids, seconds)
            return [*broker.cancel_parked(ids), *broker.cancel_waiting(ids)]

        self._end(self.app.shared_connection().call(note_and_drop))
        if any(
            task.shared_limits and task.shared_limits.unique for task in self.app.tasks.values()
        ):
            # Also of those whose messages could not be found; not of those that run.
            self._free(ids)

    def _end(self, envelopes: list[bytes]) -> None:
        """End what was taken out; if that fails it goes back, and a worker will refuse it."""
        if not envelopes:
            return
        try:
            end_dropped(self.app, envelopes)
        except TaskctlError as exc:
            log.warning("%s; what is revoked is left to the workers", exc)
            self.app.shared_connection().publish([_again(envelope) for envelope in envelopes])

    def _free(self, ids: list[str]) -> None:
        try:
            self.app.limiter.free(ids)
        except TaskctlError as exc:
            log.warning("%s; workers free the locks of revoked tasks as they meet them", exc)

    def _revoke_stamps(self, stamps: Mapping[str, list[Any]]) -> None:
        seconds = float(self.app.conf.task_revoke_expires)

        def note_and_drop(broker: Any) -> list[bytes]:
            revocations.note_stamps(broker, stamps, seconds)
            queues = [queue.name for queue in broker.queues() if queue.due]
            held = broker.parked(_LOOKED_AT, queues) if queues else []
            bearers = _bearers((envelope for _, envelope in held), stamps)
            dropped: list[bytes] = broker.cancel_parked(bearers)
            return dropped

        self._end(self.app.shared_connection().call(note_and_drop))


def _ids(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(one) for one in given or ()]


def _bearers(envelopes: Iterable[bytes], stamps: Mapping[str, list[Any]]) -> list[str]:
    """Return the ids of the tasks that bear one of these stamps."""
    found = []
    for envelope in envelopes:
        headers = message.headers if (message := _read(envelope)) else None
        if headers is not None and headers.id and matching(headers, stamps):
            found.append(headers.id)
    return found


def _again(envelope: bytes) -> Publication:
    """Return the message of an envelope, as it was published."""
    found = json.loads(envelope)
    place = found["properties"]["delivery_info"]
    return Publication(
        exchange=place.get("exchange") or "",
        routing_key=place.get("routing_key") or "",
        envelope=envelope,
        priority=found["properties"].get("priority") or 0,
        task_id=found["headers"].get("id"),
    )


def _read(envelope: bytes) -> TaskMessage | None:
    try:
        return decode_task(envelope)
    except TaskctlError:
        return None


# --- ending what was taken out ------------------------------------------------------------------


def end_dropped(app: Any, envelopes: Iterable[bytes]) -> None:
    """End revoked tasks whose messages are gone from the broker: results, chords, locks."""
    exc = TaskRevokedError("revoked")
    results: list[StoredMeta] = []
    parts: list[Returned] = []
    locked: list[str] = []
    for envelope in envelopes:
        message = _read(envelope)
        if message is None:
            continue
        if _is_unique(message):
            locked.append(message.headers.id or "")
        if wants_result(app, message, app.tasks.get(message.headers.task or "")):
            results.append(revoked_meta(app, message, "revoked"))
        after = failure_followers(app, envelope, exc, state=REVOKED)
        results += after.results
        parts += after.parts
    if results:
        app.backend.store(results)
    if locked:
        app.limiter.free(locked)
    if parts:
        _count(app, parts)


def _is_unique(message: TaskMessage) -> bool:
    told = message.headers.limit_keys
    return isinstance(told, dict) and "unique" in told


def _count(app: Any, parts: list[Returned]) -> None:
    """Count the parts of chords that will never run, and send what follows."""
    counter = followers_of(app).parts
    if counter is None:
        return
    deadline = time.monotonic() + _PATIENCE
    while parts:
        effects: Effects = counter.count(parts)
        if effects.results:
            app.backend.store(effects.results)
        if effects.publications:
            app.shared_connection().publish(effects.publications)
        for claim in effects.claims:
            counter.end(claim)
        if effects.error is not None:
            raise effects.error
        parts = [late.returned for late in effects.late]
        if parts and time.monotonic() > deadline:
            log.warning("%d parts of chords are being ended by somebody else", len(parts))
            return
        if parts:
            time.sleep(min(1.0, 0.05 + max(late.wait for late in effects.late)))


# --- tasks nobody has seen ----------------------------------------------------------------------


def mark_unseen(app: Any, ids: list[str]) -> None:
    """Store REVOKED for tasks that have not begun as far as their stored state says."""
    try:
        app.backend.store([unseen_meta(app, task_id) for task_id in revocable(app, ids)])
    except BackendError as exc:
        log.warning("revoked tasks are not marked REVOKED now: %s", exc)


def revocable(app: Any, ids: list[str], backend: Any = None) -> list[str]:
    """Return those whose stored state says that they have not begun; raises BackendError."""
    backend = backend or app.backend
    stored = backend.load(ids)
    return [i for i in ids if i not in stored or _state(app, backend, i, stored[i]) in REVOCABLE]


def _state(app: Any, backend: Any, task_id: str, meta: bytes) -> str | None:
    """Return the state that is stored; None if it cannot be read, and is left alone."""
    try:
        return str(read_meta(app, meta, task_id, backend)["status"])
    except TaskctlError as exc:
        log.warning("%s", exc)
        return None


def unseen_meta(app: Any, task_id: str) -> StoredMeta:
    """Return the REVOKED of a task of which nothing is known but its id."""
    meta = encode_meta(
        task_id=task_id,
        state=REVOKED,
        result=TaskRevokedError("revoked"),
        children=None,
        date_done=app.now(),
        serializer=app.conf.result_serializer,
    )
    return StoredMeta(task_id=task_id, state=REVOKED, meta=meta)
