"""What a child does before it serves and when it goes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from ..pool.base import Serve, Work
from ..tasks.execute import Executor
from ..wire.outcome import Outcome
from .signalbox import SignalBox


class Serving:
    """What runs the work of one child: called for one piece at a time, `together` for many."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def __call__(self, work: Work) -> Outcome:
        outcome = self.executor.run(
            work.envelope,
            queue=work.queue,
            deliveries=work.deliveries,
            redelivered=work.redelivered,
            hard=work.hard,
            soft=work.soft,
            describe=work.describe,
        )
        outcome.request = work.request
        return outcome

    async def together(self, work: Work, steer: Any) -> Outcome:
        """Run it beside others on this loop; `steer` reaches into it."""
        executor: Any = self.executor
        delivery = (work.deliveries, work.redelivered, work.hard, work.soft, work.queue)
        outcome: Outcome = await executor.run_together(
            work.envelope, delivery, work.describe, steer
        )
        outcome.request = work.request
        return outcome


def _executor(together: bool) -> type[Executor]:
    if not together:
        return Executor
    # Needs asyncio, which takes as long to import as the rest of a worker.
    kind: type[Executor] = importlib.import_module("..tasks.together", __package__).TogetherExecutor
    return kind


class Childhood:
    """Makes `serve` in a child.

    `extras["child_log"]`, if given, is called with the child's index to give it a log of its own.
    `pool` is the name of the kind of pool the child is in.
    """

    def __init__(
        self,
        app: Any,
        hostname: str,
        signals: SignalBox,
        extras: dict[str, Any],
        pool: str = "prefork",
    ) -> None:
        self.app = app
        self.hostname = hostname
        self.signals = signals
        self.child_log: Callable[[int], None] | None = extras.get("child_log")
        self.parent = os.getpid()
        self.executor: Executor | None = None
        self.together = pool == "asyncio"

    def boot(self, index: int) -> Serve:
        """Set the child up; return what runs its work."""
        if os.getpid() != self.parent and self.child_log is not None:
            self.child_log(index)
        executor = self.executor = _executor(self.together)(self.app, hostname=self.hostname)
        executor.boot()
        return Serving(executor)

    def leave(self) -> None:
        """Let go of what the child opened."""
        if self.executor is not None:
            self.executor.leave()
