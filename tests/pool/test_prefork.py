"""The prefork pool: numbers of children, limits, and how it ends."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.pool import PoolError, Serve, Work, open_pool
from taskctl.core.wire.outcome import FAILED, LOST, SUCCEEDED, TIMED_OUT, Outcome

from ..support.waiting import eventually
from .contract import Drive, PoolContract
from .serving import Driver, boot, logging_to, serve


class TestPrefork(PoolContract):
    name = "prefork"


def running(driver: Driver, count: int) -> None:
    driver.until(lambda: len(driver.pool.running()) == count)


def test_an_unknown_pool_names_the_choices() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        open_pool("gevent", 2, boot)

    assert str(caught.value) == "unknown pool 'gevent': choose prefork, asyncio, threads or solo"


# Who runs what


def test_work_goes_to_whoever_is_idle(drive: Drive, tmp_path: Path) -> None:
    """One long task never holds up the short ones behind it."""
    driver = drive("prefork", 2)
    gate = tmp_path / "gate"
    long = driver.submit(b"wait %s" % bytes(gate))[0]

    short = driver.submit(*[b"pid"] * 500)
    driver.wait(*short)

    assert driver.runs(long)
    assert len({driver.outcomes[r].text for r in short}) == 1
    gate.touch()
    driver.wait(long)


def test_an_idle_child_is_not_starved_by_large_work_in_the_socket(
    drive: Drive, tmp_path: Path
) -> None:
    """Records that the socket had no room for follow as soon as it has, outcome or not."""
    driver = drive("prefork", 6)
    gate = tmp_path / "gate"
    envelope = b"wait %s" % bytes(gate)
    big = [b"echo " + b"x" * 59_000] * 30

    driver.submit(*big, *[envelope] * 6)
    running(driver, 6)

    gate.touch()
    driver.until(lambda: len(driver.outcomes) == 36)


def test_running_tells_the_request_the_child_and_since_when(drive: Drive, tmp_path: Path) -> None:
    driver = drive("prefork", 2)
    gate = tmp_path / "gate"
    before = time.monotonic()

    requests = driver.submit(*[b"wait %s" % bytes(gate)] * 3)
    running(driver, 2)

    found = driver.pool.running()
    assert [entry.child for entry in found] == [0, 1]
    assert [entry.pid for entry in found] == driver.pool.pids()
    assert sorted(entry.request for entry in found) == requests[:2]
    assert all(before <= entry.since <= time.monotonic() for entry in found)
    assert driver.pool.waiting() == 1
    gate.touch()
    driver.wait(*requests)


def test_a_child_has_fresh_randomness_and_no_terminal(drive: Drive) -> None:
    def boot(index: int) -> Serve:
        return lambda work: Outcome(
            request=work.request, kind=SUCCEEDED, text=f"{os.getpid()} {random.random()}"
        )

    driver = drive("prefork", 2, boot)
    random.seed(7)
    known = random.random()
    requests = driver.submit(*[b""] * 200)
    firsts: dict[str, str] = {}
    for outcome in driver.wait(*requests):
        pid, number = outcome.text.split()
        firsts.setdefault(pid, number)

    assert str(known) not in firsts.values()
    assert len(set(firsts.values())) == len(firsts)
    assert drive("prefork", 1).run(b"stdin").text == "/dev/null"
    assert drive("prefork", 1).run(b"sigint").text == "SIG_IGN"


def test_a_task_that_forks_and_comes_back_twice_is_answered_once(drive: Drive) -> None:
    driver = drive("prefork", 1)

    outcome = driver.run(b"fork")
    after = driver.run(b"pid")

    assert outcome.text == "False"
    assert [int(after.text)] == driver.pool.pids()
    assert driver.order == [0, 1]


def test_a_task_can_terminate_a_process_it_has_forked(drive: Drive) -> None:
    assert drive("prefork", 1).run(b"helper").text == "-15"


# Numbers of children


def test_grows_and_shrinks_under_load_without_losing_work(drive: Drive, tmp_path: Path) -> None:
    log = tmp_path / "log"
    driver = drive("prefork", 2, logging_to(log))
    requests: list[int] = []

    for size in (5, 1, 4, 0, 3, 2):
        requests += driver.submit(*[b"spin 0.0005"] * 150)
        driver.pool.resize(size)
        driver.until(lambda size=size: len(driver.pool.pids()) == size)
        assert driver.pool.describe()["max-concurrency"] == size
    driver.wait(*requests)

    assert sorted(driver.order) == requests
    assert sorted(int(line) for line in log.read_text().split()) == requests
    assert {outcome.kind for outcome in driver.outcomes.values()} == {SUCCEEDED}


def test_shrinking_takes_the_idle_ones(drive: Drive, tmp_path: Path) -> None:
    driver = drive("prefork", 3)
    driver.until(lambda: all(psutil.pid_exists(pid) for pid in driver.pool.pids()))
    gate = tmp_path / "gate"
    request = driver.submit(b"wait %s" % bytes(gate))[0]
    running(driver, 1)
    busy = driver.pool.running()[0].pid

    driver.pool.resize(1)
    driver.until(lambda: driver.pool.pids() == [busy])

    gate.touch()
    assert driver.wait(request)[0].kind == SUCCEEDED


def test_more_children_than_the_scoreboard_holds_are_refused(drive: Drive) -> None:
    with pytest.raises(PoolError, match="at most 1024 children, not 5000"):
        drive("prefork", 1).pool.resize(5000)


def test_a_child_leaves_after_its_last_task_and_another_takes_over(drive: Drive) -> None:
    driver = drive("prefork", 2, max_tasks=10)

    outcomes = driver.wait(*driver.submit(*[b"pid"] * 95))

    pids = [outcome.text for outcome in outcomes]
    assert max(pids.count(pid) for pid in pids) == 10
    assert len(driver.order) == 95
    assert driver.pool.describe()["max-tasks-per-child"] == 10


def test_a_child_that_has_grown_too_large_leaves_after_its_task(drive: Drive) -> None:
    limit = psutil.Process().memory_info().rss // 1024 + 40_000
    driver = drive("prefork", 1, max_memory_kib=limit)

    small = driver.run(b"echo x")
    first = driver.run(b"pid").text
    hog = driver.run(b"hog 80000000")
    second = driver.run(b"pid").text

    assert hog.kind == SUCCEEDED
    assert small.memory_kib < limit < hog.memory_kib
    assert first != second


def test_a_task_that_leaks_every_descriptor_still_gets_its_large_outcome_out(drive: Drive) -> None:
    """What its own child can no longer open, the next one can."""
    driver = drive("prefork", 1)
    leak, big, sent = driver.submit(b"leak", b"big 300000", b"echo " + b"x" * 300_000)

    leaked, returned, echoed = driver.wait(leak, big, sent)

    assert leaked.text == "leaked"
    assert len(returned.results[0].meta) == 300_000
    assert echoed.text == "300000"


def test_large_work_after_a_leak_goes_to_another_child(drive: Drive) -> None:
    driver = drive("prefork", 1)
    driver.run(b"leak")

    assert driver.run(b"echo " + b"x" * 300_000).text == "300000"


# Children that cannot start


def test_children_that_cannot_boot_back_off_and_say_why(drive: Drive, tmp_path: Path) -> None:
    cure, attempts = tmp_path / "cure", tmp_path / "attempts"

    def boot(index: int) -> Serve:
        with attempts.open("a") as file:
            file.write("x")
        if not cure.exists():
            raise ImportError("no module named 'proj'")
        return serve

    driver = drive("prefork", 2, boot)
    request = driver.submit(b"echo x")[0]

    trouble = driver.until(driver.pool.trouble)
    driver.until(lambda: len(attempts.read_text()) == 3 and not driver.pool.pids())
    assert 0.6 < driver.pool.next_look() <= 1
    assert "could not boot: ImportError: no module named 'proj'; next attempt in" in trouble
    assert not driver.pool.ready()

    cure.touch()
    assert driver.wait(request)[0].kind == SUCCEEDED
    assert driver.pool.trouble() is None
    driver.until(lambda: len(driver.pool.pids()) == 2)


def test_children_that_die_in_their_boot_are_named_with_the_signal(drive: Drive) -> None:
    def boot(index: int) -> Serve:
        os.kill(os.getpid(), signal.SIGKILL)
        return serve

    driver = drive("prefork", 1, boot)

    assert "could not boot: killed by SIGKILL" in driver.until(driver.pool.trouble)


def test_closing_does_not_wait_for_a_boot_that_hangs(drive: Drive) -> None:
    def boot(index: int) -> Serve:
        time.sleep(60)
        return serve

    driver = drive("prefork", 2, boot)
    before = time.monotonic()

    driver.pool.close(time.monotonic() + 20)

    assert time.monotonic() - before < 5


# Time limits and signals


def test_the_hard_limit_kills_the_child_and_says_so(drive: Drive) -> None:
    driver = drive("prefork", 1)
    before = time.monotonic()

    outcome = driver.run(b"sleep 30", hard=0.3)

    assert outcome.kind == TIMED_OUT
    assert outcome.text == "ran longer than 0.3 s"
    assert outcome.signum == signal.SIGKILL
    assert 0.3 <= outcome.runtime < 2
    assert time.monotonic() - before < 3
    assert driver.run(b"echo x").kind == SUCCEEDED


def test_the_soft_limit_is_raised_inside_the_task(drive: Drive) -> None:
    driver = drive("prefork", 1)
    pid = driver.run(b"pid").text

    sleeping, spinning = driver.run(b"sleep 30", soft=0.2), driver.run(b"spin 30", soft=0.2)
    stubborn = driver.run(b"stubborn 30", soft=0.2, hard=20)

    assert (sleeping.kind, sleeping.text) == (FAILED, "SoftTimeLimitExceeded()")
    assert (spinning.kind, spinning.text) == (FAILED, "SoftTimeLimitExceeded()")
    assert stubborn.text == "cleaned up after SoftTimeLimitExceeded"
    assert driver.run(b"pid").text == pid


def test_limits_strike_at_any_moment_without_breaking_the_pool(drive: Drive) -> None:
    """Soft limits that end together with their tasks: each has one outcome, no child dies."""
    driver = drive("prefork", 2)
    pids = {driver.run(b"pid").text for _ in range(20)} | {str(p) for p in driver.pool.pids()}

    requests = driver.submit(*[b"spin 0.01"] * 150, soft=0.01)
    outcomes = driver.wait(*requests)

    assert sorted(driver.order[20:]) == requests
    assert {outcome.kind for outcome in outcomes} <= {SUCCEEDED, FAILED}
    assert {str(pid) for pid in driver.pool.pids()} == pids


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_that_is_meant_for_a_request_ends_it(drive: Drive, signum: int) -> None:
    driver = drive("prefork", 1)
    request = driver.submit(b"sleep 30")[0]
    driver.until(lambda: driver.runs(request))
    pid = driver.pool.pids()[0]

    struck = driver.pool.kill(request, signum)

    outcome = driver.wait(request)[0]
    assert struck
    assert (outcome.kind, outcome.pid, outcome.signum) == (LOST, pid, signum)
    assert outcome.text == f"killed by {signal.Signals(signum).name}"
    assert driver.run(b"echo x").kind == SUCCEEDED


def test_usr1_for_a_request_raises_the_soft_limit_in_it(drive: Drive) -> None:
    driver = drive("prefork", 1)
    request = driver.submit(b"sleep 30")[0]
    driver.until(lambda: driver.runs(request))

    driver.pool.kill(request, signal.SIGUSR1)

    assert driver.wait(request)[0].text == "SoftTimeLimitExceeded()"


def test_killing_one_request_never_hits_the_next(drive: Drive) -> None:
    """Killed as late as can be, again and again: whoever was not meant succeeds."""
    driver = drive("prefork", 1)
    requests = driver.submit(*[b"spin 0.001"] * 400)
    aimed = set(requests[::5])

    def strike() -> bool:
        for entry in driver.pool.running():
            if entry.request in aimed:
                driver.pool.kill(entry.request, signal.SIGKILL)
        return len(driver.outcomes) == 400

    driver.until(strike, within=30)

    lost = {r for r in requests if driver.outcomes[r].kind == LOST}
    assert lost <= aimed
    assert sorted(driver.order) == requests


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_signals_of_the_terminal_leave_the_children_alone(drive: Drive, signum: int) -> None:
    driver = drive("prefork", 2)
    driver.until(driver.pool.ready)
    request = driver.submit(b"sleep 0.3")[0]
    driver.until(lambda: driver.runs(request))
    pids = driver.pool.pids()

    for pid in pids:
        os.kill(pid, signum)

    assert driver.wait(request)[0].kind == SUCCEEDED
    assert driver.pool.pids() == pids


def test_a_child_that_is_told_to_terminate_ends_its_task_first(
    drive: Drive, tmp_path: Path
) -> None:
    driver = drive("prefork", 1)
    gate = tmp_path / "gate"
    request = driver.submit(b"wait %s" % bytes(gate))[0]
    driver.until(lambda: driver.runs(request))
    pid = driver.pool.pids()[0]

    os.kill(pid, signal.SIGTERM)
    rest = driver.submit(*[b"pid"] * 20)
    gate.touch()

    assert driver.wait(request)[0].kind == SUCCEEDED
    assert str(pid) not in {outcome.text for outcome in driver.wait(*rest)}


# The end


def test_closing_waits_for_what_runs(drive: Drive) -> None:
    driver = drive("prefork", 2)
    requests = driver.submit(b"sleep 0.3", b"sleep 0.3")
    running(driver, 2)

    driver.pool.close(time.monotonic() + 10)
    driver.take(driver.pool.collect())

    assert [driver.outcomes[r].kind for r in requests] == [SUCCEEDED, SUCCEEDED]


def test_closing_kills_what_outlives_the_deadline(drive: Drive) -> None:
    driver = drive("prefork", 2)
    requests = driver.submit(*[b"sleep 30"] * 3)
    running(driver, 2)
    recalled = driver.pool.recall()
    before = time.monotonic()

    driver.pool.close(time.monotonic() + 0.3)
    driver.take(driver.pool.collect())

    assert time.monotonic() - before < 3
    assert recalled == requests[2:]
    assert [driver.outcomes[r].text for r in requests[:2]] == ["killed by SIGKILL"] * 2
    assert driver.pool.recall() == []


def test_every_request_is_answered_or_recalled_when_a_busy_pool_closes(
    drive: Drive, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    driver = drive("prefork", 3, logging_to(log))
    requests = driver.submit(*[b"spin 0.0002"] * 2000)
    driver.until(lambda: len(driver.outcomes) > 100)

    recalled = driver.pool.recall()
    driver.pool.close(time.monotonic() + 10)
    driver.take(driver.pool.collect())
    recalled += driver.pool.recall()

    begun = sorted(int(line) for line in log.read_text().split())
    assert sorted(driver.order) == begun
    assert sorted(recalled + begun) == requests


def test_children_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    pidfile = tmp_path / "pids"
    parent = os.fork()
    if parent == 0:
        try:
            pool = open_pool("prefork", 3, boot)
            pool.submit([Work(request=n, envelope=b"sleep 60") for n in range(2)])
            while len(pool.running()) < 2:
                pool.collect()
                time.sleep(0.005)
            (tmp_path / "new").write_text(" ".join(map(str, pool.pids())))
            os.rename(tmp_path / "new", pidfile)
            time.sleep(60)
        finally:
            os._exit(0)
    eventually(pidfile.exists)
    children = [psutil.Process(int(pid)) for pid in pidfile.read_text().split()]

    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)

    _, alive = psutil.wait_procs(children, timeout=5)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
