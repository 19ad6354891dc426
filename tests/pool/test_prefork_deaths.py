"""Children of the prefork pool that die at every possible moment.

The count is kept outside: each child appends the number of a request to a file before it runs it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskctl.core.pool import Serve, frames
from taskctl.core.wire.outcome import LOST, SUCCEEDED

from .contract import Drive
from .serving import Driver, logging_to, serve


def begun(log: Path) -> Counter[int]:
    return Counter(int(line) for line in log.read_text().split())


def test_a_child_killed_while_it_runs_loses_exactly_what_it_ran(drive: Drive) -> None:
    driver = drive("prefork", 2)
    before, killed, after = driver.submit(b"echo x", b"kill 9", b"echo x")

    outcome = driver.wait(before, killed, after)[1]

    assert (outcome.kind, outcome.text) == (LOST, "killed by SIGKILL")
    assert outcome.signum == signal.SIGKILL
    assert outcome.pid not in driver.pool.pids()
    assert [driver.outcomes[r].kind for r in (before, after)] == [SUCCEEDED, SUCCEEDED]


def test_a_task_that_ends_its_process_is_lost_with_the_exit_code(drive: Drive) -> None:
    outcome = drive("prefork", 1).run(b"exit 3")

    assert (outcome.kind, outcome.text, outcome.signum) == (LOST, "exited with 3", None)


def test_a_dead_child_is_replaced_at_once(drive: Drive) -> None:
    driver = drive("prefork", 2)
    driver.run(b"echo x")

    for _ in range(20):
        driver.run(b"kill 9")

    driver.until(lambda: len(driver.pool.pids()) == 2, within=1)
    assert driver.pool.trouble() is None


def test_an_idle_child_that_dies_is_noticed_and_replaced(drive: Drive) -> None:
    driver = drive("prefork", 2)
    driver.wait(*driver.submit(*[b"spin 0.001"] * 50))
    victim = driver.pool.pids()[0]

    os.kill(victim, signal.SIGKILL)

    driver.until(lambda: len(set(driver.pool.pids()) - {victim}) == 2)
    assert driver.run(b"echo x").kind == SUCCEEDED


def test_a_child_that_answered_before_it_died_has_not_lost_its_request(drive: Drive) -> None:
    """It is killed while the parent is not looking; its last words are read first."""
    driver = drive("prefork", 1)
    driver.until(driver.pool.ready)
    pid = driver.pool.pids()[0]
    requests = driver.submit(*[b"echo x"] * 20, b"big 500000")
    process = psutil.Process(pid)
    slept = (psutil.STATUS_SLEEPING, psutil.STATUS_IDLE)
    deadline = time.monotonic() + 5
    while driver.pool.waiting() or driver.pool.running() or process.status() not in slept:
        assert time.monotonic() < deadline
        if not driver.pool.running() and process.status() in slept:
            break

    os.kill(pid, signal.SIGKILL)

    assert {outcome.kind for outcome in driver.wait(*requests)} == {SUCCEEDED}


@pytest.mark.parametrize("envelope", [b"echo x", b"big 500000"])
def test_a_child_that_dies_between_its_outcome_and_the_end_of_its_claim_has_answered(
    drive: Drive, tmp_path: Path, envelope: bytes
) -> None:
    def boot(index: int) -> Serve:
        send = frames.Parcel.send

        def send_and_die(parcel: frames.Parcel, end: Any) -> None:
            send(parcel, end)
            if parcel.record[:1] != bytes([frames.READY]):
                os.kill(os.getpid(), signal.SIGKILL)

        frames.Parcel.send = send_and_die
        return serve

    driver = drive("prefork", 2, boot)

    outcomes = driver.wait(*driver.submit(*[envelope] * 6))

    assert [outcome.kind for outcome in outcomes] == [SUCCEEDED] * 6
    assert len(driver.order) == 6


def test_a_stopped_child_holds_up_nobody_but_its_own_request(drive: Drive) -> None:
    driver = drive("prefork", 2)
    request = driver.submit(b"spin 0.2")[0]
    driver.until(lambda: driver.runs(request))
    pid = driver.pool.running()[0].pid

    os.kill(pid, signal.SIGSTOP)
    try:
        others = driver.wait(*driver.submit(*[b"pid"] * 300))
        stopped = driver.runs(request)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert stopped
    assert str(pid) not in {outcome.text for outcome in others}
    assert driver.wait(request)[0].kind == SUCCEEDED


def test_a_stopped_child_is_killed_at_its_hard_limit(drive: Drive) -> None:
    driver = drive("prefork", 1)
    request = driver.submit(b"sleep 30", hard=0.4)[0]
    driver.until(lambda: driver.runs(request))

    os.kill(driver.pool.pids()[0], signal.SIGSTOP)

    assert driver.wait(request)[0].text == "ran longer than 0.4 s"


def struck_before_the_claim(
    log: Path, strikes: dict[int, int], marks: Path
) -> Callable[[int], Serve]:
    """A boot whose child sends itself `strikes[request]`, once for each, between the arrival of
    that request and its claim."""
    inner = logging_to(log)

    def boot(index: int) -> Serve:
        receive = frames.receive

        def receive_and_die(end: Any, buffer: Any, flags: int = 0) -> Any:
            received = receive(end, buffer, flags)
            request = memoryview(buffer)[:8].cast("q")[0] if received[0] else -1
            if request in strikes:
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(marks / str(request), os.O_CREAT | os.O_EXCL))
                    os.kill(os.getpid(), strikes[request])
            return received

        # In the child's own memory; no other process sees it.
        frames.receive = receive_and_die
        return inner(index)

    return boot


@pytest.mark.parametrize("size", [1, 3])
def test_work_taken_but_not_claimed_by_the_dead_goes_to_another_child(
    drive: Drive, tmp_path: Path, size: int
) -> None:
    log = tmp_path / "log"
    strikes = dict.fromkeys((0, 5, 6, 7, 40, 199), signal.SIGKILL)
    driver = drive("prefork", size, struck_before_the_claim(log, strikes, tmp_path))

    requests = driver.submit(*[b"echo x"] * 200)
    outcomes = driver.wait(*requests)

    assert {outcome.kind for outcome in outcomes} == {SUCCEEDED}
    assert sorted(driver.order) == requests
    assert begun(log) == Counter(requests)


def test_large_work_in_the_hands_of_the_dead_is_not_lost(drive: Drive, tmp_path: Path) -> None:
    log = tmp_path / "log"
    boot = struck_before_the_claim(log, {1: signal.SIGKILL}, tmp_path)
    driver = drive("prefork", 2, boot)

    requests = driver.submit(*[b"echo " + b"x" * 200_000] * 3)

    assert [outcome.text for outcome in driver.wait(*requests)] == ["200000"] * 3
    assert begun(log) == Counter(requests)


def test_what_a_living_child_has_not_claimed_yet_is_not_given_away(
    drive: Drive, tmp_path: Path
) -> None:
    """One child dies, one stands still, both between arrival and claim; a third goes on."""
    log = tmp_path / "log"
    strikes = {0: signal.SIGSTOP, 1: signal.SIGKILL}
    driver = drive("prefork", 3, struck_before_the_claim(log, strikes, tmp_path))
    driver.until(driver.pool.ready)
    requests = driver.submit(*[b"echo x"] * 500)

    driver.wait(*requests[2:])
    for _ in range(10):
        driver.turn()
    unresolved = [request for request in requests if request not in driver.outcomes]
    for pid in driver.pool.pids():
        if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            os.kill(pid, signal.SIGCONT)
    driver.wait(*requests)

    assert unresolved == [0, 1]
    assert sorted(driver.order) == requests
    assert begun(log) == Counter(requests)


def test_every_request_ends_once_though_children_die_at_random_moments(
    drive: Drive, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    driver = drive("prefork", 3, logging_to(log))
    chance = random.Random(20_26)
    envelopes = itertools.cycle([b"echo x", b"echo x", b"spin 0.0002", b"big 70000"])
    requests: list[int] = []
    kills = 0
    # Not before their first task: those that die sooner make the pool back off.
    proven: set[int] = set()

    while kills < 200:
        if driver.pool.waiting() < 300:
            requests += driver.submit(*itertools.islice(envelopes, 400))
        driver.turn()
        pause = time.monotonic() + chance.random() * 0.004
        while time.monotonic() < pause:
            driver.take(driver.pool.collect())
            proven.update(entry.pid for entry in driver.pool.running())
        victims = [pid for pid in driver.pool.pids() if pid in proven]
        if victims:
            os.kill(chance.choice(victims), chance.choice([signal.SIGKILL, signal.SIGTERM]))
            kills += 1
    driver.wait(*requests, within=60)

    _check_accounts(driver, requests, begun(log))


def _check_accounts(driver: Driver, requests: list[int], begun: Counter[int]) -> None:
    kinds = {request: driver.outcomes[request].kind for request in requests}
    assert sorted(driver.order) == requests
    assert set(kinds.values()) <= {SUCCEEDED, LOST}
    assert max(begun.values()) == 1
    assert {r for r, kind in kinds.items() if kind == SUCCEEDED} <= begun.keys()
    assert sum(kind == LOST for kind in kinds.values()) <= 200
