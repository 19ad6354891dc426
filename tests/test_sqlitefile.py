"""Opening a SQLite file the one right way."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from taskctl.core.errors import (
    BrokerConnectionError,
    BrokerError,
    ImproperlyConfigured,
)
from taskctl.core.sqlitefile import SqliteFile, file_system, path_of_url

TABLE = ("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)",)


def make(path: Path, *migrations: tuple[str, ...], **options: Any) -> SqliteFile:
    return SqliteFile(
        path,
        part=options.pop("part", "notes"),
        migrations=migrations or (TABLE,),
        refused=BrokerError,
        gone=BrokerConnectionError,
        timeout=options.pop("timeout", 5.0),
        **options,
    )


@pytest.fixture
def file(tmp_path: Path) -> Any:
    opened = make(tmp_path / "x.db")
    opened.open()
    yield opened
    opened.close()


def add(file: SqliteFile, text: str) -> None:
    with file.write() as db:
        db.execute("INSERT INTO note (text) VALUES (?)", (text,))


def notes(file: SqliteFile) -> list[str]:
    with file.read() as db:
        return [text for (text,) in db.execute("SELECT text FROM note ORDER BY id")]


def in_a_child(work: Any) -> int:
    """Run `work` in a forked child; return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////srv/b.db", "/srv/b.db"),
        ("sqlite:////srv/with%20space.db?x=1", "/srv/with space.db"),
        ("sqlite://", ".taskctl/queue.db"),
        ("sqlite:///", ".taskctl/queue.db"),
    ],
)
def test_a_url_names_a_path(url: str, path: str) -> None:
    assert path_of_url(url) == Path.cwd() / path


@pytest.mark.parametrize("url", ["sqlite://srv/b.db", "sqlite:///:memory:"])
def test_a_url_that_names_no_shared_file_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="name"):
        path_of_url(url)


def test_folder_and_file_are_private(tmp_path: Path) -> None:
    file = make(tmp_path / "state" / "x.db")
    file.open()

    assert stat.S_IMODE(os.stat(file.path.parent).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600
    file.close()


def test_in_a_folder_shared_with_a_group_so_is_the_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    umask = os.umask(0o002)
    file = make(tmp_path / "x.db")
    file.open()
    os.umask(umask)

    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o660
    file.close()


def test_a_failed_write_is_rolled_back(file: SqliteFile) -> None:
    with pytest.raises(ZeroDivisionError), file.write() as db:
        db.execute("INSERT INTO note (text) VALUES ('half')")
        _ = 1 / 0

    add(file, "whole")
    assert notes(file) == ["whole"]


def test_parts_share_a_file_and_migrate_apart(tmp_path: Path) -> None:
    one = make(tmp_path / "x.db")
    two = make(tmp_path / "x.db", ("CREATE TABLE b (id)",), part="others")
    one.open()
    two.open()
    add(one, "kept")
    one.close()

    later = make(tmp_path / "x.db", TABLE, ("ALTER TABLE note ADD COLUMN extra TEXT",))
    later.open()

    with later.read() as db:
        assert db.execute("SELECT text, extra FROM note").fetchall() == [("kept", None)]
    later.close()
    two.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    newer = make(tmp_path / "x.db", TABLE, ("CREATE TABLE more (id)",))
    newer.open()
    newer.close()

    with pytest.raises(BrokerError, match=r"x\.db was written by a newer taskctl .*upgrade"):
        make(tmp_path / "x.db").open()


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"x\.db"):
        make(tmp_path / "x.db", TABLE, ("CREATE TABLE note (id)",)).open()

    file = make(tmp_path / "x.db")
    file.open()
    assert notes(file) == []
    file.close()


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("my diary, " * 1000)

    with pytest.raises(BrokerError, match=r"x\.db is not a SQLite database"):
        make(path).open()

    assert path.read_text().startswith("my diary")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE django_session (id)")
    db.close()

    with pytest.raises(BrokerError, match="database of something else"):
        make(tmp_path / "x.db").open()


@pytest.mark.parametrize("path", ["/proc/nowhere/x.db", "/dev/null/x.db"])
def test_a_folder_that_cannot_be_made_is_named(path: str) -> None:
    with pytest.raises(BrokerError, match=f"cannot use {path}: .*folder must be writable"):
        make(Path(path)).open()


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nfiler:/h /home nfs4 rw 0 0\nx /home/my\\040disk xfs rw 0 0\n"
    )

    found = [file_system(Path(p), mounts) for p in ("/srv/x", "/home/a/x", "/home/my disk/x")]

    assert found == ["ext4", "nfs4", "xfs"]


def test_a_lock_held_too_long_is_told_as_passing_and_names_its_holder(file: SqliteFile) -> None:
    hold = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(file.path)]
    file.timeout = 0.1
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(
            BrokerConnectionError, match=rf"x\.db is locked by process {holder.pid} for more than"
        ):
            add(file, "a")

        holder.kill()
    add(file, "b")
    assert notes(file) == ["b"]


def test_a_full_disk_is_told_as_passing_and_harms_nothing(file: SqliteFile) -> None:
    add(file, "kept")
    with file.read() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(BrokerConnectionError, match=r"no space left on the disk of .*x\.db"):
        add(file, "x" * 1_000_000)

    with file.read() as db:
        db.execute("PRAGMA max_page_count=1000000")
    add(file, "later")
    assert notes(file) == ["kept", "later"]


def test_a_file_that_was_removed_is_noticed_and_made_anew(file: SqliteFile) -> None:
    add(file, "a")
    for name in ("x.db", "x.db-wal", "x.db-shm"):
        (file.path.parent / name).unlink(missing_ok=True)

    with pytest.raises(BrokerConnectionError, match="was removed or replaced while in use"):
        add(file, "b")

    add(file, "c")
    assert notes(file) == ["c"]


def test_parent_and_child_go_on_after_a_fork(file: SqliteFile) -> None:
    add(file, "before")

    assert in_a_child(lambda: add(file, "child")) == 0

    add(file, "parent")
    assert notes(file) == ["before", "child", "parent"]


def test_a_child_keeps_its_locks_when_its_parent_closes(tmp_path: Path) -> None:
    """Inherited notes of locks would let a third process take the log away under the child."""
    file = make(tmp_path / "x.db")
    file.open()
    add(file, "before")
    ready, go = os.pipe(), os.pipe()

    pid = os.fork()
    if pid == 0:
        add(file, "child 1")
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        add(file, "child 2")
        os._exit(0)
    os.read(ready[0], 1)
    file.close()
    third = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        "db.execute('select * from note').fetchall(); db.close()"
    )
    subprocess.run([sys.executable, "-c", third, str(file.path)], check=True)
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    file.open()
    assert notes(file) == ["before", "child 1", "child 2"]
    file.close()
    for fd in (*ready, *go):
        os.close(fd)


def test_a_fork_waits_for_the_transaction_of_another_thread(file: SqliteFile) -> None:
    inside, finish = threading.Event(), threading.Event()

    def work() -> None:
        with file.write() as db:
            inside.set()
            finish.wait(0.2)
            db.execute("INSERT INTO note (text) VALUES ('thread')")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()

    assert in_a_child(lambda: add(file, "child")) == 0

    thread.join()
    assert notes(file) == ["thread", "child"]


def test_threads_take_turns(file: SqliteFile) -> None:
    def work() -> None:
        for _ in range(50):
            add(file, "x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(notes(file)) == 200


def test_a_file_that_emptied_gives_its_room_back(file: SqliteFile) -> None:
    with file.write() as db:
        db.executemany("INSERT INTO note (text) VALUES (?)", [("x" * 4000,)] * 1000)
    with file.write() as db:
        db.execute("DELETE FROM note")
    with file.read() as db:
        before = db.execute("PRAGMA page_count").fetchone()[0]

    file.shrink(pages=50)

    with file.read() as db:
        assert db.execute("PRAGMA page_count").fetchone()[0] == before - 50


def test_a_closed_file_refuses_work(file: SqliteFile) -> None:
    file.close()

    with pytest.raises(BrokerError, match="is not open"):
        add(file, "a")
