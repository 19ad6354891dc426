"""What AMQP cannot list, kept on RabbitMQ all the same: records that wait in durable queues.

A shelf is a queue whose messages are records, each with a key; of two with one key the later
counts.  Anybody adds a record by publishing it.  Who reads or changes a shelf holds its lock, a
queue that belongs to one connection alone and goes with it, fetches all records, and puts back
those that stay, in their old places.  See docs/decisions/0016.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..errors import BrokerConnectionError
from . import amqp_codec as codec
from .amqp_codec import Content, encode_properties
from .amqp_line import Channel, ChannelRefused, Line
from .amqp_outlet import Outlet
from .amqp_words import ACCESS_REFUSED, LOCKED, explain

log = logging.getLogger("taskctl.broker")
T = TypeVar("T")

#: Seconds that somebody else may hold a shelf.
PATIENCE = 5.0
#: Most records a shelf keeps; the oldest go.
MOST_RECORDS = 20_000
#: How many records are asked for in one go.
_PAGE = 500


class Shelf(NamedTuple):
    """A kind of records and where they are; `lasting` ones survive the server's end."""

    name: str
    lasting: bool


NODES = Shelf("taskctl.nodes", False)
PAUSES = Shelf("taskctl.pauses", True)
QUEUES = Shelf("taskctl.queues", True)
REVOKED = Shelf("taskctl.revoked", True)


class Record(NamedTuple):
    """A record as it was found."""

    value: Any
    tag: int


class Notes:
    """The shelves, over one line; `outlet` returns an open channel with confirms on it."""

    def __init__(self, line: Line, outlet: Callable[[], Outlet]) -> None:
        self.line = line
        self._outlet = outlet
        self._channel: Channel | None = None
        self._made: set[str] = set()
        #: Whether this user may not have them: then there are no notes, and all else goes on.
        self.forbidden = False

    # --- adding -------------------------------------------------------------------------------

    def add(
        self, shelf: Shelf, records: Mapping[str, Any], lease: Mapping[str, float] | None = None
    ) -> None:
        """Put records there, in the place of older ones of the same key; `lease` has the seconds
        after which some of them go by themselves."""
        if not self._make(shelf):
            return
        parcels = []
        for key, value in records.items():
            properties: dict[str, Any] = {"delivery_mode": 2 if shelf.lasting else 1}
            if lease and key in lease:
                properties["expiration"] = str(max(1, int(lease[key] * 1000)))
            known = encode_properties("application/json", "utf-8", {}, properties)
            parcels.append(("", shelf.name, Content(known, record_body(key, value))))
        if parcels:
            self._outlet().post(parcels)

    def allowed(self) -> bool:
        """Return whether this user may have notes; asked of the server once."""
        return self._make(PAUSES)

    def _make(self, shelf: Shelf) -> bool:
        """Make a shelf; return false if this user may not."""
        if shelf.name not in self._made and not self.forbidden:
            try:
                self._call(shelf_queue(shelf))
            except ChannelRefused as exc:
                self._refused(shelf, exc)
            else:
                self._made.add(shelf.name)
        return not self.forbidden

    def _refused(self, shelf: Shelf, exc: ChannelRefused) -> None:
        """Go on without notes if they are forbidden; raise every other refusal."""
        if exc.said.code != ACCESS_REFUSED:
            doing = f"reading the notes in queue {shelf.name!r}"
            raise explain(self.line.address.shown, exc.said, doing) from exc
        self.forbidden = True
        log.warning(
            "user %r may not use queue %r on %s: nodes, pauses, names of queues and losses are not "
            "kept; allow ^taskctl\\. with rabbitmqctl set_permissions",
            self.line.address.username, shelf.name, self.line.address.shown,
        )  # fmt: skip

    # --- reading and changing -------------------------------------------------------------------

    def read(self, shelf: Shelf) -> dict[str, Any]:
        """Return all records by key, in the order they came."""
        return self.change(shelf, lambda found: (found, {}))

    def change(
        self,
        shelf: Shelf,
        decide: Callable[[dict[str, Any]], tuple[T, Mapping[str, Any]]],
    ) -> T:
        """Let `decide` see all records and return (result, changes); a change to None removes.

        Nobody else reads or changes them meanwhile.
        """
        count = self._lock(shelf)
        if self.forbidden:
            return decide({})[0]
        channel = self._channel
        assert channel is not None
        try:
            found, older = self._fetch(channel, shelf, count)
            result, changes = decide({key: record.value for key, record in found.items()})
            gone = older + [found[key].tag for key in changes if key in found]
            kept = {key: value for key, value in changes.items() if value is not None}
            if kept:
                self.add(shelf, kept)
            frames = [codec.ack(channel.number, tag, False) for tag in sorted(gone)]
            if found or older:
                frames.append(codec.nack(channel.number, 0, requeue=True, multiple=True))
                self.line.send(b"".join(frames))
        except BaseException:
            # Closing the channel puts everything back; the lock goes with its deletion below.
            if self.line.alive:
                self.line.leave(channel)
                self._channel = None
            raise
        finally:
            if self.line.alive:
                self._unlock(shelf)
        return result

    def _fetch(
        self, channel: Channel, shelf: Shelf, count: int
    ) -> tuple[dict[str, Record], list[int]]:
        found: dict[str, Record] = {}
        older: list[int] = []
        empty = False
        while count > 0 and not empty:
            page = min(count, _PAGE)
            self.line.say(channel, *[spec.Basic.Get(queue=shelf.name)] * page)
            for method, content in self.line.answers(channel, page):
                if content is None:
                    empty = True  # its time ran out meanwhile
                    continue
                key, value = _read(content.body)
                if key in found:
                    older.append(found.pop(key).tag)
                found[key] = Record(value, method.tag)
            count -= page
        return found, older

    # --- the lock -------------------------------------------------------------------------------

    def _lock(self, shelf: Shelf) -> int:
        """Wait for the lock; return how many records there are."""
        if self.forbidden:
            return 0
        deadline = time.monotonic() + PATIENCE
        pause = 0.001
        while True:
            try:
                answers = self._call(
                    spec.Queue.Declare(queue=_lock_of(shelf), exclusive=True, auto_delete=True),
                    shelf_queue(shelf),
                )
            except ChannelRefused as exc:
                if exc.said.code != LOCKED:
                    self._refused(shelf, exc)
                    return 0
            else:
                self._made.add(shelf.name)
                return int(answers[1].message_count)
            if time.monotonic() > deadline:
                raise BrokerConnectionError(
                    f"the notes in queue {shelf.name!r} on {self.line.address.shown} are in use by "
                    f"somebody else for more than {PATIENCE:g} s"
                )
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.02)

    def _unlock(self, shelf: Shelf) -> None:
        # The first is answered by the queue itself, after it has put everything back.
        self._call(
            spec.Queue.Declare(queue=shelf.name, passive=True),
            spec.Queue.Delete(queue=_lock_of(shelf)),
        )

    def _call(self, *methods: Any) -> list[Any]:
        if self._channel is None or not self._channel.open:
            self._channel = self.line.channel()
        return self.line.call(self._channel, *methods)


def _lock_of(shelf: Shelf) -> str:
    return f"{shelf.name}.lock"


def record_body(key: str, value: Any) -> bytes:
    """Return the body of a record's message."""
    return msgspec.json.encode([key, value])


def shelf_queue(shelf: Shelf) -> Any:
    """Return the declaration of a shelf."""
    return spec.Queue.Declare(
        queue=shelf.name, durable=True, arguments={"x-max-length": MOST_RECORDS}
    )


def _read(body: bytes) -> tuple[str, Any]:
    """Return key and value; what somebody else put there has a key of its own, and stays."""
    try:
        key, value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return f"?{body[:40]!r}", None
    return str(key), value
