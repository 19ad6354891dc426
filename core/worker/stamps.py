"""Stamps whose tasks are revoked: `revoke_by_stamped_headers` (Celery 5.7 worker/request.py).

They are kept until the node ends, or as long as they stand at the broker, and hold for tasks that
come later too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ..wire.stamp_values import Stamps, matching
from ..wire.task_message import TaskHeaders


class RevokedStamps:
    """The stamps that were revoked here."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}
        #: What stands at the broker: (name, value, until when, as time.monotonic).
        self._kept: list[tuple[str, Any, float]] = []

    def keep(self, stamps: Iterable[tuple[str, Any, float]]) -> None:
        """Hold these (name, value) for so many seconds, and forget what was so kept before."""
        now = time.monotonic()
        self._kept = [(name, value, now + seconds) for name, value, seconds in stamps]

    def add(self, stamps: Stamps) -> None:
        """Revoke tasks that bear one of these."""
        for name, values in stamps.items():
            known = self._values.setdefault(name, [])
            known.extend(value for value in values if value not in known)

    def cover(self, headers: TaskHeaders) -> bool:
        """Return whether a task with these headers is revoked."""
        if self._values and matching(headers, self._values):
            return True
        if not self._kept:
            return False
        now = time.monotonic()
        kept: dict[str, list[Any]] = {}
        for name, value, until in self._kept:
            if until > now:
                kept.setdefault(name, []).append(value)
        return bool(matching(headers, kept))
