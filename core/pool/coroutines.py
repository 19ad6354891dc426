"""Asyncio: few children, each with one event loop that runs many requests at once.

Each child has a feed of its own, and is given no more than it can begin at once: the others wait
here, where any child may get them.  What a child has begun stands in its cells, so a death costs
exactly that; what it had not read goes to another child.

A limit or a revoke cancels one coroutine alone.  One that has not ended `GRACE` seconds later (it
blocks the loop, it is a function in a thread, it will not be cancelled) ends with its child; the
others of that child are LOST, and not to blame.  What was lost before with others around it runs
in a child of its own: if it kills that too, it was the one.
"""

from __future__ import annotations

import heapq
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..wire.outcome import LOST, Outcome
from .base import PoolError, Running, Serve, Work
from .berth import Berth, Flight
from .cells import MAX_CELLS
from .child import Channels, Terms
from .forked import ForkedPool, Told
from .handle import Death, Handle
from .loop_child import LoopChild
from .scoreboard import MAX_CHILDREN, SERVING, Slot

#: Lost deliveries after which a request runs in a child of its own, and how many do at once.
APART_AFTER, MOST_APART = 2, 16
#: Seconds that coroutines get for their last words when a pool closes on them.
LAST_WORDS = 0.1


class AsyncioPool(ForkedPool):
    """`size` requests at once in `children` forked children, evenly."""

    name = "asyncio"

    def __init__(
        self, size: int, boot: Callable[[int], Serve], *, children: int = 1, **options: Any
    ) -> None:
        super().__init__(size, boot, **options)
        if not 1 <= children <= MAX_CHILDREN // 2:
            raise PoolError(f"an asyncio pool has 1 to {MAX_CHILDREN // 2} children")
        self.children = children
        #: Not yet given to a child, in the order in which they begin; and those to run apart.
        self._waiting: deque[Work] = deque()
        self._suspects: deque[Work] = deque()
        self._berths: dict[int, Berth] = {}
        self._flights: dict[int, Flight] = {}
        #: Given to a child, and not yet seen to run.
        self._unseen: dict[int, Flight] = {}
        #: (when to look at it, request) of what has a limit, or was told to stop.
        self._due: list[tuple[float, int]] = []

    def submit(self, batch: Sequence[Work]) -> None:
        for work in batch:
            self._pending[work.request] = work
            (self._suspects if work.deliveries >= APART_AFTER else self._waiting).append(work)
        self._flow()

    def next_look(self) -> float:
        within = super().next_look()
        if not self._closed and self._due:
            within = min(within, max(0.0, self._due[0][0] - time.monotonic()))
        return within

    def running(self) -> list[Running]:
        self._see()
        return [one.running for one in self._flights.values() if one.running is not None]

    def waiting(self) -> int:
        self._see()
        return len(self._pending) - len(self._flights) + len(self._unseen)

    def recall(self) -> list[int]:
        if self._closed:
            back = set(self._pending)
        else:
            back = {work.request for work in (*self._waiting, *self._suspects)}
            for berth in self._berths.values():
                back.update(berth.feed.drain())
        self._waiting.clear()
        self._suspects.clear()
        # In the order of their submission, whichever child they were meant for.
        requests = [request for request in self._pending if request in back]
        for request in requests:
            self._forget(request)
        return requests

    def kill(self, request: int, signum: int) -> bool:
        flight = self._flights.get(request)
        if flight is None or flight.look() is None:
            return False
        if signum == signal.SIGUSR1:
            flight.soften()
        elif flight.signum is None:
            flight.stop(signum, time.monotonic())
            heapq.heappush(self._due, (flight.obey_by, request))
        self._signal({flight.berth.index})
        return True

    def resize(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a pool has 0 or more places, not {size}")
        most = self.children * MAX_CELLS
        if size > most:
            raise PoolError(f"the asyncio pool runs at most {most} tasks at once, not {size}")
        self.size = size
        self._children.adjust(self._wanted(), time.monotonic())
        self._flow()

    def describe(self) -> dict[str, Any]:
        handles = self._children.in_order()
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.size,
            "processes": [handle.pid for handle in handles],
            "max-tasks-per-child": self.max_tasks or "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [0, 0],
            "writes": {
                "total": self._answered,
                "raw": ", ".join(str(handle.slot.done) for handle in handles),
                "strategy": "fair",
                "inqueues": {"total": len(handles), "active": int(self.waiting() > 0)},
            },
            "running": len(self.running()),
        }

    # Children

    def _open_feed(self) -> None:
        """Nothing yet: every child gets a feed of its own."""

    def _wanted(self) -> int:
        """Return how many children there should be: those of the pool, and those apart."""
        apart = sum(berth.apart for berth in self._berths.values())
        waits = bool(self._suspects) and apart < MOST_APART
        return min(self.size, self.children) + apart + waits

    def _expect(self, index: int, slot: Slot) -> None:
        stale = self._berths.pop(index, None)
        if stale is not None:  # that fork has failed
            stale.close()
        self._berths[index] = Berth(index)

    def _start(self, index: int, slot: Slot) -> NoReturn:
        own = self._berths[index]
        self._let_go()
        for berth in self._berths.values():
            berth.feed.close_inlet()
            if berth is not own:
                berth.feed.outlet.close()
        channels = Channels(own.feed.outlet, self._outcomes, self._bulk)
        # How many it runs in its life is counted here, where they are given out.
        terms = Terms(self.leave, None, self.max_memory_kib)
        LoopChild(index, slot, channels, terms, own.cells).main(self.boot, self._pid)

    def _look(self, now: float, told: Told) -> None:
        self._enforce(now)
        dead = self._children.reap()
        if dead:
            self._judge(dead, told)
        self._retire()
        self._children.remind(now)
        if not self._closing:
            self._children.adjust(self._wanted(), now)

    def _retire(self) -> None:
        """Ask children to leave that have run enough, or have grown too large."""
        tasks, memory = self.max_tasks, self.max_memory_kib
        if tasks is None and memory is None:
            return
        for handle in self._children.all():
            worn = tasks is not None and self._berths[handle.index].given >= tasks
            if not handle.leaving and (worn or (memory and handle.slot.memory_kib > memory)):
                handle.ask_to_leave()

    def _judge(self, dead: list[tuple[Handle, Death]], told: Told) -> None:
        # Their last words first: an outcome that was sent counts, however its child ended.
        self._listen_to_all(told)
        for handle, death in dead:
            berth = self._berths[handle.index]
            unbegun = []
            for flight in list(berth.flights.values()):
                if flight.look() is None:
                    self._land(flight)
                    unbegun.append(flight.work)
                else:
                    self._forget(flight.work.request)
                    told.append(self._lost(handle, death, flight))
            self._waiting.extendleft(reversed(unbegun))
            self._children.bury(handle, death)
            self._watch_feed(berth, False)
            del self._berths[handle.index]
            berth.close()

    def _lost(self, handle: Handle, death: Death, flight: Flight) -> Outcome:
        request, running = flight.work.request, flight.running
        outcome = Outcome(request=request, kind=LOST, text=str(death), pid=handle.pid)
        outcome.signum = death.signum
        outcome.runtime = time.monotonic() - running.since if running is not None else 0.0
        if flight.signum is not None:
            return flight.stopped(outcome)
        outcome.blameless = handle.doomed is not None
        return outcome

    # Limits, and orders to one of many

    def _enforce(self, now: float) -> None:
        """Order what has met a limit to end; kill the child of what has not obeyed."""
        ordered: set[int] = set()
        while self._due and self._due[0][0] <= now:
            flight = self._flights.get(heapq.heappop(self._due)[1])
            if flight is None:
                continue
            due = flight.next_due(now)
            if due is not None and due <= now:
                self._press(flight, now)
                ordered.add(flight.berth.index)
            self._watch(flight, now)
        self._signal(ordered)

    def _press(self, flight: Flight, now: float) -> None:
        work, running = flight.work, flight.look()
        if flight.signum is not None:
            handle = self._children.by_index(flight.berth.index)
            if handle is not None and handle.doomed is None:
                handle.doomed = work.request
                handle.send(signal.SIGKILL)
            flight.obey_by = now + 1.0
        elif running is None:
            return
        elif work.hard is not None and now - running.since >= work.hard:
            flight.stop(signal.SIGKILL, now, late=True)
        else:
            flight.soften()

    def _watch(self, flight: Flight, now: float) -> None:
        due = flight.next_due(now)
        if due is not None:
            heapq.heappush(self._due, (due, flight.work.request))

    def _signal(self, indexes: set[int]) -> None:
        """Have these children look for orders."""
        for index in indexes:
            handle = self._children.by_index(index)
            if handle is not None:
                handle.send(signal.SIGUSR1)

    # Traffic

    def _scarce(self) -> OSError | None:
        found = (berth.feed.scarce for berth in self._berths.values())
        return next((scarce for scarce in found if scarce is not None), None)

    def _flow(self) -> None:
        """Give out what there is room for, to the child with the least in hand."""
        if self._closing or not (self._waiting or self._suspects or self._unseen):
            return
        now = time.monotonic()
        open_berths = [
            self._berths[handle.index]
            for handle in self._children.all()
            if handle.slot.state == SERVING and not handle.leaving
        ]
        most = self.max_tasks or sys.maxsize
        self._part(open_berths, now)
        shares = [(len(berth.flights), berth.index, berth) for berth in open_berths]
        heap = [share for share in shares if not share[2].apart]
        heapq.heapify(heap)
        room = self.size - sum(held for held, _, _ in heap)
        share = -(-self.size // self.children)
        while self._waiting and room > 0 and heap and heap[0][0] < share:
            held, index, berth = heapq.heappop(heap)
            self._give(berth, self._waiting.popleft(), now)
            room -= 1
            if berth.given < most:
                heapq.heappush(heap, (held + 1, index, berth))
        for berth in self._berths.values():
            self._watch_feed(berth, berth.feed.flow())
        self._retire()

    def _part(self, berths: list[Berth], now: float) -> None:
        """Give those that are to run apart to children that have nothing."""
        apart = sum(berth.apart for berth in self._berths.values())
        for berth in berths:
            if self._suspects and not berth.flights and apart < MOST_APART:
                berth.apart = True
                apart += 1
                self._give(berth, self._suspects.popleft(), now)

    def _give(self, berth: Berth, work: Work, now: float) -> None:
        if not berth.pid:
            handle = self._children.by_index(berth.index)
            berth.pid = handle.pid if handle is not None else 0
        flight = berth.take(work)
        self._flights[work.request] = self._unseen[work.request] = flight
        self._watch(flight, now)

    def _watch_feed(self, berth: Berth, full: bool) -> None:
        """Have the poll tell when the feed can flow again, or no longer."""
        if full == berth.watched:
            return
        berth.watched = full
        if full:
            self._poll.register(berth.feed.fileno(), select.EPOLLOUT)
        else:
            self._poll.unregister(berth.feed.fileno())

    def _see(self) -> None:
        """Look which of those given out have begun."""
        for request, flight in list(self._unseen.items()):
            if flight.look() is not None:
                del self._unseen[request]

    def _answer(self, outcome: Outcome, told: Told) -> None:
        flight = self._flights.get(outcome.request)
        if flight is not None and flight.signum is not None and outcome.kind == LOST:
            outcome = flight.stopped(outcome)
        super()._answer(outcome, told)

    def _forget(self, request: int) -> Work:
        flight = self._flights.get(request)
        if flight is not None:
            self._land(flight)
        return self._pending.pop(request)

    def _land(self, flight: Flight) -> None:
        request = flight.work.request
        del self._flights[request]
        self._unseen.pop(request, None)
        flight.berth.land(flight)

    # The end

    def _stop_feeding(self) -> None:
        for berth in self._berths.values():
            self._watch_feed(berth, False)
            berth.feed.shut()

    def _await_ends(self, deadline: float) -> None:
        super()._await_ends(deadline)
        # Coroutines may say their last words: connections to close, locks to give back.
        running = [flight for flight in self._flights.values() if flight.look() is not None]
        for flight in running:
            flight.stop(signal.SIGKILL, deadline)
        if running:
            self._signal(set(self._berths))
            super()._await_ends(time.monotonic() + LAST_WORDS)

    def _release(self) -> None:
        for berth in self._berths.values():
            berth.close()
        super()._release()
