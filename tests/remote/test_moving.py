"""Messages between brokers: none lost, none doubled, each where it belongs."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from taskctl import App
from taskctl.core.errors import BrokerConnectionError
from taskctl.core.messaging.connection import Connection
from taskctl.core.remote.moving import ASIDE, Mover, Wanted
from taskctl.core.wire.message import Publication

from ..support.waiting import eventually


@pytest.fixture
def source(tmp_path: Path) -> App:
    return App("source", broker=f"sqlite:///{tmp_path}/source.db", set_as_current=False)


@pytest.fixture(params=["sqlite", "redis", "memory"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Connection:
    if request.param == "redis":
        return Connection(request.getfixturevalue("redis_url"))
    if request.param == "memory":
        return Connection(f"memory://{uuid.uuid4()}")
    return Connection(f"sqlite:///{tmp_path}/destination.db")


def ids(connection: Connection, queue: str) -> list[str]:
    return [json.loads(e)["headers"]["id"] for e in connection.broker.peek(queue, 1000)]


def mover(source: App, destination: Connection, *, keep: bool = False, **wanted: object) -> Mover:
    return Mover(source.connection(), destination, Wanted(**wanted), keep=keep)  # type: ignore[arg-type]


def test_all_queues_move_in_order_and_nothing_stays(source: App, destination: Connection) -> None:
    sent = [source.send_task("t", queue="images").id for _ in range(250)]
    other = source.send_task("t", queue="my-queue").id

    moved = mover(source, destination).run(timeout=0)

    assert moved.counts == {"images": 250, "my-queue": 1}
    assert ids(destination, "images") == sent
    assert ids(destination, "my-queue") == [other]
    left = {stat.name: stat.ready for stat in source.connection().broker.queues()}
    assert left == {"images": 0, "my-queue": 0}, "nothing waits, and nothing is left aside"


def test_a_copy_leaves_the_source_as_it_was(source: App, destination: Connection) -> None:
    sent = [source.send_task("t").id for _ in range(3)]

    moved = mover(source, destination, keep=True).run(timeout=0.2)

    assert moved.total == 3
    assert ids(destination, "celery") == ids(source.connection(), "celery") == sent


def test_what_is_due_later_moves_with_its_time(source: App, destination: Connection) -> None:
    later = source.send_task("t", countdown=600)

    moved = mover(source, destination).run(timeout=0)

    assert moved.total == 1
    assert source.connection().broker.parked(queues=["celery"]) == []
    broker = destination.broker
    if broker.holds_due:
        ((due, envelope),) = broker.parked(queues=["celery"])
        assert 500 < due - time.time() < 700
    else:  # the worker parks it on receipt
        (envelope,) = broker.peek("celery")
    assert json.loads(envelope)["headers"]["id"] == later.id


def test_queues_tasks_and_limit_choose(source: App, destination: Connection) -> None:
    chosen = [source.send_task("yes", queue="a").id for _ in range(3)]
    others = [source.send_task("no", queue="a").id for _ in range(2)]
    elsewhere = source.send_task("yes", queue="b").id

    job = mover(source, destination, queues={"a": "new"}, tasks=frozenset({"yes"}), limit=2)

    assert job.count() == {"a": 2}
    assert job.run(timeout=0).total == 2
    assert ids(destination, "new") == chosen[:2]
    assert ids(source.connection(), "a") == [chosen[2], *others]
    assert ids(source.connection(), "b") == [elsewhere]
    info = json.loads(destination.broker.peek("new")[0])["properties"]["delivery_info"]
    assert info == {"exchange": "", "routing_key": "new"}


def test_priorities_and_foreign_messages_arrive_as_they_were(
    source: App, destination: Connection
) -> None:
    high = source.send_task("t", priority=9).id
    low = source.send_task("t", priority=0).id
    broker = source.connection().broker
    broker.publish([Publication(exchange="", routing_key="junk", envelope=b"\xff no json")])

    mover(source, destination).run(timeout=0)

    expected = [high, low] if destination.broker.highest_priority_first else [low, high]
    assert ids(destination, "celery") == expected
    assert destination.broker.peek("junk") == [b"\xff no json"]


def test_a_destination_that_goes_away_costs_no_message(
    source: App, destination: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [source.send_task("t").id for _ in range(150)]
    job = mover(source, destination)
    publish: Callable[..., None] = destination.publish
    calls: list[int] = []

    def breaks_at_the_second(*args: object, **options: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise BrokerConnectionError("gone")
        publish(*args, **options)

    monkeypatch.setattr(destination, "publish", breaks_at_the_second)
    with pytest.raises(BrokerConnectionError):
        job.run(timeout=0)
    here = source.connection().broker
    assert len(ids(destination, "celery")) == 100
    assert here.size(ASIDE + "celery") == 50

    again = mover(source, destination).run(timeout=0)

    assert again.counts == {"celery": 50}
    assert ids(destination, "celery") == sent


def test_forever_goes_on_until_the_limit(source: App, destination: Connection) -> None:
    job = mover(source, destination, limit=2)
    thread = threading.Thread(target=lambda: job.run(timeout=0, forever=True))
    thread.start()

    source.send_task("t")
    eventually(lambda: job.moved.total == 1)
    source.send_task("t")

    thread.join(10)
    assert not thread.is_alive()
    assert len(ids(destination, "celery")) == 2
