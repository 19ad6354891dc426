"""Beat's memory: a SQLite file that says when each entry was last sent, and is due again.

The file is named after the setting, with `.sqlite` at its end, so that the file of the plain name,
which is Celery's, stays as it is.  Every write is on the disk when it returns: after a power cut
an entry is sent once more at most, and none is left out.  Beside it lies a pidfile, locked while a
beat uses the file: there is one beat to a file.  Whoever only looks takes no lock.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import PidfileError, PidfileHeld, ScheduleFileError, ScheduleFileHeld
from ..pidfile import LivePid, Pidfile, read_pid
from ..sqlitefile import SqliteFile
from ..version import __version__

#: Endings by which a name is taken as it is.
_ENDINGS = (".sqlite", ".sqlite3")

MIGRATIONS = (
    (
        "CREATE TABLE beat_entries (name TEXT PRIMARY KEY, task TEXT NOT NULL,"
        " schedule TEXT NOT NULL, last_run_at REAL NOT NULL, total_run_count INTEGER NOT NULL,"
        " next_run_at REAL, late REAL) WITHOUT ROWID",
        "CREATE TABLE beat_facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)


class Record(NamedTuple):
    """What is remembered of one entry; times are Unix seconds.

    `last_run_at` is when it began to count if `total_run_count` is 0.  `late` is how many seconds
    after its time it was last sent, `next_run_at` None if it is never due again.
    """

    name: str
    task: str
    schedule: str
    last_run_at: float
    total_run_count: int
    next_run_at: float | None
    late: float | None


def write_note(record: Record) -> dict[str, Any]:
    """Return a record as it is noted at the broker, under the entry's name."""
    facts = record._asdict()
    del facts["name"]
    return facts


def read_note(name: str, note: Any) -> Record | None:
    """Return what a note says; None for one that cannot be read."""
    try:
        return Record(
            name=name,
            task=str(note["task"]),
            schedule=str(note["schedule"]),
            last_run_at=float(note["last_run_at"]),
            total_run_count=int(note["total_run_count"]),
            next_run_at=None if note["next_run_at"] is None else float(note["next_run_at"]),
            late=None if note["late"] is None else float(note["late"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


class Store:
    """The file of one beat, from `open` to `close`.

    Raises ScheduleFileError for what is wrong with the file, wherever it comes to light.
    """

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self.path = store_path(name)
        self._pidfile = Pidfile(f"{self.path}.pid")
        self._file = SqliteFile(
            self.path,
            part="beat",
            migrations=MIGRATIONS,
            refused=ScheduleFileError,
            gone=ScheduleFileError,
            # A tick that was sent must not be forgotten in a power cut.
            synchronous="FULL",
        )

    def open(self) -> None:
        """Take the file; ScheduleFileHeld if another beat has it."""
        try:
            self._pidfile.acquire()
        except PidfileHeld as exc:
            raise ScheduleFileHeld(str(self.path), exc.pid) from exc
        except PidfileError as exc:
            reason = str(exc.__cause__ or exc)
            raise ScheduleFileError(
                f"cannot write beside {self.path}: {reason}; name another file with --schedule"
            ) from exc
        try:
            self._file.open()
            self._tell_who()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._pidfile.release()

    def _tell_who(self) -> None:
        facts = {"host": socket.gethostname(), "pid": str(os.getpid()), "version": __version__}
        with self._file.write() as db:
            db.executemany("INSERT OR REPLACE INTO beat_facts VALUES (?, ?)", facts.items())

    def load(self) -> dict[str, Record]:
        """Return what is remembered, by name."""
        return _load(self._file)

    def note(self, records: Iterable[Record], forget: Iterable[str] = ()) -> None:
        """Remember these, in one step, and forget the names; on the disk when it returns."""
        with self._file.write() as db:
            db.executemany("DELETE FROM beat_entries WHERE name = ?", [(n,) for n in forget])
            db.executemany(
                "INSERT OR REPLACE INTO beat_entries VALUES (?, ?, ?, ?, ?, ?, ?)", list(records)
            )


class Glance(NamedTuple):
    """What a look at a file shows; `beat` is the live process that uses it."""

    path: Path
    beat: LivePid | None
    records: list[Record]
    host: str | None


def look(name: str | os.PathLike[str]) -> Glance | None:
    """Return what is in a file, taking no lock; None if it is not there.

    Raises ScheduleFileError if it cannot be read.
    """
    path = store_path(name)
    if not path.exists():
        return None
    try:
        holder = read_pid(f"{path}.pid")
    except PidfileError as exc:
        raise ScheduleFileError(str(exc)) from exc
    file = SqliteFile(
        path,
        part="beat",
        migrations=MIGRATIONS,
        refused=ScheduleFileError,
        gone=ScheduleFileError,
    )
    file.open()
    try:
        records = sorted(_load(file).values())
        with file.read() as db:
            facts = dict(db.execute("SELECT key, value FROM beat_facts"))
    finally:
        file.close()
    return Glance(path, holder if isinstance(holder, LivePid) else None, records, facts.get("host"))


def store_path(name: str | os.PathLike[str]) -> Path:
    """Return the absolute path of the file that a name stands for."""
    path = os.path.abspath(os.path.expanduser(name))
    return Path(path if path.endswith(_ENDINGS) else f"{path}.sqlite")


def _load(file: SqliteFile) -> dict[str, Record]:
    with file.read() as db:
        rows = db.execute(
            "SELECT name, task, schedule, last_run_at, total_run_count, next_run_at, late"
            " FROM beat_entries"
        )
        return {row[0]: Record(*row) for row in rows}
