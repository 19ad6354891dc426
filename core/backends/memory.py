"""Results in this process, for tests: every backend with the same URL sees the same ones.

Nothing is shared with a forked child, so it serves the solo and threads pools only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .. import clock
from ..wire.chord_part import Count, Part
from ..wire.outcome import StoredMeta
from .base import Backend, is_news
from .watching import Bell, Watch


class _Store:
    """What the backends of one URL share; `changed` guards all of it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.metas: dict[str, tuple[str, bytes, float]] = {}
        self.groups: dict[str, tuple[bytes, float]] = {}
        self.chords: dict[str, _Chord] = {}
        self.steps: dict[str, tuple[bytes, float]] = {}
        #: How often anything was stored, and who is told of it.
        self.writes = 0
        self.bells: list[Bell] = []


class _Chord:
    """What is known of one chord."""

    def __init__(self) -> None:
        self.size: int | None = None
        self.grown = 0
        #: Members by task id and index, in the order they came.
        self.parts: dict[tuple[str, int | None], bytes] = {}
        self.owner = ""
        self.held_until = 0.0
        self.done_until = 0.0
        self.expiry = _FOR_EVER


_stores: dict[str, _Store] = {}
_FOR_EVER = float("inf")


def forget_store(url: str) -> None:
    """Drop all that is kept under a URL."""
    _stores.pop(url, None)


class MemoryBackend(Backend):
    """Results in a dict; `memory://` or, to keep tests apart, `memory://name`."""

    persistent = False
    compresses = True
    counts_parts = True
    keeps_steps = True

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._store = _stores.setdefault(url, _Store())

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to let go of; the results stay."""

    def store(self, batch: Sequence[StoredMeta]) -> None:
        now = clock.monotonic()
        with self._store.changed:
            metas = self._store.metas
            for item in batch:
                state, _, expiry = metas.get(item.task_id, ("", b"", 0.0))
                if state != "SUCCESS" or expiry <= now:
                    metas[item.task_id] = (item.state, item.meta, self._expiry(item.state, now))
            self._store.changed.notify_all()
            self._store.writes += 1
            for bell in self._store.bells:
                bell.ring()

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        with self._store.changed:
            return self._load(task_ids)

    def _load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas, now = self._store.metas, clock.monotonic()
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

    def watch(self) -> Watch:
        return _MemoryWatch(self)

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
            self._store.groups[group_id] = (value, self._expiry("SUCCESS", clock.monotonic()))

    def load_group(self, group_id: str) -> bytes | None:
        with self._store.changed:
            value, expiry = self._store.groups.get(group_id, (None, 0.0))
            return value if expiry > clock.monotonic() else None

    def forget_group(self, group_id: str) -> None:
        with self._store.changed:
            self._store.groups.pop(group_id, None)

    # --- chords -----------------------------------------------------------------------------

    def begin_chord(self, group_id: str, size: int) -> None:
        with self._store.changed:
            chord = self._chord(group_id)
            chord.size = size
            chord.owner, chord.held_until, chord.done_until = "", 0.0, 0.0

    def grow_chord(self, group_id: str, more: int = 1) -> None:
        with self._store.changed:
            self._chord(group_id).grown += more

    def count_part(self, part: Part, token: str, claim: float) -> Count:
        now = clock.monotonic()
        with self._store.changed:
            chord = self._chord(part.group_id)
            if chord.done_until > now:
                return Count(0, None, done=True)
            chord.parts.setdefault((part.task_id, part.index), part.member)
            count = Count(len(chord.parts), chord.size and chord.size + chord.grown)
            if not count.complete:
                return count
            if chord.held_until > now:
                return count._replace(held=chord.held_until - now)
            chord.owner, chord.held_until = token, now + claim
            return count._replace(owned=True)

    def load_parts(self, group_id: str) -> list[bytes]:
        with self._store.changed:
            parts = self._chord(group_id).parts
            return [parts[key] for key in sorted(parts, key=_place)]

    def hold_chord(self, group_id: str, token: str, claim: float) -> bool:
        now = clock.monotonic()
        with self._store.changed:
            chord = self._chord(group_id)
            if chord.owner != token and (chord.held_until > now or chord.size is None):
                return False
            chord.owner, chord.held_until = token, now + claim
            return True

    def end_chord(self, group_id: str, token: str, remember: float) -> bool:
        with self._store.changed:
            chord = self._chord(group_id)
            if chord.owner != token or chord.held_until <= clock.monotonic():
                return False
            chord.parts.clear()
            chord.size, chord.grown, chord.owner = None, 0, ""
            chord.done_until = clock.monotonic() + remember
            return True

    def fail_chord(self, group_id: str) -> None:
        with self._store.changed:
            self._chord(group_id).size = None

    def _chord(self, group_id: str) -> _Chord:
        """Return what is known of a chord, for some more time."""
        now = clock.monotonic()
        chord = self._store.chords.get(group_id)
        if chord is None or chord.expiry <= now:
            chord = self._store.chords[group_id] = _Chord()
        chord.expiry = now + (self.chord_expires or _FOR_EVER)
        return chord

    # --- steps of workflows -----------------------------------------------------------------

    def store_steps(self, steps: Mapping[str, bytes], lifetime: float | None) -> None:
        expiry = clock.monotonic() + (lifetime or _FOR_EVER)
        with self._store.changed:
            self._store.steps.update((id, (step, expiry)) for id, step in steps.items())

    def load_steps(self, ids: Sequence[str]) -> dict[str, bytes]:
        now = clock.monotonic()
        with self._store.changed:
            found = ((id, *self._store.steps.get(id, (b"", 0.0))) for id in ids)
            return {id: step for id, step, expiry in found if expiry > now}

    def forget_steps(self, ids: Sequence[str], remember: float) -> None:
        until = clock.monotonic() + remember
        with self._store.changed:
            for id in ids:
                if id in self._store.steps:
                    step, expiry = self._store.steps[id]
                    self._store.steps[id] = (step, min(expiry, until))

    def expire(self) -> int:
        now = clock.monotonic()
        with self._store.changed:
            old_steps = [id for id, (_, expiry) in self._store.steps.items() if expiry <= now]
            for id in old_steps:
                del self._store.steps[id]
            old_metas = [id for id, (_, _, expiry) in self._store.metas.items() if expiry <= now]
            old_groups = [id for id, (_, expiry) in self._store.groups.items() if expiry <= now]
            for task_id in old_metas:
                del self._store.metas[task_id]
            for group_id in old_groups:
                del self._store.groups[group_id]
            for group_id in [id for id, c in self._store.chords.items() if c.expiry <= now]:
                del self._store.chords[group_id]
        return len(old_metas) + len(old_groups) + len(old_steps)

    def _expiry(self, state: str, now: float) -> float:
        return now + (self.lifetime(state) or _FOR_EVER)


class _MemoryWatch(Watch):
    """Looks when a bell says that something was stored."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._store = backend._store
        super().__init__(backend.load, (1.0, 1.0), lambda: self._store.writes)
        with self._store.changed:
            self._store.bells.append(self.bell)

    def close(self) -> None:
        with self._store.changed:
            self._store.bells.remove(self.bell)
        super().close()


def _place(key: tuple[str, int | None]) -> float:
    return _FOR_EVER if key[1] is None else key[1]
