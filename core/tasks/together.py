"""What happens when tasks run side by side on one event loop: the steps of `execute`, awaited.

A coroutine runs on the loop.  What may wait for a server or is somebody's plain code goes to a
thread, with a copy of the context: functions, hooks, results that are stored here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from .. import current, loops, signals, steering
from ..wire.outcome import LOST, SUCCEEDED, Outcome
from .endings import note_raised
from .execute import Executor, outcome_of
from .record import Run

T = TypeVar("T")


class TogetherExecutor(Executor):
    """Runs the tasks of one app, many at once."""

    async def run_together(
        self, envelope: bytes, delivery: tuple[Any, ...], describe: bool, steer: steering.Steer
    ) -> Outcome:
        """Run the task in `envelope` as `run` does, beside others; never raises.

        `delivery` is (deliveries, redelivered, hard limit, soft limit, queue).  What was stopped
        through `steer` is LOST, and nothing of it is kept.
        """
        run = Run(describe)
        try:
            if self._prepare(run, envelope, delivery):
                if run.plan.awaits:
                    await self._steps_together(run, steer)
                else:
                    await asyncio.to_thread(self._steps, run)
        except BaseException as exc:
            self._break_down(run, exc)
        if steer.stopped:
            return Outcome(request=0, kind=LOST, runtime=run.runtime, text="cancelled")
        return outcome_of(run)

    async def _steps_together(self, run: Run, steer: steering.Steer) -> None:
        if self._deduplicates and await asyncio.to_thread(self._done_before, run):
            return
        current.push_task(run.task, run.request)
        try:
            self._announce(run)
            if run.stores and run.task.track_started:
                await asyncio.to_thread(self._mark_started, run)
            await _perform(run, steer)
            if not steer.stopped:
                await _aside_if(_may_wait(run), self._finish, run)
        finally:
            self._leave(run)

    def _finish(self, run: Run) -> None:
        # Hooks are called now: no limit reaches into them.
        steering.current.set(None)
        super()._finish(run)


async def _perform(run: Run, steer: steering.Steer) -> None:
    """Run the user's code; whatever it does, note it in `run`."""
    plan, request = run.plan, run.request
    try:
        if plan.before_start is not None:
            before = (request.id, request.args, request.kwargs)
            await asyncio.to_thread(_call, plan.before_start, *before)
        run.value = await steer.run(plan.call(*request.args, **request.kwargs))
        run.kind = SUCCEEDED
    except BaseException as exc:
        note_raised(run, exc)


def _call(hook: Callable[..., Any], *args: Any) -> None:
    loops.finished(hook(*args))


def _may_wait(run: Run) -> bool:
    """Return whether ending a run calls plain code of the user's, or a server."""
    plan, request = run.plan, run.request
    hooks = plan.on_success, plan.on_failure, plan.on_retry, plan.after_return
    return (
        any(hook is not None for hook in hooks)
        or plan.backend is not None
        or bool(request.errbacks or request.chord or request.chain or request.callbacks)
        or any(signal.receivers for signal in _TOLD_OF_ENDS)
    )


_TOLD_OF_ENDS = (signals.task_success, signals.task_failure, signals.task_retry)


async def _aside_if(wanted: bool, function: Callable[..., T], *args: Any) -> T:
    return await asyncio.to_thread(function, *args) if wanted else function(*args)
