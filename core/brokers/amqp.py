"""The RabbitMQ broker: Celery's queues, exchanges and messages, with notes beside them.

The connection is in `amqp_line` and what hangs on it in `amqp_session`; taking on loan is in
`amqp_intake`, publishing with confirms in `amqp_outlet`, declaring in `amqp_topology`, looking in
`amqp_looking`, broadcasts and replies in `amqp_hearing`, and what AMQP has no place for (nodes,
pauses, names of queues, losses) in `amqp_notes` and `amqp_losses`.  This file is the contract's
order of verbs; where AMQP gives less than the contract, the verb says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import BrokerConnectionError, BrokerError
from ..wire.message import Publication
from ..wire.queues import PrivateQueue, Queue
from . import amqp_looking as looking
from . import amqp_revoked as revocations
from .amqp_leading import AmqpLeadership
from .amqp_loans import Loan
from .amqp_losses import Losses
from .amqp_notes import PAUSES
from .amqp_options import read_options, read_url
from .amqp_past import Past
from .amqp_session import Session, is_private
from .base import Binding, Broker, Delivery, Heard, NodeRecord, QueueStat, Waiting
from .leading import Leadership

#: How often to look when nothing can be read (seconds), and when something is left to be sent.
IDLE_POLL, BUSY_POLL = 1.0, 0.01
#: Longest that a message is held on loan for its time (seconds).
HOLD_UP_TO = 900.0
#: Seconds between two looks for dead nodes, at least.
RECLAIM_EVERY = 0.1


class AmqpBroker(Broker):
    """Celery's AMQP transport, spoken with confirms.

    A loan lives as long as the connection: when that ends, RabbitMQ gives the message to the next
    consumer at once, whatever the lease of its owner.
    """

    holds_due = False
    highest_priority_first = True

    def __init__(
        self, url: str, *, options: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> None:
        super().__init__(url, options=options, owner=owner)
        self._address = read_url(url)
        self._settings = read_options(self.options)
        self._open: Session | None = None
        self._pid = 0
        self._losses = Losses()
        self._past = Past()
        self._next_reclaim = 0.0

    # --- the line ---------------------------------------------------------------------------

    def open(self, timeout: float = 4.0) -> None:
        if self._open is not None and self._pid == os.getpid() and self._open.alive:
            return
        self.close()
        self._pid = os.getpid()
        self._open = Session(
            self._address, self._settings, timeout, self.owner, self._losses, self._past
        )

    def close(self) -> None:
        """Let go of every descriptor; RabbitMQ gives what is on loan to others at once."""
        session, self._open = self._open, None
        if session is not None:
            session.close()

    def fileno(self) -> int:
        return self._ready().wake.fileno()

    def poll_interval(self) -> float:
        session = self._ready()
        if session.unsent():
            return BUSY_POLL
        due = session.intake.next_look(time.monotonic()) if self.owner else None
        return IDLE_POLL if due is None else min(IDLE_POLL, due)

    def server_version(self) -> str:
        server = self._ready().line.server
        words = (server.get("product"), server.get("version"))
        return " ".join(_text(word) for word in words if word)

    def _ready(self) -> Session:
        """Return the open session; refuse if there is none, or if it is the parent's."""
        if self._open is None:
            raise BrokerConnectionError(f"the line to {self._address.shown} is closed: open it")
        if self._pid != os.getpid():
            raise BrokerError("this broker was opened before the fork: open another one")
        return self._open

    # --- queues -----------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        """As the contract says; what exists with other arguments is refused, in one line."""
        self._ready().declare(queue)

    def delete(self, queue: str) -> int:
        session = self._ready()
        known = session.topology.declared.get(queue)
        held = self._drop_held(queue)
        session.hearing.forget(queue)
        dropped = session.topology.delete(queue)
        if known is None or not is_private(known):
            looking.forget_queue(session, queue)
        return dropped + held

    def _drop_held(self, queue: str) -> int:
        if self.owner is None:
            return 0
        intake = self._ready().intake
        intake.leave(queue)
        tags = [tag for _, tag, loan in intake.held() if loan.queue == queue]
        intake.drop_held(tags)
        return len(tags)

    def delete_empty(self, queue: str) -> bool:
        """As the contract says, of what waits at RabbitMQ and what is held here."""
        session = self._ready()
        if self.owner and any(loan.queue == queue for _, _, loan in session.intake.held()):
            return False
        if self.owner:
            session.intake.leave(queue)
        gone = session.topology.delete_empty(queue)
        if gone:
            looking.forget_queue(session, queue)
        return gone

    def queues(self) -> list[QueueStat]:
        """As the contract says, of the queues that taskctl declared or its nodes take from: AMQP
        lists none.  Loans of others are as their nodes told last; ages are not known."""
        session = self._ready()
        return looking.queue_stats(session, self._own_loans())

    def _own_loans(self) -> dict[str, tuple[int, int]]:
        """Return (lent, held) by queue, of ours."""
        counts: dict[str, tuple[int, int]] = {}
        if self.owner is not None:
            for loan in self._ready().intake.loans.values():
                lent, held = counts.get(loan.queue, (0, 0))
                parked = loan.due is not None
                counts[loan.queue] = (lent + (not parked), held + parked)
        return counts

    def exists(self, queue: str) -> bool:
        return self._ready().topology.look(queue) is not None

    def bindings(self) -> list[Binding]:
        return looking.bindings(self._ready())

    def size(self, queue: str) -> int:
        found = self._ready().topology.look(queue)
        return 0 if found is None else found[0]

    def browse(self, queue: str, limit: int = 50) -> list[Waiting]:
        """As the contract says; RabbitMQ marks what was looked at as redelivered from then on,
        and a quorum queue counts it (x-delivery-count)."""
        return looking.browse(self._ready(), queue, limit)

    def swap(self, queue: str, envelope: bytes, publications: Sequence[Publication] = ()) -> bool:
        """As the contract says; not one step: the message goes once its successors are safe."""
        return looking.swap(self._ready(), queue, envelope, publications)

    def purge(self, queue: str) -> int:
        return self._ready().topology.purge(queue)

    def pause(self, queue: str) -> None:
        now = time.time()
        self._ready().notes.change(
            PAUSES, lambda found: (None, {} if queue in found else {queue: now})
        )

    def resume(self, queue: str) -> bool:
        return self._ready().notes.change(
            PAUSES, lambda found: (queue in found, {queue: None} if queue in found else {})
        )

    def paused(self) -> dict[str, float]:
        found = self._ready().notes.read(PAUSES)
        return {queue: at for queue, at in found.items() if isinstance(at, int | float)}

    # --- messages ---------------------------------------------------------------------------

    def publish(self, publications: Sequence[Publication]) -> None:
        """Hand over all of them, in order, and return once RabbitMQ confirmed every one.

        Not one step: when it fails, a part may have been taken.  A message without headers (an
        rpc result) for a queue that is gone is dropped; any other makes its queue.
        """
        self._ready().publish(publications)

    def subscribe(self, queue: Queue) -> None:
        self.declare(queue)
        session = self._ready()
        if self.owner is None:
            return
        if not session.intake.taps:
            session.open_book()
        session.intake.subscribe(queue)

    def unsubscribe(self, queue: str) -> None:
        if self.owner is not None:
            self._ready().intake.unsubscribe(queue)

    def receive(self, limit: int) -> list[Delivery]:
        """As the contract says; what RabbitMQ pushed beyond `limit` waits here, and goes back if
        it is not asked for within a quarter of a second."""
        self._owner_needed("receive")
        session = self._ready()
        session.reading = True
        try:
            session.pump()
        finally:
            session.reading = False
        intake = session.intake
        deliveries = intake.receive(limit)
        if limit > 0 and intake.more():
            session.wake.ring("messages")
        else:
            session.wake.quiet("messages")
        if session.hearing.heard:
            session.wake.ring("broadcasts")
        return deliveries

    def ack(self, tags: Sequence[str], publications: Sequence[Publication] = ()) -> None:
        """Publish, and once that is confirmed, forget the deliveries.

        Not one step: who dies in between leaves both the message and its successors.
        """
        session = self._ready()
        if publications:
            session.publish(publications)
        if self.owner is not None and tags:
            session.intake.ack(tags)

    def reject(self, tags: Sequence[str], *, requeue: bool, lost: bool = False) -> None:
        """As the contract says; back in their old places, as far as the queue keeps them."""
        if self.owner is None:
            return
        session = self._ready()
        if requeue:
            self._write_down(session.intake.known(tags).values(), int(lost))
        session.intake.reject(tags, requeue=requeue)

    def _write_down(self, loans: Iterable[Loan], more: int) -> None:
        """Write down how often these were lost, when they come again."""
        counts = {loan.marked: loan.deliveries + more for loan in loans if loan.marked}
        self._ready().write_losses(counts)

    def park(self, tag: str, due: float, task_id: str) -> None:
        """Hold a loan here until it is due, if that is soon; else let RabbitMQ hold the message,
        in the queues of native delayed delivery, where nobody can list or cancel it.

        RabbitMQ takes back what is on loan for longer than its consumer_timeout, half an hour.
        """
        session = self._ready()
        loan = session.intake.known([tag]).get(tag)
        far = due - time.time() > HOLD_UP_TO
        if far and loan is not None and session.send_away(loan, due):
            session.intake.ack([tag])
            return
        session.intake.park(tag, due, task_id)

    def parked(
        self, limit: int = 1000, queues: Sequence[str] | None = None
    ) -> list[tuple[float, bytes]]:
        """As the contract says, of what this broker holds itself."""
        if self.owner is None:
            self._ready()
            return []
        intake = self._ready().intake
        wanted = intake.taps if queues is None else queues
        found = [(due, loan.envelope) for due, _, loan in intake.held() if loan.queue in wanted]
        return found[:limit]

    def cancel_parked(self, task_ids: Iterable[str]) -> list[bytes]:
        """As the contract says, of what this broker holds itself."""
        if self.owner is None:
            self._ready()
            return []
        wanted, intake = set(task_ids), self._ready().intake
        found = [(tag, loan) for _, tag, loan in intake.held() if loan.task_id in wanted]
        intake.drop_held([tag for tag, _ in found])
        return [loan.envelope for _, loan in found]

    # --- revocations --------------------------------------------------------------------------

    def note_revoked(self, marks: Iterable[str], seconds: float) -> None:
        revocations.note(self._ready().notes, list(marks), seconds)

    def revoked_marks(self) -> dict[str, float]:
        return revocations.marks(self._ready().notes)

    def take(self, queue: str, limit: int = 100) -> list[bytes]:
        session = self._ready()
        session.pump()
        known = session.topology.declared.get(queue)
        taken = session.hearing.take(queue, limit, known is not None and is_private(known))
        session.wake.quiet("replies")
        return taken

    # --- broadcasts ---------------------------------------------------------------------------

    def broadcast(self, exchange: str, routing_key: str, envelope: bytes) -> int | None:
        """As the contract says: 0 if nobody listens to a mailbox, else None."""
        return self._ready().broadcast(exchange, routing_key, envelope)

    def listen(self, exchange: str, pattern: str = "", queue: PrivateQueue | None = None) -> None:
        self._ready().listen(exchange, pattern, queue)

    def hear(self, limit: int = 100) -> list[Heard]:
        session = self._ready()
        session.pump()
        waiting = session.hearing.heard
        heard = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if waiting:
            session.wake.ring("broadcasts")
        else:
            session.wake.quiet("broadcasts")
        return heard

    # --- leases -------------------------------------------------------------------------------

    def register(self, name: str, record: Mapping[str, Any], lease: float) -> None:
        owner, session = self._owner_needed("register"), self._ready()
        looking.register(session, owner, name, record, lease, self._own_loans())

    def retire(self) -> None:
        session = self._ready()
        if self.owner is not None:
            self._write_down(session.intake.loans.values(), 0)
            session.intake.give_back_all()
            looking.retire(session, self.owner)

    def nodes(self) -> list[NodeRecord]:
        return [looking.without_loans(record) for record in looking.nodes(self._ready())]

    def started(self, tags: Sequence[str]) -> None:
        """As the contract says; of a message that never came before RabbitMQ itself keeps note."""
        session = self._ready()
        if self.owner is not None:
            loans = session.intake.known(tags).values()
            self._write_down([loan for loan in loans if loan.redelivered], 1)

    def reclaim(self) -> list[str]:
        """Take nodes whose lease has ended off the list; return their names.

        Their messages are back already: RabbitMQ returned them when the connection ended.  The
        more nodes there are, the more rarely each of them looks.
        """
        session, now = self._ready(), time.monotonic()
        if now < self._next_reclaim:
            return []
        names, count = looking.take_over(session)
        self._next_reclaim = now + max(RECLAIM_EVERY, count * 2 * RECLAIM_EVERY)
        return names

    # --- leading ------------------------------------------------------------------------------

    def leadership(self, name: str, candidate: str) -> Leadership:
        session = self._ready()
        return AmqpLeadership(
            name,
            candidate,
            address=session.address,
            options=session.settings,
            timeout=session.timeout,
            pack=session.pack,
            send_again=session.publish,
        )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
