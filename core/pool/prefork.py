"""Prefork: children forked by the parent, the pool for everything that is not trivial.

Work goes down one shared socket (feed.py) to whichever child is idle; what each child does stands
on the scoreboard, which costs a child a few stores and the parent nothing.  The request in the slot
of a child that died is LOST, one it had not claimed goes to another child (inquest.py).
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..wire.outcome import LOST, TIMED_OUT, Outcome
from .base import PoolError, Running, Serve, Work
from .child import Channels, Child, Terms
from .feed import Feed
from .forked import LOOK_EVERY, ForkedPool, Told
from .handle import Death, Handle
from .inquest import Inquest
from .limits import Limits
from .scoreboard import MAX_CHILDREN, NOTHING, SERVING, Slot

#: Seconds between two looks while an inquest is open.
_LOOK_CLOSELY = 0.002


class PreforkPool(ForkedPool):
    """`size` forked children that share one feed."""

    name = "prefork"

    def __init__(self, size: int, boot: Callable[[int], Serve], **options: Any) -> None:
        super().__init__(size, boot, **options)
        self._limits = Limits(self._pending)
        self._inquest = Inquest()
        self._watching_feed = False

    def submit(self, batch: Sequence[Work]) -> None:
        for work in batch:
            self._pending[work.request] = work
            self._limits.add(work)
        self._feed.append(batch)
        self._flow()

    def next_look(self) -> float:
        if not self._closed and self._inquest.missing:
            return _LOOK_CLOSELY if self._inquest.age() < 0.1 else LOOK_EVERY
        within = super().next_look()
        if not self._closed and self._limits:
            now = time.monotonic()
            within = min(within, self._limits.next_look(self._children.all(), now))
        return within

    def running(self) -> list[Running]:
        found = []
        for handle in [] if self._closed else self._children.in_order():
            running = handle.slot.running()
            if running is not None and running[0] in self._pending:
                request, since = running
                found.append(
                    Running(request=request, pid=handle.pid, child=handle.index, since=since)
                )
        return found

    def waiting(self) -> int:
        if self._closed:
            return len(self._pending)
        running = sum(h.slot.request in self._pending for h in self._children.all())
        return len(self._pending) - running

    def recall(self) -> list[int]:
        requests = list(self._pending) if self._closed else self._feed.drain()
        for request in requests:
            self._forget(request)
        return requests

    def kill(self, request: int, signum: int) -> bool:
        if request not in self._pending or self._closed:
            return False
        return any(handle.strike(request, signum) for handle in self._children.all())

    def resize(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a pool has 0 or more children, not {size}")
        if size > MAX_CHILDREN:
            raise PoolError(f"a prefork pool has at most {MAX_CHILDREN} children, not {size}")
        self.size = size
        self._children.adjust(size, time.monotonic())

    def describe(self) -> dict[str, Any]:
        handles = self._children.in_order()
        counts = [handle.slot.done for handle in handles]
        total = max(1, sum(counts))
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.size,
            "processes": [handle.pid for handle in handles],
            "max-tasks-per-child": self.max_tasks or "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [0, 0],
            "writes": {
                "total": self._answered,
                "avg": f"{1 / max(1, len(counts)):.2f}",
                "all": ", ".join(f"{count / total:.2f}" for count in counts),
                "raw": ", ".join(str(count) for count in counts),
                "strategy": "fair",
                "inqueues": {"total": 1, "active": int(self.waiting() > 0)},
            },
        }

    # Children

    def _open_feed(self) -> None:
        self._feed = Feed()

    def _start(self, index: int, slot: Slot) -> NoReturn:
        self._feed.close_inlet()
        self._let_go()
        channels = Channels(self._feed.outlet, self._outcomes, self._bulk)
        terms = Terms(self.leave, self.max_tasks, self.max_memory_kib)
        Child(index, slot, channels, terms).main(self.boot, self._pid)

    def _look(self, now: float, told: Told) -> None:
        if self._limits:
            self._limits.enforce(self._children.all(), now)
        dead = self._children.reap()
        if dead:
            self._judge(dead, told)
        if self._inquest.missing:
            self._hold_inquest(told)
        self._children.remind(now)
        if not self._closing:
            self._children.adjust(self.size, now)

    def _judge(self, dead: list[tuple[Handle, Death]], told: Told) -> None:
        # Their last words first: an outcome that was sent counts, however its child ended.
        self._listen_to_all(told)
        for handle, death in dead:
            slot = handle.slot
            self._inquest.dismiss(handle)
            running = slot.running()
            if running is not None and running[0] in self._pending:
                told.append(self._lost(handle, death, *running))
            open_handed = slot.state == SERVING and slot.request == NOTHING
            self._children.bury(handle, death)
            if open_handed:
                self._open_inquest()

    def _lost(self, handle: Handle, death: Death, request: int, since: float) -> Outcome:
        work = self._forget(request)
        timed_out = handle.doomed == request and death.signum == signal.SIGKILL
        return Outcome(
            request=request,
            kind=TIMED_OUT if timed_out else LOST,
            runtime=time.monotonic() - since,
            text=f"ran longer than {work.hard:g} s" if timed_out and work.hard else str(death),
            pid=handle.pid,
            signum=death.signum,
        )

    def _open_inquest(self) -> None:
        pulled = [self._pending[request] for request in self._feed.pull()]
        self._feed.prepend(pulled)
        missing = self._pending.keys() - self._feed.requests()
        self._inquest.open(missing, [h for h in self._children.all() if h.idle()])

    def _hold_inquest(self, told: Told) -> None:
        # In this order: once every witness has spoken, all there will be are claims that stand
        # in a slot, and outcomes that were sent before their slot was cleared.
        settled = self._inquest.settled()
        claimed = {handle.slot.request for handle in self._children.all()}
        self._listen_to_all(told)
        self._inquest.account_for(claimed, self._pending)
        if settled:
            unclaimed = self._inquest.close()
            self._feed.prepend([self._pending[r] for r in self._pending if r in unclaimed])

    # Traffic

    def _scarce(self) -> OSError | None:
        return self._feed.scarce

    def _stop_feeding(self) -> None:
        self._watch_feed(False)
        self._feed.shut()

    def _flow(self) -> None:
        if self._closing:
            return
        self._watch_feed(self._feed.flow())

    def _watch_feed(self, full: bool) -> None:
        """Have the poll tell when the feed can flow again, or no longer."""
        if full == self._watching_feed:
            return
        self._watching_feed = full
        if full:
            self._poll.register(self._feed.fileno(), select.EPOLLOUT)
        else:
            self._poll.unregister(self._feed.fileno())

    def _forget(self, request: int) -> Work:
        work = self._pending.pop(request)
        self._limits.drop(work)
        return work

    def _release(self) -> None:
        self._feed.close()
        super()._release()
