"""Threads: work runs in threads of this process.

For tasks that wait (for networks, for disks) and share memory.  A thread cannot be killed and no
limit holds; what still runs at the deadline of `close` is left behind and reported LOST.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..wire.outcome import LOST, Outcome
from .backoff import Backoff
from .base import Pool, Running, Serve, Started, Work

log = logging.getLogger("taskctl.pool")


class _Thread:
    """One thread of the pool: its index, and what it runs."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.running: Running | None = None
        self.done = 0
        self.serve: Serve | None = None


class ThreadsPool(Pool):
    """`size` threads that take from one queue."""

    name = "threads"

    def __init__(self, size: int, boot: Callable[[int], Serve], **options: Any) -> None:
        super().__init__(size, boot, **options)
        #: Guards everything below; `_wake` is notified when work comes or threads must go.
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._waiting: deque[Work] = deque()
        self._threads: dict[int, _Thread] = {}
        self._told: deque[Outcome | Started] = deque()
        self._bell: tuple[int, int] | None = None
        self._rung = False
        self._backoff = Backoff()
        self._closed = False
        self._answered = 0

    def open(self) -> None:
        self._bell = os.pipe()
        self.resize(self.size)

    def submit(self, batch: Sequence[Work]) -> None:
        with self._lock:
            self._waiting.extend(batch)
            self._wake.notify(len(batch))

    def collect(self) -> list[Outcome | Started]:
        with self._lock:
            if self._rung and self._bell is not None:
                os.read(self._bell[0], 1)
            self._rung = False
            told = list(self._told)
            self._told.clear()
            return told

    def running(self) -> list[Running]:
        with self._lock:
            threads = sorted(self._threads.values(), key=lambda thread: thread.index)
            return [thread.running for thread in threads if thread.running is not None]

    def waiting(self) -> int:
        return len(self._waiting)

    def recall(self) -> list[int]:
        with self._lock:
            requests = [work.request for work in self._waiting]
            self._waiting.clear()
            return requests

    def filenos(self) -> list[int]:
        return [] if self._bell is None else [self._bell[0]]

    def kill(self, request: int, signum: int) -> bool:
        return False

    def resize(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a pool has 0 or more threads, not {size}")
        with self._lock:
            self.size = size
            for index in [i for i in range(size) if i not in self._threads]:
                thread = self._threads[index] = _Thread(index)
                threading.Thread(
                    target=self._main, args=(thread,), name=f"taskctl-{index}", daemon=True
                ).start()
            self._wake.notify_all()

    def pids(self) -> list[int]:
        return [os.getpid()]

    def ready(self) -> bool:
        with self._lock:
            return any(thread.serve is not None for thread in self._threads.values())

    def trouble(self) -> str | None:
        return self._backoff.reason

    def describe(self) -> dict[str, Any]:
        with self._lock:
            threads = sorted(self._threads.values(), key=lambda thread: thread.index)
            return {
                "implementation": f"{type(self).__module__}:{type(self).__name__}",
                "max-concurrency": self.size,
                "processes": self.pids(),
                "max-tasks-per-child": None,
                "put-guarded-by-semaphore": False,
                "timeouts": [],
                "writes": {
                    "total": self._answered,
                    "raw": ", ".join(str(thread.done) for thread in threads),
                },
                "threads": len(threads),
            }

    def close(self, deadline: float) -> None:
        with self._lock:
            self.size = 0
            self._wake.notify_all()
            while self._threads and (left := deadline - time.monotonic()) > 0:
                self._ended.wait(left)
            self._closed = True
            for thread in self._threads.values():
                if thread.running is not None:
                    self._tell(self._left_behind(thread.running))
            self._threads.clear()
            if self._bell is not None:
                for fd in self._bell:
                    os.close(fd)
                self._bell = None

    # In the threads

    def _main(self, thread: _Thread) -> None:
        try:
            if self._boot(thread):
                while (work := self._take(thread)) is not None:
                    self._run(thread, work)
                if self.leave is not None:
                    self.leave()
        except Exception:
            log.exception("thread %d of the pool leaves with an error", thread.index)
        finally:
            with self._lock:
                if self._threads.get(thread.index) is thread:
                    del self._threads[thread.index]
                self._ended.notify_all()

    def _boot(self, thread: _Thread) -> bool:
        """Boot until it works; false when the thread must go before that."""
        while True:
            try:
                serve = self.boot(thread.index)
            except Exception as exc:
                reason = f"thread {thread.index} could not boot: {type(exc).__name__}: {exc}"
                if not self._pause(thread, reason):
                    return False
                continue
            with self._lock:
                thread.serve = serve
                self._backoff.succeed()
            return True

    def _pause(self, thread: _Thread, reason: str) -> bool:
        with self._lock:
            self._backoff.fail(reason, time.monotonic())
            while not self._surplus(thread):
                left = self._backoff.until - time.monotonic()
                if left <= 0:
                    return True
                self._wake.wait(left)
            return False

    def _surplus(self, thread: _Thread) -> bool:
        return thread.index >= self.size

    def _take(self, thread: _Thread) -> Work | None:
        """Wait for work; None when the thread must go."""
        with self._lock:
            while not self._surplus(thread):
                if self._waiting:
                    work = self._waiting.popleft()
                    self._begin(thread, work)
                    return work
                self._wake.wait()
            # Whoever was notified in vain passes it on.
            self._wake.notify()
            return None

    def _begin(self, thread: _Thread, work: Work) -> None:
        pid = os.getpid()
        thread.running = Running(
            request=work.request, pid=pid, child=thread.index, since=time.monotonic()
        )
        if work.announce:
            self._tell(Started(request=work.request, pid=pid, at=time.time()))

    def _run(self, thread: _Thread, work: Work) -> None:
        assert thread.serve is not None
        try:
            outcome = thread.serve(work)
        except Exception as exc:
            text = f"the pool broke down: {type(exc).__name__}: {exc}"
            outcome = Outcome(request=work.request, kind=LOST, text=text, pid=os.getpid())
        with self._lock:
            thread.running = None
            thread.done += 1
            self._answered += 1
            if not self._closed:
                self._tell(outcome)

    def _left_behind(self, running: Running) -> Outcome:
        return Outcome(
            request=running.request,
            kind=LOST,
            runtime=time.monotonic() - running.since,
            text="still running when the pool was closed",
            pid=running.pid,
        )

    def _tell(self, record: Outcome | Started) -> None:
        """Put a record out for `collect`; the lock is held."""
        self._told.append(record)
        if not self._rung and self._bell is not None:
            self._rung = True
            os.write(self._bell[1], b"!")
