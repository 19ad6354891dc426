"""The asyncio pool: many requests at once in one child."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from taskctl.core.errors import SoftTimeLimitExceeded
from taskctl.core.pool import PoolError, Serve, Work, open_pool
from taskctl.core.steering import Steer
from taskctl.core.wire.outcome import FAILED, LOST, SUCCEEDED, TIMED_OUT, Outcome

from .contract import Drive, PoolContract
from .serving import Driver, serve


class TestAsyncio(PoolContract):
    name = "asyncio"
    options: ClassVar[dict[str, int]] = {"children": 2}


async def _pid(argument: str) -> int:
    await asyncio.sleep(float(argument))
    return os.getpid()


async def _block(argument: str) -> str:
    until = time.monotonic() + float(argument)
    while time.monotonic() < until:
        sum(range(100))
    return "blocked"


async def _catch(argument: str) -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "caught"
    return "slept"


async def _last_words(argument: str) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        Path(argument).write_text("goodbye")


async def _wait(argument: str) -> str:
    while not os.path.exists(argument):
        await asyncio.sleep(0.002)
    return "found"


async def _die(argument: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_VERBS: dict[str, Callable[[str], Awaitable[Any]]] = {
    "pid": _pid,
    "block": _block,
    "catch": _catch,
    "words": _last_words,
    "wait": _wait,
    "die": _die,
}


class Together:
    """Serves coroutines on the loop, as an executor does; anything else as the contract has it."""

    def __call__(self, work: Work) -> Outcome:
        return serve(work)

    async def together(self, work: Work, steer: Steer) -> Outcome:
        verb, _, argument = work.envelope.decode().partition(" ")
        outcome = Outcome(request=work.request, kind=SUCCEEDED)
        try:
            outcome.text = str(await steer.run(_VERBS[verb](argument)))
        except BaseException as exc:
            outcome.kind = LOST if steer.stopped else FAILED
            outcome.text = repr(exc)
        return outcome


def boot(index: int) -> Serve:
    return Together()


def _running(driver: Driver, count: int) -> None:
    driver.until(lambda: len(driver.pool.running()) == count)


def test_as_many_as_there_are_places_run_in_one_process(drive: Drive) -> None:
    driver = drive("asyncio", 500, boot)
    began = time.monotonic()

    outcomes = driver.wait(*driver.submit(*[b"pid 0.2"] * 500))

    assert {outcome.text for outcome in outcomes} == {str(driver.pool.pids()[0])}
    assert time.monotonic() - began < 500 * 0.2 / 10


def test_children_share_the_places_evenly(drive: Drive) -> None:
    driver = drive("asyncio", 6, boot, children=2)
    driver.until(lambda: driver.pool.ready() and len(driver.pool.pids()) == 2)

    pids = [outcome.text for outcome in driver.wait(*driver.submit(*[b"pid 0.3"] * 6))]

    assert sorted(pids.count(str(pid)) for pid in driver.pool.pids()) == [3, 3]


def test_what_a_killed_child_had_begun_is_lost_and_the_rest_runs_elsewhere(
    drive: Drive, tmp_path: Path
) -> None:
    driver = drive("asyncio", 3, boot)
    begun = driver.submit(*[b"wait %s" % bytes(tmp_path / "never")] * 3)
    _running(driver, 3)
    rest = driver.submit(*[b"pid 0"] * 5)
    first = driver.pool.pids()[0]

    os.kill(first, signal.SIGKILL)

    for outcome in driver.wait(*begun):
        assert (outcome.kind, outcome.text, outcome.blameless) == (
            LOST, "killed by SIGKILL", False,
        )  # fmt: skip
    assert {outcome.text for outcome in driver.wait(*rest)} == {str(driver.pool.pids()[0])}
    assert driver.pool.pids() != [first]


def test_a_revoke_cancels_one_coroutine_alone(drive: Drive, tmp_path: Path) -> None:
    driver = drive("asyncio", 3, boot)
    gate = tmp_path / "gate"
    other = driver.submit(b"wait %s" % bytes(gate))[0]
    doomed = driver.submit(b"words %s" % bytes(tmp_path / "words"))[0]
    _running(driver, 2)

    assert driver.pool.kill(doomed, signal.SIGTERM)

    outcome = driver.wait(doomed)[0]
    assert (outcome.kind, outcome.signum) == (LOST, signal.SIGTERM)
    assert outcome.text == "cancelled by SIGTERM"
    assert (tmp_path / "words").read_text() == "goodbye"
    gate.touch()
    assert driver.wait(other)[0].text == "found"
    assert driver.pool.turnover() == (1, 0)


def test_a_hard_limit_cancels_one_coroutine_alone(drive: Drive, tmp_path: Path) -> None:
    driver = drive("asyncio", 3, boot)
    gate = tmp_path / "gate"
    other = driver.submit(b"wait %s" % bytes(gate))[0]

    outcome = driver.run(b"pid 60", hard=0.1)

    assert (outcome.kind, outcome.text) == (TIMED_OUT, "ran longer than 0.1 s")
    gate.touch()
    assert driver.wait(other)[0].text == "found"
    assert driver.pool.turnover() == (1, 0)


def test_one_that_blocks_the_loop_past_its_hard_limit_ends_with_its_child_and_others_are_blameless(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskctl.core.pool.berth.GRACE", 0.2)
    driver = drive("asyncio", 2, boot)
    other = driver.submit(b"wait %s" % bytes(tmp_path / "never"))[0]
    _running(driver, 1)

    outcome = driver.run(b"block 60", hard=0.2)

    assert outcome.kind == TIMED_OUT
    innocent = driver.wait(other)[0]
    assert (innocent.kind, innocent.blameless) == (LOST, True)


def test_a_soft_limit_is_raised_where_the_coroutine_waits(drive: Drive) -> None:
    driver = drive("asyncio", 2, boot)

    caught, let_out = driver.wait(*driver.submit(b"catch", b"pid 60", soft=0.1))

    assert (caught.kind, caught.text) == (SUCCEEDED, "caught")
    assert (let_out.kind, let_out.text) == (FAILED, "SoftTimeLimitExceeded()")


def test_a_soft_limit_is_raised_in_code_that_blocks_the_loop(drive: Drive) -> None:
    driver = drive("asyncio", 2, boot)

    outcome = driver.run(b"block 60", soft=0.3)

    assert (outcome.kind, outcome.text) == (FAILED, "SoftTimeLimitExceeded()")


def test_a_worn_out_child_is_replaced_while_what_it_runs_goes_on(
    drive: Drive, tmp_path: Path
) -> None:
    driver = drive("asyncio", 4, boot, max_tasks=3)
    gate = tmp_path / "gate"
    long = driver.submit(b"wait %s" % bytes(gate))[0]

    pids = {outcome.text for outcome in driver.wait(*driver.submit(*[b"pid 0"] * 8))}

    assert len(pids) == 3
    gate.touch()
    assert driver.wait(long)[0].text == "found"
    assert driver.pool.turnover()[1] == 0


def test_it_grows_at_once(drive: Drive, tmp_path: Path) -> None:
    driver = drive("asyncio", 2, boot)
    gate = tmp_path / "gate"
    requests = driver.submit(*[b"wait %s" % bytes(gate)] * 5)
    _running(driver, 2)

    driver.pool.resize(5)

    _running(driver, 5)
    gate.touch()
    driver.wait(*requests)


def test_what_was_lost_twice_runs_in_a_child_of_its_own(drive: Drive, tmp_path: Path) -> None:
    driver = drive("asyncio", 4, boot)
    gate = tmp_path / "gate"
    others = driver.submit(*[b"wait %s" % bytes(gate)] * 3)
    _running(driver, 3)

    outcome = driver.run(b"die", deliveries=2)

    assert (outcome.kind, outcome.blameless) == (LOST, False)
    gate.touch()
    assert {one.text for one in driver.wait(*others)} == {"found"}


def test_coroutines_may_say_their_last_words_when_the_pool_closes(
    drive: Drive, tmp_path: Path
) -> None:
    driver = drive("asyncio", 2, boot)
    request = driver.submit(b"words %s" % bytes(tmp_path / "words"))[0]
    _running(driver, 1)

    driver.pool.close(time.monotonic() + 0.05)
    driver.take(driver.pool.collect())

    assert driver.outcomes[request].kind == LOST
    assert (tmp_path / "words").read_text() == "goodbye"


def test_functions_run_in_threads_of_their_own(drive: Drive) -> None:
    driver = drive("asyncio", 8)
    began = time.monotonic()

    driver.wait(*driver.submit(*[b"sleep 0.3"] * 8))

    assert time.monotonic() - began < 8 * 0.3


def test_more_than_fit_are_refused(drive: Drive) -> None:
    driver = drive("asyncio", 1)

    with pytest.raises(PoolError, match="at most 65536 tasks at once, not 65537"):
        driver.pool.resize(65_537)
    with pytest.raises(PoolError, match="1 to 512 children"):
        open_pool("asyncio", 1, boot, children=0)
