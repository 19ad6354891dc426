"""How fast calls leave a program, and how soon an idle worker begins them."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from .report import Figure
from .rounds import Sample, take_turns
from .stand import CELERY, TASKCTL, TASKCTL_SQLITE, Contestant, Stand

#: Calls sent one by one without pause, and calls sent to an idle worker.
CALLS, PINGS = 3_000, 200

METHOD = f"""\
`noop.delay()` {CALLS:,} times in a loop by one thread, with no worker running; then {PINGS} calls,
each sent when the worker has been idle for 10 to 25 ms: the time from before `delay()` to the
first line of the task, on one clock."""


class Speed(NamedTuple):
    """Calls a second, and milliseconds to the begin of a task."""

    rate: float
    middle: float
    slow: float


def measure(stand: Stand, contestant: Contestant, calls: int, pings: int) -> Speed:
    """Send to an empty queue, then to an idle worker."""
    stand.clear()
    rate = calls / stand.send(contestant, "noop", calls)
    stand.clear()
    with stand.idle_worker(contestant):
        latencies = [1000 * one for one in stand.send(contestant, "answer", pings)]
    percentiles = statistics.quantiles(latencies, n=100)
    return Speed(round(rate, 1), round(percentiles[49], 2), round(percentiles[98], 2))


def publish(stand: Stand, rounds: int) -> Figure:
    """Take the figure of sending and beginning."""
    contestants = [TASKCTL, CELERY, TASKCTL_SQLITE]
    speeds = take_turns(contestants, rounds, lambda one: measure(stand, one, CALLS, PINGS))
    columns = ["", "calls a second: median (range)", "begins after, ms: p50", "p99"]
    rows = [
        [
            contestant.label,
            Sample([speed.rate for speed in taken]).show(),
            Sample([speed.middle for speed in taken]).show(2),
            Sample([speed.slow for speed in taken]).show(2),
        ]
        for contestant, taken in speeds.items()
    ]
    return Figure("Calls one by one", METHOD, columns, rows, rounds)
