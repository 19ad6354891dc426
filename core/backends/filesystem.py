"""Results as files of a folder, one each, under Celery's names.

A file is written aside and moved into its place, so that a reader finds the whole of it or
nothing.  A lock, kept by taskctl alone, parts the look at what is there from the write.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote

from ..errors import DecodeError, ImproperlyConfigured
from ..wire.outcome import StoredMeta
from ..wire.result_meta import says_success
from . import rows
from .keys import Keys
from .polling import PollingBackend

#: Longest name of a file, in bytes, on the file systems of Linux.
_NAME_BYTES = 255
#: The file that is locked while results are written.
_LOCK = ".taskctl-lock"
#: What names of files begin with that are not in their place yet.
_ASIDE = ".taskctl-new-"
#: Seconds after which a file that never came into its place is swept away: its writer died.
_ASIDE_KEPT = 3600.0


class FilesystemBackend(PollingBackend):
    """Results in a folder that is there; `file:///var/lib/results`.

    The folder may be shared between hosts if its file system moves files in one step and has
    locks.  May be used after a fork, in both processes.
    """

    compresses = True

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        path = url.partition("://")[2]
        if path.startswith("localhost/"):
            path = path.removeprefix("localhost")
        if not path:
            raise ImproperlyConfigured(f"{self.where} names no folder: file:///path/of/a/folder")
        self.folder = os.path.abspath(path if os.path.isdir(path) else unquote(path))
        self._keys = Keys(self.options, _fits)

    def open(self) -> None:
        if not os.path.isdir(self.folder):
            raise ImproperlyConfigured(
                f"{self.where}: {self.folder} is no folder: make it, writable by workers and"
                " readable by clients"
            )
        with self._errors():
            os.listdir(self.folder)

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            away = isinstance(exc, TimeoutError) or exc.strerror == "Stale file handle"
            text = f"{exc.filename or self.folder}: {exc.strerror or exc}"
            raise self.error(text, away=away) from exc

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other writers out."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path(_LOCK), flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        if not batch:
            return
        with self._errors(), self._locked():
            for item in batch:
                path = self._path(self._keys.of_task(item.task_id))
                old = self._read(path, self.lifetime("SUCCESS"))
                if old is None or not says_success(old):
                    self._write(path, item.meta)

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas = {}
        for task_id in task_ids:
            path = self._path(self._keys.of_task(task_id))
            with self._errors():
                data = self._read(path, self._longest())
            if data is None or (self._parted() and not self._alive(path, data)):
                continue
            metas[task_id] = data
        return metas

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        begins = self._keys.task_prefix
        with self._errors():
            names = os.listdir(self.folder)
        ids = [name.removeprefix(begins) for name in names if name.startswith(begins + prefix)]
        return list(self.load(ids[: 10 * limit]))[:limit]

    def forget(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._unlink(self._path(self._keys.of_task(task_id)))

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        with self._errors():
            self._write(self._path(self._keys.of_group(group_id)), value)

    def load_group(self, group_id: str) -> bytes | None:
        with self._errors():
            path = self._path(self._keys.of_group(group_id))
            return self._read(path, self.lifetime("SUCCESS"))

    def forget_group(self, group_id: str) -> None:
        self._unlink(self._path(self._keys.of_group(group_id)))

    def expire(self) -> int:
        dropped = 0
        longest = self._longest()
        with self._errors(), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(_ASIDE):
                    self._drop_if_old(entry.path, _ASIDE_KEPT)
                elif entry.name.startswith(self._keys.group_prefix):
                    dropped += self._drop_if_old(entry.path, self.lifetime("SUCCESS"))
                elif not entry.name.startswith(self._keys.task_prefix):
                    continue
                elif not self._parted():
                    dropped += self._drop_if_old(entry.path, longest)
                else:
                    dropped += self._drop_if_dead(entry.path)
        return dropped

    # --- files ------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _write(self, path: str, data: bytes) -> None:
        """Put a file in its place, whole, with the rights that the umask leaves."""
        aside = self._path(f"{_ASIDE}{uuid.uuid4().hex}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(aside, flags, 0o666), "wb") as file:
                file.write(data)
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(aside)
            raise

    def _read(self, path: str, lifetime: float | None) -> bytes | None:
        """Return the bytes of a file; None if it is not there, too old, or half written.

        Celery writes in place: what begins as JSON and does not end so is on its way.
        """
        try:
            with open(path, "rb") as file:
                if lifetime is not None and _age(os.fstat(file.fileno())) >= lifetime:
                    return None
                data = file.read()
        except FileNotFoundError:
            if not os.path.isdir(self.folder):
                raise
            return None
        if not data or (data.startswith(b"{") and not data.rstrip().endswith(b"}")):
            return None
        return data

    def _unlink(self, path: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            os.unlink(path)

    # --- lifetimes --------------------------------------------------------------------------

    def _parted(self) -> bool:
        """Return whether failures are kept for a time of their own."""
        return self.lifetime("FAILURE") != self.lifetime("SUCCESS")

    def _longest(self) -> float | None:
        lifetimes = [self.lifetime("SUCCESS"), self.lifetime("FAILURE")]
        return None if None in lifetimes else max(filter(None, lifetimes))

    def _alive(self, path: str, data: bytes) -> bool:
        try:
            state = str(rows.take_apart(data)[0].get("status"))
        except DecodeError:
            return True  # whoever reads it says so
        lifetime = self.lifetime(state)
        try:
            return lifetime is None or _age(os.stat(path)) < lifetime
        except FileNotFoundError:
            return False

    def _drop_if_old(self, path: str, lifetime: float | None) -> int:
        try:
            if lifetime is None or _age(os.stat(path)) < lifetime:
                return 0
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return 1

    def _drop_if_dead(self, path: str) -> int:
        data = self._read(path, None)
        if data is None or self._alive(path, data):
            return 0
        return self._drop_if_old(path, 0.0)


def _age(status: os.stat_result) -> float:
    return time.time() - status.st_mtime


def _fits(name: str) -> bool:
    """Return whether this can be the name of a file."""
    if "/" in name or "\x00" in name:
        return False
    try:
        return len(os.fsencode(name)) <= _NAME_BYTES
    except UnicodeEncodeError:
        return False
