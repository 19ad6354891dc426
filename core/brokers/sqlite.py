"""The SQLite broker: one file on a local disk, shared by many processes; the default.

A message is one row, which waits, is on loan or is held (`sqlite_schema`).  Every verb is one
short transaction.  Idle readers are woken by doorbells (`bell`) in the folder `<file>-bells`.
A broker must not be used after a fork; open another one, in the child.

Options: `synchronous`, "normal" (default: a power cut may take back the last moments, never more)
or "full" (every publish reaches the disk before it returns; slower by far).
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from ..errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from ..sqlitefile import SqliteFile, path_of_url
from ..wire.message import Publication
from ..wire.queues import Queue, topic_matches
from . import sqlite_nodes as nodes_of
from .base import Broker, Delivery, Heard, NodeRecord, QueueStat
from .bell import BROADCASTS, QUEUES, Bell, Ringer
from .sqlite_schema import MIGRATIONS
from .sqlite_topology import Topology

#: Seconds between two looks, with doorbells and where the file system has none.
_LOOK, _LOOK_WITHOUT_BELLS = 1.0, 0.05

#: Held messages that one `receive` makes wait; more would hold the write lock for too long.
_DUE_AT_ONCE = 1000

#: Rows that one transaction of `purge` drops, for the same reason: some 20 ms.
_PURGED_AT_ONCE = 10_000

#: Broadcasts are kept for so many seconds, at most so many of them.
_BROADCAST_AGE, _BROADCASTS_KEPT = 60.0, 20_000

#: Seconds between two rounds of housekeeping by one process.
_HOUSEKEEPING = 10.0

#: Puts one that was held before all that were not, the soonest due first (`seq` is negative).
_DUE_SEQ = "CAST(due * 1000000 AS INTEGER) - 4611686018427387904"

_WAITING = "queue = ? AND owner = 0 AND due IS NULL"
_SERVED_NEXT = "ORDER BY priority DESC, seq, id LIMIT ?"

#: One loan; takes id, loan, owner.  A tag that is not ours, or no more, matches nothing.
_LOAN = "id = ? AND loan = ? AND owner = ?"


class SqliteBroker(Broker):
    """One line to the file; see `base.Broker`."""

    holds_due = True
    highest_priority_first = True

    def __init__(
        self, url: str, *, options: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> None:
        super().__init__(url, options=options, owner=owner)
        self.path: Path = path_of_url(url)
        synchronous = str(self.options.get("synchronous", "normal")).upper()
        if synchronous not in ("NORMAL", "FULL"):
            raise ImproperlyConfigured(
                f"broker_transport_options: synchronous is {self.options['synchronous']!r},"
                " choose normal or full"
            )
        self._file = SqliteFile(
            self.path,
            part="broker",
            migrations=MIGRATIONS,
            refused=BrokerError,
            gone=BrokerConnectionError,
            synchronous=synchronous,
        )
        self._folder = self.path.with_name(self.path.name + "-bells")
        self._pid = 0
        self._bell: Bell | None = None
        self._ringer = Ringer(self._folder)
        self._topology = Topology()
        self._subscribed: list[str] = []
        self._turn = 0
        self._patterns: dict[str, set[str]] = {}
        self._last_heard = 0
        self._next_due: float | None = None
        self._used: dict[str, float] = {}
        self._housekept = time.monotonic()

    # --- the line ---------------------------------------------------------------------------

    def open(self, timeout: float = 4.0) -> None:
        if self._pid == os.getpid():
            return
        if self._pid:
            self.close()
        self._file.timeout = timeout
        self._file.open()
        self._pid = os.getpid()
        self._ringer = Ringer(self._folder)
        self._topology = Topology()
        with self._read() as db:  # a file made anew begins to count anew
            self._last_heard = min(self._last_heard, _last_broadcast(db))
        if self._subscribed:
            self._be_rung_for(QUEUES)
        if self._patterns:
            self._be_rung_for(BROADCASTS)

    def close(self) -> None:
        if not self._pid:
            return
        inherited = self._pid != os.getpid()
        self._pid = 0
        self._ringer.close()
        if self._bell is not None:
            self._bell.close(remove=not inherited)
            self._bell = None
        self._file.close()

    def fileno(self) -> int:
        return self._own_bell().fileno()

    def poll_interval(self) -> float:
        if self._bell is not None and not self._bell.shared:
            return _LOOK_WITHOUT_BELLS
        if self._next_due is None:
            return _LOOK
        return min(_LOOK, max(0.01, self._next_due - time.time()))

    def _own_bell(self) -> Bell:
        self._check()
        if self._bell is None:
            mode = stat.S_IMODE(os.stat(self.path).st_mode) & 0o660
            self._bell = Bell(self._folder, mode)
            self._bell.open()
        return self._bell

    def _be_rung_for(self, letter: str) -> None:
        self._own_bell().answer_to(letter)

    def _check(self) -> None:
        pid = os.getpid()
        if self._pid == pid:
            return
        if self._pid:
            raise BrokerError(
                f"{self.path} was opened by process {self._pid}, this is process {pid}:"
                " open another broker after a fork"
            )
        raise BrokerError(f"{self.path} is not open")

    @contextlib.contextmanager
    def _read(self) -> Iterator[Connection]:
        self._check()
        with self._file.read() as db:
            yield db

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        """Give the connection in a transaction, knowing the newest topology."""
        self._check()
        try:
            with self._file.write() as db:
                self._topology.refresh(db)
                yield db
        except BaseException:
            self._topology = Topology()  # it may know what was rolled back
            raise

    # --- queues -----------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        if queue.expires is not None or queue.exclusive:
            self._be_rung_for(QUEUES)  # whoever makes a private queue waits for what comes there
        with self._read() as db:
            self._topology.refresh(db)
            if queue.expires is None and self._topology.is_declared(db, queue):
                return
        with self._write() as db:
            self._topology.declare(db, queue)

    def delete(self, queue: str) -> int:
        dropped = self._drop(queue, "owner = 0")
        with self._write() as db:
            number = self._topology.find(db, queue)
            if number is not None:
                dropped += db.execute(
                    "DELETE FROM message WHERE queue = ? AND owner = 0", (number,)
                ).rowcount
                self._topology.forget(db, number)
        return dropped

    def queues(self) -> list[QueueStat]:
        now = time.time()
        with self._read() as db:
            names = db.execute("SELECT id, name FROM queue WHERE expires IS NULL ORDER BY name")
            known = names.fetchall()
            ready = _by_queue(db, "COUNT(*), MIN(id)", "owner = 0 AND due IS NULL")
            unacked = _by_queue(db, "COUNT(*)", "owner > 0")
            due = _by_queue(db, "COUNT(*)", "due IS NOT NULL")
            oldest = {
                number: db.execute("SELECT at FROM message WHERE id = ?", (first,)).fetchone()
                for number, (_, first) in ready.items()
            }
        return [
            QueueStat(
                name=name,
                ready=ready.get(number, (0,))[0],
                unacked=unacked.get(number, (0,))[0],
                due=due.get(number, (0,))[0],
                oldest=max(0.0, now - oldest[number][0]) if oldest.get(number) else None,
            )
            for number, name in known
        ]

    def size(self, queue: str) -> int:
        with self._read() as db:
            self._topology.refresh(db)
            found = self._topology.find(db, queue)
            row = db.execute(f"SELECT COUNT(*) FROM message WHERE {_WAITING}", (found,)).fetchone()
        return int(row[0])

    def peek(self, queue: str, limit: int = 50) -> list[bytes]:
        with self._read() as db:
            self._topology.refresh(db)
            found = self._topology.find(db, queue)
            rows = db.execute(
                f"SELECT envelope FROM message WHERE {_WAITING} {_SERVED_NEXT}", (found, limit)
            )
            return [envelope for (envelope,) in rows]

    def purge(self, queue: str) -> int:
        return self._drop(queue, "owner = 0 AND due IS NULL")

    def _drop(self, queue: str, which: str) -> int:
        """Drop what is in a queue now, in steps that leave others room between."""
        with self._read() as db:
            self._topology.refresh(db)
            number = self._topology.find(db, queue)
            last = db.execute("SELECT MAX(id) FROM message").fetchone()[0]
        dropped = 0
        while number is not None and last is not None:
            with self._write() as db:
                count = db.execute(
                    "DELETE FROM message WHERE id IN (SELECT id FROM message"
                    f" WHERE queue = ? AND {which} AND id <= ? LIMIT ?)",
                    (number, last, _PURGED_AT_ONCE),
                ).rowcount
            dropped += count
            if count < _PURGED_AT_ONCE:
                break
        return dropped

    # --- messages ---------------------------------------------------------------------------

    def publish(self, publications: Sequence[Publication]) -> None:
        if not publications:
            self._check()
            return
        with self._write() as db:
            self._insert(db, publications)
        self._ringer.ring(QUEUES)

    def _insert(self, db: Connection, publications: Iterable[Publication]) -> None:
        now = time.time()
        rows = []
        for sent in publications:
            due = sent.due if sent.due is not None and sent.due > now else None
            for queue in self._topology.route(db, sent):
                rows.append((queue, sent.priority, due, now, sent.task_id, sent.envelope))
        db.executemany(
            "INSERT INTO message (queue, priority, due, at, task_id, envelope)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )

    def subscribe(self, queue: Queue) -> None:
        self.declare(queue)
        if queue.name not in self._subscribed:
            self._subscribed.append(queue.name)
        bell = self._own_bell()
        bell.answer_to(QUEUES)
        bell.ring(QUEUES)  # what waits there already

    def unsubscribe(self, queue: str) -> None:
        self._check()
        if queue in self._subscribed:
            self._subscribed.remove(queue)

    def receive(self, limit: int) -> list[Delivery]:
        self._check()
        if self._bell is not None:
            self._bell.quiet(QUEUES)  # before looking: what comes later rings again
        if self.owner is None:
            raise BrokerError("receiving needs an owner: open_broker(url, owner=...)")
        if limit <= 0 or not self._subscribed:
            self._next_due = None
            return []
        with self._read() as db:
            if not self._anything(db):
                return []
        with self._write() as db:
            promoted = self._promote(db)
            deliveries = self._claim(db, nodes_of.make(db, self.owner), limit)
        if promoted:
            self._ringer.ring(QUEUES)
        elif len(deliveries) == limit:
            self._own_bell().ring(QUEUES)  # there may be more
        return deliveries

    def _anything(self, db: Connection) -> bool:
        """Return whether a message waits for us or is due, and note when the next one will be."""
        self._topology.refresh(db)
        self._next_due = db.execute("SELECT MIN(due) FROM message WHERE due > 0").fetchone()[0]
        if self._next_due is not None and self._next_due <= time.time():
            return True
        query = f"SELECT 1 FROM message WHERE {_WAITING} LIMIT 1"
        return any(
            db.execute(query, (self._topology.find(db, name),)).fetchone()
            for name in self._subscribed
        )

    def _promote(self, db: Connection) -> int:
        """Let what is due wait at the head of its queue; return how many."""
        if self._next_due is None or self._next_due > time.time():
            return 0
        return db.execute(
            f"UPDATE message SET seq = {_DUE_SEQ}, due = NULL WHERE id IN"
            " (SELECT id FROM message WHERE due <= ? ORDER BY due LIMIT ?)",
            (time.time(), _DUE_AT_ONCE),
        ).rowcount

    def _claim(self, db: Connection, owner: int, limit: int) -> list[Delivery]:
        """Lend out up to `limit` messages, shared evenly among the queues that have some."""
        self._turn += 1
        start = self._turn % len(self._subscribed)
        names = self._subscribed[start:] + self._subscribed[:start]
        deliveries: list[Delivery] = []
        while names and len(deliveries) < limit:
            share = -(-(limit - len(deliveries)) // len(names))
            left = []
            for name in names:
                wanted = min(share, limit - len(deliveries))
                lent = self._lend(db, name, owner, wanted)
                deliveries += lent
                if len(lent) == wanted:
                    left.append(name)
            names = left
        return deliveries

    def _lend(self, db: Connection, queue: str, owner: int, limit: int) -> list[Delivery]:
        rows = db.execute(
            "SELECT id, loan + 1, deliveries, redelivered, envelope FROM message"
            f" WHERE {_WAITING} {_SERVED_NEXT}",
            (self._topology.find(db, queue), limit),
        ).fetchall()
        db.executemany(
            "UPDATE message SET owner = ?, loan = ? WHERE id = ?",
            [(owner, row[1], row[0]) for row in rows],
        )
        return [
            Delivery(
                tag=f"{number}:{loan}:{deliveries}" if deliveries else f"{number}:{loan}",
                queue=queue,
                envelope=envelope,
                deliveries=deliveries,
                redelivered=bool(redelivered),
            )
            for number, loan, deliveries, redelivered, envelope in rows
        ]

    def ack(self, tags: Sequence[str], publications: Sequence[Publication] = ()) -> None:
        loans = _loans(tags)
        if not loans and not publications:
            self._check()
            return
        with self._write() as db:
            owner = nodes_of.find(db, self.owner)
            db.executemany(f"DELETE FROM message WHERE {_LOAN}", [(*loan, owner) for loan in loans])
            self._insert(db, publications)
        if publications:
            self._ringer.ring(QUEUES)

    def reject(self, tags: Sequence[str], *, requeue: bool, lost: bool = False) -> None:
        if not requeue:
            self.ack(tags)
            return
        with self._write() as db:
            owner = nodes_of.find(db, self.owner)
            db.executemany(
                "UPDATE message SET owner = 0, started = 0, redelivered = 1,"
                f" deliveries = deliveries + ? WHERE {_LOAN}",
                [(lost, *loan, owner) for loan in _loans(tags)],
            )
        self._ringer.ring(QUEUES)

    def park(self, tag: str, due: float, task_id: str) -> None:
        with self._write() as db:
            owner = nodes_of.find(db, self.owner)
            db.executemany(
                f"UPDATE message SET owner = 0, started = 0, due = ?, task_id = ? WHERE {_LOAN}",
                [(due, task_id, *loan, owner) for loan in _loans([tag])],
            )
        self._ringer.ring(QUEUES)

    def parked(self, limit: int = 1000) -> list[tuple[float, bytes]]:
        with self._read() as db:
            self._topology.refresh(db)
            queues = [self._topology.find(db, name) for name in self._subscribed]
            return db.execute(
                "SELECT due, envelope FROM message WHERE due IS NOT NULL"
                f" AND queue IN ({_marks(queues)}) ORDER BY due, id LIMIT ?",
                (*queues, limit),
            ).fetchall()

    def cancel_parked(self, task_ids: Iterable[str]) -> list[bytes]:
        dropped: list[bytes] = []
        with self._write() as db:
            for task_id in task_ids:
                rows = db.execute(
                    "DELETE FROM message WHERE task_id = ? AND due IS NOT NULL RETURNING envelope",
                    (task_id,),
                )
                dropped += [envelope for (envelope,) in rows]
        return dropped

    def take(self, queue: str, limit: int = 100) -> list[bytes]:
        bell = self._own_bell()
        bell.answer_to(QUEUES)
        if not self._subscribed:
            bell.quiet(QUEUES)
        self._keep(queue)
        with self._read() as db:
            self._topology.refresh(db)
            number = self._topology.find(db, queue)
            if not db.execute(f"SELECT 1 FROM message WHERE {_WAITING}", (number,)).fetchone():
                return []
        with self._write() as db:
            rows = db.execute(
                f"SELECT id, envelope FROM message WHERE {_WAITING} {_SERVED_NEXT}", (number, limit)
            ).fetchall()
            db.executemany("DELETE FROM message WHERE id = ?", [row[:1] for row in rows])
        if len(rows) == limit:
            bell.ring(QUEUES)
        return [envelope for _, envelope in rows]

    def _keep(self, queue: str) -> None:
        """Note now and then that a private queue is in use, lest it expires."""
        now = time.monotonic()
        if now - self._used.get(queue, -1e9) > 1.0:
            self._used[queue] = now
            with self._write() as db:
                db.execute("UPDATE queue SET used = ? WHERE name = ?", (now, queue))

    # --- broadcasts -------------------------------------------------------------------------

    def broadcast(self, exchange: str, routing_key: str, envelope: bytes) -> None:
        now = time.monotonic()
        with self._write() as db:
            last = db.execute(
                "INSERT INTO broadcast (seen, exchange, routing_key, envelope) VALUES (?, ?, ?, ?)",
                (now, exchange, routing_key, envelope),
            ).lastrowid
            if last is not None and last % 256 == 0:
                _trim_broadcasts(db, now)
        self._ringer.ring(BROADCASTS)

    def listen(self, exchange: str, pattern: str = "") -> None:
        with self._read() as db:
            if not self._patterns:
                self._last_heard = _last_broadcast(db)
        self._patterns.setdefault(exchange, set()).add(pattern)
        self._be_rung_for(BROADCASTS)

    def hear(self, limit: int = 100) -> list[Heard]:
        self._check()
        if not self._patterns or limit <= 0:
            return []
        bell = self._own_bell()
        bell.quiet(BROADCASTS)
        heard: list[Heard] = []
        with self._read() as db:
            last = _last_broadcast(db)
            rows = db.execute(
                "SELECT id, exchange, routing_key, envelope FROM broadcast"
                f" WHERE id > ? AND id <= ? AND exchange IN ({_marks(self._patterns)})"
                " ORDER BY id",
                (self._last_heard, last, *self._patterns),
            )
            for number, exchange, key, envelope in rows:
                if self._is_heard(exchange, key):
                    heard.append(Heard(exchange=exchange, routing_key=key, envelope=envelope))
                    if len(heard) == limit:
                        last = number
                        bell.ring(BROADCASTS)  # there may be more
                        break
            rows.close()
        self._last_heard = last
        return heard

    def _is_heard(self, exchange: str, key: str) -> bool:
        patterns = self._patterns[exchange]
        return any(topic_matches(pattern, key) if pattern else not key for pattern in patterns)

    # --- leases -----------------------------------------------------------------------------

    def register(self, name: str, record: Mapping[str, Any], lease: float) -> None:
        if self.owner is None:
            raise BrokerError("registering needs an owner: open_broker(url, owner=...)")
        with self._write() as db:
            nodes_of.register(db, self.owner, name, record, lease)
            db.executemany(
                "UPDATE queue SET used = ? WHERE name = ? AND expires IS NOT NULL",
                [(time.monotonic(), queue) for queue in self._subscribed],
            )
        if time.monotonic() - self._housekept > _HOUSEKEEPING:
            self._housekept = time.monotonic()
            self._keep_house()

    def _keep_house(self) -> None:
        """Drop what nobody wants any more: private queues, messages and broadcasts too old."""
        now = time.monotonic()
        with self._write() as db:
            expired = db.execute(
                "SELECT id FROM queue WHERE expires IS NOT NULL"
                " AND NOT (used <= ? AND ? < used + expires)",
                (now, now),
            ).fetchall()
            for (number,) in expired:
                db.execute("DELETE FROM message WHERE queue = ? AND owner = 0", (number,))
                self._topology.forget(db, number)
            for number, ttl in db.execute("SELECT id, ttl FROM queue WHERE ttl > 0").fetchall():
                db.execute(
                    f"DELETE FROM message WHERE {_WAITING} AND at < ?", (number, time.time() - ttl)
                )
            _trim_broadcasts(db, now)
        self._file.shrink()

    def retire(self) -> None:
        with self._write() as db:
            given_back = nodes_of.retire(db, nodes_of.find(db, self.owner))
        if given_back:
            self._ringer.ring(QUEUES)

    def nodes(self) -> list[NodeRecord]:
        with self._read() as db:
            return nodes_of.records(db)

    def started(self, tags: Sequence[str]) -> None:
        # The first loss counts in any case: only what was lost before need be noted, and its tag
        # has a third part.  No-op tasks are drained twice as fast for it.
        loans = _loans([tag for tag in tags if tag.count(":") == 2])
        self._check()
        if not loans:
            return
        with self._write() as db:
            owner = nodes_of.find(db, self.owner)
            db.executemany(
                f"UPDATE message SET started = 1 WHERE {_LOAN}", [(*loan, owner) for loan in loans]
            )

    def reclaim(self) -> list[str]:
        with self._read() as db:
            if not nodes_of.dead(db, self.owner):
                return []
        with self._write() as db:
            dead = nodes_of.dead(db, self.owner)  # another peer may have been first
            for number, _ in dead:
                nodes_of.bury(db, number)
        self._ringer.ring(QUEUES)
        return [name for _, name in dead]


def _loans(tags: Iterable[str]) -> list[tuple[int, int]]:
    """Return the (id, loan) of each tag, leaving out what cannot be one of ours."""
    loans = []
    for tag in tags:
        try:
            number, loan = map(int, tag.split(":")[:2])
        except ValueError:
            continue
        if max(abs(number), abs(loan)) < 1 << 63:
            loans.append((number, loan))
    return loans


def _by_queue(db: Connection, columns: str, which: str) -> dict[int, tuple[int, ...]]:
    rows = db.execute(f"SELECT queue, {columns} FROM message WHERE {which} GROUP BY queue")
    return {number: tuple(values) for number, *values in rows}


def _last_broadcast(db: Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'broadcast'").fetchone()
    return int(row[0]) if row else 0


def _trim_broadcasts(db: Connection, now: float) -> None:
    """Drop broadcasts that are old, from before a reboot, or too many."""
    db.execute(
        "DELETE FROM broadcast WHERE id <= ? OR NOT (seen <= ? AND ? < seen + ?)",
        (_last_broadcast(db) - _BROADCASTS_KEPT, now, now, _BROADCAST_AGE),
    )


def _marks(values: Collection[Any]) -> str:
    """Return as many question marks."""
    return ", ".join("?" * len(values))
