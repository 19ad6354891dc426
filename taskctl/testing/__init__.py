"""Tests of your tasks: a worker in your own process, on a broker in memory, on a clock you move.

    def test_a_report_is_retried_after_an_hour(worker, clock):
        result = report.delay(2026)
        worker.run_until_idle()
        clock.advance(3600)
        assert result.get() == "done"

With pytest nothing need be imported: `plugin` is found by itself.  Elsewhere, as in unittest:

    with worker_for(app) as worker:
        ...

May import everything but the command line; nothing is loaded before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench import Bench, bench_for, worker_for
    from .inprocess import InProcessWorker, Ran
    from .published import Published, SentCall
    from .results import StillWaiting
    from .schedule import InProcessBeat
    from .timepiece import VirtualClock

#: Public name -> the module it lives in.
_PUBLIC = {
    "Bench": "bench",
    "InProcessBeat": "schedule",
    "InProcessWorker": "inprocess",
    "Published": "published",
    "Ran": "inprocess",
    "SentCall": "published",
    "StillWaiting": "results",
    "VirtualClock": "timepiece",
    "bench_for": "bench",
    "worker_for": "bench",
}

__all__ = [
    "Bench",
    "InProcessBeat",
    "InProcessWorker",
    "Published",
    "Ran",
    "SentCall",
    "StillWaiting",
    "VirtualClock",
    "bench_for",
    "worker_for",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
