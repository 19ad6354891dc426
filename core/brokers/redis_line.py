"""One connection to a Redis server: commands out, replies in, and redis-py's errors put in words.

Nobody above this file sees an exception of the driver.  Commands are packed here by hand: for a
batch of 100 tags that is 4 times faster than the driver's own packing, which copes with more types.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from ..errors import BrokerConnectionError, BrokerError
from .redis_options import Address, Options, clean_tls

logger = logging.getLogger(__name__)

Argument = bytes | str | int | float

#: Beginnings of replies that pass by themselves: a server that starts, or a master that changed.
PASSING = ("READONLY", "MASTERDOWN", "LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "UNBLOCKED")
NO_ACCESS = (
    redis.AuthenticationError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
    redis.exceptions.NoPermissionError,
)


class Script:
    """A Lua script, known to the server by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


def pack(arguments: Sequence[Argument]) -> bytes:
    """Return arguments in Redis' own notation, without the count that a command begins with."""
    encoded = [
        part if type(part) is bytes else str(part).encode("utf-8", "surrogatepass")
        for part in arguments
    ]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded])


def command(*arguments: Argument) -> bytes:
    """Return one whole command."""
    return b"*%d\r\n%b" % (len(arguments), pack(arguments))


def script_call(script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> bytes:
    """Return the call of a script."""
    return command(b"EVALSHA", script.sha, len(keys), *keys, *arguments)


class Line:
    """A connection that is opened once; after an error of the connection it stays closed."""

    def __init__(self, address: Address, options: Options, timeout: float) -> None:
        self.address = address
        self.alive = False
        self._owed = 0
        self._connection = _connection(address, options, timeout)
        try:
            self._connection.connect()
        except (redis.RedisError, OSError) as exc:
            raise self._translated(exc) from exc
        self.alive = True
        try:
            self.ask(b"PING")  # a server that wants a password, or is loading, says so only now
        except BrokerError:
            self.close()
            raise
        self._socket().settimeout(options.socket_timeout)

    def close(self) -> None:
        """Let go of the connection; in a forked child the parent's end is not disturbed."""
        self.alive = False
        self._connection.disconnect()

    def fileno(self) -> int:
        return int(self._socket().fileno())

    def _socket(self) -> Any:
        return self._connection._sock  # the driver offers no other way to its descriptor

    # --- commands ---------------------------------------------------------------------------

    def ask(self, *arguments: Argument) -> Any:
        """Send one command and return its reply."""
        return self.exchange(command(*arguments), 1)[0]

    def ask_all(self, commands: Sequence[bytes]) -> list[Any]:
        """Send commands in one write and return their replies."""
        return self.exchange(b"".join(commands), len(commands))

    def transact(self, commands: Sequence[bytes]) -> list[Any]:
        """Send commands to be carried out together and return their replies."""
        if len(commands) == 1:
            return self.ask_all(commands)
        replies = self.ask_all([command(b"MULTI"), *commands, command(b"EXEC")])[-1]
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise self._translated(reply) from reply
        return list(replies)

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
        """Run a script and return its reply."""
        return self.run_packed(script, script_call(script, keys, arguments))

    def run_packed(self, script: Script, packed: bytes) -> Any:
        """Run a script whose call is packed; hand it to the server if it is unknown there."""
        self.send(packed)
        try:
            return self._replies(1)[0]
        except BrokerError as exc:
            if not isinstance(exc.__cause__, redis.exceptions.NoScriptError):
                raise
        self.ask(b"SCRIPT", b"LOAD", script.text)
        return self.exchange(packed, 1)[0]

    def post(self, *arguments: Argument) -> None:
        """Send one command whose reply is read with the next one's; a refusal is only logged."""
        self.send(command(*arguments))
        self._owed += 1

    def exchange(self, packed: bytes, count: int) -> list[Any]:
        """Send what is packed and return `count` replies, the first error raised."""
        self.send(packed)
        return self._replies(count)

    def read(self) -> Any:
        """Return one message that came unasked, or the reply to what was sent."""
        return self._replies(1)[0]

    def send(self, packed: bytes) -> None:
        """Send what is packed; somebody else reads the replies."""
        self._refuse_if_closed()
        self.alive = False  # also if a signal handler raises half-way
        try:
            self._connection.send_packed_command((packed,), check_health=False)
        except (redis.RedisError, OSError) as exc:
            raise self._translated(exc) from exc
        self.alive = True

    def _refuse_if_closed(self) -> None:
        """The driver would silently connect anew, without what was subscribed and tracked."""
        if not self.alive:
            raise BrokerConnectionError(f"the line to {self.address.shown} is closed: open it")

    def _replies(self, count: int) -> list[Any]:
        """Read all that is owed, or the next reply would answer an older question."""
        owed, self._owed = self._owed, 0
        self._refuse_if_closed()
        self.alive = False
        replies = [self._reply() for _ in range(owed + count)]
        self.alive = True
        for refusal in replies[:owed]:
            if isinstance(refusal, redis.ResponseError):
                logger.warning("a note was not taken: %s", self._translated(refusal))
        for refusal in replies[owed:]:
            if isinstance(refusal, redis.ResponseError):
                raise self._translated(refusal) from refusal
        return replies[owed:]

    def _reply(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except redis.ResponseError as exc:
            return exc
        except (redis.RedisError, OSError) as exc:
            raise self._translated(exc) from exc

    # --- what comes unasked -----------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether a message (or the end of the connection) can be read without waiting."""
        self._refuse_if_closed()
        try:
            return bool(self._connection.can_read(0))
        except (redis.RedisError, OSError) as exc:
            self.alive = False
            raise self._translated(exc) from exc

    # --- errors -----------------------------------------------------------------------------

    def _translated(self, exc: Exception) -> BrokerError:
        """Return the driver's exception as one of ours, in one sentence."""
        where, text = self.address.shown, str(exc).strip().rstrip(".")
        if isinstance(exc, NO_ACCESS) or text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
            return BrokerError(f"{where} refuses access, check user and password: {text}")
        if isinstance(exc, redis.exceptions.BusyLoadingError):
            return BrokerConnectionError(f"{where} is still loading its data: try again")
        if isinstance(exc, redis.TimeoutError | TimeoutError):
            return BrokerConnectionError(f"{where} did not answer in time: {text}")
        if isinstance(exc, redis.ConnectionError | OSError):
            return BrokerConnectionError(f"broker {where}: {_reason(exc) or text}")
        if isinstance(exc, redis.exceptions.OutOfMemoryError) or "OOM" in text[:40]:
            return BrokerError(
                f"{where} is out of memory and stored nothing: raise maxmemory or drain its queues"
            )
        if isinstance(exc, redis.exceptions.ReadOnlyError) or text.startswith(PASSING):
            return BrokerConnectionError(f"{where} takes no writes now, try again: {text}")
        if "WRONGTYPE" in text:
            return BrokerError(
                f"{where} holds something else under the name of a queue or a table of ours "
                f"(look with TYPE, then move it away): {text}"
            )
        return BrokerError(f"{where} refused: {text}")


def _reason(exc: Exception) -> str:
    """Return what the system says of a connection that failed, without the driver's words."""
    for error in (exc, exc.__cause__, exc.__context__):
        if isinstance(error, OSError) and error.strerror:
            return error.strerror[:1].lower() + error.strerror[1:]
    return ""


def _connection(address: Address, options: Options, timeout: float) -> Any:
    """Return the driver's connection, not yet connected, that never retries by itself."""
    given: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "client_name": options.client_name,
        "socket_timeout": min(timeout, options.socket_timeout or timeout),
        "retry": Retry(NoBackoff(), 0),  # one try: whoever opened us decides on the next
        "protocol": 2,  # the bell reads invalidations as RESP2 sends them
    }
    if address.path is not None:
        make: Any = UnixDomainSocketConnection
        return make(path=address.path, **given)
    given |= {
        "host": address.host,
        "port": address.port,
        "socket_connect_timeout": min(timeout, options.socket_connect_timeout or timeout),
    }
    if options.socket_keepalive is not None:
        given["socket_keepalive"] = options.socket_keepalive
    if options.socket_keepalive_options is not None:
        given["socket_keepalive_options"] = options.socket_keepalive_options
    if not address.tls:
        make = Connection
        return make(**given)
    tls = clean_tls({**(options.ssl or {}), **address.tls_options})
    if isinstance(tls.get("ssl_cert_reqs"), ssl.VerifyMode):
        tls["ssl_cert_reqs"] = tls["ssl_cert_reqs"].name.removeprefix("CERT_").lower()
    return SSLConnection(**given, **tls)
