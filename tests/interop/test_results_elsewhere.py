"""Results cross between Celery and us, both ways, through every other store that both know."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import celery
import celery.backends.database
import celery.result
import pytest

from taskctl.core import errors
from taskctl.core.app import App
from taskctl.core.backends.base import Backend
from taskctl.core.tasks.asyncresult import AsyncResult
from taskctl.core.tasks.result import GroupResult
from taskctl.core.wire import codecs
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import encode_meta

from ..support import djangosite
from ..support.databases import MemcachedServer
from ..support.waiting import eventually

STORES = ["sqlite", "postgresql", "memcached", "file", "mongodb", "django-db", "django-cache"]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where results are kept; MongoDB's place is taken by a server that speaks its protocol."""
    value: Callable[[str], Any] = request.getfixturevalue
    if request.param == "sqlite":
        return f"db+sqlite:///{tmp_path}/results.db"
    if request.param == "postgresql":
        return f"db+{value('postgres_url')}"
    if request.param == "memcached":
        return str(value("memcached_url"))
    if request.param == "file":
        return f"file://{tmp_path}"
    if request.param == "mongodb":
        return str(value("mongo_url"))
    server: MemcachedServer = value("memcached_server")
    value("memcached_url")
    djangosite.set_up(server.port)
    djangosite.emptied()
    return str(request.param)


@pytest.fixture
def extended() -> bool:
    return False


def settings(url: str, extended: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"result_backend": url, "result_extended": extended}
    if url == "django-cache":
        found["cache_backend"] = "results"
    return found


@pytest.fixture
def theirs(url: str, extended: bool) -> Any:
    app = celery.Celery("proj", set_as_current=False)
    app.conf.update(settings(url, extended))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app.backend  # noqa: B018  its tables, its folder
    return app


@pytest.fixture
def ours(url: str, extended: bool) -> Iterator[App]:
    app = App("proj", broker="memory://interop", set_as_current=False)
    app.conf.update(settings(url, extended))
    yield app
    app.close()


def stored(task_id: str, state: str, result: Any, **more: Any) -> StoredMeta:
    data = encode_meta(
        task_id=task_id, state=state, result=result, date_done=datetime.now(UTC), **more
    )
    return StoredMeta(task_id=task_id, state=state, meta=data)


VALUE = {"sum": 5, "text": "ü", "when": datetime(2030, 1, 2, tzinfo=UTC), "list": [1, None, 2.5]}


def test_celery_gets_what_we_store(ours: App, theirs: Any) -> None:
    backend: Backend = ours.backend
    backend.store([stored("a", "STARTED", {"pid": 1})])
    backend.store([stored("a", "SUCCESS", VALUE, children=[[["c", None], None]])])

    result = celery.result.AsyncResult("a", app=theirs)

    assert result.get(timeout=10) == VALUE
    assert [child.id for child in result.children] == ["c"]
    assert result.status == "SUCCESS"


def test_we_get_what_celery_stores(ours: App, theirs: Any) -> None:
    theirs.backend.store_result("a", {"pid": 1}, "STARTED")
    theirs.backend.store_result("a", VALUE, "SUCCESS")

    result = AsyncResult("a", app=ours)

    assert result.get(timeout=10) == VALUE
    assert result.date_done is not None and result.date_done.tzinfo is not None
    assert abs((datetime.now(UTC) - result.date_done).total_seconds()) < 60


def test_celery_raises_what_our_task_raised(ours: App, theirs: Any) -> None:
    ours.backend.store([stored("a", "FAILURE", ValueError("boom", 42), traceback="Traceback ...")])
    ours.backend.store([stored("b", "REVOKED", errors.TaskRevokedError("expired"))])

    with pytest.raises(ValueError, match="boom"):
        celery.result.AsyncResult("a", app=theirs).get(timeout=10)
    assert celery.result.AsyncResult("a", app=theirs).traceback == "Traceback ..."
    with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
        celery.result.AsyncResult("b", app=theirs).get(timeout=10)


def test_we_raise_what_celerys_task_raised(ours: App, theirs: Any) -> None:
    theirs.backend.store_result("a", ValueError("boom", 42), "FAILURE", traceback="Traceback ...")

    with pytest.raises(ValueError, match="boom") as caught:
        AsyncResult("a", app=ours).get(timeout=10)

    assert caught.value.args == ("boom", 42)


def test_a_success_is_final_whoever_comes_second(ours: App, theirs: Any, url: str) -> None:
    theirs.backend.store_result("a", 1, "SUCCESS")
    ours.backend.store([stored("a", "FAILURE", KeyError("late")), stored("b", "SUCCESS", 2)])
    if url != "django-db":  # django-celery-results writes over whatever there is
        theirs.backend.store_result("b", ValueError("late"), "FAILURE")

    assert celery.result.AsyncResult("a", app=theirs).get(timeout=10) == 1
    assert AsyncResult("b", app=ours).get(timeout=10) == 2


def test_a_group_that_celery_saved_is_restored(ours: App, theirs: Any) -> None:
    members = [celery.result.AsyncResult(id, app=theirs) for id in ("a", "b")]
    celery.result.GroupResult("g", members, app=theirs).save(backend=theirs.backend)
    theirs.backend.store_result("a", 1, "SUCCESS")
    theirs.backend.store_result("b", 2, "SUCCESS")

    group = GroupResult.restore("g", app=ours)

    assert group is not None and [member.id for member in group] == ["a", "b"]
    assert group.get(timeout=10) == [1, 2]


def test_a_group_that_we_saved_is_restored_by_celery(ours: App, theirs: Any, url: str) -> None:
    GroupResult("g", [AsyncResult(id, app=ours) for id in ("a", "b")], app=ours).save()
    ours.backend.store([stored("a", "SUCCESS", 1), stored("b", "SUCCESS", 2)])

    group = celery.result.GroupResult.restore("g", backend=theirs.backend, app=theirs)

    members = group["result"] if isinstance(group, dict) else group
    assert [member.id for member in members] == ["a", "b"]
    assert [member.get(timeout=10) for member in members] == [1, 2]


def test_what_one_forgets_is_gone_for_the_other(ours: App, theirs: Any) -> None:
    ours.backend.store([stored("a", "SUCCESS", 1), stored("b", "SUCCESS", 2)])

    celery.result.AsyncResult("a", app=theirs).forget()
    ours.backend.forget(["b"])

    assert AsyncResult("a", app=ours).state == "PENDING"
    assert celery.result.AsyncResult("b", app=theirs).state == "PENDING"


@pytest.mark.parametrize("extended", [True])
@pytest.mark.parametrize("url", ["sqlite", "postgresql", "mongodb", "django-db"], indirect=True)
def test_what_result_extended_adds_is_read_both_ways(ours: App, theirs: Any, url: str) -> None:
    about = {
        "name": "proj.add",
        "args": [1, 2],
        "kwargs": {"z": 3},
        "worker": "w@h",
        "retries": 1,
        "queue": "celery",
    }
    ours.backend.store([stored("a", "SUCCESS", 6, extended=about)])
    request = celery.app.task.Context(
        id="b", task="proj.mul", args=[4], kwargs={"y": 5}, hostname="theirs@h", retries=2,
        argsrepr="(4,)", kwargsrepr="{'y': 5}", delivery_info={"routing_key": "q"},
    )  # fmt: skip
    theirs.backend.store_result("b", 20, "SUCCESS", request=request)

    a, b = celery.result.AsyncResult("a", app=theirs), AsyncResult("b", app=ours)

    shown = url == "django-db"  # its columns hold the text of arguments
    assert (a.args, a.kwargs) == (("(1, 2)", "{'z': 3}") if shown else ([1, 2], {"z": 3}))
    assert (b.args, b.kwargs) == (("(4,)", "{'y': 5}") if shown else ([4], {"y": 5}))
    assert (a.worker, b.worker) == ("w@h", "theirs@h")
    assert a.retries == 1 and a.queue == "celery"
    if not shown:
        assert (a.name, b.name, b.retries, b.queue) == ("proj.add", "proj.mul", 2, "q")


@pytest.mark.parametrize("url", ["sqlite", "postgresql", "file", "mongodb"], indirect=True)
def test_each_cleans_up_after_the_other(ours: App, theirs: Any) -> None:
    theirs.backend.store_result("a", 1, "SUCCESS")
    ours.conf.result_expires = 0.001
    assert eventually(ours.backend.expire) == 1

    ours.conf.result_expires = 86400
    ours.backend.store([stored("b", "SUCCESS", 2)])
    expires = timedelta(milliseconds=1)
    database = isinstance(theirs.backend, celery.backends.database.DatabaseBackend)
    theirs.backend.expires = expires if database else expires.total_seconds()

    def cleaned_up() -> bool:
        theirs.backend.cleanup()
        return not ours.backend.load(["b"])

    eventually(cleaned_up)


@pytest.mark.parametrize("url", ["file", "mongodb"], indirect=True)
def test_compressed_results_are_read_both_ways(ours: App, theirs: Any) -> None:
    ours.conf.result_compression = theirs.conf.result_compression = "gzip"
    text = "x" * 5000
    ours.backend.store([stored("a", "SUCCESS", text, compression="gzip")])
    theirs.backend.compression = "gzip"
    theirs.backend.store_result("b", text, "SUCCESS")

    assert celery.result.AsyncResult("a", app=theirs).get(timeout=10) == text
    assert AsyncResult("b", app=ours).get(timeout=10) == text


def test_a_saved_group_of_celery_is_in_celerys_form(ours: App, theirs: Any) -> None:
    members = [celery.result.AsyncResult(id, app=theirs) for id in ("a", "b")]
    celery.result.GroupResult("g", members, app=theirs).save(backend=theirs.backend)

    value = ours.backend.load_group("g")

    expected = {"result": [["g", None], [[["a", None], None], [["b", None], None]]]}
    assert value == codecs.encode(expected, "json")[2]
