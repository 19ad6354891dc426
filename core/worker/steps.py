"""The steps that users add to a worker (`app.steps["worker"]`), in the order they need."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from ..bootsteps import StartStopStep, Step
from ..errors import ImproperlyConfigured

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")


class Steps:
    """The added steps of one worker; `options` are the values of the user's own options."""

    def __init__(self, worker: Worker, options: Mapping[str, Any]) -> None:
        self.worker = worker
        self.started: list[StartStopStep] = []
        steps = worker.app.steps
        if steps.get("consumer"):
            log.warning('app.steps["consumer"] has no effect: this worker has no such blueprint')
        kinds = in_order(steps["worker"]) if "worker" in steps else []
        made = [kind(worker, **options) for kind in kinds]
        self.steps: list[Step] = [step for step in made if step.include(worker)]

    def open(self) -> None:
        """Start them, in order."""
        for step in self.steps:
            if isinstance(step, StartStopStep):
                step.start(self.worker)
                self.started.append(step)

    def close(self) -> None:
        """Stop those that were started, last first; what one raises does not keep the others."""
        cold = self.worker.shutdown.stage == "cold"
        for step in reversed(self.started):
            self._call(step, step.close)
        while self.started:
            step = self.started.pop()
            self._call(step, step.terminate if cold else step.stop)

    def _call(self, step: StartStopStep, action: Any) -> None:
        try:
            action(self.worker)
        except Exception:
            log.exception("step %s does not stop", step.alias)


def in_order(kinds: Iterable[Any]) -> list[Any]:
    """Return classes of steps, each after those it requires.

    Raises ImproperlyConfigured if they require each other.
    """
    by_name = {_name(kind): kind for kind in sorted(kinds, key=_name)}
    wants = {
        name: [other for other in map(_name, kind.requires or ()) if other in by_name]
        for name, kind in by_name.items()
    }
    try:
        return [by_name[name] for name in TopologicalSorter(wants).static_order()]
    except CycleError as exc:
        raise ImproperlyConfigured(f"steps require each other: {' -> '.join(exc.args[1])}") from exc


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else f"{kind.__module__}:{kind.__qualname__}"
