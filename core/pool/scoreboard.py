"""The scoreboard: shared memory in which each child notes what it does.

A slot is eight machine words, one cache line.  The child writes, the parent reads, without a
lock: every word is an aligned 64-bit store, and one word alone decides.  REQUEST names what runs
(NOTHING between two requests); SINCE is written before it and DONE after the outcome was sent.
The words SOFT, KILL and LEAVE go the other way: the parent writes, the child obeys.
"""

from __future__ import annotations

import mmap

#: In a slot: no request.  Requests are numbered from 0.
NOTHING = -1

#: Words of a slot.  SINCE is time.monotonic_ns(), the same clock in every process.
STATE, REQUEST, SINCE, DONE, MEMORY_KIB, SOFT, KILL, LEAVE = range(8)
_WORDS = 8

#: What the STATE word says.  A serving child receives or runs; REQUEST tells which.
FREE, BOOTING, SERVING, LEAVING = range(4)

#: Children a scoreboard has room for; pages that nobody touches cost no memory.
MAX_CHILDREN = 1024


class Slot:
    """One child's line of the scoreboard; `words` is what the child writes to."""

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def clear(self, state: int) -> None:
        """Make the slot that of a child which has done nothing yet."""
        words = self.words
        words[STATE] = state
        words[SINCE] = words[DONE] = words[MEMORY_KIB] = words[LEAVE] = 0
        words[REQUEST] = words[SOFT] = words[KILL] = NOTHING

    @property
    def state(self) -> int:
        return int(self.words[STATE])

    @property
    def request(self) -> int:
        return int(self.words[REQUEST])

    @property
    def done(self) -> int:
        return int(self.words[DONE])

    @property
    def memory_kib(self) -> int:
        return int(self.words[MEMORY_KIB])

    def running(self) -> tuple[int, float] | None:
        """Return the request that runs and time.monotonic() of its start, or None."""
        words = self.words
        while (request := words[REQUEST]) != NOTHING:
            since = words[SINCE]
            if words[REQUEST] == request:
                return request, since / 1e9
        return None


class Scoreboard:
    """The slots of all children; made before the first fork, shared by inheritance."""

    def __init__(self, size: int = MAX_CHILDREN) -> None:
        self._memory = mmap.mmap(-1, size * _WORDS * 8)
        self._words = memoryview(self._memory).cast("q")

    def slot(self, index: int) -> Slot:
        """Return the slot of the child with that index."""
        return Slot(self._words[index * _WORDS : (index + 1) * _WORDS])
