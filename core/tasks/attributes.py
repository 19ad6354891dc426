"""The attributes of a task: options of `@app.task`, of classes, and of `task_annotations`.

None means: as the settings say (`binding.py` has the table).
"""

from __future__ import annotations

from datetime import datetime

from .hooks import Hooks
from .limiting import Concurrency, Limit, Limits, Unique


class Attributes(Hooks):
    """What may be said of a task, and what holds when nothing is said."""

    name: str = None  # type: ignore[assignment]  # given when it is registered, if not before
    #: Whether the caller's arguments are checked against `run`; None: as the app says.
    typing: bool | None = None
    #: Most retries; None is without end.
    max_retries: int | None = 3
    #: Seconds until the next try, when `retry` is not told.
    default_retry_delay: float = 180
    #: How often it may begin on each worker; with a `Limit`, on all of them together.
    rate_limit: str | float | Limit | None = None
    #: How many may run at once on all workers; a number is short for Concurrency(number).
    concurrency: Concurrency | int | None = None
    #: Whether a call is refused while an earlier one is not done; True is short for Unique(), a
    #: text for Unique(text).
    unique: Unique | bool | str | None = None
    #: The three above, ready to be asked; None if there is none.  Made when the task is bound.
    shared_limits: Limits | None = None
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    #: Whether calls made inside this task become its children.
    trail: bool = True
    send_events: bool = True
    serializer: str | None = None
    compression: str | None = None
    #: Seconds after which the child that runs it is killed; after which it is told.
    time_limit: float | None = None
    soft_time_limit: float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    #: Exceptions that are no error of the task: logged as information, without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    expires: float | datetime | None = None
    priority: int | None = None
    #: Longest text of a result in events and logs, in characters.
    resultrepr_maxsize: int = 1024
    #: True for a base class: it is never registered itself.
    abstract: bool = True
