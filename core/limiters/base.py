"""The contract every limiter keeps: passes, slots and locks that all workers and callers share.

A **pass** lets one run of a task begin, at a time; there are so many a second.  A **slot** is held
while one runs; there are so many of them.  A **lock** is held for one call of a unique task.
Keys are any text; a holder is the id of a task.

Each verb is one atomic step, whoever else asks at the same time.  Time is that of the store, not
of who asks: the server's for Redis, the host's for SQLite.  What is held ends by itself when its
seconds are over, so that nothing is held for ever by the dead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

#: How far ahead passes are given (seconds): whoever has one begins then, and not later.
HORIZON = 0.25


class PassWish(NamedTuple):
    """A wish for up to `wanted` passes of one key.

    A pass comes every `interval` seconds; up to `burst` that nobody took are saved up.
    """

    key: str
    interval: float
    burst: int
    wanted: int


class Passes(NamedTuple):
    """In how many seconds each pass is good; and when it is worth asking for more (seconds)."""

    delays: list[float]
    after: float


class SlotWish(NamedTuple):
    """A wish for one slot of a key for each holder; there are `size` in all."""

    key: str
    size: int
    holders: tuple[str, ...]


class LockWish(NamedTuple):
    """A wish for the lock of a key for so many seconds.

    `running` says that its task runs now: the lock ends that soon, also if it would have lasted
    longer, and `extend` and `free` leave it alone from then on.
    """

    key: str
    holder: str
    seconds: float
    running: bool = False


#: What is held: (key, holder).
Place = tuple[str, str]


class Limiter(ABC):
    """The counters at one URL.

    It connects when it is first asked, and again after a fork or a loss; safe to use from several
    threads.  Everything may raise LimiterError when the store is gone.
    """

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.options: Mapping[str, Any] = options or {}

    @abstractmethod
    def close(self) -> None:
        """Let go of every descriptor; what is held stays so."""

    @abstractmethod
    def reserve(self, wishes: Sequence[PassWish]) -> list[Passes]:
        """Give passes that are good within `HORIZON`; nobody else gets those.

        A pass cannot be given back: what is not used in its time is lost.
        """

    @abstractmethod
    def occupy(self, wishes: Sequence[SlotWish], seconds: float) -> list[list[str]]:
        """Give slots for `seconds`; return, for each wish, the holders that have one now.

        Who has one already keeps it, for `seconds` from now.
        """

    @abstractmethod
    def vacate(self, places: Iterable[Place]) -> None:
        """Give slots back; what is not held is ignored."""

    @abstractmethod
    def renew(self, places: Iterable[Place], seconds: float) -> None:
        """Hold these slots for `seconds` from now, also those whose time was over."""

    @abstractmethod
    def claim(self, wishes: Sequence[LockWish]) -> list[str]:
        """Take locks that are free; return who holds each now: the one who asked, or another.

        Who holds it already keeps it for the longer of the two times.
        """

    @abstractmethod
    def extend(self, places: Iterable[Place], seconds: float) -> None:
        """Hold these locks for `seconds` from now at least, if they are still held by these
        holders and their tasks do not run yet."""

    @abstractmethod
    def unlock(self, places: Iterable[Place]) -> None:
        """Give locks back, if they are held by these holders."""

    @abstractmethod
    def free(self, holders: Iterable[str]) -> None:
        """Give back all locks of these holders whose tasks do not run."""


def next_passes(
    tat: float, now: float, wish: PassWish, horizon: float = HORIZON
) -> tuple[float, Passes]:
    """Return (new arrival time, passes): the generic cell rate algorithm, by which all count.

    `tat` is when the next pass would be good if none were saved up (0: never given).  One that
    lies further ahead than any giving could have brought it is of another rate, or another
    clock, and starts anew.
    """
    saved = (wish.burst - 1) * wish.interval
    if tat > now + horizon + wish.burst * wish.interval + 1.0:
        tat = now
    delays: list[float] = []
    while True:
        start = max(now, tat - saved)
        if len(delays) == wish.wanted or start - now > horizon:
            return tat, Passes(delays, max(0.0, start - now - horizon))
        delays.append(start - now)
        tat = max(start, tat) + wish.interval
