"""The fleet as its events tell of it: `from taskctl.events.state import State`."""

from taskctl.core.remote.event_records import Task, Worker
from taskctl.core.remote.event_state import State

__all__ = ["State", "Task", "Worker"]
