"""Leadership in a SQLite file: a row each for the term and for every note."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from sqlite3 import Connection
from typing import Any

from ..wire.message import Publication
from .leading import Claim, Leadership

#: What gives a connection, inside a read or a write.
Turn = Callable[[], AbstractContextManager[Connection]]


class SqliteLeadership(Leadership):
    """See `leading.Leadership`; `insert` puts messages in, `ring` wakes who waits for them."""

    def __init__(
        self,
        name: str,
        candidate: str,
        *,
        read: Turn,
        write: Turn,
        insert: Callable[[Connection, Sequence[Publication]], None],
        ring: Callable[[], None],
    ) -> None:
        super().__init__(name, candidate)
        self._read, self._write = read, write
        self._insert, self._ring = insert, ring
        self._fence = 0

    def claim(self, record: Mapping[str, Any], lease: float, *, over: int = 0) -> Claim:
        with self._write() as db:
            found = self._term(db)
            if found is not None and not found.held and found.remaining > 0 and found.fence != over:
                return found
            fence = 1 if found is None else found.fence + (not found.held)
            db.execute(
                "INSERT OR REPLACE INTO leader (name, candidate, fence, seen, lease, record)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (self.name, self.candidate, fence, time.monotonic(), lease, json.dumps(record)),
            )
        self._fence = fence
        return Claim(held=True, fence=fence, remaining=lease, record=dict(record))

    def _term(self, db: Connection) -> Claim | None:
        row = db.execute(
            "SELECT candidate, fence, seen, lease, record FROM leader WHERE name = ?", (self.name,)
        ).fetchone()
        if row is None:
            return None
        candidate, fence, seen, lease, record = row
        # A lease from before a reboot lies in the future: see `sqlite_schema`.
        now = time.monotonic()
        remaining = seen + lease - now if candidate and seen <= now else 0.0
        return Claim(
            held=candidate == self.candidate,
            fence=fence,
            remaining=remaining,
            record=json.loads(record),
        )

    def look(self) -> Claim | None:
        with self._read() as db:
            found = self._term(db)
        return found if found is not None and found.remaining > 0 else None

    def notes(self) -> dict[str, Any]:
        with self._read() as db:
            rows = db.execute("SELECT key, value FROM ledger WHERE name = ?", (self.name,))
            return {key: json.loads(value) for key, value in rows}

    def publish(self, publications: Sequence[Publication], notes: Mapping[str, Any]) -> bool:
        with self._write() as db:
            ours = db.execute(
                "UPDATE leader SET seen = ? WHERE name = ? AND candidate = ? AND fence = ?",
                (time.monotonic(), self.name, self.candidate, self._fence),
            ).rowcount
            if not ours:
                return False
            self._insert(db, publications)
            for key, value in notes.items():
                if value is None:
                    db.execute("DELETE FROM ledger WHERE name = ? AND key = ?", (self.name, key))
                else:
                    db.execute(
                        "INSERT OR REPLACE INTO ledger (name, key, value) VALUES (?, ?, ?)",
                        (self.name, key, json.dumps(value)),
                    )
        if publications:
            self._ring()
        return True

    def release(self) -> None:
        with self._write() as db:
            db.execute(
                "UPDATE leader SET candidate = '' WHERE name = ? AND candidate = ?",
                (self.name, self.candidate),
            )
