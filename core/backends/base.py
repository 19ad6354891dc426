"""The contract every result backend keeps.

A backend stores encoded metas (`wire.result_meta`) and waits for them; it does not compose.
It gets a URL and options and reads no settings.  It is safe to use from several threads of one
process; after a fork, open another one.

A missing meta means PENDING.  SUCCESS is final: a later write to the same id is skipped.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..wire.outcome import StoredMeta


class Backend(ABC):
    """One open line to where results are kept.

    `expires` is how long a result is kept, in seconds (None or 0: for ever);
    `failure_expires` the same for FAILURE (None: as `expires`).

    Everything may raise BackendError when the backend is gone.
    """

    #: Seconds between two looks of the polling `wait`; siblings that are told need no look.
    poll_interval = 0.05
    #: Whether results are kept where other processes can read them.
    persistent = True

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        expires: float | None = 86400.0,
        failure_expires: float | None = None,
    ) -> None:
        self.url = url
        self.options: Mapping[str, Any] = options or {}
        self.expires = expires
        self.failure_expires = failure_expires

    def lifetime(self, state: str) -> float | None:
        """Return how long a meta of `state` is kept, in seconds; None means for ever."""
        if state == "FAILURE" and self.failure_expires is not None:
            return self.failure_expires or None
        return self.expires or None

    @abstractmethod
    def open(self) -> None:
        """Connect; opening an open backend does nothing."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every descriptor."""

    @abstractmethod
    def store(self, batch: Sequence[StoredMeta]) -> None:
        """Write all metas, in order, and tell whoever waits; never over a SUCCESS."""

    @abstractmethod
    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the metas that exist, by task id."""

    def expect(self, task_ids: Iterable[str]) -> None:
        """Be told of these results from now on: called before their tasks are published, so
        that none can slip by.  Does nothing where waiting polls."""

    def forsake(self, task_ids: Iterable[str]) -> None:
        """Stop being told of these results."""

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        """Return as soon as a meta of any of `task_ids` is there that is not in `known`, at the
        latest at `deadline` (time.monotonic; None: never give up).

        `known` holds the metas the caller has looked at already: hand in what the last `wait`
        or `load` returned, or a STARTED meta ends every wait at once.  Returns what is stored
        now, by id; the caller looks at the states and waits again for the unfinished.
        """
        while True:
            metas = self.load(task_ids)
            if is_news(metas, known):
                return metas
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return metas
            time.sleep(
                self.poll_interval if remaining is None else min(self.poll_interval, remaining)
            )

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        """Return up to `limit` ids that begin so and have a meta, in no order.

        It may look at every key of the store: for people who type, not for programs.  A store
        that cannot look finds nothing.
        """
        return []

    @abstractmethod
    def forget(self, task_ids: Sequence[str]) -> None:
        """Remove these metas."""

    @abstractmethod
    def store_group(self, group_id: str, value: bytes) -> None:
        """Keep a saved group (an encoded result tuple)."""

    @abstractmethod
    def load_group(self, group_id: str) -> bytes | None:
        """Return a saved group, or None."""

    @abstractmethod
    def forget_group(self, group_id: str) -> None:
        """Remove a saved group."""

    @abstractmethod
    def expire(self) -> int:
        """Drop what has outlived its lifetime; return how many (0 where the store does it)."""


def is_news(metas: Mapping[str, bytes], known: Mapping[str, bytes] | None) -> bool:
    """Return whether `metas` hold anything that `known` does not."""
    if not known:
        return bool(metas)
    return any(known.get(task_id) != meta for task_id, meta in metas.items())
