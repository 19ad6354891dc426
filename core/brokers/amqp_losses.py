"""How often a message was lost with the worker or child that ran it.

RabbitMQ only says that a message was delivered before, and says so too after a clean return.  So a
node writes down a start, before it happens, of what was delivered before, and takes it off the
book when that run has ended; what stands in the book when the message comes again was lost.  Nodes
hear each other's entries, and read the book when they come.  See docs/decisions/0015.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from .amqp_notes import Notes, Shelf

log = logging.getLogger("taskctl.broker")

LOSSES = Shelf("taskctl.losses", True)
#: The word of a new entry: an exchange of ours, heard by every node.
EXCHANGE = "taskctl.losses"
#: Most entries that are kept in memory.
_MOST = 20_000


class Losses:
    """The book as one node knows it; it outlives a line."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, identity: str) -> int:
        """Return how often this was lost, as far as anybody wrote it down."""
        return self._counts.get(identity, 0) if identity else 0

    def load(self, notes: Notes) -> None:
        """Read the book; entries that say nothing any more are taken out of it."""

        def decide(found: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
            return found, {key: None for key, value in found.items() if not value}

        for identity, count in notes.change(LOSSES, decide).items():
            self.hear(identity, count)

    def hear(self, identity: str, count: object) -> None:
        """Take over an entry."""
        if not isinstance(count, int) or count <= 0:
            self._counts.pop(identity, None)
            return
        self._counts[identity] = count
        self._counts.move_to_end(identity)
        while len(self._counts) > _MOST:
            self._counts.popitem(last=False)
