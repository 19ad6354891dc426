"""Which types of exchange a broker without headers of its own can serve."""

from __future__ import annotations

from ..errors import BrokerError
from ..wire.queues import Queue

_SERVED = ("direct", "topic", "fanout")


def refuse_exchanges(queue: Queue) -> None:
    """Raise BrokerError if a queue is bound to an exchange that only RabbitMQ can serve."""
    for exchange in (queue.exchange, *(one.exchange for one in queue.bindings)):
        if exchange.type not in _SERVED:
            raise BrokerError(
                f"exchange {exchange.name!r} of queue {queue.name!r} is of type {exchange.type!r},"
                f" which this broker has not: choose {', '.join(_SERVED)}, or use RabbitMQ"
            )
