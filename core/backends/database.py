"""Results in an SQL database, in Celery's tables, through SQLAlchemy.

`db+` stands before any URL that SQLAlchemy takes.  What a row holds is encoded with
`result_serializer`, field by field; rows are taken apart and put together here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from ..errors import ContentDisallowed, DecodeError
from ..wire.outcome import StoredMeta
from . import rows
from .database_engine import guard_of, make_engine, may_pass
from .database_tables import NAME_LENGTH, STATE_LENGTH, Tables
from .polling import PollingBackend, logger

#: Ids per SELECT; SQL Server allows 2,100 parameters, older SQLite 999.
_IDS_PER_QUERY = 500
#: Dialect -> its INSERT that can do something else about a row that is there.
UPSERTS: dict[str, Callable[[Any], Any]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}
#: What rows of result_extended hold as text, and what encoded.
_TEXTS, _ENCODED = ("name", "worker", "queue"), ("args", "kwargs")


class DatabaseBackend(PollingBackend):
    """Results in two tables; `db+postgresql+psycopg://user@host/name`, `db+sqlite:////path`.

    Connections are made as threads need them; after a fork, new ones are made.  How long a
    result is kept is up to its readers, as with Celery: the tables have no column for it.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._serializer = str(self.options.get("result_serializer") or "json")
        self._accept = rows.accepted(self.options)
        self.tables = Tables(
            self.options.get("database_table_names") or {},
            self.options.get("database_table_schemas") or {},
        )
        self._lock = threading.Lock()
        self._ready = False
        self._engine = make_engine(url.partition("+")[2], self.options, self.where)
        self._guard = guard_of(self._engine)
        self._zoned = self._engine.dialect.name == "postgresql"

    # --- the engine -------------------------------------------------------------------------

    def open(self) -> None:
        with self._errors(), self._guard:
            if self.options.get("database_create_tables_at_setup", True):
                self._prepare()
            else:
                with self._engine.connect():
                    pass  # there is a server, and it lets us in

    def close(self) -> None:
        with self._guard:
            self._engine.dispose(close=not self.forked())
            self._ready = False

    def _prepare(self) -> None:
        if self.forked():
            self._engine.dispose(close=False)
        if not self._ready:
            with self._lock:
                if not self._ready:
                    self.tables.prepare(self._engine)
                    self._ready = True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what went wrong in our words."""
        try:
            yield
        except DBAPIError as exc:
            raise self.error(exc.orig, away=may_pass(exc)) from exc
        except SQLAlchemyError as exc:
            raise self.error(exc, away=isinstance(exc, sa.exc.TimeoutError)) from exc

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, taken back on an error."""
        with self._errors(), self._guard:
            self._prepare()
            with self._engine.begin() as connection:
                yield connection

    # --- times ------------------------------------------------------------------------------
    #
    # The columns have no zone.  Celery hands over times in UTC with their zone: PostgreSQL keeps
    # them as those of the session's zone, all others as they are.

    def _bound(self, when: datetime) -> datetime:
        return when if self._zoned else when.replace(tzinfo=None)

    def _ago(self, seconds: float) -> datetime:
        return self._bound(datetime.now(UTC) - timedelta(seconds=seconds))

    def _end(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return a column of times, to be read as they were written."""
        if not self._zoned:
            return column
        zone = sa.func.current_setting("TimeZone")
        read = sa.func.timezone(zone, column, type_=sa.DateTime(timezone=True))
        return read.label(column.name)

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        found = (self._row(item) for item in batch)
        # In the order of ids, so that two batches never wait for rows of each other.
        values = sorted((row for row in found if row), key=lambda row: str(row["task_id"]))
        if values:
            with self._connection() as connection:
                self._upsert(connection, values)

    def _upsert(self, connection: sa.Connection, values: list[dict[str, Any]]) -> None:
        """Write rows in one step each, never over a SUCCESS."""
        make = UPSERTS.get(self._engine.dialect.name)
        if make is None:
            for row in values:
                self._update_or_insert(connection, row)
            return
        table = self.tables.task
        statement = make(table)
        given = {name: statement.excluded[name] for name in values[0] if name != "task_id"}
        if "stamps" in given:
            given["stamps"] = sa.func.coalesce(given["stamps"], table.c.stamps)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["task_id"], set_=given, where=self._open_to_change()
            ),
            values,
        )

    def _update_or_insert(self, connection: sa.Connection, row: dict[str, Any]) -> None:
        """Write one row, for databases whose way to do it in one step is not known here."""
        table = self.tables.task
        mine = table.c.task_id == row["task_id"]
        changed = {k: v for k, v in row.items() if k != "stamps" or v is not None}
        for _ in range(2):  # somebody else may insert it between the two
            update = table.update().where(mine, self._open_to_change()).values(changed)
            if connection.execute(update).rowcount:
                return
            if connection.execute(sa.select(table.c.id).where(mine)).first() is not None:
                return
            try:
                with connection.begin_nested():
                    connection.execute(table.insert().values(row))
                return
            except IntegrityError:
                continue

    def _open_to_change(self) -> sa.ColumnElement[bool]:
        """Say which rows may be written over: all but a SUCCESS that is still kept."""
        table = self.tables.task
        free = sa.or_(table.c.status != "SUCCESS", table.c.status.is_(None))
        lifetime = self.lifetime("SUCCESS")
        return free if lifetime is None else sa.or_(free, table.c.date_done <= self._ago(lifetime))

    def _row(self, item: StoredMeta) -> dict[str, Any] | None:
        """Return the columns of a meta; None for what no row can hold."""
        too_long = len(item.task_id) > NAME_LENGTH and self._engine.dialect.name != "sqlite"
        if too_long or rows.text(item.task_id) != item.task_id:
            text = "%s cannot keep the result of task %r: the column of its id holds %d characters"
            logger.error(text, self.where, item.task_id, NAME_LENGTH)
            return None
        taken = rows.opened(item, self.where, self._serializer)
        if taken is None:
            return None
        item, fields, serializer = taken
        done = rows.done_at(fields)
        stamps = rows.stamps_of(fields)
        row = {
            "task_id": item.task_id,
            "status": item.state[:STATE_LENGTH],
            "result": rows.write(fields.get("result"), serializer),
            "date_done": done and self._bound(done),
            "traceback": rows.text(fields.get("traceback")),
            "children": rows.write(fields["children"], serializer)
            if fields.get("children")
            else None,
            "retries": fields.get("retries"),
            "stamps": rows.write(stamps, serializer) if stamps else None,
        }
        for name in _TEXTS:
            value = rows.text(fields.get(name))
            row[name] = value and value[:NAME_LENGTH]
        for name in _ENCODED:
            row[name] = rows.write(fields[name], serializer) if name in fields else None
        return {name: value for name, value in row.items() if name in self._columns()}

    def _columns(self) -> frozenset[str]:
        with self._errors(), self._guard:
            self._prepare()
        return self.tables.present

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas: dict[str, bytes] = {}
        if not task_ids:
            return metas
        wanted = [id for id in dict.fromkeys(task_ids) if rows.text(id) == id]
        columns = [c for c in self.tables.task.columns if c.name in self._columns()]
        query = sa.select(*(self._end(c) if c.name == "date_done" else c for c in columns))
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            some = wanted[start : start + _IDS_PER_QUERY]
            with self._connection() as connection:
                chosen = query.where(self.tables.task.c.task_id.in_(some))
                found = connection.execute(chosen).mappings().all()
            for row in found:
                if self._alive(row["status"], row["date_done"]):
                    metas[row["task_id"]] = self._meta(row)
        return metas

    def _meta(self, row: Mapping[Any, Any]) -> bytes:
        try:
            decoded = {
                name: rows.read_stored(row.get(name), self._serializer, self._accept)
                for name in ("result", "children", "stamps", *_ENCODED)
            }
            more: dict[str, Any] = {}
            if any(row.get(name) is not None for name in rows.EXTENDED):
                more = {name: decoded.get(name, row.get(name)) for name in rows.EXTENDED}
            fields = rows.meta_fields(
                row["task_id"],
                row["status"],
                decoded["result"],
                row["traceback"],
                decoded["children"],
                rows.done_text(row["status"], row["date_done"]),
                {**more, **rows.read_stamps(decoded["stamps"])},
            )
            return rows.put_together(fields, self._serializer, self._accept)
        except (DecodeError, ContentDisallowed) as exc:
            return rows.refused(exc, self._serializer)

    def _alive(self, state: str, done: datetime | None) -> bool:
        lifetime = self.lifetime(state)
        if lifetime is None or done is None:
            return True
        done = done if done.tzinfo else done.replace(tzinfo=UTC)
        return done > datetime.now(UTC) - timedelta(seconds=lifetime)

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        table = self.tables.task
        begins = sa.func.substr(table.c.task_id, 1, len(prefix)) == prefix
        query = sa.select(table.c.task_id, table.c.status, self._end(table.c.date_done)).where(
            begins
        )
        with self._connection() as connection:
            found = connection.execute(query.limit(10 * limit)).all()
        return [id for id, state, done in found if self._alive(state, done)][:limit]

    def forget(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            gone = [{"gone": task_id} for task_id in task_ids]
            table = self.tables.task
            with self._connection() as connection:
                connection.execute(
                    table.delete().where(table.c.task_id == sa.bindparam("gone")), gone
                )

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        fields, serializer = rows.take_apart(value)
        table = self.tables.group
        row = {"result": rows.write(fields.get("result"), serializer), "date_done": self._ago(0)}
        mine = table.c.taskset_id == group_id
        with self._connection() as connection:
            for _ in range(2):  # somebody else may insert it between the two
                if connection.execute(table.update().where(mine).values(row)).rowcount:
                    return
                try:
                    with connection.begin_nested():
                        connection.execute(table.insert().values(taskset_id=group_id, **row))
                    return
                except IntegrityError:
                    continue

    def load_group(self, group_id: str) -> bytes | None:
        table = self.tables.group
        query = sa.select(table.c.result, self._end(table.c.date_done)).where(
            table.c.taskset_id == group_id
        )
        with self._connection() as connection:
            found = connection.execute(query).first()
        if found is None or not self._alive("SUCCESS", found.date_done):
            return None
        try:
            value = rows.read_stored(found.result, self._serializer, self._accept)
            return rows.put_together({"result": value}, self._serializer, self._accept)
        except (DecodeError, ContentDisallowed) as exc:
            raise self.error(f"saved group {group_id} cannot be read: {exc}") from exc

    def forget_group(self, group_id: str) -> None:
        table = self.tables.group
        with self._connection() as connection:
            connection.execute(table.delete().where(table.c.taskset_id == group_id))

    def expire(self) -> int:
        task, group = self.tables.task, self.tables.group
        failed = task.c.status == "FAILURE"
        dropped = 0
        with self._connection() as connection:
            for table, state, which in (
                (task, "FAILURE", failed),
                (task, "SUCCESS", ~failed),
                (group, "SUCCESS", sa.true()),
            ):
                lifetime = self.lifetime(state)
                if lifetime is not None:
                    old = table.c.date_done <= self._ago(lifetime)
                    dropped += connection.execute(table.delete().where(which, old)).rowcount
        return dropped
