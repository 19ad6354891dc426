"""Steps of workflows in SQLite: one row a step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..sqlitefile import SqliteFile
from .base import Backend

STEP_TABLES = (
    "CREATE TABLE steps (id TEXT PRIMARY KEY, step BLOB NOT NULL, expires REAL)",
    "CREATE INDEX steps_by_expiry ON steps (expires) WHERE expires IS NOT NULL",
)

#: Ids per SELECT; SQLite allows 32,766 parameters, older builds 999.
_IDS_PER_QUERY = 500


class SqliteSteps(Backend):
    """The verbs of steps of the SQLite backend."""

    keeps_steps = True
    _file: SqliteFile

    def store_steps(self, steps: Mapping[str, bytes], lifetime: float | None) -> None:
        expires = time.time() + lifetime if lifetime else None
        with self._file.write() as db:
            db.executemany(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)",
                [(id, step, expires) for id, step in steps.items()],
            )

    def load_steps(self, ids: Sequence[str]) -> dict[str, bytes]:
        steps: dict[str, bytes] = {}
        with self._file.read() as db:
            for start in range(0, len(ids), _IDS_PER_QUERY):
                some = ids[start : start + _IDS_PER_QUERY]
                marks = ",".join("?" * len(some))
                rows = db.execute(
                    f"SELECT id, step FROM steps WHERE id IN ({marks})"
                    " AND (expires IS NULL OR expires > ?)",
                    (*some, time.time()),
                )
                steps.update(rows)
        return steps

    def forget_steps(self, ids: Sequence[str], remember: float) -> None:
        until = time.time() + remember
        with self._file.write() as db:
            db.executemany(
                "UPDATE steps SET expires = min(coalesce(expires, ?1), ?1) WHERE id = ?2",
                [(until, id) for id in ids],
            )
