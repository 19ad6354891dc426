"""Leadership at a broker: of many candidates one leads, and its sends and notes are one step.

A leadership has a name, a ledger of notes (key to plain JSON data), and a term that changes hands
when a lease ends.  Each broker keeps this promise in its own way; see docs/decisions/0042.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..wire.message import Publication


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a leadership.

    `held` says whether it is ours.  `fence` is the number of the term: it grows each time that the
    leadership changes hands; 0 where it is not known.  `remaining` is after how many seconds the
    lease ends unless it is renewed, `record` what the leader says of itself (empty: not known).
    """

    held: bool
    fence: int = 0
    remaining: float = 0.0
    record: dict[str, Any] = {}


class Leadership(ABC):
    """One candidate's part in the leadership `name`; `candidate` is its own name, of this run.

    Used by one thread, over the line of the broker that made it.  Everything may raise
    BrokerConnectionError, then nobody can say whether it happened: `claim` again, and read the
    notes.
    """

    def __init__(self, name: str, candidate: str) -> None:
        self.name = name
        self.candidate = candidate

    @abstractmethod
    def claim(self, record: Mapping[str, Any], lease: float, *, over: int = 0) -> Claim:
        """Lead for `lease` seconds from now, or go on leading, if nobody else does.

        With `over` also take the leadership from whoever holds it in that term: for somebody who
        knows that the holder is dead.
        """

    @abstractmethod
    def look(self) -> Claim | None:
        """Return who leads, changing nothing; None if nobody does."""

    @abstractmethod
    def notes(self) -> dict[str, Any]:
        """Return the ledger; anybody may."""

    @abstractmethod
    def publish(self, publications: Sequence[Publication], notes: Mapping[str, Any]) -> bool:
        """Publish, and write notes (None takes one away), in one step, if we lead still.

        Returns false, and nothing has happened, if somebody else has taken the leadership since
        our `claim`: a lease that has ended and that nobody took is ours yet, and renewed.
        """

    @abstractmethod
    def release(self) -> None:
        """Lead no longer, so that somebody else can at once; the notes stay."""

    def close(self) -> None:
        """Let go of what belongs to this candidate alone; without `release` the lease runs on."""
