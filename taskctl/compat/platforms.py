"""Facts of the platform, and signals of the system.  Behaviour: Celery 5.7 platforms.py."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

EX_OK, EX_FAILURE = 0, 1
EX_USAGE, EX_UNAVAILABLE, EX_CANTCREAT = os.EX_USAGE, os.EX_UNAVAILABLE, os.EX_CANTCREAT

SYSTEM = os.uname().sysname
IS_macOS = sys.platform == "darwin"
IS_WINDOWS = False


def isatty(fh: Any) -> bool:
    """Return whether a stream is a terminal."""
    ask = getattr(fh, "isatty", None)
    return bool(ask and ask())


def get_errno_name(n: int | str) -> int:
    """Return the number of an error by its name."""
    return int(getattr(errno, n)) if isinstance(n, str) else n


def strargv(argv: list[str]) -> str:
    """Return the words of a command line as text, without the program."""
    return shlex.join(argv[1:])


def signal_name(num: int) -> str:
    """Return the name of a signal without SIG."""
    return signal.Signals(num).name.removeprefix("SIG")


class Signals:
    """The signals of this process, by name."""

    ignored, default = signal.SIG_IGN, signal.SIG_DFL

    def supported(self, name: str) -> bool:
        """Return whether the system has this signal."""
        return hasattr(signal, self._full(name))

    def signum(self, name: str | int) -> int:
        """Return the number of a signal."""
        return name if isinstance(name, int) else int(signal.Signals[self._full(name)])

    @staticmethod
    def _full(name: str) -> str:
        return name if name.startswith("SIG") else f"SIG{name.upper()}"

    def __getitem__(self, name: str | int) -> Any:
        return signal.getsignal(self.signum(name))

    def __setitem__(self, name: str | int, handler: Any) -> None:
        signal.signal(self.signum(name), handler)

    def reset(self, *names: str) -> None:
        """Give signals their default actions back."""
        self.update(dict.fromkeys(names, self.default))

    def ignore(self, *names: str) -> None:
        """Ignore signals."""
        self.update(dict.fromkeys(names, self.ignored))

    def update(self, handlers: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set handlers by the names of signals; those the system has not are passed over."""
        for name, handler in {**(handlers or {}), **more}.items():
            if self.supported(name):
                self[name] = handler

    def arm_alarm(self, seconds: float) -> None:
        """Have SIGALRM come after so many seconds."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def reset_alarm(self) -> None:
        """Have it not come."""
        signal.alarm(0)


signals = Signals()
get_signal = signals.signum
install_signal_handler: Callable[[str, Any], None] = signals.__setitem__
reset_signal = signals.reset
ignore_signal = signals.ignore
