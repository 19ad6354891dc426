"""A SQLite file, opened the one right way: shared by many processes, safe across fork.

Every connection uses WAL and synchronous=NORMAL: a commit survives the death of every process;
a power cut may take back the last commits but leaves the file whole.  The file must live on a
local disk, since WAL needs memory shared by all its users.

Two facts of POSIX shape this file.  Closing *any* descriptor of a database drops all locks this
process holds on it, so nobody may `open()` the file by hand.  And locks are not inherited by a
forked child, while SQLite's own note of them is; so connections are closed before every
`os.fork()` and opened again, in either process, when next used.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from .errors import ImproperlyConfigured, TaskctlError

#: Needed for RETURNING.  Source: https://sqlite.org/lang_returning.html
MIN_SQLITE = (3, 35, 0)

#: Pages of 4 KiB in the log before a commit moves them into the file.  SQLite's default of 1000
#: makes every thirtieth batch of messages pay for two fsyncs; this makes it every hundredth.
_CHECKPOINT_PAGES = 4000

#: How long to sleep between two tries for the write lock: (first, longest), in seconds.  SQLite's
#: own handler goes on to 100 ms, long after our transactions of 1 to 5 ms have ended.
_LOCK_NAPS = (0.0003, 0.005)

#: The byte of the -shm file that a writer locks.  Source: https://sqlite.org/walformat.html, 2.3.
_WRITE_LOCK = "120"

#: File systems of several hosts; SQLite's log needs memory that all its users share.
#: Source: https://sqlite.org/wal.html, "all processes must be on the same host computer".
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "glusterfs", "fuse.glusterfs", "ceph", "lustre")

log = logging.getLogger("taskctl.sqlite")

_open_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()


def path_of_url(url: str, default: str = ".taskctl/queue.db") -> Path:
    """Return the absolute path a `sqlite://` URL names.

    `sqlite:///x.db` is relative to the working directory, `sqlite:////srv/x.db` is absolute;
    without a path it is `default`.

    Raises ImproperlyConfigured for a host part or `:memory:`.
    """
    rest = url.partition("://")[2].partition("?")[0]
    if rest and not rest.startswith("/"):
        raise ImproperlyConfigured(
            f"{url!r} names a host: write sqlite:///relative/path or sqlite:////absolute/path"
        )
    name = unquote(rest[1:]) or default
    if name == ":memory:":
        raise ImproperlyConfigured(f"{url!r} cannot be shared by processes: name a file")
    return Path(os.path.abspath(os.path.expanduser(name)))


class SqliteFile:
    """One connection to a SQLite file, and the schema of one part of it.

    `part` names the tables' owner ("broker", "results"), so that several parts can share a file;
    `migrations[n]` holds the statements that lift that part from version n to n + 1.
    `refused` is raised for what will fail again, `gone` for what may pass (locked, disk full).
    Safe to use from several threads: `read` and `write` hold a lock, and must not be nested.
    """

    def __init__(
        self,
        path: Path,
        *,
        part: str,
        migrations: Sequence[Sequence[str]],
        refused: type[TaskctlError],
        gone: type[TaskctlError],
        timeout: float = 5.0,
        synchronous: str = "NORMAL",
    ) -> None:
        self.path = path
        self.part = part
        self.migrations = migrations
        self.refused = refused
        self.gone = gone
        self.timeout = timeout
        self.synchronous = synchronous
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] = (0, 0)
        #: Permission bits of the file, as found when it was opened.
        self.mode = 0o600
        self._usable = False

    # --- open and close ---------------------------------------------------------------------

    def open(self) -> None:
        """Connect, making the folder (0700), the file and the schema where they are missing."""
        with self._lock:
            if self._db is None:
                self._usable = True
                self._connect()

    def close(self) -> None:
        """Let go of the file; `open` opens it again."""
        with self._lock:
            self._usable = False
            self._disconnect()

    @property
    def connected(self) -> bool:
        """Whether a connection stands; false after a fork, and once the file was found gone."""
        return self._db is not None

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            wanted = ".".join(map(str, MIN_SQLITE))
            raise self.refused(
                f"SQLite {sqlite3.sqlite_version} is too old: {wanted} or later is needed"
            )
        with self._translated():
            self._make_file()
            db = sqlite3.connect(
                self.path,
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            found = os.stat(self.path)
        self._db = db
        self._inode = (found.st_dev, found.st_ino)
        self.mode = stat.S_IMODE(found.st_mode)
        _open_files.add(self)
        return db

    def _disconnect(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            with contextlib.suppress(sqlite3.Error):  # a failed last checkpoint loses nothing
                db.close()

    def _make_file(self) -> None:
        """Create folder and file, private unless the folder is shared with a group."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shared = os.stat(self.path.parent).st_mode & stat.S_IWGRP
        with contextlib.suppress(FileExistsError):
            # O_EXCL: an existing file must not be opened by hand, see the head of this file.
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o660 if shared else 0o600))
            self._warn_of_network()

    def _warn_of_network(self) -> None:
        """Say once, when the file is made, that only this host can use it."""
        if kind := network_file_system(self.path):
            log.warning(
                "%s lies on %s: only the processes of one host may use it, or it will be damaged;"
                " use a local disk",
                self.path,
                kind,
            )

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heeded only while the file is empty
        self._use_wal(db)
        db.execute(f"PRAGMA synchronous={self.synchronous}")
        db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        db.execute("PRAGMA journal_size_limit=67108864")
        db.execute("PRAGMA temp_store=MEMORY")
        if self._version(db) != len(self.migrations):
            self._migrate(db)

    def _use_wal(self, db: sqlite3.Connection) -> None:
        """Switch to WAL; SQLite does not wait for others that switch at the same moment."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as exc:
                if _code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise self.refused(
                f"{self.path} cannot be shared: this file system has no WAL; use a local disk"
            )

    # --- schema -----------------------------------------------------------------------------

    def _version(self, db: sqlite3.Connection) -> int:
        """Return the schema version of this part, 0 if it has no tables yet."""
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        if "taskctl_schema" not in tables:
            if tables:
                raise self.refused(
                    f"{self.path} is a SQLite database of something else; name another file"
                )
            return 0
        query = "SELECT version FROM taskctl_schema WHERE part = ?"
        row = db.execute(query, (self.part,)).fetchone()
        return int(row[0]) if row else 0

    def _migrate(self, db: sqlite3.Connection) -> None:
        try:
            self._begin(db)
            version = self._version(db)  # somebody else may have been first
            if version > len(self.migrations):
                raise self.refused(
                    f"{self.path} was written by a newer taskctl ({self.part} tables version "
                    f"{version}, this one knows {len(self.migrations)}): upgrade this one"
                )
            db.execute(
                "CREATE TABLE IF NOT EXISTS taskctl_schema"
                " (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
            for statements in self.migrations[version:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(
                "INSERT OR REPLACE INTO taskctl_schema VALUES (?, ?)",
                (self.part, len(self.migrations)),
            )
            db.execute("COMMIT")
        except BaseException:
            self._roll_back(db)
            raise

    # --- use --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for SELECTs; each sees the newest commit."""
        with self._lock, self._translated():
            yield self._connected()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside one transaction, committed at the end of the block.

        The write lock is taken at the start, so the block cannot fail for it half-way; keep the
        block short.  An exception rolls everything back.
        """
        with self._lock, self._translated():
            db = self._connected()
            self._check_still_there()
            try:
                self._begin(db)
                yield db
                db.execute("COMMIT")
            except BaseException:
                self._roll_back(db)
                raise

    def shrink(self, pages: int = 1000) -> None:
        """Give up to `pages` pages of 4 KiB back to the disk, if half of the file is empty."""
        with self.read() as db:
            free = db.execute("PRAGMA freelist_count").fetchone()[0]
            used = db.execute("PRAGMA page_count").fetchone()[0] - free
            if free > max(used, 10 * pages):
                # Not execute: it would stop after the first page, since no row comes back.
                db.executescript(f"PRAGMA incremental_vacuum({pages})")

    def _connected(self) -> sqlite3.Connection:
        if self._db is not None:
            return self._db
        if not self._usable:
            raise self.refused(f"{self.path} is not open")
        return self._connect()  # first use after a fork, or after the file was found gone

    def _check_still_there(self) -> None:
        """Notice a file that was removed or replaced: what we write there nobody would read."""
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == self._inode:
                return
        except FileNotFoundError:
            pass
        self._disconnect()
        raise self.gone(f"{self.path} was removed or replaced while in use")

    def _begin(self, db: sqlite3.Connection) -> None:
        """Take the write lock, within `timeout`."""
        deadline = time.monotonic() + self.timeout
        nap, longest = _LOCK_NAPS
        db.execute("PRAGMA busy_timeout=0")
        try:
            while True:
                try:
                    db.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as exc:
                    if _code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(nap * random.uniform(0.5, 1.5))
                nap = min(nap * 2, longest)
        finally:
            db.execute(f"PRAGMA busy_timeout={int(self.timeout * 1000)}")

    def _roll_back(self, db: sqlite3.Connection) -> None:
        """End a transaction without a trace, if need be by closing the connection."""
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    # --- errors -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            self._raise(exc)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self.gone(f"no space left on the disk of {self.path}") from exc
            raise self.refused(
                f"cannot use {self.path}: {exc.strerror or exc}; its folder must be writable"
            ) from exc

    def _raise(self, exc: sqlite3.Error) -> NoReturn:
        """Raise `gone` or `refused` for an error of SQLite, naming the file and a cure."""
        code = _code(exc)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise self.gone(
                f"{self.path} is locked by {self._lock_holder()} for more than {self.timeout:g} s"
            ) from exc
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._no_space()):
            raise self.gone(f"no space left on the disk of {self.path}") from exc
        if code == sqlite3.SQLITE_IOERR:
            self._disconnect()
            raise self.gone(f"cannot read or write {self.path}: {exc}") from exc
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise self.refused(
                f"cannot write {self.path}: {exc}; file and folder must be writable"
            ) from exc
        if code == sqlite3.SQLITE_NOTADB:
            raise self.refused(f"{self.path} is not a SQLite database; name another file") from exc
        if code == sqlite3.SQLITE_CORRUPT:
            raise self.refused(
                f"{self.path} is damaged ({exc}): move it away with its -wal and -shm files"
            ) from exc
        raise self.refused(f"{self.path}: {exc}") from exc

    def _lock_holder(self) -> str:
        """Name the process that writes, where the system tells."""
        with contextlib.suppress(OSError, ValueError):
            inode = os.stat(f"{self.path}-shm").st_ino
            for line in Path("/proc/locks").read_text().splitlines():
                # 1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120
                words = line.split()
                if words[1] == "POSIX" and words[-2:] == [_WRITE_LOCK, _WRITE_LOCK]:
                    pid, file = words[-4:-2]
                    if file.endswith(f":{inode}"):
                        return f"process {pid}"
        return "another process"

    def _no_space(self) -> bool:
        with contextlib.suppress(OSError):
            disk = os.statvfs(self.path.parent)
            return disk.f_bavail * disk.f_frsize < 1 << 20
        return False


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system that holds `path`, "" where the system does not tell."""
    best, kind = "", ""
    with contextlib.suppress(OSError):
        for line in mounts.read_text(errors="replace").splitlines():
            _, folder, found, *_ = line.split(" ")
            folder = folder.replace("\\040", " ")
            if len(folder) >= len(best) and path.is_relative_to(folder):
                best, kind = folder, found
    return kind


def network_file_system(path: Path) -> str:
    """Return the type of the network file system that holds `path`; "" if the disk is local."""
    kind = file_system(path.resolve())
    return kind if kind.startswith(_NETWORK) else ""


def _code(exc: sqlite3.Error) -> int:
    """Return the primary result code of an error, 0 if it has none (misuse of the module)."""
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF


# --- fork -------------------------------------------------------------------------------------

_held: list[SqliteFile] = []


def _before_fork() -> None:
    """Finish what other threads do with their files, then close all."""
    for file in list(_open_files):
        file._lock.acquire()
        _held.append(file)
        file._disconnect()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
