"""The terminal while the live view has it: the alternate screen, keys without Enter, and back.

However the view ends (a key, a signal, an exception), the terminal is left as it was found.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .keys import Keys

Line = Sequence[tuple[str, str]]

#: Seconds after which a lone ESC is the key, not the beginning of a sequence.
_ESC_WAIT = 0.05


class Screen:
    """The whole terminal, from `with` to its end; stdin and stdout must be one.

    `say` takes what the log has to say meanwhile, which would tear the picture.
    """

    def __init__(self, *, colour: bool, say: Callable[[str], Any]) -> None:
        self._console = Console(
            file=sys.stdout, force_terminal=True, no_color=not colour, highlight=False,
            markup=False, emoji=False, legacy_windows=False,
        )  # fmt: skip
        self._in = sys.stdin.fileno()
        self._keys = Keys()
        self._log = _Notes(say)

    # -- from and back to a plain terminal

    def __enter__(self) -> Screen:
        self._saved = termios.tcgetattr(self._in)
        self._wake, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._handlers = {
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, self._ring),
            signal.SIGTERM: signal.signal(signal.SIGTERM, _end),
            signal.SIGHUP: signal.signal(signal.SIGHUP, _end),
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._pause),
        }
        logging.getLogger().addHandler(self._log)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._give_back()
        logging.getLogger().removeHandler(self._log)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake)
        os.close(self._bell)

    def _take(self) -> None:
        tty.setcbreak(self._in, termios.TCSADRAIN)
        self._live = Live(
            Text(), console=self._console, screen=True, auto_refresh=False,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._live.start()

    def _give_back(self) -> None:
        # A terminal that is gone can be told nothing any more.
        with contextlib.suppress(OSError):
            self._live.stop()
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._saved)

    def _pause(self, number: int, at: FrameType | None) -> None:
        """Ctrl-Z: give the terminal back until the shell lets us go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._ring()

    def _ring(self, *_: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"!")

    # -- what is shown, and what is typed

    def size(self) -> tuple[int, int]:
        """Return columns and lines, as they are now."""
        found = os.get_terminal_size(sys.stdout.fileno())
        return max(1, found.columns), max(1, found.lines)

    def draw(self, lines: Sequence[Line], size: tuple[int, int]) -> None:
        """Show these lines, in one go."""
        self._console.size = size
        text = Text(no_wrap=True, overflow="crop")
        for position, line in enumerate(lines):
            text.append("\n" if position else "")
            for part, style in line:
                text.append(part, style or None)
        self._live.update(text, refresh=True)

    def wait(self, longest: float) -> list[str]:
        """Return the keys that were pressed; wait up to `longest` seconds, or for a new size."""
        if self._keys.pending:
            ready, _, _ = select.select([self._in], [], [], _ESC_WAIT)
            if not ready:
                return self._keys.flush()
        ready, _, _ = select.select([self._in, self._wake], [], [], max(0.0, longest))
        if self._wake in ready:
            os.read(self._wake, 1024)
        if self._in not in ready:
            return []
        data = os.read(self._in, 1024)
        if not data:
            raise EOFError("the terminal is gone")
        return self._keys.feed(data)


class _Notes(logging.Handler):
    """Hands warnings on as text."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


def _end(number: int, at: FrameType | None) -> None:
    """Leave through every `finally`, with the exit code of a signal."""
    raise SystemExit(128 + number)
