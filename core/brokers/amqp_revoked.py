"""Revocations on RabbitMQ: one record for each call that revoked something (see `amqp_notes`).

A record goes by itself when its time is over, or is left out by whoever reads it, as RabbitMQ lets
go of what is old only at the head of a queue.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from .amqp_notes import REVOKED, Notes
from .base import MOST_MARKS

#: Longest expiration that RabbitMQ takes for a message, in whole days as seconds: 2**32 ms.
_LONGEST = 49 * 86400.0
#: Marks in one record.
_AT_ONCE = 1000


def note(notes: Notes, marks: Sequence[str], seconds: float) -> None:
    """Keep these marks."""
    until = time.time() + seconds
    records = {
        uuid4().hex: {"until": until, "marks": marks[start : start + _AT_ONCE]}
        for start in range(0, len(marks), _AT_ONCE)
    }
    notes.add(REVOKED, records, dict.fromkeys(records, min(seconds, _LONGEST)))


def marks(notes: Notes) -> dict[str, float]:
    """Return the marks that are kept, and for how many seconds more."""
    now = time.time()
    found: dict[str, float] = {}
    for record in notes.read(REVOKED).values():
        for mark, left in _marks_of(record, now):
            found[mark] = max(left, found.get(mark, 0.0))
    longest = sorted(found.items(), key=lambda pair: -pair[1])
    return dict(longest[:MOST_MARKS])


def _marks_of(record: Any, now: float) -> list[tuple[str, float]]:
    """Return the marks of a record; none of one that is too old, or somebody else's."""
    if not isinstance(record, dict):
        return []
    until, listed = record.get("until"), record.get("marks")
    if not isinstance(until, int | float) or not isinstance(listed, list) or until <= now:
        return []
    return [(mark, until - now) for mark in listed if isinstance(mark, str)]
