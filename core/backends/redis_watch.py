"""Many results in Redis for many who wait: one subscriber connection, heard by one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from ..errors import BackendError
from .redis_lines import Ear, NoRoomToListen, Pool
from .redis_places import TIMEOUT
from .watching import Watch, await_readable

#: Channels that are subscribed to at most; whatever is watched beyond is looked at.
_CHANNELS = 10_000


class _Listener(Ear):
    """An ear that notes what it hears."""

    def __init__(self, pool: Pool, ping_after: float) -> None:
        super().__init__(pool, ping_after)
        self.heard: dict[bytes, bytes] = {}

    def fileno(self) -> int:
        assert self._connection is not None
        number: int = self._connection._sock.fileno()
        return number

    def _take(self, message: Any) -> bytes:
        kind = super()._take(message)
        if kind == b"message" and message[1] in self.latest:
            self.heard[message[1]] = message[2]
        return kind


class RedisWatch(Watch):
    """Is told of every meta that is stored, and looks once at what was there before.

    Where there is no connection left to listen on, and beyond so many channels, it looks.
    """

    def __init__(
        self,
        load: Callable[[Sequence[str]], dict[str, bytes]],
        *,
        pool: Pool,
        ping_after: float,
        key: Callable[[str], bytes],
        error: Callable[[RedisError], BackendError],
    ) -> None:
        super().__init__(load)
        self._ear = _Listener(pool, ping_after)
        self._ping_after = ping_after
        self._key = key
        self._error = error
        self._deaf = False
        #: Channel -> id, of all that is listened for; and of what is not subscribed to yet.
        self._ids: dict[bytes, str] = {}
        self._unheard: dict[bytes, None] = {}

    def hear(self, timeout: float) -> dict[str, bytes]:
        if self._deaf:
            return super().hear(timeout)
        until = time.monotonic() + timeout
        try:
            news = self._turn()
            while True:
                news = news or self._heard() or self._look(time.monotonic())
                rest = until - time.monotonic()
                if news or self.bell.rung or rest <= 0:
                    return news
                self._await(rest)
        except NoRoomToListen:
            self._deaf = True
            self.add(self._ids.values())
            return {}
        except RedisError as exc:
            self._ear.close()
            self._unheard = dict.fromkeys(self._ids)
            raise self._error(exc) from exc

    def close(self) -> None:
        self._ear.close()
        super().close()

    def _turn(self) -> dict[str, bytes]:
        """Turn the ear to what was added; return what is stored of it."""
        coming, going = self.changes()
        leaving = [self._key(task_id) for task_id in going]
        self._ear.unsubscribe([key for key in leaving if self._ids.pop(key, None) is not None])
        for task_id, key in zip(going, leaving, strict=True):
            self._unheard.pop(key, None)
            self.look_no_longer(task_id)
        for task_id in coming:
            if len(self._ids) >= _CHANNELS:
                self.look_at(task_id)
                continue
            key = self._key(task_id)
            self._ids[key] = task_id
            self._unheard[key] = None
        if not self._unheard:
            return {}
        fresh = list(self._unheard)
        self._ear.subscribe(fresh, time.monotonic() + TIMEOUT)
        news = self._load([self._ids[key] for key in fresh])
        self._unheard.clear()
        return news

    def _await(self, timeout: float) -> None:
        """Wait for a message, the bell, or the next look; a server silent for long is asked."""
        now = time.monotonic()
        timeout = min(timeout, self._next_look(now) - now)
        if not self._ids:
            await_readable([self.bell], timeout)
        elif timeout < self._ping_after:
            await_readable([self._ear.fileno(), self.bell], timeout)
        elif not await_readable([self._ear.fileno(), self.bell], self._ping_after):
            self._ear.ask_for_life()

    def _heard(self) -> dict[str, bytes]:
        while self._ear.hear(0):  # what came together is looked at together
            pass
        heard, self._ear.heard = self._ear.heard, {}
        return {self._ids[key]: meta for key, meta in heard.items() if key in self._ids}
