"""How long the programs take to say their version: what every command costs at least."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from .report import Claim, Figure
from .rounds import Sample, take_turns
from .stand import CELERY, TASKCTL, Contestant, Stand, now

#: A start is short: many more of them than of the other rounds.
STARTS = 15

METHOD = """\
The installed programs, as a shell would start them, in turn; byte code is cached for both. Wall
time and processor time (user and system) of one process."""


class Cost(NamedTuple):
    """Milliseconds of one start."""

    wall: float
    cpu: float


def program(contestant: Contestant) -> str:
    """Return the path of its installed program."""
    path = shutil.which(contestant.product, path=str(Path(sys.executable).parent))
    if path is None:
        raise FileNotFoundError(f"no program {contestant.product} beside {sys.executable}")
    return path


def measure(stand: Stand, contestant: Contestant) -> Cost:
    """Start the program once."""
    argv = [program(contestant), "--version"]
    silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = now()
    pid = os.posix_spawn(argv[0], argv, stand.env(contestant), file_actions=silence)
    _, status, usage = os.wait4(pid, 0)
    wall = now() - began
    if status:
        raise RuntimeError(f"{' '.join(argv)} ended with status {status}")
    return Cost(round(wall * 1000, 2), round((usage.ru_utime + usage.ru_stime) * 1000, 2))


def startup(stand: Stand, rounds: int) -> Figure:
    """Take the figure of `--version`."""
    contestants = [TASKCTL, CELERY]
    for contestant in contestants:
        measure(stand, contestant)  # fills the cache of byte code
    starts = max(STARTS, rounds)
    costs = take_turns(contestants, starts, lambda one: measure(stand, one))
    wall = {c: Sample([cost.wall for cost in taken]) for c, taken in costs.items()}
    cpu = {c: Sample([cost.cpu for cost in taken]) for c, taken in costs.items()}
    return Figure(
        "`--version`",
        METHOD,
        ["", "wall, ms: median (range)", "processor, ms: median (range)"],
        [[f"`{c.product} --version`", wall[c].show(1), cpu[c].show(1)] for c in contestants],
        starts,
        [
            Claim("wall time, taskctl / Celery", wall[TASKCTL].over(wall[CELERY]), at_most=0.2),
            Claim("processor time, taskctl / Celery", cpu[TASKCTL].over(cpu[CELERY]), at_most=0.2),
        ],
    )
