"""Candidates for a leadership at a broker, and messages that go out only while they lead.

What the brokers promise is in `brokers.leading`; here are the line, the queues that must exist,
and the gathering of what is sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..brokers.leading import Claim, Leadership
from ..errors import BrokerConnectionError, BrokerError
from ..wire.message import Publication
from .connection import Connection
from .drafts import Draft, Gathering, gathered

__all__ = ["Candidacy", "Claim", "NotLeading"]

T = TypeVar("T")


class NotLeading(Exception):
    """Raised out of a send when somebody else has taken over; nothing was sent."""


class Candidacy:
    """One candidate, over a connection of its own; `drop` it after every loss of the broker."""

    def __init__(self, connection: Connection, name: str, candidate: str) -> None:
        self.connection = connection
        self.name = name
        self.candidate = candidate
        self._leadership: Leadership | None = None
        self._declared: set[str] = set()

    def _ours(self) -> Leadership:
        if self._leadership is None:
            broker = self.connection.broker
            self._leadership = broker.leadership(self.name, self.candidate)
            self._declared = set()
        return self._leadership

    def claim(self, record: Mapping[str, Any], lease: float, *, over: int = 0) -> Claim:
        """As `Leadership.claim`."""
        return self._ours().claim(record, lease, over=over)

    def look(self) -> Claim | None:
        """As `Leadership.look`."""
        return self._ours().look()

    def notes(self) -> dict[str, Any]:
        """As `Leadership.notes`."""
        return self._ours().notes()

    def note(self, notes: Mapping[str, Any]) -> None:
        """Write notes; NotLeading if somebody else leads."""
        if not self._ours().publish([], notes):
            raise NotLeading(self.name)

    def deliver(self, send: Callable[[], T], notes: Mapping[str, Any]) -> T:
        """Publish what `send` sends, and write `notes`, in one step; return what it returns.

        Raises NotLeading, and nothing was sent, if another leads; BrokerConnectionError, and
        nobody knows.  If anything else goes wrong the notes are written all the same.
        """
        outbox = _Outbox()
        try:
            result = outbox.gather(send)
            leadership = self._ours()
            self._declare(outbox.drafts)
            if not leadership.publish(outbox.publications, notes):
                raise NotLeading(self.name)
        except (NotLeading, BrokerConnectionError):
            raise
        except Exception:
            self.note(notes)
            raise
        outbox.tell_published()
        return result

    def _declare(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            if draft.queue is not None and draft.queue.name not in self._declared:
                self.connection.broker.declare(draft.queue)
                self._declared.add(draft.queue.name)

    def release(self) -> None:
        """As `Leadership.release`, as far as the broker can be reached."""
        if self._leadership is not None:
            with contextlib.suppress(BrokerError):
                self._leadership.release()

    def drop(self) -> None:
        """Let go of the line; the next use opens another."""
        leadership, self._leadership = self._leadership, None
        if leadership is not None:
            leadership.close()
        self.connection.drop()


class _Outbox(Gathering):
    """What is sent together; the signals that say so wait until it is true."""

    def __init__(self) -> None:
        super().__init__()
        self._senders: list[Any] = []

    def gather(self, send: Callable[[], T]) -> T:
        token = gathered.set(self)
        try:
            return send()
        finally:
            gathered.reset(token)

    def add(self, publication: Publication, draft: Draft, producer: Any) -> None:
        self.publications.append(publication)
        self.drafts.append(draft)
        self._senders.append(producer)

    def tell_published(self) -> None:
        for draft, producer in zip(self.drafts, self._senders, strict=True):
            producer.tell_published(draft)
