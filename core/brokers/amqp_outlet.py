"""Publishing with confirms: many messages go out in one write, then all confirms are awaited."""

from __future__ import annotations

from collections.abc import Sequence

from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..errors import BrokerError, EncodeError, PublishTimeout
from . import amqp_codec as codec
from .amqp_codec import Content, Delivered
from .amqp_line import ChannelRefused, Line, NoAnswer
from .amqp_words import explain

#: (exchange, routing key, message).
Parcel = tuple[str, str, Content]


class Outlet:
    """A channel in confirm mode."""

    def __init__(self, line: Line, seconds: float) -> None:
        self.line = line
        self.seconds = seconds
        self._channel = line.channel()
        self._channel.on_confirm = self._confirmed
        self._channel.on_return = self._returned
        line.call(self._channel, spec.Confirm.Select())
        self._last = 0
        self._pending: set[int] = set()
        self._refused = 0
        self._came_back: list[Parcel] = []
        self._methods: dict[tuple[str, str], bytes] = {}

    @property
    def usable(self) -> bool:
        """Whether the channel is open still."""
        return self._channel.open and self.line.alive

    def hand_over(self, parcels: Sequence[Parcel]) -> list[int]:
        """Publish, and return once the broker answers for every one of them.

        Returns the numbers of those that came back since no queue takes them.

        Raises PublishTimeout if it does not answer in time, BrokerError if it refuses; what came
        before a refusal may have been taken.
        """
        self._refused, self._came_back = 0, []
        first = self._last + 1
        try:
            frames = [self._frames(parcel) for parcel in parcels]
        except EncodeError as exc:
            raise BrokerError(f"{self.line.address.shown} cannot carry this: {exc}") from exc
        self._last += len(parcels)
        self._pending.update(range(first, self._last + 1))
        try:
            self._await_leave_to_publish()
            self.line.send(b"".join(frames))
            self.line.wait(lambda: not self._pending or not self._channel.open, self.seconds)
        except NoAnswer as exc:
            raise PublishTimeout(str(exc)) from exc
        if self._channel.closed is not None:
            refused = ChannelRefused(self.line.address.shown, self._channel.closed)
            places = ", ".join(sorted({f"{e or 'queue'} {k!r}" for e, k, _ in parcels})[:3])
            raise explain(
                self.line.address.shown, refused.said, f"publishing to {places}"
            ) from refused
        if self._refused:
            places = ", ".join(sorted({repr(key) for _, key, _ in parcels})[:3])
            raise BrokerError(
                f"{self.line.address.shown} did not take {self._refused} of {len(parcels)} "
                f"messages for {places}: a queue is full (x-max-length with reject-publish), or "
                "the server could not store them"
            )
        return self._numbers(parcels)

    def post(self, parcels: Sequence[Parcel], seconds: float = 1.0) -> None:
        """Publish what may be missing for a while: notes.  While the server takes nothing it is
        dropped, and what it does not confirm in time is not waited for."""
        self.line.pump()
        if self.line.blocked is not None or not self._channel.open:
            return
        frames = [self._frames(parcel) for parcel in parcels]
        numbers = range(self._last + 1, self._last + 1 + len(parcels))
        self._last += len(parcels)
        self._pending.update(numbers)
        self.line.send(b"".join(frames))
        self.line.wait_a_little(
            lambda: self._pending.isdisjoint(numbers) or self.line.blocked is not None, seconds
        )
        self._pending.difference_update(numbers)

    def _await_leave_to_publish(self) -> None:
        """Wait while the server is short of memory or disk: it would not read what we send."""
        line = self.line
        line.pump()
        if line.blocked is not None:
            line.wait(lambda: line.blocked is None, self.seconds)

    def _frames(self, parcel: Parcel) -> bytes:
        exchange, key, content = parcel
        method = self._methods.get((exchange, key))
        if method is None:
            if len(self._methods) > 256:
                self._methods.clear()
            method = self._methods[exchange, key] = codec.publish_method(exchange, key, True)
        return codec.content_frames(self._channel.number, method, content, self.line.frame_max)

    def _confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        pending = self._pending
        if not multiple:
            done = {tag} & pending
        elif tag >= self._last:
            done = set(pending)
        else:
            done = {one for one in pending if one <= tag}
        pending -= done
        if not taken:
            self._refused += len(done)

    def _returned(self, delivered: Delivered, content: Content) -> None:
        self._came_back.append((delivered.exchange, delivered.routing_key, content))

    def _numbers(self, parcels: Sequence[Parcel]) -> list[int]:
        """Return which of the parcels came back; they come in the order they went."""
        numbers, at = [], 0
        for exchange, key, content in self._came_back:
            while at < len(parcels):
                sent, at = parcels[at], at + 1
                if sent[:2] == (exchange, key) and sent[2].body == content.body:
                    numbers.append(at - 1)
                    break
        return numbers


class Loudspeaker:
    """A channel for what nobody answers for: events, which may be lost."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._channel = line.channel()

    @property
    def usable(self) -> bool:
        """Whether the channel is open still."""
        return self._channel.open and self.line.alive

    def send(self, exchange: str, key: str, content: Content) -> None:
        """Send and forget; while the server takes nothing, or cannot follow, it is dropped."""
        line = self.line
        if line.blocked is not None or len(line.unsent) > 1 << 22:
            return
        method = codec.publish_method(exchange, key, False)
        line.send(codec.content_frames(self._channel.number, method, content, line.frame_max))
