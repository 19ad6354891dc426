"""Prefork: children forked by the parent, the pool for everything that is not trivial.

One thread forks, feeds, listens and judges.  Work goes down one shared socket (feed.py), outcomes
come up another; what each child does stands on the scoreboard, which costs a child a few stores
and the parent nothing.  A child that dies is judged by its slot after its last outcomes were
read: the request in it is LOST, one it had not claimed goes to another child (inquest.py).

The parent should have no other thread when it forks.  Needs os.fork, SOCK_SEQPACKET and epoll:
Linux.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..wire.outcome import LOST, TIMED_OUT, Outcome
from . import frames
from .base import Pool, PoolError, Running, Serve, Started, Work
from .child import Channels, Child, Terms
from .children import Children
from .feed import Feed
from .handle import Death, Handle
from .inquest import Inquest
from .limits import Limits
from .scoreboard import BOOTING, MAX_CHILDREN, NOTHING, SERVING, Slot

#: Seconds between two looks at children and limits while outcomes stream in.
_LOOK_EVERY = 0.02
#: Seconds between two looks while an inquest is open, and while something can happen of which
#: the poll does not tell: a death without a pidfd, a descriptor that becomes free.
_LOOK_CLOSELY, _LOOK_BLINDLY = 0.002, 0.1
#: Seconds between two looks for the stacks that children write.
_DUMP_LOOK = 0.001
#: Records read in one `collect`, so that a flood does not keep the parent from its turn.
_AT_ONCE = 1000

Told = list[Outcome | Started]


class PreforkPool(Pool):
    """`size` forked children that share one feed."""

    name = "prefork"
    can_kill = True

    def __init__(
        self,
        size: int,
        boot: Callable[[int], Serve],
        *,
        leave: Callable[[], None] | None = None,
        max_tasks: int | None = None,
        max_memory_kib: int | None = None,
    ) -> None:
        super().__init__(
            size, boot, leave=leave, max_tasks=max_tasks, max_memory_kib=max_memory_kib
        )
        #: Submitted, and neither answered nor recalled.
        self._pending: dict[int, Work] = {}
        self._limits = Limits(self._pending)
        #: What happened while nobody collected.
        self._told: Told = []
        self._answered = 0
        self._inquest = Inquest()
        self._look_at = 0.0
        self._watching_feed = False
        self._closing = False
        self._closed = False
        self._buffer = bytearray(frames.BUFFER_BYTES)
        self._record = memoryview(self._buffer)

    def open(self) -> None:
        try:
            self._feed = Feed()
            self._ear, outcomes = frames.socket_pair()
            self._bulk_ear, bulk = frames.socket_pair()
            self._poll = select.epoll()
        except (AttributeError, OSError) as exc:
            raise PoolError(
                f"the prefork pool cannot run on this system ({exc}); "
                "choose the threads or the solo pool"
            ) from exc
        self._pid = os.getpid()
        # What stands now stays for good: no collection touches it, its pages remain shared.
        gc.collect()
        gc.freeze()
        self._channels = Channels(self._feed.outlet, outcomes, bulk)
        self._poll.register(self._ear.fileno(), select.EPOLLIN)
        self._children = Children(self._start, self._poll)
        self.resize(self.size)
        if self.size and not len(self._children):
            reason = self._children.backoff.reason
            self._release()
            raise PoolError(f"the prefork pool cannot start: {reason}")

    def submit(self, batch: Sequence[Work]) -> None:
        for work in batch:
            self._pending[work.request] = work
            self._limits.add(work)
        self._feed.append(batch)
        self._flow()

    def collect(self) -> list[Outcome | Started]:
        told, self._told = self._told, []
        if self._closed:
            return told
        self._listen(told, _AT_ONCE)
        now = time.monotonic()
        # Nothing to read means that something else woke the parent: a death, most likely.
        if not told or now >= self._look_at:
            self._look(now, told)
        self._flow()
        return told

    def next_look(self) -> float:
        if self._closed:
            return 1.0
        if self._inquest.missing:
            return _LOOK_CLOSELY if self._inquest.age() < 0.1 else _LOOK_EVERY
        now = time.monotonic()
        unheard = self._children.blind() or self._feed.scarce is not None
        within = _LOOK_BLINDLY if unheard else 1.0
        if self._children.backoff.until > now:
            within = min(within, self._children.backoff.until - now)
        if self._limits:
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

    def filenos(self) -> list[int]:
        return [self._poll.fileno()]

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

    def restart(self) -> None:
        for handle in self._children.all():
            handle.ask_to_leave()
        self._children.adjust(self.size, time.monotonic())

    def pids(self) -> list[int]:
        return [handle.pid for handle in self._children.in_order()]

    def stacks(self, within: float) -> dict[int, str]:
        asked = [] if self._closed else self._children.in_order()
        for handle in asked:
            handle.ask_for_stacks()
        waiting, deadline = list(asked), time.monotonic() + within
        while waiting and time.monotonic() < deadline:
            time.sleep(_DUMP_LOOK)
            waiting = [handle for handle in waiting if not handle.stacks_written()]
        return {handle.pid: handle.dump.text() for handle in asked}

    def turnover(self) -> tuple[int, int]:
        return self._children.started, self._children.lost

    def ready(self) -> bool:
        return any(handle.slot.state == SERVING for handle in self._children.all())

    def trouble(self) -> str | None:
        trouble = self._children.trouble(time.monotonic())
        if trouble is None and self._feed.scarce is not None:
            return f"a large message cannot go to a child: {self._feed.scarce}; will try again"
        return trouble

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

    def close(self, deadline: float) -> None:
        if self._closed:
            return
        self._closing = True
        self._watch_feed(False)
        self._feed.shut()
        for handle in self._children.all():
            if handle.slot.state == BOOTING:
                handle.ask_to_leave()
        while len(self._children) and (left := deadline - time.monotonic()) > 0:
            self._told = self.collect()
            if len(self._children):
                self._poll.poll(min(left, self.next_look()))
        self._judge(self._children.kill(), self._told)
        self._release()

    # Children

    def _start(self, index: int, slot: Slot) -> NoReturn:
        self._feed.close_inlet()
        self._ear.close()
        self._bulk_ear.close()
        self._poll.close()
        for handle in self._children.all():
            handle.close()
        terms = Terms(self.leave, self.max_tasks, self.max_memory_kib)
        Child(index, slot, self._channels, terms).main(self.boot, self._pid)

    def _look(self, now: float, told: Told) -> None:
        """Look after the children: limits, deaths, numbers."""
        self._look_at = now + _LOOK_EVERY
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
        """Say what became of what the dead were running."""
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

    def _listen(self, told: Told, limit: int) -> bool:
        """Read at most `limit` records of what the children said; return whether that is all."""
        hear, record = self._ear.recv_into, self._record
        for _ in range(limit):
            try:
                size = hear(self._buffer)
            except BlockingIOError:
                return True
            tag = record[0]
            if tag == frames.OUTCOME:
                self._answer(frames.unpack_outcome(record[1:size]), told)
            else:
                self._note(tag, record[1:size], told)
        return False

    def _note(self, tag: int, body: memoryview, told: Told) -> None:
        if tag == frames.STARTED:
            told.append(frames.unpack_started(body))
        elif tag == frames.READY:
            self._children.backoff.succeed()
        elif tag == frames.IN_FILE:
            self._listen_to_bulk(told)
        elif tag == frames.TROUBLE:
            pid, text = frames.unpack_trouble(body)
            handle = self._children.by_pid(pid)
            if handle is not None:
                handle.complaint = text

    def _listen_to_bulk(self, told: Told) -> None:
        while True:
            try:
                _, fd, _ = frames.receive(self._bulk_ear, self._record)
            except BlockingIOError:
                return
            if fd is None:
                request, size = frames.unpack_head(self._record)
                text = f"no file descriptor left to receive its outcome of {size} bytes"
                self._answer(Outcome(request=request, kind=LOST, text=text), told)
            else:
                self._answer(frames.unpack_outcome(frames.read_file(fd)), told)

    def _listen_to_all(self, told: Told) -> None:
        while not self._listen(told, _AT_ONCE):
            continue
        # A child killed between the file and its note: the outcome is whole all the same.
        self._listen_to_bulk(told)

    def _answer(self, outcome: Outcome, told: Told) -> None:
        if outcome.request in self._pending:
            self._forget(outcome.request)
            self._answered += 1
            told.append(outcome)

    def _forget(self, request: int) -> Work:
        work = self._pending.pop(request)
        self._limits.drop(work)
        return work

    def _release(self) -> None:
        self._closed = True
        self._feed.close()
        self._ear.close()
        self._bulk_ear.close()
        for end in self._channels:
            end.close()
        self._poll.close()
