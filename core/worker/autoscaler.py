"""Grow and shrink the pool with the work at hand."""

from __future__ import annotations

import os
import time

from ..errors import ImproperlyConfigured
from ..pool.base import Pool


class Autoscaler:
    """Keeps the pool between `low` and `high` children.

    Grows at once when there is more work than children; shrinks by one when fewer were needed for
    `keepalive` seconds (environment AUTOSCALE_KEEPALIVE, default 30, as Celery).
    """

    def __init__(self, pool: Pool, high: int, low: int, keepalive: float | None = None) -> None:
        self.pool = pool
        self.high = high
        self.low = low
        if keepalive is None:
            keepalive = float(os.environ.get("AUTOSCALE_KEEPALIVE", "30"))
        self.keepalive = keepalive
        self._last_busy = time.monotonic()

    def adjust(self, wanted: int, now: float) -> None:
        """Fit the pool to `wanted` requests at hand, at `now` (time.monotonic)."""
        size = self.pool.size
        if wanted >= size:
            self._last_busy = now
        target = min(self.high, max(self.low, wanted))
        if target > size:
            self.pool.resize(target)
            self._last_busy = now
        elif target < size and now - self._last_busy >= self.keepalive:
            self.pool.resize(size - 1)
            self._last_busy = now

    def update(self, high: int | None, low: int | None) -> tuple[int, int]:
        """Set new limits; return (high, low).  Raises ValueError if they contradict."""
        high = self.high if high is None else int(high)
        low = min(self.low, high) if low is None else int(low)
        if low < 0 or high < 1 or low > high:
            raise ValueError(f"autoscale wants max >= min >= 0, got max={high} min={low}")
        self.high, self.low = high, low
        size = min(high, max(low, self.pool.size))
        if size != self.pool.size:
            self.pool.resize(size)
        return high, low

    def info(self) -> dict[str, int]:
        """Return the `autoscaler` part of a stats reply."""
        return {
            "max": self.high,
            "min": self.low,
            "current": self.pool.size,
            "qty": len(self.pool.running()),
        }


def parse_autoscale(text: str) -> tuple[int, int]:
    """Return (most, fewest) children of "MAX,MIN", in any order, or "MAX".

    Raises ImproperlyConfigured.
    """
    try:
        numbers = [int(part) for part in str(text).split(",")]
        if not 1 <= len(numbers) <= 2 or min(numbers) < 0 or max(numbers) < 1:
            raise ValueError(text)
    except ValueError:
        raise ImproperlyConfigured(
            f"autoscale {text!r}: write MAX,MIN as whole numbers, for example 10,2"
        ) from None
    return max(numbers), min(numbers) if len(numbers) == 2 else 0
