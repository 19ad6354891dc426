"""How long a thousand sleeps of a second take: what a worker is worth whose tasks only wait."""

from __future__ import annotations

import time
from dataclasses import replace

from .report import Claim, Figure
from .rounds import Sample, take_turns
from .stand import CELERY, TASKCTL, TASKCTL_SQLITE, Contestant, Stand

#: Tasks, of one second each, and places in the worker.
TASKS = 1_000
#: Seconds after which a run has failed.
END_WITHIN = 120.0

ASYNCIO = ("-P", "asyncio", "-c", str(TASKS))
THREADS = ("-P", "threads", "-c", str(TASKS))
CONTESTANTS = (
    replace(TASKCTL, label="taskctl, asyncio", options=ASYNCIO),
    replace(TASKCTL_SQLITE, label="taskctl, asyncio, SQLite", options=ASYNCIO),
    replace(TASKCTL, label="taskctl, threads", options=THREADS),
    replace(CELERY, label="Celery, threads", options=THREADS),
)

METHOD = f"""\
A worker stands ready; {TASKS:,} calls of a task that sleeps for a second are sent one by one, and
the clock runs from before the first call until no message is left. In the asyncio pool the task
is a coroutine that awaits `asyncio.sleep(1)`, and one child with `-c {TASKS}` runs them all; in the
threads pools it is a function that calls `time.sleep(1)`."""


def measure(stand: Stand, contestant: Contestant, tasks: int = TASKS) -> float:
    """Return the seconds from the first call to the last acknowledgement."""
    stand.clear()
    with stand.idle_worker(contestant):
        gauge = stand.gauge(contestant)
        try:
            began = float(stand.send(contestant, _task(contestant), tasks))
            while gauge.read():
                if time.time() - began > END_WITHIN:
                    raise TimeoutError(f"not through within {END_WITHIN:g} s\n{stand.complaint()}")
                time.sleep(gauge.every)
            return round(time.time() - began, 2)
        finally:
            gauge.close()


def _task(contestant: Contestant) -> str:
    return "anap" if contestant.options == ASYNCIO else "nap"


def sleeps(stand: Stand, rounds: int) -> Figure:
    """Take the figure."""
    taken = take_turns(CONTESTANTS, rounds, lambda one: measure(stand, one))
    seconds = {one: Sample(values) for one, values in taken.items()}
    ours, embedded = CONTESTANTS[:2]
    return Figure(
        "A thousand sleeps of one second",
        METHOD,
        ["", "seconds: median (range)"],
        [[one.label, seconds[one].show(2)] for one in CONTESTANTS],
        rounds,
        [
            Claim("seconds of taskctl's asyncio pool on Redis", seconds[ours], at_most=2),
            Claim("seconds of taskctl's asyncio pool on SQLite", seconds[embedded], at_most=2),
        ],
    )
