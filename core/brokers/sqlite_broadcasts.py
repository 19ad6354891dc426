"""Broadcasts of the SQLite broker: rows that every listener reads for itself, soon dropped.

`say`, `last` and `trim` run inside a read or write of the caller, on the connection handed in.
"""

from __future__ import annotations

import time
from sqlite3 import Connection

from ..wire.queues import topic_matches
from .base import Heard

#: Broadcasts are kept for so many seconds, at most so many of them.
_KEPT_FOR, _KEPT = 60.0, 20_000

#: Every so many broadcasts the old ones are dropped.
_TRIM_EVERY = 256


def say(db: Connection, exchange: str, routing_key: str, envelope: bytes) -> None:
    """Add a broadcast."""
    number = db.execute(
        "INSERT INTO broadcast (seen, exchange, routing_key, envelope) VALUES (?, ?, ?, ?)",
        (time.monotonic(), exchange, routing_key, envelope),
    ).lastrowid
    if number is not None and number % _TRIM_EVERY == 0:
        trim(db)


def last(db: Connection) -> int:
    """Return the number of the newest broadcast ever made in this file."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'broadcast'").fetchone()
    return int(row[0]) if row else 0


def trim(db: Connection) -> None:
    """Drop broadcasts that are old, from before a reboot, or too many."""
    now = time.monotonic()
    db.execute(
        "DELETE FROM broadcast WHERE id <= ? OR NOT (seen <= ? AND ? < seen + ?)",
        (last(db) - _KEPT, now, now, _KEPT_FOR),
    )


class Listener:
    """What one broker listens to, and how far it has heard."""

    def __init__(self) -> None:
        self.patterns: dict[str, set[str]] = {}
        self._heard = 0

    def listen(self, db: Connection, exchange: str, pattern: str) -> None:
        """Hear what is said from now on; what else is listened to goes on."""
        if not self.patterns:
            self._heard = last(db)
        self.patterns.setdefault(exchange, set()).add(pattern)

    def rewind(self, db: Connection) -> None:
        """Heed that the file may have been made anew and counts from the beginning."""
        self._heard = min(self._heard, last(db))

    def hear(self, db: Connection, limit: int) -> list[Heard]:
        """Return what was said since, oldest first, at most `limit`."""
        newest = last(db)
        if newest == self._heard:
            return []
        rows = db.execute(
            "SELECT id, exchange, routing_key, envelope FROM broadcast WHERE id > ? AND id <= ?"
            f" AND exchange IN ({', '.join('?' * len(self.patterns))}) ORDER BY id",
            (self._heard, newest, *self.patterns),
        )
        heard: list[Heard] = []
        for number, exchange, key, envelope in rows:
            if self._takes(exchange, key):
                heard.append(Heard(exchange=exchange, routing_key=key, envelope=envelope))
                if len(heard) == limit:
                    newest = number
                    break
        rows.close()  # an open SELECT would keep its snapshot, and the log from shrinking
        self._heard = newest
        return heard

    def _takes(self, exchange: str, key: str) -> bool:
        patterns = self.patterns[exchange]
        return any(topic_matches(pattern, key) if pattern else not key for pattern in patterns)
