"""What stands behind a `memory://` URL: messages, queues, nodes, in plain containers."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import clock
from ..wire.message import Publication
from ..wire.queues import binding_takes
from .base import Heard
from .bell import QUEUES, Bell
from .memory_leading import Term


class Line(Protocol):
    """A broker, as far as its store knows it."""

    bell: Bell

    def overhear(self, heard: Heard) -> None: ...


@dataclass(slots=True)
class Message:
    """A message: waiting (`owner` None), on loan (`owner` set) or held (`due` set)."""

    number: int
    queue: str
    priority: int
    envelope: bytes
    at: float
    seq: float = 0.0  # below 0 for what was held: it goes first, the soonest due first
    owner: str | None = None
    loan: int = 0
    started: bool = False
    deliveries: int = 0
    redelivered: bool = False
    due: float | None = None
    task_id: str | None = None

    @property
    def rank(self) -> tuple[float, float, int]:
        return (-self.priority, self.seq, self.number)


@dataclass(slots=True)
class Node:
    name: str
    record: dict[str, Any]
    seen: float
    lease: float

    @property
    def alive(self) -> bool:
        return time.monotonic() < self.seen + self.lease


@dataclass
class Store:
    """All there is behind one URL; whoever touches it holds `lock`."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    waiting: dict[str, list[tuple[tuple[float, float, int], Message]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    lent: dict[int, Message] = field(default_factory=dict)
    held: dict[int, Message] = field(default_factory=dict)
    exchanges: dict[str, str] = field(default_factory=dict)
    bindings: dict[str, dict[tuple[str, str], None]] = field(default_factory=dict)
    paused: dict[str, float] = field(default_factory=dict)
    #: What is revoked -> until when (time.monotonic).
    revoked: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    leaders: dict[str, Term] = field(default_factory=dict)
    ledgers: dict[str, dict[str, Any]] = field(default_factory=dict)
    brokers: list[Line] = field(default_factory=list)

    def insert(self, publications: Iterable[Publication]) -> None:
        now = clock.now()
        for sent in publications:
            if sent.queue_expires is not None:
                self.private.add(sent.routing_key)
            for queue in self.route(sent):
                message = Message(
                    number=next(self.numbers),
                    queue=queue,
                    priority=sent.priority,
                    envelope=sent.envelope,
                    at=now,
                    task_id=sent.task_id,
                )
                if sent.due is not None and sent.due > now:
                    self.hold(message, sent.due)
                else:
                    self.wait(message)
        self.ring(QUEUES)

    def route(self, sent: Publication) -> list[str]:
        if not sent.exchange:
            return [sent.routing_key]
        type_ = self.exchanges.get(sent.exchange, "direct")
        bound = self.bindings.get(sent.exchange, {})
        taken = [queue for queue, key in bound if binding_takes(type_, key, sent.routing_key)]
        return list(dict.fromkeys(taken))

    def wait(self, message: Message) -> None:
        message.owner, message.started, message.due = None, False, None
        heapq.heappush(self.waiting.setdefault(message.queue, []), (message.rank, message))

    def hold(self, message: Message, due: float) -> None:
        message.owner, message.started, message.due = None, False, due
        self.held[message.number] = message

    def promote(self) -> None:
        """Let what is due wait at the head of its queue."""
        now = clock.now()
        for message in [m for m in self.held.values() if m.due is not None and m.due <= now]:
            assert message.due is not None
            del self.held[message.number]
            message.seq = message.due - 1e12
            self.wait(message)

    def pop(self, queue: str, limit: int) -> list[Message]:
        heap = self.waiting.get(queue, [])
        return [heapq.heappop(heap)[1] for _ in range(min(limit, len(heap)))]

    def remove(self, queue: str, envelope: bytes) -> bool:
        """Remove one waiting message with this envelope; return whether there was one."""
        heap = self.waiting.get(queue, [])
        for place, (_, message) in enumerate(heap):
            if message.envelope == envelope:
                del heap[place]
                heapq.heapify(heap)
                return True
        return False

    def give_back(self, owner: str, count: Callable[[Message], bool]) -> None:
        """End all loans of an owner; `count` says which of them are held against the message."""
        for message in [m for m in self.lent.values() if m.owner == owner]:
            del self.lent[message.number]
            message.deliveries += count(message)
            message.redelivered = True
            self.wait(message)
        self.ring(QUEUES)

    def ring(self, letter: str) -> None:
        for broker in self.brokers:
            if letter in broker.bell.letters:
                broker.bell.ring(letter)
