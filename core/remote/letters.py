"""Dead letters as an operator sees them: read, sent back to their queues, dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..brokers.base import Waiting
from ..messaging.connection import Connection
from ..messaging.deadletters import Letter, claim, headers, read, revive
from ..wire.message import Publication
from .queues import message_row, timestamp

__all__ = ["LETTER_KEYS", "Letter", "LetterBox", "matching", "row", "whole_row"]

#: Keys of a letter's row.
LETTER_KEYS = (
    "id", "task", "queue", "reason", "failed_at", "attempts", "node", "exception", "traceback",
)  # fmt: skip
#: More than any queue holds, and still a number for every broker.
_ALL = 1 << 40


class LetterBox:
    """The dead-letter queue of one broker."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self.connection = connection
        self.queue = queue

    def count(self, *, deadline: float = 5.0) -> int:
        """Return how many letters there are."""
        return self.connection.call(lambda broker: broker.size(self.queue), deadline=deadline)

    def letters(self) -> list[Letter]:
        """Return all letters, the oldest first."""
        found = self.connection.call(lambda broker: broker.peek(self.queue, _ALL), deadline=None)
        return sorted(map(read, found), key=lambda letter: letter.failed_at or 0.0)

    def retry(self, letter: Letter, reset: Callable[[str], None]) -> bool:
        """Send a letter back to its queue; false if it is here no more, or has no queue.

        `reset` makes the result of a task id PENDING again.  Of several who retry one letter, one
        succeeds; whoever dies half-way has left either the letter or the message, never both.
        """
        revived = revive(letter)
        if revived is None:
            return False
        # First make the letter one's own: the result may be reset only before the message goes,
        # and only by the one who sends it.
        mine = claim(letter, self.queue)
        if not self._swap(letter.envelope, mine):
            return False
        if letter.task is not None:
            reset(letter.id)
        return self._swap(mine.envelope, revived)

    def _swap(self, envelope: bytes, *publications: Publication) -> bool:
        return self.connection.call(lambda broker: broker.swap(self.queue, envelope, publications))

    def drop(self, letter: Letter) -> bool:
        """Delete a letter for good; false if it is here no more."""
        return self._swap(letter.envelope)


def row(letter: Letter) -> dict[str, Any]:
    """Return a letter's row."""
    return {
        "id": letter.id,
        "task": letter.task,
        "queue": letter.queue,
        "reason": letter.reason,
        "failed_at": None if letter.failed_at is None else timestamp(letter.failed_at),
        "attempts": letter.attempts,
        "node": letter.node,
        "exception": letter.exception,
        "traceback": letter.traceback,
    }


def whole_row(letter: Letter) -> dict[str, Any]:
    """Return a letter's row with `args_repr`, `priority` and all `headers`."""
    message = message_row(Waiting(envelope=letter.envelope))
    return {
        **row(letter),
        "args_repr": message["args_repr"],
        "priority": message["priority"],
        "headers": headers(letter),
    }


def matching(letters: Sequence[Letter], prefix: str) -> list[Letter]:
    """Return the letters whose id is, or begins with, these characters."""
    exact = [letter for letter in letters if letter.id == prefix]
    return exact or [letter for letter in letters if letter.id.startswith(prefix)]
