"""Gossip: what nodes of Celery's are beside this one, and how they elect.

Our own nodes stand in the registry, so nobody needs to hear their heartbeats, and each of them
knows the first of them by itself.  Celery's are known from what they tell: their answer to hello,
or the event of their start.  Once there is one, heartbeats are heard as Celery hears them
(`worker.heartbeat`), and elections are held by its rule.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import TaskctlError
from ..messaging.consumer import Heard
from ..messaging.private_queues import event_queue
from ..messaging.producer import gather
from ..wire.codecs import accepted_types
from ..wire.event_message import SOFTWARE, decode_events

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: What is heard at all times: few events, however many nodes there are.
_RARE = ("worker.online", "worker.offline", "worker.elect", "worker.elect.ack")
_HEARTBEAT = "worker.heartbeat"
#: Seconds that an event waits for a node, as in Celery 5.7 worker/consumer/gossip.py.
_HEARD_WITHIN = 2.0
#: Brokers that nodes of Celery's can be on, by the scheme of the URL.
_SHARED = ("redis", "rediss", "redis+socket", "sentinel", "valkey", "amqp", "amqps", "pyamqp")
#: Seconds between heartbeats where a node has not said, and how many of them make a lost one.
_FREQ, _MISSED = 2.0, 2.0
#: Seconds between two looks for lost nodes, as Celery 5.7 worker/consumer/gossip.py.
LOOK_EVERY = 5.0
#: Seconds after which an election is given up: somebody counted as alive does not vote.
_UNDECIDED = 30.0


class _Ballot:
    """One election: who stands for it, who has voted, and whether we were told to hold it."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.called = False
        self.candidates: list[tuple[int, str, str, Any]] = []
        self.votes = 0


class Gossip:
    """What one worker knows of Celery's nodes, and its part in elections."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        #: Celery's nodes: when each is lost unless it is heard again, as time.monotonic().
        self.strangers: dict[str, float] = {}
        self._accept = accepted_types({worker.events.serializer, "json"})
        self._ballots: dict[str, _Ballot] = {}
        self._all_heard = False
        self._next_look = 0.0

    @property
    def _own(self) -> str:
        return f"{self.worker.hostname}.{self.worker.pid}"

    def foreigners_possible(self) -> bool:
        """Return whether nodes of Celery's may be on this broker."""
        return self.worker.consumer.connection.url.partition("://")[0] in _SHARED

    def open(self) -> None:
        """Hear of nodes, on a connection that may be new."""
        if not self.worker.options.gossip or not self.foreigners_possible():
            return
        for key in _RARE:
            self._listen(key)
        self._all_heard = False
        if self.strangers:
            self._hear_all()

    def _listen(self, key: str) -> None:
        private = msgspec.structs.replace(
            event_queue(self.worker.app.conf), message_ttl=_HEARD_WITHIN
        )
        self.worker.consumer.broker.listen(self.worker.events.exchange, key, private)

    def _hear_all(self) -> None:
        if not self._all_heard and self.worker.options.gossip:
            self._listen(_HEARTBEAT)
            self._all_heard = True

    def meet(self, name: str, now: float, freq: float = _FREQ) -> None:
        """Note that a node of Celery's lives."""
        fresh = name not in self.strangers
        self.strangers[name] = now + _MISSED * freq
        self._hear_all()
        if fresh:
            log.debug("%s joined", name)
            # Who asks all nodes reads in our record of whom to wait for.
            self.worker.heart.renew(self.worker.consumer.broker)

    def _part_from(self, name: str, how: str) -> None:
        if self.strangers.pop(name, None) is not None:
            log.info("%s %s", name, how)
            self.worker.heart.renew(self.worker.consumer.broker)

    def neighbours(self, now: float) -> list[str]:
        """Return the names of Celery's nodes that live, as far as is known."""
        return sorted(name for name, until in self.strangers.items() if now <= until)

    def look(self, now: float) -> None:
        """Forget the nodes that are heard no more, and elections that came to nothing."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        for name, until in list(self.strangers.items()):
            if now > until and self._all_heard:
                self._part_from(name, "is lost: it missed its heartbeats")
        for number, ballot in list(self._ballots.items()):
            if now - ballot.began > _UNDECIDED:
                del self._ballots[number]
                if ballot.called:
                    log.warning("election %s came to nothing: %d votes", number, ballot.votes)

    # --- events -----------------------------------------------------------------------------

    def hear(self, heard: Heard) -> bool:
        """Take in a broadcast if it is an event; return whether it was."""
        if heard.exchange != self.worker.events.exchange:
            return False
        if heard.routing_key.startswith("task"):
            return True  # where channels bear no routing key, task events come here too
        try:
            events = decode_events(heard.envelope, self._accept)
        except TaskctlError as exc:
            log.error("dropped an event of another node: %s", exc)
            return True
        for event in events:
            self._take_in(event, time.monotonic())
        return True

    def _take_in(self, event: dict[str, Any], now: float) -> None:
        name, kind, clock = event.get("hostname"), event["type"], event.get("clock")
        # As with Celery, an election moves no clock: else who hears of it late could never win.
        if kind == "worker-elect":
            return self._stand(event, now)
        if kind == "worker-elect-ack":
            return self._vote(event)
        if name == self.worker.hostname:
            self.worker.clock.forward()
            return
        if isinstance(clock, int):
            self.worker.clock.adjust(clock)
        if not isinstance(name, str):
            return
        if kind == "worker-offline":
            self._part_from(name, "left")
        elif event.get("sw_ident", SOFTWARE) != SOFTWARE or name in self.strangers:
            freq = event.get("freq")
            self.meet(name, now, float(freq) if isinstance(freq, int | float) else _FREQ)

    # --- elections ----------------------------------------------------------------------------

    def elect(self, number: str, topic: str, action: Any) -> None:
        """Hold an election, as every node was told to: run the action here if this node wins.

        Among our own the first of the registry wins, which each knows without asking.  Beside
        nodes of Celery's all stand for it with the number of their clock, and the lowest wins
        once as many have voted as are alive.
        """
        if not self.neighbours(time.monotonic()):
            if self._first_of_registry():
                self._win(number, topic, action)
            return
        if self.worker.options.gossip:
            self._ballot(number, time.monotonic()).called = True
            self._say("worker-elect", id=number, topic=topic, action=action, cver=1)

    def _first_of_registry(self) -> bool:
        own = self.worker.consumer.connection.owner
        alive = [node.owner for node in self.worker.consumer.broker.nodes() if node.alive]
        return bool(alive) and min(alive) == own

    def _ballot(self, number: str, now: float) -> _Ballot:
        return self._ballots.setdefault(number, _Ballot(now))

    def _stand(self, event: dict[str, Any], now: float) -> None:
        number, clock = event.get("id"), event.get("clock")
        if not isinstance(number, str) or not isinstance(clock, int) or "topic" not in event:
            log.error("election of %s: id, clock or topic is missing", event.get("hostname"))
            return
        candidate = f"{event.get('hostname')}.{event.get('pid')}"
        ballot = self._ballot(number, now)
        ballot.candidates.append((clock, candidate, event["topic"], event.get("action")))
        self._say("worker-elect-ack", id=number)

    def _vote(self, event: dict[str, Any]) -> None:
        number = event.get("id")
        ballot = self._ballots.get(number) if isinstance(number, str) else None
        if ballot is None or not ballot.called or not isinstance(number, str):
            return
        ballot.votes += 1
        if not ballot.candidates or ballot.votes < len(self._others()):
            return
        del self._ballots[number]
        _, winner, topic, action = min(ballot.candidates, key=lambda one: one[:2])
        if winner == self._own:
            self._win(number, topic, action)
        else:
            log.info("node %s elected for %r", winner, number)

    def _others(self) -> set[str]:
        """Return the nodes that live, of both kinds, but for this one: as Celery counts them."""
        registered = {n.name for n in self.worker.consumer.broker.nodes() if n.alive}
        strangers = self.neighbours(time.monotonic())
        return registered.union(strangers) - {self.worker.hostname}

    def _win(self, number: str, topic: str, action: Any) -> None:
        log.info("elected for %s by %s", topic, number)
        if topic != "task":
            log.error("elected for the unknown topic %r: nothing is done", topic)
            return
        try:
            with gather() as publications:
                self.worker.app.signature(action).apply_async()
        except Exception as exc:
            log.error("elected for %s, but its task cannot be sent: %r", number, exc)
            return
        self.worker.consumer.publish(publications)

    def _say(self, kind: str, **fields: Any) -> None:
        self.worker.events.send(self.worker.consumer.broker, kind, **fields)
