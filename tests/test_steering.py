"""Coroutines met in plain code, and limits that reach into them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskctl import App
from taskctl.core import current, interrupts, loops
from taskctl.core.errors import SoftTimeLimitExceeded, TaskctlError
from taskctl.core.steering import Steer


def softened(coroutine: Any, after: float = 0.02) -> Any:
    """Run it on a loop, and let its soft limit come."""

    async def run() -> Any:
        steer = Steer()
        asyncio.get_running_loop().call_later(after, steer.soften)
        return await steer.run(coroutine)

    return asyncio.run(run())


def test_a_soft_limit_lets_task_groups_cancel_what_they_started() -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("child")

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())

    with pytest.raises(SoftTimeLimitExceeded):
        softened(parent())

    assert ended == ["child", "child"]


def test_a_coroutine_may_go_on_after_its_soft_limit_and_use_timeouts() -> None:
    async def task() -> str:
        with contextlib.suppress(SoftTimeLimitExceeded):
            await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out by itself"
        return "never"

    assert softened(task()) == "timed out by itself"


def test_a_timeout_of_the_coroutines_own_is_not_taken_for_the_limit() -> None:
    async def task() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        softened(task(), after=0.5)


def test_a_stopped_coroutine_is_cancelled_and_says_so() -> None:
    async def run() -> tuple[bool, bool]:
        steer = Steer()
        asyncio.get_running_loop().call_later(0.01, steer.stop)
        with pytest.raises(asyncio.CancelledError):
            await steer.run(asyncio.sleep(60))
        task = asyncio.current_task()
        return steer.stopped, task is not None and task.cancelling() == 0

    assert asyncio.run(run()) == (True, True)


def test_one_told_to_stop_before_it_began_stops_where_it_first_waits() -> None:
    async def run() -> None:
        steer = Steer()
        steer.stop()
        await steer.run(asyncio.sleep(60))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_a_cancellation_that_nobody_asked_for_is_an_error_of_the_task() -> None:
    async def task() -> None:
        raise asyncio.CancelledError

    with pytest.raises(TaskctlError, match="cancelled by what it has called"):
        asyncio.run(Steer().run(task()))


def test_an_interrupt_is_carried_into_the_coroutine_that_runs() -> None:
    async def task() -> str:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            return "in the coroutine"
        return "never"

    # As the signal handler of a child does, which runs in this thread, between two steps.
    async def interrupted() -> str:
        interrupt = SoftTimeLimitExceeded()
        asyncio.get_running_loop().call_later(0.02, interrupts.interrupt, interrupt)
        return await task()

    try:
        interrupts.allow()
        assert loops.finished(interrupted()) == "in the coroutine"
    finally:
        interrupts.reset()


def test_a_thread_that_keeps_its_loop_runs_all_on_one() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    found: list[Any] = []

    def thread() -> None:
        loops.keep()
        found.extend([loops.finished(loop()), loops.finished(loop())])
        loops.close()

    one = threading.Thread(target=thread)
    one.start()
    one.join()

    assert found[0] is found[1]
    assert found[0].is_closed()
    assert loops.finished(loop()) is not found[0]


def test_what_is_no_awaitable_is_returned_as_it_is() -> None:
    value = object()

    assert loops.finished(value) is value


@pytest.fixture
def app() -> Iterator[App]:
    app = App("loops", broker="memory://loops", backend="memory://", set_as_current=False)

    @app.task(name="inner")
    async def inner(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @app.task(name="outer")
    async def outer(x: int) -> int:
        here = current.current_task()
        found = int(app.tasks["inner"].apply((x,)).get())  # a second loop, in another thread
        assert current.current_task() is here
        return found + int(await app.tasks["inner"](x))

    @app.task(name="seen", bind=True)
    async def seen(self: Any, x: int) -> tuple[int, bool]:
        await asyncio.sleep(0.01 * x)
        return self.request.args[0], self.request.called_directly

    yield app
    app.close()


def test_eager_tasks_and_direct_calls_work_inside_a_coroutine(app: App) -> None:
    assert app.tasks["outer"].apply((1,)).get() == 4


def test_a_task_called_as_a_function_is_awaited_by_its_caller_with_a_request_of_its_own(
    app: App,
) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(*(app.tasks["seen"](x) for x in (3, 1, 2)))

    assert asyncio.run(both()) == [(3, True), (1, True), (2, True)]


def test_steering_costs_a_coroutine_little() -> None:
    async def rounds() -> None:
        for _ in range(2000):
            await asyncio.sleep(0)

    async def timed(steered: bool) -> float:
        began = time.process_time()
        await (Steer().run(rounds()) if steered else rounds())
        return time.process_time() - began

    plain = min(asyncio.run(timed(False)) for _ in range(5))
    steered = min(asyncio.run(timed(True)) for _ in range(5))

    assert steered < 6 * plain + 0.01
