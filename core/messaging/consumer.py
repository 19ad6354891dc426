"""The worker's end of the pipe: takes deliveries, gives them back in batches.

What was settled stays noted here until the broker has taken note of it, over lost connections.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..brokers.base import Broker, Delivery
from ..wire.message import Publication
from ..wire.queues import Queue
from .connection import Connection

__all__ = ["Broker", "Consumer", "Delivery"]


class Consumer:
    """Consumes `queues` over a connection that has an owner.

    `ack` and `reject` only note; `flush` tells the broker.  After BrokerConnectionError drop the
    connection and `open` again; deliveries on loan are still ours while the lease lives.
    """

    def __init__(self, connection: Connection, queues: Sequence[Queue]) -> None:
        self.connection = connection
        self.queues: dict[str, Queue] = {queue.name: queue for queue in queues}
        self.paused = False
        self._acks: list[str] = []
        self._publications: list[Publication] = []
        self._rejects: dict[tuple[bool, bool], list[str]] = {}

    @property
    def broker(self) -> Broker:
        return self.connection.broker

    def open(self, timeout: float | None = None) -> None:
        """Connect, within `timeout` seconds a URL, and subscribe to every queue."""
        broker = self.connection.open(timeout)
        for queue in self.queues.values():
            broker.subscribe(queue)

    def add(self, queue: Queue) -> None:
        """Consume one more queue."""
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
        self._acks.append(tag)
        self._publications.extend(publications)

    def publish(self, publications: Sequence[Publication]) -> None:
        """Note messages that go out with the next acks."""
        self._publications.extend(publications)

    def reject(self, tag: str, *, requeue: bool, lost: bool = False) -> None:
        """Note that a delivery goes back; see `Broker.reject`."""
        self._rejects.setdefault((requeue, lost), []).append(tag)

    def pending(self) -> bool:
        """Return whether there is anything to flush."""
        return bool(self._acks or self._publications or self._rejects)

    def flush(self) -> None:
        """Tell the broker; on BrokerConnectionError everything stays noted."""
        if self._acks or self._publications:
            self.broker.ack(self._acks, self._publications)
            self._acks, self._publications = [], []
        for requeue, lost in list(self._rejects):
            self.broker.reject(self._rejects[requeue, lost], requeue=requeue, lost=lost)
            del self._rejects[requeue, lost]

    def forget(self) -> None:
        """Drop what is noted: those deliveries stay on loan until the lease or the owner ends."""
        self._acks, self._publications, self._rejects = [], [], {}

    def close(self) -> None:
        """Let go of the broker; what is noted and not flushed runs again elsewhere."""
        self.connection.close()
