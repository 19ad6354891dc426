"""Queues, exchanges and bindings of the SQLite broker: who gets a message, and by which number.

Every method runs inside a read or write of the caller, on the connection it is handed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from sqlite3 import Connection

from ..wire.message import Publication
from ..wire.queues import Queue, binding_takes
from .base import Binding
from .exchange_types import refuse_exchanges

#: Seconds an auto-delete queue outlives its last consumer, who would come back within a lease.
_AUTO_DELETE_AFTER = 60.0


def lifetime(queue: Queue) -> float | None:
    """Return for how many seconds a queue may be unused; None: it is no private one."""
    if queue.expires is None and queue.auto_delete:
        return _AUTO_DELETE_AFTER
    return queue.expires


class Topology:
    """What is declared, with a cache that is dropped when anybody changes it."""

    def __init__(self) -> None:
        self._number = 0
        self._ids: dict[str, int] = {}
        self._bindings: dict[str, list[tuple[str, str, int]]] = {}

    def refresh(self, db: Connection) -> None:
        """Drop the cache if the file has changed since."""
        number = db.execute("SELECT number FROM topology").fetchone()[0]
        if number != self._number:
            self._number = number
            self._ids.clear()
            self._bindings.clear()

    def find(self, db: Connection, name: str) -> int | None:
        """Return the number of a queue, None if there is none."""
        found = self._ids.get(name)
        if found is None:
            row = db.execute("SELECT id FROM queue WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            found = self._ids[name] = int(row[0])
        return found

    def make(self, db: Connection, name: str) -> int:
        """Return the number of a queue, making it if need be."""
        found = self.find(db, name)
        if found is None:
            db.execute("INSERT INTO queue (name, used) VALUES (?, ?)", (name, time.monotonic()))
            self._changed(db)
            found = self.find(db, name)
            assert found is not None
        return found

    def is_declared(self, db: Connection, queue: Queue) -> bool:
        """Return whether declaring `queue` would change nothing."""
        row = db.execute("SELECT id, expires, ttl FROM queue WHERE name = ?", (queue.name,))
        found = row.fetchone()
        if found is None or tuple(found[1:]) != (lifetime(queue), queue.message_ttl):
            return False
        return all(
            (one.exchange.type, one.routing_key, found[0])
            in self._bindings_of(db, one.exchange.name)
            for one in queue.ways_in()
        )

    def declare(self, db: Connection, queue: Queue) -> None:
        """Make queue, exchange and binding; where declarations differ, the last one holds."""
        refuse_exchanges(queue)
        number = self.make(db, queue.name)
        db.execute(
            "UPDATE queue SET expires = ?, ttl = ?, used = ? WHERE id = ?",
            (lifetime(queue), queue.message_ttl, time.monotonic(), number),
        )
        for one in queue.ways_in():
            name = one.exchange.name
            db.execute("INSERT OR REPLACE INTO exchange VALUES (?, ?)", (name, one.exchange.type))
            db.execute(
                "INSERT OR IGNORE INTO binding (exchange, queue, key) VALUES (?, ?, ?)",
                (name, number, one.routing_key),
            )
        self._changed(db)

    def expired(self, db: Connection) -> list[int]:
        """Return the numbers of the private queues that were not used for too long."""
        now = time.monotonic()
        rows = db.execute(
            "SELECT id FROM queue WHERE expires IS NOT NULL"
            " AND NOT (used <= ? AND ? < used + expires)",
            (now, now),
        )
        return [number for (number,) in rows]

    def forget(self, db: Connection, number: int) -> None:
        """Remove a queue and its bindings; while messages are on loan its name stays known."""
        db.execute("DELETE FROM binding WHERE queue = ?", (number,))
        db.execute(
            "DELETE FROM queue WHERE id = ?"
            " AND NOT EXISTS (SELECT 1 FROM message WHERE message.queue = queue.id)",
            (number,),
        )
        self._changed(db)

    def route(self, db: Connection, publication: Publication) -> Sequence[int]:
        """Return the numbers of the queues that take it, each once."""
        key = publication.routing_key
        if not publication.exchange:
            number = self._ids.get(key)
            if publication.queue_expires is not None:
                number = self.find(db, key)
                return () if number is None else (number,)
            return (self.make(db, key) if number is None else number,)
        bindings = self._bindings_of(db, publication.exchange)
        found = [number for type_, bound, number in bindings if binding_takes(type_, bound, key)]
        return list(dict.fromkeys(found))

    def _bindings_of(self, db: Connection, exchange: str) -> list[tuple[str, str, int]]:
        """Return the bindings of an exchange as (exchange type, binding key, queue number)."""
        found = self._bindings.get(exchange)
        if found is None:
            found = self._bindings[exchange] = db.execute(
                "SELECT exchange.type, binding.key, binding.queue FROM binding"
                " JOIN exchange ON exchange.name = binding.exchange"
                " WHERE binding.exchange = ? ORDER BY binding.queue",
                (exchange,),
            ).fetchall()
        return found

    def bindings(self, db: Connection) -> list[Binding]:
        """Return the bindings of all queues that are not private, ordered by queue."""
        rows = db.execute(
            "SELECT queue.name, binding.exchange, binding.key, exchange.type FROM binding"
            " JOIN exchange ON exchange.name = binding.exchange"
            " JOIN queue ON queue.id = binding.queue WHERE queue.expires IS NULL"
        )
        return sorted(
            Binding(queue=queue, exchange=exchange, routing_key=key, type=type_)
            for queue, exchange, key, type_ in rows
        )

    def _changed(self, db: Connection) -> None:
        db.execute("UPDATE topology SET number = number + 1")
        self.refresh(db)


# --- paused queues ------------------------------------------------------------------------------


def pause(db: Connection, queue: str) -> None:
    """Note that nobody shall take from a queue."""
    db.execute("INSERT OR IGNORE INTO paused VALUES (?, ?)", (queue, time.time()))


def resume(db: Connection, queue: str) -> bool:
    """Take the note away; return whether there was one."""
    return db.execute("DELETE FROM paused WHERE queue = ?", (queue,)).rowcount > 0


def paused(db: Connection) -> dict[str, float]:
    """Return the paused queues, and since when."""
    return dict(db.execute("SELECT queue, at FROM paused ORDER BY queue").fetchall())
