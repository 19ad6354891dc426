"""What systemd is told of this process: sd_notify(3), without its library.

Everything is sent by the worker's main loop, the watchdog's sign of life above all: a loop that
stands still says nothing, and systemd acts. Sending never waits, and nobody listening is no error.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger("taskctl.worker")

#: Seconds between two lines of STATUS.
STATUS_EVERY = 10.0
#: Seconds asked for each time while running tasks are finished; three lines of STATUS.
EXTENSION = 30.0
#: Seconds until the next try after a datagram that did not arrive.
RETRY_AFTER = 1.0


class Notifier:
    """The line to the service manager; silent where there is none."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.address = _address(environ.get("NOTIFY_SOCKET", ""))
        #: Seconds within which a sign of life is expected; None if nobody does.
        self.watchdog = _watchdog(environ) if self.address else None

    def __bool__(self) -> bool:
        return self.address is not None

    def tell(self, *assignments: str) -> bool:
        """Send assignments such as `READY=1` in one datagram; return whether it arrived."""
        if self.address is None:
            return False
        # Opened anew each time: no descriptor that a child could inherit.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto("\n".join(assignments).encode(), self.address)
        except OSError as exc:
            log.debug("systemd cannot be told %s: %s", assignments[0], exc)
            return False
        return True


class Service:
    """Tells the service manager what is due: ready, status, watchdog, stopping."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier
        #: The last of ready, stopping and reloading that has arrived.
        self._said: str | None = None
        self._next_status = 0.0
        self._next_sign = 0.0
        self._retry_at = 0.0

    def look(
        self,
        now: float,
        status: Callable[[], str],
        *,
        ready: bool,
        stage: str | None = None,
        finishing: float | None = None,
    ) -> None:
        """Send what is due at `now` (time.monotonic).

        `status` makes the line of STATUS. `stage` is "stopping" or, if the end is followed by a
        new start in this process, "reloading". `finishing`: running tasks are finished; the most
        seconds they may still take, infinity for any number.
        """
        if not self.notifier or now < self._retry_at:
            return
        words: list[str] = []
        if ready and stage is None and self._said != "ready":
            words.append("READY=1")
        if stage is not None and self._said != stage:
            words += ["STOPPING=1"] if stage == "stopping" else _reloading()
        if now >= self._next_status or words:
            words.append(f"STATUS={_one_line(status())}")
            if stage is not None and finishing is not None:
                words.append(_extension(min(EXTENSION, finishing + STATUS_EVERY)))
        if self.notifier.watchdog is not None and now >= self._next_sign:
            words.append("WATCHDOG=1")
        if not words:
            return
        if self.notifier.tell(*words):
            self._note(words, now, "ready" if "READY=1" in words else stage)
        else:
            self._retry_at = now + RETRY_AFTER

    def _note(self, words: list[str], now: float, said: str | None) -> None:
        """Remember what was said."""
        self._said = said or self._said
        if any(word.startswith("STATUS=") for word in words):
            self._next_status = now + STATUS_EVERY
        if "WATCHDOG=1" in words and self.notifier.watchdog is not None:
            self._next_sign = now + self.notifier.watchdog / 2

    def waiting(self, now: float, status: str, seconds: float) -> None:
        """Say, while starting, what is waited for, and that it may take `seconds` more."""
        self._next_status = now + STATUS_EVERY
        self.notifier.tell(f"STATUS={_one_line(status)}", _extension(seconds + EXTENSION))

    def next_due(self, now: float) -> float | None:
        """Return seconds until `look` has something to say; None if nobody listens."""
        if not self.notifier:
            return None
        times = [self._next_status]
        if self.notifier.watchdog is not None:
            times.append(self._next_sign)
        return max(0.0, max(min(times), self._retry_at) - now)


def _address(path: str) -> str | None:
    """Return the address of the socket; `@` stands for the abstract name space."""
    if path.startswith("@"):
        return "\0" + path[1:]
    return path if path.startswith("/") else None


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return the seconds systemd waits for a sign of life of this very process."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or not int(wanted):
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(wanted) / 1e6


def _reloading() -> list[str]:
    # READY=1 of the program that is executed in our place ends this.
    return ["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"]


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
