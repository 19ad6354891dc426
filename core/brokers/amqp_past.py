"""What was on loan when a line broke: it may come again, and its task may be running still.

RabbitMQ gives it to the next consumer at once.  If that is the same node, it knows the message:
a task that runs is not started a second time, and one that has ended is acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

#: Seconds for which the end of a task is remembered, to acknowledge its message when it comes.
PATIENCE = 300.0

#: Queue and identity of a message.
Key = tuple[str, str]


class Past:
    """The loans of lines that are gone; it outlives them."""

    def __init__(self) -> None:
        #: What comes again belongs to this tag.
        self._tags: dict[Key, str] = {}
        self._keys: dict[str, Key] = {}
        self._settled: dict[Key, float] = {}

    def __bool__(self) -> bool:
        return bool(self._tags or self._settled)

    def remember(self, loans: Iterable[tuple[str, Key]]) -> None:
        """Note loans as (tag, key) of a line that is gone."""
        for tag, key in loans:
            if key[1]:
                self._tags[key] = tag
                self._keys[tag] = key

    def settle(self, tags: Iterable[str]) -> None:
        """Acknowledge these when they come again."""
        now = time.monotonic()
        for tag in tags:
            key = self._keys.pop(tag, None)
            if key is not None:
                self._tags.pop(key, None)
                self._settled[key] = now + PATIENCE
        for key in [key for key, until in self._settled.items() if until < now]:
            del self._settled[key]

    def give_up(self, tags: Iterable[str]) -> None:
        """Let these come again as any other message."""
        for tag in tags:
            key = self._keys.pop(tag, None)
            if key is not None:
                self._tags.pop(key, None)

    def is_settled(self, key: Key) -> bool:
        """Return whether this has ended; asked once for each time it comes."""
        return self._settled.pop(key, 0.0) > time.monotonic()

    def tag_of(self, key: Key) -> str | None:
        """Return the tag that this was lent under, which it has again; None if it was not."""
        tag = self._tags.pop(key, None)
        if tag is not None:
            del self._keys[tag]
        return tag
