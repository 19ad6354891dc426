"""The periodic sender: what is due, send it, remember it.

Stands beside the worker and never imports it.  A scheduler of one's own derives from `Scheduler`.
"""

from .entry import BeatLazyFunc, ScheduleEntry
from .persistent import PersistentScheduler
from .scheduler import Scheduler
from .service import EmbeddedBeat, Service

__all__ = [
    "BeatLazyFunc",
    "EmbeddedBeat",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "Service",
]
