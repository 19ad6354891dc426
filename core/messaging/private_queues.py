"""What the settings say of the queues that one node or one client has for itself."""

from __future__ import annotations

from typing import Any

from ..errors import ImproperlyConfigured
from ..wire.queues import PrivateQueue


def control_queue(conf: Any) -> PrivateQueue:
    """Return how mailboxes and reply queues are declared (`control_queue_*`).

    Raises ImproperlyConfigured for a queue that is both exclusive and durable.
    """
    queue = PrivateQueue(
        expires=conf.control_queue_expires,
        message_ttl=conf.control_queue_ttl,
        exclusive=bool(conf.control_queue_exclusive),
        durable=bool(conf.control_queue_durable),
    )
    return _checked(queue, "control_queue")


def event_queue(conf: Any) -> PrivateQueue:
    """Return how the queue of a receiver of events is declared (`event_queue_*`).

    Raises ImproperlyConfigured for a queue that is both exclusive and durable.
    """
    queue = PrivateQueue(
        expires=conf.event_queue_expires,
        message_ttl=conf.event_queue_ttl,
        exclusive=bool(conf.event_queue_exclusive),
        durable=bool(conf.event_queue_durable),
        prefix=conf.event_queue_prefix,
    )
    return _checked(queue, "event_queue")


def _checked(queue: PrivateQueue, which: str) -> PrivateQueue:
    if queue.exclusive and queue.durable:
        raise ImproperlyConfigured(
            f"{which}_exclusive and {which}_durable cannot both be on: an exclusive queue goes"
            " with its connection"
        )
    return queue
