"""Results cross between Celery and us through one Redis, both ways, stored and announced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celery
import celery.result
import pytest

from taskctl.core import errors
from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import decode_meta, encode_meta

from ..support.waiting import eventually


@pytest.fixture(params=[None, "proj"])
def prefix(request: pytest.FixtureRequest) -> Any:
    return {"global_keyprefix": request.param} if request.param else {}


@pytest.fixture
def ours(redis_url: str, prefix: Any) -> Iterator[Backend]:
    backend = open_backend(redis_url, options=prefix)
    backend.open()
    yield backend
    backend.close()


@pytest.fixture
def theirs(redis_url: str, prefix: Any) -> Iterator[Any]:
    app = celery.Celery("proj", backend=redis_url, set_as_current=False)
    app.conf.result_backend_transport_options = prefix
    yield app
    # Celery's results talk to the server when they are collected, which may be after it stopped.
    app.backend.remove_pending_result = lambda result: result
    app.backend.client.connection_pool.disconnect()


def stored(task_id: str, state: str, result: Any) -> StoredMeta:
    data = encode_meta(task_id=task_id, state=state, result=result)
    return StoredMeta(task_id=task_id, state=state, meta=data)


def test_celery_gets_what_we_store_while_it_waits(ours: Backend, theirs: Any) -> None:
    result = celery.result.AsyncResult("a", app=theirs)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(result.get, timeout=10)
        eventually(lambda: theirs.backend.client.pubsub_channels("*celery-task-meta-a"))
        ours.store([stored("a", "STARTED", None), stored("a", "SUCCESS", {"sum": 5})])

        assert answer.result(timeout=10) == {"sum": 5}


def test_we_hear_what_celery_stores_while_we_wait(ours: Backend, theirs: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(ours.wait, ["a"], time.monotonic() + 10)
        eventually(lambda: theirs.backend.client.pubsub_channels("*celery-task-meta-a"))
        theirs.backend.store_result("a", ValueError("boom"), "FAILURE")

        result = decode_meta(wait.result(timeout=10)["a"])["result"]

    assert repr(result) == "ValueError('boom')"


def test_a_success_is_final_whoever_comes_second(ours: Backend, theirs: Any) -> None:
    theirs.backend.store_result("a", 1, "SUCCESS")
    ours.store([stored("a", "FAILURE", errors.TaskctlError("late")), stored("b", "SUCCESS", 2)])
    theirs.backend.store_result("b", ValueError("late"), "FAILURE")

    assert celery.result.AsyncResult("a", app=theirs).get(timeout=5) == 1
    assert decode_meta(ours.load(["b"])["b"])["result"] == 2


def test_celery_raises_its_own_class_for_our_revoked_task(ours: Backend, theirs: Any) -> None:
    ours.store([stored("a", "REVOKED", errors.TaskRevokedError("expired"))])

    with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
        celery.result.AsyncResult("a", app=theirs).get(timeout=5)


def test_a_group_that_celery_saved_is_found_under_the_same_id(ours: Backend, theirs: Any) -> None:
    members = [celery.result.AsyncResult(id, app=theirs) for id in ("a", "b")]
    celery.result.GroupResult("g", members, app=theirs).save(backend=theirs.backend)

    value = ours.load_group("g")

    assert value == (b'{"result": [["g", null], [[["a", null], null], [["b", null], null]]]}')
    ours.store_group("h", value.replace(b'"g"', b'"h"'))
    restored = celery.result.GroupResult.restore("h", backend=theirs.backend, app=theirs)
    assert [member.id for member in restored] == ["a", "b"]
