"""The contract every broker keeps, in prose about guarantees.

A broker carries envelopes (`wire.message`) and lends them out as deliveries.  It gets a URL and
options, reads no settings, never waits in `receive` or `hear`, and is used by one thread of one
process: after a fork, or in another thread, open another one.

Durability: when `publish` returns, the message survives the death of every client.  A delivery
is invisible to others until it is acked or rejected, or until its owner's lease has ended and
somebody calls `reclaim`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import BrokerError
from ..wire.message import Publication
from ..wire.queues import PrivateQueue, Queue
from .leading import Leadership

#: Most marks of revocations that are kept; those that end soonest go, as in a node's memory.
MOST_MARKS = 50_000


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message on loan.

    `tag` gives it back.  `deliveries` counts the earlier loans that ended with a lost worker or
    child while it ran (0 for a fresh message); `redelivered` is true if it was ever given back.
    """

    tag: str
    queue: str
    envelope: bytes
    deliveries: int = 0
    redelivered: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A broadcast, as it reached a listener."""

    exchange: str
    routing_key: str
    envelope: bytes


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A registered node: what it last said of itself, and how long ago (seconds, float).

    `alive` is false once its lease has ended and nobody has reclaimed it yet.
    """

    name: str
    owner: str
    record: dict[str, Any]
    age: float
    alive: bool


class QueueStat(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one queue: waiting, lent out, held until due; age of the oldest waiting."""

    name: str
    ready: int
    unacked: int = 0
    due: int = 0
    oldest: float | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits, as `browse` shows it.

    `at` is when it came (unix time), None where the broker keeps no times.
    """

    envelope: bytes
    at: float | None = None
    redelivered: bool = False


class Binding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A way into a queue; `type` is its exchange's, "" where the broker keeps no types."""

    queue: str
    exchange: str
    routing_key: str
    type: str = ""


class Broker(ABC):
    """One open line to a broker.

    `url` is the whole URL; `options` are `broker_transport_options`; `owner` names the holder of
    deliveries (one per worker run, so that a restarted node never owns what its past held);
    without an owner the broker publishes, peeks and broadcasts but may not `receive`.

    Everything may raise BrokerConnectionError when the broker is gone (nothing was lost; `open`
    again, with the same owner) and BrokerError when it refuses.
    """

    #: Whether `publish` holds a message with `due`; if not, the worker parks it on receipt.
    holds_due = False
    #: Whether queue priority is served highest number first (else Redis order, lowest first).
    highest_priority_first = True

    def __init__(
        self, url: str, *, options: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> None:
        self.url = url
        self.options: Mapping[str, Any] = options or {}
        self.owner = owner

    def _owner_needed(self, what: str) -> str:
        """Return the owner; refuse to do `what` without one."""
        if self.owner is None:
            raise BrokerError(f"a broker without an owner may not {what}: give it one")
        return self.owner

    # --- the line ---------------------------------------------------------------------------

    @abstractmethod
    def open(self, timeout: float = 4.0) -> None:
        """Connect within `timeout` seconds; opening an open broker does nothing."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every descriptor.  Deliveries on loan stay on loan: `reject` them first."""

    @abstractmethod
    def fileno(self) -> int:
        """Return a descriptor that is readable when `receive` or `hear` may have something.

        It may be readable for nothing; it is never silent for longer than `poll_interval`
        seconds (see below) when there is something.  It stays the same while open.
        """

    def poll_interval(self) -> float:
        """Return after how many seconds `receive` should be called even if nothing is readable."""
        return 1.0

    def server_version(self) -> str:
        """Return the version of the server on the other end; empty where there is none."""
        return ""

    def idle_options(self) -> dict[str, str]:
        """Return those of our options that are accepted and change nothing, and why."""
        return {}

    def diagnose(self) -> dict[str, Any]:
        """Return what a doctor wants to know of the server; empty where there is none."""
        return {}

    # --- queues -----------------------------------------------------------------------------

    @abstractmethod
    def declare(self, queue: Queue) -> None:
        """Make the queue, its exchange and its binding exist; repeating it does nothing."""

    @abstractmethod
    def delete(self, queue: str) -> int:
        """Remove a queue with its bindings, its waiting and its held messages; return how many.

        Loans go on.  A queue that was paused stays so if it is made again.
        """

    @abstractmethod
    def delete_empty(self, queue: str) -> bool:
        """Remove a queue with its bindings if nothing waits or is held there; return whether."""

    @abstractmethod
    def queues(self) -> list[QueueStat]:
        """Return the numbers of every task queue that is known, ordered by name."""

    @abstractmethod
    def exists(self, queue: str) -> bool:
        """Return whether `queue` is declared or holds anything, making nothing."""

    @abstractmethod
    def bindings(self) -> list[Binding]:
        """Return all bindings of task queues, ordered by queue; those that `declare` made."""

    @abstractmethod
    def size(self, queue: str) -> int:
        """Return how many messages wait in `queue`, of all priorities, not counting loans."""

    @abstractmethod
    def browse(self, queue: str, limit: int = 50) -> list[Waiting]:
        """Return up to `limit` waiting messages, next to be served first, taking none."""

    def peek(self, queue: str, limit: int = 50) -> list[bytes]:
        """Return what `browse` does, the envelopes alone."""
        return [waiting.envelope for waiting in self.browse(queue, limit)]

    @abstractmethod
    def swap(self, queue: str, envelope: bytes, publications: Sequence[Publication] = ()) -> bool:
        """Put `publications` in the place of one waiting message of `queue`, this very envelope.

        Returns false, and nothing has happened, if it does not wait there (any more): of many
        who try, one succeeds.  One atomic step where the broker can; where it cannot, the
        message goes only once its successors are safe.
        """

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Drop all waiting messages of `queue`; return how many."""

    @abstractmethod
    def pause(self, queue: str) -> None:
        """Note that nobody shall take from `queue`; the note outlives every client.

        It binds those who read it (`paused`): a broker does not keep anybody from receiving.
        """

    @abstractmethod
    def resume(self, queue: str) -> bool:
        """Take the note of `pause` away; return whether there was one."""

    @abstractmethod
    def paused(self) -> dict[str, float]:
        """Return the paused queues, and since when (unix time); a queue need not exist."""

    # --- messages ---------------------------------------------------------------------------

    @abstractmethod
    def publish(self, publications: Sequence[Publication]) -> None:
        """Hand over all of them, in order, in one step where the broker can.

        Exchange "" puts a message on the queue named by its routing key, making the queue if
        need be; other exchanges follow their declared bindings, and a message no binding takes
        is dropped.  Messages of one priority leave a queue in the order they came.
        """

    @abstractmethod
    def subscribe(self, queue: Queue) -> None:
        """Declare `queue` and let `receive` take from it."""

    @abstractmethod
    def unsubscribe(self, queue: str) -> None:
        """Stop taking from `queue`; what is on loan stays so."""

    @abstractmethod
    def receive(self, limit: int) -> list[Delivery]:
        """Return up to `limit` deliveries from the subscribed queues; never wait.

        Taking a message and recording its loan is one atomic step.  Queues are served in turn:
        a full one does not starve the others.  A `limit` of 0 takes nothing, and quiets the
        descriptor until something new comes.
        """

    @abstractmethod
    def ack(self, tags: Sequence[str], publications: Sequence[Publication] = ()) -> None:
        """Forget these deliveries for good; unknown tags are ignored.

        `publications` go out in the same step, atomically where the broker can.
        """

    @abstractmethod
    def reject(self, tags: Sequence[str], *, requeue: bool, lost: bool = False) -> None:
        """Give deliveries back, not done.

        `requeue` puts them at the head of their queue, marked redelivered (else they are gone);
        with `lost` their `deliveries` count goes up by one: something died while running them.
        Unknown tags are ignored.
        """

    @abstractmethod
    def park(self, tag: str, due: float, task_id: str) -> None:
        """Turn a loan into a message held until `due` (unix time); then it is received again."""

    @abstractmethod
    def parked(
        self, limit: int = 1000, queues: Sequence[str] | None = None
    ) -> list[tuple[float, bytes]]:
        """Return up to `limit` held messages as (due, envelope), soonest first: those of
        `queues`, by default of the subscribed ones."""

    @abstractmethod
    def cancel_parked(self, task_ids: Iterable[str]) -> list[bytes]:
        """Drop the held messages of these tasks; return the envelopes that were dropped."""

    @abstractmethod
    def take(self, queue: str, limit: int = 100) -> list[bytes]:
        """Pop up to `limit` envelopes of a private queue (replies), with no loan; never wait."""

    def cancel_waiting(self, task_ids: Iterable[str]) -> list[bytes]:
        """Drop messages of these tasks that wait in queues; return the envelopes dropped.

        As far as the broker can find them soon: not in a long queue, and not where looking leaves
        traces.  What is not found stays, and is refused by whoever receives it.
        """
        return []

    # --- revocations --------------------------------------------------------------------------

    @abstractmethod
    def note_revoked(self, marks: Iterable[str], seconds: float) -> None:
        """Keep these marks for `seconds`; the note outlives every client and worker.

        A mark is any text (see `messaging.revocations`).  One that is kept already is kept for
        the longer of the two times.
        """

    @abstractmethod
    def revoked_marks(self) -> dict[str, float]:
        """Return the marks that are kept, and for how many seconds more."""

    # --- broadcasts ---------------------------------------------------------------------------

    @abstractmethod
    def broadcast(self, exchange: str, routing_key: str, envelope: bytes) -> int | None:
        """Hand a copy to every present listener; nobody listening is no error.

        Returns how many listeners got one, None where the broker cannot tell.
        """

    @abstractmethod
    def listen(self, exchange: str, pattern: str = "", queue: PrivateQueue | None = None) -> None:
        """Hear broadcasts of `exchange` whose routing key matches the topic `pattern`
        ("" takes only empty keys, "#" everything).

        `queue` says how they wait for us, in a broker that has queues for it (RabbitMQ); None is
        as Celery does by default."""

    def foreign_listeners(self, exchange: str) -> list[str]:
        """Return the queues through which programs of others listen to `exchange`, as far as the
        broker knows; some of them may be gone."""
        return []

    @abstractmethod
    def hear(self, limit: int = 100) -> list[Heard]:
        """Return up to `limit` broadcasts made since `listen`, oldest first; never wait."""

    # --- leases -------------------------------------------------------------------------------

    @abstractmethod
    def register(self, name: str, record: Mapping[str, Any], lease: float) -> None:
        """Write this owner's node record and extend its lease to `lease` seconds from now.

        `record` is plain JSON data.  Also refreshes whatever else would make others take the
        loans of a living owner (Celery's visibility timeout).
        """

    @abstractmethod
    def retire(self) -> None:
        """Remove this owner's node record and lease at once; its remaining loans go back."""

    @abstractmethod
    def nodes(self) -> list[NodeRecord]:
        """Return all registered nodes, ordered by name; works without an owner."""

    @abstractmethod
    def started(self, tags: Sequence[str]) -> None:
        """Note that these loans have begun to run, so that a lost worker is held against them."""

    @abstractmethod
    def reclaim(self) -> list[str]:
        """Give back what owners with an ended lease held; return their node names (the owner
        itself for one that never registered).

        Each goes to the head of its queue, marked redelivered.  Its `deliveries` count goes up
        by one if the loan was `started`, or if the count was 0: the first loss may have been
        its fault, later ones count only when known.  Many peers may call this at once; each
        loan is given back once.
        """

    # --- leading ------------------------------------------------------------------------------

    @abstractmethod
    def leadership(self, name: str, candidate: str) -> Leadership:
        """Return a candidate's part in the leadership `name`, for as long as this line is open;
        it needs no owner.  See `leading.Leadership`."""
