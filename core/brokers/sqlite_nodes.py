"""Owners of the SQLite broker: their node records, their leases, and what dead ones held.

Every function runs inside a read or write of the caller, on the connection it is handed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from sqlite3 import Connection
from typing import Any

from .base import NodeRecord

#: Seconds an owner may hold deliveries before its first `register`.
FIRST_LEASE = 60.0

#: True for a lease that holds; takes now, now.  A lease from before a reboot lies in the future.
_ALIVE = "(seen <= ? AND ? < seen + lease)"

#: Gives the loans of an owner back; %s is what else is set.  `owner > 0` is what the index `lent`
#: says, without it the whole table would be read.
_GIVE_BACK = (
    "UPDATE message SET owner = 0, started = 0, redelivered = 1%s WHERE owner = ? AND owner > 0"
)

#: The first loss counts in any case, later ones only for what had begun to run.
_COUNT_LOSS = ", deliveries = deliveries + (started OR deliveries = 0)"


def find(db: Connection, owner: str | None) -> int | None:
    """Return the number of an owner, None if it is not known (any more): it owns no loan."""
    row = db.execute("SELECT id FROM owner WHERE owner = ?", (owner,)).fetchone()
    return int(row[0]) if row else None


def make(db: Connection, owner: str) -> int:
    """Return the number of an owner, with a first lease if it had none."""
    number = find(db, owner)
    if number is not None:
        return number
    row = db.execute(
        "INSERT INTO owner (owner, at, seen, lease) VALUES (?, ?, ?, ?) RETURNING id",
        (owner, time.time(), time.monotonic(), FIRST_LEASE),
    ).fetchone()
    return int(row[0])


def register(
    db: Connection, owner: str, name: str, record: Mapping[str, Any], lease: float
) -> None:
    """Write an owner's node record and lease."""
    db.execute(
        "UPDATE owner SET name = ?, record = ?, at = ?, seen = ?, lease = ? WHERE id = ?",
        (name, json.dumps(record), time.time(), time.monotonic(), lease, make(db, owner)),
    )


def retire(db: Connection, number: int | None) -> int:
    """Forget an owner that leaves in peace; return how many loans went back."""
    given_back = db.execute(_GIVE_BACK % "", (number,)).rowcount
    db.execute("DELETE FROM owner WHERE id = ?", (number,))
    return given_back


def records(db: Connection) -> list[NodeRecord]:
    """Return all registered nodes, ordered by name."""
    now = time.monotonic()
    rows = db.execute(
        f"SELECT name, owner, record, at, {_ALIVE} FROM owner"
        " WHERE name IS NOT NULL ORDER BY name, id",
        (now, now),
    )
    return [
        NodeRecord(
            name=name,
            owner=owner,
            record=json.loads(record),
            age=max(0.0, time.time() - at),
            alive=bool(alive),
        )
        for name, owner, record, at, alive in rows
    ]


def dead(db: Connection, but: str | None) -> list[tuple[int, str]]:
    """Return (number, name) of the owners whose lease has ended, `but` excepted: it is asking."""
    now = time.monotonic()
    return db.execute(
        f"SELECT id, coalesce(name, owner) FROM owner WHERE NOT {_ALIVE} AND owner IS NOT ?"
        " ORDER BY id",
        (now, now, but),
    ).fetchall()


def bury(db: Connection, number: int) -> None:
    """Forget a dead owner; what it held goes back, counted."""
    db.execute(_GIVE_BACK % _COUNT_LOSS, (number,))
    db.execute("DELETE FROM owner WHERE id = ?", (number,))
