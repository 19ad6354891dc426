"""Layers around a backend: one tries again, one remembers.

A layer hands on everything it does not change, attributes and the verbs of chords too.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ..errors import BackendError
from ..wire.outcome import StoredMeta
from ..wire.result_meta import says_success
from .base import Backend, is_news

logger = logging.getLogger(__name__)

#: What is tried again.  A wait has a deadline and tries for itself.
_RETRIED = frozenset(
    "store load forget find store_group load_group forget_group expire begin_chord grow_chord"
    " keep_header count_part load_parts hold_chord end_chord fail_chord"
    " store_steps load_steps forget_steps".split()
)


class _Layer:
    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def at_once(self) -> Backend:
        return self.inner.at_once


class _Patient(_Layer):
    """Tries failed operations again, after ever longer pauses.

    A pause is a random part of a time that doubles, from `base` up to `longest` seconds: many
    who lost one server do not come back all at once (Celery 5.7 backends/base.py
    `_ensure_retryable`).
    """

    def __init__(self, inner: Backend, retries: float, base: float, longest: float) -> None:
        super().__init__(inner)
        self._retries, self._base, self._longest = retries, base, longest

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        return self._trying(found) if name in _RETRIED else found

    def _trying(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def try_again(*args: Any, **kwargs: Any) -> Any:
            tried = 0
            while True:
                try:
                    return verb(*args, **kwargs)
                except BackendError as exc:
                    if tried >= self._retries or not self.inner.may_pass(exc):
                        raise
                    pause = min(self._longest, self._base * 2 ** min(tried, 32))
                    tried += 1
                    logger.warning("%s; trying again", exc)
                    time.sleep(random.uniform(0, pause))

        return try_again


class _Remembering(_Layer):
    """Keeps up to `most` (None: any number) successes, which never change any more."""

    def __init__(self, inner: Backend, most: int | None) -> None:
        super().__init__(inner)
        self._most = most
        self._lock = threading.Lock()
        self._metas: OrderedDict[str, bytes] = OrderedDict()

    def store(self, batch: Sequence[StoredMeta]) -> None:
        self.inner.store(batch)

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        known = self._known(task_ids)
        unknown = [task_id for task_id in task_ids if task_id not in known]
        return {**known, **self._remember(self.inner.load(unknown))} if unknown else known

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        """As the contract says; what is remembered is news to whoever does not know it."""
        held = self._known(task_ids)
        if held and is_news(held, known):
            return {**held, **self.load([i for i in task_ids if i not in held])}
        return self._remember(self.inner.wait(task_ids, deadline, known))

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._lock:
            for task_id in task_ids:
                self._metas.pop(task_id, None)
        self.inner.forget(task_ids)

    def _known(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        with self._lock:
            found = [task_id for task_id in task_ids if task_id in self._metas]
            for task_id in found:
                self._metas.move_to_end(task_id)
            return {task_id: self._metas[task_id] for task_id in found}

    def _remember(self, metas: dict[str, bytes]) -> dict[str, bytes]:
        finished = {task_id: meta for task_id, meta in metas.items() if says_success(meta)}
        with self._lock:
            self._metas.update(finished)
            while self._most is not None and len(self._metas) > self._most:
                self._metas.popitem(last=False)
        return metas


def with_patience(backend: Backend, retries: float, base: float, longest: float) -> Backend:
    """Return a backend that tries again up to `retries` times; pauses are seconds.

    Its `at_once` is the backend itself.  Only what may pass is tried again: see
    `Backend.may_pass`.
    """
    return cast(Backend, _Patient(backend, retries, base, longest))


def with_cache(backend: Backend, most: int | None) -> Backend:
    """Return a backend that remembers up to `most` successes of those it has read."""
    return cast(Backend, _Remembering(backend, most))
