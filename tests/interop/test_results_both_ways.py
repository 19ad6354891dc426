"""Results that one writes and the other reads: Celery and ours, in Redis and as messages.

Each case runs on results in Redis, and on rpc over RabbitMQ and over Redis.
"""

from __future__ import annotations

import decimal
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import celery
import celery.exceptions
import celery.result
import pytest
from celery.app.task import Context as TheirContext

from taskctl import App
from taskctl.core import errors
from taskctl.core.tasks.context import Context
from taskctl.core.tasks.metas import MetaWriter
from taskctl.core.tasks.result import AsyncResult, GroupResult
from taskctl.core.wire.result_meta import COMPRESSED_MARKER

from ..support.mixed import Mixed
from ..support.waiting import eventually

GOLDEN = Path(__file__).parents[1] / "golden"


class ShopError(Exception):
    """A project's own exception."""


class Till:
    class Empty(Exception):
        """An exception inside a class."""


class Stubborn(Exception):
    """An exception that does not take its own arguments back, and cannot be pickled."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code, reason)
        self.held = lambda: code


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


class Pair:
    """Both apps on one place of results; what one of them writes, the other reads."""

    def __init__(self, broker: str, backend: str, **settings: Any) -> None:
        self.travels = backend.startswith("rpc")
        self.theirs = celery.Celery("proj", broker=broker, backend=backend, set_as_current=False)
        self.ours = App("proj", broker=broker, backend=backend, set_as_current=False)
        for app in (self.theirs, self.ours):
            app.conf.update(settings)
        self.ours.backend.load(["declared"])
        if self.travels:
            with self.theirs.amqp.producer_pool.acquire(block=True) as producer:
                self.theirs.backend.on_task_call(producer, "declared")

    def they_write(self, result: Any, state: str, **options: Any) -> AsyncResult:
        """Let Celery store a result; return how we see it."""
        task_id = str(uuid.uuid4())
        request = TheirContext(
            id=task_id, reply_to=self.ours.oid, correlation_id=task_id, **options
        )
        traceback = "Traceback: theirs" if state == "FAILURE" else None
        self.theirs.backend.store_result(task_id, result, state, traceback, request=request)
        return AsyncResult(task_id, app=self.ours)

    def we_write(self, result: Any, state: str, **options: Any) -> celery.result.AsyncResult:
        """Store a result ourselves; return how Celery sees it."""
        task_id = str(uuid.uuid4())
        request = Context({"id": task_id, "reply_to": self.theirs.thread_oid, **options})
        traceback = "Traceback: ours" if state == "FAILURE" else None
        item = MetaWriter(self.ours).write(request, state, result, traceback)
        self.ours.backend.store([item])
        return celery.result.AsyncResult(task_id, app=self.theirs)

    def each_way(self, result: Any, state: str) -> list[Any]:
        """Return what each side sees of what the other one wrote."""
        return [self.they_write(result, state), self.we_write(result, state)]

    def close(self) -> None:
        # Celery's results talk to the server when they are collected, which may be too late.
        backend = self.theirs.backend
        backend.remove_pending_result = lambda result: result
        if self.travels:
            if backend.result_consumer._consumer is not None:
                backend.result_consumer.stop()
        else:
            backend.client.connection_pool.disconnect()
        self.theirs.close()
        self.ours.close()


@pytest.fixture(params=["redis", "rpc on RabbitMQ", "rpc on Redis"])
def pair(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Pair]:
    broker = redis_url
    if "RabbitMQ" in request.param:
        broker = request.getfixturevalue("rabbitmq_server").url
    pair = Pair(broker, redis_url if request.param == "redis" else "rpc://")
    yield pair
    pair.close()


@pytest.fixture
def stored(redis_url: str) -> Iterator[Pair]:
    pair = Pair("memory://", redis_url)
    yield pair
    pair.close()


# --- states and values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "value"),
    [
        ("STARTED", {"pid": 4711, "hostname": "w@host"}),
        ("PROGRESS", {"done": 50, "total": 100}),
        ("RECEIVED", None),
    ],
)
def test_what_is_not_final_is_seen_with_what_it_carries(pair: Pair, state: str, value: Any) -> None:
    for result in pair.each_way(value, state):
        eventually(lambda result=result: result.state == state)
        assert result.info == value
        assert not result.ready()


def test_a_retry_is_seen_with_its_cause(pair: Pair) -> None:
    for result in pair.each_way(KeyError("k"), "RETRY"):
        eventually(lambda result=result: result.state == "RETRY")
        assert repr(result.result) == "KeyError('k')"


VALUES = [
    None,
    True,
    0,
    1.5,
    "ünïcode \u2603",
    [1, [2, {"three": None}]],
    {"when": datetime(2026, 11, 22, 6, 30, tzinfo=UTC), "price": decimal.Decimal("1.10")},
    {"id": uuid.UUID(int=7), "raw": b"\xff\x00", "text": b"bytes"},
]


def test_values_arrive_as_they_were(pair: Pair) -> None:
    for value in VALUES:
        for result in pair.each_way(value, "SUCCESS"):
            assert result.get(timeout=20) == value
            assert result.successful()


# --- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "seen"),
    [
        (ValueError("boom", 42), "ValueError('boom', 42)"),
        (ShopError("sold out"), "ShopError('sold out')"),
        (Till.Empty(3), "Empty(3)"),
        (KeyError(("a", 1)), "KeyError(['a', 1])"),
        (ShopError({1}, Odd()), "ShopError('{1}', '<odd>')"),
        (ShopError(datetime(2026, 1, 2)), "ShopError(datetime.datetime(2026, 1, 2, 0, 0))"),
        (type("Vanished", (Exception,), {"__module__": "no.such"})("x"), "Vanished('x')"),
    ],
)
def test_exceptions_are_raised_as_the_class_they_were(pair: Pair, exc: Any, seen: str) -> None:
    for result in pair.each_way(exc, "FAILURE"):
        with pytest.raises(Exception, match=r"^") as caught:
            result.get(timeout=20)

        assert repr(caught.value) == seen
        assert type(caught.value).__qualname__ == type(exc).__qualname__
        known = type(exc).__module__ != "no.such"
        assert isinstance(caught.value, type(exc)) == known
        assert result.failed()
        assert str(result.traceback).startswith("Traceback: ")


def test_an_exception_that_cannot_be_made_again_tells_the_same_as_text(pair: Pair) -> None:
    for result in pair.each_way(Stubborn(5, reason="because"), "FAILURE"):
        with pytest.raises(Exception, match=r"Stubborn.*5.*because") as caught:
            result.get(timeout=20)

        assert type(caught.value) is Exception


def test_revoked_tasks_raise_each_sides_own_class(pair: Pair) -> None:
    ours = pair.they_write(celery.exceptions.TaskRevokedError("expired"), "REVOKED")
    theirs = pair.we_write(errors.TaskRevokedError("terminated"), "REVOKED")

    with pytest.raises(errors.TaskRevokedError, match="expired"):
        ours.get(timeout=20)
    with pytest.raises(celery.exceptions.TaskRevokedError, match="terminated"):
        theirs.get(timeout=20)


# --- groups ---------------------------------------------------------------------------------------


def test_groups_are_joined_whoever_wrote_their_results(pair: Pair) -> None:
    ours = GroupResult("g", [pair.they_write(n, "SUCCESS") for n in range(20)], app=pair.ours)
    theirs = celery.result.GroupResult(
        "h", [pair.we_write(n, "SUCCESS") for n in range(20)], app=pair.theirs
    )

    assert ours.get(timeout=20) == list(range(20))
    assert theirs.get(timeout=20) == list(range(20))


def test_saved_groups_are_restored_by_the_other_or_refused_by_both(pair: Pair) -> None:
    ours = GroupResult("ours", [AsyncResult(i, app=pair.ours) for i in "ab"], app=pair.ours)
    theirs = celery.result.GroupResult(
        "theirs", [celery.result.AsyncResult(i, app=pair.theirs) for i in "ab"], app=pair.theirs
    )
    if pair.travels:
        with pytest.raises(errors.BackendError, match="keeps no groups"):
            ours.save()
        with pytest.raises(NotImplementedError):
            theirs.save(backend=pair.theirs.backend)
        return
    ours.save()
    theirs.save(backend=pair.theirs.backend)

    restore = celery.result.GroupResult.restore
    assert restore("ours", backend=pair.theirs.backend, app=pair.theirs).results == ["a", "b"]
    restored = GroupResult.restore("theirs", app=pair.ours)
    assert restored is not None
    assert restored.results == ["a", "b"]


# --- what Redis keeps -----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
def test_compressed_results_are_read_whatever_the_reader_has_set(
    redis_url: str, compression: str
) -> None:
    writers = Pair("memory://", redis_url, result_compression=compression)
    written = [*writers.each_way({"long": "x" * 5000}, "SUCCESS")]
    raw = writers.ours.backend.load([result.id for result in written])
    assert all(meta.startswith(COMPRESSED_MARKER) for meta in raw.values())
    readers = Pair("memory://", redis_url)

    assert AsyncResult(written[0].id, app=readers.ours).get(timeout=20) == {"long": "x" * 5000}
    seen = celery.result.AsyncResult(written[1].id, app=readers.theirs)
    assert seen.get(timeout=20) == {"long": "x" * 5000}
    late = readers.we_write(ValueError("late"), "FAILURE")
    assert late.state == "FAILURE"
    writers.close()
    readers.close()


def test_extended_metas_equal_the_captured_ones_field_by_field(redis_url: str) -> None:
    captured = json.loads((GOLDEN / "result_redis_extended.json").read_text())["redis"]
    pair = Pair("memory://", redis_url, result_extended=True)
    for example in captured:
        theirs = example["value_decoded"]
        failed = theirs["status"] == "FAILURE"
        stamped = theirs.get("stamped_headers")
        request = Context(
            {
                "id": theirs["task_id"],
                "task": theirs["name"],
                "args": theirs["args"],
                "kwargs": theirs["kwargs"],
                "hostname": theirs["worker"],
                "retries": theirs["retries"],
                "delivery_info": {"routing_key": theirs["queue"]},
                "stamped_headers": stamped,
                "stamps": {"tenant": "acme", "not stamped": 1} if stamped else None,
            }
        )
        value = ValueError("boom", 42) if failed else 5
        item = MetaWriter(pair.ours).write(request, theirs["status"], value, theirs["traceback"])

        made = json.loads(item.meta)
        assert list(made) == list(theirs)
        assert {**made, "date_done": theirs["date_done"]} == theirs

        pair.ours.backend.store([item])
        for result in (
            AsyncResult(item.task_id, app=pair.ours),
            celery.result.AsyncResult(item.task_id, app=pair.theirs),
        ):
            assert (result.name, result.worker) == (theirs["name"], theirs["worker"])
            assert (result.args, result.kwargs) == (theirs["args"], theirs["kwargs"])
            assert (result.retries, result.queue) == (0, "celery")
    pair.close()


def test_each_side_keeps_results_for_the_same_time(stored: Pair) -> None:
    for app in (stored.ours, stored.theirs):
        app.conf.update(result_expires=500)
    fresh = Pair("memory://", stored.ours.conf.result_backend, result_expires=500)
    client = fresh.theirs.backend.client
    for state in ("SUCCESS", "FAILURE"):
        for result in fresh.each_way(ValueError("x") if state == "FAILURE" else 1, state):
            assert 490 < client.ttl(f"celery-task-meta-{result.id}") <= 500
    fresh.close()


# --- with workers --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mixed]:
    """A worker of each kind, on a queue of its own, whose results are messages."""
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_server").url
    else:
        url = f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/61"
    fleet = Mixed(
        tmp_path_factory.mktemp("rpc"), url, "rpc://", task_track_started=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,
    )  # fmt: skip
    try:
        fleet.start("celery", "theirs", "-Q", "theirs", "-P", "solo", "--without-mingle")
        fleet.start("taskctl", "ours", "-Q", "ours", "-c", "1")
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.close()


@pytest.mark.parametrize(("client", "queue"), [("taskctl", "theirs"), ("celery", "ours")])
def test_workers_answer_the_other_sides_clients(fleet: Mixed, client: str, queue: str) -> None:
    app = fleet.app(client)

    def call(name: str, *args: Any, **options: Any) -> Any:
        return app.send_task(f"proj.{name}", args, queue=queue, **options)

    products = [call("mul", n, 2) for n in range(20)]
    failing, again, late = call("fail"), call("again"), call("nap", 0.3)

    eventually(lambda: late.state == "STARTED", within=30, every=0.01)
    assert [one.get(timeout=30) for one in reversed(products)] == list(range(38, -1, -2))
    with pytest.raises(ValueError, match="boom"):
        failing.get(timeout=30)
    assert "ValueError: ('boom', 42)" in str(failing.traceback)
    assert again.get(timeout=30) == "done"
    assert late.get(timeout=30) == 0.3
