"""Parts of chords that a child leaves to its worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskctl import App, chord
from taskctl.core import current
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.errors import BackendError, WorkerLostError
from taskctl.core.messaging.producer import gather
from taskctl.core.tasks.execute import Executor, failure_followers
from taskctl.core.tasks.parts import unpack
from taskctl.core.wire.chord_part import Part
from taskctl.core.wire.message import Publication, decode_envelope
from taskctl.core.wire.outcome import decode_outcome, encode_outcome
from taskctl.core.wire.result_meta import decode_meta
from taskctl.core.worker.joins import Joins

from ..support.waiting import eventually


class Scene:
    """An app, the messages of a chord's header, and the worker's end of it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.add = app.task(lambda x, y: x + y, name="joins.add")
        self.total = app.task(lambda values: sum(values), name="joins.total")
        self.executor = Executor(app)
        self.executor.boot()
        self.joins = Joins(app, app.backend)
        self.ended: list[list[Publication]] = []

    def send(self) -> tuple[Any, list[bytes]]:
        header = [self.add.s(1, 1), self.add.s(2, 2)]
        with gather() as publications:
            sent = chord(header, self.total.s())()
        return sent, [publication.envelope for publication in publications]

    def run(self, envelope: bytes) -> Any:
        return decode_outcome(encode_outcome(self.executor.run(envelope)))

    def leave(self, outcome: Any) -> None:
        """Do with an outcome what a worker does."""
        self.app.backend.store(outcome.results)
        self.joins.wait([unpack(late) for late in outcome.parts], self.ended.append)


@pytest.fixture
def scene() -> Iterator[Scene]:
    before, name = current.get_app(make=False), uuid4()
    with App("joins", broker=f"memory://{name}", backend=f"memory://{name}") as app:
        yield Scene(app)
    current.set_app(before)


def _away(*_: Any) -> Any:
    raise BackendError("the backend is away")


def test_a_part_that_a_child_could_not_count_is_counted_by_the_worker(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, (first, last) = scene.send()
    scene.run(first)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBackend, "store", _away)
        outcome = scene.run(last)
    assert len(outcome.parts) == 1
    assert len(outcome.results) == 1

    scene.leave(outcome)
    scene.joins.count()

    ((body,),) = scene.ended
    assert decode_envelope(body.envelope).headers["id"] == sent.id
    assert [claim.failed for claim in scene.joins.claims] == [False]
    scene.joins.end()
    assert not scene.joins.pending()


def test_what_was_counted_is_not_lost_when_the_backend_goes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (first, last) = scene.send()
    scene.run(first)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBackend, "count_part", _away)
        scene.leave(scene.run(last))
        with pytest.raises(BackendError):
            scene.joins.count()
        assert scene.ended == []

    scene.joins.count()

    assert len(scene.ended[0]) == 1


def test_a_chord_that_somebody_claims_is_looked_at_again_when_the_claim_has_ended(
    scene: Scene,
) -> None:
    sent, (first, last) = scene.send()
    scene.run(first)
    parts = sent.parent.results
    dead = Part(group_id=sent.parent.id, task_id=parts[1].id, index=1, member=b"")
    assert scene.app.backend.count_part(dead, "dead", 1.0).owned
    outcome = scene.run(last)
    assert outcome.publications == []

    scene.leave(outcome)
    scene.joins.count()

    assert scene.ended == []
    due = scene.joins.next_due()
    assert due is not None
    assert time.monotonic() < due < time.monotonic() + 2

    def taken_over() -> bool:
        scene.joins.count()
        return bool(scene.ended)

    eventually(taken_over, within=10)


def test_a_part_that_comes_again_after_the_end_just_ends(scene: Scene) -> None:
    _, (first, last) = scene.send()
    for envelope in (first, last):
        scene.joins.claims += scene.run(envelope).claims
    scene.joins.end()

    again = scene.run(last)

    assert (again.publications, again.parts, again.claims) == ([], [], [])


def test_a_task_that_no_child_ended_is_a_part_too(scene: Scene) -> None:
    sent, (first, last) = scene.send()
    scene.run(first)
    after = failure_followers(scene.app, last, WorkerLostError("child 4711 killed by SIGKILL"))

    scene.joins.wait(after.parts, scene.ended.append)
    scene.joins.count()

    assert scene.ended == [[]]
    meta = decode_meta(scene.app.backend.load([sent.id])[sent.id])
    assert "SIGKILL" in str(meta["result"])
    assert [claim.failed for claim in scene.joins.claims] == [True]


def test_a_message_without_parts_ends_at_once(scene: Scene) -> None:
    scene.joins.wait([], scene.ended.append)

    assert scene.ended == [[]]
    assert scene.joins.next_due() is None
