"""How a Redis broker was asked to behave: `broker_transport_options`, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import ImproperlyConfigured
from .transport_options import convert_options

#: Orders in which full queues are served, by kombu's names; its third way, a class of one's own,
#: works on connections that we do not have.
ROUND_ROBIN, SORTED, PRIORITY = "round_robin", "sorted", "priority"
#: A line for commands and one that listens.
CONNECTIONS = 2

#: Options of kombu's that steer what is not there, and who does it instead: they may stay when a
#: configuration moves over, and `config check` says why they do nothing.
_RECONNECT = (
    "how often to connect again is broker_connection_max_retries and, for calls, "
    "task_publish_retry_policy"
)
WITHOUT_EFFECT = {
    "retry_on_timeout": "a command is not sent twice; calls are, as task_publish_retry_policy says",
    "retry_policy": "it belongs to result_backend_transport_options",
    **dict.fromkeys(("max_retries", "interval_start", "interval_step", "interval_max"), _RECONNECT),
    "connect_retries_timeout": _RECONNECT,
    "reauth_check_interval": "a line whose credentials have ended is opened again with new ones",
}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`broker_transport_options` of a Redis broker; names and defaults are kombu's.

    All processes at one broker must agree on those that name keys.
    """

    global_keyprefix: str = ""
    sep: str = "\x06\x16"
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)
    fanout_prefix: bool | str = True
    fanout_patterns: bool = True
    unacked_key: str = "unacked"
    unacked_index_key: str = "unacked_index"
    unacked_mutex_key: str = "unacked_mutex"
    #: How long one sweep may keep others from sweeping (seconds).
    unacked_mutex_expire: float = 300.0
    #: After how long a loan of a *Celery* worker goes back (seconds).
    visibility_timeout: float = 3600.0
    #: How many loans one sweep puts back (none: all), and every how many seconds, times the
    #: throttle, there is one.
    unacked_restore_limit: int | None = None
    unacked_restore_interval: float = 10.0
    unacked_restore_throttle: int = 10
    #: round_robin shares a fetch among all queues; with sorted (by name) and priority (as they
    #: were subscribed) a queue is served when those before it are empty.
    queue_order_strategy: str = ROUND_ROBIN
    #: How often to look when nobody rings (seconds).
    polling_interval: float | None = None
    #: Where a message goes that no binding takes; without it such a message is dropped.
    deadletter_queue: str | None = None
    #: How long one command may take (seconds).
    socket_timeout: float | None = 5.0
    socket_connect_timeout: float | None = None
    socket_keepalive: bool | None = None
    socket_keepalive_options: dict[int, int] | None = None
    max_connections: int = 10
    #: How long the listening connection may be silent before it is probed (seconds; 0 never).
    health_check_interval: float = 25.0
    client_name: str | None = None
    #: TLS settings for rediss:// and sentinel://, as `broker_use_ssl` gives them.
    ssl: dict[str, Any] | None = None
    ack_emulation: bool = True
    body_encoding: str | None = "base64"
    #: sentinel:// only: which master; how many other sentinels one must know to be believed; how
    #: to log in at the sentinels themselves; and to speak also with kombu before 5.4.
    master_name: str | None = None
    min_other_sentinels: int = 0
    sentinel_kwargs: dict[str, Any] | None = None
    sentinel_fanout_compat: bool = False

    def channel_prefix(self, db: int) -> str:
        """Return what the names of pub/sub channels begin with."""
        return self.raw_channel_prefix.replace("{db}", str(db))

    @property
    def raw_channel_prefix(self) -> str:
        """What channels begin with before the database is filled in."""
        if isinstance(self.fanout_prefix, str):
            return self.fanout_prefix
        return "/{db}." if self.fanout_prefix else ""


def read_options(given: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises ImproperlyConfigured naming the option, and the nearest right name.
    """
    options = convert_options(given, Options, "Redis", WITHOUT_EFFECT)
    for wrong, reason in _faults(options):
        if wrong:
            raise ImproperlyConfigured(f"broker_transport_options: {reason}")
    return options


def _faults(options: Options) -> list[tuple[bool, str]]:
    """Return pairs of whether something is wrong, and what."""
    prefix = options.fanout_prefix
    return [
        (
            0 not in options.priority_steps or not options.sep,
            "priority_steps must hold 0, and sep must not be empty",
        ),
        (
            options.queue_order_strategy not in (ROUND_ROBIN, SORTED, PRIORITY),
            "queue_order_strategy must be round_robin, sorted or priority, got "
            f"{options.queue_order_strategy!r}",
        ),
        (
            not options.ack_emulation,
            "ack_emulation cannot be off: a message would be lost with the worker that took it;"
            " leave it out, and set task_acks_late = False for tasks that must not run twice",
        ),
        (
            options.body_encoding != "base64",
            f"body_encoding must be base64, got {options.body_encoding!r}: bodies are written so,"
            " and both ways are read",
        ),
        (
            options.max_connections < CONNECTIONS,
            f"max_connections must be {CONNECTIONS} or more: one for commands, one that listens",
        ),
        (
            # kombu takes everything up to the first dot for the prefix when it reads a channel.
            isinstance(prefix, str) and re.fullmatch(r"/[^.]*\.", prefix) is None,
            f"fanout_prefix must begin with / and end with its only dot, got {prefix!r}: else"
            " Celery cannot tell the exchange from the channel",
        ),
        (
            min(options.unacked_restore_interval, options.unacked_restore_throttle) < 0
            or options.visibility_timeout <= 0,
            "visibility_timeout must be above 0, unacked_restore_interval and"
            " unacked_restore_throttle 0 or more",
        ),
    ]


def idle_options(given: Mapping[str, Any], scheme: str) -> dict[str, str]:
    """Return those of the given options that change nothing at such a URL, and why."""
    idle = {name: WITHOUT_EFFECT[name] for name in given if name in WITHOUT_EFFECT}
    sentinel = ("master_name", "min_other_sentinels", "sentinel_kwargs", "sentinel_fanout_compat")
    tcp = ("socket_connect_timeout", "socket_keepalive", "socket_keepalive_options")
    for names, used, kind in (
        (sentinel, scheme == "sentinel", "sentinel://"),
        (tcp, scheme != "redis+socket", "TCP connections"),
        (("ssl",), scheme in ("rediss", "sentinel"), "rediss:// and sentinel://"),
    ):
        if not used:
            idle |= {name: f"it is for {kind}" for name in names if name in given}
    return idle
