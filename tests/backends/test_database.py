"""Results in SQL databases: the contract, in Celery's tables, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import logging
import pickle
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import sqlalchemy as sa

from taskctl.core.app import App
from taskctl.core.backends import database, open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.errors import (
    BackendError,
    ContentDisallowed,
    DecodeError,
    ImproperlyConfigured,
)
from taskctl.core.tasks.asyncresult import AsyncResult
from taskctl.core.wire.result_meta import decode_meta

from ..support.databases import PostgresServer
from ..support.waiting import eventually
from .contract import DONE, OpenBackend, SharedBackendContract, fresh, meta, saved, within

GOLDEN = Path(__file__).parent.parent / "golden" / "result_database.json"


class DatabaseContract(SharedBackendContract):
    """Cases for every database; `sql` runs a statement in it."""

    keeps_compression = False  # columns hold the fields
    keeps_lifetime = False  # there is no column for it
    #: What times in the tables are in.
    zone: tzinfo = UTC

    def test_every_field_of_an_extended_meta_comes_back(self, backend: Backend) -> None:
        """But group and parent, for which Celery's tables have no columns: see the case below."""

    def sql(self, url: str, statement: str, *values: Any) -> list[Any]:
        engine = sa.create_engine(url.removeprefix("db+"), poolclass=sa.NullPool)
        with engine.begin() as connection:
            done = connection.exec_driver_sql(statement, values)
            return [tuple(row) for row in done] if done.returns_rows else []

    def test_a_row_holds_what_celery_would_write(self, backend: Backend, url: str) -> None:
        backend.store([meta("a", result={"sum": 5}), meta("b", "STARTED", {"pid": 1})])
        backend.store_group("g", saved("g", "a", "b"))

        query = "SELECT status, result, date_done, traceback, children, name FROM celery_taskmeta"
        rows = self.sql(url, f"{query} ORDER BY task_id")
        groups = self.sql(url, "SELECT taskset_id, result FROM celery_tasksetmeta")

        done = DONE.astimezone(self.zone).replace(tzinfo=None)
        assert [rows[0][0], bytes(rows[0][1])] == ["SUCCESS", b'{"sum": 5}']
        assert str(rows[0][2]) == str(done)
        assert rows[0][3:] == (None, None, None)
        assert (rows[1][0], rows[1][2]) == ("STARTED", None)
        members = b'[["g", null], [[["a", null], null], [["b", null], null]]]'
        assert [(g, bytes(value)) for g, value in groups] == [("g", members)]

    def test_children_arguments_and_stamps_have_columns(self, backend: Backend, url: str) -> None:
        about = {
            "name": "proj.add",
            "args": [1, {"__type__": "datetime", "__value__": "2030-01-02T00:00:00"}],
            "kwargs": {"y": 2},
            "worker": "w@h",
            "retries": 1,
            "queue": "celery",
            "stamped_headers": ["who"],
            "who": "me",
        }
        children = [[["c", None], None]]
        stored = meta("a", children=children, extended=about, traceback=None)
        backend.store([stored])

        assert backend.load(["a"]) == {"a": stored.meta}
        row = self.sql(url, "SELECT args, kwargs, stamps, children, retries FROM celery_taskmeta")
        assert [json.loads(bytes(value)) for value in row[0][:4]] == [
            about["args"],
            {"y": 2},
            {"stamped_headers": ["who"], "stamps": {"who": "me"}},
            children,
        ]
        assert row[0][4] == 1

    def test_a_text_that_no_column_can_hold_is_written_so_that_it_can(
        self, backend: Backend
    ) -> None:
        backend.store([meta("a", "FAILURE", "x", traceback="zero \x00, half \ud800")])

        assert decode_meta(backend.load(["a"])["a"])["traceback"] == "zero \\x00, half \\ud800"

    def test_expire_drops_old_rows_and_says_how_many(self, open: OpenBackend, url: str) -> None:
        backend = open(expires=0.05, failure_expires=1000)
        backend.store([fresh(f"id-{n}") for n in range(10)])
        backend.store([fresh("failed", "FAILURE"), meta("running", "STARTED")])
        backend.store_group("g", saved("g"))
        eventually(lambda: backend.load_group("g") is None, within=5)

        assert backend.expire() == 11

        left = self.sql(url, "SELECT task_id FROM celery_taskmeta ORDER BY task_id")
        assert left == [("failed",), ("running",)]

    def test_an_old_pickle_is_refused_unless_pickles_are_accepted(
        self, open: OpenBackend, url: str
    ) -> None:
        open().store([meta("a")])
        self.sql(url, "DELETE FROM celery_taskmeta")
        blob = "X'" if url.startswith("db+sqlite") else "'\\x"
        value = f"{blob}{pickle.dumps({'when': DONE}).hex()}'"
        self.sql(
            url,
            "INSERT INTO celery_taskmeta (id, task_id, status, result)"
            f" VALUES (1, 'old', 'SUCCESS', {value})",
        )

        with pytest.raises(ContentDisallowed, match="python-serialize: not in result_accept_"):
            decode_meta(open().load(["old"])["old"])

        trusting = open(options={"accept_content": ["json", "pickle"]})
        assert decode_meta(trusting.load(["old"])["old"])["result"] == {"when": DONE}

    def test_a_row_that_is_no_json_names_its_task_and_database(
        self, backend: Backend, url: str
    ) -> None:
        backend.store([meta("a")])
        backend.store([meta("b")])
        rubbish = "X'7b7b'" if url.startswith("db+sqlite") else "'\\x7b7b'"
        self.sql(url, f"UPDATE celery_taskmeta SET result = {rubbish} WHERE task_id = 'a'")

        metas = backend.load(["a", "b"])

        assert decode_meta(metas["b"])["status"] == "SUCCESS"
        app = App("proj", broker="memory://", backend=url, set_as_current=False)
        with pytest.raises(DecodeError, match=r"result of task a in db\+.* cannot be read.*not J"):
            AsyncResult("a", app=app).get(timeout=5)
        app.close()

    def test_missing_columns_are_added(self, open: OpenBackend, url: str) -> None:
        open().store([meta("a")])
        for name in ("children", "stamps"):
            self.sql(url, f"ALTER TABLE celery_taskmeta DROP COLUMN {name}")

        stored = meta("b", children=[[["c", None], None]])
        backend = open()
        backend.store([stored])

        assert backend.load(["a", "b"]) == {"a": meta("a").meta, "b": stored.meta}

    def test_tables_have_the_names_that_settings_give_them(
        self, open: OpenBackend, url: str
    ) -> None:
        names = {"task": "my_tasks", "group": "my_groups"}
        backend = open(options={"database_table_names": names})
        backend.store([meta("a")])
        backend.store_group("g", saved("g"))

        assert self.sql(url, "SELECT task_id FROM my_tasks") == [("a",)]
        assert self.sql(url, "SELECT taskset_id FROM my_groups") == [("g",)]

    def test_tables_are_made_at_first_use_if_not_at_setup(
        self, open: OpenBackend, url: str
    ) -> None:
        backend = open(options={"database_create_tables_at_setup": False})
        with pytest.raises(sa.exc.DatabaseError):
            self.sql(url, "SELECT 1 FROM celery_taskmeta")

        backend.store([meta("a")])

        assert self.sql(url, "SELECT task_id FROM celery_taskmeta") == [("a",)]

    def test_short_lived_sessions_keep_no_connection(self, open: OpenBackend) -> None:
        backend = open(options={"database_short_lived_sessions": True})
        backend.store([meta("a")])

        assert isinstance(backend._engine.pool, sa.NullPool)  # type: ignore[attr-defined]
        assert set(backend.load(["a"])) == {"a"}

    def test_processes_that_start_together_make_the_tables_once(self, open: OpenBackend) -> None:
        with ThreadPoolExecutor(6) as pool:
            backends = list(pool.map(lambda _: open(), range(6)))
            list(pool.map(lambda backend: backend.store([meta("a")]), backends))

        assert set(open().load(["a"])) == {"a"}


class TestSqliteThroughSqlalchemy(DatabaseContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"db+sqlite:///{tmp_path}/results.db"

    def test_the_tables_are_those_that_celery_makes(
        self, backend: Backend, url: str, tmp_path: Path
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "results.db")) as db:
            schema = [row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql > ''")]

        assert sorted(schema) == sorted(json.loads(GOLDEN.read_text())["schema"])

    def test_rows_that_celery_wrote_are_read(self, backend: Backend, url: str) -> None:
        golden = json.loads(GOLDEN.read_text())
        for row in golden["celery_taskmeta"]:
            result = row["result"].encode()
            self.sql(
                url,
                "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done, traceback)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                *(row["id"], row["task_id"], row["status"], result),
                *(row["date_done"], row["traceback"]),
            )
        group = golden["celery_tasksetmeta"][0]
        self.sql(
            url,
            "INSERT INTO celery_tasksetmeta VALUES (1, ?, ?, NULL)",
            *(group["taskset_id"], group["result"].encode()),
        )

        ids = [row["task_id"] for row in golden["celery_taskmeta"]]
        metas = [decode_meta(backend.load([id])[id]) for id in ids]

        assert [m["result"] for m in metas[:2]] == [18, 5]
        assert repr(metas[2]["result"]) == "ValueError('boom', 42)"
        assert metas[2]["traceback"].endswith("ValueError: ('boom', 42)\n")
        assert metas[0]["date_done"] == "2026-11-22T06:38:57.533737+00:00"
        assert json.loads(backend.load_group(group["taskset_id"]) or b"") == {
            "result": json.loads(group["result"])
        }

    def test_a_locked_file_is_an_error_that_names_it(self, url: str, tmp_path: Path) -> None:
        options = {"database_engine_options": {"connect_args": {"timeout": 0.1}}}
        backend = open_backend(url, options=options)
        backend.open()
        with closing(sqlite3.connect(tmp_path / "results.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BackendError, match=r"results\.db: database is locked"):
                backend.store([meta("a")])

        backend.store([meta("a")])
        backend.close()


class TestDatabasesThatNobodyKnows:
    """The way for databases whose upsert we do not know, shown on SQLite."""

    @pytest.fixture
    def backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
        monkeypatch.setattr(database, "UPSERTS", {})
        backend = open_backend(f"db+sqlite:///{tmp_path}/results.db", expires=0.5)
        yield backend
        backend.close()

    def test_nothing_is_written_over_a_success_that_is_kept(self, backend: Backend) -> None:
        backend.store([meta("a", "STARTED"), fresh("a", result=1), fresh("a", "FAILURE")])
        backend.store([fresh("a", "FAILURE"), fresh("b")])

        assert b"SUCCESS" in backend.load(["a"])["a"]
        assert "b" in backend.load(["b"])
        eventually(lambda: not backend.load(["a"]))
        backend.store([fresh("a", "FAILURE")])
        assert b"FAILURE" in backend.load(["a"])["a"]

    def test_stamps_stay_when_a_later_state_has_none(self, backend: Backend) -> None:
        stamped = {"stamped_headers": ["who"], "who": "me"}
        backend.store([meta("a", "STARTED", extended=stamped), fresh("a", result=1)])

        assert decode_meta(backend.load(["a"])["a"])["who"] == "me"


class TestPostgresql(DatabaseContract):
    zone = ZoneInfo("Asia/Tokyo")  # the server's: so does Celery write them

    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return f"db+{postgres_url}"

    @pytest.mark.parametrize("task_id", ["ümlaut", "with space", "x" * 155, "quote'\"", "%s:{}"])
    def test_any_text_is_a_task_id(self, backend: Backend, task_id: str) -> None:
        """Celery's column takes 155 characters."""
        super().test_any_text_is_a_task_id(backend, task_id)

    @pytest.mark.parametrize("task_id", ["x" * 156, "zero\x00"])
    def test_an_id_that_the_column_cannot_hold_costs_nobody_else_a_result(
        self, backend: Backend, task_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR):
            backend.store([meta(task_id), meta("a")])

        assert set(backend.load(["a", task_id])) == {"a"}
        assert "cannot keep the result of task" in caplog.text

    def test_tables_lie_in_the_schema_that_settings_give_them(
        self, open: OpenBackend, url: str
    ) -> None:
        self.sql(url, "DROP SCHEMA IF EXISTS elsewhere CASCADE")
        self.sql(url, "CREATE SCHEMA elsewhere")
        schemas = {"task": "elsewhere", "group": "elsewhere"}
        backend = open(options={"database_table_schemas": schemas})
        backend.store([meta("a")])
        backend.store_group("g", saved("g"))

        assert self.sql(url, "SELECT task_id FROM elsewhere.celery_taskmeta") == [("a",)]
        assert backend.load(["a"]) and backend.load_group("g")

    def test_a_table_that_may_not_be_changed_is_used_as_it_is(
        self, open: OpenBackend, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        open().store([meta("a")])
        for statement in (
            "ALTER TABLE celery_taskmeta DROP COLUMN children",
            "ALTER TABLE celery_taskmeta DROP COLUMN stamps",
            "DROP ROLE IF EXISTS guest",
            "CREATE ROLE guest LOGIN PASSWORD 'guest'",
            "GRANT USAGE ON SCHEMA public TO guest",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO guest",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO guest",
        ):
            self.sql(url, statement)

        guest = open_backend(url.replace("tester:hunter2", "guest:guest"))
        guest.store([meta("b", children=[[["c", None], None]])])

        assert guest.load(["a", "b"]) == {id: meta(id).meta for id in "ab"}
        assert "results are kept without children, which table celery_taskmeta lacks" in caplog.text
        guest.close()
        self.sql(url, "DROP OWNED BY guest")

    def test_many_writers_of_the_same_tasks_never_undo_a_success(self, open: OpenBackend) -> None:
        ids = [f"id-{n}" for n in range(20)]

        def work(number: int) -> None:
            backend = open()
            for n in range(10):
                backend.store([meta(id, "RETRY", n) for id in ids[:: 1 if number % 2 else -1]])
                backend.store([meta(ids[2 * n], result=number), meta(ids[2 * n + 1])])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))

        assert all(b"SUCCESS" in data for data in open().load(ids).values())

    def test_a_killed_connection_is_replaced_unseen(
        self, backend: Backend, postgres_server: PostgresServer
    ) -> None:
        backend.store([meta("a")])
        with psycopg.connect(postgres_server.url.replace("+psycopg", "")) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

        assert set(backend.load(["a"])) == {"a"}

    def test_a_wrong_password_is_an_error_at_once_that_does_not_show_it(self, url: str) -> None:
        backend = open_backend(url.replace("hunter2", "hunter3"))
        started = time.monotonic()

        with pytest.raises(BackendError, match="password authentication failed") as caught:
            backend.wait(["a"], within(20))

        assert "hunter3" not in str(caught.value)
        assert time.monotonic() - started < 10

    def test_a_database_that_is_not_there_is_an_error_at_once(self, url: str) -> None:
        with pytest.raises(BackendError, match='database "nowhere" does not exist'):
            open_backend(url.replace("/postgres", "/nowhere")).wait(["a"], within(20))


class TestPostgresqlLost:
    @pytest.fixture
    def server(self) -> Iterator[PostgresServer]:
        server = PostgresServer().start()
        yield server
        server.stop()

    def test_a_wait_outlives_a_restart_and_a_store_says_that_it_failed(
        self, server: PostgresServer
    ) -> None:
        backend = open_backend(f"db+{server.url}")
        backend.store([meta("a", "STARTED")])
        known = backend.load(["a"])
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(backend.wait, ["a"], within(60), known)
            server.halt(signal.SIGQUIT)
            with pytest.raises(BackendError, match=f"127.0.0.1.*{server.port}.*refused"):
                backend.store([meta("a")])
            assert not wait.done()
            server.start()
            backend.store([meta("a")])

            assert wait.result(timeout=60) == {"a": meta("a").meta}
        backend.close()


class TestBadSettings:
    @pytest.mark.parametrize("url", ["db+", "database://"])
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"after db\+ comes a URL of SQLAlchemy|unk"):
            open_backend(url)

    @pytest.mark.parametrize("url", ["db+nothing", "db+dbase://host/name"])
    def test_an_unknown_database_is_refused(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="does not know this database"):
            open_backend(url)

    def test_a_driver_that_is_not_installed_is_named(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="needs the package pg8000, which is not i"):
            open_backend("db+postgresql+pg8000://user:secret@host/name")

    def test_an_unknown_option_of_the_engine_is_named(self) -> None:
        options = {"database_engine_options": {"pool_colour": "red"}}
        with pytest.raises(ImproperlyConfigured, match=r"database_engine_options: .*pool_colour"):
            open_backend("db+sqlite://", options=options)

    def test_a_callback_gets_the_engine_and_must_be_one(self) -> None:
        seen: list[Any] = []
        open_backend("db+sqlite://", options={"database_engine_callback": seen.append})
        assert isinstance(seen[0], sa.Engine)

        with pytest.raises(ImproperlyConfigured, match="database_engine_callback"):
            open_backend("db+sqlite://", options={"database_engine_callback": 7})
