"""The tasks, as a taskctl app."""

from __future__ import annotations

import asyncio
import os

from taskctl import App

from .work import answer, nap

app = App("bench", broker=os.environ["BENCH_BROKER"])
app.conf.result_backend = os.environ["BENCH_BACKEND"] or "disabled"
app.conf.task_ignore_result = not os.environ["BENCH_BACKEND"]


@app.task(name="bench.noop")
def noop() -> None:
    """Do nothing."""


app.task(answer, name="bench.answer")
app.task(nap, name="bench.nap")


@app.task(name="bench.anap")
async def anap() -> None:
    """Sleep for a second, and let others run meanwhile."""
    await asyncio.sleep(1)
