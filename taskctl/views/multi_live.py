"""Lines at the foot of a terminal that are drawn again and again, and then are gone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import TextIO

from taskctl.tables import width_of

#: Nothing is drawn for waits that are over sooner, in seconds.
_AFTER = 0.5
#: Seconds between two drawings.
_EVERY = 0.5
#: Rows of the terminal left for what has been said.
_ABOVE = 4


class Live:
    """The foot of a terminal. Clear it before anything else is written."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal
        self._rows = 0
        self._next = time.monotonic() + _AFTER

    def due(self) -> bool:
        """Return whether it is time to draw."""
        return time.monotonic() >= self._next

    def draw(self, lines: Sequence[str], columns: int | None) -> None:
        """Draw these lines in place of the last ones, none longer than the terminal."""
        size = shutil.get_terminal_size()
        height = max(1, size.lines - _ABOVE)
        shown = list(lines[:height])
        if len(lines) > height:
            shown[-1] = f"... and {len(lines) - height + 1} more"
        width = (columns or size.columns) - 1
        cut = [line if width_of(line) <= width else line[: width - 1] + "…" for line in shown]
        self.terminal.write(self._up() + "".join(f"{line}\n" for line in cut))
        self.terminal.flush()
        self._rows = len(cut)
        self._next = time.monotonic() + _EVERY

    def clear(self) -> None:
        """Take away what was drawn."""
        if self._rows:
            self.terminal.write(self._up())
            self.terminal.flush()
            self._rows = 0

    def _up(self) -> str:
        return f"\x1b[{self._rows}A\r\x1b[J" if self._rows else ""
