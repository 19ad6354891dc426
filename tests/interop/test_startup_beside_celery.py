"""How much processor time it takes to get an answer from the program, beside Celery's."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys


def seconds(*words: str) -> float:
    """Return the processor time of one run, children included; the median of five."""
    times = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        spent = after.children_user + after.children_system
        times.append(spent - before.children_user - before.children_system)
    return statistics.median(times)


def test_the_version_takes_a_fifth_of_celerys_time() -> None:
    assert seconds("taskctl", "--version") <= seconds("celery", "--version") / 5
