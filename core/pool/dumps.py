"""The stacks of a child, written by itself into a file that its parent reads.

The child's handler is faulthandler's, in C: it answers at once whatever the child does, also in
the middle of a C extension, and touches nothing of Python's. Its file is made before the fork,
so parent and child share it without a name.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import signal
import time

from . import frames

#: Asks a child for its stacks.  A real-time signal, which no task is likely to use for itself.
SIGNAL: int = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2

#: Seconds of silence after which a dump is taken to be whole: from a child that sleeps, and from
#: one that computes, which the kernel may have put aside in the middle of its dump.
_WHOLE_ASLEEP, _WHOLE_RUNNING = 0.003, 0.02


class Dump:
    """One child's stacks: the file, and how far the answer to the last question has come."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._size = 0
        self._still_since = 0.0
        # Without a descriptor to spare the child goes without.
        with contextlib.suppress(OSError):
            made = frames.unnamed_file()
            # Standard streams that are closed leave low numbers free, which others may redirect.
            self.fd = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(made)
            fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)

    def answer(self) -> None:
        """In the child: write all stacks whenever the signal comes."""
        if self.fd is None:
            signal.signal(SIGNAL, signal.SIG_IGN)
        else:
            faulthandler.register(SIGNAL, self.fd, all_threads=True, chain=False)

    def begin(self) -> None:
        """In the parent, before the signal is sent: forget what stands there."""
        if self.fd is not None:
            os.ftruncate(self.fd, 0)
        self._size = 0
        self._still_since = time.monotonic()

    def whole(self, asleep: bool) -> bool:
        """Return whether all has been written, as far as one can know."""
        if self.fd is None:
            return True
        now, size = time.monotonic(), os.fstat(self.fd).st_size
        if size != self._size:
            self._size, self._still_since = size, now
        return size > 0 and now - self._still_since > (_WHOLE_ASLEEP if asleep else _WHOLE_RUNNING)

    def text(self) -> str:
        """Return what was written, as faulthandler writes it."""
        if self.fd is None:
            return ""
        size = os.fstat(self.fd).st_size
        return os.pread(self.fd, size, 0).decode(errors="replace")

    def close(self) -> None:
        """Let go of the file."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
