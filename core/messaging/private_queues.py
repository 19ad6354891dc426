"""What the settings say of the queues that one node or one client has for itself."""

from __future__ import annotations

from typing import Any

from ..errors import ImproperlyConfigured
from ..wire.queues import PrivateQueue


def control_queue(conf: Any) -> PrivateQueue:
    """Return how mailboxes and reply queues are declared (`control_queue_*`).

    Raises ImproperlyConfigured for a queue that is both exclusive and durable.
    """
    return _read(conf, "control")


def event_queue(conf: Any) -> PrivateQueue:
    """Return how the queue of a receiver of events is declared (`event_queue_*`).

    Raises ImproperlyConfigured for a queue that is both exclusive and durable.
    """
    return _read(conf, "event", prefix=conf.event_queue_prefix)


def _read(conf: Any, kind: str, prefix: str | None = None) -> PrivateQueue:
    found = {
        name: getattr(conf, f"{kind}_queue_{name}")
        for name in ("ttl", "expires", "exclusive", "durable")
    }
    if found["exclusive"] and found["durable"]:
        raise ImproperlyConfigured(
            f"{kind}_queue_exclusive and {kind}_queue_durable cannot both be on: an exclusive"
            " queue goes with its connection"
        )
    return PrivateQueue(
        expires=found["expires"],
        message_ttl=found["ttl"],
        exclusive=bool(found["exclusive"]),
        durable=bool(found["durable"]),
        prefix=prefix,
    )
