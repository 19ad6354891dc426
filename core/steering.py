"""Running coroutines so that time limits and revokes can reach into each one alone.

A soft limit is raised in the coroutine at the place where it waits, as SoftTimeLimitExceeded; the
exception is a CancelledError too, so that asyncio's own code on the way (task groups, timeouts,
locks) cleans up as it does for a cancellation.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from . import interrupts
from .errors import SoftTimeLimitExceeded, TaskctlError

#: Seconds for which a coroutine must have kept its loop before a soft limit is raised in the
#: middle of its code, as in a function that is none: by then it waits for nothing, it blocks.
BLOCKING = 0.01

#: The loop that all coroutines of this context belong to, in a child of the asyncio pool.
home: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "taskctl_home_loop", default=None
)
#: What steers the task of this context.
current: contextvars.ContextVar[Steer | None] = contextvars.ContextVar(
    "taskctl_steer", default=None
)


class SoftLimitReached(SoftTimeLimitExceeded, asyncio.CancelledError):
    """Raised in a coroutine at its soft time limit."""


class Steer:
    """Reaches into the one coroutine that `run` runs.

    `soften` and `stop` may be called from signal handlers of the loop's thread, and from it;
    before the coroutine begins they wait for it, after its end they do nothing.
    """

    def __init__(self) -> None:
        #: Whether it was told to stop, and has been cancelled for it.
        self.stopped = False
        self._soft_due = False
        self._stop_due = False
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: time.monotonic() since which the coroutine has not given back the loop; 0 while it waits.
        self._since = 0.0

    def soften(self) -> None:
        """Raise SoftTimeLimitExceeded in the coroutine; in here if it blocks its loop."""
        if self._since and time.monotonic() - self._since > BLOCKING:
            raise SoftTimeLimitExceeded
        self._soft_due = True
        self._cancel_soon()

    def stop(self) -> None:
        """Cancel the coroutine."""
        self._stop_due = True
        self._cancel_soon()

    async def run(self, awaitable: Awaitable[Any]) -> Any:
        """Return what the awaitable ends with; raise what it raises.

        Raises SoftTimeLimitExceeded at the soft limit, unless the coroutine catches it, and
        CancelledError only when stopped.
        """
        self._loop = asyncio.get_running_loop()
        self._task = task = asyncio.current_task()
        assert task is not None
        if self._soft_due or self._stop_due:
            task.cancel()
        try:
            return await self._drive(_as_coroutine(awaitable))
        except SoftLimitReached as exc:
            raise SoftTimeLimitExceeded(*exc.args).with_traceback(exc.__traceback__) from None
        except asyncio.CancelledError as exc:
            if self.stopped:
                raise
            text = "the coroutine was cancelled by what it has called or awaited, not by its worker"
            raise TaskctlError(text) from exc
        finally:
            self._task = None
            if self.stopped:
                task.uncancel()

    @types.coroutine
    def _drive(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        send, throw = coroutine.send, coroutine.throw
        value: Any = None
        exc: BaseException | None = None
        while True:
            try:
                self._since = time.monotonic()
                try:
                    future = send(value) if exc is None else throw(exc)
                finally:
                    self._since = 0.0
            except StopIteration as stop:
                return stop.value
            except SoftTimeLimitExceeded as struck:
                if getattr(coroutine, "cr_frame", None) is None:
                    raise
                exc = struck  # it came between two steps: the coroutine has not seen it
                continue
            try:
                value, exc = (yield future), None
            except asyncio.CancelledError as cancelled:
                exc = self._translated(cancelled)
            except BaseException as raised:
                exc = raised

    def _translated(self, cancelled: asyncio.CancelledError) -> BaseException:
        if self._stop_due:
            self._stop_due, self.stopped = False, True
        elif self._soft_due:
            self._soft_due = False
            assert self._task is not None
            self._task.uncancel()
            return SoftLimitReached()
        return cancelled

    def _cancel_soon(self) -> None:
        if self._task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and (self._soft_due or self._stop_due):
            self._task.cancel()


def _as_coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    return awaitable if isinstance(awaitable, Coroutine) else _awaited(awaitable)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


# --- in code that is no coroutine -------------------------------------------------------------


class _Kept(threading.local):
    """The loop a thread keeps, and the process that has made it."""

    runner: asyncio.Runner | None = None
    pid = 0


_kept = _Kept()
#: Loops of a parent, seen in a forked child: closing one there would disturb the parent's.
_inherited: list[asyncio.Runner] = []


def complete(awaitable: Awaitable[Any], keep: bool = False) -> Any:
    """Return what an awaitable ends with; blocks this thread until then.

    It runs on the loop its context is at home in, if another thread runs that; else on the loop
    this thread keeps (with `keep`), else on one of its own.  Where a loop is running in this very
    thread, a second one runs in another thread meanwhile.
    """
    if asyncio._get_running_loop() is not None:
        return _beside(awaitable)
    loop = home.get()
    if loop is not None:
        steer = current.get() or Steer()
        return asyncio.run_coroutine_threadsafe(steer.run(awaitable), loop).result()
    if keep:
        return _on(_runner(), awaitable)
    with asyncio.Runner() as runner:
        return _on(runner, awaitable)


def _on(runner: asyncio.Runner, awaitable: Awaitable[Any]) -> Any:
    steer = Steer()
    # A copy: the runner's own was made when the first one ran.
    coroutine, context = steer.run(awaitable), contextvars.copy_context()
    if threading.current_thread() is not threading.main_thread():
        return runner.run(coroutine, context=context)
    before = interrupts.divert(steer.soften)
    try:
        return runner.run(coroutine, context=context)
    finally:
        interrupts.divert(before)


def _beside(awaitable: Awaitable[Any]) -> Any:
    """Run it on a loop of its own in another thread, in a copy of this context."""
    context = contextvars.copy_context()
    ended: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        home.set(None)  # that loop stands still until we are through
        try:
            with asyncio.Runner() as runner:
                ended.append(runner.run(Steer().run(awaitable)))
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=context.run, args=(run,), name="taskctl-loop")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return ended[0]


def _runner() -> asyncio.Runner:
    if _kept.runner is not None and _kept.pid != os.getpid():
        _inherited.append(_kept.runner)
        _kept.runner = None
    if _kept.runner is None:
        _kept.runner, _kept.pid = asyncio.Runner(), os.getpid()
    return _kept.runner


def close_kept() -> None:
    """Close the loop this thread has kept."""
    runner, _kept.runner = _kept.runner, None
    if runner is not None and _kept.pid == os.getpid():
        runner.close()
