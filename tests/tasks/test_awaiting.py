"""Results in coroutines: many waits share one thread, and a wait that ends leaves nothing."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from taskctl import App, allow_join_result
from taskctl.core import current
from taskctl.core.errors import BackendError, DecodeError, TimeoutError
from taskctl.core.tasks import lookout
from taskctl.core.tasks.context import Context
from taskctl.core.wire.outcome import StoredMeta

from ..backends.records import meta


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    url = f"memory://{request.node.name}"
    app = App("awaiting", broker=url, backend=url, set_as_current=False)
    yield app
    app.close()


def play(scene: Coroutine[Any, Any, Any]) -> Any:
    """Run a scene that must not hang."""
    return asyncio.run(asyncio.wait_for(scene, 60))


async def until(check: Callable[[], Any]) -> None:
    """Wait in a coroutine until `check` holds; `play` has the deadline."""
    while not check():
        await asyncio.sleep(0.002)


def waited_for(app: App) -> int:
    """Return for how many results the app's lookout waits."""
    found = app.__dict__.get("_lookout")
    return len(found._parties) if found is not None else 0


def test_a_result_is_awaited(app: App) -> None:
    async def scene() -> None:
        result = app.AsyncResult("a")
        waiting = asyncio.create_task(result.aget(timeout=30))
        await until(lambda: waited_for(app))
        app.backend.store([meta("a", result=42)])
        assert await waiting == 42
        assert await result == 42
        assert await app.AsyncResult("a") == 42

    play(scene())


def test_a_failure_is_raised_with_its_remote_traceback_or_returned(app: App) -> None:
    app.backend.store([meta("a", "FAILURE", ValueError("boom"), traceback="Remote traceback")])

    async def scene() -> None:
        with pytest.raises(ValueError, match="boom") as caught:
            await app.AsyncResult("a")
        assert "Remote traceback" in str(caught.value.__cause__)
        returned = await app.AsyncResult("a").aget(propagate=False)
        assert repr(returned) == "ValueError('boom')"

    play(scene())


def test_a_task_before_it_in_its_chain_that_failed_is_raised(app: App) -> None:
    parent = app.AsyncResult("first")
    result = app.AsyncResult("second", parent=parent)

    async def scene() -> None:
        waiting = asyncio.create_task(result.aget())
        await until(lambda: waited_for(app) == 2)
        app.backend.store([meta("first", "FAILURE", KeyError("gone"))])
        with pytest.raises(KeyError, match="gone"):
            await waiting
        with pytest.raises(TimeoutError):
            await result.aget(timeout=0.01, follow_parents=False)

    play(scene())


def test_a_wait_that_runs_out_says_in_what_state_the_task_is(app: App) -> None:
    app.backend.store([meta("a", "STARTED", {"pid": 1})])

    async def scene() -> None:
        with pytest.raises(TimeoutError, match=r"after 0\.2 s task a is STARTED$"):
            await app.AsyncResult("a").aget(timeout=0.2)
        with pytest.raises(TimeoutError, match="task b is PENDING; no worker has reported on it"):
            await app.AsyncResult("b").aget(timeout=0.05)
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.05):
                await app.AsyncResult("b")
        assert waited_for(app) == 0

    play(scene())


def test_a_thousand_waits_share_one_thread(app: App) -> None:
    before = threading.active_count()

    async def scene() -> None:
        waits = [asyncio.ensure_future(app.AsyncResult(f"id-{i}").aget()) for i in range(1000)]
        await until(lambda: waited_for(app) == 1000)
        assert threading.active_count() == before + 1
        for i in range(0, 1000, 50):
            app.backend.store([meta(f"id-{n}", result=n) for n in range(i, i + 50)])
        assert await asyncio.gather(*waits) == list(range(1000))

    play(scene())


def test_many_may_wait_for_one_result_and_each_has_children_of_its_own(app: App) -> None:
    children = [[["child", None], None]]

    async def scene() -> None:
        results = [app.AsyncResult("a") for _ in range(10)]
        waits = [asyncio.ensure_future(result.aget()) for result in results]
        await until(lambda: waited_for(app) == 1)
        app.backend.store([meta("a", result=1, children=children)])
        assert await asyncio.gather(*waits) == [1] * 10
        assert [result.children[0].id for result in results] == ["child"] * 10

    play(scene())


def test_a_cancelled_wait_leaves_nothing_behind(app: App) -> None:
    async def scene() -> None:
        waits = [asyncio.ensure_future(app.AsyncResult(f"id-{i}").aget()) for i in range(100)]
        other = asyncio.ensure_future(app.AsyncResult("id-0").aget())
        await until(lambda: waited_for(app) == 100)
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert list(app.__dict__["_lookout"]._parties) == ["id-0"]
        app.backend.store([meta("id-0", result=1)])
        assert await other == 1
        assert waited_for(app) == 0

    play(scene())


def test_the_thread_ends_when_nobody_has_waited_for_a_while(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_IDLE", 0.05)
    app.backend.store([meta("a", result=1), meta("b", result=2)])

    async def scene() -> None:
        assert await app.AsyncResult("a") == 1
        thread = app.__dict__["_lookout"]._thread
        await until(lambda: not thread.is_alive())
        assert await app.AsyncResult("b") == 2

    play(scene())


def test_a_loop_that_was_closed_in_the_middle_is_forgotten(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_IDLE", 0.05)
    loop = asyncio.new_event_loop()
    task = loop.create_task(app.AsyncResult("never").aget())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()

    async def scene() -> None:
        await until(lambda: waited_for(app) == 0)
        app.backend.store([meta("a", result=1)])
        assert await app.AsyncResult("a") == 1

    play(scene())
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    task.get_coro().close()  # type: ignore[union-attr]


def test_several_loops_wait_at_once(app: App) -> None:
    values: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda i=i: values.append(play(app.AsyncResult(f"id-{i}").aget(timeout=30)))
        )
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    while waited_for(app) < 4:
        time.sleep(0.002)

    app.backend.store([meta(f"id-{i}", result=i) for i in range(4)])

    for thread in threads:
        thread.join(30)
    assert sorted(values) == [0, 1, 2, 3]


def test_results_of_a_group_come_in_the_order_of_completion(app: App) -> None:
    results = app.GroupResult("g", [app.AsyncResult(name) for name in "abc"])

    async def scene() -> None:
        app.backend.store([meta("c", result=3)])
        came = []
        async for result in results:
            came.append((result.id, result.state, result.result))
            if result.id == "c":
                app.backend.store([meta("a", "FAILURE", ValueError("boom"))])
            if result.id == "a":
                app.backend.store([meta("b", result=2)])
        assert [one[:2] for one in came] == [("c", "SUCCESS"), ("a", "FAILURE"), ("b", "SUCCESS")]
        assert came[2][2] == 2

    play(scene())


def test_a_loop_over_results_that_is_left_early_leaves_nothing_behind(app: App) -> None:
    app.backend.store([meta("a", result=1)])
    results = app.GroupResult("g", [app.AsyncResult(name) for name in "abc"])

    async def scene() -> None:
        async for result in results:
            assert result.id == "a"
            break
        await until(lambda: waited_for(app) == 0)
        with pytest.raises(TimeoutError, match="task b is PENDING"):
            async for result in results.as_completed(timeout=0.05):
                assert result.id == "a"

    play(scene())


def test_all_values_of_a_group_are_awaited_in_its_order(app: App) -> None:
    inner = app.GroupResult("inner", [app.AsyncResult("b"), app.AsyncResult("c")])
    results = app.GroupResult("g", [app.AsyncResult("a"), inner])

    async def scene() -> None:
        app.backend.store([meta(name, result=name) for name in "cba"])
        assert await results == ["a", ["b", "c"]]
        assert await results.aget(timeout=1) == ["a", ["b", "c"]]
        assert await results.aready()
        assert await results.acompleted_count() == 3
        assert await app.GroupResult("empty", []) == []

    play(scene())


def test_the_first_failure_of_a_group_is_raised_at_once(app: App) -> None:
    app.backend.store([meta("b", "FAILURE", ValueError("boom"))])
    results = app.GroupResult("g", [app.AsyncResult(name) for name in "ab"])

    async def scene() -> None:
        with pytest.raises(ValueError, match="boom"):
            await results
        app.backend.store([meta("a", result=1)])
        assert repr(await results.aget(propagate=False)) == "[1, ValueError('boom')]"

    play(scene())


def test_questions_of_coroutines_are_asked_in_a_thread(app: App) -> None:
    app.backend.store([meta("a", "PROGRESS", {"done": 3})])

    async def scene() -> None:
        result = app.AsyncResult("a")
        assert await result.astate() == "PROGRESS"
        assert await result.ainfo() == {"done": 3}
        assert not await result.aready()
        app.backend.store([meta("a", result=4)])
        assert await result.aready()
        await result.aforget()
        assert await result.astate() == "PENDING"

    play(scene())


def test_a_result_nobody_asked_for_is_none(app: App) -> None:
    result = app.AsyncResult("a")
    result.ignored = True

    async def scene() -> None:
        assert await result is None
        assert await app.GroupResult("g", [result]) == [None]

    play(scene())


def test_a_task_may_not_await_another_unless_it_is_allowed(app: App) -> None:
    app.backend.store([meta("a", result=1)])
    task = app.task(name="outer", shared=False)(lambda: None)
    request = Context({"id": "outer-id", "called_directly": False, "is_eager": False})

    async def scene() -> None:
        current.push_task(task, request)
        with pytest.raises(RuntimeError, match="outer waits for a result inside a task"):
            await app.AsyncResult("a")
        with pytest.raises(RuntimeError, match="outer waits"):
            await app.GroupResult("g", [app.AsyncResult("a")])
        with allow_join_result():
            assert await app.AsyncResult("a") == 1
        assert await app.AsyncResult("a").aget(disable_sync_subtasks=False) == 1

    play(scene())


def test_a_result_that_cannot_be_read_is_told_to_whoever_awaits_it(app: App) -> None:
    app.backend.store(
        [StoredMeta(task_id="a", state="SUCCESS", meta=b"{no json"), meta("b", result=2)]
    )

    async def scene() -> None:
        with pytest.raises(DecodeError, match="the result of task a in memory://"):
            await app.AsyncResult("a")
        assert await app.AsyncResult("b") == 2

    play(scene())


def test_without_a_result_backend_the_wait_says_what_to_set() -> None:
    app = App("none", broker="redis://localhost:1/0", set_as_current=False)

    with app, pytest.raises(BackendError, match="no result backend is configured: set result_"):
        play(app.AsyncResult("a").aget(timeout=30))


def test_an_eager_result_is_awaited_too(app: App) -> None:
    task = app.task(name="double", shared=False)(lambda x: 2 * x)

    async def scene() -> None:
        assert await task.apply((4,)) == 8
        assert await task.apply((4,)).aget(timeout=1) == 8

    play(scene())


def test_a_result_is_awaitable_and_no_coroutine(app: App) -> None:
    result = app.AsyncResult("a")

    assert inspect.isawaitable(result)
    assert not inspect.iscoroutine(result)
