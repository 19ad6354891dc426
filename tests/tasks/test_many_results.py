"""Large sets of results, results that cannot be read, and saved groups, on a backend in memory."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest

from taskctl import App
from taskctl.core.backends.base import Backend
from taskctl.core.errors import (
    ContentDisallowed,
    DecodeError,
    IncompleteStream,
    SecurityError,
    TimeoutError,
)
from taskctl.core.tasks.result import AsyncResult, GroupResult, ResultSet
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import COMPRESSED_MARKER, encode_meta


@pytest.fixture
def app() -> Iterator[App]:
    app = App("many", broker="memory://", backend=f"memory://{uuid4()}", set_as_current=False)
    yield app
    app.close()


def keep(app: App, task_id: str, data: bytes, state: str = "SUCCESS") -> None:
    app.backend.store([StoredMeta(task_id=task_id, state=state, meta=data)])


def finish(app: App, task_id: str, result: Any = None, state: str = "SUCCESS") -> None:
    keep(app, task_id, encode_meta(task_id=task_id, state=state, result=result), state)


def members(app: App, count: int) -> list[AsyncResult]:
    return [AsyncResult(f"t{n}", app=app) for n in range(count)]


# --- large sets -------------------------------------------------------------------------------


def test_five_thousand_results_are_asked_for_in_bounded_portions(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    cls = type(app.backend)
    load, wait = cls.load, cls.wait

    def counted_load(self: Backend, ids: Sequence[str]) -> dict[str, bytes]:
        asked.append(len(ids))
        return load(self, ids)

    def counted_wait(self: Backend, ids: Sequence[str], *more: Any) -> dict[str, bytes]:
        asked.append(len(ids))
        return wait(self, ids, *more)

    monkeypatch.setattr(cls, "load", counted_load)
    monkeypatch.setattr(cls, "wait", counted_wait)
    for n in range(2500):
        finish(app, f"t{n}", n)

    def finish_the_rest() -> None:
        for n in range(2500, 5000, 50):
            batch = [
                StoredMeta(
                    task_id=f"t{i}",
                    state="SUCCESS",
                    meta=encode_meta(task_id=f"t{i}", state="SUCCESS", result=i),
                )
                for i in range(n, n + 50)
            ]
            app.backend.store(batch)

    thread = threading.Thread(target=finish_the_rest)
    thread.start()
    values = ResultSet(members(app, 5000), app=app).get(timeout=60)
    thread.join()

    assert values == list(range(5000))
    assert max(asked) <= 500
    assert len(asked) < 200


def test_a_failure_far_behind_in_a_large_set_is_not_missed_for_long(app: App) -> None:
    results = ResultSet(members(app, 2000), app=app)
    timer = threading.Timer(0.1, finish, (app, "t1999", ValueError("late"), "FAILURE"))
    timer.start()

    with pytest.raises(ValueError, match="late"):
        results.get(timeout=60)

    timer.join()


def test_a_large_set_that_is_not_ready_in_time_says_how_many_are_missing(app: App) -> None:
    for n in range(700):
        finish(app, f"t{n}")
    began = time.monotonic()

    with pytest.raises(TimeoutError, match=r"task t700 is PENDING.*\(and 799 more\)"):
        ResultSet(members(app, 1500), app=app).get(timeout=0.2)

    assert time.monotonic() - began < 10


def test_many_are_got_from_the_backend_as_they_become_ready(app: App) -> None:
    finish(app, "b", 2)
    timer = threading.Timer(0.05, finish, (app, "a", 1))
    timer.start()
    heard: list[Any] = []

    found = dict(app.backend.get_many(["a", "b"], timeout=30, on_message=heard.append))

    timer.join()
    assert {task_id: meta["result"] for task_id, meta in found.items()} == {"a": 1, "b": 2}
    assert heard == list(found.values())
    assert dict(app.backend.get_many(["c"], interval=0.01, max_iterations=3)) == {}


# --- what cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (b"\xff\x00 not a meta", DecodeError, "stored result cannot be read"),
        (b"[1, 2]", DecodeError, "has no status"),
        (b'{"result": 1}', DecodeError, "has no status"),
        (COMPRESSED_MARKER + b"application/x-gzip\0garbage", DecodeError, "decompress"),
        (COMPRESSED_MARKER + b"application/x-nothing\0garbage", DecodeError, "x-nothing"),
        (
            encode_meta(task_id="a", state="SUCCESS", result=1, serializer="pickle"),
            ContentDisallowed,
            "application/x-python-serialize: not in result_accept_content",
        ),
        (
            b'{"status": "FAILURE", "result":'
            b' {"exc_type": "system", "exc_module": "os", "exc_message": ["true"]}}',
            SecurityError,
            "os.system is not an exception class",
        ),
    ],
)
def test_what_cannot_be_read_names_task_backend_and_reason(
    app: App, data: bytes, error: type[Exception], reason: str
) -> None:
    keep(app, "a", data)
    result = AsyncResult("a", app=app)

    for ask in (lambda: result.get(timeout=5), lambda: result.state, result.ready):
        with pytest.raises(error) as caught:
            ask()
        text = str(caught.value)
        assert text.startswith(f"the result of task a in {app.backend.url} cannot be read: ")
        assert reason in text
        assert "\n" not in text
    result.forget()
    assert result.state == "PENDING"


def test_a_pickle_is_read_where_it_is_accepted(app: App) -> None:
    app.conf.result_accept_content = ["json", "pickle"]
    keep(app, "a", encode_meta(task_id="a", state="SUCCESS", result={1}, serializer="pickle"))

    assert AsyncResult("a", app=app).get(timeout=5) == {1}


def test_what_the_own_serializer_writes_is_refused_too_unless_it_is_accepted(app: App) -> None:
    app.conf.result_serializer = "pickle"
    keep(app, "a", encode_meta(task_id="a", state="SUCCESS", result=1, serializer="pickle"))

    with pytest.raises(ContentDisallowed, match="result_accept_content"):
        AsyncResult("a", app=app).get(timeout=5)


# --- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_saved_group_is_read_with_any_setting_of_compression(
    app: App, compression: str | None
) -> None:
    app.conf.result_compression = compression
    group = GroupResult("g", members(app, 3), app=app)
    group.save()
    app.conf.result_compression = None

    restored = GroupResult.restore("g", app=app)

    assert restored == group
    saved = app.backend.load_group("g")
    assert saved is not None
    assert saved.startswith(COMPRESSED_MARKER) == (compression is not None)
    group.delete()
    assert GroupResult.restore("g", app=app) is None


@pytest.mark.parametrize("data", [b"\xff", b'{"result": 5}', b'{"other": []}', b"null"])
def test_a_saved_group_that_cannot_be_read_names_group_and_backend(app: App, data: bytes) -> None:
    app.backend.store_group("g", data)

    with pytest.raises(DecodeError, match=r"the group g saved in memory://.* cannot be read: "):
        GroupResult.restore("g", app=app)


# --- the tree ---------------------------------------------------------------------------------


def test_a_result_and_its_children_make_a_graph(app: App) -> None:
    def children(*ids: str) -> list[Any]:
        return [[[task_id, None], None] for task_id in ids]

    for task_id, made in {"a": ("b", "c"), "b": ("d",), "c": (), "d": ()}.items():
        data = encode_meta(
            task_id=task_id, state="SUCCESS", result=task_id, children=children(*made)
        )
        keep(app, task_id, data)

    graph = AsyncResult("a", app=app).graph

    assert {str(node): [str(one) for one in made] for node, made in graph.items()} == {
        "a": ["b", "c"],
        "b": ["d"],
        "c": [],
        "d": [],
    }
    assert [str(node) for node in graph.topsort()] == ["d", "b", "c", "a"]
    assert {str(node) for node in graph.edges()} == {"a", "b"}
    out = io.StringIO()
    graph.to_dot(out)
    assert '    "a" -> "b"\n' in out.getvalue()


def test_a_graph_of_what_is_not_ready_needs_leave_to_be_incomplete(app: App) -> None:
    with pytest.raises(IncompleteStream):
        _ = AsyncResult("nobody", app=app).graph

    assert len(AsyncResult("nobody", app=app).build_graph(intermediate=True)) == 1
