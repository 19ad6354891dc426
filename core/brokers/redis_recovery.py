"""Giving loans back: one's own, those of an owner that died, and what Celery workers left behind.

Envelopes are marked in Python, for Lua's cjson would turn `[]` into `{}`; the script that pushes
them back checks that the loan is still the one that was read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from ..errors import DecodeError
from ..wire.message import mark_redelivered
from . import redis_scripts as scripts
from .redis_keys import Keys
from .redis_line import Line, command
from .redis_routing import Routing

logger = logging.getLogger(__name__)

#: Loans given back in one step; bounds how long the server does nothing else.
CHUNK = 200
#: Leftovers of Celery workers put back in one go, so that the caller does not stand still; where
#: there are more, the next ones follow after so many seconds.
SWEEP_STEP, STEP_PAUSE = 1000, 1.0


class _Headers(msgspec.Struct):
    redelivered: bool | None = None
    count: Any = msgspec.field(name="x-delivery-count", default=0)


class _DeliveryInfo(msgspec.Struct):
    redelivered: bool | None = None


class _Properties(msgspec.Struct):
    delivery_info: _DeliveryInfo | None = None


class _Marked(msgspec.Struct):
    headers: _Headers | None = None
    properties: _Properties | None = None


_decoder = msgspec.json.Decoder(_Marked)


def history(envelope: bytes) -> tuple[int, bool]:
    """Return (deliveries, redelivered) as the envelope says; (0, False) if it cannot be read."""
    if b'"redelivered"' not in envelope and b'"x-delivery-count"' not in envelope:
        return 0, False
    try:
        marked = _decoder.decode(envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 0, False
    headers = marked.headers or _Headers()
    info = (marked.properties or _Properties()).delivery_info or _DeliveryInfo()
    count = headers.count if isinstance(headers.count, int) and headers.count > 0 else 0
    return count, bool(headers.redelivered or info.redelivered)


class Loan(msgspec.Struct, frozen=True, order=True):
    """Where a loan came from; sorts in the order of fetching."""

    microsecond: int
    place: int
    size: int
    list_key: bytes
    tag: bytes


def read_loan(tag: bytes, origin: bytes) -> Loan:
    """Return the loan that an entry of `taskctl.owned.*` describes."""
    microsecond, place, size, list_key = origin.split(b" ", 3)
    return Loan(int(microsecond), int(place), int(size), list_key, tag)


class Recovery:
    """Puts messages back where they came from, on one line."""

    def __init__(self, line: Line, keys: Keys, routing: Routing) -> None:
        self._line = line
        self._keys = keys
        self._routing = routing
        self._next_sweep = 0.0

    def of_owner(self, owner: str) -> list[bytes]:
        """Return the script keys of an owner's loans."""
        keys = self._keys
        return [
            keys.unacked,
            keys.unacked_index,
            keys.owned(owner),
            keys.started(owner),
            keys.leases,
        ]

    # --- our own ----------------------------------------------------------------------------

    def give_back(self, owner: str, lease: float, tags: Sequence[bytes], *, lost: bool) -> None:
        """Put this owner's loans back; with `lost` they count one delivery more."""
        if not tags:
            return
        origins = self._line.ask(b"HMGET", self._keys.owned(owner), *tags)
        loans = {
            read_loan(tag, origin)
            for tag, origin in zip(tags, origins, strict=True)
            if origin is not None
        }
        for _ in self._push(
            [b"own", owner, lease],
            owner,
            sorted(loans),
            lambda loan, count: count + 1 if lost else None,
        ):
            pass

    def give_back_all(self, owner: str, lease: float) -> None:
        """Put back whatever this owner still holds."""
        self.give_back(owner, lease, self._line.ask(b"HKEYS", self._keys.owned(owner)), lost=False)

    def _push(
        self,
        head: Sequence[bytes | str | float],
        owner: str,
        loans: Sequence[Loan],
        recount: Callable[[Loan, int], int | None],
    ) -> Iterator[int]:
        """Push loans back, the last one first, so that the first is served first."""
        backwards = loans[::-1]
        for start in range(0, len(backwards), CHUNK):
            chunk = backwards[start : start + CHUNK]
            entries = self._line.ask(b"HMGET", self._keys.unacked, *[loan.tag for loan in chunk])
            arguments: list[bytes | str | float] = list(head)
            for loan, entry in zip(chunk, entries, strict=True):
                envelope = (entry or b"")[1 : 1 + loan.size]
                marked = mark_redelivered(envelope, recount(loan, history(envelope)[0]))
                arguments += (loan.tag, loan.list_key, marked)
            yield self._line.run(scripts.GIVE_BACK, self.of_owner(owner), arguments)

    # --- dead owners ------------------------------------------------------------------------

    def reclaim(self) -> list[str]:
        """Put back what owners with an ended lease held; return the names of their nodes."""
        names = []
        for raw in self._line.run(scripts.ENDED, [self._keys.leases], []):
            owner = raw.decode("utf-8", "surrogatepass")
            name = self._reclaim_from(owner)
            if name is not None:
                names.append(name)
        self._sweep_now_and_then()
        return names

    def _reclaim_from(self, owner: str) -> str | None:
        """Return the name of the node if it was this call that ended it."""
        keys = self._keys
        origins, started = self._line.ask_all(
            [
                command(b"HGETALL", keys.owned(owner)),
                command(b"SMEMBERS", keys.started(owner)),
            ]
        )
        loans = sorted(map(read_loan, origins[::2], origins[1::2]))
        begun = set(started)

        def recount(loan: Loan, count: int) -> int:
            # The first loss may have been its fault; later ones count only when known.
            return count + 1 if loan.tag in begun or count == 0 else count

        given = 0
        for done in self._push([b"dead", owner, 0], owner, loans, recount):
            if done < 0:  # it lives after all, or a peer has finished the work
                return None
            given += done
        name = self.bury(owner, "dead")[0]
        if name is not None and given:
            logger.warning("gave back %d messages that %s held when its lease ended", given, name)
        return name

    def bury(self, owner: str, how: str) -> tuple[str | None, int]:
        """Remove an owner's lease and record; return (its name if it was there, live leases)."""
        keys = self._keys
        record, living = self._line.run(
            scripts.BURY,
            [keys.owned(owner), keys.started(owner), keys.leases, keys.nodes],
            [how, owner],
        )
        return (None if record is None else name_in(record)), living

    # --- what Celery workers left ---------------------------------------------------------------

    def _sweep_now_and_then(self) -> None:
        now = time.monotonic()
        if now < self._next_sweep:
            return
        options = self._keys.options
        # kombu's two settings; a throttle of 0 means each time there.
        throttle = max(1, options.unacked_restore_throttle)
        self._next_sweep = now + options.unacked_restore_interval * throttle
        self.sweep()

    def sweep(self) -> int:
        """Restore loans older than the visibility timeout that no taskctl owner holds.

        Such loans are a dead Celery worker's; the lock is Celery's own, so only one process of
        either kind sweeps at a time.
        """
        token, options = uuid4().hex, self._keys.options
        mutex, hold_ms = self._keys.unacked_mutex, int(options.unacked_mutex_expire * 1000)
        if self._line.ask(b"SET", mutex, token, b"NX", b"PX", max(1, hold_ms)) is None:
            return 0
        try:
            seconds, _ = self._line.ask(b"TIME")
            restored = self._sweep_until(int(seconds) - options.visibility_timeout)
        finally:
            if self._line.alive:
                self._line.run(scripts.UNLOCK, [mutex], [token])
        if restored:
            logger.warning(
                "put back %d messages that a Celery worker took and never acknowledged", restored
            )
        return restored

    def _sweep_until(self, limit: float) -> int:
        """Restore what was taken before `limit`, the newest of it first and so served last."""
        most = min(self._keys.options.unacked_restore_limit or SWEEP_STEP, SWEEP_STEP)
        old = self._line.ask(
            b"ZRANGE", self._keys.unacked_index, limit, b"-inf", b"BYSCORE", b"REV",
            b"LIMIT", 0, most,
        )  # fmt: skip
        if len(old) == SWEEP_STEP:
            self._next_sweep = time.monotonic() + STEP_PAUSE
        return sum(self._restore(tag, limit) for tag in old)

    def _restore(self, tag: bytes, limit: float) -> int:
        keys = self._keys
        entry = self._line.ask(b"HGET", keys.unacked, tag)
        targets: list[bytes] = []
        if entry is not None:
            try:
                targets = self._targets(entry)
            except DecodeError as exc:
                logger.warning("unacked message %r cannot be put back: %s", tag, exc)
            else:
                if not targets:
                    logger.warning(
                        "unacked message %r stays in %s: no binding takes it any more",
                        tag.decode("utf-8", "replace"), keys.unacked.decode("utf-8", "replace"),
                    )  # fmt: skip
        return int(
            self._line.run(
                scripts.RESTORE,
                [keys.unacked, keys.unacked_index, keys.leases],
                [tag, limit, keys.owned(""), *targets],
            )
        )

    def _targets(self, entry: bytes) -> list[bytes]:
        """Return list, envelope, list, envelope, ... of an entry that a Celery worker wrote."""
        try:
            message, exchange, routing_key = json.loads(entry)
            priority = int(message["properties"].get("priority") or 0)
            envelope = mark_redelivered(json.dumps(message).encode("ascii"))
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise DecodeError(f"no [message, exchange, routing key]: {exc!r}") from exc
        targets = []
        for queue in self._routing.queues_for(self._line, exchange or "", routing_key or ""):
            targets += [self._keys.list_of(queue, priority), envelope]
        return targets


def name_in(record: bytes) -> str:
    """Return the node's name in a node record; a bare owner is its own name."""
    _, newline, text = record.partition(b"\n")
    if not newline:
        return record.decode("utf-8", "replace")
    return str(json.loads(text)["name"])
