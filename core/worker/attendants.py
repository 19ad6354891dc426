"""What runs beside the work of a node: memory of revoked tasks, beat, users' steps, debugger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .debugger import Debugger
from .statedb import StateFile
from .steps import Steps

if TYPE_CHECKING:
    from ..beat.service import EmbeddedBeat
    from .worker import Worker


class Attendants:
    """The attendants of one worker, started and stopped with it.

    `options.extras` has them: "beat" an EmbeddedBeat, "user_options" what users' steps are given.
    """

    def __init__(self, worker: Worker) -> None:
        options = worker.options
        self.worker = worker
        self.debugger = Debugger(worker)
        self.beat: EmbeddedBeat | None = options.extras.get("beat")
        self.steps = Steps(worker, options.extras.get("user_options") or {})
        self.state: StateFile | None = None
        if options.statedb:
            self.state = StateFile(options.statedb, worker.revoked, worker.clock)

    def open(self) -> None:
        """Start those that come before the pool.

        Raises StateFileError.
        """
        if self.state is not None:
            self.state.load()
        # A fork too: it must not inherit what the pool's children speak through.
        if self.beat is not None:
            self.beat.start()

    def look(self, now: float) -> None:
        """Do what is due, in each turn of the loop."""
        if self.state is not None:
            self.state.look(now)
        if self.beat is not None and not self.worker.stopping:
            self.beat.tend(now)
        self.debugger.look()

    def stop_beat(self) -> None:
        """Send no more periodic tasks: while this node finishes its own, another may take over."""
        if self.beat is not None:
            self.beat.stop()

    def close(self) -> None:
        """Stop them all; remember what was revoked."""
        self.steps.close()
        self.stop_beat()
        self.debugger.close()
        if self.state is not None:
            self.state.save()
