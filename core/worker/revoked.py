"""Ids of revoked tasks, kept for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping

from ..errors import ImproperlyConfigured

#: How many ids are kept, and for how long (s), as Celery 5.7 worker/state.py; the environment may
#: say otherwise in CELERY_WORKER_REVOKES_MAX and CELERY_WORKER_REVOKE_EXPIRES.
MAX_REVOKES, REVOKE_EXPIRES = 50_000, 10_800.0


class LimitedSet:
    """A set that forgets: what is older than `expires` seconds, and the oldest beyond `maxlen`.

    `changes` counts what was added, so that who keeps a copy knows when it is old.
    """

    def __init__(self, maxlen: int = MAX_REVOKES, expires: float = REVOKE_EXPIRES) -> None:
        self.maxlen = maxlen
        self.expires = expires
        self.changes = 0
        self._added: dict[str, float] = {}
        #: What is kept until a time of its own (time.monotonic): it stands at the broker.
        self._kept: dict[str, float] = {}

    def keep(self, ids: Mapping[str, float]) -> list[str]:
        """Hold these for so many seconds each, and forget what was so kept before; return those
        that were not in the set."""
        now = time.monotonic()
        fresh = [item for item in ids if item not in self]
        self._kept = {item: now + seconds for item, seconds in ids.items()}
        return fresh

    def add(self, item: str) -> None:
        self._put(item, time.monotonic())

    def _put(self, item: str, added: float) -> None:
        self._added.pop(item, None)
        self._added[item] = added
        self.changes += 1
        if len(self._added) > self.maxlen:
            self.purge()

    def update(self, items: Iterable[str]) -> None:
        for item in items:
            self.add(item)

    def discard(self, item: str) -> None:
        if self._added.pop(item, None) is not None:
            self.changes += 1

    def purge(self) -> None:
        """Forget what is too old or too much; ids are in the order they were added."""
        horizon = time.monotonic() - self.expires
        for item, added in list(self._added.items()):
            if added > horizon and len(self._added) <= self.maxlen:
                break
            del self._added[item]

    def ages(self) -> list[tuple[str, float]]:
        """Return every id and the seconds since it was added, oldest first."""
        self.purge()
        now = time.monotonic()
        return [(item, now - added) for item, added in self._added.items()]

    def restore(self, ages: Iterable[tuple[str, float]]) -> None:
        """Add ids that were added so many seconds ago; those too old are left out."""
        now = time.monotonic()
        for item, age in sorted(ages, key=lambda pair: -pair[1]):
            if 0 <= age < self.expires:
                self._put(item, now - age)

    def __contains__(self, item: str) -> bool:
        added = self._added.get(item)
        if added is not None and added > time.monotonic() - self.expires:
            return True
        return bool(self._kept) and self._kept.get(item, 0.0) > time.monotonic()

    def __len__(self) -> int:
        return len(self._added)

    def __iter__(self) -> Iterator[str]:
        self.purge()
        now = time.monotonic()
        kept = (item for item, until in self._kept.items() if until > now)
        return iter(list(dict.fromkeys([*self._added, *kept])))


def revoked_set() -> LimitedSet:
    """Return an empty set with the limits that the environment names.

    Raises ImproperlyConfigured for one that is no number.
    """
    return LimitedSet(
        int(_from_environment("CELERY_WORKER_REVOKES_MAX", MAX_REVOKES)),
        _from_environment("CELERY_WORKER_REVOKE_EXPIRES", REVOKE_EXPIRES),
    )


def _from_environment(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ImproperlyConfigured(f"{name}={text}: a number above 0 expected")
    return value
