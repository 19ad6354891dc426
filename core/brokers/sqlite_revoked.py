"""Revocations in the SQLite broker: marks that are kept, and messages found by their task id.

Every function runs inside a read or write of the caller, on the connection it is handed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from .base import MOST_MARKS

#: Most waiting messages among which one is looked for; there is no index by task id, which every
#: call would pay for.
_LOOKED_AT = 20_000
#: Ids in one statement.
_AT_ONCE = 500


def note(db: Connection, marks: Iterable[str], seconds: float) -> None:
    """Keep these marks; drop those whose time is over, and the soonest to go beyond the most."""
    now = time.time()
    db.execute("DELETE FROM revoked WHERE until <= ?", (now,))
    db.executemany(
        "INSERT INTO revoked VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
        [(mark, now + seconds) for mark in marks],
    )
    db.execute(
        "DELETE FROM revoked WHERE mark IN"
        " (SELECT mark FROM revoked ORDER BY until DESC LIMIT -1 OFFSET ?)",
        (MOST_MARKS,),
    )


def marks(db: Connection) -> dict[str, float]:
    """Return the marks that are kept, and for how many seconds more."""
    now = time.time()
    rows = db.execute("SELECT mark, until - ? FROM revoked WHERE until > ?", (now, now))
    return dict(rows.fetchall())


def cancel_waiting(db: Connection, task_ids: Sequence[str]) -> list[bytes]:
    """Remove the waiting messages of these tasks, if not too many wait; return their envelopes."""
    waiting = "owner = 0 AND due IS NULL"
    count = f"SELECT COUNT(*) FROM (SELECT 1 FROM message WHERE {waiting} LIMIT ?)"
    if db.execute(count, (_LOOKED_AT + 1,)).fetchone()[0] > _LOOKED_AT:
        return []
    found: list[bytes] = []
    for start in range(0, len(task_ids), _AT_ONCE):
        some = task_ids[start : start + _AT_ONCE]
        rows = db.execute(
            f"DELETE FROM message WHERE {waiting} AND task_id IN ({', '.join('?' * len(some))})"
            " RETURNING envelope",
            some,
        )
        found += [envelope for (envelope,) in rows]
    return found
