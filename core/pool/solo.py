"""Solo: work runs in the calling thread, one piece in each `collect`.

For debugging, and for tasks that must live in the worker's own process.  While one runs, whoever
collects does nothing else.  Nothing can be killed and no limit holds.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..wire.outcome import LOST, Outcome
from .base import Pool, PoolError, Running, Serve, Started, Work


class SoloPool(Pool):
    """One child, which is the caller; `size` is 1 whatever was asked for."""

    name = "solo"

    def __init__(self, size: int, boot: Callable[[int], Serve], **options: Any) -> None:
        super().__init__(1, boot, **options)
        self._waiting: deque[Work] = deque()
        #: Announced as started: runs in the next `collect`.
        self._begun: Work | None = None
        self._running: Running | None = None
        self._serve: Serve | None = None
        self._done = 0
        #: A byte lies in this pipe while something waits.
        self._bell: tuple[int, int] | None = None
        self._rung = False

    def open(self) -> None:
        self._bell = os.pipe()
        try:
            self._serve = self.boot(0)
        except Exception as exc:
            self._close_bell()
            raise PoolError(f"the solo pool cannot start: {type(exc).__name__}: {exc}") from exc

    def submit(self, batch: Sequence[Work]) -> None:
        self._waiting.extend(batch)
        self._ring()

    def collect(self) -> list[Outcome | Started]:
        """Run one piece of work and return what became of it; waits for that one.

        Of work that is to be announced the start is returned first: others hear of it before it
        runs, not when it is over.
        """
        if self._serve is None or not (self._begun or self._waiting):
            return []
        work = self._begun or self._waiting.popleft()
        if self._begun is None:
            self._running = Running(
                request=work.request, pid=os.getpid(), child=0, since=time.monotonic()
            )
            if work.announce:
                self._begun = work
                return [Started(request=work.request, pid=os.getpid(), at=time.time())]
        self._begun = None
        self._ring()
        try:
            outcome = self._serve(work)
        except Exception as exc:
            text = f"the pool broke down: {type(exc).__name__}: {exc}"
            outcome = Outcome(request=work.request, kind=LOST, text=text, pid=os.getpid())
        finally:
            self._running = None
        self._done += 1
        return [outcome]

    def running(self) -> list[Running]:
        return [] if self._running is None else [self._running]

    def waiting(self) -> int:
        return len(self._waiting)

    def recall(self) -> list[int]:
        requests = [work.request for work in self._waiting]
        self._waiting.clear()
        self._ring()
        return requests

    def filenos(self) -> list[int]:
        return [] if self._bell is None else [self._bell[0]]

    def kill(self, request: int, signum: int) -> bool:
        return False

    def resize(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a pool has 0 or more children, not {size}")
        if size != 1:
            raise PoolError(f"the solo pool runs one task at a time, it cannot have {size}")

    def pids(self) -> list[int]:
        return [os.getpid()]

    def ready(self) -> bool:
        return self._serve is not None

    def describe(self) -> dict[str, Any]:
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": 1,
            "processes": self.pids(),
            "max-tasks-per-child": None,
            "put-guarded-by-semaphore": True,
            "timeouts": [],
            "writes": {"total": self._done},
        }

    def close(self, deadline: float) -> None:
        if self._serve is None:
            return
        self._serve = None
        if self._begun is not None:
            self._waiting.appendleft(self._begun)  # announced, but it never ran: to be recalled
            self._begun = self._running = None
        self._close_bell()
        if self.leave is not None:
            self.leave()

    def _ring(self) -> None:
        """Make the descriptor readable exactly while something waits."""
        waits = bool(self._waiting or self._begun)
        if self._bell is None or self._rung == waits:
            return
        if waits:
            os.write(self._bell[1], b"!")
        else:
            os.read(self._bell[0], 1)
        self._rung = not self._rung

    def _close_bell(self) -> None:
        if self._bell is not None:
            for fd in self._bell:
                os.close(fd)
            self._bell = None
