"""Leadership within one process: a term in the store, under the store's lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ..wire.message import Publication
from .leading import Claim, Leadership


@dataclass(slots=True)
class Term:
    """Who leads since when; `candidate` is empty after a release."""

    candidate: str = ""
    fence: int = 0
    seen: float = 0.0
    lease: float = 0.0
    record: dict[str, Any] | None = None

    def remaining(self) -> float:
        """Return the seconds until the lease ends; not above 0 if it has, or if nobody leads."""
        return self.seen + self.lease - time.monotonic() if self.candidate else 0.0


class Shelves(Protocol):
    """The store, as far as it is about leaders."""

    leaders: dict[str, Term]
    ledgers: dict[str, dict[str, Any]]

    def insert(self, publications: Sequence[Publication]) -> None: ...


class MemoryLeadership(Leadership):
    """See `leading.Leadership`; `locked` gives the store."""

    def __init__(
        self, name: str, candidate: str, locked: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        super().__init__(name, candidate)
        self._locked = locked
        self._fence = 0

    def claim(self, record: Mapping[str, Any], lease: float, *, over: int = 0) -> Claim:
        with self._locked() as store:
            term = store.leaders.setdefault(self.name, Term())
            if term.candidate != self.candidate:
                if term.remaining() > 0 and term.fence != over:
                    return self._seen(term)
                term.candidate, term.fence = self.candidate, term.fence + 1
            term.seen, term.lease, term.record = time.monotonic(), lease, dict(record)
            self._fence = term.fence
            return self._seen(term)

    def _seen(self, term: Term) -> Claim:
        return Claim(
            held=term.candidate == self.candidate,
            fence=term.fence,
            remaining=term.remaining(),
            record=dict(term.record or {}),
        )

    def look(self) -> Claim | None:
        with self._locked() as store:
            term = store.leaders.get(self.name)
            return self._seen(term) if term is not None and term.remaining() > 0 else None

    def notes(self) -> dict[str, Any]:
        with self._locked() as store:
            return dict(store.ledgers.get(self.name, {}))

    def publish(self, publications: Sequence[Publication], notes: Mapping[str, Any]) -> bool:
        with self._locked() as store:
            term = store.leaders.get(self.name)
            if term is None or (term.candidate, term.fence) != (self.candidate, self._fence):
                return False
            term.seen = time.monotonic()
            if publications:
                store.insert(publications)
            ledger = store.ledgers.setdefault(self.name, {})
            ledger.update(notes)
            for key in [key for key, value in notes.items() if value is None]:
                del ledger[key]
            return True

    def release(self) -> None:
        with self._locked() as store:
            term = store.leaders.get(self.name)
            if term is not None and term.candidate == self.candidate:
                term.candidate = ""
