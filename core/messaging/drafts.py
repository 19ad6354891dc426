"""Messages on their way out: a draft before it is bytes, and what gathers several of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from ..wire.message import Publication
from ..wire.queues import Queue

#: Most messages of one batch that are handed over in one step.
BATCH = 500

#: While set, messages are gathered here instead of being published.
gathered: ContextVar[Gathering | None] = ContextVar("taskctl_gathered", default=None)


class Draft(NamedTuple):
    """A message before it is bytes; receivers of `before_task_publish` may change its dicts."""

    name: str
    exchange: str
    routing_key: str
    queue: Queue | None
    headers: dict[str, Any]
    properties: dict[str, Any]
    body: tuple[Any, Any, dict[str, Any]]
    serializer: str
    compression: str | None
    delivery_mode: int
    expiration: str | None
    priority: int
    due: float | None
    retry: bool
    retry_policy: dict[str, Any]


class Sender(Protocol):
    """What a gathering wants of a producer."""

    def publish(self, publications: list[Publication], drafts: list[Draft]) -> None: ...
    def tell_published(self, draft: Draft) -> None: ...


class Gathering:
    """Messages on their way out together; with `limit`, published whenever so many are here."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.publications: list[Publication] = []
        self.drafts: list[Draft] = []

    def add(self, publication: Publication, draft: Draft, producer: Sender) -> None:
        """Take one message; one that goes to somebody else's hands counts as sent."""
        self.publications.append(publication)
        if self.limit is None:
            producer.tell_published(draft)
            return
        self.drafts.append(draft)
        if len(self.drafts) >= self.limit:
            self.flush(producer)

    def flush(self, producer: Sender) -> None:
        """Publish what is here."""
        if self.publications:
            producer.publish(self.publications, self.drafts)
            self.publications, self.drafts = [], []


@contextmanager
def gather() -> Iterator[list[Publication]]:
    """Gather what is sent inside, for somebody else to publish.

    So a child hands the messages of chain steps, callbacks and retries to its worker, which
    publishes them in the step that acks.
    """
    gathering = Gathering()
    token = gathered.set(gathering)
    try:
        yield gathering.publications
    finally:
        gathered.reset(token)
