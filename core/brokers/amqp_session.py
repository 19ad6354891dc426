"""All that belongs to one open connection: its lines and what works on them.

A node has two lines, one to take and one to send: a server that is short of memory stops reading
from whoever publishes, and acknowledgements must still get through.  A client has one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from functools import cached_property
from uuid import uuid4

from ..errors import BrokerConnectionError, BrokerError, EncodeError
from ..wire.message import Publication
from ..wire.queues import PrivateQueue, Queue, direct_queue
from . import amqp_losses as book
from .amqp_codec import Content, read_properties
from .amqp_delay import LEVELS, LONGEST, Delay, delayed_key, level, straight_key
from .amqp_envelope import unpack
from .amqp_hearing import Hearing, broadcast_exchange
from .amqp_intake import Intake
from .amqp_line import ChannelRefused, Line
from .amqp_loans import Loan
from .amqp_losses import Losses
from .amqp_notes import QUEUES, Notes
from .amqp_options import Address, Options
from .amqp_outlet import Loudspeaker, Outlet, Parcel
from .amqp_past import Past
from .amqp_topology import Topology, is_quorum
from .amqp_wake import Wake
from .amqp_words import explain

log = logging.getLogger("taskctl.broker")

#: What names of our own, which Celery does not know, begin with.
OURS = "taskctl."


class Session:
    """One connection to one server, of a node if it has an `owner`."""

    def __init__(
        self,
        address: Address,
        settings: Options,
        timeout: float,
        owner: str | None,
        losses: Losses,
        past: Past,
    ) -> None:
        self.address, self.settings, self.timeout = address, settings, timeout
        self.owner = owner
        self.losses, self.past = losses, past
        self.word = uuid4().hex[:12]
        self.line = Line(
            address, settings, timeout, beat=owner is not None, role=self._role("takes")
        )
        self._sender: Line | None = None
        self._outlet: Outlet | None = None
        self._loudspeaker: Loudspeaker | None = None
        self._noted: set[str] = set()
        self.wake = Wake()
        self.wake.watch(self.line.fileno())
        self.topology = Topology(self.line)
        self.delay = Delay(self.topology, settings.native_delayed_delivery_queue_type)
        self._told = False
        #: Whether the caller reads right now: then nothing needs to ring.
        self.reading = False

    def _role(self, does: str) -> str:
        return f"{self.owner.partition('#')[0]} {does}" if self.owner else "client"

    # --- parts ----------------------------------------------------------------------------------

    @property
    def sender(self) -> Line:
        """The line that publishes."""
        if self.owner is None:
            return self.line
        if self._sender is None:
            self._sender = Line(
                self.address, self.settings, self.timeout, beat=True, role=self._role("sends")
            )
            self.wake.watch(self._sender.fileno())
        return self._sender

    def outlet(self) -> Outlet:
        """Return a channel with confirms."""
        if self._outlet is None or not self._outlet.usable:
            self._outlet = Outlet(self.sender, self.settings.socket_timeout)
        return self._outlet

    @property
    def loudspeaker(self) -> Loudspeaker:
        """A channel without confirms."""
        if self._loudspeaker is None or not self._loudspeaker.usable:
            self._loudspeaker = Loudspeaker(self.sender)
        return self._loudspeaker

    @cached_property
    def notes(self) -> Notes:
        """The shelves of records."""
        return Notes(self.line, self.outlet)

    @cached_property
    def hearing(self) -> Hearing:
        """Broadcasts and replies."""
        node = self.owner.partition("#")[0] if self.owner else None
        return Hearing(self.line, node, self.ring)

    @cached_property
    def intake(self) -> Intake:
        """What is taken on loan."""
        return Intake(self.line, self.word, self.ring, self.losses.count, self.past)

    def ring(self, reason: str) -> None:
        """Make the descriptor readable, unless whoever it is for is reading already."""
        if not self.reading:
            self.wake.ring(reason)

    def pump(self) -> None:
        """Read and write what can be without waiting, on every line."""
        if self.line.pump():
            self.wake.ring("messages")
        if self._sender is not None:
            self._sender.pump()

    def unsent(self) -> bool:
        """Return whether something could not be sent yet."""
        return bool(self.line.unsent or (self._sender is not None and self._sender.unsent))

    @property
    def alive(self) -> bool:
        """Whether every line stands."""
        return self.line.alive and (self._sender is None or self._sender.alive)

    def heartbeat(self) -> float:
        """Return the seconds of the shortest heartbeat; 0 for none."""
        return self.line.heartbeat

    def close(self) -> None:
        """Take leave, and let go of every descriptor; what is on loan is kept in mind."""
        if "intake" in self.__dict__:
            self.past.remember(self.intake.keys())
        for line in (self._sender, self.line):
            if line is not None:
                with contextlib.suppress(BrokerError):
                    line.close()
        self.wake.close()

    # --- declaring ------------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        """Make a queue exist, and write down its name if it is one for tasks."""
        self.topology.declare(queue)
        if is_quorum(queue):
            self.delay.lead_to(queue)
        if not is_private(queue):
            self._note(queue)

    def _note(self, queue: Queue) -> None:
        """Write a queue and its binding down, once a connection."""
        exchange = queue.exchange
        key = f"{queue.name}|{exchange.name}|{queue.routing_key}"
        if key not in self._noted:
            fact = {
                "queue": queue.name,
                "exchange": exchange.name,
                "key": queue.routing_key,
                "type": exchange.type,
            }
            self.notes.add(QUEUES, {key: fact})
            self._noted.add(key)

    def forget(self, queue: str) -> None:
        """A queue is gone: note it again if it is declared again."""
        self._noted = {key for key in self._noted if not key.startswith(f"{queue}|")}

    # --- publishing -----------------------------------------------------------------------------

    def publish(self, publications: Sequence[Publication]) -> None:
        """Hand messages over, and return once RabbitMQ has them; see `Broker.publish`."""
        parcels = [parcel for one in publications if (parcel := self.pack(one)) is not None]
        if not parcels:
            return
        back = self.hand_over(parcels)
        lost = [parcels[number] for number in back]
        again = [parcel for parcel in lost if parcel[0] == "" and not _is_reply(parcel[2])]
        for queue in {key for _, key, _ in again}:
            self.declare(direct_queue(queue))
        if again and (still := self.hand_over(again)):
            keys = ", ".join(sorted({repr(again[number][1]) for number in still}))
            raise BrokerConnectionError(f"queue {keys} was deleted while we published: try again")

    def hand_over(self, parcels: Sequence[Parcel]) -> list[int]:
        """Publish with confirms; return which came back."""
        try:
            return self.outlet().hand_over(parcels)
        except BrokerError:
            self.topology.forget_exchanges()  # one of them may be gone
            raise

    def pack(self, one: Publication) -> Parcel | None:
        """Return the message on its way; None if its exchange does not exist."""
        exchange, key = one.exchange, one.routing_key
        if exchange and not self._knows(exchange):
            log.warning("there is no exchange %r: a message with key %r is dropped", exchange, key)
            return None
        try:
            content = unpack(one.envelope, one.priority)
        except EncodeError as exc:
            raise BrokerError(f"{self.address.shown} cannot carry this: {exc}") from exc
        if one.due is not None and exchange:
            seconds = self._native_delay(exchange, one.due)
            if seconds:
                return level(LEVELS - 1), delayed_key(seconds, key), content
        return exchange, key, content

    def _knows(self, exchange: str) -> bool:
        try:
            return self.topology.knows_exchange(exchange)
        except ChannelRefused as exc:
            doing = f"looking for exchange {exchange!r}"
            raise explain(self.address.shown, exc.said, doing) from exc

    def _native_delay(self, exchange: str, due: float) -> int:
        """Return for how many seconds the levels shall hold a message; 0 if they shall not."""
        if self.topology.types.get(exchange) not in ("topic", "fanout"):
            return 0
        if not any(map(is_quorum, self.topology.declared.values())):
            return 0
        self.delay.prepare()
        seconds = int(due - time.time())
        return max(0, min(seconds, LONGEST))

    def send_away(self, loan: Loan, due: float) -> bool:
        """Let RabbitMQ hold a loan's message until it is due; return false if it will not."""
        seconds = int(due - time.time())
        key = delayed_key(seconds, straight_key(loan.queue))
        try:
            self.delay.lead_straight_to(loan.queue)
            back = self.hand_over([(level(LEVELS - 1), key, loan.content)])
        except BrokerConnectionError:
            raise
        except BrokerError as exc:
            if not self._told:
                log.warning("%s; tasks with a far ETA wait in this node's memory instead", exc)
            self._told = True
            return False
        return not back

    # --- broadcasts -----------------------------------------------------------------------------

    def listen(self, name: str, pattern: str, queue: PrivateQueue | None) -> None:
        """Hear broadcasts; those of ours only if this user may."""
        if not name.startswith(OURS) or self.notes.allowed():
            self.hearing.listen(name, pattern, queue=queue)

    def broadcast(self, name: str, key: str, envelope: bytes) -> int | None:
        """Send a copy to whoever listens; 0 if nobody does, None if nobody can tell how many."""
        exchange = broadcast_exchange(name)
        if name.startswith(OURS) and not self.notes.allowed():
            return None
        self.topology.declare_exchange(exchange)
        content = unpack(envelope)
        if exchange.type != "fanout":
            self.loudspeaker.send(name, key, content)
            return None
        return 0 if self.hand_over([(name, key, content)]) else None

    # --- losses ---------------------------------------------------------------------------------

    def open_book(self) -> None:
        """Hear what others write into the book of losses, then read it."""
        if not self.notes.allowed():
            return
        try:
            self.topology.call(*book.declaration())
        except ChannelRefused as exc:
            doing = "declaring the book of losses"
            raise explain(self.address.shown, exc.said, doing) from exc
        self.hearing.listen(book.LOSSES.name, "#", self.losses.hear)
        self.notes.change(book.LOSSES, self.losses.read)

    def write_losses(self, counts: dict[str, int]) -> None:
        """Write into the book, for all to read, before it happens."""
        if counts and not self.notes.forbidden:
            self.outlet().post([book.page(counts)])
        self.losses.take_over(counts)


def is_private(queue: Queue) -> bool:
    """Return whether a queue is somebody's own, and not one for tasks."""
    return queue.expires is not None or queue.exclusive or queue.auto_delete


def _is_reply(content: Content) -> bool:
    """Return whether a message is a result on its way back to whoever asked (no headers): if that
    queue is gone, nobody waits any more."""
    try:
        return not read_properties(content.properties)[2]
    except ValueError:
        return False
