"""Revocations that a client makes last: what it notes, takes out and tells, with nobody there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import App, chord
from taskctl.core.errors import ChordError
from taskctl.core.messaging import revocations
from taskctl.core.worker.options import resolve
from taskctl.core.worker.revoked import LimitedSet
from taskctl.core.worker.worker import Worker

from ..support.inside import Desk
from ..support.waiting import eventually


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    url = f"sqlite:///{tmp_path}/queue.db"
    app = App("later", broker=url, backend=url, set_as_current=False)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    app.close()


def _marks(app: App) -> dict[str, float]:
    with app.connection() as connection:
        return revocations.load(connection.broker).ids


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    desk = Desk(f"sqlite:///{tmp_path}/queue.db", capsys)
    yield desk
    desk.close()


def test_the_command_line_revokes_with_nobody_there(desk: Desk) -> None:
    first, second = desk.send("t"), desk.send("t", countdown=60)

    said = desk.run("control", "revoke", first, second, "-o", "table")

    assert said.code == 0
    assert "noted at the broker" in said.err
    assert sorted(_marks(desk.app)) == sorted([first, second])
    assert [stat.ready + stat.due for stat in desk.broker.queues()] == [0]
    assert desk.app.AsyncResult(first).state == "REVOKED"


def test_what_takes_a_node_still_fails_without_one(desk: Desk) -> None:
    assert desk.run("control", "revoke", "--terminate", "some-id").code == 69
    assert desk.run("control", "revoke", "-d", "w1@h", "some-id").code in (2, 69)


def test_what_is_revoked_on_named_nodes_is_theirs_to_remember(app: App) -> None:
    result = app.tasks["add"].delay(1, 1)

    app.control.revoke(result.id, destination=["w1@h"])

    assert _marks(app) == {}
    assert result.state == "PENDING"


def test_a_task_that_has_ended_keeps_its_result(app: App) -> None:
    result = app.tasks["add"].delay(1, 1)
    worker = Worker(app, resolve(app, pool="solo", hostname="in@test"))
    worker.open()
    eventually(lambda: worker.turn() or result.ready())  # type: ignore[func-returns-value]
    worker.close()

    result.revoke()

    assert result.state == "SUCCESS"


def test_a_chord_whose_member_is_revoked_with_nobody_there_ends_with_the_last_member(
    app: App,
) -> None:
    add = app.tasks["add"]
    joined = chord([add.s(1, 1), add.s(2, 2)], add.si(5, 5), app=app).apply_async()
    gone, left = joined.parent.results
    gone.revoke()
    left.revoke()

    with pytest.raises(ChordError):
        joined.get(timeout=5)


def test_a_backend_that_is_away_leaves_the_message_to_the_workers(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = app.tasks["add"].delay(1, 1)
    app.conf.update(result_backend="redis://127.0.0.1:1/0", redis_socket_connect_timeout=0.2)

    result.revoke()

    with app.connection() as connection:
        assert connection.broker.size("celery") == 1
    assert list(_marks(app)) == [result.id]


def test_no_task_costs_a_question_about_revocations(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    from taskctl.core.brokers.sqlite import SqliteBroker

    def counted(self: Any) -> dict[str, float]:
        asked.append(1)
        return load(self)

    load = SqliteBroker.revoked_marks
    monkeypatch.setattr(SqliteBroker, "revoked_marks", counted)
    app.control.revoke("nobody")
    worker = Worker(app, resolve(app, pool="solo", hostname="in@test"))
    worker.open()
    results = [app.tasks["add"].delay(n, n) for n in range(50)]
    eventually(lambda: worker.turn() or all(r.ready() for r in results))  # type: ignore[func-returns-value]
    worker.close()

    assert len(asked) == 1


def test_kept_ids_outlive_the_memory_of_a_node_and_are_forgotten_in_their_time() -> None:
    known = LimitedSet(maxlen=2, expires=0.0)
    known.add("soon")

    assert known.keep({"kept": 60.0, "gone": 0.0}) == ["kept", "gone"]

    assert ("kept" in known, "gone" in known, "soon" in known) == (True, False, False)
    assert list(known) == ["kept"]
    assert known.keep({"kept": 60.0}) == []
    assert known.ages() == []
