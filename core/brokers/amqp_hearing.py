"""What comes without a loan: broadcasts, and replies in private queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from uuid import uuid4

from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..wire.queues import CONTROL_QUEUE, EVENT_QUEUE, Exchange, PrivateQueue, topic_matches
from .amqp_codec import Content, Delivered
from .amqp_envelope import pack
from .amqp_line import Channel, ChannelRefused, Line
from .amqp_topology import declaration
from .amqp_words import LOCKED, NOT_FOUND, explain
from .base import Heard

#: Broadcasts kept for a listener that does not listen; the oldest go first.
_KEPT = 20_000


def broadcast_exchange(name: str) -> Exchange:
    """Return an exchange for broadcasts as Celery declares it: mailboxes are fanout and pass
    with the server, everything else is a durable topic."""
    if name.endswith(".pidbox") or name == "pidbox":
        return Exchange(name=name, type="fanout", durable=False)
    return Exchange(name=name, type="topic")


class Hearing:
    """Consumers that do not acknowledge; each exchange that is listened to has its channel."""

    def __init__(self, line: Line, node: str | None, ring: Callable[[str], None]) -> None:
        self.line = line
        self.heard: deque[Heard] = deque(maxlen=_KEPT)
        self._ring = ring
        self._node = node
        self._channel: Channel | None = None
        self._patterns: dict[str, set[str]] = {}
        #: (channel, queue) by exchange
        self._queues: dict[str, tuple[Channel, str]] = {}
        self._private: dict[str, deque[bytes]] = {}
        self._inward: dict[str, Callable[[bytes], None]] = {}

    # --- broadcasts ---------------------------------------------------------------------------

    def listen(
        self,
        name: str,
        pattern: str,
        inward: Callable[[bytes], None] | None = None,
        queue: PrivateQueue | None = None,
    ) -> None:
        """Hear what is broadcast to an exchange under the keys that `pattern` takes; `inward`
        gets it in the place of whoever hears."""
        if inward is not None:
            self._inward[name] = inward
        patterns = self._patterns.setdefault(name, set())
        if pattern in patterns:
            return
        patterns.add(pattern)
        exchange = broadcast_exchange(name)
        if name not in self._queues:
            self._queues[name] = self._make_queue(exchange, pattern, queue)
        elif exchange.type != "fanout":
            channel, mine = self._queues[name]
            self.line.call(channel, spec.Queue.Bind(queue=mine, exchange=name, routing_key=pattern))

    def _make_queue(
        self, exchange: Exchange, pattern: str, private: PrivateQueue | None
    ) -> tuple[Channel, str]:
        """Make a queue of our own, under the name that Celery's node would give it if that is
        free: a node that has just lost its line, or has a namesake, takes another."""
        mailbox = exchange.type == "fanout"
        private = private or (CONTROL_QUEUE if mailbox else EVENT_QUEUE)
        names = [f"{private.prefix or exchange.name}.{uuid4()}"]
        if mailbox:
            names = [f"{self._node or 'taskctl'}.{uuid4()}.{exchange.name}"]
            if self._node:
                names.insert(0, f"{self._node}.{exchange.name}")
        for name in names:
            queue = private.named(name, exchange, "" if mailbox else pattern)
            channel = self.line.channel()
            channel.on_deliver = self._overhear
            consume = spec.Basic.Consume(queue=name, consumer_tag=exchange.name, no_ack=True)
            try:
                self.line.call(channel, *declaration(queue), consume)
            except ChannelRefused as exc:
                if exc.said.code == LOCKED and name != names[-1]:
                    continue
                doing = f"listening to exchange {exchange.name!r}"
                raise explain(self.line.address.shown, exc.said, doing) from exc
            return channel, name
        raise AssertionError("the last name is free or refused")

    def _overhear(self, delivered: Delivered, content: Content) -> None:
        name, key = delivered.consumer, delivered.routing_key
        if any(topic_matches(p, key) if p else not key for p in self._patterns[name]):
            envelope = pack(content, delivered.exchange, key, "")[0]
            if name in self._inward:
                self._inward[name](envelope)
                return
            self.heard.append(Heard(exchange=name, routing_key=key, envelope=envelope))
            self._ring("broadcasts")

    # --- replies ------------------------------------------------------------------------------

    def take(self, queue: str, limit: int, private: bool) -> list[bytes]:
        """Return up to `limit` messages of a queue, which are gone from it.

        A `private` one is consumed from now on; the first time, what waits there is awaited.
        """
        if not private:
            return self._fetch(queue, limit)
        found = self._private.get(queue)
        if found is None:
            found = self._private[queue] = deque()
            if self._channel is None or not self._channel.open:
                self._channel = self.line.channel()
                self._channel.on_deliver = self._take_in
            # The answer to the second comes after what waits: both are the queue's own words.
            self.line.call(
                self._channel,
                spec.Basic.Consume(queue=queue, consumer_tag=queue[-255:], no_ack=True),
                spec.Queue.Declare(queue=queue, passive=True),
            )
        return [found.popleft() for _ in range(min(limit, len(found)))]

    def forget(self, queue: str) -> None:
        """A private queue is gone."""
        self._private.pop(queue, None)

    def _fetch(self, queue: str, limit: int) -> list[bytes]:
        taken: list[bytes] = []
        channel = self.line.channel()
        try:
            while len(taken) < limit:
                self.line.say(channel, spec.Basic.Get(queue=queue, no_ack=True))
                ((method, content),) = self.line.answers(channel, 1)
                if content is None:
                    break
                taken.append(pack(content, method.exchange, method.routing_key, None)[0])
        except ChannelRefused as exc:
            if exc.said.code != NOT_FOUND:
                doing = f"reading queue {queue!r}"
                raise explain(self.line.address.shown, exc.said, doing) from exc
        else:
            self.line.leave(channel)
        return taken

    def _take_in(self, delivered: Delivered, content: Content) -> None:
        found = self._private.get(delivered.consumer)
        if found is not None:
            found.append(pack(content, delivered.exchange, delivered.routing_key, None)[0])
            self._ring("replies")
