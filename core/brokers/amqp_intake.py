"""Taking messages from queues on loan: credit, order between queues, acknowledgements.

RabbitMQ pushes.  How much it may push is a consumer's prefetch count, which it takes from the
moment the consumer is made: to change it, a new consumer takes the place of the old one, without
waiting for an answer.  That holds for every kind of queue and every version of RabbitMQ, where a
prefetch count for the whole channel, which Celery uses on 3.x, does not.  See docs/decisions/0014.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pika import spec  # type: ignore[import-untyped, unused-ignore]

from ..errors import BrokerConnectionError
from ..wire.queues import Queue
from . import amqp_codec as codec
from .amqp_codec import Content, Delivered
from .amqp_envelope import identity, pack
from .amqp_line import Line
from .amqp_loans import Loan, Tap
from .amqp_past import Key, Past
from .amqp_topology import declaration
from .amqp_words import explain
from .base import Delivery

log = logging.getLogger("taskctl.broker")

#: Up to so many messages are asked for exactly, so that none waits here while another node idles.
EXACT = 32
#: Most messages that are on their way to us or lie here, of one queue.
MOST = 4096
#: Seconds that more than asked for may lie here before it goes back.
SURPLUS = 0.25


class Intake:
    """The consuming channel of one line.

    `count` says how often what an identity stands for was lost already.
    """

    def __init__(
        self,
        line: Line,
        word: str,
        ring: Callable[[str], None],
        count: Callable[[str], int],
        past: Past,
    ) -> None:
        self.line = line
        self.word = word
        self.taps: dict[str, Tap] = {}
        self.loans: dict[str, Loan] = {}
        self.parked: list[tuple[float, int, str]] = []
        self._ring, self._count, self._past = ring, count, past
        self._channel = line.channel()
        self._channel.on_deliver = self._take_in
        self._channel.on_cancel = self._cancelled
        self._consumers: dict[str, Tap] = {}
        #: All that is not acknowledged, in the order of its tags: the consumer that brought it.
        self._unacked: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._turn = 0
        self._surplus_since: float | None = None

    # --- subscribing ------------------------------------------------------------------------

    def subscribe(self, queue: Queue) -> None:
        """Take from a queue, which is declared."""
        if queue.name not in self.taps:
            self.taps[queue.name] = Tap(queue)
            self._ring("messages")

    def unsubscribe(self, name: str) -> None:
        """Take from it no longer; what lies here and was not lent goes back."""
        tap = self.taps.pop(name, None)
        if tap is not None:
            self._stop(tap)
            self._return(tap, 0)
            self.settle_down()

    def stop(self) -> None:
        """Take from no queue until something is asked for again, and give back what lies here."""
        for tap in self.taps.values():
            self._stop(tap)
            self._return(tap, 0)

    def settle_down(self) -> None:
        """Return once the server has obeyed all that was said on this channel."""
        self._swallow()
        self._channel.replies.clear()
        self.line.call(self._channel, spec.Basic.Qos(prefetch_count=1))

    # --- receiving ----------------------------------------------------------------------------

    def receive(self, limit: int) -> list[Delivery]:
        """Return up to `limit` deliveries of what lies here; never wait."""
        self._swallow()
        deliveries = self._due_again(limit)
        taps = [tap for tap in self.taps.values() if tap.waiting]
        turn = self._turn
        while taps and len(deliveries) < limit:
            turn = (turn + 1) % len(taps)
            tap = taps[turn]
            deliveries.append(self._lend(tap.name, *tap.waiting.popleft()))
            if not tap.waiting:
                del taps[turn]
                turn -= 1
        self._turn = turn
        self._adjust(limit - len(deliveries), len(deliveries))
        return deliveries

    def more(self) -> bool:
        """Return whether something lies here that could be received at once."""
        return any(tap.waiting for tap in self.taps.values())

    def next_look(self, now: float) -> float | None:
        """Return seconds until `receive` has something to do by itself."""
        times = [] if self._surplus_since is None else [self._surplus_since + SURPLUS - now]
        while self.parked and self._gone(self.parked[0]):
            heapq.heappop(self.parked)
        if self.parked:
            times.append(self.parked[0][0] - time.time())
        return max(0.0, min(times)) if times else None

    def _swallow(self) -> None:
        """Forget answers nobody waits for; raise what the server closed the channel for."""
        for method, _ in self._channel.replies:
            if isinstance(method, spec.Basic.CancelOk):
                self._consumers.pop(_text(method.consumer_tag), None)
        self._channel.replies.clear()
        if self._channel.closed is not None:
            said = self._channel.closed
            self.line.drop()
            error = explain(self.line.address.shown, said, "consuming")
            if "declaring" in str(error) or "other arguments" in str(error):
                raise error
            raise BrokerConnectionError(str(error))

    def _lend(self, queue: str, delivered: Delivered, content: Content) -> Delivery:
        loan = Loan(queue, delivered, content)
        tag = f"{self.word}:{loan.number}"
        envelope, headers, properties = pack(
            content, loan.exchange, loan.key, tag, loan.redelivered, queue
        )
        loan.marked = identity(headers, properties)
        if loan.redelivered:
            loan.deliveries = self._count(loan.marked)
        loan.envelope = envelope
        self.loans[tag] = loan
        return Delivery(
            tag=tag,
            queue=queue,
            envelope=envelope,
            deliveries=loan.deliveries,
            redelivered=loan.redelivered,
        )

    def _take_in(self, delivered: Delivered, content: Content) -> None:
        tap = self._consumers.get(delivered.consumer)
        if tap is None or tap.name not in self.taps:
            self.line.send(codec.nack(self._channel.number, delivered.tag, requeue=True))
            return
        self._unacked[delivered.tag] = delivered.consumer
        if delivered.consumer == tap.consumer:
            tap.open += 1
        if delivered.redelivered and self._past and self._is_past(tap.name, delivered, content):
            return
        tap.waiting.append((delivered, content))
        self._ring("messages")

    def _is_past(self, queue: str, delivered: Delivered, content: Content) -> bool:
        """Return whether this was on loan before the line broke; then it is not lent again."""
        _, headers, properties = pack(content, "", "", "")
        key = (queue, identity(headers, properties))
        if self._past.is_settled(key):
            self._acknowledge({delivered.tag})
            return True
        tag = self._past.tag_of(key)
        if tag is None:
            return False
        loan = self.loans[tag] = Loan(queue, delivered, content)
        loan.marked, loan.deliveries = key[1], self._count(key[1])
        return True

    def keys(self) -> list[tuple[str, Key]]:
        """Return tag, queue and identity of what is in hands that may still be working on it."""
        return [
            (tag, (loan.queue, loan.marked)) for tag, loan in self.loans.items() if loan.due is None
        ]

    # --- credit -------------------------------------------------------------------------------

    def _adjust(self, room: int, lent: int) -> None:
        """Ask for as much as there is room for beyond what lies here, and for no more."""
        lying = sum(len(tap.waiting) for tap in self.taps.values())
        wanted = max(0, room - lying)
        held = len(self.loans) - len(self.parked)
        rough = held + wanted > EXACT
        surplus = -min(0, room - lying)
        for tap in self.taps.values():
            if tap.lost:
                self._declare_again(tap)
            credit = tap.credit
            if credit < wanted:
                self._start(tap, min(MOST, 1 << (held + wanted - 1).bit_length())
                            if rough else wanted)  # fmt: skip
            elif credit > wanted:
                surplus = max(surplus, credit - wanted)
        allowed = held + wanted if rough else 0
        if surplus <= allowed:
            self._surplus_since = None
        elif self._surplus_since is None:
            self._surplus_since = time.monotonic()
        elif time.monotonic() - self._surplus_since >= SURPLUS:
            self._surplus_since = None
            self._shrink(room, wanted)

    def _start(self, tap: Tap, window: int) -> None:
        """Put a consumer in the place of the present one; what that brought stays counted."""
        tag = f"taskctl.{next(self._numbers)}"
        words = declaration(tap.queue, nowait=True) if tap.consumer is None else []
        words += [
            spec.Basic.Qos(prefetch_count=window),
            spec.Basic.Consume(
                queue=tap.name,
                consumer_tag=tag,
                nowait=True,
                arguments=tap.queue.consumer_arguments or {},
            ),
        ]
        old, tap.consumer, tap.window, tap.open = tap.consumer, tag, window, 0
        self._consumers[tag] = tap
        if old is not None:  # after the new one: a queue of nobody might delete itself
            words.append(spec.Basic.Cancel(consumer_tag=old))
        self.line.say(self._channel, *words)

    def _stop(self, tap: Tap) -> None:
        if tap.consumer is not None:
            self.line.say(self._channel, spec.Basic.Cancel(consumer_tag=tap.consumer))
            tap.consumer, tap.window, tap.open = None, 0, 0

    def _shrink(self, room: int, wanted: int) -> None:
        """Let others have what there is no room for here."""
        for tap in self.taps.values():
            if tap.queue.auto_delete:
                continue  # it is ours alone, and would go with its last consumer
            if wanted == 0:
                self._stop(tap)
            elif tap.credit > wanted:
                self._start(tap, wanted)
        lying = sum(len(tap.waiting) for tap in self.taps.values())
        for tap in self.taps.values():
            if lying > room:
                keep = max(0, len(tap.waiting) - (lying - room))
                lying -= len(tap.waiting) - keep
                self._return(tap, keep)

    def _return(self, tap: Tap, keep: int) -> None:
        """Give back all but the first `keep` messages that lie here."""
        back = list(itertools.islice(tap.waiting, keep, None))
        while len(tap.waiting) > keep:
            tap.waiting.pop()
        for delivered, _ in back:
            self._forget(delivered.tag)
        number = self._channel.number
        if back:
            frames = [codec.nack(number, delivered.tag, requeue=True) for delivered, _ in back]
            self.line.send(b"".join(frames))

    def _cancelled(self, consumer: str) -> None:
        tap = self._consumers.pop(consumer, None)
        if tap is not None and tap.consumer == consumer:
            tap.consumer, tap.window, tap.open, tap.lost = None, 0, 0, True
            self._ring("messages")

    def _declare_again(self, tap: Tap) -> None:
        """The queue was deleted, or its host went: make it again, as a new message would."""
        tap.lost = False
        log.warning("queue %r was deleted at the broker under us: declaring it again", tap.name)
        self._acknowledge({delivered.tag for delivered, _ in tap.waiting})
        tap.waiting.clear()

    # --- giving back ----------------------------------------------------------------------------

    def known(self, tags: Iterable[str]) -> dict[str, Loan]:
        """Return the loans that these tags name and that are not parked."""
        found = {}
        for tag in tags:
            loan = self.loans.get(tag)
            if loan is not None and loan.due is None:
                found[tag] = loan
        return found

    def ack(self, tags: Sequence[str]) -> None:
        """Acknowledge; whole runs of tags in one word."""
        loans = self.known(tags)
        for tag in loans:
            del self.loans[tag]
        self._acknowledge({loan.number for loan in loans.values()})
        if self._past and len(loans) < len(tags):
            self._past.settle(tags)

    def _acknowledge(self, numbers: set[int]) -> None:
        if not numbers:
            return
        channel, frames = self._channel.number, []
        upto = 0
        for number in self._unacked:
            if number not in numbers:
                break
            upto = number
        if upto:
            frames.append(codec.ack(channel, upto, True))
        frames += [codec.ack(channel, n, False) for n in sorted(numbers) if n > upto]
        for number in numbers:
            self._forget(number)
        self.line.send(b"".join(frames))

    def _forget(self, number: int) -> None:
        consumer = self._unacked.pop(number, None)
        tap = None if consumer is None else self._consumers.get(consumer)
        if tap is not None and tap.consumer == consumer:
            tap.open -= 1

    def reject(self, tags: Sequence[str], *, requeue: bool) -> None:
        """Give loans back to the place in their queue where they were, or drop them."""
        if not requeue:
            self.ack(tags)
            return
        loans = self.known(tags)
        self._past.give_up(tags)
        if not loans:
            return
        for tag in loans:
            del self.loans[tag]
        # What lies here came after them, and must not be served before them.
        for name in {loan.queue for loan in loans.values()} & self.taps.keys():
            self._stop(self.taps[name])
            self._return(self.taps[name], 0)
        numbers = sorted(loan.number for loan in loans.values())
        for number in numbers:
            self._forget(number)
        channel = self._channel.number
        self.line.send(b"".join(codec.nack(channel, n, requeue=True) for n in numbers))
        self.settle_down()

    def leave(self, name: str) -> None:
        """Take nothing from a queue until something is asked for again."""
        tap = self.taps.get(name)
        if tap is not None:
            self._stop(tap)
            self._return(tap, 0)
            self.settle_down()

    def give_back_all(self) -> None:
        """Take nothing more, and give back everything, parked or lent."""
        self.stop()
        for loan in self.loans.values():
            loan.due = None
        self.parked.clear()
        self.reject(list(self.loans), requeue=True)
        self.settle_down()

    # --- held until due -------------------------------------------------------------------------

    def park(self, tag: str, due: float, task_id: str) -> None:
        """Keep a loan here until it is due; to the server it stays on loan."""
        loan = self.known([tag]).get(tag)
        if loan is None:
            return
        del self.loans[tag]
        loan.due, loan.task_id, loan.times = due, task_id, loan.times + 1
        again = f"{self.word}:{loan.number}.{loan.times}"
        self.loans[again] = loan
        heapq.heappush(self.parked, (due, loan.number, again))
        self._ring("messages")

    def _gone(self, entry: tuple[float, int, str]) -> bool:
        loan = self.loans.get(entry[2])
        return loan is None or loan.due is None

    def _due_again(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        now = time.time()
        while self.parked and len(deliveries) < limit and self.parked[0][0] <= now:
            entry = heapq.heappop(self.parked)
            loan = self.loans.get(entry[2])
            if loan is None or loan.due is None:
                continue
            loan.due = None
            deliveries.append(
                Delivery(
                    tag=entry[2],
                    queue=loan.queue,
                    envelope=loan.envelope,
                    deliveries=loan.deliveries,
                    redelivered=loan.redelivered,
                )
            )
        return deliveries

    def held(self) -> list[tuple[float, str, Loan]]:
        """Return what is parked as (due, tag, loan), soonest first."""
        return [
            (due, tag, self.loans[tag])
            for due, number, tag in sorted(self.parked)
            if not self._gone((due, number, tag))
        ]

    def drop_held(self, tags: Iterable[str]) -> None:
        """Acknowledge parked loans: their time will not come."""
        chosen = [tag for tag in tags if tag in self.loans]
        for tag in chosen:
            self.loans[tag].due = None
        self.parked = [entry for entry in self.parked if not self._gone(entry)]
        heapq.heapify(self.parked)
        self.ack(chosen)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
