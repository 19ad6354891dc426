"""Looking at what RabbitMQ holds, by the means of AMQP: counts, what waits, notes about nodes."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..errors import BrokerConnectionError, EncodeError
from ..wire.message import Publication
from . import amqp_codec as codec
from .amqp_codec import Content
from .amqp_envelope import still, unpack
from .amqp_line import Channel, ChannelRefused
from .amqp_notes import NODES, PATIENCE, QUEUES
from .amqp_session import Session
from .amqp_words import LOCKED, NOT_FOUND, explain
from .base import Binding, NodeRecord, QueueStat, Waiting

#: How many messages are fetched in one go.
_PAGE = 100

Counts = Mapping[str, tuple[int, int]]


# --- queues -------------------------------------------------------------------------------------


def queue_stats(session: Session, own: Counts) -> list[QueueStat]:
    """Return the numbers of every task queue that is noted; `own` are (lent, held) of ours."""
    names = {fact["queue"] for fact in _facts(session).values()}
    lent: dict[str, list[int]] = {name: list(counts) for name, counts in own.items()}
    for record in nodes(session):
        names.update(record.record.get("queues") or ())
        if record.alive and record.owner != session.owner:
            for name, counts in (record.record.get(_LOANS) or {}).items():
                known = lent.setdefault(name, [0, 0])
                known[0], known[1] = known[0] + counts[0], known[1] + counts[1]
    found = []
    for name in sorted(names):
        seen = session.topology.look(name)
        loans = lent.get(name, (0, 0))
        if seen is None and not any(loans):
            continue
        ready = 0 if seen is None else seen[0]
        found.append(QueueStat(name=name, ready=ready, unacked=loans[0], due=loans[1]))
    return found


def bindings(session: Session) -> list[Binding]:
    """Return the bindings that somebody of us declared."""
    found = {
        Binding(
            queue=fact["queue"],
            exchange=fact["exchange"],
            routing_key=fact["key"],
            type=fact["type"],
        )
        for fact in _facts(session).values()
        if fact["exchange"]
    }
    return sorted(found)


def _facts(session: Session) -> dict[str, dict[str, str]]:
    facts = session.notes.read(QUEUES)
    return {key: fact for key, fact in facts.items() if isinstance(fact, dict) and "queue" in fact}


def forget_queue(session: Session, queue: str) -> None:
    """Take a queue's notes away."""

    def decide(found: dict[str, Any]) -> tuple[None, dict[str, None]]:
        return None, {
            key: None
            for key, fact in found.items()
            if isinstance(fact, dict) and fact.get("queue") == queue
        }

    session.notes.change(QUEUES, decide)
    session.forget(queue)


# --- messages -----------------------------------------------------------------------------------


def browse(session: Session, queue: str, limit: int) -> list[Waiting]:
    """Return the first messages of a queue: fetched, and put back where they were."""
    with _alone(session, queue), Fetch(session, queue, limit) as fetch:
        return [
            Waiting(
                envelope=still(content, method.exchange, method.routing_key),
                redelivered=method.redelivered,
            )
            for method, content in fetch
        ]


def swap(
    session: Session, queue: str, envelope: bytes, publications: Sequence[Publication]
) -> bool:
    """Put messages in the place of one that waits."""
    try:
        published = unpack(envelope)  # it may be known as it was sent, and not from looking
    except EncodeError:
        return False
    with _alone(session, queue), Fetch(session, queue, None) as fetch:
        for method, content in fetch:
            seen = still(content, method.exchange, method.routing_key)
            if envelope == seen or published == content:
                session.publish(publications)
                fetch.drop(method.tag)
                return True
    return False


class Fetch:
    """The first `limit` messages of a queue as (method, content); at the end they go back to
    their places, but for those that were dropped."""

    def __init__(self, session: Session, queue: str, limit: int | None) -> None:
        self.session, self.queue, self.limit = session, queue, limit
        self._channel: Channel = session.line.channel()
        self._fetched = False

    def __enter__(self) -> Fetch:
        return self

    def __iter__(self) -> Iterator[tuple[Any, Content]]:
        line, left = self.session.line, self.limit
        while left is None or left > 0:
            page = _PAGE if left is None else min(left, _PAGE)
            try:
                line.say(self._channel, *[spec.Basic.Get(queue=self.queue)] * page)
                answers = line.answers(self._channel, page)
            except ChannelRefused as exc:
                if exc.said.code == NOT_FOUND:
                    return
                doing = f"looking into queue {self.queue!r}"
                raise explain(self.session.address.shown, exc.said, doing) from exc
            for method, content in answers:
                if content is None:
                    return
                self._fetched = True
                yield method, content
            left = None if left is None else left - page

    def drop(self, tag: int) -> None:
        """Take a message away for good."""
        self.session.line.send(codec.ack(self._channel.number, tag, False))

    def __exit__(self, *exc_info: object) -> None:
        line, channel = self.session.line, self._channel
        if not (channel.open and line.alive):
            return
        if self._fetched:
            line.send(codec.nack(channel.number, 0, requeue=True, multiple=True))
            try:
                line.call(channel, spec.Queue.Declare(queue=self.queue, passive=True))
            except ChannelRefused:
                return  # deleted meanwhile: there is nothing to go back to
        line.leave(channel)


@contextlib.contextmanager
def _alone(session: Session, queue: str) -> Iterator[None]:
    """Look into a queue while nobody else of us does: what one has in hand the other misses."""
    lock = f"taskctl.look.{queue}"[:255]
    deadline, pause = time.monotonic() + PATIENCE, 0.001
    while True:
        try:
            session.topology.call(spec.Queue.Declare(queue=lock, exclusive=True, auto_delete=True))
            break
        except ChannelRefused as exc:
            if exc.said.code != LOCKED:
                doing = f"looking into queue {queue!r}"
                raise explain(session.address.shown, exc.said, doing) from exc
        if time.monotonic() > deadline:
            raise BrokerConnectionError(
                f"somebody else looks into queue {queue!r} for more than {PATIENCE:g} s"
            )
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 1.5, 0.02)
    try:
        yield
    finally:
        if session.line.alive:
            session.topology.call(spec.Queue.Delete(queue=lock))


# --- nodes --------------------------------------------------------------------------------------

#: Prefixes of the two records of a node: what it said, and a note that goes with its lease.
_NODE, _LEASE = "node:", "lease:"
#: Under this name a node's record has its loans: (lent, held) by queue.
_LOANS = "_loans"


def register(
    session: Session,
    owner: str,
    name: str,
    record: Mapping[str, Any],
    lease: float,
    loans: Counts,
) -> None:
    """Write a node down anew; older words of it are swept away by whoever reads."""
    fact = {"name": name, "at": time.time(), "record": {**record, _LOANS: dict(loans)}}
    session.notes.add(
        NODES,
        {_NODE + owner: fact, _LEASE + owner: None},
        {_LEASE + owner: lease},
    )


def nodes(session: Session) -> list[NodeRecord]:
    """Return every node that is written down, those with their loans among their words."""
    found = session.notes.read(NODES)
    now = time.time()
    records = [
        NodeRecord(
            name=fact["name"],
            owner=key.removeprefix(_NODE),
            record=fact["record"],
            age=max(0.0, now - fact["at"]),
            alive=_LEASE + key.removeprefix(_NODE) in found,
        )
        for key, fact in found.items()
        if key.startswith(_NODE)
    ]
    return sorted(records, key=lambda record: record.name)


def without_loans(record: NodeRecord) -> NodeRecord:
    """Return a record as its node wrote it."""
    words = {key: value for key, value in record.record.items() if key != _LOANS}
    return NodeRecord(
        name=record.name, owner=record.owner, record=words, age=record.age, alive=record.alive
    )


def retire(session: Session, owner: str) -> None:
    """Take a node off the list."""

    def decide(found: dict[str, Any]) -> tuple[None, dict[str, None]]:
        return None, {key: None for key in (_NODE + owner, _LEASE + owner) if key in found}

    session.notes.change(NODES, decide)


def take_over(session: Session) -> tuple[list[str], int]:
    """Take nodes whose lease has ended off the list; return their names, and how many there are."""

    def decide(found: dict[str, Any]) -> tuple[tuple[list[str], int], dict[str, None]]:
        dead = {
            key: fact["name"]
            for key, fact in found.items()
            if key.startswith(_NODE)
            and _LEASE + key.removeprefix(_NODE) not in found
            and key.removeprefix(_NODE) != session.owner
        }
        names = list(dead.values())
        return (names, len(found) // 2), dict.fromkeys(dead)

    return session.notes.change(NODES, decide)
