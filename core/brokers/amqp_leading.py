"""Leadership on RabbitMQ: whoever's connection owns the leader's queue, and one transaction a send.

The leader's queue is exclusive: it belongs to one connection, and the server deletes it when that
connection ends, at once or once its heartbeats stay away.  Everything the leader sends goes over
this very connection, in a transaction with its notes: a leader that has lost the queue has lost
the connection too, and cannot send.  Notes stand on a shelf (`amqp_notes`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..errors import BrokerConnectionError, BrokerError, EncodeError
from ..wire.message import Publication
from . import amqp_codec as codec
from .amqp_codec import Content, Delivered, encode_properties
from .amqp_line import Channel, ChannelRefused, Line
from .amqp_notes import MOST_RECORDS, Notes, Shelf, record_body, shelf_queue
from .amqp_options import Address, Options
from .amqp_outlet import Outlet, Parcel
from .amqp_words import ACCESS_REFUSED, LOCKED, NOT_FOUND, explain
from .leading import Claim, Leadership

log = logging.getLogger("taskctl.broker")

#: Key of the note that says who leads; no name of anything else is empty.
_LEADER = ""
#: Notes that may lie on the shelf beside newer ones of the same key before it is tidied.
_TIDY_AFTER = 500

#: Turns a publication into what travels; None for one that nobody would get.
Pack = Callable[[Publication], Parcel | None]


class AmqpLeadership(Leadership):
    """See `leading.Leadership`.  It has a connection of its own once it has claimed.

    `remaining` and the record of others are known by `look` alone.  A user who may not have
    queues of these names leads alone, with a warning: then there is nobody to agree with.
    """

    def __init__(
        self,
        name: str,
        candidate: str,
        *,
        address: Address,
        options: Options,
        timeout: float,
        pack: Pack,
        send_again: Callable[[Sequence[Publication]], None],
    ) -> None:
        super().__init__(name, candidate)
        self._address, self._options, self._timeout = address, options, timeout
        self._pack, self._send_again = pack, send_again
        self._office = f"taskctl.leader.{name}"
        self._shelf = Shelf(f"taskctl.ledger.{name}", True)
        self._line: Line | None = None
        self._desk: _Desk | None = None
        self._notes: Notes | None = None
        self._fence = 0
        self._unguarded = False

    # --- the line ---------------------------------------------------------------------------

    def _open(self, lease: float | None = None) -> Line:
        """Return this candidate's connection; what it held went with an older one."""
        line = self._line
        if line is not None and line.alive:
            return line
        self._fence = 0
        beats = 10 if lease is None else max(1, int(lease / 2))
        asked = self._address.heartbeat or self._options.heartbeat or beats
        address = msgspec.structs.replace(self._address, heartbeat=float(min(asked, beats)))
        role = f"{self.candidate.partition('#')[0]} leads"
        line = Line(address, self._options, self._timeout, beat=True, role=role)
        outlet = Outlet(line, self._options.socket_timeout)
        self._line, self._desk = line, _Desk(line, self._options.socket_timeout)
        self._notes = Notes(line, lambda: outlet)
        return line

    def close(self) -> None:
        line, self._line = self._line, None
        self._fence = 0
        if line is not None:
            with contextlib.suppress(BrokerError):
                line.close()

    # --- leading ----------------------------------------------------------------------------

    def claim(self, record: Mapping[str, Any], lease: float, *, over: int = 0) -> Claim:
        """As the contract says; `over` is of no use here, where a dead leader's queue is gone."""
        line = self._open(lease)
        line.pump()
        held = self._take(line)
        if held is None:
            self._lead_alone()
        elif not held:
            self._fence = 0
            return Claim(held=False, remaining=lease)
        elif not self._fence:
            self._begin(record)
        return Claim(held=True, fence=self._fence, remaining=lease, record=dict(record))

    def _take(self, line: Line) -> bool | None:
        """Return whether the leader's queue is ours now; None if this user may not have it."""
        queue = spec.Queue.Declare(queue=self._office, exclusive=True)
        try:
            self._once(line, queue)
        except ChannelRefused as exc:
            if exc.said.code == LOCKED:
                return False
            if exc.said.code == ACCESS_REFUSED:
                return None
            raise explain(self._address.shown, exc.said, "asking who leads") from exc
        return True

    def _once(self, line: Line, *methods: Any) -> None:
        """Call over a channel of its own: a refusal closes it."""
        channel = line.channel()
        try:
            line.call(channel, *methods)
        finally:
            if line.alive:
                line.leave(channel)

    def _lead_alone(self) -> None:
        if not self._unguarded:
            log.warning(
                "user %r may not use queue %r on %s: nobody can see who leads, and others may "
                "send the same; allow ^taskctl\\. with rabbitmqctl set_permissions",
                self._address.username, self._office, self._address.shown,
            )  # fmt: skip
        self._unguarded, self._fence = True, 1

    def _begin(self, record: Mapping[str, Any]) -> None:
        """Begin a term: its number is one more than that of the last."""
        assert self._notes is not None
        fact = dict(record)

        def decide(found: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            last = found.get(_LEADER)
            fence = 1 + int(last["fence"] if isinstance(last, dict) else 0)
            return fence, {_LEADER: {"fence": fence, "record": fact}}

        self._fence = self._notes.change(self._shelf, decide)

    def look(self) -> Claim | None:
        line = self._open()
        try:
            self._once(line, spec.Queue.Declare(queue=self._office, passive=True))
        except ChannelRefused as exc:
            if exc.said.code != LOCKED:
                if exc.said.code in (NOT_FOUND, ACCESS_REFUSED):
                    return None
                raise explain(self._address.shown, exc.said, "looking who leads") from exc
            held = False
        else:
            held = True
        found = self._read().get(_LEADER) or {}
        return Claim(held=held, fence=found.get("fence", 0), record=found.get("record", {}))

    def _read(self) -> dict[str, Any]:
        self._open()
        assert self._notes is not None
        found = self._notes.read(self._shelf)
        if self._desk is not None:
            self._desk.outdated = 0
        return found

    def notes(self) -> dict[str, Any]:
        return {key: value for key, value in self._read().items() if key and value is not None}

    def publish(self, publications: Sequence[Publication], notes: Mapping[str, Any]) -> bool:
        """As the contract says: a transaction, over the connection that leads."""
        if not self._fence or self._line is None:
            return False
        if not self._line.alive:
            raise BrokerConnectionError(f"the line to {self._address.shown} is closed: open it")
        parcels = [(one, parcel) for one in publications if (parcel := self._pack(one))]
        if self._unguarded:
            self._send_again([one for one, _ in parcels])
            return True
        assert self._desk is not None
        back = self._desk.post(
            [parcel for _, parcel in parcels],
            [self._note(key, value) for key, value in notes.items()],
        )
        if back:
            # Their queue is gone, and the notes say they were sent: nobody else will.
            self._send_again([parcels[number][0] for number in back])
        if self._desk.outdated > min(_TIDY_AFTER, MOST_RECORDS // 2):
            self._read()
        return True

    def _note(self, key: str, value: Any) -> Parcel:
        properties = encode_properties("application/json", "utf-8", {}, {"delivery_mode": 2})
        return "", self._shelf.name, Content(properties, record_body(key, value))

    def release(self) -> None:
        if self._fence and self._line is not None and self._line.alive and not self._unguarded:
            self._once(self._line, spec.Queue.Delete(queue=self._office))
        self._fence = 0


class _Desk:
    """A channel whose publishes are transactions."""

    def __init__(self, line: Line, seconds: float) -> None:
        self.line = line
        self.seconds = seconds
        #: How many notes were written since the shelf was read last.
        self.outdated = 0
        self._channel: Channel | None = None
        self._came_back: list[bytes] = []
        self._shelves: set[str] = set()

    def _ready(self) -> Channel:
        if self._channel is None or not self._channel.open:
            self._channel = self.line.channel()
            self._channel.on_return = self._returned
            self.line.call(self._channel, spec.Tx.Select())
        return self._channel

    def _returned(self, delivered: Delivered, content: Content) -> None:
        self._came_back.append(content.body)

    def post(self, parcels: Sequence[Parcel], notes: Sequence[Parcel]) -> list[int]:
        """Publish all in one transaction; return the numbers of parcels that no queue takes.

        Raises BrokerError, and nothing was sent, if the server refuses.
        """
        channel = self._ready()
        self._came_back = []
        for _, name, _ in notes:
            if name not in self._shelves:
                self.line.call(channel, shelf_queue(Shelf(name, True)))
                self._shelves.add(name)
        try:
            frames = [self._frames(channel, parcel) for parcel in (*parcels, *notes)]
        except EncodeError as exc:
            raise BrokerError(f"{self.line.address.shown} cannot carry this: {exc}") from exc
        if self.line.blocked is not None:
            self.line.wait(lambda: self.line.blocked is None, self.seconds)
        self.line.send(b"".join(frames))
        try:
            self.line.call(channel, spec.Tx.Commit())
        except ChannelRefused as exc:
            places = ", ".join(sorted({f"{e or 'queue'} {k!r}" for e, k, _ in parcels})[:3])
            doing = f"publishing to {places}"
            raise explain(self.line.address.shown, exc.said, doing) from exc
        self.outdated += len(notes)
        back = self._came_back
        return [number for number, (_, _, content) in enumerate(parcels) if content.body in back]

    def _frames(self, channel: Channel, parcel: Parcel) -> bytes:
        exchange, key, content = parcel
        method = codec.publish_method(exchange, key, True)
        return codec.content_frames(channel.number, method, content, self.line.frame_max)
