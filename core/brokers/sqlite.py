"""The SQLite broker: one file on a local disk, shared by many processes; the default.

A message is one row, which waits, is on loan or is held (`sqlite_schema`).  Every verb is one
short transaction.  Idle readers are woken by doorbells (`bell`) in the folder `<file>-bells`.
A broker must not be used after a fork; open another one, in the child.

Options: `synchronous`, "normal" (default: a power cut may take back the last moments, never more)
or "full" (every publish reaches the disk before it returns; slower by far).  Options of other
brokers are left alone, so that an app can change its URL and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from ..errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from ..sqlitefile import SqliteFile, path_of_url
from ..wire.message import Publication
from ..wire.queues import PrivateQueue, Queue
from . import sqlite_broadcasts as broadcasts
from . import sqlite_messages as messages
from . import sqlite_nodes as owners
from . import sqlite_revoked as revocations
from . import sqlite_topology as topology
from .base import Binding, Broker, Delivery, Heard, NodeRecord, QueueStat, Waiting
from .bell import BROADCASTS, QUEUES, Ringer, SharedBell
from .leading import Leadership
from .sqlite_leading import SqliteLeadership
from .sqlite_schema import MIGRATIONS
from .sqlite_topology import Topology, lifetime

#: Seconds between two looks, with doorbells and where the file system has none.
_LOOK, _LOOK_WITHOUT_BELLS = 1.0, 0.05

#: Rows that one transaction of `purge` or `delete` drops; it holds the write lock some 50 ms.
_PURGED_AT_ONCE = 10_000

#: Seconds between two notes that a private queue is in use; Celery's reply queues live for 10.
_USED_EVERY = 1.0

#: Seconds between two rounds of housekeeping by one process.
_HOUSEKEEPING = 10.0


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
        self._lost = False
        self._bell: SharedBell | None = None
        self._ringer = Ringer(self._folder)
        self._topology = Topology()
        self._subscribed: list[str] = []
        self._turn = 0
        self._listener = broadcasts.Listener()
        self._next_due: float | None = None
        self._used: dict[str, float] = {}
        self._housekept = time.monotonic()

    # --- the line ---------------------------------------------------------------------------

    def open(self, timeout: float = 4.0) -> None:
        if self._pid == os.getpid() and not self._lost:
            return
        self.close()
        self._file.timeout = timeout
        self._file.open()
        self._pid, self._lost = os.getpid(), False
        self._ringer = Ringer(self._folder)
        self._topology = Topology()
        with self._read() as db:
            self._listener.rewind(db)
        if self._subscribed:
            self._own_bell().answer_to(QUEUES)
        if self._listener.patterns:
            self._own_bell().answer_to(BROADCASTS)

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

    def _own_bell(self) -> SharedBell:
        self._check()
        if self._bell is None:
            self._bell = SharedBell(self._folder, self._file.mode & 0o660)
            self._bell.open()
        return self._bell

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
        """Give the connection for SELECTs, knowing the newest topology."""
        self._check()
        with self._file.read() as db:
            self._topology.refresh(db)
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
            self._lost = not self._file.connected
            raise

    # --- queues -----------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        private = lifetime(queue) is not None
        if private:
            self._own_bell().answer_to(QUEUES)  # its maker waits for what comes there
        with self._read() as db:
            if not private and self._topology.is_declared(db, queue):
                return
        with self._write() as db:
            self._topology.declare(db, queue)

    def delete(self, queue: str) -> int:
        dropped = self._drop(queue, messages.drop) + self._drop(queue, messages.drop_held)
        with self._write() as db:
            number = self._topology.find(db, queue)
            if number is not None:
                dropped += self._remove(db, number)
        return dropped

    def delete_empty(self, queue: str) -> bool:
        with self._write() as db:
            number = self._topology.find(db, queue)
            if number is None:
                return True
            if messages.is_waiting(db, number) or messages.held(db, [number], 1):
                return False
            self._topology.forget(db, number)
            return True

    def _remove(self, db: Connection, queue: int) -> int:
        newest, all_ = messages.last(db), -1
        dropped = messages.drop(db, queue, newest, all_)
        dropped += messages.drop_held(db, queue, newest, all_)
        self._topology.forget(db, queue)
        return dropped

    def queues(self) -> list[QueueStat]:
        with self._read() as db:
            return messages.stats(db)

    def exists(self, queue: str) -> bool:
        with self._read() as db:
            return self._topology.find(db, queue) is not None

    def bindings(self) -> list[Binding]:
        with self._read() as db:
            return self._topology.bindings(db)

    def size(self, queue: str) -> int:
        with self._read() as db:
            return messages.count(db, self._topology.find(db, queue))

    def browse(self, queue: str, limit: int = 50) -> list[Waiting]:
        with self._read() as db:
            return messages.browse(db, self._topology.find(db, queue), limit)

    def swap(self, queue: str, envelope: bytes, publications: Sequence[Publication] = ()) -> bool:
        with self._write() as db:
            found = messages.remove(db, self._topology.find(db, queue), envelope)
            if found:
                messages.insert(db, self._topology, publications)
        if found and publications:
            self._ringer.ring(QUEUES)
        return found

    def purge(self, queue: str) -> int:
        return self._drop(queue, messages.drop)

    def pause(self, queue: str) -> None:
        with self._write() as db:
            topology.pause(db, queue)

    def resume(self, queue: str) -> bool:
        with self._write() as db:
            return topology.resume(db, queue)

    def paused(self) -> dict[str, float]:
        with self._read() as db:
            return topology.paused(db)

    def _drop(self, queue: str, drop: Callable[[Connection, int, int, int], int]) -> int:
        """Drop what is there now, in steps that leave others room between; return how many."""
        with self._read() as db:
            newest = messages.last(db)
        dropped = 0
        while True:
            with self._write() as db:
                number = self._topology.find(db, queue)
                if number is None:
                    return dropped
                count = drop(db, number, newest, _PURGED_AT_ONCE)
            dropped += count
            if count < _PURGED_AT_ONCE:
                return dropped

    # --- messages ---------------------------------------------------------------------------

    def publish(self, publications: Sequence[Publication]) -> None:
        if publications:
            with self._write() as db:
                messages.insert(db, self._topology, publications)
            self._ringer.ring(QUEUES)

    def subscribe(self, queue: Queue) -> None:
        self.declare(queue)
        if queue.name not in self._subscribed:
            self._subscribed.append(queue.name)
        self._own_bell().answer_to(QUEUES)
        self._own_bell().ring(QUEUES)  # what waits there already

    def unsubscribe(self, queue: str) -> None:
        self._check()
        if queue in self._subscribed:
            self._subscribed.remove(queue)

    def receive(self, limit: int) -> list[Delivery]:
        """Return up to `limit` deliveries; never wait.

        A limit of 0 takes nothing, but quiets the descriptor until something new comes.
        """
        if self.owner is None:
            raise BrokerError("receiving needs an owner: open_broker(url, owner=...)")
        self._own_bell().quiet(QUEUES)  # before looking: what comes later rings again
        if limit <= 0 or not self._subscribed:
            self._next_due = None
            return []
        with self._read() as db:
            self._next_due = messages.next_due(db)
            if not self._is_due() and not self._anything_waits(db):
                return []
        with self._write() as db:
            promoted = self._is_due() and messages.promote(db)
            deliveries = self._claim(db, owners.make(db, self.owner), limit)
        if promoted:
            self._ringer.ring(QUEUES)
        elif len(deliveries) == limit:
            self._own_bell().ring(QUEUES)  # there may be more
        return deliveries

    def _is_due(self) -> bool:
        return self._next_due is not None and self._next_due <= time.time()

    def _anything_waits(self, db: Connection) -> bool:
        found = (self._topology.find(db, name) for name in self._subscribed)
        return any(messages.is_waiting(db, queue) for queue in found)

    def _claim(self, db: Connection, owner: int, limit: int) -> list[Delivery]:
        """Lend out up to `limit` messages, shared evenly among the queues that have some."""
        self._turn += 1
        start = self._turn % len(self._subscribed)
        names = self._subscribed[start:] + self._subscribed[:start]
        deliveries: list[Delivery] = []
        while names and len(deliveries) < limit:
            share = -(-(limit - len(deliveries)) // len(names))
            unexhausted = []
            for name in names:
                wanted = min(share, limit - len(deliveries))
                lent = messages.lend(db, self._topology.find(db, name), name, owner, wanted)
                deliveries += lent
                if len(lent) == wanted:
                    unexhausted.append(name)
            names = unexhausted
        return deliveries

    def ack(self, tags: Sequence[str], publications: Sequence[Publication] = ()) -> None:
        loans = messages.loans(tags)
        if loans or publications:
            with self._write() as db:
                messages.end(db, owners.find(db, self.owner), loans)
                messages.insert(db, self._topology, publications)
        if publications:
            self._ringer.ring(QUEUES)

    def reject(self, tags: Sequence[str], *, requeue: bool, lost: bool = False) -> None:
        if not requeue:
            self.ack(tags)
            return
        with self._write() as db:
            owner = owners.find(db, self.owner)
            messages.give_back(db, owner, messages.loans(tags), lost=lost)
        self._ringer.ring(QUEUES)

    def park(self, tag: str, due: float, task_id: str) -> None:
        with self._write() as db:
            owner = owners.find(db, self.owner)
            messages.hold(db, owner, messages.loans([tag]), due, task_id)
        self._ringer.ring(QUEUES)

    def parked(
        self, limit: int = 1000, queues: Sequence[str] | None = None
    ) -> list[tuple[float, bytes]]:
        wanted = self._subscribed if queues is None else queues
        with self._read() as db:
            numbers = [self._topology.find(db, name) for name in wanted]
            return messages.held(db, numbers, limit)

    def cancel_parked(self, task_ids: Iterable[str]) -> list[bytes]:
        with self._write() as db:
            return [envelope for id_ in task_ids for envelope in messages.cancel(db, id_)]

    def cancel_waiting(self, task_ids: Iterable[str]) -> list[bytes]:
        with self._write() as db:
            return revocations.cancel_waiting(db, list(task_ids))

    # --- revocations --------------------------------------------------------------------------

    def note_revoked(self, marks: Iterable[str], seconds: float) -> None:
        with self._write() as db:
            revocations.note(db, marks, seconds)

    def revoked_marks(self) -> dict[str, float]:
        with self._read() as db:
            return revocations.marks(db)

    def take(self, queue: str, limit: int = 100) -> list[bytes]:
        bell = self._own_bell()
        bell.answer_to(QUEUES)
        if not self._subscribed:  # else `receive` does it
            bell.quiet(QUEUES)
        self._keep(queue)
        with self._read() as db:
            if not messages.is_waiting(db, self._topology.find(db, queue)):
                return []
        with self._write() as db:
            taken = messages.pop(db, self._topology.find(db, queue), limit)
        if len(taken) == limit:
            bell.ring(QUEUES)  # there may be more
        return taken

    def _keep(self, queue: str) -> None:
        """Note now and then that a private queue is in use, lest it expires."""
        now = time.monotonic()
        if now - self._used.get(queue, 0.0) > _USED_EVERY:
            self._used[queue] = now
            with self._write() as db:
                db.execute("UPDATE queue SET used = ? WHERE name = ?", (now, queue))

    # --- broadcasts -------------------------------------------------------------------------

    def broadcast(self, exchange: str, routing_key: str, envelope: bytes) -> None:
        with self._write() as db:
            broadcasts.say(db, exchange, routing_key, envelope)
        self._ringer.ring(BROADCASTS)

    def listen(self, exchange: str, pattern: str = "", queue: PrivateQueue | None = None) -> None:
        with self._read() as db:
            self._listener.listen(db, exchange, pattern)
        self._own_bell().answer_to(BROADCASTS)

    def hear(self, limit: int = 100) -> list[Heard]:
        self._check()
        if not self._listener.patterns or limit <= 0:
            return []
        self._own_bell().quiet(BROADCASTS)
        with self._read() as db:
            heard = self._listener.hear(db, limit)
        if len(heard) == limit:
            self._own_bell().ring(BROADCASTS)  # there may be more
        return heard

    # --- leases -----------------------------------------------------------------------------

    def register(self, name: str, record: Mapping[str, Any], lease: float) -> None:
        if self.owner is None:
            raise BrokerError("registering needs an owner: open_broker(url, owner=...)")
        with self._write() as db:
            owners.register(db, self.owner, name, record, lease)
            db.executemany(
                "UPDATE queue SET used = ? WHERE name = ? AND expires IS NOT NULL",
                [(time.monotonic(), queue) for queue in self._subscribed],
            )
        if time.monotonic() - self._housekept > _HOUSEKEEPING:
            self._housekept = time.monotonic()
            self._keep_house()

    def _keep_house(self) -> None:
        """Drop what nobody wants any more: private queues, messages and broadcasts too old."""
        with self._write() as db:
            for queue in self._topology.expired(db):
                self._remove(db, queue)
            for queue, ttl in db.execute("SELECT id, ttl FROM queue WHERE ttl > 0").fetchall():
                messages.drop_older(db, queue, time.time() - ttl)
            broadcasts.trim(db)
        self._file.shrink()

    def retire(self) -> None:
        with self._write() as db:
            given_back = owners.retire(db, owners.find(db, self.owner))
        if given_back:
            self._ringer.ring(QUEUES)

    def nodes(self) -> list[NodeRecord]:
        with self._read() as db:
            return owners.records(db)

    def started(self, tags: Sequence[str]) -> None:
        # The first loss counts in any case: only what was lost before need be noted, and its tag
        # has a third part.  So no-op tasks cost two transactions and not three.
        loans = messages.loans(tag for tag in tags if tag.count(":") == 2)
        if loans:
            with self._write() as db:
                messages.start(db, owners.find(db, self.owner), loans)

    def reclaim(self) -> list[str]:
        with self._read() as db:
            if not owners.dead(db, self.owner):
                return []
        with self._write() as db:
            dead = owners.dead(db, self.owner)  # another peer may have been first
            for number, _ in dead:
                owners.bury(db, number)
        self._ringer.ring(QUEUES)
        return [name for _, name in dead]

    # --- leading ----------------------------------------------------------------------------

    def leadership(self, name: str, candidate: str) -> Leadership:
        return SqliteLeadership(
            name,
            candidate,
            read=self._read,
            write=self._write,
            insert=lambda db, publications: messages.insert(db, self._topology, publications),
            ring=lambda: self._ringer.ring(QUEUES),
        )
