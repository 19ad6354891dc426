"""Gates: what a request must pass whose task has limits that all workers share.

A request waits here in the line of its task and keys.  When a child is about to be free, the
lock of a unique task, a slot and a pass are asked for, for many requests at once; who has all of
them starts when its pass is good.  What would wait for long goes back to the broker for that
time, so that it holds neither a child, nor this node, nor those behind it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .. import clock
from ..errors import BrokerError, ImproperlyConfigured, LimiterError
from ..limiters import Limiter
from ..limiters.base import LockWish, Passes, PassWish, Place, SlotWish
from ..limiters.memory import MemoryLimiter
from ..tasks.limiting import Keys, Limits
from .gatelines import GateLine
from .request import Request

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")

#: Most requests of one line that wait here, for each child and at least; others go aside.
_FOR_EACH_CHILD, _AT_LEAST, _AT_MOST = 2, 4, 20
#: Seconds of waiting that are left to the broker; and for how long children may all be busy
#: before what waits here goes aside, to where another node may take it.
PATIENCE, STALLED = 5.0, 1.0
#: Seconds for which children that are all busy are taken to be free soon.
_BRISK = 0.25
#: Seconds between two tries while the limiter is away (first, last), and two lines in the log.
_RETRY, _LAST_RETRY, _REPEAT = 0.5, 5.0, 30.0


class Gates:
    """The gates of one worker.

    Raises ImproperlyConfigured if some task has limits that nothing here can count.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.lease = float(worker.app.conf.worker_lease)
        self._rates = not worker.app.conf.worker_disable_rate_limits
        self._local: Limiter = MemoryLimiter("")
        self._lines: dict[tuple[str, Keys], GateLine] = {}
        #: (when it may start, number, request), soonest first.
        self._passed: list[tuple[float, int, Request]] = []
        #: When requests were handed to the pool, and what each of them holds.
        self._out: dict[int, float] = {}
        self._slots: dict[int, Place] = {}
        self._locks: dict[int, Place] = {}
        self._vacated: list[Place] = []
        self._unlocked: list[Place] = []
        self._next_renewal = 0.0
        self._retry_at, self._retry_wait, self._next_word = 0.0, _RETRY, 0.0
        self._full_since: float | None = None
        self._numbers = itertools.count()
        _ = [self._limiter for task in worker.tasks.values() if _shared(task)][:1]

    @property
    def _limiter(self) -> Limiter:
        found: Limiter = self.worker.app.limiter
        return found

    # --- in -----------------------------------------------------------------------------------

    def takes(self, request: Request) -> bool:
        """Hold a request if it has to wait at a gate."""
        line = self._line_of(request)
        if line is None:
            return False
        line.waiting.append(request)
        return True

    def _line_of(self, request: Request) -> GateLine | None:
        limits = getattr(request.task, "shared_limits", None)
        if limits is None:
            return None
        keys = request.gate_keys
        if keys is None:
            keys = request.gate_keys = self._keys(limits, request)
        if not any(keys):
            return None
        line = self._lines.get((request.type, keys))
        if line is None:
            line = self._lines[request.type, keys] = GateLine(limits, keys)
        line.limits = limits
        return line

    def _keys(self, limits: Limits, request: Request) -> Keys:
        """Return the keys that matter here: those the caller has sent, or made of the arguments."""
        told = request.headers.limit_keys
        claimed = False
        if isinstance(told, dict):
            keys = Keys(*(_text(told.get(kind)) for kind in Keys._fields))
            claimed = bool(told.get("claimed"))
        else:
            keys = self._made(limits, request)
        if limits.rate is None or not self._rates:
            keys = keys._replace(rate=None)
        if limits.concurrency is None:
            keys = keys._replace(concurrency=None)
        # A lock for seconds from the call was taken then, and means nothing any more.
        if limits.unique is None or (claimed and not isinstance(limits.unique.until, str)):
            keys = keys._replace(unique=None)
        return keys

    def _made(self, limits: Limits, request: Request) -> Keys:
        """Make the keys of a call of Celery's, or of a program that does not know the task."""
        args, kwargs = request._arguments(self.worker.accept, False)
        try:
            return limits.keys(args, kwargs)
        except TypeError as exc:
            # The arguments do not fit, or cannot be read: its child will say so.
            log.warning("%s; it counts for the task as a whole", exc)
            return Limits(
                limits.task, None, _bare(limits.rate), _bare(limits.concurrency), None
            ).keys((), {})

    def overfull(self, request: Request) -> float | None:
        """Return seconds to put a request aside for, if it would wait here for long."""
        line = self._line_of(request)
        if line is None:
            return None
        now = clock.monotonic()
        most = min(_AT_MOST, max(_AT_LEAST, _FOR_EACH_CHILD * self.worker.pool.size))
        if self._stalled(now):
            return line.aside(now, STALLED)
        if len(line.waiting) >= most or line.next_ask - now > PATIENCE:
            return line.aside(now)
        return None

    def waiting(self) -> int:
        """Return how many wait here."""
        return sum(len(line.waiting) for line in self._lines.values()) + len(self._passed)

    # --- out ----------------------------------------------------------------------------------

    def due(self, now: float) -> list[Request]:
        """Return what may start now; `now` is time.monotonic()."""
        if now >= self._retry_at:
            try:
                self._say()
                self._ask(now)
            except LimiterError as exc:
                self._trouble(exc, now)
            else:
                self._retry_wait = _RETRY
        due = []
        while self._passed and self._passed[0][0] <= now:
            request = heapq.heappop(self._passed)[2]
            self._out[request.number] = now
            due.append(request)
        return due

    def next_due(self, now: float) -> float | None:
        """Return seconds until `due` has something to do; None if some event will tell."""
        if self._vacated or self._unlocked:
            return max(0.0, self._retry_at - now)
        times = [self._passed[0][0] - now] if self._passed else []
        asks = [line.next_ask for line in self._lines.values() if line.waiting]
        if asks:
            # With no child free it is the end of a run that tells, or that it takes long.
            soonest = max(min(asks) - now, self._retry_at - now)
            times.append(max(soonest, _BRISK if self._full_since is not None else 0.0))
        return max(0.0, min(times)) if times else None

    def recall(self, wanted: Callable[[Request], bool]) -> list[Request]:
        """Take back what waits here (of those `wanted`)."""
        taken: list[Request] = []
        for line in self._lines.values():
            taken += [request for request in line.waiting if wanted(request)]
            kept = [request for request in line.waiting if not wanted(request)]
            line.waiting.clear()
            line.waiting.extend(kept)
        taken += [entry[2] for entry in self._passed if wanted(entry[2])]
        self._passed = [entry for entry in self._passed if not wanted(entry[2])]
        heapq.heapify(self._passed)
        return taken

    def ended(self, request: Request) -> None:
        """Give back what a request holds that this node answers for no longer."""
        limits = getattr(request.task, "shared_limits", None)
        if limits is None:
            return
        began = self._out.pop(request.number, None)
        slot = self._slots.pop(request.number, None)
        self._locks.pop(request.number, None)
        if slot is not None:
            self._vacated.append(slot)
        if limits.unique is not None and not request.goes_on:
            self._unlock(request, limits)
        line = self._lines.get((request.type, request.gate_keys)) if request.gate_keys else None
        if line is None:
            return
        if began is not None:
            line.ran(time.monotonic() - began)
        if slot is not None:
            line.admit()

    def _unlock(self, request: Request, limits: Limits) -> None:
        if isinstance(limits.unique.until, str) or request.unwanted:  # type: ignore[union-attr]
            told = request.headers.limit_keys
            key = _text(told.get("unique")) if isinstance(told, dict) else None
            key = key or (request.gate_keys or self._made(limits, request)).unique
            if key is not None:
                self._unlocked.append((key, request.id))

    def renew(self, now: float) -> None:
        """Hold on to what is held, as long as this node lives."""
        if now < max(self._next_renewal, self._retry_at):
            return
        self._next_renewal = now + self.lease / 3
        try:
            if self._slots:
                self._limiter.renew(list(self._slots.values()), self.lease)
            if self._locks:
                # Never sooner than it would: the next try may have prolonged it just now.
                wishes = [LockWish(*place, self.lease) for place in self._locks.values()]
                self._limiter.claim(wishes)
        except LimiterError as exc:
            self._trouble(exc, now)

    def close(self) -> None:
        """Give back what is not held any more; what cannot be said ends by itself."""
        try:
            self._say()
        except LimiterError as exc:
            log.warning("%s; slots and locks of this node end by themselves", exc)

    def change_rate(self, task: Any, rate: str | float | None) -> None:
        """Set the rate of a task whose limit is a Limit, here; None for no limit."""
        limits = task.shared_limits
        limit = limits.rate.at(rate) if rate else None
        task.shared_limits = Limits(
            limits.task, limits.signature, limit, limits.concurrency, limits.unique
        )
        for line in self._lines.values():
            if line.limits is limits:
                line.limits = task.shared_limits
                line.next_ask = 0.0

    # --- asking -------------------------------------------------------------------------------

    def _say(self) -> None:
        """Give back slots and locks."""
        if self._vacated:
            self._limiter.vacate(self._vacated)
            self._vacated = []
        if self._unlocked:
            self._limiter.unlock(self._unlocked)
            self._unlocked = []

    def _ask(self, now: float) -> None:
        room = self._room(now)
        if self._stalled(now):
            self._hand_back(self._lines.values(), now, STALLED)
        chosen: list[tuple[GateLine, list[Request]]] = []
        for name, line in list(self._lines.items()):
            if room <= 0:
                break
            if line.waiting and line.next_ask <= now:
                some = [line.waiting.popleft() for _ in range(min(room, len(line.waiting)))]
                room -= len(some)
                chosen.append((line, some))
                # Behind the others: next time it is their turn.
                self._lines[name] = self._lines.pop(name)
            elif line.idle(now):
                del self._lines[name]
        if not chosen:
            return
        try:
            self._pass(chosen, now)
        except BaseException:
            for line, some in chosen:
                line.waiting.extendleft(reversed([r for r in some if not self._gone(r)]))
            raise
        late = [line for line, _ in chosen if line.next_ask - now > PATIENCE]
        if late:
            self._hand_back(late, now, 0.0)

    def _gone(self, request: Request) -> bool:
        """Return whether a request has passed, or is at its end."""
        known = request.number in self.worker.requests
        return not known or any(entry[2] is request for entry in self._passed)

    def _pass(self, chosen: list[tuple[GateLine, list[Request]]], now: float) -> None:
        """Let those through that get all they need; the others wait again, in front."""
        free = self._take_locks(chosen)
        placed = self._take_slots(chosen, free, now)
        for (line, _), some in zip(chosen, placed, strict=True):
            delays = self._take_passes(line, len(some), now) if some else []
            for request, delay in zip(some, delays, strict=False):
                heapq.heappush(self._passed, (now + delay, next(self._numbers), request))
                self._after_lock(request, line)
            for request in some[len(delays) :]:
                slot = self._slots.pop(request.number, None)
                if slot is not None:
                    self._vacated.append(slot)
        for (line, some), open_ in zip(chosen, free, strict=True):
            back = [r for r in some if r in open_ and not self._gone(r)]
            line.waiting.extendleft(reversed(back))

    def _take_locks(self, chosen: list[tuple[GateLine, list[Request]]]) -> list[list[Request]]:
        """Return, for each line, those that are unique, or need not be; end the duplicates."""
        asking = [(line, r) for line, some in chosen if line.keys.unique for r in some]
        owners: dict[int, str] = {}
        if asking:
            wishes = [_lock_wish(line, r, self.lease) for line, r in asking]
            answers = self._limiter.claim(wishes)
            owners = {r.number: owner for (_, r), owner in zip(asking, answers, strict=True)}
        free = []
        for _, some in chosen:
            free.append([r for r in some if owners.get(r.number, r.id) == r.id])
        for line, request in asking:
            if owners[request.number] != request.id:
                reason = f"duplicate of {owners[request.number]}"
                self.worker.settlement.revoked(request, reason)
            elif not request.acks_late and line.limits.unique.until == "done":  # type: ignore[union-attr]
                self._locks[request.number] = (line.keys.unique or "", request.id)
        return free

    def _after_lock(self, request: Request, line: GateLine) -> None:
        """A lock that holds until the start ends now."""
        unique = line.limits.unique
        if unique is not None and unique.until == "start" and line.keys.unique:
            self._unlocked.append((line.keys.unique, request.id))

    def _take_slots(
        self, chosen: list[tuple[GateLine, list[Request]]], free: list[list[Request]], now: float
    ) -> list[list[Request]]:
        """Return, for each line, those that have a slot, or need none."""
        asking = [
            (position, line)
            for position, (line, _) in enumerate(chosen)
            if line.keys.concurrency and line.limits.concurrency and free[position]
        ]
        placed = list(free)
        if not asking:
            return placed
        wishes = [
            SlotWish(
                line.keys.concurrency or "",
                line.limits.concurrency.limit,  # type: ignore[union-attr]
                tuple(r.id for r in free[position]),
            )
            for position, line in asking
        ]
        for (position, line), given in zip(
            asking, self._limiter.occupy(wishes, self.lease), strict=True
        ):
            holders = set(given)
            placed[position] = [r for r in free[position] if r.id in holders]
            for request in placed[position]:
                self._slots[request.number] = (line.keys.concurrency or "", request.id)
            if len(placed[position]) < len(free[position]):
                line.refuse(now)
            else:
                line.admit()
        return placed

    def _take_passes(self, line: GateLine, count: int, now: float) -> list[float]:
        """Return in how many seconds each of the passes that were given is good."""
        limit = line.limits.rate
        if limit is None or line.keys.rate is None:
            return [0.0] * count
        limiter = self._local if limit.scope == "worker" else self._limiter
        wish = PassWish(line.keys.rate, limit.interval, limit.burst, count)
        passes: Passes = limiter.reserve([wish])[0]
        if len(passes.delays) < count:
            line.next_ask = max(line.next_ask, now + passes.after)
        return passes.delays

    def _room(self, now: float) -> int:
        """Return for how many requests a child is free, or about to be."""
        pool = self.worker.pool
        running = pool.running()
        idle = pool.size - pool.waiting() - len(running) - len(self._passed)
        if idle <= 0 and not self._passed and len(self._out) < 2 * pool.size and running:
            # Short tasks without a limit keep all children busy: it is its turn among them.
            idle = int(all(now - one.since < _BRISK for one in running))
        if idle > 0:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        return max(0, idle)

    def _stalled(self, now: float) -> bool:
        return self._full_since is not None and now - self._full_since > STALLED

    def _hand_back(self, lines: Iterable[GateLine], now: float, least: float) -> None:
        """Let the broker hold what would wait here for long."""
        try:
            for line in lines:
                while line.waiting:
                    request = line.waiting[-1]
                    due = time.time() + line.aside(now, least)
                    self.worker.consumer.broker.park(request.delivery.tag, due, request.id)
                    line.waiting.pop()
                    request.goes_on = True
                    self.worker.release(request)
        except BrokerError as exc:
            self.worker.line.lost(exc)

    def _trouble(self, exc: LimiterError, now: float) -> None:
        """The limiter is away: what has a limit waits, and all else goes on."""
        self._retry_at = time.monotonic() + self._retry_wait
        self._retry_wait = min(2 * self._retry_wait, _LAST_RETRY)
        if now >= self._next_word:
            self._next_word = now + _REPEAT
            log.error("%s; tasks with limits wait until it is back", exc)


def make_gates(worker: Worker) -> Gates | None:
    """Return the gates of a worker, None if none of its tasks has any.

    Raises ImproperlyConfigured, naming a task, if its limits cannot be counted anywhere.
    """
    limited = [
        task for task in worker.tasks.values() if getattr(task, "shared_limits", None) is not None
    ]
    if not limited:
        return None
    try:
        return Gates(worker)
    except ImproperlyConfigured as exc:
        names = ", ".join(sorted(task.name for task in limited if _shared(task)))
        raise ImproperlyConfigured(f"task {names}: {exc}") from exc


def _shared(task: Any) -> bool:
    limits = getattr(task, "shared_limits", None)
    return limits is not None and limits.shared


def _bare(limit: Any) -> Any:
    """Return a limit without its key."""
    if limit is None:
        return None
    bare = limit.__class__.__new__(limit.__class__)
    vars(bare).update(vars(limit), key=None)
    return bare


def _text(key: Any) -> str | None:
    return key if isinstance(key, str) else None


def _lock_wish(line: GateLine, request: Request, lease: float) -> LockWish:
    """Return what a request asks for before it starts.

    The lock of one that is acked early must end soon if this node dies: nothing runs it again.
    """
    unique = line.limits.unique
    assert unique is not None and line.keys.unique is not None
    early = not request.acks_late and unique.until == "done"
    return LockWish(line.keys.unique, request.id, lease if early else unique.seconds, True)
