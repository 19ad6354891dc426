"""Tasks with limits for the trial project; a worker takes them on with TRIAL_MORE."""

from __future__ import annotations

import os
import time
from typing import Any

from taskctl import App, Concurrency, Limit, Unique

from .trial import leave_mark


def define(app: App) -> None:
    """Give `app` these tasks; only a worker can run them."""
    task: Any = lambda name, **options: app.task(name=f"trial.{name}", shared=False, **options)  # noqa: E731

    @task("paced", rate_limit=Limit("20/s"))
    def paced(n: int) -> None:
        leave_mark("paced")

    @task("seldom", rate_limit=Limit("1/m"))
    def seldom(n: int) -> int:
        leave_mark("seldom")
        return n

    @task("slow", rate_limit=Limit("1/h"))
    def slow(n: int) -> None:
        leave_mark("slow")

    @task("by_user", rate_limit=Limit("10/s", key="{user}"))
    def by_user(user: str) -> None:
        leave_mark(f"user-{user}")

    @task("here", rate_limit=Limit("10/s", scope="worker", key="{user}"))
    def here(user: str) -> None:
        leave_mark(f"here-{user}")

    @task("few", concurrency=2)
    def few(seconds: float) -> None:
        leave_mark("begin")
        time.sleep(seconds)
        leave_mark("end")

    @task("alone", concurrency=Concurrency(1, key="{key}"))
    def alone(key: str, seconds: float = 0.0) -> int:
        leave_mark(f"alone-{key}")
        time.sleep(seconds)
        return os.getpid()

    @task("once", unique=Unique("{key}"))
    def once(key: str, seconds: float = 0.0) -> str:
        leave_mark(f"once-{key}")
        time.sleep(seconds)
        return key

    @task("once_early", unique=Unique("{key}"), acks_late=False)
    def once_early(key: str, seconds: float = 0.0) -> str:
        leave_mark(f"early-{key}")
        time.sleep(seconds)
        return key

    @task("once_queued", unique=Unique("{key}", until="start"))
    def once_queued(key: str, seconds: float = 0.0) -> str:
        leave_mark(f"queued-{key}")
        time.sleep(seconds)
        return key

    @task("once_a_while", unique=Unique("{key}", until=1.0))
    def once_a_while(key: str) -> str:
        leave_mark(f"while-{key}")
        return key

    @task("once_again", bind=True, unique=Unique("{key}"))
    def once_again(self: Any, key: str) -> int:
        leave_mark(f"again-{key}")
        if self.request.retries < 1:
            raise self.retry(countdown=0.5)
        return int(self.request.retries)
