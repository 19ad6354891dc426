"""What a child does before it serves and when it goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..pool.base import Serve, Work
from ..tasks.execute import Executor
from ..wire.outcome import Outcome
from .signalbox import SignalBox


class Childhood:
    """Makes `serve` in a child.

    `extras["child_log"]`, if given, is called with the child's index to give it a log of its own.
    """

    def __init__(self, app: Any, hostname: str, signals: SignalBox, extras: dict[str, Any]) -> None:
        self.app = app
        self.hostname = hostname
        self.signals = signals
        self.child_log: Callable[[int], None] | None = extras.get("child_log")
        self.parent = os.getpid()
        self.executor: Executor | None = None

    def boot(self, index: int) -> Serve:
        """Set the child up; return what runs its work."""
        if os.getpid() != self.parent and self.child_log is not None:
            self.child_log(index)
        executor = self.executor = Executor(self.app, hostname=self.hostname)
        executor.boot()

        def serve(work: Work) -> Outcome:
            outcome = executor.run(
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

        return serve

    def leave(self) -> None:
        """Let go of what the child opened."""
        if self.executor is not None:
            self.executor.leave()
