"""The connections of the Redis backend: lent out, asked with a deadline, listened to.

A connection is used by one thread at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .redis_places import PING_AFTER, TIMEOUT, Connection

#: What passes by itself: the server is out of reach, silent, or not the master any more.
LOST = (RedisConnectionError, RedisTimeoutError, ReadOnlyError)
#: Channels per SUBSCRIBE.
_CHANNELS = 500


class Pool:
    """The connections of one process, at most `limit` of them (None: as many as are needed)."""

    def __init__(self, connect: Callable[[], Connection], limit: int | None) -> None:
        self._connect = connect
        self._limit = limit
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._made = 0

    def take(self, deadline: float, *, fresh: bool = False) -> tuple[Connection, bool]:
        """Lend a connection and say whether it has been used before; wait for one if need be.

        With `fresh`, those that lay idle are closed.  Raises redis' TimeoutError at `deadline`
        if all that may exist are in use.
        """
        with self._changed:
            while fresh and self._idle:
                self._close_idle()
            while not self._idle and self._limit is not None and self._made >= self._limit:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise RedisTimeoutError(
                        f"all {self._limit} connections (redis_max_connections) are in use"
                    )
            if self._idle:
                return self._idle.pop(), True
            self._made += 1
        return self._new(), False

    def take_apart(self) -> Connection | None:
        """Lend a new connection for long, unless that would leave none for questions."""
        with self._changed:
            if self._limit is not None:
                if self._made - len(self._idle) + 1 >= self._limit:
                    return None
                if self._made >= self._limit:
                    self._close_idle()
            self._made += 1
        return self._new()

    def _new(self) -> Connection:
        try:
            return self._connect()
        except BaseException:
            self._forget_one()
            raise

    def give(self, connection: Connection) -> None:
        """Take a connection back, for the next one who asks."""
        with self._changed:
            self._idle.append(connection)
            self._changed.notify()

    def drop(self, connection: Connection) -> None:
        """Close a connection that was lent."""
        connection.disconnect()
        self._forget_one()

    def close(self) -> None:
        """Close what lies idle."""
        with self._changed:
            while self._idle:
                self._close_idle()

    def _close_idle(self) -> None:
        self._idle.pop().disconnect()
        self._made -= 1

    def _forget_one(self) -> None:
        with self._changed:
            self._made -= 1
            self._changed.notify()


class NoRoomToListen(Exception):
    """There is no connection left to listen on."""


class Ear:
    """One subscriber connection, used by one thread.

    `latest` holds the newest meta of each subscribed channel, None where there is none.
    """

    def __init__(self, pool: Pool, ping_after: float = PING_AFTER) -> None:
        self._pool = pool
        self._ping_after = ping_after
        self._connection: Connection | None = None
        self._pinged = False
        self.latest: dict[bytes, bytes | None] = {}

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.drop(connection)
        self._pinged = False
        self.latest.clear()

    def subscribe(self, channels: Sequence[bytes], deadline: float | None) -> None:
        """Subscribe, and return when the server has said so."""
        if self._connection is None:
            self._connection = self._pool.take_apart()
            if self._connection is None:
                raise NoRoomToListen
            # The answer to redis-py's own check would come among the messages.
            self._connection.health_check_interval = 0
        if deadline is None:
            deadline = time.monotonic() + TIMEOUT
        for start in range(0, len(channels), _CHANNELS):
            some = channels[start : start + _CHANNELS]
            self._connection.send_command("SUBSCRIBE", *some)
            unconfirmed = len(some)
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
        if timeout >= self._ping_after:
            self.ask_for_life()
        return False

    def ask_for_life(self) -> None:
        """Ask a server that has been silent for long whether it is there.

        Raises redis' TimeoutError if it did not answer the last time either.
        """
        if self._connection is None:
            return
        if self._pinged:
            raise RedisTimeoutError(f"no sign of life for {2 * self._ping_after:g} s")
        self._connection.send_command("PING")
        self._pinged = True

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
