"""The memory broker: for tests; it lives and dies with its process.

Brokers of one URL (`memory://name`) in one process meet, whatever their thread.  A forked child
is refused: what it published there nobody would ever see.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import clock
from ..errors import BrokerError
from ..wire.message import Publication
from ..wire.queues import PrivateQueue, Queue, topic_matches
from .base import Binding, Broker, Delivery, Heard, NodeRecord, QueueStat, Waiting
from .bell import BROADCASTS, QUEUES, Bell
from .exchange_types import refuse_exchanges
from .leading import Leadership
from .memory_leading import MemoryLeadership
from .memory_store import Message, Node, Store

#: Broadcasts kept for a listener that does not listen; the oldest go first.
_BROADCASTS_KEPT = 20_000


_stores: dict[str, Store] = {}


def use_store(url: str, store: Store | None) -> None:
    """Let this store stand behind a URL from now on; None: a new one, when it is next opened."""
    if store is None:
        _stores.pop(url, None)
    else:
        _stores[url] = store


class MemoryBroker(Broker):
    """One line to a store of this process; see `base.Broker`."""

    holds_due = True
    highest_priority_first = True

    def __init__(
        self, url: str, *, options: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> None:
        super().__init__(url, options=options, owner=owner)
        self.bell = Bell()
        self._store: Store | None = None
        self._subscribed: list[str] = []
        self._turn = 0
        self._patterns: dict[str, set[str]] = {}
        self._heard: collections.deque[Heard] = collections.deque(maxlen=_BROADCASTS_KEPT)

    # --- the line ---------------------------------------------------------------------------

    def open(self, timeout: float = 4.0) -> None:
        if self._store is not None and self._store.pid == os.getpid():
            return
        store = _stores.setdefault(self.url, Store())
        if store.pid != os.getpid():
            raise BrokerError(self._elsewhere(store.pid))
        self.bell.open()
        with store.lock:
            self._store = store
            store.brokers.append(self)
            if self._subscribed:
                self.bell.answer_to(QUEUES)
            if self._patterns:
                self.bell.answer_to(BROADCASTS)

    def close(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        if store.pid == os.getpid():  # else the lock may be held by a thread that is not here
            with store.lock:
                store.brokers.remove(self)
        self.bell.close()

    def fileno(self) -> int:
        with self._locked():
            return self.bell.fileno()

    def poll_interval(self) -> float:
        with self._locked() as store:
            soonest = min((m.due for m in store.held.values() if m.due is not None), default=None)
        return 1.0 if soonest is None else min(1.0, max(0.01, soonest - clock.now()))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Store]:
        if self._store is None:
            raise BrokerError(f"{self.url} is not open")
        if self._store.pid != os.getpid():
            raise BrokerError(self._elsewhere(self._store.pid))
        with self._store.lock:
            yield self._store

    def _elsewhere(self, pid: int) -> str:
        return (
            f"{self.url} lives inside process {pid}, process {os.getpid()} cannot reach it:"
            " use sqlite:// to share a broker"
        )

    # --- queues -----------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        refuse_exchanges(queue)
        with self._locked() as store:
            store.waiting.setdefault(queue.name, [])
            if queue.expires is not None:
                store.private.add(queue.name)
                self.bell.answer_to(QUEUES)
            for one in queue.ways_in():
                store.exchanges[one.exchange.name] = one.exchange.type
                bound = store.bindings.setdefault(one.exchange.name, {})
                bound[queue.name, one.routing_key] = None

    def delete(self, queue: str) -> int:
        with self._locked() as store:
            held = [m.number for m in store.held.values() if m.queue == queue]
            for number in held:
                del store.held[number]
            for bound in store.bindings.values():
                for key in [key for key in bound if key[0] == queue]:
                    del bound[key]
            store.private.discard(queue)
            return len(held) + len(store.waiting.pop(queue, []))

    def delete_empty(self, queue: str) -> bool:
        with self._locked() as store:
            held = any(message.queue == queue for message in store.held.values())
            if held or store.waiting.get(queue):
                return False
            self.delete(queue)
            return True

    def queues(self) -> list[QueueStat]:
        now = clock.now()
        with self._locked() as store:
            lent = collections.Counter(m.queue for m in store.lent.values())
            held = collections.Counter(m.queue for m in store.held.values())
            names = {*store.waiting, *lent, *held} - store.private
            return [
                QueueStat(
                    name=name,
                    ready=len(store.waiting.get(name, [])),
                    unacked=lent[name],
                    due=held[name],
                    oldest=max((now - m.at for _, m in store.waiting.get(name, [])), default=None),
                )
                for name in sorted(names)
            ]

    def exists(self, queue: str) -> bool:
        with self._locked() as store:
            loans = (message.queue for message in [*store.lent.values(), *store.held.values()])
            return queue in store.waiting or queue in loans

    def bindings(self) -> list[Binding]:
        with self._locked() as store:
            return sorted(
                Binding(queue=queue, exchange=name, routing_key=key, type=store.exchanges[name])
                for name, bound in store.bindings.items()
                for queue, key in bound
                if queue not in store.private
            )

    def size(self, queue: str) -> int:
        with self._locked() as store:
            return len(store.waiting.get(queue, []))

    def browse(self, queue: str, limit: int = 50) -> list[Waiting]:
        with self._locked() as store:
            first = heapq.nsmallest(limit, store.waiting.get(queue, []))
            return [
                Waiting(envelope=m.envelope, at=m.at, redelivered=m.redelivered) for _, m in first
            ]

    def swap(self, queue: str, envelope: bytes, publications: Sequence[Publication] = ()) -> bool:
        with self._locked() as store:
            found = store.remove(queue, envelope)
            if found:
                store.insert(publications)
            return found

    def purge(self, queue: str) -> int:
        with self._locked() as store:
            return len(store.pop(queue, len(store.waiting.get(queue, ()))))

    def pause(self, queue: str) -> None:
        with self._locked() as store:
            store.paused.setdefault(queue, time.time())

    def resume(self, queue: str) -> bool:
        with self._locked() as store:
            return store.paused.pop(queue, None) is not None

    def paused(self) -> dict[str, float]:
        with self._locked() as store:
            return dict(store.paused)

    # --- messages ---------------------------------------------------------------------------

    def publish(self, publications: Sequence[Publication]) -> None:
        with self._locked() as store:
            store.insert(publications)

    def subscribe(self, queue: Queue) -> None:
        self.declare(queue)
        with self._locked():
            if queue.name not in self._subscribed:
                self._subscribed.append(queue.name)
            self.bell.answer_to(QUEUES)
            self.bell.ring(QUEUES)  # what waits there already

    def unsubscribe(self, queue: str) -> None:
        with self._locked():
            if queue in self._subscribed:
                self._subscribed.remove(queue)

    def receive(self, limit: int) -> list[Delivery]:
        with self._locked() as store:
            if self.owner is None:
                raise BrokerError("receiving needs an owner: open_broker(url, owner=...)")
            self.bell.quiet(QUEUES)
            store.promote()
            self._turn += 1
            deliveries: list[Delivery] = []
            while len(deliveries) < limit:
                before = len(deliveries)
                for n in range(len(self._subscribed)):
                    name = self._subscribed[(self._turn + n) % len(self._subscribed)]
                    if len(deliveries) < limit:
                        deliveries += [self._lend(store, m) for m in store.pop(name, 1)]
                if len(deliveries) == before:
                    break
            if 0 < limit == len(deliveries):
                self.bell.ring(QUEUES)  # there may be more
            return deliveries

    def _lend(self, store: Store, message: Message) -> Delivery:
        message.owner = self.owner
        message.loan += 1
        store.lent[message.number] = message
        return Delivery(
            tag=f"{message.number}:{message.loan}",
            queue=message.queue,
            envelope=message.envelope,
            deliveries=message.deliveries,
            redelivered=message.redelivered,
        )

    def ack(self, tags: Sequence[str], publications: Sequence[Publication] = ()) -> None:
        with self._locked() as store:
            self._take_back(store, tags)
            store.insert(publications)

    def reject(self, tags: Sequence[str], *, requeue: bool, lost: bool = False) -> None:
        with self._locked() as store:
            messages = self._take_back(store, tags)
            if requeue:
                for message in messages:
                    message.deliveries += lost
                    message.redelivered = True
                    store.wait(message)
                store.ring(QUEUES)

    def _take_back(self, store: Store, tags: Iterable[str]) -> list[Message]:
        messages = self._on_loan(store, tags)
        for message in messages:
            del store.lent[message.number]
        return messages

    def _on_loan(self, store: Store, tags: Iterable[str]) -> list[Message]:
        """Return the messages whose present loan, to us, these tags name."""
        found = {}
        for tag in tags:
            number, _, loan = tag.partition(":")
            message = store.lent.get(int(number)) if number.isdecimal() else None
            if message and message.owner == self.owner and str(message.loan) == loan:
                found[message.number] = message
        return list(found.values())

    def park(self, tag: str, due: float, task_id: str) -> None:
        with self._locked() as store:
            for message in self._take_back(store, [tag]):
                message.task_id = task_id
                store.hold(message, due)
            store.ring(QUEUES)

    def parked(
        self, limit: int = 1000, queues: Sequence[str] | None = None
    ) -> list[tuple[float, bytes]]:
        wanted = self._subscribed if queues is None else queues
        with self._locked() as store:
            held = [
                (m.due, m.number, m.envelope)
                for m in store.held.values()
                if m.queue in wanted and m.due is not None
            ]
            return [(due, envelope) for due, _, envelope in heapq.nsmallest(limit, held)]

    def cancel_parked(self, task_ids: Iterable[str]) -> list[bytes]:
        wanted = set(task_ids)
        with self._locked() as store:
            dropped = [m for m in store.held.values() if m.task_id in wanted]
            for message in dropped:
                del store.held[message.number]
            return [message.envelope for message in dropped]

    def cancel_waiting(self, task_ids: Iterable[str]) -> list[bytes]:
        wanted = set(task_ids)
        with self._locked() as store:
            found = [
                (queue, message.envelope)
                for queue, waiting in store.waiting.items()
                for _, message in waiting
                if message.task_id in wanted
            ]
            return [envelope for queue, envelope in found if store.remove(queue, envelope)]

    # --- revocations --------------------------------------------------------------------------

    def note_revoked(self, marks: Iterable[str], seconds: float) -> None:
        now = time.monotonic()
        with self._locked() as store:
            kept = {mark: until for mark, until in store.revoked.items() if until > now}
            for mark in marks:
                kept[mark] = max(now + seconds, kept.get(mark, 0.0))
            store.revoked = kept

    def revoked_marks(self) -> dict[str, float]:
        now = time.monotonic()
        with self._locked() as store:
            return {mark: until - now for mark, until in store.revoked.items() if until > now}

    def take(self, queue: str, limit: int = 100) -> list[bytes]:
        with self._locked() as store:
            self.bell.answer_to(QUEUES)
            if not self._subscribed:
                self.bell.quiet(QUEUES)
            taken = store.pop(queue, limit)
            if len(taken) == limit:
                self.bell.ring(QUEUES)  # there may be more
            return [message.envelope for message in taken]

    # --- broadcasts -------------------------------------------------------------------------

    def broadcast(self, exchange: str, routing_key: str, envelope: bytes) -> None:
        heard = Heard(exchange=exchange, routing_key=routing_key, envelope=envelope)
        with self._locked() as store:
            for listener in store.brokers:
                listener.overhear(heard)

    def overhear(self, heard: Heard) -> None:
        key = heard.routing_key
        for pattern in self._patterns.get(heard.exchange, ()):
            if topic_matches(pattern, key) if pattern else not key:
                self._heard.append(heard)
                self.bell.ring(BROADCASTS)
                return

    def listen(self, exchange: str, pattern: str = "", queue: PrivateQueue | None = None) -> None:
        with self._locked():
            self._patterns.setdefault(exchange, set()).add(pattern)
            self.bell.answer_to(BROADCASTS)

    def hear(self, limit: int = 100) -> list[Heard]:
        with self._locked():
            self.bell.quiet(BROADCASTS)
            heard = [self._heard.popleft() for _ in range(min(limit, len(self._heard)))]
            if self._heard:
                self.bell.ring(BROADCASTS)
            return heard

    # --- leases -----------------------------------------------------------------------------

    def register(self, name: str, record: Mapping[str, Any], lease: float) -> None:
        if self.owner is None:
            raise BrokerError("registering needs an owner: open_broker(url, owner=...)")
        with self._locked() as store:
            store.nodes[self.owner] = Node(name, dict(record), time.monotonic(), lease)

    def retire(self) -> None:
        with self._locked() as store:
            if self.owner is not None:
                store.nodes.pop(self.owner, None)
                store.give_back(self.owner, lambda message: False)

    def nodes(self) -> list[NodeRecord]:
        now = time.monotonic()
        with self._locked() as store:
            records = [
                NodeRecord(
                    name=node.name,
                    owner=owner,
                    record=dict(node.record),
                    age=now - node.seen,
                    alive=node.alive,
                )
                for owner, node in store.nodes.items()
            ]
        return sorted(records, key=lambda record: record.name)

    def started(self, tags: Sequence[str]) -> None:
        with self._locked() as store:
            for message in self._on_loan(store, tags):
                message.started = True

    def reclaim(self) -> list[str]:
        with self._locked() as store:
            dead = {
                owner: node.name
                for owner, node in store.nodes.items()
                if not node.alive and owner != self.owner
            }
            for owner in dead:
                del store.nodes[owner]
                store.give_back(owner, lambda message: message.started or message.deliveries == 0)
            return list(dead.values())

    # --- leading ----------------------------------------------------------------------------

    def leadership(self, name: str, candidate: str) -> Leadership:
        return MemoryLeadership(name, candidate, self._locked)
