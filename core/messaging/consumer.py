"""The worker's end of the pipe: takes deliveries, gives them back in batches.

What was settled stays noted here until the broker has taken note of it, over lost connections.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..brokers.base import Broker, Delivery, Heard
from ..errors import BrokerConnectionError, BrokerError
from ..wire.message import Publication
from ..wire.queues import Queue
from .connection import Connection

__all__ = ["Broker", "Consumer", "Delivery", "Heard"]

log = logging.getLogger("taskctl.consumer")

#: An ack (None: none) and the messages that go out in the same step.
Settled = tuple[str | None, tuple[Publication, ...]]


class Consumer:
    """Consumes `queues` over a connection that has an owner.

    `ack` and `reject` only note; `flush` tells the broker.  After BrokerConnectionError drop the
    connection and `open` again; deliveries on loan are still ours while the lease lives.

    `bury` turns a message that the broker refuses for good into one it may take, so that the acks
    behind it do not wait for ever; without it, they do.
    """

    def __init__(
        self,
        connection: Connection,
        queues: Sequence[Queue],
        *,
        bury: Callable[[Publication, BrokerError], Publication] | None = None,
    ) -> None:
        self.connection = connection
        self.queues: dict[str, Queue] = {queue.name: queue for queue in queues}
        self.paused = False
        #: Queues nobody shall take from now; see `heed`.
        self.paused_queues: frozenset[str] = frozenset()
        self.bury = bury
        self._settled: deque[Settled] = deque()
        self._rejects: dict[tuple[bool, bool], list[str]] = {}

    @property
    def broker(self) -> Broker:
        return self.connection.broker

    def open(self, timeout: float | None = None) -> None:
        """Connect, within `timeout` seconds a URL, and subscribe to every queue."""
        broker = self.connection.open(timeout)
        self.paused_queues = frozenset(broker.paused())
        for queue in self.queues.values():
            if queue.name in self.paused_queues:
                broker.declare(queue)
                broker.unsubscribe(queue.name)
            else:
                broker.subscribe(queue)

    def heed(self) -> frozenset[str]:
        """Take from no queue that is paused now, and from all others of ours; return those of
        ours that were not paused before."""
        before, self.paused_queues = self.paused_queues, frozenset(self.broker.paused())
        for name in self.queues.keys() & (self.paused_queues - before):
            self.broker.unsubscribe(name)
        for name in self.queues.keys() & (before - self.paused_queues):
            self.broker.subscribe(self.queues[name])
        return (self.paused_queues - before) & self.queues.keys()

    def add(self, queue: Queue) -> None:
        """Consume one more queue."""
        if queue.name in self.paused_queues:
            self.broker.declare(queue)
        else:
            self.broker.subscribe(queue)
        self.queues[queue.name] = queue

    def remove(self, name: str) -> None:
        """Consume `name` no longer; what is on loan stays so."""
        self.broker.unsubscribe(name)
        self.queues.pop(name, None)

    def receive(self, limit: int) -> list[Delivery]:
        """Return up to `limit` deliveries; none while paused.

        With no room the broker is still asked, for nothing: that quiets its descriptor.
        """
        return self.broker.receive(0 if self.paused or not self.queues else limit)

    def ack(self, tag: str, publications: Sequence[Publication] = ()) -> None:
        """Note that a delivery is done, and what goes out in the same step."""
        self._settled.append((tag, tuple(publications)))

    def publish(self, publications: Sequence[Publication]) -> None:
        """Note messages that go out with the next acks."""
        if publications:
            self._settled.append((None, tuple(publications)))

    def reject(self, tag: str, *, requeue: bool, lost: bool = False) -> None:
        """Note that a delivery goes back; see `Broker.reject`."""
        self._rejects.setdefault((requeue, lost), []).append(tag)

    def pending(self) -> bool:
        """Return whether there is anything to flush."""
        return bool(self._settled or self._rejects)

    def flush(self) -> None:
        """Tell the broker; on BrokerConnectionError everything stays noted."""
        if self._settled:
            try:
                self._say(self._settled)
            except BrokerConnectionError:
                raise
            except BrokerError:
                if self.bury is None:
                    raise
                self._flush_one_by_one(self.bury)
            self._settled.clear()
        for requeue, lost in list(self._rejects):
            self.broker.reject(self._rejects[requeue, lost], requeue=requeue, lost=lost)
            del self._rejects[requeue, lost]

    def _say(self, settled: Iterable[Settled]) -> None:
        settled = list(settled)
        tags = [tag for tag, _ in settled if tag is not None]
        self.broker.ack(tags, [one for _, publications in settled for one in publications])

    def _flush_one_by_one(self, bury: Callable[[Publication, BrokerError], Publication]) -> None:
        """Say all but what is refused, and bury that; what went out already may go out twice."""
        while self._settled:
            try:
                self._say([self._settled[0]])
            except BrokerConnectionError:
                raise
            except BrokerError as exc:
                tag, publications = self._settled[0]
                places = ", ".join(repr(one.routing_key) for one in publications)
                log.error("%s; what was for %s goes to the dead-letter queue", exc, places)
                self._say([(tag, tuple(bury(one, exc) for one in publications))])
            self._settled.popleft()

    def forget(self) -> None:
        """Drop what is noted: those deliveries stay on loan until the lease or the owner ends."""
        self._settled.clear()
        self._rejects.clear()

    def close(self) -> None:
        """Let go of the broker; what is noted and not flushed runs again elsewhere."""
        self.connection.close()
