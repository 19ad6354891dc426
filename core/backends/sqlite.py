"""Results in a SQLite file, by default the one the broker keeps its queues in.

A waiting client looks at the file's change counter, not at its rows: some microseconds every
few milliseconds, and a query only after somebody has committed something.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import BackendError
from ..sqlitefile import SqliteFile, path_of_url
from ..wire.outcome import StoredMeta
from .base import is_news
from .sqlite_chords import CHORD_TABLES, SqliteChords
from .sqlite_steps import STEP_TABLES, SqliteSteps
from .watching import Watch

_MIGRATIONS = (
    (
        "CREATE TABLE results ("
        " task_id TEXT PRIMARY KEY, state TEXT NOT NULL, meta BLOB NOT NULL, expires REAL)",
        "CREATE INDEX results_by_expiry ON results (expires) WHERE expires IS NOT NULL",
        "CREATE TABLE saved_groups ( group_id TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL)",
        "CREATE INDEX saved_groups_by_expiry ON saved_groups (expires) WHERE expires IS NOT NULL",
    ),
    CHORD_TABLES,
    STEP_TABLES,
)

#: ?1 task id, ?2 state, ?3 meta, ?4 unix time it expires or NULL, ?5 now.
_STORE = """
INSERT INTO results (task_id, state, meta, expires) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (task_id) DO UPDATE
SET state = excluded.state, meta = excluded.meta, expires = excluded.expires
WHERE results.state <> 'SUCCESS' OR results.expires <= ?5
"""

#: Seconds between two looks at the change counter (shortest, longest), and the part of the time
#: waited so far that lies between: so a result is heard of a twentieth late at most, and a client
#: that waits long takes under 1 % of a core.
_NAPS, _NAP_PART = (0.001, 0.02), 1 / 20
#: Ids per SELECT; SQLite allows 32,766 parameters, older builds 999.
_IDS_PER_QUERY = 500
#: How often a storing process also sweeps (seconds), and how many rows it drops at once, so that
#: the write lock is held for milliseconds.
_SWEEP_EVERY, _SWEEP_ROWS = 60.0, 1000


class SqliteBackend(SqliteChords, SqliteSteps):
    """Results in a local file, shared by many processes.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, or `sqlite://` for `.taskctl/queue.db`.
    May be used after a fork, in both processes.
    """

    compresses = True

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._file = SqliteFile(
            path_of_url(url),
            part="results",
            migrations=_MIGRATIONS,
            refused=BackendError,
            gone=BackendError,
        )
        self._own_writes = 0
        self._next_sweep = 0.0

    def open(self) -> None:
        self._file.open()

    def close(self) -> None:
        self._file.close()

    def store(self, batch: Sequence[StoredMeta]) -> None:
        if not batch:
            return
        now = time.time()
        rows = [
            (item.task_id, item.state, item.meta, self._expiry(item.state, now), now)
            for item in batch
        ]
        with self._file.write() as db:
            db.executemany(_STORE, rows)
            if time.monotonic() >= self._next_sweep:
                self._next_sweep = time.monotonic() + _SWEEP_EVERY
                _sweep(db, "results", now)
                _sweep(db, "steps", now)
                self._sweep_chords(db, now, _SWEEP_ROWS)
            self._own_writes += 1

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas: dict[str, bytes] = {}
        now = time.time()
        with self._file.read() as db:
            for some in _portions(task_ids):
                marks = ",".join("?" * len(some))
                rows = db.execute(
                    f"SELECT task_id, meta FROM results WHERE task_id IN ({marks})"
                    " AND (expires IS NULL OR expires > ?)",
                    (*some, now),
                )
                metas.update(rows)
        return metas

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        shortest, longest = _NAPS
        began = time.monotonic()
        while True:
            seen = self._change_mark()  # before looking, or a commit in between goes unnoticed
            metas = self.load(task_ids)
            if is_news(metas, known):
                return metas
            while seen == self._change_mark():
                now = time.monotonic()
                remaining = longest if deadline is None else deadline - now
                if remaining <= 0:
                    return metas
                time.sleep(min(max((now - began) * _NAP_PART, shortest), longest, remaining))

    def watch(self) -> Watch:
        return Watch(self.load, _NAPS, self._change_mark)

    def _change_mark(self) -> tuple[Any, ...]:
        """Return what differs after any commit: SQLite's counter of others' on this connection,
        and ours of our own."""
        with self._file.read() as db:
            return db, db.execute("PRAGMA data_version").fetchone(), self._own_writes

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        with self._file.read() as db:
            rows = db.execute(
                "SELECT task_id FROM results WHERE substr(task_id, 1, ?) = ?"
                " AND (expires IS NULL OR expires > ?) LIMIT ?",
                (len(prefix), prefix, time.time(), limit),
            )
            return [str(row[0]) for row in rows]

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._file.write() as db:
            db.executemany("DELETE FROM results WHERE task_id = ?", [(id,) for id in task_ids])
            self._own_writes += 1

    def store_group(self, group_id: str, value: bytes) -> None:
        row = (group_id, value, self._expiry("SUCCESS", time.time()))
        with self._file.write() as db:
            db.execute("INSERT OR REPLACE INTO saved_groups VALUES (?, ?, ?)", row)

    def load_group(self, group_id: str) -> bytes | None:
        with self._file.read() as db:
            row = db.execute(
                "SELECT value FROM saved_groups"
                " WHERE group_id = ? AND (expires IS NULL OR expires > ?)",
                (group_id, time.time()),
            ).fetchone()
        return bytes(row[0]) if row else None

    def forget_group(self, group_id: str) -> None:
        with self._file.write() as db:
            db.execute("DELETE FROM saved_groups WHERE group_id = ?", (group_id,))

    def expire(self) -> int:
        dropped = 0
        for table in ("results", "saved_groups", "steps"):
            more = True
            while more:
                with self._file.write() as db:
                    swept = _sweep(db, table, time.time())
                dropped += swept
                more = swept == _SWEEP_ROWS
        with self._file.write() as db:
            dropped += self._sweep_chords(db, time.time(), _SWEEP_ROWS)
        return dropped

    def _expiry(self, state: str, now: float) -> float | None:
        lifetime = self.lifetime(state)
        return None if lifetime is None else now + lifetime


def _portions(task_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the ids in portions that fit one query."""
    for start in range(0, len(task_ids), _IDS_PER_QUERY):
        yield task_ids[start : start + _IDS_PER_QUERY]


def _sweep(db: Any, table: str, now: float) -> int:
    """Drop some rows that have outlived their time; return how many."""
    cursor = db.execute(
        f"DELETE FROM {table} WHERE rowid IN"
        f" (SELECT rowid FROM {table} WHERE expires <= ? LIMIT ?)",
        (now, _SWEEP_ROWS),
    )
    return int(cursor.rowcount)
