"""Results as messages: the contract as far as they can keep it, on every kind of broker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
import redis

from taskctl import App, group
from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.backends.rpc import Post, RpcBackend
from taskctl.core.errors import (
    BackendError,
    ContentDisallowed,
    DecodeError,
    ImproperlyConfigured,
)
from taskctl.core.messaging.connection import Connection
from taskctl.core.tasks.result import AsyncResult, GroupResult
from taskctl.core.wire.message import Publication, decode_envelope, encode_envelope
from taskctl.core.wire.outcome import StoredMeta

from ..support.draining import drain
from ..support.servers import RabbitServer, RedisServer
from ..support.waiting import eventually
from .contract import BackendContract, OpenBackend, fresh, meta, within


class ToOneQueue(RpcBackend):
    """Sends what names no queue to the queue of the test."""

    def store(self, batch: Sequence[StoredMeta]) -> None:
        for item in batch:
            item.reply_to = self._post.queue()
        super().store(batch)


class TestRpcBackend(BackendContract):
    KINDS: ClassVar = ["memory", "sqlite", "redis", "rabbitmq"]

    @pytest.fixture(params=KINDS)
    def url(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        if request.param == "memory":
            return f"memory://{uuid4()}"
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path}/queue.db"
        if request.param == "redis":
            return str(request.getfixturevalue("redis_url"))
        server: RabbitServer = request.getfixturevalue("rabbitmq_server")
        return server.url

    @pytest.fixture
    def open(self, url: str) -> Iterator[OpenBackend]:
        opened: list[Backend] = []
        queue = f"reply-{uuid4()}"
        post = Post(connect=lambda: Connection(url), queue=lambda: queue)

        def open_one(**settings: Any) -> Backend:
            backend = ToOneQueue("rpc://", post=post, **settings)
            backend.open()
            opened.append(backend)
            # The queue is declared before a task is sent, over the line that sends it.
            if len(opened) == 1:
                with Connection(url) as connection:
                    connection.call(backend.prepare)
            return backend

        yield open_one
        for backend in opened:
            backend.close()

    # --- where a message is not a store ---------------------------------------------------

    def test_a_group_is_saved_loaded_replaced_and_forgotten(self, backend: Backend) -> None:
        for refused in (
            lambda: backend.store_group("g", b"value"),
            lambda: backend.load_group("g"),
            lambda: backend.forget_group("g"),
        ):
            with pytest.raises(BackendError, match="rpc:// keeps no groups"):
                refused()

    def test_a_group_and_a_task_of_one_id_do_not_mix(self, backend: Backend) -> None:
        pytest.skip("no groups are kept")

    @pytest.mark.parametrize("expires", [None, 0])
    def test_no_lifetime_keeps_results_for_ever(
        self, open: OpenBackend, expires: float | None
    ) -> None:
        backend = open(expires=expires)
        backend.store([meta("a")])

        assert backend.expire() == 0
        assert set(backend.load(["a"])) == {"a"}

    def test_failures_may_be_kept_longer_than_the_rest(self, open: OpenBackend) -> None:
        pytest.skip("who reads a message keeps it for result_expires, whatever it says")

    def test_an_expired_success_may_be_written_over(self, open: OpenBackend) -> None:
        backend = open(expires=0.2)
        backend.store([fresh("a", result=1)])
        eventually(lambda: not backend.load(["a"]), within=5)

        backend.store([fresh("a", "FAILURE", 2)])

        eventually(lambda: b"FAILURE" in backend.load(["a"]).get("a", b""), within=5)

    def test_a_closed_backend_can_be_opened_again(self, backend: Backend) -> None:
        backend.store([meta("a")])
        assert set(backend.load(["a"])) == {"a"}
        backend.close()
        backend.close()

        backend.open()
        backend.open()

        assert set(backend.load(["a"])) == {"a"}
        assert backend.wait(["b"], within(0.01)) == {}
        backend.store([meta("b")])
        assert set(backend.wait(["b"], within(5))) == {"b"}

    def test_a_thousand_metas_in_one_batch(self, backend: Backend) -> None:
        ids = [f"id-{n}" for n in range(1000)]

        backend.store([meta(id, result=id) for id in ids])

        # A message is on its way for a moment, where the broker pushes.
        metas = eventually(lambda: _all_of(backend, ids), within=20)
        assert b"id-617" in metas["id-617"]

    def test_results_of_two_megabytes(self, backend: Backend) -> None:
        batch = [meta(id, result="é" * 350_000) for id in ("a", "b", "c")]

        backend.store(batch)

        metas = eventually(lambda: _all_of(backend, ["a", "b", "c"]), within=20)
        assert metas == {item.task_id: item.meta for item in batch}


def _all_of(backend: Backend, ids: list[str]) -> dict[str, bytes]:
    metas = backend.load(ids)
    return metas if len(metas) == len(ids) else {}


# --- beside the contract ----------------------------------------------------------------------


@pytest.fixture
def app(redis_url: str) -> Iterator[App]:
    app = App("calls", broker=redis_url, backend="rpc://", set_as_current=False)
    yield app
    app.close()


def answer(app: App, task_id: str, result: Any, *, state: str = "SUCCESS", **more: Any) -> None:
    """Send a result as another process would: to the queue that the app's calls name."""
    item = meta(task_id, state, result, **more)
    other = App("other", broker=app.conf.broker_url, backend="rpc://", set_as_current=False)
    other.backend.store([StoredMeta(**{**_fields(item), "reply_to": app.oid})])
    other.close()


def _fields(item: StoredMeta) -> dict[str, Any]:
    return {"task_id": item.task_id, "state": item.state, "meta": item.meta}


def test_the_threads_of_a_client_get_what_each_of_them_called(app: App) -> None:
    def get(number: int) -> Any:
        return AsyncResult(f"t{number}", app=app).get(timeout=20)

    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(get, n) for n in range(8)]
        for n in reversed(range(8)):
            answer(app, f"t{n}", n)

        assert [wait.result(timeout=20) for wait in waits] == list(range(8))


def test_results_of_others_are_kept_until_somebody_asks(app: App) -> None:
    for n in range(5):
        answer(app, f"t{n}", n)

    assert AsyncResult("t4", app=app).get(timeout=10) == 4
    assert [AsyncResult(f"t{n}", app=app).get(timeout=10) for n in range(5)] == list(range(5))


def test_the_reply_queue_exists_before_the_first_task_is_sent(
    rabbitmq_server: RabbitServer,
) -> None:
    app = App("first", broker=rabbitmq_server.url, backend="rpc://", set_as_current=False)

    app.send_task("nobody.takes.it", queue=f"void-{uuid4()}")

    assert app.shared_connection().call(lambda broker: broker.exists(app.oid))
    answer(app, "a", 1)
    assert AsyncResult("a", app=app).get(timeout=10) == 1
    app.close()
    with Connection(rabbitmq_server.url) as connection:
        assert not connection.call(lambda broker: broker.exists(app.oid))


@pytest.mark.parametrize("kind", TestRpcBackend.KINDS)
def test_a_result_nobody_waits_for_makes_no_queue_that_stays(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = {
        "memory": lambda: f"memory://{uuid4()}",
        "sqlite": lambda: f"sqlite:///{tmp_path}/queue.db",
        "redis": lambda: request.getfixturevalue("redis_url"),
        "rabbitmq": lambda: request.getfixturevalue("rabbitmq_server").url,
    }[kind]()
    gone = f"gone-{uuid4()}"
    app = App("worker", broker=url, backend="rpc://", set_as_current=False)

    app.backend.store([StoredMeta(**{**_fields(meta("a")), "reply_to": gone}), meta("b")])

    def names(broker: Any) -> list[str]:
        return [queue.name for queue in broker.queues()]

    assert gone not in app.shared_connection().call(names)
    app.close()


def test_answers_that_nobody_fetches_go_away_on_redis(app: App, redis_url: str) -> None:

    app.conf.result_expires = 100
    answer_expires = App(
        "worker", broker=redis_url, backend="rpc://", result_expires=100, set_as_current=False
    )
    answer_expires.backend.store([StoredMeta(**{**_fields(meta("a")), "reply_to": "q"})])

    with redis.Redis.from_url(redis_url) as client:
        assert 90 < client.ttl("q") <= 100
        envelope = decode_envelope(client.lindex("q", 0))
    assert envelope.properties["correlation_id"] == "a"
    assert envelope.properties["delivery_mode"] == 1
    assert envelope.headers == {}
    answer_expires.close()


def test_persistent_results_are_sent_as_such(app: App, redis_url: str) -> None:

    worker = App(
        "worker", broker=redis_url, backend="rpc://", result_persistent=True, set_as_current=False
    )
    worker.backend.store(
        [StoredMeta(**{**_fields(meta("a")), "reply_to": "q", "correlation_id": "other"})]
    )

    with redis.Redis.from_url(redis_url) as client:
        properties = decode_envelope(client.lindex("q", 0)).properties
    assert (properties["delivery_mode"], properties["correlation_id"]) == (2, "other")
    worker.close()


def test_a_forked_process_reads_a_queue_of_its_own(app: App) -> None:
    answer(app, "a", "for the parent")
    app.send_task("anything", queue="void")  # the parent's queue is declared
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            app.send_task("anything", queue="void")
            seen = AsyncResult("a", app=app).state
            answer(app, "b", "for the child")
            got = AsyncResult("b", app=app).get(timeout=10)
            os.write(writer, f"{seen} {got} {app.oid}".encode())
            code = 0
        finally:
            os._exit(code)
    os.waitpid(pid, 0)
    seen, *got, oid = os.read(reader, 1000).decode().split()
    os.close(reader)
    os.close(writer)

    assert (seen, " ".join(got)) == ("PENDING", "for the child")
    assert oid != app.oid
    assert AsyncResult("a", app=app).get(timeout=10) == "for the parent"


def test_a_wait_outlives_a_restart_of_the_broker() -> None:
    server = RedisServer().start()
    app = App("calls", broker=server.url, backend="rpc://", set_as_current=False)
    with ThreadPoolExecutor(1) as pool:
        assert AsyncResult("a", app=app).state == "PENDING"
        wait = pool.submit(AsyncResult("a", app=app).get, timeout=30)
        server.stop()
        again = RedisServer(server.port).start()
        try:
            answer(app, "a", 1)

            assert wait.result(timeout=30) == 1
        finally:
            again.stop()
    app.close()


def test_a_broker_that_is_away_is_an_error_at_the_deadline() -> None:
    app = App("calls", broker="redis://127.0.0.1:1/0", backend="rpc://", set_as_current=False)
    began = time.monotonic()

    with pytest.raises(BackendError, match=r"result backend rpc://: .*127\.0\.0\.1:1"):
        AsyncResult("a", app=app).get(timeout=0.5)

    assert time.monotonic() - began < 10
    app.close()


def test_a_result_in_a_serializer_that_is_not_accepted_is_refused(app: App) -> None:
    sender = App(
        "other",
        broker=app.conf.broker_url,
        backend="rpc://",
        result_serializer="pickle",
        set_as_current=False,
    )
    item = meta("a", result={1}, serializer="pickle")
    sender.backend.store([StoredMeta(**{**_fields(item), "reply_to": app.oid})])
    sender.close()

    with pytest.raises(ContentDisallowed, match="the result of task a in rpc:// cannot be read"):
        AsyncResult("a", app=app).get(timeout=10)

    app.conf.result_accept_content = ["pickle", "json"]
    assert AsyncResult("a", app=app).get(timeout=10) == {1}


def test_what_is_no_answer_at_all_is_dropped_and_the_rest_is_read(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    envelope = encode_envelope(
        b"\xff\x00",
        content_type="application/json",
        content_encoding="utf-8",
        headers={},
        properties={"correlation_id": "bad"},
        exchange="",
        routing_key=app.oid,
    )
    app.shared_connection().publish(
        [
            Publication(exchange="", routing_key=app.oid, envelope=b"no envelope"),
            Publication(exchange="", routing_key=app.oid, envelope=envelope),
        ]
    )
    answer(app, "a", 1)

    assert AsyncResult("a", app=app).get(timeout=10) == 1
    assert "dropped an answer" in caplog.text
    with pytest.raises(DecodeError, match="the result of task bad in rpc:// cannot be read"):
        AsyncResult("bad", app=app).get(timeout=10)


def test_groups_are_joined_and_not_saved(app: App) -> None:
    group = GroupResult("g", [AsyncResult(f"t{n}", app=app) for n in range(3)], app=app)
    timers = [threading.Timer(0.02 * n, answer, (app, f"t{n}", n)) for n in range(3)]
    for timer in timers:
        timer.start()

    assert group.get(timeout=20) == [0, 1, 2]
    with pytest.raises(BackendError, match="keeps no groups"):
        group.save()
    for timer in timers:
        timer.join()


def test_rpc_needs_the_broker_of_an_app() -> None:
    with pytest.raises(BackendError, match="through the broker of an app"):
        open_backend("rpc://")


def test_whatever_becomes_of_a_task_its_caller_is_told(tmp_path: Path) -> None:
    """The worker is another app, with a reply queue of its own, which nobody reads."""
    url = f"sqlite:///{tmp_path}/queue.db"
    client = App("client", broker=url, backend="rpc://", set_as_current=False)
    worker = App("worker", broker=url, backend="rpc://", set_as_current=False)
    assert client.oid != worker.oid

    @worker.task(shared=False, name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @worker.task(shared=False, name="replaced", bind=True)
    def replaced(self: Any, x: int) -> Any:
        return self.replace(add.s(x, 100))

    @worker.task(shared=False, name="retried", bind=True)
    def retried(self: Any) -> int:
        if not self.request.retries:
            raise self.retry(countdown=0)
        return 7

    @worker.task(shared=False, name="fail")
    def fail(x: int) -> None:
        raise ValueError("boom")

    def call(name: str, *args: Any) -> Any:
        return client.signature(name, args=args)

    calls = [call("add", 1, 2), call("replaced", 3), call("retried")]
    results = [one.delay() for one in calls]
    results.append((call("add", 1, 1) | call("replaced") | call("add", 5)).delay())
    failed = (call("add", 1, 1) | call("fail") | call("add", 5)).delay()

    drain(worker)

    assert [result.get(timeout=10) for result in results] == [3, 103, 7, 107]
    with pytest.raises(ValueError, match="boom"):
        failed.get(timeout=10)
    client.close()
    worker.close()


def test_chords_are_refused_with_the_way_out(app: App) -> None:
    def call(name: str) -> Any:
        return app.signature(name)

    with pytest.raises(ImproperlyConfigured, match=r"rpc://.*redis://"):
        (group([call("a"), call("b")], app=app) | call("body")).delay()
