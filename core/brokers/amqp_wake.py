"""One descriptor for all that may have come: sockets, and what was read from them already."""

from __future__ import annotations

import contextlib
import os
import selectors


class Wake:
    """Readable while one of the watched descriptors is, or while it rings for somebody."""

    def __init__(self) -> None:
        # epoll and kqueue can be waited for like a socket; every system we run on has one.
        self._selector = selectors.DefaultSelector()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._selector.register(self._read, selectors.EVENT_READ)
        self._reasons: set[str] = set()

    def fileno(self) -> int:
        """Return the descriptor; it stays the same until `close`."""
        return int(self._selector.fileno())

    def watch(self, fd: int) -> None:
        """Be readable whenever `fd` is."""
        self._selector.register(fd, selectors.EVENT_READ)

    def ring(self, reason: str) -> None:
        """Be readable until `quiet` of the same reason."""
        if not self._reasons:
            os.write(self._write, b"!")
        self._reasons.add(reason)

    def quiet(self, reason: str) -> None:
        """Ring no longer for this reason."""
        if reason in self._reasons:
            self._reasons.discard(reason)
            if not self._reasons:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._read, 16)

    def close(self) -> None:
        """Let go of the descriptors; what a parent watches with its own is untouched."""
        self._selector.close()
        os.close(self._read)
        os.close(self._write)
