"""The threads pool."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from taskctl.core.pool import Serve
from taskctl.core.wire.outcome import LOST, SUCCEEDED

from .contract import Drive, PoolContract
from .serving import serve


class TestThreads(PoolContract):
    name = "threads"


def _threads() -> int:
    """Return how many threads of a pool there are; others have words for names."""
    return sum(bool(re.fullmatch(r"taskctl-\d+", t.name)) for t in threading.enumerate())


def test_as_many_run_at_once_as_there_are_threads(drive: Drive, tmp_path: Path) -> None:
    driver = drive("threads", 5)
    gate = tmp_path / "gate"

    requests = driver.submit(*[b"wait %s" % bytes(gate)] * 7)
    driver.until(lambda: len(driver.pool.running()) == 5)

    assert driver.pool.waiting() == 2
    gate.touch()
    driver.wait(*requests)


def test_grows_at_once_and_shrinks_as_threads_become_idle(drive: Drive, tmp_path: Path) -> None:
    driver = drive("threads", 2)
    gate = tmp_path / "gate"
    requests = driver.submit(*[b"wait %s" % bytes(gate)] * 4)
    driver.pool.resize(4)
    driver.until(lambda: len(driver.pool.running()) == 4)

    driver.pool.resize(1)
    gate.touch()
    driver.wait(*requests)

    driver.until(lambda: _threads() == 1)
    assert driver.run(b"echo x").kind == SUCCEEDED


def test_what_outlives_the_deadline_is_lost_and_later_says_nothing(
    drive: Drive, tmp_path: Path
) -> None:
    driver = drive("threads", 1)
    gate = tmp_path / "gate"
    request = driver.submit(b"wait %s" % bytes(gate))[0]
    driver.until(lambda: driver.runs(request))

    driver.pool.close(time.monotonic() + 0.05)
    driver.take(driver.pool.collect())
    gate.touch()

    assert driver.outcomes[request].kind == LOST
    assert driver.outcomes[request].text == "still running when the pool was closed"
    driver.until(lambda: _threads() == 0)
    assert driver.pool.collect() == []


def test_a_thread_that_cannot_boot_tries_again_and_says_why(drive: Drive) -> None:
    attempts: list[float] = []

    def boot(index: int) -> Serve:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise RuntimeError("no database")
        return serve

    driver = drive("threads", 1, boot)

    trouble = driver.until(driver.pool.trouble)
    assert trouble == "thread 0 could not boot: RuntimeError: no database"
    assert driver.run(b"echo x").kind == SUCCEEDED
    assert attempts[1] - attempts[0] >= 0.5
    assert driver.pool.trouble() is None
