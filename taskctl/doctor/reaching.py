"""How to look at a server from a shell: what to paste when it is away, or slow, by its kind."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from taskctl.core.errors import BrokerConnectionError
from taskctl.core.sqlitefile import path_of_url

_REDIS = ("redis://", "rediss://", "redis+socket://", "sentinel://")
_AMQP = ("amqp://", "amqps://", "pyamqp://")
#: Names of the host on which the command itself runs.
_HERE = ("", "localhost", "127.0.0.1", "::1")


def is_amqp(url: str) -> bool:
    """Return whether a URL is one of RabbitMQ's."""
    return url.startswith(_AMQP)


def how_to_reach(url: str, where: str, key: str, error: Exception) -> str:
    """Return what to look at first when a server gave `error`; the setting `key`, which `where`
    set, holds the URL."""
    set_by = f"   # {key} is set by {where}" if where else ""
    if url.startswith("sqlite"):
        return f"ls -ld {shlex.quote(str(path_of_url(url).parent))}"
    if url.startswith(_REDIS):
        return _ping(url) + set_by
    if is_amqp(url) and isinstance(error, BrokerConnectionError):
        port = _place(url, 5671 if url.startswith("amqps") else 5672)[1]
        return _at_rabbitmq(url, "check_port_listener", port) + set_by
    # A server that is there and refuses us has said why: what it refuses is in the URL.
    return f"taskctl config explain {key}"


def why_slow(url: str) -> str:
    """Return what to look at when a broker takes long to answer."""
    if url.startswith(_REDIS):
        return _ping(url)
    if is_amqp(url):
        return _at_rabbitmq(url, "status")
    return "a disk that is less busy, or a server: redis://, amqp://"


def _ping(url: str) -> str:
    return f"{redis_cli(url)} ping"


def _at_rabbitmq(url: str, *words: str) -> str:
    """Return a line that asks RabbitMQ's own tool, which works on its host alone."""
    host = _place(url, 0)[0]
    far = [] if host in _HERE else ["ssh", host]
    return shlex.join([*far, "rabbitmq-diagnostics", *words])


def _place(url: str, port: int) -> tuple[str, str]:
    """Return host and port of the first URL; of one that nobody can read, no host."""
    try:
        parts = urlsplit(url.split(";")[0])
        return parts.hostname or "localhost", str(parts.port or port)
    except ValueError:
        return "", str(port)


def redis_cli(url: str, server: Mapping[str, Any] | None = None) -> str:
    """Return how to call redis-cli for this server; it asks for the password itself.

    Where sentinels are named, `server` tells which server they mean; else it is one of them.
    """
    host, port = _place(url, 26379 if url.startswith("sentinel") else 6379)
    if not host:
        return "redis-cli"  # a URL that nobody can read; the check has said so
    parts = urlsplit(url.split(";")[0])
    if server and server.get("host"):
        host, port = server["host"], str(server["port"])
    db = parts.path.strip("/")
    words = ["redis-cli", "-h", host, "-p", port]
    if parts.scheme == "redis+socket":
        words, db = (
            ["redis-cli", "-s", parts.path],
            dict(parse_qsl(parts.query)).get("virtual_host", ""),
        )
    words += ["-n", db] if db.isdigit() and db != "0" else []
    words += ["--tls"] if parts.scheme == "rediss" else []
    words += ["--user", parts.username] if parts.username else []
    words += ["--askpass"] if parts.password else []
    return shlex.join(words)
