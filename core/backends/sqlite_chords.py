"""The counts of chords in SQLite: one row a chord, one row a part, one transaction a step."""

from __future__ import annotations

import sqlite3
import time

from ..sqlitefile import SqliteFile
from ..wire.chord_part import Count, Part
from .base import Backend

CHORD_TABLES = (
    "CREATE TABLE chords ("
    " group_id TEXT PRIMARY KEY, size INTEGER, grown INTEGER NOT NULL DEFAULT 0,"
    " owner TEXT NOT NULL DEFAULT '', held_until REAL NOT NULL DEFAULT 0,"
    " done_until REAL NOT NULL DEFAULT 0, expires REAL)",
    "CREATE INDEX chords_by_expiry ON chords (expires) WHERE expires IS NOT NULL",
    # A part without an index has one behind all others.
    "CREATE TABLE chord_parts ("
    " group_id TEXT NOT NULL, place INTEGER NOT NULL, task_id TEXT NOT NULL,"
    " member BLOB NOT NULL, PRIMARY KEY (group_id, place, task_id)) WITHOUT ROWID",
)

#: Place of a part that has no index.
_LAST = 2**62

#: ?1 group id, ?2 unix time it expires or NULL.
_TOUCH = """
INSERT INTO chords (group_id, expires) VALUES (?1, ?2)
ON CONFLICT (group_id) DO UPDATE SET expires = excluded.expires
"""


class SqliteChords(Backend):
    """The chord verbs of the SQLite backend."""

    counts_parts = True
    _file: SqliteFile

    def begin_chord(self, group_id: str, size: int) -> None:
        with self._file.write() as db:
            self._touch(db, group_id)
            db.execute(
                "UPDATE chords SET size = ?, owner = '', held_until = 0, done_until = 0"
                " WHERE group_id = ?",
                (size, group_id),
            )

    def grow_chord(self, group_id: str, more: int = 1) -> None:
        with self._file.write() as db:
            self._touch(db, group_id)
            db.execute("UPDATE chords SET grown = grown + ? WHERE group_id = ?", (more, group_id))

    def count_part(self, part: Part, token: str, claim: float) -> Count:
        now = time.time()
        with self._file.write() as db:
            self._touch(db, part.group_id)
            size, grown, held_until, done_until = db.execute(
                "SELECT size, grown, held_until, done_until FROM chords WHERE group_id = ?",
                (part.group_id,),
            ).fetchone()
            if done_until > now:
                return Count(0, None, done=True)
            place = _LAST if part.index is None else part.index
            db.execute(
                "INSERT OR IGNORE INTO chord_parts VALUES (?, ?, ?, ?)",
                (part.group_id, place, part.task_id, part.member),
            )
            counted = db.execute(
                "SELECT count(*) FROM chord_parts WHERE group_id = ?", (part.group_id,)
            ).fetchone()[0]
            count = Count(counted, None if size is None else size + grown)
            if not count.complete:
                return count
            if held_until > now:
                return count._replace(held=held_until - now)
            _give(db, part.group_id, token, now + claim)
            return count._replace(owned=True)

    def load_parts(self, group_id: str) -> list[bytes]:
        with self._file.read() as db:
            rows = db.execute(
                "SELECT member FROM chord_parts WHERE group_id = ? ORDER BY place", (group_id,)
            )
            return [bytes(member) for (member,) in rows]

    def hold_chord(self, group_id: str, token: str, claim: float) -> bool:
        now = time.time()
        with self._file.write() as db:
            row = db.execute(
                "SELECT size, owner, held_until FROM chords WHERE group_id = ?", (group_id,)
            ).fetchone()
            if row is None or (row[1] != token and (row[2] > now or row[0] is None)):
                return False
            _give(db, group_id, token, now + claim)
            return True

    def end_chord(self, group_id: str, token: str, remember: float) -> bool:
        now = time.time()
        with self._file.write() as db:
            ended = db.execute(
                "UPDATE chords SET size = NULL, grown = 0, owner = '', done_until = ?1,"
                " expires = min(coalesce(expires, ?1), ?1)"
                " WHERE group_id = ?2 AND owner = ?3 AND held_until > ?4",
                (now + remember, group_id, token, now),
            ).rowcount
            if ended:
                db.execute("DELETE FROM chord_parts WHERE group_id = ?", (group_id,))
            return bool(ended)

    def fail_chord(self, group_id: str) -> None:
        with self._file.write() as db:
            db.execute("UPDATE chords SET size = NULL WHERE group_id = ?", (group_id,))

    def _touch(self, db: sqlite3.Connection, group_id: str) -> None:
        """See that there is a row of the chord, and keep it for some more time."""
        lifetime = self.chord_expires
        db.execute(_TOUCH, (group_id, time.time() + lifetime if lifetime else None))

    def _sweep_chords(self, db: sqlite3.Connection, now: float, limit: int) -> int:
        """Drop some chords that have outlived their time, and their parts; return how many."""
        old = db.execute(
            "SELECT group_id FROM chords WHERE expires <= ? LIMIT ?", (now, limit)
        ).fetchall()
        db.executemany("DELETE FROM chord_parts WHERE group_id = ?", old)
        db.executemany("DELETE FROM chords WHERE group_id = ?", old)
        return len(old)


def _give(db: sqlite3.Connection, group_id: str, token: str, until: float) -> None:
    db.execute(
        "UPDATE chords SET owner = ?, held_until = ? WHERE group_id = ?", (token, until, group_id)
    )
