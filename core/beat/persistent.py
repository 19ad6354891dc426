"""The scheduler that remembers, over a restart, what it has sent."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import ScheduleFileError, ScheduleFileHeld
from ..schedules import schedule as interval
from .entry import ScheduleEntry
from .scheduler import Scheduler
from .store import Record, Store, read_note, store_path, write_note

log = logging.getLogger("taskctl.beat")

#: Seconds between two tries to write to a file that could not be written.
_RETRY = 30.0


class PersistentScheduler(Scheduler):
    """Keeps the entries of the settings, and writes down each send.

    A run is written down after it was sent: who dies in between sends it once more, and loses
    nothing.  With `beat_sync_every` it is written after so many sends only.  A file that cannot
    be written any more is complained about; sending goes on.

    In an election the broker remembers too, in one step with each send; what is newer counts.  So
    with `elects` a file that another beat holds is no error: this one does without.
    """

    #: Write at once, when nothing else is due at the same moment.
    sync_every: float = 0.0

    def __init__(
        self,
        app: Any,
        *args: Any,
        schedule_filename: str | None = None,
        elects: bool = False,
        **kwargs: Any,
    ) -> None:
        self._elects = elects
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self._store: Store | None = None
        #: Entries that changed since they were written down, and how late they last were.
        self._changed: set[str] = set()
        self._late: dict[str, float] = {}
        self._next: dict[str, float | None] = {}
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Open the file and take up what it remembers.

        Raises ScheduleFileError if it cannot be used, ScheduleFileHeld if another beat does.
        """
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)
        try:
            self._open()
        except ScheduleFileHeld:
            if not self._elects:
                raise
            return  # by the leader, or whoever was: the broker knows more than the file
        try:
            assert self._store is not None
            self._take_up(self._store.load())
        except BaseException:
            self._let_go()
            raise

    def _open(self) -> None:
        store = Store(self.schedule_filename)
        store.open()
        self._store = store

    def _let_go(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    # --- elections ----------------------------------------------------------------------------

    def take_over(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        super().take_over(notes)
        known = self._file_of_leader()
        for name, note in notes.items():
            record = read_note(name, note)
            held = known.get(name)
            if record is None:
                log.warning("what is noted of %s at the broker cannot be read: %r", name, note)
            elif held is None or not held.total_run_count or held.last_run_at <= record.last_run_at:
                known[name] = record
        for entry in self.schedule.values():
            if entry.name in known:
                self._remember(entry, known[entry.name])
        self._find_next()
        gone: dict[str, Any] = dict.fromkeys(notes.keys() - self.schedule.keys())
        if self._store is not None:
            self._changed = set(self.schedule)
            self._do_sync()
        return gone | {
            name: write_note(self._record(entry)) for name, entry in self.schedule.items()
        }

    def _file_of_leader(self) -> dict[str, Record]:
        """Return what the file says; without it the broker remembers alone."""
        try:
            if self._store is None:
                self._open()
            assert self._store is not None
            return self._store.load()
        except ScheduleFileHeld as exc:
            log.info("%s; what is sent is remembered at the broker alone", exc)
        except ScheduleFileError as exc:
            self._let_go()
            log.error("%s; what is sent is remembered at the broker alone", exc)
        return {}

    def notes_on(self, entry: ScheduleEntry) -> dict[str, Any]:
        counts_for, due = self._plan.counts_for, self._plan.due
        now = entry.default_now()
        last = (counts_for or now).timestamp()
        record = self._record(entry)._replace(
            last_run_at=last,
            total_run_count=entry.total_run_count + self._plan.send,
            next_run_at=self._due_after(entry, counts_for or now),
            late=None if due is None else max(0.0, now.timestamp() - due.timestamp()),
        )
        return {entry.name: write_note(record)}

    def _due_after(self, entry: ScheduleEntry, last: datetime) -> float | None:
        missed = getattr(entry.schedule, "due_after", None)
        try:
            found = None if missed is None else missed(last)
        except NotImplementedError:
            found = None
        return None if found is None else float(found.timestamp())

    def stand_by(self) -> None:
        super().stand_by()
        self.sync()

    # --- the file -----------------------------------------------------------------------------

    def _take_up(self, known: dict[str, Record]) -> None:
        for name, entry in self.schedule.items():
            record = known.get(name)
            if record is not None:
                self._remember(entry, record)
        assert self._store is not None
        if not known and os.path.exists(self.schedule_filename):
            log.info(
                "%s is left as it is (Celery's, by its name): all entries begin anew",
                self.schedule_filename,
            )
        self._store.note((), forget=known.keys() - self.schedule.keys())
        self._write_all()

    def _remember(self, entry: ScheduleEntry, record: Record) -> None:
        entry.total_run_count = record.total_run_count
        if record.late is not None:
            self._late[entry.name] = record.late
        same = record.schedule == str(entry.schedule)
        # A time of day that was changed must not run for the times of it that are past.
        if same or isinstance(entry.schedule, interval):
            entry.last_run_at = datetime.fromtimestamp(record.last_run_at, UTC)

    def _find_next(self) -> None:
        self.next_due()
        self._next = {event.entry.name: event.time for event in self._heap or ()}

    def _write_all(self) -> None:
        self._find_next()
        self._changed = set(self.schedule)
        self._do_sync()

    def has_run(self, entry: ScheduleEntry, *, due_at: float, next_at: float | None) -> None:
        self._changed.add(entry.name)
        self._late[entry.name] = max(0.0, entry.default_now().timestamp() - due_at)
        self._next[entry.name] = next_at

    def should_sync(self) -> bool:
        if not self._changed:
            return False
        if self.sync_every_tasks:
            return self._tasks_since_sync >= self.sync_every_tasks
        return super().should_sync()

    def sync(self) -> None:
        """Write down what has run; if that fails, say so, and try again later."""
        if self._store is None or not self._changed:
            return
        names = [name for name in self._changed if name in self.schedule]
        try:
            self._store.note(self._record(self.schedule[name]) for name in names)
        except ScheduleFileError as exc:
            log.error("%s; sending goes on, a restart may send some entries again", exc)
            # The file may be a new one by now.
            self._changed = set(self.schedule)
            self.sync_every = _RETRY
            return
        self.sync_every = 0.0
        self._changed.clear()

    def _record(self, entry: ScheduleEntry) -> Record:
        return Record(
            name=entry.name,
            task=entry.task,
            schedule=str(entry.schedule),
            last_run_at=entry.last_run_at.timestamp(),
            total_run_count=entry.total_run_count,
            next_run_at=self._next.get(entry.name),
            late=self._late.get(entry.name),
        )

    def close(self) -> None:
        """Write down what has run, and let go of the file."""
        super().close()
        self._let_go()

    @property
    def info(self) -> str:
        return str(store_path(self.schedule_filename))
