"""The tasks, as a Celery app."""

from __future__ import annotations

import os

from celery import Celery

from .work import answer, nap

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.result_backend = os.environ["BENCH_BACKEND"] or "disabled"
app.conf.task_ignore_result = not os.environ["BENCH_BACKEND"]
if os.environ["BENCH_BROKER"].startswith("amqp"):
    app.conf.broker_transport_options = {"confirm_publish": True}  # taskctl always waits for them


@app.task(name="bench.noop")
def noop() -> None:
    """Do nothing."""


app.task(answer, name="bench.answer")
app.task(nap, name="bench.nap")
