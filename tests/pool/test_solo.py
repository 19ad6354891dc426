"""The solo pool."""

from __future__ import annotations

import os
import select

import pytest

from taskctl.core.pool import PoolError, Serve, open_pool

from .contract import Drive, PoolContract


class TestSolo(PoolContract):
    name = "solo"
    size = 1


def test_its_descriptor_is_readable_exactly_while_work_waits(drive: Drive) -> None:
    driver = drive("solo", 1)
    poll = select.poll()
    poll.register(driver.pool.filenos()[0], select.POLLIN)

    readable = [bool(poll.poll(0))]
    driver.submit(b"echo a", b"echo b")
    for _ in range(2):
        readable.append(bool(poll.poll(0)))
        driver.take(driver.pool.collect())
    readable.append(bool(poll.poll(0)))

    assert readable == [False, True, True, False]


def test_a_start_is_told_before_the_work_runs(drive: Drive) -> None:
    driver = drive("solo", 1)
    poll = select.poll()
    poll.register(driver.pool.filenos()[0], select.POLLIN)
    number = driver.submit(b"echo a", announce=True)[0]

    first = driver.pool.collect()
    recalled, running, readable = driver.pool.recall(), driver.pool.running(), poll.poll(0)
    second = driver.pool.collect()

    assert [type(one).__name__ for one in first] == ["Started"]
    assert (recalled, [one.request for one in running], bool(readable)) == ([], [number], True)
    assert [type(one).__name__ for one in second] == ["Outcome"]
    assert not poll.poll(0) and not driver.pool.running()


def test_work_that_was_announced_and_never_ran_is_recalled_after_the_end(drive: Drive) -> None:
    driver = drive("solo", 1)
    number = driver.submit(b"echo a", announce=True)[0]
    driver.pool.collect()

    driver.pool.close(0.0)

    assert (driver.pool.recall(), driver.pool.running()) == ([number], [])


def test_runs_in_the_process_that_collects(drive: Drive) -> None:
    driver = drive("solo", 4)

    assert driver.run(b"pid").text == str(os.getpid())


def test_a_boot_that_fails_is_said_at_once() -> None:
    def boot(index: int) -> Serve:
        raise RuntimeError("no settings")

    with pytest.raises(PoolError, match="the solo pool cannot start: RuntimeError: no settings"):
        open_pool("solo", 1, boot)


def test_cannot_be_more_than_one(drive: Drive) -> None:
    with pytest.raises(PoolError, match="runs one task at a time, it cannot have 3"):
        drive("solo", 1).pool.resize(3)
