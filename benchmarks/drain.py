"""How fast one worker with two children empties a queue of no-op tasks."""

from __future__ import annotations

import time
from dataclasses import replace

from .report import Claim, Figure
from .rounds import Sample, take_turns
from .stand import CELERY, CELERY_QUIET, TASKCTL, TASKCTL_SQLITE, Contestant, Stand, now

#: Tasks in the queue when the worker starts: about two seconds of work for taskctl, four for
#: Celery.
TASKS = {"taskctl": 30_000, "celery": 4_000}
#: Seconds a worker may take to begin, and to end.
BEGIN_WITHIN, END_WITHIN = 30.0, 120.0

METHOD = """\
Each product fills a queue with its own producer (taskctl {taskctl:,} tasks, Celery {celery:,}) and
then starts `{{program}} worker -P prefork -c 2` with otherwise default options. The clock runs from
the first look at which messages are gone until none waits and none is unacknowledged. "Celery,
quiet" is Celery with `--without-gossip --without-mingle --without-heartbeat`. taskctl acknowledges
after the run, Celery, as is its default, before.""".format(**TASKS)


def measure(stand: Stand, contestant: Contestant, tasks: int) -> float:
    """Return tasks a second, from the first that is taken to the last that is acknowledged."""
    stand.clear()
    stand.send(contestant, "noop", tasks)
    gauge = stand.gauge(contestant)
    try:
        full = gauge.read()
        with stand.worker(contestant):
            launched = now()
            while (left := gauge.read()) == full:
                _be_patient(stand, launched, BEGIN_WITHIN)
                time.sleep(gauge.every)
            first, began = left, now()
            while gauge.read():
                _be_patient(stand, began, END_WITHIN)
                time.sleep(gauge.every)
            return first / (now() - began)
    finally:
        gauge.close()


def _be_patient(stand: Stand, since: float, limit: float) -> None:
    if now() - since > limit:
        raise TimeoutError(
            f"nothing happened within {limit:g} s; the log ends\n{stand.complaint()}"
        )


def without_results(stand: Stand, rounds: int) -> Figure:
    """Take the figure with results off, on Redis and on SQLite."""
    contestants = [TASKCTL, CELERY, TASKCTL_SQLITE, CELERY_QUIET]
    rates = _rates(stand, contestants, rounds)
    ours, sqlite = rates[TASKCTL], rates[TASKCTL_SQLITE]
    return Figure(
        "No-op tasks, results off",
        METHOD.replace("{program}", "taskctl|celery"),
        ["", "tasks a second: median (range)", "beside Celery"],
        [[c.label, rates[c].show(), rates[c].over(rates[CELERY]).show(1)] for c in contestants],
        rounds,
        [
            Claim("taskctl / Celery on Redis", ours.over(rates[CELERY]), at_least=8),
            Claim("taskctl / Celery, quiet", ours.over(rates[CELERY_QUIET]), at_least=8),
            Claim("taskctl on SQLite / on Redis", sqlite.over(ours), at_least=0.5),
        ],
    )


def with_results(stand: Stand, rounds: int) -> Figure:
    """Take the figure with results stored on Redis."""
    contestants = [replace(one, results=True) for one in (TASKCTL, CELERY, CELERY_QUIET)]
    rates = _rates(stand, contestants, rounds)
    celery = rates[contestants[1]]
    return Figure(
        "No-op tasks, results stored on Redis",
        "As with results off, but with the same Redis as result backend and every result stored.",
        ["", "tasks a second: median (range)", "beside Celery"],
        [[c.label, rates[c].show(), rates[c].over(celery).show(1)] for c in contestants],
        rounds,
    )


def _rates(stand: Stand, contestants: list[Contestant], rounds: int) -> dict[Contestant, Sample]:
    def rate(contestant: Contestant) -> float:
        return round(measure(stand, contestant, TASKS[contestant.product]), 1)

    return {c: Sample(values) for c, values in take_turns(contestants, rounds, rate).items()}
