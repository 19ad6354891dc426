"""What a task class takes from the app it is bound to."""

from __future__ import annotations

from typing import Any

from .limiting import limits_of

#: Attributes that a task takes from a setting unless it has its own.
FROM_SETTINGS = {
    "serializer": "task_serializer",
    "compression": "task_compression",
    "rate_limit": "task_default_rate_limit",
    "priority": "task_default_priority",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "track_started": "task_track_started",
    "acks_late": "task_acks_late",
    "acks_on_failure_or_timeout": "task_acks_on_failure_or_timeout",
    "acks_on_failure": "task_acks_on_failure",
    "acks_on_timeout": "task_acks_on_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "retry_on_worker_lost": "task_retry_on_worker_lost",
    "ignore_result": "task_ignore_result",
    "store_eager_result": "task_store_eager_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
}


def bind_class(cls: Any, app: Any) -> None:
    """Fill in what a task class leaves open from the settings, then annotate it, once."""
    first = "_bound" not in cls.__dict__
    cls._app = app
    cls._bound = True
    if cls.typing is None:
        cls.typing = app.strict_typing
    conf = app.conf
    for name, setting in cls.from_config:
        if getattr(cls, name, None) is None:
            setattr(cls, name, conf[setting])
    for name in ("acks_on_failure", "acks_on_timeout"):
        if getattr(cls, name) is None:
            both = cls.acks_on_failure_or_timeout
            setattr(cls, name, True if both is None else both)
    if first:
        app.annotate(cls)
        cls.shared_limits = limits_of(cls)
