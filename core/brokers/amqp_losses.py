"""How often a message was lost with the worker or child that ran it.

RabbitMQ only says that a message was delivered before, and says so too after a clean return.  So
nodes keep a book.  Into it goes, before it happens: a clean return, with the count as it was; a
loss that a node saw; and the start of a message that was delivered before, with the count that
holds if this run is lost.  What was delivered before and stands in no book counts as lost once:
that first loss may have been its fault.  Nodes hear each other's entries, and read the book when
they come.  See docs/decisions/0015.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Any
from uuid import uuid4

import msgspec
from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..wire.message import decode_envelope
from .amqp_codec import Content
from .amqp_hearing import broadcast_exchange
from .amqp_notes import Shelf, record_body, shelf_queue
from .amqp_outlet import Parcel

#: The book; what is said on the exchange of this name is written down, and heard by every node.
LOSSES = Shelf("taskctl.losses", True)
#: Most entries that are kept in memory; from so many pages on they become one.
_MOST, _PAGES = 20_000, 50
#: Properties of a page: JSON that lasts, and priority 0.
_PLAIN = b"\xd8\x00\x10application/json\x05utf-8\x02\x00"


class Losses:
    """The book as one node knows it; it outlives a line."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, identity: str) -> int:
        """Return how often a message that comes again was lost."""
        return self._counts.get(identity, 1)

    def take_over(self, counts: Any) -> None:
        """Take over entries that somebody wrote."""
        if not isinstance(counts, dict):
            return
        for identity, count in counts.items():
            if isinstance(count, int):
                self._counts[identity] = count
                self._counts.move_to_end(identity)
        while len(self._counts) > _MOST:
            self._counts.popitem(last=False)

    def hear(self, envelope: bytes) -> None:
        """Take over a page that was broadcast."""
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            self.take_over(msgspec.json.decode(decode_envelope(envelope).body)[1])

    def read(self, found: dict[str, Any]) -> tuple[None, dict[str, Any]]:
        """Take over all pages of the book; return them as one if they are many."""
        for counts in found.values():
            self.take_over(counts)
        if len(found) < _PAGES:
            return None, {}
        return None, {**dict.fromkeys(found), str(uuid4()): dict(self._counts)}


def page(counts: dict[str, int]) -> Parcel:
    """Return new entries on their way into the book, and to all nodes."""
    return LOSSES.name, "", Content(_PLAIN, record_body(str(uuid4()), counts))


def declaration() -> list[Any]:
    """Return the methods that make the book exist, and what is said go into it."""
    exchange = broadcast_exchange(LOSSES.name)
    return [
        spec.Exchange.Declare(exchange=exchange.name, type=exchange.type, durable=True),
        shelf_queue(LOSSES),
        spec.Queue.Bind(queue=LOSSES.name, exchange=exchange.name, routing_key="#"),
    ]
