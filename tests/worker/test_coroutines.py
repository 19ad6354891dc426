"""A worker in this process with the asyncio pool: its options, its room, and who is to blame."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import App
from taskctl.core.errors import ImproperlyConfigured, TimeLimitExceeded
from taskctl.core.worker.options import resolve
from taskctl.core.worker.prefetch import MAX_HELD, Prefetch
from taskctl.core.worker.worker import Worker

from ..support.waiting import eventually


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    app = App(
        "inside", broker=f"memory://{request.node.name}", backend="memory://", set_as_current=False
    )
    yield app
    app.close()


def turning(worker: Worker, check: Callable[[], Any]) -> Any:
    """Turn the worker until `check` holds."""

    def step() -> Any:
        worker.turn()
        return check()

    return eventually(step, within=20, every=0.001)


def test_concurrency_is_counted_in_each_child_and_a_hundred_unless_told(app: App) -> None:
    plain = resolve(app, pool="asyncio")
    told = resolve(app, pool="asyncio", concurrency=30, children=3)
    app.conf.worker_asyncio_children = 2

    assert (plain.concurrency, plain.children) == (100, 1)
    assert (told.concurrency, told.children) == (90, 3)
    assert resolve(app, pool="asyncio").concurrency == 200
    assert resolve(app, pool="threads", concurrency=4).concurrency == 4


def test_children_are_refused_where_they_mean_nothing(app: App) -> None:
    with pytest.raises(ImproperlyConfigured, match="--children is for the asyncio pool; of the t"):
        resolve(app, pool="threads", children=2)
    with pytest.raises(ImproperlyConfigured, match="at least 1 child"):
        resolve(app, pool="asyncio", children=0)


def test_as_many_messages_are_held_as_can_run_at_once() -> None:
    prefetch = Prefetch("auto")

    assert prefetch.room(50, 0) == 50
    assert prefetch.room(2 * MAX_HELD, 0) == 2 * MAX_HELD


def test_who_stood_beside_a_coroutine_that_would_not_end_runs_again_and_is_not_to_blame(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskctl.core.pool.berth.GRACE", 0.1)
    app.conf.task_max_deliveries = 1  # the first lost delivery would be the last
    log = tmp_path / "log"

    @app.task(name="neighbour")
    async def neighbour() -> int:
        with log.open("a") as file:
            file.write("n")
        if len(log.read_text()) == 1:
            await asyncio.sleep(60)
        return os.getpid()

    @app.task(name="stubborn", time_limit=0.2)
    async def stubborn() -> None:
        time.sleep(60)

    worker = Worker(app, resolve(app, pool="asyncio", concurrency=2, hostname="in@test"))
    worker.open()
    try:
        first = worker.pool.pids()
        beside = neighbour.delay()
        turning(worker, lambda: log.exists() and log.read_text())
        blocked = stubborn.delay()
        turning(worker, lambda: blocked.ready() and beside.ready())
    finally:
        worker.close()

    with pytest.raises(TimeLimitExceeded):
        blocked.get()
    assert beside.get() not in first
    assert log.read_text() == "nn"
