"""Calls of coroutines go out together, by one thread, and fail one by one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from taskctl import App, chain, chord, group
from taskctl.core.errors import BrokerConnectionError, EncodeError, PublishTimeout, QueueNotFound
from taskctl.core.messaging import outbox

Published = list[list[str]]


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    url = f"memory://{request.node.name}"
    app = App("outbox", broker=url, backend=url, set_as_current=False, broker_publish_timeout=0.3)

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    app.close()


@pytest.fixture
def published(app: App, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Gets the ids of the messages of each step with the broker."""
    steps: Published = []
    connection = app.shared_connection()
    publish = connection.publish

    def noted(publications: Any, **options: Any) -> None:
        publish(publications, **options)
        steps.append([publication.task_id for publication in publications])

    monkeypatch.setattr(connection, "publish", noted)
    return steps


def play(scene: Coroutine[Any, Any, Any]) -> Any:
    """Run a scene that must not hang."""
    return asyncio.run(asyncio.wait_for(scene, 60))


async def until(check: Callable[[], Any]) -> None:
    """Wait in a coroutine until `check` holds; `play` has the deadline."""
    while not check():
        await asyncio.sleep(0.002)


class Gate:
    """A call that keeps the outbox's thread busy until it is let go."""

    def __init__(self, app: App) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self._app = app

    def __call__(self) -> str:
        self.entered.set()
        assert self.open.wait(30)
        return "through"

    async def shut(self) -> asyncio.Task[str]:
        await self._app.tasks["add"].adelay(0, 0)
        box: outbox.Outbox = self._app.__dict__["_outbox"]
        task = asyncio.create_task(box.send(self, alone=True))
        await until(self.entered.is_set)
        return task


def test_a_call_is_sent_and_its_result_bears_its_id(app: App, published: Published) -> None:
    async def scene() -> None:
        result = await app.tasks["add"].adelay(2, 2)
        await app.asend_task("elsewhere", (1,), task_id="my-id")
        late = await app.tasks["add"].aapply_async((2, 2), countdown=30, queue="slow")
        assert published == [[result.id], ["my-id"], [late.id]]

    play(scene())


def test_calls_made_at_once_go_out_together(app: App, published: Published) -> None:
    async def scene() -> None:
        gate = Gate(app)
        busy = await gate.shut()
        published.clear()
        add = app.tasks["add"]
        calls = [asyncio.create_task(add.adelay(i, i)) for i in range(100)]
        other = asyncio.create_task(add.aapply_async((1, 1), queue="other"))
        await asyncio.sleep(0)
        gate.open.set()
        results = await asyncio.gather(*calls)
        assert await busy == "through"
        assert published == [[result.id for result in results], [(await other).id]]

    play(scene())


def test_workflows_are_sent_too(app: App, published: Published) -> None:
    add = app.tasks["add"]

    async def scene() -> None:
        results = await group(add.s(i, i) for i in range(3)).adelay()
        assert published == [[result.id for result in results]]
        await chain(add.s(1, 1), add.s(2)).adelay()
        joined = await chord([add.s(1, 1), add.s(2, 2)], add.s(1)).adelay()
        assert len(joined.parent) == 2
        assert [len(step) for step in published] == [3, 1, 2]
        single = await add.s(1).adelay(2)
        assert published[-1] == [single.id]

    play(scene())


def test_a_call_that_cannot_be_made_fails_alone(app: App, published: Published) -> None:
    app.conf.task_create_missing_queues = False
    add = app.tasks["add"]

    async def scene() -> None:
        gate = Gate(app)
        await gate.shut()
        published.clear()
        calls = [
            asyncio.create_task(call)
            for call in (
                add.adelay(1, 2),
                add.adelay(1),
                add.adelay(object(), 2),
                add.aapply_async((1, 2), queue="missing"),
                add.adelay(3, 4),
            )
        ]
        await asyncio.sleep(0)
        gate.open.set()
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in told[1:4]] == [TypeError, EncodeError, QueueNotFound]
        assert published == [[told[0].id, told[4].id]]

    play(scene())


def test_a_call_cancelled_before_its_turn_is_not_sent(app: App, published: Published) -> None:
    add = app.tasks["add"]

    async def scene() -> None:
        gate = Gate(app)
        await gate.shut()
        published.clear()
        calls = [asyncio.create_task(add.adelay(i, i)) for i in range(3)]
        flow = asyncio.create_task(chain(add.s(1, 1), add.s(1)).adelay())
        await asyncio.sleep(0)
        calls[1].cancel()
        flow.cancel()
        gate.open.set()
        sent = await asyncio.gather(*calls, flow, return_exceptions=True)
        assert published == [[sent[0].id, sent[2].id]]

    play(scene())


def test_while_the_broker_is_away_calls_fail_in_time_however_many_they_are(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def away(*_: Any, **__: Any) -> None:
        tries.append(time.monotonic())
        time.sleep(0.3)
        raise BrokerConnectionError("nobody there")

    monkeypatch.setattr(app.shared_connection(), "publish", away)
    add = app.tasks["add"]

    async def scene() -> None:
        calls = [add.aapply_async((1, 1), queue=f"q{i}", retry=False) for i in range(50)]
        flows = [(add.s(1, 1) | add.s(1)).adelay() for _ in range(50)]
        told = await asyncio.gather(*calls, *flows, return_exceptions=True)
        assert {type(one) for one in told} == {BrokerConnectionError, PublishTimeout}
        assert "not sent within" in str(told[-1]) and "nobody there" in str(told[-1])
        assert len(tries) < 6

    play(scene())

    monkeypatch.undo()
    assert play(add.adelay(1, 1)).id


def test_the_caller_of_a_call_is_the_task_that_runs(app: App, published: Published) -> None:
    add = app.tasks["add"]
    children = []

    @app.task(name="outer", bind=True, shared=False)
    def outer(self: Any) -> None:
        async def body() -> None:
            result = await add.adelay(1, 2)
            children.append((result.id, [child.id for child in self.request.children]))

        play(body())

    app.finalize()
    outer.apply()

    assert [made for made, _ in children] == children[0][1]


def test_inside_a_batch_a_call_is_gathered(app: App, published: Published) -> None:
    async def scene() -> None:
        with app.producer.batch():
            first = await app.tasks["add"].adelay(1, 1)
            second = await app.tasks["add"].adelay(2, 2)
            assert published == []
        assert published == [[first.id, second.id]]

    play(scene())


def test_with_always_eager_the_task_runs_in_a_thread(app: App) -> None:
    app.conf.task_always_eager = True
    ran_in = []

    @app.task(name="where", shared=False)
    def where() -> str:
        ran_in.append(threading.current_thread())
        return "done"

    @app.task(name="twice", shared=False)
    async def twice() -> Any:
        return await (await where.adelay()).aget(disable_sync_subtasks=False)

    async def scene() -> None:
        assert await (await where.adelay()) == "done"
        assert await (await twice.adelay()) == "done"

    play(scene())
    assert threading.main_thread() not in ran_in


def test_the_thread_ends_when_nothing_was_sent_for_a_while(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_IDLE", 0.05)

    async def scene() -> None:
        await app.tasks["add"].adelay(1, 1)
        thread = app.__dict__["_outbox"]._thread
        await until(lambda: thread is None or not thread.is_alive())
        await app.tasks["add"].adelay(1, 1)

    play(scene())


def test_a_loop_that_was_closed_in_the_middle_harms_nobody(app: App, published: Published) -> None:
    gate = Gate(app)
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(gate.shut())
    loop.close()

    async def scene() -> None:
        waiting = asyncio.create_task(app.tasks["add"].adelay(1, 1))
        await asyncio.sleep(0)
        gate.open.set()
        assert (await waiting).id == published[-1][0]

    play(scene())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
