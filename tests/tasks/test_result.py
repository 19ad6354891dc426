"""Result objects: what a caller sees of tasks that run elsewhere."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from taskctl.core import current
from taskctl.core.backends.base import Backend
from taskctl.core.backends.disabled import DisabledBackend
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.backends.sqlite import SqliteBackend
from taskctl.core.clock import parse_iso8601
from taskctl.core.errors import BackendError, IncompleteStream, TaskRevokedError, TimeoutError
from taskctl.core.tasks.context import Context
from taskctl.core.tasks.joining import RemoteTraceback
from taskctl.core.tasks.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultSet,
    allow_join_result,
    denied_join_result,
    result_from_tuple,
)
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import encode_meta

from ..support.waiting import eventually


class Counting(MemoryBackend):
    """Counts the trips made to it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.loads: list[int] = []
        self.waits = 0

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        self.loads.append(len(task_ids))
        return super().load(task_ids)

    def wait(self, task_ids: Any, deadline: Any, known: Any = None) -> dict[str, bytes]:
        self.waits += 1
        return super().wait(task_ids, deadline, known)


class FakeApp:
    """What result objects ask of an app: settings, backend, control."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.conf = SimpleNamespace(
            result_serializer="json",
            result_accept_content=None,
            result_compression=None,
            accept_content=("json",),
        )
        self.revoked: list[Any] = []
        self.control = SimpleNamespace(revoke=self._revoke)

    def _revoke(self, ids: Any, **options: Any) -> None:
        self.revoked.append((ids, options))


@pytest.fixture
def app() -> FakeApp:
    return FakeApp(Counting(f"memory://{uuid4()}"))


@pytest.fixture(autouse=True)
def current_app(app: FakeApp) -> Iterator[None]:
    before = current.get_app(make=False)
    current.set_app(app)
    yield
    current.set_app(before)


def store(app: FakeApp, task_id: str, state: str, result: Any = None, **more: Any) -> None:
    meta = encode_meta(task_id=task_id, state=state, result=result, **more)
    app.backend.store([StoredMeta(task_id=task_id, state=state, meta=meta)])


def later(action: Any, *args: Any, **named: Any) -> threading.Timer:
    timer = threading.Timer(0.05, action, args, named)
    timer.start()
    return timer


# --- one result -----------------------------------------------------------------------------


def test_an_unknown_id_is_pending(app: FakeApp) -> None:
    result = AsyncResult("a")

    assert (result.state, result.result, result.ready(), result.exists()) == (
        "PENDING",
        None,
        False,
        False,
    )


def test_a_stored_result_is_read_and_kept(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 42)
    result = AsyncResult("a")

    assert (result.get(), result.state, result.successful(), result.failed()) == (
        42,
        "SUCCESS",
        True,
        False,
    )
    assert app.backend.loads == [1]  # type: ignore[attr-defined]


def test_get_waits_for_a_result_that_comes_later(app: FakeApp) -> None:
    later(store, app, "a", "SUCCESS", "here")

    assert AsyncResult("a").get(timeout=10) == "here"
    assert app.backend.waits <= 2  # type: ignore[attr-defined]


def test_get_waits_on_while_the_task_is_only_started(app: FakeApp) -> None:
    store(app, "a", "STARTED", {"pid": 1})
    later(store, app, "a", "SUCCESS", 1)

    assert AsyncResult("a").get(timeout=10) == 1
    assert app.backend.waits <= 2  # type: ignore[attr-defined]


def test_a_timeout_says_which_task_and_in_what_state_it_is(app: FakeApp) -> None:
    store(app, "a", "STARTED", {})

    with pytest.raises(TimeoutError, match=r"timed out: after 0\.01 s task a is STARTED"):
        AsyncResult("a").get(timeout=0.01)
    with pytest.raises(TimeoutError, match="b is PENDING; no worker has reported on it"):
        AsyncResult("b").get(timeout=0)
    with pytest.raises(AsyncResult.TimeoutError):
        AsyncResult("b").get(timeout=0)


def test_a_failure_is_raised_as_itself_with_the_workers_traceback(app: FakeApp) -> None:
    store(app, "a", "FAILURE", KeyError("x", 1), traceback="Traceback: in the worker")
    result = AsyncResult("a")

    with pytest.raises(KeyError) as caught:
        result.get()

    assert caught.value.args == ("x", 1)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in the worker" in str(caught.value.__cause__)
    assert result.traceback == "Traceback: in the worker"
    assert result.failed()


def test_without_propagate_the_exception_is_returned(app: FakeApp) -> None:
    store(app, "a", "FAILURE", ValueError("bad"))

    value = AsyncResult("a").get(propagate=False)

    assert isinstance(value, ValueError)
    assert value.args == ("bad",)


def test_a_revoked_task_raises(app: FakeApp) -> None:
    store(app, "a", "REVOKED", TaskRevokedError("expired"))

    with pytest.raises(TaskRevokedError, match="expired"):
        AsyncResult("a").get()


def test_the_failure_of_a_parent_is_raised_by_its_child(app: FakeApp) -> None:
    first = AsyncResult("first")
    last = AsyncResult("last", parent=AsyncResult("middle", parent=first))
    later(store, app, "first", "FAILURE", ValueError("early"))

    with pytest.raises(ValueError, match="early"):
        last.get(timeout=10)


def test_the_failure_of_a_parent_is_passed_over_when_not_asked_for(app: FakeApp) -> None:
    store(app, "first", "FAILURE", ValueError("early"))
    store(app, "last", "SUCCESS", 1)

    assert AsyncResult("last", parent=AsyncResult("first")).get(follow_parents=False) == 1


def test_callbacks_get_the_value(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 7)
    seen: list[Any] = []
    result = AsyncResult("a")
    result.then(lambda r: seen.append(("then", r.id)))

    result.get(
        callback=lambda task_id, value: seen.append((task_id, value)),
        on_message=lambda meta: seen.append(("meta", meta["status"])),
    )

    assert seen == [("then", "a"), ("meta", "SUCCESS"), ("a", 7)]


def test_then_calls_on_error_with_the_exception(app: FakeApp) -> None:
    store(app, "a", "FAILURE", ValueError("bad"))
    seen: list[Any] = []

    AsyncResult("a").then(seen.append, on_error=lambda e: seen.append(e.args)).ready()

    assert seen == [("bad",)]


def test_on_interval_is_called_while_waiting(app: FakeApp) -> None:
    calls: list[int] = []

    with pytest.raises(TimeoutError):
        AsyncResult("a").get(timeout=0.1, interval=0.01, on_interval=lambda: calls.append(1))

    assert len(calls) >= 3


def test_the_interval_paces_a_backend_that_polls() -> None:
    class Polling(MemoryBackend):
        wait = Backend.wait
        looks = 0

        def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
            self.looks += 1
            return super().load(task_ids)

    backend = Polling(f"memory://{uuid4()}")

    with pytest.raises(TimeoutError):
        AsyncResult("a", app=FakeApp(backend)).get(timeout=0.2, interval=0.1)

    assert backend.looks <= 5


def test_an_ignored_result_is_none_at_once(app: FakeApp) -> None:
    result = AsyncResult("a")
    result.ignored = True

    assert result.get(timeout=None) is None
    assert app.backend.loads == []  # type: ignore[attr-defined]


def test_without_a_backend_the_error_says_what_to_set() -> None:
    app = FakeApp(DisabledBackend("disabled://"))

    with pytest.raises(BackendError, match="set result_backend"):
        AsyncResult("a", app=app).get(timeout=1)


def test_details_of_an_extended_result_can_be_read(app: FakeApp) -> None:
    extended = {
        "name": "proj.add",
        "args": [1],
        "kwargs": {"z": 2},
        "worker": "w1@h",
        "retries": 1,
        "queue": "hipri",
    }
    when = parse_iso8601("2026-11-22T06:34:34.284793+00:00")
    store(app, "a", "SUCCESS", 1, extended=extended, date_done=when)
    result = AsyncResult("a")

    assert (result.name, result.args, result.kwargs) == ("proj.add", [1], {"z": 2})
    assert (result.worker, result.retries, result.queue) == ("w1@h", 1, "hipri")
    assert result.date_done == when


def test_forget_removes_the_chain(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)
    store(app, "b", "SUCCESS", 2)
    result = AsyncResult("b", parent=AsyncResult("a"))
    result.get()

    result.forget()

    assert (result.state, AsyncResult("a").state) == ("PENDING", "PENDING")


def test_revoke_asks_the_workers(app: FakeApp) -> None:
    AsyncResult("a").revoke(terminate=True, signal="SIGKILL")
    AsyncResult("b").revoke(wait=True, timeout=2)

    assert app.revoked == [
        ("a", {"terminate": True, "reply": False, "signal": "SIGKILL"}),
        ("b", {"terminate": False, "reply": True, "timeout": 2}),
    ]


def test_collect_follows_the_children(app: FakeApp) -> None:
    store(app, "root", "SUCCESS", "r", children=[[["kid", None], None]])
    store(app, "kid", "SUCCESS", "k", children=[[["g", None], [[["x", None], None]]]])
    store(app, "x", "SUCCESS", "leaf")
    result = AsyncResult("root")

    collected = [(node.id, value) for node, value in result.collect()]

    assert collected == [("root", "r"), ("kid", "k"), ("g", ["leaf"]), ("x", "leaf")]
    assert result.get_leaf() == "leaf"


def test_collect_stops_at_what_is_not_ready(app: FakeApp) -> None:
    with pytest.raises(IncompleteStream, match="a is not ready"):
        list(AsyncResult("a").iterdeps())
    assert len(list(AsyncResult("a").iterdeps(intermediate=True))) == 1


def test_results_compare_hash_and_print_by_id() -> None:
    result = AsyncResult("a")

    assert result == AsyncResult("a") == "a"
    assert result != AsyncResult("b")
    assert (str(result), repr(result), len({result, AsyncResult("a")})) == (
        "a",
        "<AsyncResult: a>",
        1,
    )
    with pytest.raises(ValueError, match="got None"):
        AsyncResult(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, lambda r: pickle.loads(pickle.dumps(r))], ids=["copy", "pickle"]
)
def test_results_survive_copy_and_pickle(duplicate: Any) -> None:
    result = AsyncResult("b", parent=AsyncResult("a"))

    twin = duplicate(result)

    assert twin == result
    assert twin.parent == result.parent
    assert twin.as_list() == ["b", "a"]


def test_tuples_make_the_same_results_again() -> None:
    group = GroupResult("g", [AsyncResult("a"), AsyncResult("b")], parent=AsyncResult("p"))

    assert group.as_tuple() == (
        ("g", (("p", None), None)),
        [(("a", None), None), (("b", None), None)],
    )
    assert result_from_tuple(group.as_tuple()) == group
    assert result_from_tuple([["a", [["p", None], None]], None]).parent == "p"
    assert result_from_tuple(group) is group


# --- inside a task --------------------------------------------------------------------------


@pytest.fixture
def inside_a_task() -> Iterator[None]:
    current.push_task(SimpleNamespace(name="proj.parent"), Context({"called_directly": False}))
    yield
    current.pop_task()


@pytest.mark.usefixtures("inside_a_task")
def test_waiting_inside_a_task_is_refused_unless_allowed(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)

    with pytest.raises(RuntimeError, match=r"proj\.parent waits for a result inside a task"):
        AsyncResult("a").get()
    with pytest.raises(RuntimeError):
        GroupResult("g", [AsyncResult("a")]).get()
    with allow_join_result():
        assert AsyncResult("a").get() == 1
    assert AsyncResult("a").get(disable_sync_subtasks=False) == 1


def test_waiting_can_be_denied_anywhere(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)

    with denied_join_result(), pytest.raises(RuntimeError):
        AsyncResult("a").get()
    assert AsyncResult("a").get() == 1


# --- several --------------------------------------------------------------------------------


def test_a_group_returns_its_values_in_order(app: FakeApp) -> None:
    for number in (2, 0, 1):
        store(app, f"t{number}", "SUCCESS", number * 10)
    group = GroupResult("g", [AsyncResult(f"t{n}") for n in range(3)])

    assert group.get() == group.join() == group.join_native() == [0, 10, 20]
    assert (group.ready(), group.successful(), group.failed(), group.waiting()) == (
        True,
        True,
        False,
        False,
    )
    assert group.completed_count() == 3


def test_a_thousand_results_are_a_few_trips(app: FakeApp) -> None:
    def finish() -> None:
        metas = [
            StoredMeta(
                task_id=f"t{n}",
                state="SUCCESS",
                meta=encode_meta(task_id=f"t{n}", state="SUCCESS", result=n),
            )
            for n in range(1000)
        ]
        app.backend.store(metas)

    later(finish)
    group = GroupResult("g", [AsyncResult(f"t{n}") for n in range(1000)])

    assert group.get(timeout=10) == list(range(1000))
    assert app.backend.loads == [200] * 5  # type: ignore[attr-defined]
    assert app.backend.waits <= 2  # type: ignore[attr-defined]


def test_a_group_raises_a_failure_without_waiting_for_the_rest(app: FakeApp) -> None:
    group = GroupResult("g", [AsyncResult("a"), AsyncResult("b"), AsyncResult("c")])
    store(app, "b", "FAILURE", ValueError("second"))

    with pytest.raises(ValueError, match="second"):
        group.get(timeout=10)

    assert group.failed()
    assert group.waiting()


def test_a_group_without_propagate_returns_exceptions_among_values(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)
    store(app, "b", "FAILURE", ValueError("second"))

    values = GroupResult("g", [AsyncResult("a"), AsyncResult("b")]).get(propagate=False)

    assert values[0] == 1
    assert values[1].args == ("second",)


def test_a_group_times_out_once_for_all(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)
    group = GroupResult("g", [AsyncResult(name) for name in "abc"])

    with pytest.raises(TimeoutError, match=r"b is PENDING.* \(and 1 more\)"):
        group.get(timeout=0.05)


def test_a_group_hands_values_to_a_callback_as_they_come(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)
    store(app, "b", "SUCCESS", 2)
    seen: dict[str, int] = {}

    assert (
        GroupResult("g", [AsyncResult("a"), AsyncResult("b")]).get(callback=seen.__setitem__) == []
    )
    assert seen == {"a": 1, "b": 2}


def test_groups_nest(app: FakeApp) -> None:
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        store(app, name, "SUCCESS", value)
    inner = GroupResult("inner", [AsyncResult("b"), AsyncResult("c")])

    assert GroupResult("outer", [AsyncResult("a"), inner]).get() == [1, [2, 3]]


def test_the_failure_before_a_group_is_raised_by_the_group(app: FakeApp) -> None:
    store(app, "first", "FAILURE", ValueError("early"))
    group = GroupResult("g", [AsyncResult("a")], parent=AsyncResult("first"))

    with pytest.raises(ValueError, match="early"):
        group.get(timeout=10)


def test_an_empty_group_has_nothing_to_wait_for(app: FakeApp) -> None:
    assert GroupResult("g", []).get() == []
    assert GroupResult("g", []).ready()


def test_a_group_can_be_saved_restored_and_deleted(app: FakeApp) -> None:
    group = GroupResult("g", [AsyncResult("a"), AsyncResult("b")])

    group.save()

    assert GroupResult.restore("g") == group
    group.delete()
    assert GroupResult.restore("g") is None


def test_a_group_saved_by_celery_can_be_restored(app: FakeApp) -> None:
    app.backend.store_group("g", b'{"result": [["g", null], [[["a", null], null]]]}')

    restored = GroupResult.restore("g")

    assert restored is not None
    assert restored.results == ["a"]


def test_members_can_be_added_and_removed() -> None:
    results = ResultSet([AsyncResult("a")])

    results.add(AsyncResult("b"))
    results.add(AsyncResult("b"))
    results.update([AsyncResult("c")])
    results.remove("a")
    results.discard("nobody")

    assert results.results == ["b", "c"]
    assert results[0] == "b"
    assert repr(results) == "<ResultSet: [b, c]>"
    with pytest.raises(KeyError):
        results.remove("a")
    results.clear()
    assert len(results) == 0


def test_a_group_is_revoked_and_forgotten_as_one(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)
    group = GroupResult("g", [AsyncResult("a"), AsyncResult("b")])

    group.revoke()
    group.forget()

    assert app.revoked == [(["a", "b"], {"terminate": False, "reply": False})]
    assert group[0].state == "PENDING"
    assert repr(group) == "<GroupResult: g [a, b]>"


def test_iterating_over_arrivals_gives_id_and_meta(app: FakeApp) -> None:
    store(app, "a", "SUCCESS", 1)

    arrived = list(ResultSet([AsyncResult("a")]).iter_native())

    assert [(task_id, meta["result"]) for task_id, meta in arrived] == [("a", 1)]


# --- eager ----------------------------------------------------------------------------------


def test_an_eager_result_knows_everything() -> None:
    result = EagerResult("a", 3, "SUCCESS", name="proj.add")

    assert (result.get(), result.state, result.name, result.ready()) == (
        3,
        "SUCCESS",
        "proj.add",
        True,
    )
    assert repr(result) == "<EagerResult: a>"
    assert copy.copy(result).get() == pickle.loads(pickle.dumps(result)).get() == 3


def test_an_eager_failure_is_raised_or_returned() -> None:
    error = ValueError("bad")
    result = EagerResult("a", error, "FAILURE", traceback="text")

    with pytest.raises(ValueError, match="bad"):
        result.get()
    assert result.get(propagate=False) is error


def test_an_eager_result_can_be_revoked() -> None:
    result = EagerResult("a", 3, "SUCCESS")

    result.revoke()

    with pytest.raises(TaskRevokedError):
        result.get()


def test_a_group_of_eager_results_needs_no_backend() -> None:
    app = FakeApp(DisabledBackend("disabled://"))
    group = GroupResult(
        "g", [EagerResult("a", 1, "SUCCESS"), EagerResult("b", 2, "SUCCESS")], app=app
    )

    assert group.get() == [1, 2]
    assert group.successful()


# --- on a real file -------------------------------------------------------------------------


def test_a_result_written_by_another_connection_arrives(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    here, there = FakeApp(SqliteBackend(url)), FakeApp(SqliteBackend(url))
    here.backend.open()
    there.backend.open()
    results: list[Any] = []
    waiter = threading.Thread(
        target=lambda: results.append(AsyncResult("a", app=here).get(timeout=20))
    )
    waiter.start()

    store(there, "a", "SUCCESS", "over there")

    eventually(lambda: results == ["over there"])
    waiter.join()
    here.backend.close()
    there.backend.close()
