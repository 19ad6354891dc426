"""Coroutines call real workers and await their results; whatever is away, their loop goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from taskctl import App, chain, chord, group, signature
from taskctl.core.errors import BackendError, BrokerConnectionError, TaskRevokedError, TimeoutError
from taskctl.core.tasks import lookout

from ..backends.records import meta
from ..support.farms import MakeFarm
from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm


def play(scene: Coroutine[Any, Any, Any]) -> Any:
    """Run a scene that must not hang."""
    return asyncio.run(asyncio.wait_for(scene, 90))


class Ticks:
    """Measures the longest time for which the loop did nothing else."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Ticks:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now


def test_calls_and_workflows_are_sent_and_awaited(service: Farm) -> None:
    def add(*args: int) -> Any:
        return signature("trial.add", args=args, app=service.app)

    total = signature("trial.total", app=service.app)

    async def scene() -> None:
        assert await (await service.app.asend_task("trial.add", (2, 2))) == 4
        assert await (await chain(add(1, 1), add(2), add(4)).adelay()).aget(timeout=60) == 8
        assert await (await chord([add(1, 1), add(2, 2)], total).adelay()) == 6
        results = await group(add(i, i) for i in range(10)).adelay()
        assert await results == [2 * i for i in range(10)]
        with pytest.raises(ValueError, match="boom"):
            await (await service.app.asend_task("trial.fail", ("async",)))

    play(scene())


def test_results_come_in_the_order_in_which_tasks_end(service: Farm) -> None:
    def mark(key: str, seconds: float) -> Any:
        return signature("trial.mark", args=(key, seconds), app=service.app)

    async def scene() -> list[str]:
        results = await group(mark("slow", 1.5), mark("quick", 0.0)).adelay()
        return [result.get() async for result in results]

    assert play(scene()) == ["quick", "slow"]


def test_a_thousand_coroutines_call_and_wait_through_two_threads(service: Farm) -> None:
    service.app.send_task("trial.add", (1, 1)).get(timeout=60)  # connected
    before = threading.active_count()
    most = 0

    async def scene() -> None:
        nonlocal most

        async def one(i: int) -> Any:
            nonlocal most
            value = await (await service.app.asend_task("trial.add", (i, i)))
            most = max(most, threading.active_count())
            return value

        async with Ticks() as ticks:
            values = await asyncio.gather(*(one(i) for i in range(1000)))
        assert values == [2 * i for i in range(1000)]
        assert ticks.longest < 2

    play(scene())
    # One more ran the loop's first look at the settings, if this was the first call of all.
    assert most <= before + 3


def test_a_revoked_task_is_told_to_whoever_awaits_it(service: Farm) -> None:
    async def scene() -> None:
        result = await service.app.asend_task("trial.mark", ("revoked",), countdown=60)
        await result.arevoke()
        with pytest.raises(TaskRevokedError):
            await result.aget(timeout=60)
        assert await result.astate() == "REVOKED"
        await result.aforget()
        assert await result.astate() == "PENDING"

    play(scene())
    assert "revoked" not in service.runs()


def test_results_that_travel_are_awaited(
    make_farm: MakeFarm, redis_url: str, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, redis_url, result_backend="rpc://")
    farm.start().ready()

    async def scene() -> None:
        sent = [await farm.app.asend_task("trial.add", (i, i)) for i in range(20)]
        assert await asyncio.gather(*sent) == [2 * i for i in range(20)]

    play(scene())


def test_an_api_calls_tasks_and_answers_with_their_results(service: Farm) -> None:
    api = FastAPI()

    @api.post("/sums")
    async def sums(x: int, y: int) -> dict[str, Any]:
        result = await service.app.asend_task("trial.add", (x, y))
        return {"id": result.id, "sum": await result.aget(timeout=60)}

    @api.get("/tasks/{task_id}")
    async def state(task_id: str) -> dict[str, str]:
        return {"state": await service.app.AsyncResult(task_id).astate()}

    async def scene() -> None:
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            asked = [client.post("/sums", params={"x": i, "y": i}, timeout=80) for i in range(50)]
            answers = [answer.json() for answer in await asyncio.gather(*asked)]
            assert [answer["sum"] for answer in answers] == [2 * i for i in range(50)]
            told = await client.get(f"/tasks/{answers[0]['id']}")
            assert told.json() == {"state": "SUCCESS"}

    play(scene())


# --- a server that is away ----------------------------------------------------------------------


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of the test's own, to freeze and to stop."""
    server = RedisServer().start()
    yield server
    server.stop()


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def test_a_server_that_hangs_stops_no_loop(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_IDLE", 0.2)
    url = own_redis.url
    app = App(
        "frozen", broker=url, backend=url, set_as_current=False,
        broker_publish_timeout=3, redis_socket_timeout=3,
    )  # fmt: skip

    async def scene() -> None:
        connected = await app.asend_task("trial.add", (1, 1))
        waiting = asyncio.create_task(connected.aget())
        await asyncio.sleep(0.1)
        async with Ticks() as ticks:
            with frozen(own_redis):
                calls = [asyncio.create_task(app.asend_task("trial.add", (1, 1))) for _ in range(9)]
                cancelled = asyncio.create_task(app.asend_task("trial.add", (1, 1)))
                state = asyncio.create_task(connected.astate())
                with pytest.raises(TimeoutError):
                    await app.AsyncResult("other").aget(timeout=0.5)
                cancelled.cancel()
                told = await asyncio.gather(*calls, return_exceptions=True)
                with pytest.raises(BackendError):
                    await state
        # Each of these would have held it for three seconds.
        assert ticks.longest < 1.5
        assert all(isinstance(one, BrokerConnectionError) for one in told)
        assert not waiting.done()
        waiting.cancel()
        assert (await app.asend_task("trial.add", (1, 1))).id

    play(scene())
    eventually(lambda: app.__dict__["_lookout"]._thread is None, within=20)
    app.close()


def test_waits_outlive_a_server_that_is_started_again(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_IDLE", 0.2)
    app = App("restarted", broker=own_redis.url, backend=own_redis.url, set_as_current=False)

    async def scene() -> None:
        waits = [asyncio.create_task(app.AsyncResult(f"id-{i}").aget()) for i in range(3)]
        await asyncio.sleep(0.1)
        assert own_redis.process is not None
        own_redis.process.kill()
        own_redis.process.wait()
        with pytest.raises(BackendError):
            await app.AsyncResult("x").aget(timeout=1)
        own_redis.start()
        await asyncio.to_thread(store_all, app, 3)
        assert await asyncio.gather(*waits) == [0, 1, 2]

    play(scene())
    eventually(lambda: app.__dict__["_lookout"]._thread is None, within=20)
    app.close()
    assert "still waiting, trying again" in caplog.text


def store_all(app: App, count: int) -> None:
    app.backend.store([meta(f"id-{i}", result=i) for i in range(count)])


def test_cancelled_waits_leave_no_connection_and_no_subscription(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_IDLE", 0.2)
    app = App("cancelled", broker=own_redis.url, backend=own_redis.url, set_as_current=False)
    client = redis.Redis.from_url(own_redis.url)

    async def scene() -> None:
        waits = [asyncio.create_task(app.AsyncResult(f"id-{i}").aget()) for i in range(100)]
        await asyncio.to_thread(eventually, lambda: len(client.pubsub_channels()) == 100)
        for one in waits[:60]:
            one.cancel()
        another = asyncio.create_task(app.AsyncResult("another").aget())
        await asyncio.to_thread(eventually, lambda: len(client.pubsub_channels()) == 41)
        for one in [*waits, another]:
            one.cancel()
        await asyncio.gather(*waits, another, return_exceptions=True)

    play(scene())
    eventually(lambda: client.pubsub_channels() == [], within=20)
    eventually(lambda: app.__dict__["_lookout"]._thread is None, within=20)
    app.close()
    eventually(lambda: len(client.client_list()) == 1)
    client.close()
