"""The contract every pool keeps.

A pool runs envelopes with the `serve` it was handed and says what became of each.  It fetches
nothing, stores nothing and acks nothing.  `submit` and `collect` never wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..errors import TaskctlError
from ..wire.outcome import Outcome


class PoolError(TaskctlError):
    """Raised when a pool cannot run at all, or is asked for what it cannot be."""


class Work(msgspec.Struct, array_like=True, kw_only=True):
    """One request on its way to a child.

    `request` is the parent's number for it, 0 or more, unique while it lives.  Times are
    seconds (float); `soft` and `hard` limits are None when there is none.  `announce` asks for a
    `Started` record when it begins; `describe` asks for the texts of the outcome (logs, events).
    `cell` is the pool's own: where a child that runs many at once notes this one.
    """

    request: int
    envelope: bytes
    queue: str = ""
    deliveries: int = 0
    redelivered: bool = False
    soft: float | None = None
    hard: float | None = None
    announce: bool = False
    describe: bool = True
    cell: int = 0


class Started(msgspec.Struct, array_like=True, kw_only=True):
    """A child has begun a request that asked to be announced; `at` is time.time()."""

    request: int
    pid: int
    at: float


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What one child does right now; `since` is time.monotonic() of the start."""

    request: int
    pid: int
    child: int
    since: float


#: What a child calls for each piece of work: never raises, returns its outcome.
Serve = Callable[[Work], Outcome]


class Pool(ABC):
    """`size` children (or threads) that run work.

    `boot` is called once in each child before it serves and returns `serve`; it is where the
    child's own signals, logs and connections are set up (a forked child has inherited the parent's:
    it must close them, and not speak through them).  `leave` is called in the child when it
    goes.  A child that dies while it runs a request gives a LOST outcome for exactly that one;
    work it never began is given to another child.
    """

    name = "base"
    #: Whether running work can be killed, and limits enforced.
    can_kill = False

    def __init__(
        self,
        size: int,
        boot: Callable[[int], Serve],
        *,
        leave: Callable[[], None] | None = None,
        max_tasks: int | None = None,
        max_memory_kib: int | None = None,
    ) -> None:
        self.size = size
        self.boot = boot
        self.leave = leave
        self.max_tasks = max_tasks
        self.max_memory_kib = max_memory_kib

    @abstractmethod
    def open(self) -> None:
        """Start the children; they may still be booting when this returns.

        Raises PoolError only when no child can be made at all.
        """

    @abstractmethod
    def submit(self, batch: Sequence[Work]) -> None:
        """Take the batch; it starts in order, each on the first child that is idle."""

    @abstractmethod
    def collect(self) -> list[Outcome | Started]:
        """Return what has happened since the last call, oldest first; also look after dead
        children and time limits.  Must be called at least every `next_look` seconds."""

    def next_look(self) -> float:
        """Return within how many seconds `collect` wants to be called though nothing is readable
        (a time limit that ends, a child that backs off)."""
        return 1.0

    @abstractmethod
    def running(self) -> list[Running]:
        """Return what the children do right now."""

    @abstractmethod
    def waiting(self) -> int:
        """Return how many submitted requests no child has begun."""

    @abstractmethod
    def recall(self) -> list[int]:
        """Take back every request that no child has begun; return their numbers in order.

        Once more after `close`: what a child had in its hands, but not begun, when it was
        killed.  Every request submitted ends in one outcome, or is recalled.
        """

    @abstractmethod
    def filenos(self) -> list[int]:
        """Return the descriptors that are readable when `collect` has something; they stay the
        same from `open` to `close`."""

    @abstractmethod
    def kill(self, request: int, signum: int) -> bool:
        """Send `signum` to the child that runs `request`; false if none does or pools of this
        kind cannot.  If the child dies, the outcome is LOST with that signal."""

    @abstractmethod
    def resize(self, size: int) -> None:
        """Grow at once; shrink as children become idle.  Raises ValueError below 0, and
        PoolError above what this kind of pool can hold."""

    def restart(self) -> None:
        """Replace every child by a new one, each as soon as its task has ended.

        Raises PoolError for a pool that has no children of its own.
        """
        raise PoolError(f"the {self.name} pool has no children that could be replaced")

    @abstractmethod
    def pids(self) -> list[int]:
        """Return the pids of the children, in order of their index."""

    @abstractmethod
    def ready(self) -> bool:
        """Return whether at least one child has booted and can serve."""

    def stacks(self, within: float) -> dict[int, str]:
        """Return what every child that is a process of its own is doing, by pid, as faulthandler
        writes it; empty for one that has not answered `within` seconds, for which this waits."""
        return {}

    def turnover(self) -> tuple[int, int]:
        """Return how many children were ever started, and how many of those died unasked."""
        return self.size, 0

    def trouble(self) -> str | None:
        """Return why children cannot start, in one line, or None while all is well."""
        return None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the `pool` part of a stats reply, in Celery's shape."""

    @abstractmethod
    def close(self, deadline: float) -> None:
        """Let running work finish until `deadline` (time.monotonic), kill what is left, and
        reap every child.  Nothing new may have been left in `waiting`: `recall` it first.
        Outcomes of the last ones are still to be `collect`ed."""
