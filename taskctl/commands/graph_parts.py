"""The parts of a worker and what each needs: what `graph bootsteps` draws.

A test holds this table against the worker itself: every part is there, and starts in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskctl.views.graph import Vertex


@dataclass(frozen=True)
class Part:
    """One part: its name, its attribute of the worker, and the parts that start before it.

    `optional`: only some workers have it; such names begin with a ring, as in Celery.
    """

    name: str
    attribute: str
    needs: tuple[str, ...] = ()
    optional: bool = False


WORKER = (
    Part("Vitals", "vitals"),
    Part("Signals", "signals", ("Vitals",)),
    Part("Attendants", "attendants", ("Signals",), optional=True),
    Part("Pool", "pool", ("Signals", "Attendants")),
    Part("Autoscaler", "autoscaler", ("Pool",), optional=True),
    Part("Scheduler", "scheduler"),
    Part("Starter", "starter", ("Pool", "Scheduler")),
)
CONSUMER = (
    # After the pool: a child that inherits a connection could speak on it.
    Part("Connection", "line", ("Pool",)),
    Part("Queues", "consumer", ("Connection",)),
    Part("Mailbox", "mailbox", ("Connection",), optional=True),
    Part("Commands", "commands", ("Mailbox",)),
    Part("Events", "events", ("Connection",)),
    Part("Settlement", "settlement", ("Queues", "Pool")),
    Part("Admission", "admission", ("Queues", "Settlement", "Scheduler")),
    Part("Heartbeat", "heart", ("Queues",)),
    Part("Rest", "rest", ("Heartbeat",)),
    Part("Aside", "aside", ("Rest",), optional=True),
)
PARTS = {"worker": WORKER, "consumer": CONSUMER}


def vertices(wanted: list[str], app: Any) -> list[Vertex]:
    """Return the parts of the wanted halves, and the steps that the app adds to them."""
    parts = [part for half in wanted for part in PARTS[half]]
    shown = {part.name: f"∘{part.name}" if part.optional else part.name for part in parts}
    found = [
        Vertex(shown[part.name], tuple(shown[need] for need in part.needs if need in shown))
        for part in parts
    ]
    for half in wanted:
        for step in sorted(app.steps[half], key=lambda step: str(step.__qualname__)):
            found.append(Vertex(step.__qualname__, _needs_of(step)))
    return found


def _needs_of(step: Any) -> tuple[str, ...]:
    """Return the names of the steps that a step of the app says it requires."""
    needs = []
    for need in getattr(step, "requires", ()):
        if isinstance(need, str):
            needs.append(need.rpartition(":")[2].rpartition(".")[2])
        else:
            needs.append(need.__qualname__)
    return tuple(needs)
