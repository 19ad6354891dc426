"""The memory limiter: it lives and dies with its process; for one worker alone, and for tests.

Limiters of one URL in one process meet; one without a URL is alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import clock
from .base import Limiter, LockWish, Passes, PassWish, Place, SlotWish, next_passes

#: Entries beyond which those whose time is over are swept.
_MANY = 1000


class _Store:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tats: dict[str, float] = {}
        #: key -> holder -> until when
        self.slots: dict[str, dict[str, float]] = {}
        #: key -> (holder, until when, whether its task runs)
        self.locks: dict[str, tuple[str, float, bool]] = {}


_stores: dict[str, _Store] = {}


class MemoryLimiter(Limiter):
    """Counters of this process; see `base.Limiter`."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options=options)
        self._store = _stores.setdefault(url, _Store()) if url else _Store()

    def close(self) -> None:
        """Nothing is held open."""

    def reserve(self, wishes: Sequence[PassWish]) -> list[Passes]:
        now, found = clock.monotonic(), []
        with self._store.lock:
            tats = self._store.tats
            for wish in wishes:
                tats[wish.key], passes = next_passes(tats.get(wish.key, 0.0), now, wish)
                found.append(passes)
            if len(tats) > _MANY:
                for key in [key for key, tat in tats.items() if tat < now]:
                    del tats[key]
        return found

    def occupy(self, wishes: Sequence[SlotWish], seconds: float) -> list[list[str]]:
        now, found = clock.monotonic(), []
        with self._store.lock:
            for wish in wishes:
                held = self._store.slots.setdefault(wish.key, {})
                for holder in [holder for holder, until in held.items() if until <= now]:
                    del held[holder]
                given = []
                for holder in wish.holders:
                    if holder in held or len(held) < wish.size:
                        held[holder] = now + seconds
                        given.append(holder)
                found.append(given)
        return found

    def vacate(self, places: Iterable[Place]) -> None:
        with self._store.lock:
            for key, holder in places:
                held = self._store.slots.get(key, {})
                held.pop(holder, None)
                if not held:
                    self._store.slots.pop(key, None)

    def renew(self, places: Iterable[Place], seconds: float) -> None:
        now = clock.monotonic()
        with self._store.lock:
            for key, holder in places:
                self._store.slots.setdefault(key, {})[holder] = now + seconds

    def claim(self, wishes: Sequence[LockWish]) -> list[str]:
        now, found = clock.monotonic(), []
        with self._store.lock:
            locks = self._store.locks
            for wish in wishes:
                owner, until, _ = locks.get(wish.key, ("", 0.0, False))
                if until <= now or owner == wish.holder:
                    least = now if wish.running else until
                    ends = max(least, now + wish.seconds)
                    locks[wish.key] = (wish.holder, ends, wish.running)
                    owner = wish.holder
                found.append(owner)
            if len(locks) > _MANY:
                for key in [key for key, (_, until, _) in locks.items() if until <= now]:
                    del locks[key]
        return found

    def extend(self, places: Iterable[Place], seconds: float) -> None:
        now = clock.monotonic()
        with self._store.lock:
            for key, holder in places:
                owner, until, running = self._store.locks.get(key, ("", 0.0, False))
                if owner == holder and until > now and not running:
                    self._store.locks[key] = (holder, max(until, now + seconds), False)

    def unlock(self, places: Iterable[Place]) -> None:
        with self._store.lock:
            for key, holder in places:
                if self._store.locks.get(key, ("",))[0] == holder:
                    del self._store.locks[key]

    def free(self, holders: Iterable[str]) -> None:
        wanted = set(holders)
        with self._store.lock:
            locks = self._store.locks
            for key in [key for key, lock in locks.items() if lock[0] in wanted and not lock[2]]:
                del locks[key]
