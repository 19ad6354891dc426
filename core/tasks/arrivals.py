"""Metas of many tasks as they arrive, with bounded memory and bounded questions.

A set of any size is looked at in portions.  What is not ready yet is listened for in a window;
what lies beyond the window is looked at now and then, so that a failure there is not missed for
long.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from ..backends.base import Backend
from ..errors import BackendError
from ..wire.states import READY_STATES
from .joining import Meta, deadline_after, read_meta

#: Seconds between two calls of `on_interval` for those who give no interval.
INTERVAL = 0.5
#: Ids per look: so many metas are held at once, as bytes.
_PORTION = 200
#: Ids that are listened for at once; it is filled up again when half of it is done.
_WINDOW = 500
#: Seconds between two looks at a portion of what lies beyond the window.
_SWEEP_EVERY = 0.2


def stored(backend: Backend, task_ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (id, meta) of those that exist, asking in portions."""
    ids = iter(task_ids)
    while portion := list(islice(ids, _PORTION)):
        yield from backend.load(portion).items()


def arrivals(
    app: Any,
    backend: Backend,
    task_ids: Iterable[str],
    *,
    deadline: float | None,
    interval: float | None = None,
    on_interval: Callable[[], Any] | None = None,
) -> closing[Generator[tuple[str, Meta]]]:
    """Return an iterator, to be closed, of (id, meta) of each task as it becomes ready.

    It ends when all are ready, or at `deadline`; what is ready already comes first.
    """
    if interval is None and on_interval is not None:
        interval = INTERVAL
    watch = _Watch(app, backend, task_ids)
    return closing(watch.run(deadline, interval, on_interval))


def get_many(
    app: Any,
    backend: Backend,
    task_ids: Iterable[str],
    timeout: float | None = None,
    interval: float | None = None,
    no_ack: bool = True,
    on_message: Callable[[Meta], Any] | None = None,
    on_interval: Callable[[], Any] | None = None,
    max_iterations: int | None = None,
) -> Iterator[tuple[str, Meta]]:
    """Yield (id, meta) of each task as it becomes ready: Celery's `app.backend.get_many`.

    Ends after `timeout` seconds, or `max_iterations` intervals (seconds each), whether all are
    ready or not.  `no_ack` is for Celery's sake: results need no ack.
    """
    deadline = deadline_after(timeout)
    if max_iterations is not None:
        rounds = deadline_after(max_iterations * (INTERVAL if interval is None else interval))
        deadline = rounds if deadline is None or rounds is None else min(deadline, rounds)
    with arrivals(
        app, backend, task_ids, deadline=deadline, interval=interval, on_interval=on_interval
    ) as metas:
        for task_id, meta in metas:
            if on_message is not None:
                on_message(meta)
            yield task_id, meta


class _Watch:
    """One wait for a set of tasks."""

    def __init__(self, app: Any, backend: Backend, task_ids: Iterable[str]) -> None:
        self.app = app
        self.backend = backend
        self.expected = list(dict.fromkeys(task_ids))
        #: Ids of the window, and the metas of them that are known and not final.
        self.window: dict[str, None] = {}
        self.known: dict[str, bytes] = {}
        #: What lies beyond, the one to look at next first.
        self.beyond: deque[str] = deque()
        self.next_sweep = 0.0

    def run(
        self,
        deadline: float | None,
        interval: float | None,
        on_interval: Callable[[], Any] | None,
    ) -> Generator[tuple[str, Meta]]:
        self.backend.expect(self.expected)
        try:
            yield from self._first_look()
            self.next_sweep = time.monotonic() + _SWEEP_EVERY
            while self.window:
                if deadline is not None and time.monotonic() >= deadline:
                    return
                self.known = self._next_look(deadline, interval)
                yield from self._ready(self.known.items())
                yield from self._sweep()
                if on_interval is not None:
                    on_interval()
        finally:
            self.backend.forsake(self.expected)

    def _first_look(self) -> Iterator[tuple[str, Meta]]:
        """Yield what is ready; the rest goes to the window, and what does not fit beyond it."""
        for start in range(0, len(self.expected), _PORTION):
            portion = self.expected[start : start + _PORTION]
            ready = set()
            for task_id, meta in self._read(self.backend.load(portion).items()):
                ready.add(task_id)
                yield task_id, meta
            self.beyond.extend(task_id for task_id in portion if task_id not in ready)
        self._fill()

    def _fill(self) -> None:
        if len(self.window) <= _WINDOW // 2:
            while self.beyond and len(self.window) < _WINDOW:
                self.window[self.beyond.popleft()] = None

    def _read(self, metas: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Meta]]:
        for task_id, data in metas:
            meta = read_meta(self.app, data, task_id, self.backend)
            if meta["status"] in READY_STATES:
                yield task_id, meta

    def _ready(self, metas: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Meta]]:
        """Yield those of the window that are ready, and let the next ones into it."""
        for task_id, meta in self._read(list(metas)):
            if task_id in self.window:
                del self.window[task_id]
                yield task_id, meta
        self._fill()

    def _sweep(self) -> Iterator[tuple[str, Meta]]:
        """Look at one portion beyond the window, if it is time."""
        if not self.beyond or time.monotonic() < self.next_sweep:
            return
        portion = [self.beyond.popleft() for _ in range(min(_PORTION, len(self.beyond)))]
        self.beyond.extend(portion)
        self.next_sweep = time.monotonic() + _SWEEP_EVERY
        for task_id, meta in self._read(self.backend.load(portion).items()):
            self.beyond.remove(task_id)
            yield task_id, meta

    def _next_look(self, deadline: float | None, interval: float | None) -> dict[str, bytes]:
        """Wait for news of the window; a backend that polls does so at the caller's interval."""
        backend, task_ids, now = self.backend, list(self.window), time.monotonic()
        looks = [] if deadline is None else [deadline]
        if interval is not None:
            looks.append(now + interval)
        if self.beyond:
            looks.append(self.next_sweep)
        look = min(looks, default=None)
        if look is not None and interval is not None and type(backend).wait is Backend.wait:
            time.sleep(max(0.0, look - now))
            return backend.load(task_ids)
        try:
            return backend.wait(task_ids, look, self.known)
        except BackendError:
            # Away until the look, and so perhaps back before the deadline; a refusal comes sooner.
            now = time.monotonic()
            if look is None or now < look or (deadline is not None and now >= deadline):
                raise
            return self.known
