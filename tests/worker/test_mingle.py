"""A node asks the others what was revoked, and goes on at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from taskctl import App
from taskctl.core.worker.options import resolve
from taskctl.core.worker.worker import Worker

from ..support.waiting import eventually

Start = Callable[..., Worker]


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"memory://{request.node.name}"


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """Start workers in this process; they are turned by hand."""
    made: list[Worker] = []

    def make(name: str, url: str = url, **given: Any) -> Worker:
        app = App("mingle", broker=url, backend="memory://", set_as_current=False)

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        options = resolve(app, pool="threads", concurrency=1, hostname=f"{name}@test", **given)
        worker = Worker(app, options)
        worker.open()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.close()
        worker.app.close()


def turning(workers: list[Worker], check: Callable[[], Any]) -> Any:
    def step() -> Any:
        for worker in workers:
            worker.turn()
        return check()

    return eventually(step, within=10, every=0.001)


def done(worker: Worker) -> bool:
    return worker.mingle.next_due(time.monotonic()) is None


def test_a_lone_node_waits_for_nobody(start: Start) -> None:
    alone = start("alone")

    assert done(alone)
    assert alone.post.next_due(time.monotonic()) is None


def test_a_node_that_starts_learns_and_tells_what_was_revoked(start: Start) -> None:
    old = start("old")
    old.revoked.update(["one", "two"])
    for _ in range(100):
        old.clock.forward()

    new = start("new")
    turning([old, new], lambda: done(new))

    assert list(new.revoked) == ["one", "two"]
    assert new.clock.value > 100


def test_a_node_without_mingle_asks_nobody_and_answers(start: Start) -> None:
    old = start("old")
    old.revoked.add("one")

    quiet = start("quiet", without_mingle=True)
    assert done(quiet) and not list(quiet.revoked)

    new = start("new")
    turning([old, quiet, new], lambda: done(new))
    assert list(new.revoked) == ["one"]


def test_a_node_that_was_cut_off_asks_again(start: Start) -> None:
    old, new = start("old"), start("new")
    turning([old, new], lambda: done(new))
    old.revoked.add("meanwhile")

    new.consumer.connection.drop()
    new.line.up = False
    turning([old, new], lambda: "meanwhile" in new.revoked)

    assert new.line.up


@pytest.mark.parametrize("url", ["redis"], indirect=True)
def test_the_first_task_does_not_wait_for_a_neighbour_that_is_silent(
    start: Start, redis_url: str
) -> None:
    number = redis_url.rpartition("/")[2]
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as silent:
        silent.psubscribe(f"/{number}.celery.pidbox")
        assert silent.get_message(timeout=5)

        worker = start("busy")
        result = worker.app.tasks["add"].delay(2, 3)

        turning([worker], lambda: worker.totals.done == 1)
        assert not done(worker)
        turning([worker], lambda: done(worker))
        assert result.get(timeout=5) == 5


NONSENSE: list[Any] = [
    ["a", "list"], "text", 7, {"revoked": "abc"}, {"revoked": [1, None]}, {"clock": "late"}, None,
    {"clock": None, "revoked": None}, {}, {"revoked": ["fine"], "clock": 5, "more": [1]},
]  # fmt: skip


@pytest.mark.parametrize("url", ["redis"], indirect=True)
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_nonsense_for_an_answer_is_borne(
    start: Start, redis_url: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = Celery("theirs", broker=redis_url, set_as_current=False)
    with theirs.connection() as connection:
        node = theirs.control.mailbox(connection).Node(
            "odd@test", state=None, channel=connection.default_channel,
            handlers={"hello": lambda state, **_: value},
        )  # fmt: skip
        node.listen()
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.1)  # it subscribes with the first look

        worker = start("sane")
        while not done(worker):
            worker.turn()
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.01)

        fine = isinstance(value, dict) and "fine" in str(value)
        assert list(worker.revoked) == (["fine"] if fine else [])
        nonsense = value is not None and value not in NONSENSE[-2:] and value != NONSENSE[-3]
        assert ("answered hello with nonsense" in caplog.text) is nonsense
    theirs.close()
