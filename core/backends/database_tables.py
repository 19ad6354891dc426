"""The two tables of the database backend, as Celery 5.7 makes them.

Source: tests/golden/result_database.json, and the tables that Celery 5.7 makes in PostgreSQL.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

logger = logging.getLogger(__name__)

#: Names of the tables where no setting says otherwise.
TASK_TABLE, GROUP_TABLE = "celery_taskmeta", "celery_tasksetmeta"
#: Longest texts: the task id and other names, and the state.
NAME_LENGTH, STATE_LENGTH = 155, 50

#: Processes that start together make the tables at once, and all but one are refused.
_TRIES = 10

#: SQL Server counts further than the others do by default.
_NUMBER = sa.Integer().with_variant(sa.BigInteger(), "mssql")


class Tables:
    """The tables by their roles, and what of them the database really has."""

    def __init__(self, names: Mapping[str, str], schemas: Mapping[str, str]) -> None:
        self.metadata = sa.MetaData()
        self.task = self._table(
            names.get("task") or TASK_TABLE,
            schemas.get("task"),
            "task",
            sa.Column("status", sa.String(STATE_LENGTH)),
            sa.Column("result", sa.LargeBinary),
            sa.Column("date_done", sa.DateTime, index=True),
            sa.Column("traceback", sa.Text),
            sa.Column("children", sa.LargeBinary),
            sa.Column("name", sa.String(NAME_LENGTH)),
            sa.Column("args", sa.LargeBinary),
            sa.Column("kwargs", sa.LargeBinary),
            sa.Column("worker", sa.String(NAME_LENGTH)),
            sa.Column("retries", sa.Integer),
            sa.Column("queue", sa.String(NAME_LENGTH)),
            sa.Column("stamps", sa.LargeBinary),
        )
        self.group = self._table(
            names.get("group") or GROUP_TABLE,
            schemas.get("group"),
            "taskset",
            sa.Column("result", sa.LargeBinary),
            sa.Column("date_done", sa.DateTime, index=True),
        )
        #: Columns of the task table that are there; tables of older versions lack some.
        self.present = frozenset(column.name for column in self.task.columns)

    def _table(
        self, name: str, schema: str | None, kind: str, *columns: sa.Column[object]
    ) -> sa.Table:
        number = sa.Sequence(f"{kind}_id_sequence", schema=schema)
        return sa.Table(
            name,
            self.metadata,
            sa.Column("id", _NUMBER, number, primary_key=True, autoincrement=True),
            sa.Column(f"{kind}_id", sa.String(NAME_LENGTH), unique=True),
            *columns,
            schema=schema,
            sqlite_autoincrement=True,
        )

    def prepare(self, engine: sa.Engine) -> None:
        """Make what is missing, and see what there is.

        A column that cannot be added (no right to) is done without.
        """
        for attempt in range(_TRIES):
            try:
                self.metadata.create_all(engine)
                break
            except DatabaseError as exc:
                if exc.connection_invalidated or attempt == _TRIES - 1:
                    raise
                if not _lost_a_race(exc):
                    raise
                time.sleep(random.uniform(0.005, 0.05) * (attempt + 1))
        self.present = frozenset(self._add_columns(engine))

    def _add_columns(self, engine: sa.Engine) -> set[str]:
        """Add the columns that the task table lacks; return all it has then."""
        found = sa.inspect(engine).get_columns(self.task.name, schema=self.task.schema)
        present = {column["name"] for column in found}
        quote = engine.dialect.identifier_preparer
        for column in self.task.columns:
            if column.name in present:
                continue
            kind = column.type.compile(engine.dialect)
            table = quote.format_table(self.task)
            statement = f"ALTER TABLE {table} ADD COLUMN {quote.format_column(column)} {kind}"
            try:
                with engine.begin() as connection:
                    connection.execute(sa.text(statement))
                present.add(column.name)
            except SQLAlchemyError as exc:
                logger.warning(
                    "results are kept without %s, which table %s lacks; to keep it, run: %s (%s)",
                    column.name,
                    self.task.name,
                    statement,
                    str(exc).splitlines()[0],
                )
        return present


def _lost_a_race(exc: DatabaseError) -> bool:
    """Return whether somebody else made the same thing a moment earlier, or is making it."""
    text = str(exc).lower()
    return any(word in text for word in ("already exists", "duplicate", "unique", "locked"))
