"""Coroutines of the trial project."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from typing import Any

from taskctl import Task
from taskctl.core import current
from taskctl.core.errors import SoftTimeLimitExceeded

from .trial import app, leave_mark


@app.task(name="trial.anap")
async def anap(key: str, seconds: float = 0.0) -> int:
    leave_mark(key)
    await asyncio.sleep(seconds)
    return os.getpid()


@app.task(name="trial.ahang_once")
async def ahang_once(key: str) -> str:
    if leave_mark(key) == 1:
        await asyncio.sleep(120)
    return key


@app.task(name="trial.returns_coroutine")
def returns_coroutine(key: str) -> Awaitable[int]:
    return anap(key, 0.01)


@app.task(name="trial.asoft", soft_time_limit=0.2)
async def asoft(key: str) -> str:
    leave_mark(key)
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded as exc:
        await asyncio.sleep(0.01)
        return type(exc).__mro__[1].__name__
    return "slept"


@app.task(name="trial.ahard", time_limit=0.3)
async def ahard(key: str) -> None:
    leave_mark(key)
    await asyncio.sleep(60)


_left_behind: dict[str, Any] = {}


@app.task(name="trial.same_loop")
async def same_loop() -> tuple[int, bool]:
    """Return this process, and whether its loop is the one that the call before ran on."""
    loop = asyncio.get_running_loop()
    before, _left_behind["loop"] = _left_behind.get("loop"), loop
    return os.getpid(), before is loop


@app.task(name="trial.own_request", bind=True)
async def own_request(self: Any, rounds: int = 5) -> bool:
    """Return whether this coroutine, and those it starts, see its own request all the time."""

    async def see() -> bool:
        await asyncio.sleep(0.01)
        return bool(self.request.id == mine and current.current_task() is own_request)

    mine = self.request.id
    seen = [await see() for _ in range(rounds)]
    seen += await asyncio.gather(see(), see())
    return all(seen) and mine is not None


@app.task(
    name="trial.again_async", bind=True, autoretry_for=(KeyError,), retry_kwargs={"countdown": 0}
)
async def again_async(self: Any, key: str) -> int:
    leave_mark(key)
    await asyncio.sleep(0)
    if self.request.retries == 0:
        raise KeyError(key)
    if self.request.retries == 1:
        raise self.retry(countdown=0)
    return int(self.request.retries)


class Told(Task):
    """Leaves a mark in hooks that are coroutines, on the loop of the task."""

    loop: Any = None

    async def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        Told.loop = asyncio.get_running_loop()
        leave_mark(f"{args[0]}-before")

    async def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        await asyncio.sleep(0)
        same = asyncio.get_running_loop() is Told.loop
        leave_mark(f"{args[0]}-success" if same else "another-loop")


@app.task(name="trial.told", base=Told)
async def told(key: str) -> bool:
    return asyncio.get_running_loop() is Told.loop


@app.task(name="trial.generator")
async def generator() -> Any:
    yield 1


@app.task(name="trial.blocks")
def blocks(key: str, seconds: float) -> int:
    leave_mark(key)
    time.sleep(seconds)
    return os.getpid()
