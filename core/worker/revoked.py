"""Ids of revoked tasks, kept for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

#: How many ids are kept, and for how long (s); Celery's CELERY_WORKER_REVOKES_MAX and
#: CELERY_WORKER_REVOKE_EXPIRES.
MAX_REVOKES, REVOKE_EXPIRES = 50_000, 10_800.0


class LimitedSet:
    """A set that forgets: what is older than `expires` seconds, and the oldest beyond `maxlen`."""

    def __init__(self, maxlen: int = MAX_REVOKES, expires: float = REVOKE_EXPIRES) -> None:
        self.maxlen = maxlen
        self.expires = expires
        self._added: dict[str, float] = {}

    def add(self, item: str) -> None:
        self._added.pop(item, None)
        self._added[item] = time.monotonic()
        if len(self._added) > self.maxlen:
            self.purge()

    def update(self, items: Iterable[str]) -> None:
        for item in items:
            self.add(item)

    def discard(self, item: str) -> None:
        self._added.pop(item, None)

    def purge(self) -> None:
        """Forget what is too old or too much; ids are in the order they were added."""
        horizon = time.monotonic() - self.expires
        for item, added in list(self._added.items()):
            if added > horizon and len(self._added) <= self.maxlen:
                break
            del self._added[item]

    def __contains__(self, item: str) -> bool:
        added = self._added.get(item)
        return added is not None and added > time.monotonic() - self.expires

    def __len__(self) -> int:
        return len(self._added)

    def __iter__(self) -> Iterator[str]:
        self.purge()
        return iter(list(self._added))
