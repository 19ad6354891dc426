"""Messages of the SQLite broker: one row each, which waits, is on loan or is held.

Queues and owners are numbers here.  Every function runs inside a read or write of the caller, on
the connection it is handed; see `sqlite_schema` for the columns.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from ..wire.message import Publication
from .base import Delivery, QueueStat, Waiting
from .sqlite_topology import Topology

#: A loan as its tag names it: (id, loan).
Loan = tuple[int, int]

#: Held messages that one step makes wait; more would hold the write lock for too long.
_DUE_AT_ONCE = 1000

#: Puts one that was held before all that were not, the soonest due first.
_DUE_SEQ = "CAST(due * 1000000 AS INTEGER) - 4611686018427387904"

#: These two must read as the index `waiting` does, or SQLite sorts the whole queue each time.
_WAITING = "queue = ? AND owner = 0 AND due IS NULL"
_SERVED_NEXT = "ORDER BY priority DESC, seq, id LIMIT ?"

#: One loan; takes id, loan, owner.  What is not ours, or no more, matches nothing; so does an
#: owner of None, who was reclaimed.
_LOAN = "id = ? AND loan = ? AND owner = ?"


# --- waiting ------------------------------------------------------------------------------------


def insert(db: Connection, topology: Topology, publications: Iterable[Publication]) -> None:
    """Add a row for every queue that takes each of the messages."""
    now = time.time()
    rows = []
    for sent in publications:
        due = sent.due if sent.due is not None and sent.due > now else None
        for queue in topology.route(db, sent):
            rows.append((queue, sent.priority, due, now, sent.task_id, sent.envelope))
    db.executemany(
        "INSERT INTO message (queue, priority, due, at, task_id, envelope)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        rows,
    )


def is_waiting(db: Connection, queue: int | None) -> bool:
    """Return whether anything waits in a queue."""
    query = f"SELECT 1 FROM message WHERE {_WAITING} LIMIT 1"
    return db.execute(query, (queue,)).fetchone() is not None


def count(db: Connection, queue: int | None) -> int:
    """Return how many wait in a queue."""
    row = db.execute(f"SELECT COUNT(*) FROM message WHERE {_WAITING}", (queue,)).fetchone()
    return int(row[0])


def browse(db: Connection, queue: int | None, limit: int) -> list[Waiting]:
    """Return the messages that are next."""
    query = f"SELECT envelope, at, redelivered FROM message WHERE {_WAITING} {_SERVED_NEXT}"
    return [
        Waiting(envelope=envelope, at=at, redelivered=bool(redelivered))
        for envelope, at, redelivered in db.execute(query, (queue, limit))
    ]


def remove(db: Connection, queue: int | None, envelope: bytes) -> bool:
    """Remove one that waits with this envelope; return whether there was one."""
    return (
        db.execute(
            f"DELETE FROM message WHERE id = (SELECT id FROM message WHERE {_WAITING}"
            " AND envelope = ? LIMIT 1)",
            (queue, envelope),
        ).rowcount
        > 0
    )


def pop(db: Connection, queue: int | None, limit: int) -> list[bytes]:
    """Remove and return the envelopes that are next."""
    query = f"SELECT id, envelope FROM message WHERE {_WAITING} {_SERVED_NEXT}"
    rows = db.execute(query, (queue, limit)).fetchall()
    db.executemany("DELETE FROM message WHERE id = ?", [row[:1] for row in rows])
    return [envelope for _, envelope in rows]


def last(db: Connection) -> int:
    """Return the number of the newest message, 0 if there is none."""
    return int(db.execute("SELECT coalesce(MAX(id), 0) FROM message").fetchone()[0])


def drop(db: Connection, queue: int, newest: int, limit: int) -> int:
    """Remove up to `limit` that wait, not newer than `newest` (-1: no limit); return how many."""
    return db.execute(
        f"DELETE FROM message WHERE id IN (SELECT id FROM message WHERE {_WAITING}"
        " AND id <= ? LIMIT ?)",
        (queue, newest, limit),
    ).rowcount


def drop_older(db: Connection, queue: int, at: float) -> None:
    """Remove what has waited since before `at`."""
    db.execute(f"DELETE FROM message WHERE {_WAITING} AND at < ?", (queue, at))


def stats(db: Connection) -> list[QueueStat]:
    """Return the numbers of all queues that are not private, ordered by name."""
    now = time.time()
    ready = _by_queue(db, "COUNT(*), MIN(id)", "owner = 0 AND due IS NULL")
    lent = _by_queue(db, "COUNT(*), 0", "owner > 0")
    held = _by_queue(db, "COUNT(*), 0", "due IS NOT NULL")
    known = db.execute("SELECT id, name FROM queue WHERE expires IS NULL ORDER BY name").fetchall()
    found = []
    for queue, name in known:
        waiting, first = ready.get(queue, (0, 0))
        oldest = db.execute("SELECT at FROM message WHERE id = ?", (first,)).fetchone()
        found.append(
            QueueStat(
                name=name,
                ready=waiting,
                unacked=lent.get(queue, (0, 0))[0],
                due=held.get(queue, (0, 0))[0],
                oldest=max(0.0, now - oldest[0]) if oldest else None,
            )
        )
    return found


def _by_queue(db: Connection, columns: str, which: str) -> dict[int, tuple[int, int]]:
    rows = db.execute(f"SELECT queue, {columns} FROM message WHERE {which} GROUP BY queue")
    return {queue: (first, second) for queue, first, second in rows}


# --- on loan ------------------------------------------------------------------------------------


def lend(db: Connection, queue: int | None, name: str, owner: int, limit: int) -> list[Delivery]:
    """Lend `owner` up to `limit` messages of a queue and say so in their rows."""
    rows = db.execute(
        "SELECT id, loan + 1, deliveries, redelivered, envelope FROM message"
        f" WHERE {_WAITING} {_SERVED_NEXT}",
        (queue, limit),
    ).fetchall()
    db.executemany(
        "UPDATE message SET owner = ?, loan = ? WHERE id = ?",
        [(owner, row[1], row[0]) for row in rows],
    )
    return [
        Delivery(
            tag=f"{number}:{loan}:{deliveries}" if deliveries else f"{number}:{loan}",
            queue=name,
            envelope=envelope,
            deliveries=deliveries,
            redelivered=bool(redelivered),
        )
        for number, loan, deliveries, redelivered, envelope in rows
    ]


def loans(tags: Iterable[str]) -> list[Loan]:
    """Return the loans these tags name, leaving out what cannot be a tag of ours."""
    found = []
    for tag in tags:
        try:
            number, loan = map(int, tag.split(":")[:2])
        except ValueError:
            continue
        if max(abs(number), abs(loan)) < 1 << 63:
            found.append((number, loan))
    return found


def end(db: Connection, owner: int | None, ended: Sequence[Loan]) -> None:
    """Remove these messages for good."""
    db.executemany(f"DELETE FROM message WHERE {_LOAN}", [(*loan, owner) for loan in ended])


def give_back(db: Connection, owner: int | None, back: Sequence[Loan], *, lost: bool) -> None:
    """Let these messages wait where they waited before."""
    db.executemany(
        "UPDATE message SET owner = 0, started = 0, redelivered = 1,"
        f" deliveries = deliveries + ? WHERE {_LOAN}",
        [(lost, *loan, owner) for loan in back],
    )


def start(db: Connection, owner: int | None, started: Sequence[Loan]) -> None:
    """Note that these have begun to run."""
    db.executemany(
        f"UPDATE message SET started = 1 WHERE {_LOAN}", [(*loan, owner) for loan in started]
    )


# --- held until due -----------------------------------------------------------------------------


def hold(
    db: Connection, owner: int | None, parked: Sequence[Loan], due: float, task_id: str
) -> None:
    """Turn loans into held messages."""
    db.executemany(
        f"UPDATE message SET owner = 0, started = 0, due = ?, task_id = ? WHERE {_LOAN}",
        [(due, task_id, *loan, owner) for loan in parked],
    )


def next_due(db: Connection) -> float | None:
    """Return when the next held message is due."""
    due: float | None = db.execute("SELECT MIN(due) FROM message WHERE due > 0").fetchone()[0]
    return due


def promote(db: Connection) -> int:
    """Let what is due wait at the head of its queue; return how many."""
    return db.execute(
        f"UPDATE message SET seq = {_DUE_SEQ}, due = NULL WHERE id IN"
        " (SELECT id FROM message WHERE due <= ? ORDER BY due LIMIT ?)",
        (time.time(), _DUE_AT_ONCE),
    ).rowcount


def held(db: Connection, queues: Sequence[int | None], limit: int) -> list[tuple[float, bytes]]:
    """Return (due, envelope) of what these queues hold, soonest first."""
    return db.execute(
        "SELECT due, envelope FROM message WHERE due IS NOT NULL"
        f" AND queue IN ({', '.join('?' * len(queues))}) ORDER BY due LIMIT ?",
        (*queues, limit),
    ).fetchall()


def cancel(db: Connection, task_id: str) -> list[bytes]:
    """Remove the held messages of a task and return their envelopes."""
    rows = db.execute(
        "DELETE FROM message WHERE task_id = ? AND due IS NOT NULL RETURNING envelope", (task_id,)
    )
    return [envelope for (envelope,) in rows]


def drop_held(db: Connection, queue: int, newest: int, limit: int) -> int:
    """Remove up to `limit` that a queue holds, not newer than `newest`; return how many."""
    return db.execute(
        "DELETE FROM message WHERE id IN (SELECT id FROM message"
        " WHERE due IS NOT NULL AND queue = ? AND id <= ? LIMIT ?)",
        (queue, newest, limit),
    ).rowcount
