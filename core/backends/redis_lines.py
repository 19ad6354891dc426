"""The connections of the Redis backend: how one is made, asked with a deadline, listened to.

A connection is used by one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from ..errors import ImproperlyConfigured
from ..redact import mask_url

#: redis-py's module, and one connection of it; their methods bear no types.
_driver: Any = redis.connection
Connection = Any

#: Seconds a command or a connect may take, unless the options say otherwise.
TIMEOUT, CONNECT_TIMEOUT = 10.0, 5.0
#: Seconds of silence after which a listener asks whether the server is still there.
PING_AFTER = 10.0
#: Options of `result_backend_transport_options` that redis-py takes as they are.
_DRIVER_OPTIONS = (
    "username",
    "password",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "client_name",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
)
#: What passes by itself: the server is out of reach, or silent.
LOST = (RedisConnectionError, RedisTimeoutError)


def connector(url: str, options: Mapping[str, Any]) -> Callable[[], Connection]:
    """Return what makes one connection.

    Raises ImproperlyConfigured if redis-py cannot read the URL or an option.
    """
    driver_url = url
    if url.startswith("redis+socket://"):
        driver_url = "unix://" + url.removeprefix("redis+socket://").replace("virtual_host=", "db=")
    try:
        from_url = _driver.parse_url(driver_url)
    except ValueError:  # its text may quote half a password
        raise ImproperlyConfigured(
            f"cannot read the result backend's URL {mask_url(url)}: host:port/db is expected, and"
            " special characters of a password written as %40, %2F, %23"
        ) from None
    try:
        settings: dict[str, Any] = {
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_keepalive": True,
            **{name: options[name] for name in _DRIVER_OPTIONS if name in options},
            **from_url,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }
        requirement = settings.get("ssl_cert_reqs")
        if isinstance(requirement, str):  # Celery writes CERT_NONE, redis-py none
            settings["ssl_cert_reqs"] = requirement.removeprefix("CERT_").lower()
        cls = settings.pop("connection_class", _driver.Connection)
        if not issubclass(cls, _driver.Connection):  # a unix socket
            for name in ("socket_keepalive", "socket_keepalive_options", "socket_connect_timeout"):
                settings.pop(name, None)
        cls(**settings)
    except (ValueError, TypeError, RedisError) as exc:
        raise ImproperlyConfigured(f"result backend {mask_url(url)}: {exc}") from exc
    return lambda: cls(**settings)


class Ear:
    """One subscriber connection, used by one thread.

    `latest` holds the newest meta of each subscribed channel, None where there is none.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._pinged = False
        self.latest: dict[bytes, bytes | None] = {}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        self._connection = None
        self._pinged = False
        self.latest.clear()

    def subscribe(self, channels: Sequence[bytes], deadline: float | None) -> None:
        """Subscribe, and return when the server has said so."""
        if self._connection is None:
            self._connection = self._connect()
        self._connection.send_command("SUBSCRIBE", *channels)
        if deadline is None:
            deadline = time.monotonic() + TIMEOUT
        unconfirmed = len(channels)
        while unconfirmed:
            answer = read_answer(self._connection, deadline)
            if isinstance(answer, RedisError):
                raise answer
            unconfirmed -= self._take(answer) == b"subscribe"
        self.latest.update(dict.fromkeys(channels))

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """Unsubscribe; what still comes of these channels is dropped."""
        leaving = [channel for channel in channels if self.latest.pop(channel, self) is not self]
        if leaving and self._connection is not None:
            self._connection.send_command("UNSUBSCRIBE", *leaving)

    def hear(self, timeout: float) -> bool:
        """Take one message, if one comes within `timeout` seconds; return whether it did.

        Raises redis' TimeoutError if the server has been silent for two long timeouts.
        """
        if self._connection is None:
            return False
        if self._connection.can_read(timeout):
            self._take(self._connection.read_response())
            self._pinged = False
            return True
        if timeout >= PING_AFTER:
            if self._pinged:
                raise RedisTimeoutError(f"no sign of life for {2 * PING_AFTER:g} s")
            self._connection.send_command("PING")
            self._pinged = True
        return False

    def _take(self, message: Any) -> bytes:
        kind: bytes = message[0]
        if kind == b"message" and message[1] in self.latest:
            self.latest[message[1]] = message[2]
        return kind


def may_pass(exc: BaseException | None) -> bool:
    """Return whether the server was only out of reach, so that trying again makes sense."""
    return isinstance(exc, LOST) and not isinstance(exc, AuthenticationError)


def read_answer(connection: Connection, deadline: float) -> Any:
    """Return one answer; an error of the server is returned, not raised."""
    if not connection.can_read(max(0.0, deadline - time.monotonic())):
        raise RedisTimeoutError("no answer in time")
    try:
        return connection.read_response()
    except LOST:
        raise
    except RedisError as exc:
        return exc
