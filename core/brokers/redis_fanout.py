"""Task queues of fanout exchanges: each message reaches every consumer that is there.

They hear by pub/sub, as in Celery.  What they hear is nobody's loan: it cannot be given back,
parked or restored.
"""

from __future__ import annotations

from collections import deque
from uuid import uuid4

from ..wire.queues import Queue
from .base import Delivery, Heard
from .redis_bell import Bell


class BroadcastQueues:
    """The broadcast queues that one broker takes from; one for each exchange, as in kombu."""

    def __init__(self) -> None:
        self._by_exchange: dict[str, str] = {}
        self._heard: deque[Heard] = deque()

    @property
    def names(self) -> list[str]:
        return list(self._by_exchange.values())

    def add(self, bell: Bell, queue: Queue) -> None:
        """Hear what the queue's exchange carries from now on; any other queue is left alone."""
        for one in queue.ways_in():
            if one.exchange.type == "fanout":
                self._by_exchange[one.exchange.name] = queue.name
                bell.listen(one.exchange.name, "#", self._heard)

    def remove(self, bell: Bell, queue: str) -> None:
        """Hear for this queue no more."""
        for exchange in [name for name, bound in self._by_exchange.items() if bound == queue]:
            del self._by_exchange[exchange]
            bell.stop_listening(self._heard, exchange)

    def take(self, limit: int) -> list[Delivery]:
        """Return up to `limit` of what was heard, oldest first."""
        deliveries: list[Delivery] = []
        while self._heard and len(deliveries) < limit:
            heard = self._heard.popleft()
            queue = self._by_exchange.get(heard.exchange)
            if queue is not None:
                tag = f"fanout.{uuid4().hex}"
                deliveries.append(Delivery(tag=tag, queue=queue, envelope=heard.envelope))
        return deliveries
