"""The settings of results that belong to no backend: trying again, remembering, own classes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
import redis

from taskctl import App
from taskctl.core.backends import open_backend
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.backends.redis import RedisBackend
from taskctl.core.errors import BackendError, ImproperlyConfigured
from taskctl.core.result_place import worker_pauses
from taskctl.core.tasks.result import AsyncResult, GroupResult

from ..support.servers import RedisServer
from ..support.waiting import eventually
from .contract import meta, within


def app_with(backend: Any, **settings: Any) -> App:
    return App("proj", broker="memory://", backend=backend, set_as_current=False, **settings)


class Own(MemoryBackend):
    """A backend that a project brings along; counts what it is asked."""

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url or f"memory://{uuid4()}", **settings)
        self.given = url
        self.asked: list[Sequence[str]] = []

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        self.asked.append(list(task_ids))
        return super().load(task_ids)


class Flaky(Own):
    """Fails as often as `failures` says."""

    failures = 0

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        if Flaky.failures:
            Flaky.failures -= 1
            raise BackendError("away")
        return super().load(task_ids)


# --- trying again ---------------------------------------------------------------------------------


AGAIN = {
    "result_backend_always_retry": True,
    "result_backend_base_sleep_between_retries_ms": 1,
    "result_backend_max_sleep_between_retries_ms": 5,
}


def test_operations_are_tried_again_as_often_as_the_setting_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = app_with(Flaky, result_backend_max_retries=3, **AGAIN)
    Flaky.failures = 3

    assert AsyncResult("a", app=app).state == "PENDING"

    assert caplog.text.count("away; trying again") == 3
    Flaky.failures = 5
    with pytest.raises(BackendError, match="away"):
        AsyncResult("a", app=app).ready()
    assert Flaky.failures == 1
    Flaky.failures = 0


def test_without_the_setting_a_failure_is_told_at_once() -> None:
    app = app_with(Flaky)
    Flaky.failures = 1

    with pytest.raises(BackendError, match="away"):
        AsyncResult("a", app=app).ready()
    assert Flaky.failures == 0


def test_those_who_must_not_wait_try_once() -> None:
    app = app_with(Flaky, **AGAIN)
    Flaky.failures = 1

    with pytest.raises(BackendError):
        app.backend.at_once.load(["a"])
    assert isinstance(app.backend.at_once, Flaky)


def test_a_client_outlives_the_loss_of_the_server_with_every_verb() -> None:
    server = RedisServer().start()
    app = app_with(server.url, **{**AGAIN, "result_backend_max_sleep_between_retries_ms": 50})
    backend = app.backend
    server.stop()
    again: list[RedisServer] = []
    timer = threading.Timer(0.3, lambda: again.append(RedisServer(server.port).start()))
    timer.start()
    try:
        backend.store([meta("a", result=5)])
        GroupResult("g", [AsyncResult("a", app=app)], app=app).save()

        assert AsyncResult("a", app=app).get(timeout=10) == 5
        assert GroupResult.restore("g", app=app) is not None
        AsyncResult("a", app=app).forget()
        assert AsyncResult("a", app=app).state == "PENDING"
    finally:
        timer.join()
        app.close()
        for one in again:
            one.stop()


def test_what_will_not_pass_is_not_tried_again(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("celery-task-meta-a", "a list, not a string")
    app = app_with(redis_url, **AGAIN)
    began = time.monotonic()

    with pytest.raises(BackendError, match="WRONGTYPE"):
        app.backend.store([meta("a")])

    assert time.monotonic() - began < 5
    app.close()


def test_a_worker_pauses_as_long_as_the_settings_say() -> None:
    assert worker_pauses(app_with("memory://").conf) == (0.5, 4.0)
    assert worker_pauses(app_with("memory://", result_backend_always_retry=True).conf) == (0.05, 10)
    settings = {**AGAIN, "result_backend_base_sleep_between_retries_ms": 700}
    assert worker_pauses(app_with("memory://", **settings).conf) == (0.7, 0.7)


# --- remembering ----------------------------------------------------------------------------------


def test_successes_are_remembered_and_asked_for_once() -> None:
    app = app_with(Own, result_cache_max=2)
    own = app.backend.at_once
    assert isinstance(own, Own)
    app.backend.store([meta(name, result=name) for name in "abc"])
    app.backend.store([meta("failed", "FAILURE", "x")])

    for _ in range(3):
        assert AsyncResult("a", app=app).get(timeout=5) == "a"
        assert AsyncResult("failed", app=app).failed()

    assert own.asked.count(["a"]) == 1
    assert own.asked.count(["failed"]) == 3
    assert set(app.backend.wait(["a"], within(5))) == {"a"}
    for name in "bc":
        assert AsyncResult(name, app=app).get(timeout=5) == name
    assert AsyncResult("a", app=app).get(timeout=5) == "a"
    assert own.asked.count(["a"]) == 2


def test_what_is_forgotten_is_not_remembered() -> None:
    app = app_with(Own, result_cache_max=None)
    app.backend.store([meta("a", result=1)])
    assert AsyncResult("a", app=app).get(timeout=5) == 1

    AsyncResult("a", app=app).forget()

    assert AsyncResult("a", app=app).state == "PENDING"


def test_nothing_is_remembered_by_default() -> None:
    app = app_with(Own)
    app.backend.store([meta("a")])
    for _ in range(3):
        assert AsyncResult("a", app=app).ready()

    assert app.backend.asked.count(["a"]) == 3  # type: ignore[attr-defined]


# --- own classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "overrides", "url"),
    [
        (Own, None, ""),
        (f"{__name__}:Own", None, ""),
        (f"{__name__}.Own", None, ""),
        (f"{__name__}.Own+own://host/1", None, "own://host/1"),
        ("own://host/1", {"own": f"{__name__}:Own"}, "own://host/1"),
        ("redis://host/1", {"redis": Own}, "redis://host/1"),
    ],
)
def test_a_project_may_bring_a_backend_along(given: Any, overrides: Any, url: str) -> None:
    app = app_with(given, override_backends=overrides, result_expires=5)

    assert type(app.backend) is Own
    assert app.backend.given == url
    assert app.backend.expires == 5.0
    app.backend.store([meta("a", result=1)])
    assert AsyncResult("a", app=app).get(timeout=5) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("celery.backends.redis:RedisBackend", r"is a class of Celery's.*name its own as redis://"),
        ("celery.backends.rpc.RPCBackend", r"is a class of Celery's.*rpc://"),
        ("no.such.module:Backend", "cannot be imported: No module named 'no'"),
        (f"{__name__}:nothing", "cannot be imported"),
        ("collections:OrderedDict", "is no subclass of taskctl.core.backends.Backend"),
        (dict, "is no subclass of taskctl.core.backends.Backend"),
    ],
)
def test_what_is_no_backend_of_ours_is_refused_with_the_way_out(given: Any, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        open_backend(given)


def test_a_class_derived_from_celerys_is_told_apart() -> None:
    from celery.backends.redis import RedisBackend as Theirs

    with pytest.raises(ImproperlyConfigured, match="but of Celery's"):
        open_backend(type("Mine", (Theirs,), {}))  # type: ignore[arg-type]


# --- what cannot be done --------------------------------------------------------------------------


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING):
        yield caplog


def test_a_backend_without_compression_says_so_and_stores_plainly(
    warned: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "compresses", False)
    monkeypatch.setattr(Own, "persistent", True)
    app = app_with(Own, result_compression="gzip")

    @app.task(shared=False)
    def add() -> None: ...

    add.update_state("a", "PROGRESS", {"done": 1})

    assert "keeps no compressed results" in warned.text
    assert app.backend.load(["a"])["a"].startswith(b'{"status"')


def test_a_wrong_name_of_a_compression_is_told_before_the_first_task() -> None:
    with pytest.raises(ImproperlyConfigured, match="gzipp"):
        _ = app_with("memory://", result_compression="gzipp").backend


def test_settings_that_change_open_another_backend(redis_url: str) -> None:
    app = app_with(redis_url)
    first = app.backend
    app.conf.result_expires = 7

    assert app.backend is not first
    assert app.backend.expires == 7.0
    assert isinstance(app.backend, RedisBackend)
    with redis.Redis.from_url(redis_url) as client:
        app.backend.store([meta("a")])
        eventually(lambda: 0 < client.ttl("celery-task-meta-a") <= 7)
    app.close()
