"""What a doctor asks a Redis server: settings that lose messages, and what nobody cleans up.

Nothing is changed, and no question grows with the number of messages: keys are looked over with
SCAN, at most `MOST_KEYS` of them.
"""

from __future__ import annotations

import time
from typing import Any

from ..errors import BrokerConnectionError, BrokerError
from .redis_greeting import facts
from .redis_keys import BINDING, Keys
from .redis_line import Line, command

#: How many keys one look goes over; a million takes Redis about a second.
MOST_KEYS = 50_000
_PAGE = 1000
#: Lines of INFO that are told on.
_INFO = (
    "redis_version", "valkey_version", "uptime_in_seconds", "role", "master_host", "master_port",
    "master_link_status", "connected_slaves", "loading", "used_memory", "maxmemory",
    "maxmemory_policy", "evicted_keys", "connected_clients", "maxclients", "rejected_connections",
    "aof_enabled", "aof_last_write_status", "rdb_last_bgsave_status", "rdb_last_save_time",
)  # fmt: skip
_REPLIES = b".reply.celery.pidbox"
_RESULTS = b"celery-task-meta-"


def examine(line: Line, keys: Keys) -> dict[str, Any]:
    """Return facts about the server; what it does not tell is None.

    `host` and `port` are the server's (the master's, where sentinels are asked), `info` are lines
    of INFO, `save` the setting of that name, `clock_skew` its clock minus ours in seconds,
    `latency` one round trip in seconds, `orphans` how many unacknowledged messages are older than
    the visibility timeout, `litter` what was left behind.
    """
    began = time.monotonic()
    clock = line.ask(b"TIME")
    latency = time.monotonic() - began
    now = time.time()
    server = int(clock[0]) + int(clock[1]) / 1e6
    return {
        "kind": "redis",
        "host": line.address.host,
        "port": line.address.port,
        "latency": latency,
        "clock_skew": server - (now - latency / 2),
        "info": {name: value for name, value in facts(line).items() if name in _INFO},
        "save": _setting(line, b"save"),
        "orphans": _orphans(line, keys, server),
        "litter": _litter(line, keys),
    }


def _setting(line: Line, name: bytes) -> str | None:
    """Return a setting of the server; None if it may not be asked, as where it is rented."""
    try:
        told = line.ask(b"CONFIG", b"GET", name)
    except BrokerConnectionError:
        raise
    except BrokerError:
        return None
    return bytes(told[1]).decode() if len(told) > 1 else None


def _orphans(line: Line, keys: Keys, now: float) -> int:
    """Living owners renew the entries of what they hold, so an old one belongs to nobody."""
    limit = now - float(keys.options.visibility_timeout)
    return int(line.ask(b"ZCOUNT", keys.unacked_index, b"-inf", f"({limit}"))


def _litter(line: Line, keys: Keys) -> dict[str, Any]:
    """Count lists of replies that nobody fetched, and results that never expire."""
    cursor, seen = b"0", 0
    found: dict[str, list[bytes]] = {"replies": [], "results": []}
    while seen < MOST_KEYS:
        cursor, page = line.ask(b"SCAN", cursor, b"COUNT", _PAGE)
        seen += len(page)
        found["replies"] += [key for key in page if key.endswith(_REPLIES)
                             and BINDING.encode() not in key]  # fmt: skip
        found["results"] += [key for key in page if _RESULTS in key]
        if cursor == b"0":
            break
    stale = {name: _without_end(line, some) for name, some in found.items()}
    bindings = line.ask(b"SCARD", keys.binding("reply.celery.pidbox"))
    return {
        "reply_queues": len(stale["replies"]),
        "results_without_end": len(stale["results"]),
        "reply_bindings": int(bindings),
        "keys_seen": seen,
        "all_seen": cursor == b"0",
        "examples": [key.decode("utf-8", "replace") for some in stale.values() for key in some[:1]],
    }


def _without_end(line: Line, keys: list[bytes]) -> list[bytes]:
    """Return those keys that never expire."""
    lasting: list[bytes] = []
    for start in range(0, len(keys), _PAGE):
        part = keys[start : start + _PAGE]
        times = line.ask_all([command(b"TTL", key) for key in part])
        lasting += [key for key, left in zip(part, times, strict=True) if left == -1]
    return lasting
