"""News of many results for many who wait, heard by one thread.

`Backend.wait` serves one caller and a fixed set of ids.  A watch is for a set that changes all the
time: it costs what has changed, not what is watched.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import BackendError

#: Ids per look.
_PORTION = 500
#: Seconds between two looks for each id that is looked at: a look at 1,000 takes a few ms.
_NAP_PER_ID = 2e-5
#: An id is looked at again after this part of the time it has been watched for.
_NAP_PART = 1 / 20


class Bell:
    """Wakes the thread that hears from another one: readable once it was rung."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self.rung = False

    def fileno(self) -> int:
        return self._read

    def ring(self) -> None:
        """Wake whoever waits; rung again before it is quiet, nothing happens."""
        with self._lock:
            if not self.rung and self._write >= 0:
                self.rung = True
                os.write(self._write, b"!")

    def quiet(self) -> None:
        """Take back what was rung."""
        with self._lock:
            if self.rung:
                self.rung = False
                with contextlib.suppress(BlockingIOError):
                    os.read(self._read, 8)

    def close(self) -> None:
        with self._lock:
            for descriptor in (self._read, self._write):
                if descriptor >= 0:
                    os.close(descriptor)
            self._read = self._write = -1


def await_readable(descriptors: Iterable[Any], timeout: float) -> bool:
    """Return whether one of the descriptors became readable (or broke) within `timeout` s."""
    poll = select.poll()  # select.select knows no descriptor beyond 1023
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1000))


class _Looked:
    """When an id was first and last looked at, when to look again, and what was there."""

    __slots__ = ("due", "known", "last", "since")

    def __init__(self, now: float) -> None:
        self.since = self.due = now
        #: Before `since`: it was not looked at yet.
        self.last = float("-inf")
        self.known: bytes | None = None


class Watch:
    """What has become of results; here by looking, again and again.

    One thread hears; `add`, `drop` and `wake` may be called from any other, and never wait.
    `naps` are the shortest and longest time between two looks at an id, in seconds.  `mark`
    returns what differs whenever anything was stored: while it stays, nothing is looked at.
    """

    def __init__(
        self,
        load: Callable[[Sequence[str]], dict[str, bytes]],
        naps: tuple[float, float] = (0.002, 0.2),
        mark: Callable[[], Any] | None = None,
    ) -> None:
        self._load = load
        self._naps = naps
        self._mark = mark
        self._seen: Any = None
        self._looked: dict[str, _Looked] = {}
        self._lock = threading.Lock()
        self._coming: dict[str, None] = {}
        self._going: dict[str, None] = {}
        self.bell = Bell()

    def add(self, task_ids: Iterable[str]) -> None:
        """Hear of these from now on; what is stored of them already is news."""
        with self._lock:
            self._coming.update(dict.fromkeys(task_ids))
        self.bell.ring()

    def drop(self, task_ids: Iterable[str]) -> None:
        """Hear of these no longer, soon."""
        with self._lock:
            for task_id in task_ids:
                self._coming.pop(task_id, None)
                self._going[task_id] = None

    def wake(self) -> None:
        """Let `hear` return, if it waits."""
        self.bell.ring()

    def hear(self, timeout: float) -> dict[str, bytes]:
        """Return metas that are new, by id, as soon as there are any.

        Empty after `timeout` seconds, or sooner when something was added, or on `wake`.  Raises
        BackendError if the backend is gone; the next `hear` tries again, and misses nothing.
        """
        until = time.monotonic() + timeout
        self._take_changes()
        while True:
            now = time.monotonic()
            news = self._look(now)
            if news or self.bell.rung or now >= until:
                return news
            await_readable([self.bell], min(until, self._next_look(now)) - now)

    def close(self) -> None:
        """Let go of every descriptor."""
        self.bell.close()

    # --- for siblings ---------------------------------------------------------------------

    def changes(self) -> tuple[list[str], list[str]]:
        """Return the ids that were added and dropped since the last call; the bell is quiet."""
        self.bell.quiet()
        with self._lock:
            coming, going = list(self._coming), list(self._going)
            self._coming, self._going = {}, {}
        return coming, going

    def look_at(self, task_id: str) -> None:
        """Poll this one from now on."""
        self._looked[task_id] = _Looked(time.monotonic())

    def look_no_longer(self, task_id: str) -> None:
        """Poll it no longer, if it was."""
        self._looked.pop(task_id, None)

    # --- looking --------------------------------------------------------------------------

    def _take_changes(self) -> None:
        coming, going = self.changes()
        for task_id in going:
            self.look_no_longer(task_id)
        for task_id in coming:
            self.look_at(task_id)

    def _look(self, now: float) -> dict[str, bytes]:
        """Look at what is due, and at what will be shortly."""
        seen = None if self._mark is None else self._mark()
        # The mark was made before looking, or what is stored in between goes unnoticed.
        due = self._due(now) if self._mark is None else self._unseen(seen)
        news: dict[str, bytes] = {}
        for start in range(0, len(due), _PORTION):
            portion = due[start : start + _PORTION]
            try:
                metas = self._load(portion)
            except BackendError:
                if not news:
                    raise
                return news  # what was found must not be lost; the next look raises
            for task_id in portion:
                looked, meta = self._looked[task_id], metas.get(task_id)
                if meta is not None and meta != looked.known:
                    looked.known = news[task_id] = meta
                self._looked_at(looked)
        self._seen = seen
        return news

    def _due(self, now: float) -> list[str]:
        return [
            task_id
            for task_id, looked in self._looked.items()
            if looked.due <= now + min(looked.due - looked.last, 1.0) / 4
        ]

    def _unseen(self, seen: Any) -> list[str]:
        """Return all ids if anything was stored, else those that are new."""
        if seen != self._seen:
            return list(self._looked)
        return [task_id for task_id, looked in self._looked.items() if looked.last < looked.since]

    def _looked_at(self, looked: _Looked) -> None:
        now = time.monotonic()
        shortest, longest = self._naps
        least = len(self._looked) * _NAP_PER_ID
        nap = min(max((now - looked.since) * _NAP_PART, shortest), longest)
        looked.last = now
        looked.due = now + max(nap, least)

    def _next_look(self, now: float) -> float:
        if not self._looked:
            return float("inf")
        if self._mark is None:
            return min(looked.due for looked in self._looked.values())
        youngest = max(looked.since for looked in self._looked.values())
        shortest, longest = self._naps
        nap = min(max((now - youngest) * _NAP_PART, shortest), longest)
        return now + max(nap, len(self._looked) * _NAP_PER_ID)
