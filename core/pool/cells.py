"""Cells: shared memory in which a child that runs many at once notes each request it has begun.

Three machine words a cell: the request that runs in it (NOTHING: none), time.monotonic_ns() of its
start, and an order to it.  The parent says which cell a piece of work gets, so no two share one;
the child writes the first two, the parent the third, which the child obeys and clears.
"""

from __future__ import annotations

import mmap

from .scoreboard import NOTHING

#: Cells of a child: the most it can run at once.  Pages that nobody touches cost no memory.
MAX_CELLS = 65_536

#: What an order says: nothing, raise the soft limit in it, cancel it.
NO_ORDER, SOFTEN, STOP = 0, 1, 2

_WORDS = 3


class Cells:
    """The cells of one child; made before its fork, shared by inheritance."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, MAX_CELLS * _WORDS * 8)).cast("q")

    def begin(self, cell: int, request: int, since_ns: int) -> None:
        """Note that a request has begun."""
        words, at = self._words, cell * _WORDS
        words[at + 1] = since_ns
        words[at + 2] = NO_ORDER
        # Requests are numbered from 0, and new memory is 0.
        words[at] = request - NOTHING

    def end(self, cell: int) -> None:
        """Note that it has ended, and that its outcome is on its way."""
        self._words[cell * _WORDS] = 0

    def begun(self, cell: int, request: int) -> float | None:
        """Return time.monotonic() of the start of a request; None if it has not begun."""
        at = cell * _WORDS
        if self._words[at] != request - NOTHING:
            return None
        return self._words[at + 1] / 1e9

    def order(self, cell: int, order: int) -> None:
        """Give an order to what runs in a cell; the child looks when it is signalled."""
        self._words[cell * _WORDS + 2] = order

    def take_order(self, cell: int) -> int:
        """Return the order, and clear it."""
        at = cell * _WORDS + 2
        order = self._words[at]
        if order:
            self._words[at] = NO_ORDER
        return int(order)
