"""Asking sentinels which server is the master; who asks connects there and asks again when it is
gone.

A sentinel is believed if it sees the master up and knows enough others
(`min_other_sentinels`); the first one believed decides, as with redis-py and so with Celery.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.retry import Retry

from ..errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from .redis_address import TLS_OPTIONS, Address, clean_tls
from .redis_options import Options
from .redis_refusals import reason

logger = logging.getLogger(__name__)

#: What `sentinel_kwargs` may hold: how to reach and how to log in at a sentinel.
KNOWN = (
    "username", "password", "client_name", "socket_timeout", "socket_connect_timeout",
    "socket_keepalive", "socket_keepalive_options", "ssl", *TLS_OPTIONS,
)  # fmt: skip
#: Longest wait for one sentinel (seconds), so that dead ones do not use up the time to connect.
PATIENCE = 1.0


def check_options(address: Address, options: Options) -> None:
    """Raise ImproperlyConfigured for what sentinels cannot be asked with."""
    if not address.sentinels:
        return
    if not options.master_name:
        raise ImproperlyConfigured(
            "a sentinel:// broker URL needs the name of the master: set master_name in"
            " broker_transport_options, as sentinel.conf has it after 'sentinel monitor'"
        )
    for name in options.sentinel_kwargs or {}:
        if name not in KNOWN:
            raise ImproperlyConfigured(
                f"broker_transport_options: sentinel_kwargs: unknown option {name!r}: choose from"
                f" {', '.join(KNOWN)}"
            )
    _tls(options.sentinel_kwargs or {})


class Finder:
    """Finds the server of an address each time a line is opened, and tells when it has moved."""

    def __init__(self, address: Address, options: Options) -> None:
        check_options(address, options)
        self._address, self._options = address, options
        self._last: Address | None = None

    def find(self, timeout: float) -> Address:
        """Return the address as it is, or that of the master now if there are sentinels."""
        if not self._address.sentinels:
            return self._address
        found, last = find_master(self._address, self._options, timeout), self._last
        if last is not None and (found.host, found.port) != (last.host, last.port):
            logger.warning(
                "the master %s is at %s:%d now, and no longer at %s:%d",
                self._options.master_name, found.host, found.port, last.host, last.port,
            )  # fmt: skip
        self._last = found
        return found


def _tls(given: Mapping[str, Any]) -> dict[str, Any]:
    return clean_tls({name: value for name, value in given.items() if name in TLS_OPTIONS})


def find_master(address: Address, options: Options, timeout: float) -> Address:
    """Return `address` with the host and port of the master that the sentinels name.

    Raises BrokerConnectionError if none answers or sees the master up, BrokerError if they do not
    know its name or refuse to talk.
    """
    name = options.master_name or ""
    silent: list[str] = []
    refused: list[str] = []
    for host, port in address.sentinels:
        place = f"{host}:{port}"
        try:
            state = _ask(host, port, name, options, min(timeout, PATIENCE))
        except redis.AuthenticationError as exc:
            refused.append(f"{place} refuses access, set sentinel_kwargs: {exc}")
        except redis.ResponseError as exc:
            text = str(exc)
            if "No such master" in text:
                text = f"knows no master {name!r}, check master_name"
            elif text.startswith(("NOAUTH", "NOPERM", "WRONGPASS")):
                text = f"refuses access, set sentinel_kwargs: {text}"
            refused.append(f"{place} {text}")
        except (redis.RedisError, OSError) as exc:
            silent.append(f"{place} {reason(exc) or str(exc).rstrip('.')}")
        else:
            doubt = _doubt(state, options.min_other_sentinels)
            if not doubt:
                return _at(address, name, state["ip"], int(state["port"]))
            silent.append(f"{place} {doubt}")
    told = "; ".join([*refused, *silent])
    if refused and not silent:
        raise BrokerError(f"sentinels of {name!r}: {told}")
    raise BrokerConnectionError(f"no sentinel names a master {name!r} that is up: {told}")


def _at(address: Address, name: str, host: str, port: int) -> Address:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    shown = f"sentinel://{name} at {place}/{address.db}"
    return msgspec.structs.replace(address, shown=shown, host=host, port=port)


def _doubt(state: Mapping[str, str], others: int) -> str:
    """Return why a sentinel's word is not taken; empty if it is."""
    flags = state.get("flags", "").split(",")
    if "s_down" in flags or "o_down" in flags or "master" not in flags:
        return f"sees {state.get('ip')}:{state.get('port')} down, and no other was chosen yet"
    known = int(state.get("num-other-sentinels", 0))
    if known < others:
        return f"knows {known} other sentinels, min_other_sentinels is {others}"
    return ""


def _ask(host: str, port: int, name: str, options: Options, timeout: float) -> dict[str, str]:
    """Return what one sentinel says of the master."""
    given = dict(options.sentinel_kwargs or {})
    over_tls = bool(given.pop("ssl", False))
    tls = _tls(given)
    settings: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        **{key: value for key, value in given.items() if key not in TLS_OPTIONS},
        "host": host,
        "port": port,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    make: Any = SSLConnection if over_tls or tls else Connection
    connection = make(**settings, **tls)
    try:
        connection.connect()
        connection.send_command("SENTINEL", "MASTER", name)
        told = connection.read_response(disable_decoding=True)
    finally:
        connection.disconnect()
    words = [bytes(word).decode("utf-8", "replace") for word in told]
    return dict(zip(words[::2], words[1::2], strict=False))
