"""What a worker costs that has nothing to do: processor and memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import psutil

from .report import Claim, Figure
from .rounds import Sample, take_turns
from .stand import CELERY, TASKCTL, TASKCTL_SQLITE, Contestant, Stand, now

#: Seconds to come to rest after the first tasks, and seconds of rest that are measured.
SETTLE, WATCH = 5.0, 20.0
#: Tasks run before memory is read again: children have touched what they touch by then.
WARM_UP = 1_000

METHOD = f"""\
A worker with two children answers a few tasks, comes to rest for {SETTLE:g} s and is watched for
{WATCH:g} s. Processor time is that of parent and children, as the scheduler counts it; 100 % is one
core. Memory is their PSS (shared pages counted once, in parts), at rest and again after
{WARM_UP:,} no-op tasks."""


class Cost(NamedTuple):
    """Percent of one core, and MiB of PSS at rest and after work."""

    percent: float
    fresh: float
    worked: float


def measure(stand: Stand, contestant: Contestant) -> Cost:
    """Watch an idle worker."""
    stand.clear()
    with stand.idle_worker(contestant) as worker:
        time.sleep(SETTLE)
        family = [worker, *worker.children(recursive=True)]
        began, spent = now(), _cpu_seconds(family)
        fresh = _pss_mib(family)
        time.sleep(WATCH)
        percent = 100 * (_cpu_seconds(family) - spent) / (now() - began)
        stand.send(contestant, "noop", WARM_UP)
        gauge = stand.gauge(contestant)
        while gauge.read():
            time.sleep(gauge.every)
        gauge.close()
        return Cost(round(percent, 3), round(fresh, 1), round(_pss_mib(family), 1))


def _cpu_seconds(family: list[psutil.Process]) -> float:
    """Return what all threads have run; the clock ticks of psutil are too coarse for this."""
    spent = 0
    for process in family:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def _pss_mib(family: list[psutil.Process]) -> float:
    return sum(process.memory_full_info().pss for process in family) / 2**20


def idle(stand: Stand, rounds: int) -> Figure:
    """Take the figure of an idle worker."""
    contestants = [TASKCTL, CELERY, TASKCTL_SQLITE]
    for contestant in contestants:
        with stand.idle_worker(contestant):
            pass  # fills the cache of byte code: to compile takes memory, and keeps it
    costs = take_turns(contestants, rounds, lambda one: measure(stand, one))
    percent = {c: Sample([cost.percent for cost in taken]) for c, taken in costs.items()}
    fresh = {c: Sample([cost.fresh for cost in taken]) for c, taken in costs.items()}
    worked = {c: Sample([cost.worked for cost in taken]) for c, taken in costs.items()}
    return Figure(
        "An idle worker",
        METHOD,
        ["", "% of a core: median (range)", "PSS at rest, MiB", "PSS after work, MiB"],
        [[c.label, percent[c].show(2), fresh[c].show(1), worked[c].show(1)] for c in contestants],
        rounds,
        [
            Claim("percent of a core, Redis", percent[TASKCTL], at_most=1),
            Claim("percent of a core, SQLite", percent[TASKCTL_SQLITE], at_most=1),
            Claim("PSS at rest, taskctl / Celery", fresh[TASKCTL].over(fresh[CELERY]), at_most=0.6),
            Claim(
                "PSS after work, taskctl / Celery",
                worked[TASKCTL].over(worked[CELERY]),
                at_most=0.6,
            ),
        ],
    )
