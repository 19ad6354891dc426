"""Messages moved or copied from one broker to another.

A message that moves is first put aside at its source, in one step: into `taskctl.moving.QUEUE`,
from where no worker takes it.  It is removed there only when the destination has it.  What a broken
move left aside goes first in the next one, and may then arrive twice; nothing is ever lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

from ..clock import to_unix
from ..errors import TaskctlError
from ..messaging.connection import Connection
from ..wire.message import Publication
from ..wire.queues import direct_queue
from ..wire.task_message import TaskMessage, decode_task

#: Messages that are looked at, and sent, in one go.
BATCH = 100
#: Where messages wait that are on their way.
ASIDE = "taskctl.moving."
#: Seconds between two looks at a source that is empty.
PAUSE = 0.1
_ALL = 1 << 40


@dataclass(frozen=True)
class Wanted:
    """What is to go: queues (old name to new; None: all), tasks by name (None: all), how many."""

    queues: dict[str, str] | None = None
    tasks: frozenset[str] | None = None
    limit: int | None = None


@dataclass
class Moved:
    """What went: messages by the queue they came from."""

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Mover:
    """Takes what is wanted from one broker to another; with `keep` a copy of it."""

    def __init__(
        self, source: Connection, destination: Connection, wanted: Wanted, *, keep: bool
    ) -> None:
        self.source = source
        self.destination = destination
        self.wanted = wanted
        self.keep = keep
        self.moved = Moved()
        #: Digests of what went and may still be found at the source: copies, and held messages
        #: that came due before they could be removed.
        self._gone: set[bytes] = set()

    def count(self) -> dict[str, int]:
        """Return how many messages of each queue would go; moves none."""
        left = _ALL if self.wanted.limit is None else self.wanted.limit
        counts = {}
        for queue in self._queues():
            found = sum(map(self._is_wanted, [*self._peek(queue), *self._held(queue)]))
            counts[queue] = min(found + len(self._left_aside(queue)), left)
            left -= counts[queue]
        return counts

    def run(
        self,
        *,
        timeout: float,
        forever: bool = False,
        progress: Callable[[Moved], None] = lambda moved: None,
    ) -> Moved:
        """Move until nothing has come for `timeout` seconds, or the limit is reached.

        With `forever` only the limit ends it.  `progress` is told after every batch.
        """
        last = time.monotonic()
        while self._room():
            before = self.moved.total
            for queue in self._queues():
                self._empty(queue, progress)
            if self.moved.total > before:
                last = time.monotonic()
            elif not forever and time.monotonic() - last >= timeout:
                break
            else:
                time.sleep(PAUSE)
        return self.moved

    # --- one queue ------------------------------------------------------------------------------

    def _empty(self, queue: str, progress: Callable[[Moved], None]) -> None:
        self.moved.counts.setdefault(queue, 0)
        for batch in self._batches(queue):
            new_name = (self.wanted.queues or {}).get(queue, queue)
            messages = [_publication(envelope, queue, new_name) for envelope in batch]
            self.destination.publish(messages, queues=[direct_queue(new_name)], deadline=None)
            self._let_go(queue, batch)
            self.moved.counts[queue] += len(batch)
            progress(self.moved)
        if not self.keep:
            self.source.call(lambda broker: broker.delete_empty(ASIDE + queue))

    def _batches(self, queue: str) -> Iterator[Sequence[bytes]]:
        """Yield what is to be sent now, in the order in which it is served."""
        yield from self._by_room(iter(self._left_aside(queue)))
        yield from self._by_room(self._waiting(queue))
        held = (one for one in self._held(queue) if self._is_wanted(one))
        yield from self._by_room(held)

    def _by_room(self, envelopes: Iterator[bytes]) -> Iterator[list[bytes]]:
        while (room := self._room()) and (batch := list(islice(envelopes, room))):
            yield batch

    def _waiting(self, queue: str) -> Iterator[bytes]:
        """Yield what waits and is wanted; what moves is safe aside by then."""
        if self.keep or self.wanted.tasks is not None:
            found = iter(self._peek(queue))
        else:
            found = self._heads(queue)
        for envelope in found:
            if self._came_due(envelope):
                self._swap(queue, envelope)
            elif self._is_wanted(envelope) and (self.keep or self._put_aside(queue, envelope)):
                yield envelope

    def _heads(self, queue: str) -> Iterator[bytes]:
        """Yield what is at the head, again and again, since all of it goes."""
        while heads := self._peek(queue, self._room()):
            yield from heads

    def _let_go(self, queue: str, batch: Sequence[bytes]) -> None:
        """Remove from the source what the destination has."""
        if self.keep:
            self._gone.update(map(_digest, batch))
            return
        for envelope in batch:
            if not self._swap(ASIDE + queue, envelope):
                self._unhold(envelope)

    def _unhold(self, envelope: bytes) -> None:
        """Remove a held message; if it has come due it is removed where it waits now."""
        self._gone.add(_digest(envelope))
        message = _read(envelope)
        task_id = message.headers.id if message is not None else None
        if task_id is None:
            return
        dropped = self.source.call(lambda broker: broker.cancel_parked([task_id]))
        for one in dropped:
            if _digest(one) not in self._gone:  # another message of the same task
                place = _place(one)
                self.destination.publish(
                    [_publication(one, place, place)], queues=[direct_queue(place)], deadline=None
                )

    def _came_due(self, envelope: bytes) -> bool:
        return not self.keep and bool(self._gone) and _digest(envelope) in self._gone

    # --- the source -----------------------------------------------------------------------------

    def _queues(self) -> list[str]:
        if self.wanted.queues is not None:
            return list(self.wanted.queues)
        stats = self.source.call(lambda broker: broker.queues(), deadline=None)
        return sorted({stat.name.removeprefix(ASIDE) for stat in stats})

    def _peek(self, queue: str, limit: int = _ALL) -> list[bytes]:
        return self.source.call(lambda broker: broker.peek(queue, limit), deadline=None)

    def _left_aside(self, queue: str) -> list[bytes]:
        """Return what a move that broke has left."""
        return [] if self.keep else self._peek(ASIDE + queue)

    def _held(self, queue: str) -> list[bytes]:
        found = self.source.call(lambda broker: broker.parked(_ALL, [queue]), deadline=None)
        return [envelope for _, envelope in found]

    def _put_aside(self, queue: str, envelope: bytes) -> bool:
        aside = ASIDE + queue
        message = Publication(
            exchange="", routing_key=aside, envelope=envelope, priority=_priority(envelope)
        )
        return self._swap(queue, envelope, message)

    def _swap(self, queue: str, envelope: bytes, *messages: Publication) -> bool:
        return self.source.call(lambda broker: broker.swap(queue, envelope, messages))

    def _is_wanted(self, envelope: bytes) -> bool:
        if self.keep and _digest(envelope) in self._gone:
            return False
        if self.wanted.tasks is None:
            return True
        message = _read(envelope)
        return message is not None and message.headers.task in self.wanted.tasks

    def _room(self) -> int:
        limit = self.wanted.limit
        return BATCH if limit is None else max(0, min(BATCH, limit - self.moved.total))


def _publication(envelope: bytes, old: str, new: str) -> Publication:
    message = _read(envelope)
    return Publication(
        exchange="",
        routing_key=new,
        envelope=envelope if new == old else _readdressed(envelope, new),
        priority=_priority(envelope),
        due=_due(message),
        task_id=message.headers.id if message is not None else None,
    )


def _due(message: TaskMessage | None) -> float | None:
    """Return when a message is due, as its header says."""
    if message is None or not message.headers.eta:
        return None
    try:
        due = to_unix(message.headers.eta)
    except ValueError:
        return None  # whoever takes it says so
    return due if due > time.time() else None


def _readdressed(envelope: bytes, queue: str) -> bytes:
    try:
        parts = json.loads(envelope)
        parts["properties"]["delivery_info"] = {"exchange": "", "routing_key": queue}
        return json.dumps(parts).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return envelope


def _read(envelope: bytes) -> TaskMessage | None:
    try:
        return decode_task(envelope)
    except (TaskctlError, ValueError, TypeError):
        return None


def _priority(envelope: bytes) -> int:
    message = _read(envelope)
    found = message.properties.priority if message is not None else 0
    return found if found is not None and 0 <= found <= 255 else 0


def _place(envelope: bytes) -> str:
    message = _read(envelope)
    info = message.properties.delivery_info if message is not None else None
    return (info.routing_key if info is not None else None) or "celery"


def _digest(envelope: bytes) -> bytes:
    return sha256(envelope).digest()
