"""What a Redis server says of itself when it is opened, and which servers cannot be used.

A user who may not ask INFO gets no checks; then the first command that fails tells.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..errors import BrokerConnectionError, BrokerError
from .redis_keys import Keys
from .redis_line import Line
from .redis_refusals import NO_CLUSTER, rights_wanted
from .redis_rights import missing_rights

logger = logging.getLogger(__name__)

#: The oldest server that knows ZMSCORE, RPOP with a count and ZADD GT.
OLDEST_SERVER = (6, 2)
#: Servers that were warned of: once a process is enough, however often the line breaks.
_warned: set[tuple[str, str]] = set()


def facts(line: Line) -> dict[str, str]:
    """Return the lines of INFO; nothing if the user may not ask."""
    try:
        told = line.ask(b"INFO")
    except BrokerConnectionError:
        raise
    except BrokerError:
        return {}
    pairs = (text.partition(":") for text in bytes(told).decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def version(info: Mapping[str, str]) -> str:
    """Return the version a server says it has; a Valkey also claims to be a Redis."""
    valkey = info.get("valkey_version")
    return f"{valkey} (Valkey)" if valkey else info.get("redis_version", "")


def mode(info: Mapping[str, str]) -> str:
    """Return standalone, cluster or sentinel; empty if it was not told."""
    return info.get("redis_mode") or info.get("server_mode") or ""


def check_server(line: Line, keys: Keys, *, consumer: bool) -> None:
    """Raise if this server cannot carry Celery's queues; warn if it may lose them.

    A `consumer` needs a master and every right; others only find out when they write.
    """
    where, info = line.address.shown, facts(line)
    if mode(info) == "cluster":
        raise BrokerError(f"{where} {NO_CLUSTER}")
    if mode(info) == "sentinel":
        raise BrokerError(
            f"{where} is a sentinel: write sentinel://host:port, and its master_name into"
            " broker_transport_options"
        )
    numbers = tuple(int(n) for n in info.get("redis_version", "").split(".")[:2] if n.isdigit())
    if numbers and numbers < OLDEST_SERVER:
        raise BrokerError(f"{where} runs Redis {info['redis_version']}: 6.2 or newer is needed")
    if not consumer:
        return
    if info.get("role") == "slave":
        raise BrokerConnectionError(
            f"{where} is a replica and takes no writes: its master is"
            f" {info.get('master_host')}:{info.get('master_port')}"
        )
    _check_rights(line, keys)
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys") and info.get("maxmemory", "0") != "0":
        warn_once(
            where,
            f"its maxmemory-policy is {policy}: it drops queues when memory is full;"
            " CONFIG SET maxmemory-policy noeviction prevents that",
        )


def _check_rights(line: Line, keys: Keys) -> None:
    """Refuse a user who could not finish what a script begins."""
    if line.address.username in (None, "default"):
        return
    missing = missing_rights(line.replies_to, keys)
    if missing:
        raise rights_wanted(line.address.shown, line.address.username, missing)


def warn_once(where: str, text: str) -> None:
    """Log a warning about a server, once in this process."""
    if (where, text) not in _warned:
        _warned.add((where, text))
        logger.warning("%s: %s", where, text)
