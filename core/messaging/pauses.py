"""Pausing a queue: a note at the broker, and a word to all nodes that it has changed.

The note is what counts; the word only makes nodes look at once.  A node that missed it looks
when it connects, and with its lease.
"""

from __future__ import annotations

from ..brokers.base import Broker, Heard

#: Where the word goes.  An exchange of its own: Celery's nodes would take it for a command they do
#: not know, and complain.
EXCHANGE = "taskctl.pauses"


def pause(broker: Broker, queue: str) -> bool:
    """Let every node take no more from `queue`; return false if it was paused before."""
    fresh = queue not in broker.paused()
    broker.pause(queue)
    broker.broadcast(EXCHANGE, "", b"{}")
    return fresh


def resume(broker: Broker, queue: str) -> bool:
    """Let nodes take from `queue` again; return false if it was not paused."""
    found = broker.resume(queue)
    broker.broadcast(EXCHANGE, "", b"{}")
    return found


def listen(broker: Broker) -> None:
    """Hear the word from now on."""
    broker.listen(EXCHANGE)


def is_word(heard: Heard) -> bool:
    """Return whether a broadcast says that pauses have changed."""
    return heard.exchange == EXCHANGE
