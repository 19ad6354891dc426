"""Pidfiles that cannot lie: `PID\\n`, held by kernel locks for as long as the process lives.

A pid in a file proves nothing; processes die without tidying and their pids are handed out
again. So the file is locked: byte 0 while its process lives, byte 1 while it is ready to work.
The locks are POSIX record locks, because of them alone the kernel tells *who* holds one
(F_GETLK), asking takes nothing, and a forked child does not inherit them: a pool child that
outlives its parent cannot keep the parent's pidfile alive, as it would with flock.

Their one trap: a process loses its locks on a file when it closes any descriptor of it. So only
this module opens pidfiles, and `read_pid` never opens one that this very process holds.

Rule of the file: only who holds the lock of the file that now lies at `path` may replace or
remove it. A new file is written and locked aside and then renamed, so a reader sees a whole
line, and never sees it unlocked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import tempfile
import time
from dataclasses import dataclass

from . import process
from .errors import PidfileError, PidfileHeld
from .places import make_folder

_ALIVE, _READY = 0, 1
#: struct flock, with native alignment: Linux orders type first, the BSDs and macOS last.
_FLOCK = "hhqqi4x" if sys.platform.startswith("linux") else "qqihh4x"
#: The longest line we believe to be a pid.
_MAX_LINE = 20
#: Seconds a taker waits for somebody who is just replacing the file (a matter of microseconds).
_TAKEOVER = 0.5

#: Carries the number of the held descriptor over an exec.
_FD_VARIABLE = "TASKCTL_PIDFILE_FD"

#: (device, inode) of the pidfiles this process holds, and whether it said ready.
_held: dict[tuple[int, int], bool] = {}
os.register_at_fork(after_in_child=_held.clear)


@dataclass(frozen=True)
class LivePid:
    """A live process that holds its pidfile; `ready` once it has said so."""

    pid: int
    born: str
    ready: bool


@dataclass(frozen=True)
class Stale:
    """A pidfile that nobody stands behind; never signal `pid`. `why` is for people."""

    pid: int | None
    why: str


class Pidfile:
    """A pidfile of this process, from `acquire` to `release` or the end of the process."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self._fd: int | None = None
        self._owner = 0

    def acquire(self) -> None:
        """Make the file, with this process's pid, and hold it; replace a stale one.

        A missing folder is made, for this user alone.

        Raises PidfileHeld if a live process holds it, PidfileError if it cannot be made.
        """
        deadline = time.monotonic() + _TAKEOVER
        try:
            make_folder(os.path.dirname(self.path))
            while not self._take():
                if time.monotonic() > deadline:
                    raise PidfileHeld(self.path, self._holder())
                time.sleep(0.005)
        except OSError as exc:
            raise PidfileError(
                f"cannot make pidfile {self.path}: {exc.strerror or exc}; "
                f"choose another folder with --pidfile or TASKCTL_RUN_DIR"
            ) from exc
        if inherited := os.environ.pop(_FD_VARIABLE, ""):
            with contextlib.suppress(OSError):
                os.close(int(inherited))

    def mark_ready(self, ready: bool = True) -> None:
        """Let every reader of the file know that this process is ready to work, or not."""
        if self._fd is None:
            return
        operation = fcntl.LOCK_EX | fcntl.LOCK_NB if ready else fcntl.LOCK_UN
        fcntl.lockf(self._fd, operation, 1, _READY)
        _held[_identity(os.fstat(self._fd))] = ready

    def release(self) -> None:
        """Remove the file and let go of it; nothing happens in a forked child."""
        if self._fd is None or self._owner != os.getpid():
            return
        mine = _identity(os.fstat(self._fd))
        with contextlib.suppress(FileNotFoundError):
            if _identity(os.stat(self.path)) == mine:
                os.unlink(self.path)
        _held.pop(mine, None)
        os.close(self._fd)
        self._fd = None

    def keep_over_exec(self) -> None:
        """Carry the locks over an exec of this process; `acquire` afterwards finds them.

        Call right before `os.exec*`: the file then never looks stale in between.
        """
        if self._fd is not None:
            os.set_inheritable(self._fd, True)
            os.environ[_FD_VARIABLE] = str(self._fd)

    def _take(self) -> bool:
        """One try; False if the file changed hands meanwhile."""
        current = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _lock(current) or not _is_at(current, self.path):
                return False
            self._replace()
            return True
        except OSError:
            if os.fstat(current).st_size == 0:  # ours, made two lines above: a full disk
                os.unlink(self.path)
            raise
        finally:
            os.close(current)

    def _replace(self) -> None:
        """Put our file over the one whose lock we hold."""
        folder, name = os.path.split(self.path)
        fd, aside = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            os.fchmod(fd, 0o644)
            os.write(fd, f"{os.getpid()}\n".encode())
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _ALIVE)
            os.rename(aside, self.path)
        except OSError:
            os.close(fd)
            os.unlink(aside)
            raise
        self._fd, self._owner = fd, os.getpid()
        _held[_identity(os.fstat(fd))] = False

    def _holder(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return _lock_holder(fd, _ALIVE) or 0
        finally:
            os.close(fd)


def read_pid(
    path: str | os.PathLike[str], recorded: tuple[int, str] | None = None
) -> LivePid | Stale | None:
    """Return who stands behind a pidfile; None if it is not there. Changes nothing.

    `recorded`: pid and birth as they were noted when it was started, if they were.
    A process is live only if the kernel says that it, and no other, holds the file.

    Raises PidfileError if the file cannot be read.
    """
    try:
        if (own := _held.get(_identity(os.stat(path)))) is not None:
            return LivePid(os.getpid(), process.birth(os.getpid()) or "", own)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise PidfileError(f"cannot read pidfile {os.fspath(path)}: {exc.strerror}") from exc
    try:
        pid = _parse(os.read(fd, _MAX_LINE + 1))
        holder = _lock_holder(fd, _ALIVE)
        ready = _lock_holder(fd, _READY) is not None
    finally:
        os.close(fd)
    return _judge(pid, holder, ready, recorded)


def remove_stale(path: str | os.PathLike[str]) -> bool:
    """Remove a pidfile that nobody holds; False if there is none or somebody holds it now.

    Raises PidfileError if it cannot be removed.
    """
    try:
        if _identity(os.stat(path)) in _held:
            return False
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise PidfileError(f"cannot remove stale pidfile {path}: {exc.strerror}") from exc
    try:
        if not _lock(fd) or not _is_at(fd, path):
            return False
        os.unlink(path)
        return True
    except OSError as exc:
        raise PidfileError(f"cannot remove stale pidfile {path}: {exc.strerror}") from exc
    finally:
        os.close(fd)


def _judge(
    pid: int | None, holder: int | None, ready: bool, recorded: tuple[int, str] | None
) -> LivePid | Stale:
    if pid is None and holder is None:
        return Stale(None, "it holds no pid")
    if holder is None:
        if process.birth(pid or 0) is None:
            return Stale(pid, f"pid {pid} is gone")
        what = process.describe(pid or 0) or "of another program"
        return Stale(pid, f"pid {pid} does not hold it: {what}")
    if pid is None:
        return Stale(None, "it is being written or removed right now")
    if holder != pid:
        return Stale(pid, "its lock is held by a process of another host or container")
    born = process.birth(pid)
    if born is None:
        return Stale(pid, f"pid {pid} is gone")
    if recorded is not None and recorded[0] == pid and recorded[1] != born:
        return Stale(pid, f"pid {pid} was started at another time than recorded")
    return LivePid(pid, born, ready)


def _parse(line: bytes) -> int | None:
    """A whole line with one number; a torn or foreign file has no pid."""
    if not line.endswith(b"\n") or not line[:-1].isdigit():
        return None
    return int(line) or None


def _lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _ALIVE)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, fcntl(2)
        return False
    return True


def _lock_holder(fd: int, byte: int) -> int | None:
    """Return the pid that holds the lock of this byte, 0 if it is not visible, None if free."""
    if _FLOCK.startswith("h"):
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, question))
    else:
        question = struct.pack(_FLOCK, byte, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
        _, _, pid, kind, _ = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, question))
    return None if kind == fcntl.F_UNLCK else max(0, int(pid))


def _is_at(fd: int, path: str | os.PathLike[str]) -> bool:
    """Return whether this open file is still the one that lies at `path`."""
    try:
        return _identity(os.stat(path)) == _identity(os.fstat(fd))
    except FileNotFoundError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
