"""Results in this process, for tests: every backend with the same URL sees the same ones.

Nothing is shared with a forked child, so it serves the solo and threads pools only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..wire.outcome import StoredMeta
from .base import Backend, is_news


class _Store:
    """What the backends of one URL share; `changed` guards all of it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.metas: dict[str, tuple[str, bytes, float]] = {}
        self.groups: dict[str, tuple[bytes, float]] = {}


_stores: dict[str, _Store] = {}
_FOR_EVER = float("inf")


class MemoryBackend(Backend):
    """Results in a dict; `memory://` or, to keep tests apart, `memory://name`."""

    persistent = False

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._store = _stores.setdefault(url, _Store())

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to let go of; the results stay."""

    def store(self, batch: Sequence[StoredMeta]) -> None:
        now = time.monotonic()
        with self._store.changed:
            metas = self._store.metas
            for item in batch:
                state, _, expiry = metas.get(item.task_id, ("", b"", 0.0))
                if state != "SUCCESS" or expiry <= now:
                    metas[item.task_id] = (item.state, item.meta, self._expiry(item.state, now))
            self._store.changed.notify_all()

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        with self._store.changed:
            return self._load(task_ids)

    def _load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas, now = self._store.metas, time.monotonic()
        found = ((task_id, metas[task_id]) for task_id in task_ids if task_id in metas)
        return {task_id: meta for task_id, (_, meta, expiry) in found if expiry > now}

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        with self._store.changed:
            while True:
                metas = self._load(task_ids)
                remaining = None if deadline is None else deadline - time.monotonic()
                if is_news(metas, known) or (remaining is not None and remaining <= 0):
                    return metas
                self._store.changed.wait(remaining)

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        with self._store.changed:
            begun = [task_id for task_id in self._store.metas if task_id.startswith(prefix)]
            return list(self._load(begun))[:limit]

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._store.changed:
            for task_id in task_ids:
                self._store.metas.pop(task_id, None)

    def store_group(self, group_id: str, value: bytes) -> None:
        with self._store.changed:
            self._store.groups[group_id] = (value, self._expiry("SUCCESS", time.monotonic()))

    def load_group(self, group_id: str) -> bytes | None:
        with self._store.changed:
            value, expiry = self._store.groups.get(group_id, (None, 0.0))
            return value if expiry > time.monotonic() else None

    def forget_group(self, group_id: str) -> None:
        with self._store.changed:
            self._store.groups.pop(group_id, None)

    def expire(self) -> int:
        now = time.monotonic()
        with self._store.changed:
            old_metas = [id for id, (_, _, expiry) in self._store.metas.items() if expiry <= now]
            old_groups = [id for id, (_, expiry) in self._store.groups.items() if expiry <= now]
            for task_id in old_metas:
                del self._store.metas[task_id]
            for group_id in old_groups:
                del self._store.groups[group_id]
        return len(old_metas) + len(old_groups)

    def _expiry(self, state: str, now: float) -> float:
        return now + (self.lifetime(state) or _FOR_EVER)
