"""Which lists and channels a message goes to: exchanges, bindings, and queues that expire.

Redis does not know the type of an exchange: each process knows those it declared.  Celery takes
any other for a direct one, and drops what it sends to an undeclared topic exchange; here the
bindings themselves tell.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ..errors import BrokerError
from ..wire.message import Publication
from ..wire.queues import Queue
from . import redis_scripts as scripts
from .exchange_types import refuse_exchanges
from .redis_keys import (
    BINDING,
    BINDING_EXPIRES_FACTOR,
    MIN_BINDING_TTL_MS,
    PERMANENT_BINDING,
    Keys,
)
from .redis_line import Line, command

#: How often bindings of queues that are gone are cleared away (seconds), and how many at once;
#: kombu's numbers.
SWEEP_EVERY = 60.0
SWEEP_LIMIT = 100


class Routing:
    """What this process has declared, and what follows from it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._types: dict[str, str] = {}
        #: queues whose binding ends unless it is repeated: with x-expires, and broadcast ones
        self._expiring: dict[str, Queue] = {}
        self._refreshed: dict[str, float] = {}
        self._swept = 0.0

    # --- declaring --------------------------------------------------------------------------

    def declare(self, line: Line, queue: Queue) -> None:
        """Bind a queue to its exchange, for good or for as long as somebody repeats it.

        A broadcast queue (kombu's Broadcast) belongs to the process that consumes it, so others,
        who only send, leave no trace.
        """
        refuse_exchanges(queue)
        keys = self._keys
        for one in queue.ways_in():
            self._types[one.exchange.name] = one.exchange.type
        if is_broadcast(queue) and queue.name not in self._expiring:
            return
        commands = []
        if queue.expires is None and not is_broadcast(queue):
            self._expiring.pop(queue.name, None)
            commands.append(command(b"SADD", keys.queues, queue.name))
            for name, member in self._members(queue):
                commands += [
                    command(b"SADD", keys.binding(name), member),
                    command(b"SADD", keys.permanent_binding(name), member),
                ]
            line.transact(commands)
            return
        self._expiring[queue.name] = queue
        for name, member in self._members(queue):
            line.run(
                scripts.BIND_FOR_A_WHILE,
                [keys.binding(name), keys.binding_deadlines],
                [member, name, self._lifetime_ms(queue)],
            )
        self._refreshed[queue.name] = time.monotonic()

    def _members(self, queue: Queue) -> list[tuple[str, bytes]]:
        """Return (exchange, member of its set of bindings) for each binding of a queue."""
        return [
            (one.exchange.name, self._keys.member(one.exchange.type, one.routing_key, queue.name))
            for one in queue.ways_in()
        ]

    def declare_consumed(self, line: Line, queue: Queue) -> None:
        """Declare a queue that this process takes from."""
        if is_broadcast(queue):
            self._expiring[queue.name] = queue
        self.declare(line, queue)

    def end_broadcast(self, line: Line, queue: str) -> None:
        """Unbind a queue if it is a broadcast one of this process: it takes from it no more."""
        found = self._expiring.get(queue)
        if found is not None and is_broadcast(found):
            self.unbind(line, queue)

    def declare_fanout(self, exchange: str) -> None:
        """Note that this exchange's messages go by pub/sub."""
        self._types.setdefault(exchange, "fanout")

    def type_of(self, exchange: str) -> str:
        """Return the type this process knows an exchange to have; empty if it does not."""
        return self._types.get(exchange, "")

    def expires_ms(self, queue: str) -> int:
        """Return after how long unused the queue goes away; 0 if never, or not known here."""
        found = self._expiring.get(queue)
        return 0 if found is None or found.expires is None else max(1, int(found.expires * 1000))

    def _lifetime_ms(self, queue: Queue) -> int:
        return max(BINDING_EXPIRES_FACTOR * self.expires_ms(queue.name), MIN_BINDING_TTL_MS)

    def keep_alive(self, line: Line) -> None:
        """Repeat what would expire, and clear away what did; call often, it does little."""
        if not self._expiring:
            return
        now = time.monotonic()
        for queue in list(self._expiring.values()):
            # A declaration that was cut off is made again.
            since = now - self._refreshed.get(queue.name, float("-inf"))
            if since > self._lifetime_ms(queue) / 3000:
                self.declare(line, queue)
        if now - self._swept > SWEEP_EVERY:
            self._swept = now
            line.run(
                scripts.SWEEP_BINDINGS,
                [self._keys.binding_deadlines],
                [self._keys.key(BINDING), self._keys.key(PERMANENT_BINDING), SWEEP_LIMIT],
            )

    def unbind(self, line: Line, queue: str) -> None:
        """Forget a queue, and every binding of it."""
        keys = self._keys
        commands = [command(b"SREM", keys.queues, queue)]
        for exchange, members in self._bindings_of(line, queue).items():
            commands += [
                command(b"SREM", keys.binding(exchange), *members),
                command(b"SREM", keys.permanent_binding(exchange), *members),
            ]
        self._expiring.pop(queue, None)
        self._refreshed.pop(queue, None)
        line.ask_all(commands)

    def _bindings_of(self, line: Line, queue: str) -> dict[str, list[bytes]]:
        """Return exchange -> bindings of one queue; a private one has but the one we made."""
        private = self._expiring.get(queue)
        if private is not None:
            made: dict[str, list[bytes]] = {}
            for name, member in self._members(private):
                made.setdefault(name, []).append(member)
            return made
        found = {}
        for name, members in self.bindings(line).items():
            mine = [m for m in members if _queue_in(m, self._keys.options.sep) == queue]
            if mine:
                found[name] = mine
        return found

    def bindings(self, line: Line) -> dict[str, list[bytes]]:
        """Return exchange -> bindings, of everybody at this broker."""
        start = self._keys.key(BINDING)
        found = [key for key in scan(line, start, b"set") if key.startswith(start)]
        if not found:
            return {}
        members = line.ask_all([command(b"SMEMBERS", key) for key in found])
        names = [key[len(start) :].decode("utf-8", "surrogatepass") for key in found]
        return dict(zip(names, members, strict=True))

    def queue_names(self, line: Line) -> set[str]:
        """Return every task queue that is declared, bound, or holds messages.

        Mailboxes, event queues and queues that expire are private to one process.
        """
        keys = self._keys
        names = {raw.decode("utf-8", "surrogatepass") for raw in line.ask(b"SMEMBERS", keys.queues)}
        for exchange, members in self.bindings(line).items():
            if not is_private(exchange):
                names.update(_queue_in(member, keys.options.sep) for member in members)
        lists = [key for key in scan(line, keys.prefix, b"list") if key.startswith(keys.prefix)]
        lives = line.ask_all([command(b"PTTL", key) for key in lists]) if lists else []
        names.update(keys.queue_of(key) for key, ttl in zip(lists, lives, strict=True) if ttl < 0)
        return {
            name
            for name in names
            if name and not name.endswith(".pidbox") and name not in self._expiring
        }

    # --- routing ----------------------------------------------------------------------------

    def queues_for(self, line: Line, exchange: str, routing_key: str) -> list[str]:
        """Return the queues a message goes to."""
        if not exchange:
            return [routing_key]
        members = line.ask(b"SMEMBERS", self._keys.binding(exchange))
        return self._routed(members, exchange, routing_key)

    def _routed(self, members: Iterable[bytes], exchange: str, routing_key: str) -> list[str]:
        found = self._keys.routed(members, self.type_of(exchange), routing_key)
        unrouted = self._keys.options.deadletter_queue
        return found or ([unrouted] if unrouted else [])

    def targets(
        self, line: Line, publications: Sequence[Publication]
    ) -> list[tuple[bytes, bytes, bytes]]:
        """Return (LPUSH or PUBLISH, list or channel, envelope) for every copy to send."""
        targets = []
        tables = self._tables(line, publications)
        for one in publications:
            if not one.exchange:
                if not one.routing_key:
                    raise BrokerError("a message without exchange needs a queue as routing key")
                key = self._keys.list_of(one.routing_key, one.priority)
                targets.append((b"LPUSH", key, one.envelope))
            elif self.type_of(one.exchange) == "fanout":
                for channel in self._keys.channels(one.exchange, one.routing_key):
                    targets.append((b"PUBLISH", channel, one.envelope))
            else:
                for queue in self._routed(tables[one.exchange], one.exchange, one.routing_key):
                    key = self._keys.list_of(queue, one.priority)
                    targets.append((b"LPUSH", key, one.envelope))
        return targets

    def _tables(self, line: Line, publications: Sequence[Publication]) -> dict[str, list[bytes]]:
        names = {one.exchange for one in publications if one.exchange}
        tables = sorted(name for name in names if self._types.get(name) != "fanout")
        if not tables:
            return {}
        replies = line.ask_all([command(b"SMEMBERS", self._keys.binding(name)) for name in tables])
        return dict(zip(tables, replies, strict=True))

    def pushes(self, targets: Sequence[tuple[bytes, bytes, bytes]]) -> list[bytes]:
        """Return commands for these targets; neighbours for one list become one command."""
        commands, run = [], []
        for place, (verb, key, envelope) in enumerate(targets):
            run.append(envelope)
            following = targets[place + 1] if place + 1 < len(targets) else None
            if verb == b"PUBLISH" or following is None or following[:2] != (verb, key):
                commands.append(command(verb, key, *run))
                run = []
        return commands + self.expiries({key for verb, key, _ in targets if verb == b"LPUSH"})

    def answers(self, publications: Sequence[Publication]) -> list[bytes]:
        """Return the commands that let answers nobody fetches go away."""
        ages = {
            self._keys.list_of(one.routing_key, one.priority): max(1, int(one.queue_expires * 1000))
            for one in publications
            if one.queue_expires is not None
        }
        return [command(b"PEXPIRE", key, age) for key, age in ages.items()]

    def expiries(self, lists: set[bytes]) -> list[bytes]:
        """Return the commands that keep the queues of these lists, with all lists of theirs, for
        as long as they are declared."""
        if not self._expiring:
            return []
        queues = sorted({self._keys.queue_of(key) for key in lists})
        return [
            command(b"PEXPIRE", key, age)
            for queue in queues
            if (age := self.expires_ms(queue))
            for key in self._keys.lists(queue)
        ]


def is_broadcast(queue: Queue) -> bool:
    """Return whether a queue is one consumer's ear on a fanout exchange."""
    return queue.auto_delete and queue.exchange.type == "fanout" and bool(queue.exchange.name)


def is_private(name: str) -> bool:
    """Return whether an exchange is a mailbox's or carries events: no task goes there."""
    return name.endswith(".pidbox") or name.startswith("celeryev")


def scan(line: Line, start: bytes, kind: bytes) -> list[bytes]:
    """Return the keys of one type beginning with `start`; long where the database is large."""
    glob = b"".join(b"\\" + bytes([c]) if c in b"[]*?\\^" else bytes([c]) for c in start) + b"*"
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, keys = line.ask(b"SCAN", cursor, b"MATCH", glob, b"COUNT", 5000, b"TYPE", kind)
        found.update(keys)
        if cursor == b"0":
            return sorted(found)


def _queue_in(member: bytes, separator: str) -> str:
    return member.decode("utf-8", "surrogatepass").rpartition(separator)[2]
