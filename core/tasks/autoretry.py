"""Retrying by itself: `autoretry_for` and its options.

Source of names and delays: Celery 5.7 app/autoretry.py.
"""

from __future__ import annotations

import functools
import random
from types import CoroutineType
from typing import Any

from ..errors import Ignore, Reject, Retry


def add_autoretry(task: Any, options: dict[str, Any]) -> None:
    """Make the task's `run` retry on the exceptions in `autoretry_for`, if it has any.

    `retry_backoff` is the first delay in seconds (True: 1), doubled with each retry up to
    `retry_backoff_max`; `retry_jitter` draws a delay between 0 and that.
    """

    def option(name: str, default: Any) -> Any:
        return options.get(name, getattr(task, name, default))

    wanted = _classes(option("autoretry_for", ()))
    if not wanted or "_plain_run" in vars(task):
        return
    unwanted: tuple[type[BaseException], ...] = (
        Ignore, Reject, Retry, *_classes(option("dont_autoretry_for", ())),
    )  # fmt: skip
    retry_kwargs = dict(option("retry_kwargs", {}))
    factor = float(option("retry_backoff", False))
    longest = int(option("retry_backoff_max", 600))
    jitter = bool(option("retry_jitter", True))
    plain_run = task.run

    def retry(exc: BaseException) -> BaseException:
        again = dict(retry_kwargs)
        if factor:
            again["countdown"] = backoff(factor, task.request.retries, longest, jitter)
        # A limit that the task itself gave to `retry` in this run holds here too.
        limit = vars(task.request).get("_retry_limit")
        if limit is not None:
            again["max_retries"] = limit
        failure: BaseException = task.retry(exc=exc, **again)
        return failure

    async def end(coroutine: Any) -> Any:
        try:
            return await coroutine
        except unwanted:
            raise
        except wanted as exc:
            raise retry(exc) from exc

    @functools.wraps(plain_run)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            value = plain_run(*args, **kwargs)
        except unwanted:
            raise
        except wanted as exc:
            raise retry(exc) from exc
        return end(value) if type(value) is CoroutineType else value

    task._plain_run = plain_run
    task.run = run


def backoff(factor: float, retries: int, longest: int, jitter: bool) -> int:
    """Return the delay before the next try, in whole seconds."""
    delay = min(longest, int(max(1.0, factor)) * 2 ** min(retries, 64))
    return max(0, random.randrange(delay + 1) if jitter else delay)


def _classes(given: Any) -> tuple[type[BaseException], ...]:
    return (given,) if isinstance(given, type) else tuple(given or ())
