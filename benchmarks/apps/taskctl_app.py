"""The tasks, as a taskctl app."""

from __future__ import annotations

import os

from taskctl import App

from .work import answer

app = App("bench", broker=os.environ["BENCH_BROKER"])
app.conf.result_backend = os.environ["BENCH_BACKEND"] or "disabled"
app.conf.task_ignore_result = not os.environ["BENCH_BACKEND"]


@app.task(name="bench.noop")
def noop() -> None:
    """Do nothing."""


app.task(answer, name="bench.answer")
