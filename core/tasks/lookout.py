"""Waiting for results on behalf of coroutines: one thread for all that a process waits for.

A coroutine joins the lookout with the ids it wants, and the thread hands each meta over to its
loop as it comes.  Nothing here makes a loop wait: the thread opens the backend, asks it, and
decodes what it says.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..backends.watching import Watch
from ..errors import BackendError, TaskctlError
from ..wire.states import PENDING, READY_STATES
from .joining import Meta, overdue, read_meta

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

#: Seconds after which a thread that has nothing to wait for ends.
_IDLE = 5.0
#: Seconds between two tries while the backend is away: (first, longest).
_RETRIES = (0.05, 1.0)

#: What comes of an id: its meta, or why it cannot be known.
News = Meta | BaseException


class Party:
    """One coroutine that waits for some results; an iterator over (id, meta) as they come.

    After `timeout` seconds it raises TimeoutError, or BackendError if the backend is away by then.
    It belongs to the loop that runs where it is made.  Used as a context manager: at the end
    the thread waits for none of it any more.
    """

    def __init__(self, lookout: Lookout, task_ids: Iterable[str], timeout: float | None) -> None:
        import asyncio  # heavy, and loaded where a loop runs

        self.loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._deadline = None if timeout is None else self.loop.time() + timeout
        self.missing = dict.fromkeys(task_ids)
        self._lookout = lookout
        self._arrived: deque[tuple[str, News]] = deque()
        self._called: asyncio.Future[bool] | None = None

    def __enter__(self) -> Party:
        self._lookout.join(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lookout.leave(self)

    def __aiter__(self) -> Party:
        return self

    async def __anext__(self) -> tuple[str, Meta]:
        while not self._arrived:
            if not self.missing:
                raise StopAsyncIteration
            await self._call()
        task_id, news = self._arrived.popleft()
        if isinstance(news, BaseException):
            raise news
        return task_id, news

    async def _call(self) -> None:
        """Return when something was handed over."""
        called = self._called = self.loop.create_future()
        if self._deadline is None:
            await called
            return
        alarm = self.loop.call_at(self._deadline, _ring, called)
        try:
            if not await called:
                assert self._timeout is not None
                raise self._lookout.overdue(list(self.missing), self._timeout)
        finally:
            alarm.cancel()

    def hand_over(self, task_id: str, news: News) -> None:
        """Take what has come of an id; called in the loop."""
        if task_id in self.missing:
            del self.missing[task_id]
            self._arrived.append((task_id, news))
            if self._called is not None and not self._called.done():
                self._called.set_result(True)


def _ring(called: asyncio.Future[bool]) -> None:
    """Say that the time is over."""
    if not called.done():
        called.set_result(False)


class Lookout:
    """The results that coroutines of this process wait for, in one backend.

    `backend` None is the app's, opened by the thread when it begins.  The thread begins when
    somebody joins, and ends when for a while nobody has.
    """

    def __init__(self, app: Any, backend: Backend | None = None) -> None:
        self._app = app
        self._own = backend
        #: The app's backend, once the thread has opened it.
        self._opened: Backend | None = None
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watch: Watch | None = None
        self._parties: dict[str, list[Party]] = {}
        self._states: dict[str, str] = {}
        self._pause = _RETRIES[0]
        #: Why the backend cannot be asked at the moment, or None.
        self._trouble: BackendError | None = None

    def looks_at(self, backend: Backend | None) -> bool:
        """Return whether this is what an app whose backend this is would wait with."""
        return self._own is not None or self._opened is None or self._opened is backend

    # --- called in loops --------------------------------------------------------------------

    def party(self, task_ids: Iterable[str], timeout: float | None) -> Party:
        """Return a wait for these results, to be entered."""
        if self._pid != os.getpid():
            self._start()
        return Party(self, task_ids, timeout)

    def join(self, party: Party) -> None:
        """Wait for what the party misses."""
        with self._lock:
            fresh = [task_id for task_id in party.missing if task_id not in self._parties]
            for task_id in party.missing:
                self._parties.setdefault(task_id, []).append(party)
            if self._thread is None and fresh:
                name = "taskctl-lookout"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            elif self._watch is not None and fresh:
                self._watch.add(fresh)

    def leave(self, party: Party) -> None:
        """Wait for nothing of the party's any more."""
        with self._lock:
            self._remove(party, party.missing)

    def overdue(self, missing: list[str], timeout: float) -> Exception:
        """Return the error of a wait that ran out: what the thread knows, without asking."""
        if self._trouble is not None:
            return type(self._trouble)(*self._trouble.args)
        return overdue(self._states.get(missing[0], PENDING), missing, timeout)

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        watch: Watch | None = None
        try:
            backend: Backend = self._own or self._app.backend
            self._opened = backend
            watch = backend.watch()
            with self._lock:
                self._watch = watch
                watch.add(self._parties)
            last = time.monotonic()
            while not self._over(last):
                if self._parties:
                    last = time.monotonic()
                self._turn(backend, watch)
        except BaseException as exc:
            self._give_up(exc, over=True)
            if not isinstance(exc, TaskctlError):
                raise
        finally:
            if watch is not None:
                watch.close()

    def _over(self, last: float) -> bool:
        """Return whether nobody has waited for long; then this thread counts no more."""
        with self._lock:
            for parties in [*self._parties.values()]:
                for party in [*parties]:
                    if party.loop.is_closed():  # it was stopped in the middle
                        self._remove(party, party.missing)
            if self._parties or time.monotonic() - last < _IDLE:
                return False
            self._thread = self._watch = None
            return True

    def _turn(self, backend: Backend, watch: Watch) -> None:
        """Hear once, and hand over what was heard."""
        try:
            news = watch.hear(_IDLE)
        except BackendError as exc:
            if not backend.may_pass(exc):
                self._give_up(exc)
                return
            if self._trouble is None:
                logger.warning("%s; still waiting, trying again", exc)
                self._pause = _RETRIES[0]
            self._trouble = exc
            time.sleep(self._pause)
            self._pause = min(self._pause * 2, _RETRIES[1])
            return
        self._trouble = None
        if news:
            self._tell({task_id: self._read(backend, task_id, news[task_id]) for task_id in news})

    def _read(self, backend: Backend, task_id: str, data: bytes) -> News:
        try:
            return read_meta(self._app, data, task_id, backend)
        except Exception as exc:  # whatever a pickle raises belongs to who waits for it
            return exc

    def _give_up(self, exc: BaseException, over: bool = False) -> None:
        """Let all who wait know that it is in vain; with `over`, the thread ends."""
        with self._lock:
            if over:
                self._thread = self._watch = None
            lost = list(self._parties)
        self._tell(dict.fromkeys(lost, exc))

    def _tell(self, news: dict[str, News]) -> None:
        """Hand over what is final, one call a loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Party, str, News]]] = {}
        with self._lock:
            for task_id, one in news.items():
                if isinstance(one, dict) and one["status"] not in READY_STATES:
                    if task_id in self._parties:
                        self._states[task_id] = one["status"]
                    continue
                for party in self._parties.get(task_id, ()):
                    # Each gives the children of its copy a shape of its own.
                    told = dict(one) if isinstance(one, dict) else copy.copy(one)
                    by_loop.setdefault(party.loop, []).append((party, task_id, told))
                self._forget(task_id)
        for loop, heard in by_loop.items():
            with contextlib.suppress(RuntimeError):  # closed in the meantime: nobody waits there
                loop.call_soon_threadsafe(_hand_over, heard)

    def _remove(self, party: Party, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            parties = self._parties.get(task_id, [])
            if party in parties:
                parties.remove(party)
                if not parties:
                    self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        self._parties.pop(task_id, None)
        self._states.pop(task_id, None)
        if self._watch is not None:
            self._watch.drop((task_id,))


def _hand_over(heard: list[tuple[Party, str, News]]) -> None:
    for party, task_id, news in heard:
        party.hand_over(task_id, news)


_making = threading.Lock()


def lookout_of(app: Any, backend: Backend | None) -> Lookout:
    """Return the lookout for this backend, or for the one that the app has now."""
    holder = app if backend is None else backend
    with _making:
        found: Lookout | None = holder.__dict__.get("_lookout")
        if found is None or not found.looks_at(app.__dict__.get("backend")):
            found = holder.__dict__["_lookout"] = Lookout(app, backend)
        return found
