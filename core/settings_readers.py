"""Which programs read a setting: what must be restarted when it is changed."""

from __future__ import annotations

from .settings_table import SETTINGS

CLIENTS, WORKERS, BEAT, COMMANDS = "clients", "workers", "beat", "the command line"
_ALL = (CLIENTS, WORKERS, BEAT, COMMANDS)

#: Who reads the settings that begin so; the longest beginning that fits counts.
_BY_PREFIX: dict[str, tuple[str, ...]] = {
    "accept_content": _ALL,
    "beat_": (BEAT,),
    "broker_": _ALL,
    "broker_publish_timeout": (CLIENTS, WORKERS, BEAT),
    "cache_": (CLIENTS, WORKERS),
    "control_": (WORKERS, COMMANDS),
    "enable_utc": _ALL,
    "event_": (CLIENTS, WORKERS, COMMANDS),
    "events_": (COMMANDS,),
    "imports": (WORKERS, BEAT),
    "include": (WORKERS, BEAT),
    "redis_": (CLIENTS, WORKERS, COMMANDS),
    "result_": (CLIENTS, WORKERS, COMMANDS),
    "result_expires": (WORKERS,),
    "result_extended": (WORKERS,),
    "result_failure_expires": (WORKERS,),
    "result_serializer": (WORKERS,),
    "security_": _ALL,
    "task_": (CLIENTS, WORKERS, BEAT),
    "task_acks_": (WORKERS,),
    "task_always_eager": (CLIENTS,),
    "task_dead_letter_queue": (WORKERS, COMMANDS),
    "task_default_rate_limit": (WORKERS,),
    "task_eager_propagates": (CLIENTS,),
    "task_ignore_result": (CLIENTS, WORKERS),
    "task_max_deliveries": (WORKERS,),
    "task_queues": (CLIENTS, WORKERS, BEAT, COMMANDS),
    "task_reject_on_worker_lost": (WORKERS,),
    "task_revoke_expires": (CLIENTS, COMMANDS),
    "task_soft_time_limit": (WORKERS,),
    "task_store_eager_result": (CLIENTS,),
    "task_store_errors_even_if_ignored": (WORKERS,),
    "task_time_limit": (WORKERS,),
    "task_track_started": (WORKERS,),
    "timezone": _ALL,
    "worker_": (WORKERS,),
}


def readers(key: str) -> tuple[str, ...]:
    """Return which programs read this setting; none for one that has no effect."""
    row = SETTINGS.get(key)
    if row is not None and row.note:
        return ()
    fitting = [prefix for prefix in _BY_PREFIX if key.startswith(prefix)]
    return _BY_PREFIX[max(fitting, key=len)] if fitting else (CLIENTS, WORKERS)
