"""Waiting for results where nobody tells of them: look, sleep a little, look again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BackendError
from ..redact import mask_url
from .base import Backend, is_news
from .watching import Watch

logger = logging.getLogger(__name__)


class BackendAway(BackendError):
    """Raised when a backend cannot be reached now, and may be back in a moment."""


class PollingBackend(Backend):
    """What siblings share that can only look: the wait, the words, the notice of a fork.

    A wait looks again after a twentieth of the time it has lasted, so that a result is heard of
    that much late at most, and outlives a lost connection until its deadline.
    """

    #: Shortest and longest time between two looks, in seconds.
    naps = (0.002, 0.2)

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self.where = f"result backend {mask_url(url)}"
        self._pid = os.getpid()

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        shortest, longest = self.naps
        began = time.monotonic()
        told = False
        while True:
            metas: dict[str, bytes] | None = None
            try:
                metas = self.load(task_ids)
            except BackendAway as exc:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                if not told:
                    logger.warning("%s; still waiting, trying again", exc)
                told = True
            if metas is not None and is_news(metas, known):
                return metas
            now = time.monotonic()
            remaining = longest if deadline is None else deadline - now
            if metas is not None and remaining <= 0:
                return metas
            nap = max((now - began) / 20, shortest)
            time.sleep(max(0.0, min(nap, longest, remaining)))

    def watch(self) -> Watch:
        return Watch(self.load, self.naps)

    def may_pass(self, exc: BackendError) -> bool:
        return isinstance(exc, BackendAway)

    def forked(self) -> bool:
        """Return whether this is a child that has not been told of it yet, once."""
        pid = os.getpid()
        if pid == self._pid:
            return False
        self._pid = pid
        return True

    def error(self, exc: object, *, away: bool = False) -> BackendError:
        """Return the error that names this backend; `away` if it may come back by itself."""
        text = str(exc).strip() or type(exc).__name__
        line = text.splitlines()[0]
        return (BackendAway if away else BackendError)(f"{self.where}: {line}")
