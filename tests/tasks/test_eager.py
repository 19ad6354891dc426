"""Tasks that run at once, where they are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskctl.core import current
from taskctl.core.app import App
from taskctl.core.errors import EncodeError, Ignore, Retry
from taskctl.core.tasks.canvas import chain, group
from taskctl.core.tasks.result import EagerResult


@pytest.fixture
def app() -> Iterator[App]:
    name = str(uuid4())
    app = App("proj", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def eager(app: App) -> App:
    app.conf.task_always_eager = True
    return app


def test_apply_runs_at_once(app: App) -> None:
    @app.task(bind=True)
    def add(self: Any, x: int, y: int) -> list[Any]:
        return [x + y, self.request.is_eager, self.request.id, self.request.called_directly]

    result = add.apply((2, 3), task_id="id-1")

    assert isinstance(result, EagerResult)
    assert result.get() == [5, True, "id-1", False]
    assert (result.state, result.successful(), result.name) == ("SUCCESS", True, add.name)
    assert current.current_task() is None


def test_a_failure_is_kept_in_the_result_unless_thrown(app: App) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("bad")

    result = boom.apply()

    assert (result.state, result.failed()) == ("FAILURE", True)
    assert "in boom" in (result.traceback or "")
    with pytest.raises(ValueError, match="bad"):
        result.get()
    with pytest.raises(ValueError, match="bad"):
        boom.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="bad"):
        boom.apply()


def test_retries_run_at_once_until_they_are_used_up(app: App) -> None:
    tries: list[int] = []

    @app.task(bind=True, max_retries=3)
    def flaky(self: Any, good_at: int) -> str:
        tries.append(self.request.retries)
        if self.request.retries < good_at:
            raise self.retry(exc=ValueError("again"), countdown=60)
        return "done"

    assert flaky.apply((2,)).get() == "done"
    assert tries == [0, 1, 2]
    with pytest.raises(ValueError, match="again"):
        flaky.apply((9,)).get()


def test_an_ignored_run_has_no_value(app: App) -> None:
    @app.task
    def skip() -> None:
        raise Ignore

    result = skip.apply()

    assert (result.state, result.get()) == ("IGNORED", None)


def test_links_run_inline_with_the_value(app: App) -> None:
    seen: list[Any] = []

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def note(value: Any) -> None:
        seen.append(value)

    @app.task
    def boom() -> None:
        raise ValueError("bad")

    add.apply((1, 2), link=[note.s(), note.si("fixed")])
    boom.apply(link_error=note.s(), task_id="failed-1")

    assert seen == [3, "fixed", "failed-1"]


def test_always_eager_runs_calls_and_compositions_inline(eager: App) -> None:
    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add.delay(2, 2).get() == 4
    assert chain(add.s(1, 1), add.s(10), app=eager).apply_async().get() == 12
    assert group([add.s(i, i) for i in range(3)], app=eager).apply_async().get() == [0, 2, 4]


def test_a_nested_eager_call_may_be_waited_for(eager: App) -> None:
    @eager.task
    def inner() -> int:
        return 1

    @eager.task
    def outer() -> int:
        return inner.delay().get() + 1  # type: ignore[no-any-return]

    assert outer.delay().get() == 2


def test_always_eager_sends_arguments_through_the_serializer(eager: App) -> None:
    @eager.task
    def kind(value: Any) -> str:
        return type(value).__name__

    assert kind.delay((1, 2)).get() == "list"
    with pytest.raises(EncodeError):
        kind.delay(object())


def test_eager_results_are_stored_only_when_asked(app: App) -> None:
    @app.task
    def one() -> int:
        return 1

    @app.task(store_eager_result=True)
    def kept() -> int:
        return 2

    one.apply(task_id="one")
    kept.apply(task_id="kept")

    assert app.AsyncResult("one").state == "PENDING"
    assert app.AsyncResult("kept").get(timeout=1) == 2


def test_an_eager_failure_in_a_chain_marks_nothing_in_the_backend(app: App) -> None:
    @app.task
    def boom() -> None:
        raise ValueError("bad")

    boom.apply(chain=[{"task": boom.name, "options": {"task_id": "next"}}])

    assert app.AsyncResult("next").state == "PENDING"


def test_a_bare_retry_is_a_state_of_its_own(app: App) -> None:
    @app.task
    def bare() -> None:
        raise Retry("later")

    assert bare.apply().state == "RETRY"


# --- built-in tasks ---------------------------------------------------------------------------


def test_the_built_in_tasks_are_registered_under_celerys_names(app: App) -> None:
    app.finalize()

    ours = {name for name in app.tasks if name.startswith("celery.")}
    assert ours - {"celery.ping"} == {  # which contrib.testing shares, once it is imported
        "celery.accumulate",
        "celery.backend_cleanup",
        "celery.chain",
        "celery.chord",
        "celery.chord_unlock",
        "celery.chunks",
        "celery.group",
        "celery.map",
        "celery.starmap",
    }


def test_map_and_starmap_call_the_task_for_each_item(app: App) -> None:
    @app.task
    def double(x: int) -> int:
        return x * 2

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    app.finalize()

    assert app.tasks["celery.map"](dict(double.s()), [1, 2]) == [2, 4]
    assert app.tasks["celery.starmap"](dict(add.s()), [[1, 2], [3, 4]]) == [3, 7]


def test_accumulate_returns_its_arguments_or_one(app: App) -> None:
    app.finalize()
    accumulate = app.tasks["celery.accumulate"]

    assert list(accumulate(1, 2)) == [1, 2]
    assert accumulate(1, 2, index=1) == 2


def test_chunks_and_chain_and_group_run_their_signatures(eager: App) -> None:
    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    seen: list[int] = []

    @eager.task
    def note(x: int) -> None:
        seen.append(x)

    tasks = eager.tasks

    assert tasks["celery.chain"](1, tasks=[dict(add.s(1)), dict(add.s(5))]).get() == 7
    tasks["celery.group"]([dict(note.s(1)), dict(note.s(2))])
    assert seen == [1, 2]


def test_backend_cleanup_drops_what_has_expired(app: App) -> None:
    app.finalize()

    assert app.tasks["celery.backend_cleanup"]() == 0
