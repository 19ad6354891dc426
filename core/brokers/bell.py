"""Doorbells: how one process tells others, within a millisecond, that a file has something new.

Whoever wants to be woken owns a named pipe in a folder beside the file; its name ends in the
letters it answers to.  Whoever committed something writes that letter into every such pipe.
A bell is a hint: it may ring for nothing, and who misses one looks again after `poll_interval`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from uuid import uuid4

#: What may be new, as the letter that is rung and that ends a bell's name.
QUEUES, BROADCASTS = "q", "b"

#: Seconds after which a half-made bell must be what a killed process left behind.
_STALE = 60.0


class Bell:
    """A bell that threads of one process ring: a pipe; `fileno` is readable once it was rung."""

    #: False where nobody can reach the bell, so that its owner must look by itself.
    shared = True

    def __init__(self) -> None:
        self.letters = ""
        self._read = self._write = -1

    def open(self) -> None:
        """Hang up the bell, deaf to everything yet."""
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)

    def fileno(self) -> int:
        """Return the descriptor to wait on; it stays the same while the bell is open."""
        return self._read

    def answer_to(self, letter: str) -> None:
        """Be rung for `letter` too, and ring once: it may have come a moment ago."""
        if letter not in self.letters:
            self.letters += letter
            self.ring(letter)

    def ring(self, letter: str) -> None:
        """Ring this bell."""
        with contextlib.suppress(BlockingIOError):  # full: it is ringing already
            os.write(self._write, letter.encode())

    def quiet(self, letter: str) -> None:
        """Stop ringing for `letter`; what rings for another letter goes on."""
        rung = b""
        with contextlib.suppress(BlockingIOError):
            while not rung or len(rung) % 4096 == 0:
                rung += os.read(self._read, 4096)
        for other in self.letters:
            if other != letter and other.encode() in rung:
                self.ring(other)

    def close(self) -> None:
        """Take the bell down; closing twice does nothing."""
        for fd in {self._read, self._write} - {-1}:
            os.close(fd)
        self._read = self._write = -1
        self.letters = ""


class SharedBell(Bell):
    """A bell that other processes ring: a named pipe, in a folder they all know.

    Where the file system has no named pipes it is a plain one, and `shared` is false.
    """

    def __init__(self, folder: Path, mode: int) -> None:
        super().__init__()
        self.folder = folder
        self.mode = mode
        self._name = uuid4().hex

    def open(self) -> None:
        # Made and opened under a hidden name: a bell without a reader is taken for stale.
        hidden = self.folder / f".{self._name}"
        try:
            _sweep(self.folder, self.mode)
            os.mkfifo(hidden, self.mode)
            os.chmod(hidden, self.mode)  # whatever the umask says
            fd = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.rename(hidden, self._path())
        except OSError:
            self.shared = False
            super().open()
        else:
            self._read = self._write = fd

    def answer_to(self, letter: str) -> None:
        old = self._path()
        super().answer_to(letter)
        if self.shared and self._path() != old:
            os.rename(old, self._path())
            self.ring(letter)  # what came before the new name was seen

    def close(self, *, remove: bool = True) -> None:
        """Take the bell down; a forked child passes `remove=False`, for it is its parent's."""
        if self.shared and remove and self._read >= 0:
            self._path().unlink(missing_ok=True)
        super().close()

    def _path(self) -> Path:
        return self.folder / f"{self._name}-{self.letters}"


class Ringer:
    """The other end of shared bells: rings everybody's, and removes those of the dead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fds: dict[str, int] = {}

    def ring(self, letter: str) -> None:
        """Ring every bell that answers to `letter`."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return  # nobody has hung up a bell yet
        if self._fds:
            self._forget(set(self._fds).difference(names))
        for name in names:
            if letter in name[33:] and not name.startswith("."):
                self._ring_one(name, letter.encode())

    def _ring_one(self, name: str, letter: bytes) -> None:
        path = self.folder / name
        try:
            if name not in self._fds:
                self._fds[name] = _open_pipe(path)
            os.write(self._fds[name], letter)
        except BlockingIOError:
            return  # full: it is ringing already
        except OSError as exc:
            self._forget({name})
            # ENXIO and EPIPE: its owner died.  EACCES is another user's, who polls.
            if not isinstance(exc, FileNotFoundError | PermissionError):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _forget(self, names: set[str]) -> None:
        for name in names:
            fd = self._fds.pop(name, None)
            if fd is not None:
                os.close(fd)

    def close(self) -> None:
        """Let go of all descriptors."""
        self._forget(set(self._fds))


def _open_pipe(path: Path) -> int:
    """Open a bell for ringing; nothing else that somebody may have put there."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise PermissionError(f"{path} is not a named pipe")
    return fd


def _sweep(folder: Path, mode: int) -> None:
    """Make the folder, private unless bells of this mode are shared with a group; remove what
    processes killed in the middle of `open` left there."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o770 if mode & stat.S_IWGRP else 0o700)
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.stat().st_mtime < time.time() - _STALE:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
