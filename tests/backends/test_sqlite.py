"""The SQLite backend keeps the contract, and a few promises of its own."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskctl.core.backends import open_backend
from taskctl.core.errors import BackendError, ImproperlyConfigured

from ..support.waiting import eventually
from .contract import OpenBackend, SharedBackendContract, meta, within
from .contract_chords import ChordContract


class TestSqliteBackend(SharedBackendContract, ChordContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/queue.db"

    def test_expire_drops_the_rows_and_says_how_many(
        self, open: OpenBackend, tmp_path: Path
    ) -> None:
        open(expires=100).store([meta("kept")])
        backend = open(expires=0.01)
        backend.store([meta(f"id-{n}") for n in range(2500)])
        backend.store_group("g", b"value")
        eventually(lambda: not backend.load(["id-2499"]), within=5)
        eventually(lambda: backend.load_group("g") is None, within=5)

        assert backend.expire() == 2501

        with sqlite3.connect(tmp_path / "queue.db") as db:
            assert db.execute("SELECT task_id FROM results").fetchall() == [("kept",)]
        db.close()

    def test_storing_sweeps_up_what_has_expired(self, open: OpenBackend, tmp_path: Path) -> None:
        old = open(expires=0.01)
        old.store([meta(f"id-{n}") for n in range(10)])
        eventually(lambda: not old.load(["id-9"]), within=5)

        open().store([meta("new")])

        with sqlite3.connect(tmp_path / "queue.db") as db:
            assert db.execute("SELECT task_id FROM results").fetchall() == [("new",)]
        db.close()

    def test_a_waiting_client_takes_almost_no_time_of_a_core(self, open: OpenBackend) -> None:
        backend = open()
        before = time.process_time()

        backend.wait(["a"], within(1))

        assert time.process_time() - before < 0.1

    def test_other_commits_to_the_file_do_not_end_a_wait(self, open: OpenBackend) -> None:
        waiting, storing = open(), open()
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(waiting.wait, ["a"], within(10))
            for n in range(50):
                storing.store([meta(f"other-{n}")])
            assert not wait.done()
            storing.store([meta("a")])

            assert set(wait.result(timeout=10)) == {"a"}


def test_a_locked_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    backend = open_backend(f"sqlite:///{tmp_path}/queue.db")
    backend.open()
    backend._file.timeout = 0.1  # type: ignore[attr-defined]
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(BackendError, match=r"queue\.db is locked by"):
        backend.store([meta("a")])

    other.close()
    backend.store([meta("a")])
    assert set(backend.load(["a"])) == {"a"}
    backend.close()


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database\n" * 100)
    backend = open_backend(f"sqlite:///{tmp_path}/notes.txt")

    with pytest.raises(BackendError, match=r"notes\.txt is not a SQLite database"):
        backend.open()


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    backend = open_backend(f"sqlite:///{tmp_path}/file/queue.db")

    with pytest.raises(BackendError, match=r"cannot use .*/file/queue\.db: Not a directory|exists"):
        backend.open()


def test_a_host_in_the_url_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="names a host"):
        open_backend("sqlite://relative/queue.db")
