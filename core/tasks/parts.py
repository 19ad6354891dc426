"""The end of a chord's parts: they are counted, and the last one calls the body, or fails it.

A part is a header task that has ended, well or badly.  Its result is stored first, then counted
in one atomic step of the backend; whoever completes the count owns the chord for some seconds and
makes the message of the body, or of what follows its failure.  Nothing is published here: the
worker does, in the step that acks the part's message, and ends the claim after that.  If the
owner dies before, its part is delivered again, counted again, and takes over the claim when that
has run out.  Source: Celery 5.7 (backends/redis.py, backends/base.py), protocol.md 6.4 and 8.4.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from ..errors import BackendError, ChordError, TaskctlError
from ..messaging.producer import gather
from ..wire import codecs
from ..wire.chord_part import Claim, LatePart, Part, decode_member, encode_member
from ..wire.message import Publication
from ..wire.outcome import StoredMeta
from ..wire.states import PROPAGATE_STATES
from .arrivals import arrivals
from .context import Context
from .joining import deadline_after
from .references import StepsMissing, released_ids
from .result import GroupResult
from .signature import maybe_signature

log = logging.getLogger("taskctl.tasks")

#: Seconds of a claim at least, and for how long a chord that is done is remembered at least.
#: As Celery 5.7 backends/redis.py, so that both kinds of workers wait for each other alike.
_CLAIM, _REMEMBER = 5, 300
#: Serializer of a body on its way from child to worker; what JSON cannot hold goes as a pickle
#: between these two processes of one program.
_BODY_SERIALIZERS = ("json", "pickle")


class Returned(NamedTuple):
    """A part, the signature of its chord's body, and what the body gets as parent and root."""

    part: Part
    body: Any
    parent_id: str
    root_id: str | None


class Late(NamedTuple):
    """A part that must be counted again, in so many seconds."""

    returned: Returned
    wait: float


class Effects:
    """What follows from parts that were counted."""

    def __init__(self) -> None:
        self.results: list[StoredMeta] = []
        self.publications: list[Publication] = []
        self.claims: list[Claim] = []
        self.late: list[Late] = []
        #: Why parts are late, if it is the backend's fault.
        self.error: BackendError | None = None


class Parts:
    """Counts the parts of the chords of one app.

    `followers` finds what follows a failure, `patience` is how many seconds a join may wait for
    the results of a header that holds groups (None: `result_chord_join_timeout`).
    """

    def __init__(self, app: Any, followers: Any, patience: float | None = None) -> None:
        self.app = app
        self.followers = followers
        conf = app.conf
        self.serializer: str = conf.result_serializer
        timeout: float | None = conf.result_chord_join_timeout
        self.patience = timeout if patience is None else patience
        self.claim = float(max(_CLAIM, int(2 * (timeout or _CLAIM))))
        self.remember = max(2 * self.claim, _REMEMBER)

    # --- counting -------------------------------------------------------------------------

    def returned(self, request: Context, state: str, result: Any) -> Returned | None:
        """Return the part that the end of `request` is; None if it is none.

        Raises EncodeError if the result cannot be written.
        """
        if not request.chord or not request.group or not request.id:
            return None
        if hasattr(result, "as_tuple"):
            result = result.as_tuple()
        part = Part(
            group_id=request.group,
            task_id=request.id,
            index=request.group_index,
            member=encode_member(request.id, state, result, self.serializer),
        )
        return Returned(part, request.chord, request.id, request.root_id)

    def count(self, parts: Iterable[Returned]) -> Effects:
        """Count parts whose results are stored; return what follows.

        A part of a chord that somebody else is about to end is late, and so are all that are left
        when the backend is away.  What is in the effects then holds all the same.
        """
        effects = Effects()
        left = deque(parts)
        backend = self.app.backend
        while left:
            one, token = left[0], uuid4().hex
            try:
                count = backend.count_part(one.part, token, self.claim)
                if count.owned:
                    left.extend(self._join(one, token, effects))
            except BackendError as exc:
                effects.late.extend(Late(part, 0.0) for part in left)
                effects.error = exc
                break
            left.popleft()
            if count.complete and not count.owned:
                effects.late.append(Late(one, count.held))
        return effects

    def end(self, claim: Claim) -> None:
        """Say that a chord is at an end: all that follows it has been published."""
        backend = self.app.backend
        if claim.kept:
            backend.forget_steps(claim.kept, self.remember)
        if claim.failed:
            backend.fail_chord(claim.group_id)
        elif not backend.end_chord(claim.group_id, claim.token, self.remember):
            log.warning(
                "chord %s: the claim on its body ran out before it was published; the body may "
                "run twice",
                claim.group_id,
            )

    # --- joining --------------------------------------------------------------------------

    def _join(self, one: Returned, token: str, effects: Effects) -> list[Returned]:
        """End a chord that is ours; return the parts of other chords that this ends."""
        group_id = one.part.group_id
        try:
            try:
                body = self.followers.references.body(one.body)
            except StepsMissing as exc:
                body = maybe_signature(one.body, app=self.app)
                return self._fail(one, token, body, as_chord_error(exc, "Join error"), effects)
            body = maybe_signature(body, app=self.app, clone=True)
        except BackendError:
            raise
        except Exception:  # whatever came in the place of a signature
            log.exception("the body of chord %s cannot be read: it will not run", group_id)
            effects.claims.append(Claim(group_id=group_id, token=token, failed=True))
            return []
        try:
            values = self._values(group_id)
        except BackendError:
            raise
        except Exception as exc:
            return self._fail(one, token, body, as_chord_error(exc, "Join error"), effects)
        try:
            publications = self.call(body, values, one.parent_id, one.root_id)
        except Exception as exc:
            log.exception("the body of chord %s cannot be sent", group_id)
            return self._fail(one, token, body, as_chord_error(exc, "Callback error"), effects)
        effects.publications += publications
        effects.claims.append(Claim(group_id=group_id, token=token, kept=released_ids(one.body)))
        return []

    def _fail(
        self, one: Returned, token: str, body: Any, exc: ChordError, effects: Effects
    ) -> list[Returned]:
        log.error("Chord %s raised: %s", one.part.group_id, exc)
        after = self.followers.after_chord_error(body, exc)
        # Another chord may wait for this body: its failure must be known before it counts.
        if after.parts and after.results:
            self.app.backend.store(after.results)
        else:
            effects.results += after.results
        effects.publications += after.publications
        kept = released_ids(one.body)
        claim = Claim(group_id=one.part.group_id, token=token, failed=True, kept=kept)
        effects.claims.append(claim)
        return list(after.parts)

    def call(
        self, body: Any, values: list[Any], parent_id: str, root_id: str | None
    ) -> list[Publication]:
        """Return the messages that call a body with the values of its header."""
        lineage: dict[str, Any] = {"parent_id": parent_id}
        if not body.options.get("root_id"):
            lineage["root_id"] = root_id or parent_id
        with gather() as publications:
            body.apply_async((values,), **lineage)
        return publications

    def _values(self, group_id: str) -> list[Any]:
        """Return the values of all parts in order.

        Raises ChordError for the first one that has failed.
        """
        backend = self.app.backend
        parts = [decode_member(data, self.serializer) for data in backend.load_parts(group_id)]
        saved = GroupResult.restore(group_id, backend=backend, app=self.app)
        if saved is not None:
            return self.values_of(saved, {task_id: (s, r) for task_id, s, r in parts})
        if not parts:
            raise ChordError(f"GroupResult {group_id} no longer exists")
        return [_value(task_id, state, result) for task_id, state, result in parts]

    def values_of(
        self, awaited: Any, known: Mapping[str, tuple[str, Any]] | None = None
    ) -> list[Any]:
        """Return the values of a group result, in its shape; those not `known` are loaded.

        Raises ChordError for the first one that has failed, or is not there in time.
        """
        found = dict(known or {})
        missing = [leaf.id for leaf in awaited.leaves() if leaf.id not in found]
        if missing:
            deadline = deadline_after(self.patience)
            with arrivals(self.app, self.app.backend, missing, deadline=deadline) as metas:
                found.update((id, (meta["status"], meta["result"])) for id, meta in metas)
        for task_id in missing:
            if task_id not in found:
                raise ChordError(f"Dependency {task_id} has no result")
        return _shaped(awaited, found)


def _shaped(result: Any, found: Mapping[str, tuple[str, Any]]) -> list[Any]:
    return [
        _shaped(one, found) if hasattr(one, "results") else _value(one.id, *found[one.id])
        for one in result.results
    ]


def _value(task_id: str, state: str, result: Any) -> Any:
    if state not in PROPAGATE_STATES:
        return result
    error = ChordError(f"Dependency {task_id} raised {result!r}")
    raise error from (result if isinstance(result, BaseException) else None)


def as_chord_error(exc: Exception, what: str) -> ChordError:
    """Return the ChordError that says why a body does not run."""
    if isinstance(exc, ChordError):
        return exc
    error = ChordError(f"{what}: {exc!r}")
    error.__cause__ = exc
    return error


def pack(returned: Returned) -> LatePart:
    """Return a part as it travels from a child to its worker."""
    for serializer in _BODY_SERIALIZERS:
        try:
            body = codecs.encode(returned.body, serializer)[2]
            break
        except TaskctlError:
            if serializer == _BODY_SERIALIZERS[-1]:
                raise
    return LatePart(
        part=returned.part,
        body=body,
        serializer=serializer,
        parent_id=returned.parent_id,
        root_id=returned.root_id,
    )


def unpack(late: LatePart) -> Returned:
    """Return what `pack` packed."""
    codec = codecs.codec_named(late.serializer)
    body = codecs.decode(late.body, codec.content_type, codec.content_encoding)
    return Returned(late.part, body, late.parent_id, late.root_id)
