"""Signals of the operating system, put in a queue.

The handler only notes the number and wakes the select; what it means is decided in the loop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections import deque
from types import FrameType
from typing import Any

#: What a worker obeys; see obedience.py.
OBEYED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class SignalBox:
    """Collects signals of this process while open.

    Outside of the main thread the system's signals are not ours to take: only `put` brings any.
    """

    def __init__(self) -> None:
        self._arrived: deque[int] = deque()
        self._before: dict[int, Any] = {}
        self._taken = False
        self._ours, self._kernels = socket.socketpair()
        self._ours.setblocking(False)
        self._kernels.setblocking(False)

    def open(self) -> None:
        """Take over the signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._taken = True
        signal.set_wakeup_fd(self._kernels.fileno(), warn_on_full_buffer=False)
        for number in OBEYED:
            self._before[number] = signal.signal(number, self._note)
            # A slow system call of a driver is restarted rather than failed.
            signal.siginterrupt(number, False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append(number)

    def put(self, number: int) -> None:
        """Let it be as if this signal had come; from any thread."""
        self._arrived.append(number)
        self.wake()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal has come."""
        return self._ours.fileno()

    def take(self) -> list[int]:
        """Return the signals that came since the last call, oldest first."""
        with contextlib.suppress(BlockingIOError):
            while self._ours.recv(64):
                continue
        arrived: list[int] = []
        while self._arrived:  # one by one: the handler may run between any two steps
            arrived.append(self._arrived.popleft())
        return arrived

    def wake(self) -> None:
        """Let the descriptor become readable though no signal has come; from any thread."""
        with contextlib.suppress(OSError):  # full, so it is readable; or closed at the end
            self._kernels.send(b"\0")

    def take_only(self, number: int) -> bool:
        """Return whether this signal has come, and forget it; for the second thread."""
        try:
            # One step: a signal that comes meanwhile is not lost.
            self._arrived.remove(number)
        except ValueError:
            return False
        return True

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        if self._taken:
            signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self._ours.close()
        self._kernels.close()


def remapped(number: int) -> int:
    """Return the signal that `number` stands for: REMAP_SIGTERM=SIGQUIT makes TERM cold."""
    if number == signal.SIGTERM and os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
        return int(signal.SIGQUIT)
    return number
