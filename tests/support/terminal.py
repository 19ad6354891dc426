"""A terminal to look at: a program on a real pseudo-terminal, and the screen it draws.

The screen knows as much of a terminal's language as programs here speak: moving and clearing, the
alternate screen, the cursor, reverse video.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .waiting import eventually

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>78]")
_BEGUN = re.compile(r"\x1b(?:\[[?0-9;]*|[()])?\Z")


class Grid:
    """The characters of a screen."""

    def __init__(self, columns: int, lines: int) -> None:
        self.resize(columns, lines)
        self.alternate = False
        self.cursor_shown = True
        self.reversed_lines: set[int] = set()
        self._reverse = False
        self._rest = ""

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self._clear()

    def _clear(self) -> None:
        self.cells = [[" "] * self.columns for _ in range(self.lines)]
        self.reversed_lines = set()
        self.x = self.y = 0

    @property
    def rows(self) -> list[str]:
        """The lines as text, without the blanks at their ends."""
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, text: str) -> None:
        """Take in what a program wrote."""
        text, self._rest = self._rest + text, ""
        position = 0
        while position < len(text):
            if text[position] == "\x1b":
                found = _SEQUENCE.match(text, position)
                if found is None:
                    if _BEGUN.match(text, position):
                        self._rest = text[position:]
                        return
                    position += 1
                    continue
                if found[2]:
                    self._obey(found[1], found[2])
                position = found.end()
                continue
            self._put(text[position])
            position += 1

    def _put(self, char: str) -> None:
        if char == "\r":
            self.x = 0
        elif char == "\n":
            if self.y == self.lines - 1:
                self.cells = [*self.cells[1:], [" "] * self.columns]
            self.y = min(self.y + 1, self.lines - 1)
        elif char.isprintable():
            if self.x < self.columns:
                self.cells[self.y][self.x] = char
                if self._reverse:
                    self.reversed_lines.add(self.y)
                elif self.x == 0:
                    self.reversed_lines.discard(self.y)
            self.x += 1

    def _obey(self, words: str, letter: str) -> None:
        numbers = [int(n) for n in words.strip("?").split(";") if n]
        first = numbers[0] if numbers else 0
        match letter:
            case "H" | "f":
                self.y = max(0, min((numbers[:1] or [1])[0], self.lines) - 1)
                self.x = max(0, (numbers[1:2] or [1])[0] - 1)
            case "A":
                self.y = max(0, self.y - max(1, first))
            case "B":
                self.y = min(self.lines - 1, self.y + max(1, first))
            case "J":
                for y in range(0 if first == 2 else self.y, self.lines):
                    self.cells[y] = [" "] * self.columns
            case "K":
                start = 0 if first == 2 else self.x
                self.cells[self.y][start:] = [" "] * (self.columns - start)
            case "m":
                self._reverse = bool(numbers) and (7 in numbers or self._reverse)
            case "h" | "l" if words.startswith("?"):
                self._switch(first, letter == "h")

    def _switch(self, mode: int, on: bool) -> None:
        if mode == 1049:
            self.alternate = on
            self._clear()
        elif mode == 25:
            self.cursor_shown = on


class Terminal:
    """A program at work on a terminal of its own, with keys to press."""

    def __init__(
        self,
        argv: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self.grid = Grid(columns, lines)
        self._leader, follower = pty.openpty()
        self._size(columns, lines)
        self.found = termios.tcgetattr(follower)
        self._follower = follower
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env={"TERM": "xterm-256color", **env},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            # Keys make signals only for the terminal a session is controlled by.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.raw = b""

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Change the window, as dragging its corner does."""
        self.grid.resize(columns, lines)
        self._size(columns, lines)

    @property
    def rows(self) -> list[str]:
        """The lines on the screen now."""
        while select.select([self._leader], [], [], 0.0)[0]:
            try:
                data = os.read(self._leader, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not data:
                break
            self.raw += data
            self.grid.feed(data.decode(errors="replace"))
        return self.grid.rows

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    def press(self, keys: str) -> None:
        """Type something."""
        os.write(self._leader, keys.encode())

    def until(self, *words: str, gone: str = "", within: float = 10.0) -> str:
        """Wait until all these words are on the screen, and one is not; return what it shows."""

        def shown() -> str:
            text = self.text
            done = all(word in text for word in words) and not (gone and gone in text)
            return text if done else ""

        try:
            return eventually(shown, within=within)
        except AssertionError:
            raise AssertionError(f"no {words} (or still {gone!r}) in:\n{self.text}") from None

    def end(self, within: float = 10.0) -> int:
        """Wait until the program has ended; return its exit code."""
        eventually(lambda: (self.rows, self.process.poll())[1] is not None, within=within)
        return int(self.process.wait())

    @property
    def is_clean(self) -> bool:
        """Whether the terminal is as the program found it: modes, cursor, screen."""
        _ = self.rows
        same = termios.tcgetattr(self._follower) == self.found
        return same and self.grid.cursor_shown and not self.grid.alternate

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        os.close(self._leader)
        os.close(self._follower)

    def wait_a_frame(self) -> None:
        """Return when the program has drawn once more."""
        drawn = len(self.raw)
        deadline = time.monotonic() + 10
        while len(self.raw) == drawn and time.monotonic() < deadline:
            _ = self.rows
            time.sleep(0.01)
