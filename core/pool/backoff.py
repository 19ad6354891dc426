"""The back-off of a pool whose children die before they are of use."""

from __future__ import annotations

#: Seconds before the first new attempt after a child failed to start; doubles up to the last.
FIRST_DELAY, LAST_DELAY = 0.5, 30.0


class Backoff:
    """Counts rounds of failure; children that fail together count once."""

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.reason: str | None = None

    def fail(self, reason: str, now: float) -> None:
        """Note a failure at `now` (time.monotonic()) and its reason."""
        self.reason = reason
        if now < self.until:
            return
        self.until = now + min(LAST_DELAY, FIRST_DELAY * 2**self.failures)
        # More would not lengthen the delay, only the number.
        self.failures = min(self.failures + 1, 16)

    def succeed(self) -> None:
        """Note that a child has started well."""
        self.failures, self.until, self.reason = 0, 0.0, None

    def room(self, wanted: int, booting: int, now: float) -> int:
        """Return how many children may be started now; after a failure, one tries first."""
        if now < self.until:
            return 0
        return wanted if self.failures == 0 else min(wanted, max(0, 1 - booting))
