"""How many messages a second leave each queue through this node."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

#: Seconds a rate looks back, at most; and at least, below which it would be a guess.
WINDOW, LEAST = 60.0, 1.0


class Rates:
    """Rates over the last `WINDOW` seconds, or since `now` (time.monotonic) if that is less.

    `left` counts the messages that left each queue; it is read, and grows elsewhere.
    """

    def __init__(self, left: Mapping[str, int], now: float) -> None:
        self.left = left
        self._looks: deque[tuple[float, dict[str, int]]] = deque([(now, dict(left))])

    def look(self, queues: Iterable[str], now: float) -> dict[str, float]:
        """Return messages a second for each of `queues`; nothing in the first second."""
        while len(self._looks) > 1 and now - self._looks[1][0] >= WINDOW:
            self._looks.popleft()
        began, before = self._looks[0]
        elapsed = now - began
        if now - self._looks[-1][0] >= LEAST:
            self._looks.append((now, dict(self.left)))
        if elapsed < LEAST:
            return {}
        return {
            queue: round((self.left.get(queue, 0) - before.get(queue, 0)) / elapsed, 3)
            for queue in queues
        }
