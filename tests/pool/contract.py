"""What every pool must do; each sibling's test file gives its name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from taskctl.core.pool import Pool, Serve, Work
from taskctl.core.wire.outcome import FAILED, SUCCEEDED

from .serving import Driver, logging_to, serve

Drive = Callable[..., Driver]


class PoolContract:
    """The cases; `name` is the pool's, `size` how many it runs at once."""

    name = ""
    size = 2
    #: What makes this pool one of `size` children (or threads).
    options: ClassVar[dict[str, int]] = {}

    @pytest.fixture
    def driver(self, drive: Drive) -> Driver:
        return drive(self.name, self.size)

    def test_work_ends_in_its_outcome(self, driver: Driver) -> None:
        outcome = driver.run(b"echo abc")

        assert (outcome.kind, outcome.text) == (SUCCEEDED, "3")

    def test_a_failure_is_an_outcome_like_any_other(self, driver: Driver) -> None:
        outcome = driver.run(b"fail")

        assert outcome.kind == FAILED
        assert "ZeroDivisionError" in outcome.text

    def test_each_of_many_requests_ends_once(self, driver: Driver) -> None:
        requests = driver.submit(*[b"echo x"] * 3000)

        driver.wait(*requests)

        assert sorted(driver.order) == requests
        assert driver.pool.waiting() == 0
        assert driver.pool.running() == []

    def test_one_child_begins_in_the_order_of_submission(
        self, drive: Drive, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        driver = drive(self.name, 1, logging_to(log))

        requests = driver.submit(*[b"echo x"] * 20_000)
        driver.wait(*requests)

        assert [int(line) for line in log.read_text().split()] == requests

    def test_large_work_and_large_outcomes_arrive_whole(self, driver: Driver) -> None:
        sent, returned = driver.submit(b"echo " + b"x" * 5_000_000, b"big 5000000")

        first, second = driver.wait(sent, returned)

        assert first.text == "5000000"
        assert second.results[0].meta == b"r" * 5_000_000

    def test_work_of_every_size_around_the_inline_limit_arrives_whole(self, driver: Driver) -> None:
        sizes = [60 * 1024 + extra for extra in range(-60, 20, 7)]

        requests = driver.submit(*[b"echo " + b"x" * size for size in sizes])

        assert [int(o.text) for o in driver.wait(*requests)] == sizes

    def test_what_asks_to_be_announced_is_announced_before_its_outcome(
        self, driver: Driver
    ) -> None:
        before = time.time()
        announced = driver.submit(b"echo x", announce=True)[0]
        quiet = driver.submit(b"echo x")[0]

        driver.wait(announced, quiet)

        assert [started.request for started in driver.started] == [announced]
        assert before - 1 <= driver.started[0].at <= time.time() + 1
        assert driver.started[0].pid in driver.pool.pids()

    def test_what_was_recalled_never_begins(self, drive: Drive, tmp_path: Path) -> None:
        log, gate = tmp_path / "log", tmp_path / "gate"
        driver = drive(self.name, self.size, logging_to(log))
        first = driver.submit(*[b"wait %s" % bytes(gate)] * self.size)
        if self.name != "solo":
            driver.until(lambda: len(driver.pool.running()) == self.size)
        rest = driver.submit(*[b"echo x"] * 2000)
        expected = rest if self.name != "solo" else [*first, *rest]

        recalled = driver.pool.recall()
        gate.touch()

        assert recalled == expected
        kept = [request for request in first if request not in recalled]
        driver.wait(*kept)
        assert driver.pool.waiting() == 0
        assert driver.run(b"echo y").kind == SUCCEEDED
        begun = [int(line) for line in log.read_text().split()]
        assert sorted(begun) == [*kept, driver.order[-1]]

    def test_the_descriptor_tells_of_outcomes(self, driver: Driver) -> None:
        fds = driver.pool.filenos()

        driver.run(b"echo x")

        assert fds == driver.pool.filenos()
        assert fds and all(isinstance(fd, int) for fd in fds)

    def test_running_is_empty_and_nothing_can_be_killed_when_idle(self, driver: Driver) -> None:
        request = driver.submit(b"echo x")[0]
        driver.wait(request)

        assert driver.pool.kill(request, 15) is False
        assert driver.pool.running() == []

    def test_a_size_below_zero_is_refused(self, driver: Driver) -> None:
        with pytest.raises(ValueError, match="0 or more"):
            driver.pool.resize(-1)

    def test_description_has_celerys_keys(self, driver: Driver) -> None:
        driver.run(b"echo x")

        described = driver.pool.describe()

        assert described["max-concurrency"] == self.size
        assert described["processes"] == driver.pool.pids()
        assert {
            "implementation",
            "max-tasks-per-child",
            "put-guarded-by-semaphore",
            "timeouts",
            "writes",
        } <= described.keys()

    def test_leave_is_called_once_for_each_boot(self, drive: Drive, tmp_path: Path) -> None:
        log = tmp_path / "log"

        def note(text: str) -> None:
            with log.open("a") as file:
                file.write(text)

        def boot(index: int) -> Serve:
            note("b")
            return serve

        driver = drive(self.name, self.size, boot, leave=lambda: note("l"), **self.options)
        driver.until(lambda: log.exists() and len(log.read_text()) == self.size)
        driver.run(b"echo x")

        driver.pool.close(time.monotonic() + 5)

        assert log.read_text() == "b" * self.size + "l" * self.size

    def test_closing_twice_is_closing_once(self, driver: Driver) -> None:
        driver.run(b"echo x")

        driver.pool.close(time.monotonic() + 5)
        driver.pool.close(time.monotonic() + 5)

        assert driver.pool.collect() == []

    def test_is_ready_when_it_has_booted(self, driver: Driver) -> None:
        driver.until(driver.pool.ready)

        assert driver.pool.trouble() is None
        assert isinstance(driver.pool, Pool)
        assert Work(request=1, envelope=b"").hard is None
