"""Limits in a SQLite file, by default the one in which the broker keeps its queues.

Each verb is one short transaction.  One host means one clock, so times are unix time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from ..errors import LimiterError
from ..sqlitefile import SqliteFile, path_of_url
from .base import HORIZON, Limiter, LockWish, Passes, PassWish, Place, SlotWish, next_passes

_MIGRATIONS = (
    (
        # When the next pass of a key would be good; see next_passes.
        "CREATE TABLE pass (key TEXT PRIMARY KEY, tat REAL NOT NULL) WITHOUT ROWID",
        """CREATE TABLE slot (
            key TEXT NOT NULL, holder TEXT NOT NULL, until REAL NOT NULL,
            PRIMARY KEY (key, holder)) WITHOUT ROWID""",
        """CREATE TABLE lock (
            key TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL,
            running INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX lock_of ON lock (holder)",
    ),
)
#: Seconds between two sweeps by one process.
_SWEEP_EVERY = 60.0


class SqliteLimiter(Limiter):
    """Counters in a local file, shared by many processes; see `base.Limiter`."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options=options)
        self._file = SqliteFile(
            path_of_url(url),
            part="limits",
            migrations=_MIGRATIONS,
            refused=LimiterError,
            gone=LimiterError,
            timeout=2.0,
        )
        self._next_sweep = time.monotonic() + _SWEEP_EVERY

    def close(self) -> None:
        self._file.close()

    def _opened(self) -> SqliteFile:
        if not self._file.connected:
            self._file.open()
        return self._file

    def reserve(self, wishes: Sequence[PassWish]) -> list[Passes]:
        found = []
        with self._opened().write() as db:
            now = time.time()
            self._sweep(db, now)
            for wish in wishes:
                row = db.execute("SELECT tat FROM pass WHERE key = ?", (wish.key,)).fetchone()
                tat, passes = next_passes(row[0] if row else 0.0, now, wish)
                if passes.delays:
                    db.execute("INSERT OR REPLACE INTO pass VALUES (?, ?)", (wish.key, tat))
                found.append(passes)
        return found

    def _sweep(self, db: Connection, now: float) -> None:
        """Drop what counts no more."""
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + _SWEEP_EVERY
        db.execute("DELETE FROM pass WHERE tat < ?", (now - HORIZON,))
        db.execute("DELETE FROM slot WHERE until <= ?", (now,))
        db.execute("DELETE FROM lock WHERE until <= ?", (now,))

    def occupy(self, wishes: Sequence[SlotWish], seconds: float) -> list[list[str]]:
        with self._opened().write() as db:
            now = time.time()
            self._sweep(db, now)
            return [_occupy(db, wish, now, now + seconds) for wish in wishes]

    def vacate(self, places: Iterable[Place]) -> None:
        with self._opened().write() as db:
            db.executemany("DELETE FROM slot WHERE key = ? AND holder = ?", list(places))

    def renew(self, places: Iterable[Place], seconds: float) -> None:
        with self._opened().write() as db:
            until = time.time() + seconds
            db.executemany(
                "INSERT OR REPLACE INTO slot VALUES (?, ?, ?)",
                [(key, holder, until) for key, holder in places],
            )

    def claim(self, wishes: Sequence[LockWish]) -> list[str]:
        with self._opened().write() as db:
            now = time.time()
            self._sweep(db, now)
            return [_claim(db, wish, now) for wish in wishes]

    def extend(self, places: Iterable[Place], seconds: float) -> None:
        with self._opened().write() as db:
            now = time.time()
            db.executemany(
                "UPDATE lock SET until = max(until, ?)"
                " WHERE key = ? AND holder = ? AND until > ? AND NOT running",
                [(now + seconds, key, holder, now) for key, holder in places],
            )

    def unlock(self, places: Iterable[Place]) -> None:
        with self._opened().write() as db:
            db.executemany("DELETE FROM lock WHERE key = ? AND holder = ?", list(places))

    def free(self, holders: Iterable[str]) -> None:
        with self._opened().write() as db:
            db.executemany(
                "DELETE FROM lock WHERE holder = ? AND NOT running", [(one,) for one in holders]
            )


def _occupy(db: Connection, wish: SlotWish, now: float, until: float) -> list[str]:
    db.execute("DELETE FROM slot WHERE key = ? AND until <= ?", (wish.key, now))
    held = {row[0] for row in db.execute("SELECT holder FROM slot WHERE key = ?", (wish.key,))}
    given = []
    for holder in wish.holders:
        if holder in held or len(held) < wish.size:
            held.add(holder)
            given.append(holder)
    db.executemany(
        "INSERT OR REPLACE INTO slot VALUES (?, ?, ?)",
        [(wish.key, holder, until) for holder in given],
    )
    return given


def _claim(db: Connection, wish: LockWish, now: float) -> str:
    row = db.execute("SELECT holder, until FROM lock WHERE key = ?", (wish.key,)).fetchone()
    holder, until = row or ("", 0.0)
    if until > now and holder != wish.holder:
        return str(holder)
    least = until if holder == wish.holder and not wish.running else now
    ends = max(least, now + wish.seconds)
    values = (wish.key, wish.holder, ends, wish.running)
    db.execute("INSERT OR REPLACE INTO lock VALUES (?, ?, ?, ?)", values)
    return wish.holder
