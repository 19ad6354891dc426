"""The benchmarks run, in miniature, and leave nothing behind; what they show is not judged here."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from benchmarks import commands, drain, publish, sleeps, startup
from benchmarks.report import Claim, Figure, rewritten
from benchmarks.rounds import Sample
from benchmarks.stand import CELERY, TASKCTL, TASKCTL_SQLITE, Contestant, Stand


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with Stand() as stand:
        yield stand
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after <= before
    assert not stand.folder.exists()


def figure(title: str, *claims: Claim) -> Figure:
    return Figure(title, "Counted.", ["", "n"], [["taskctl", "2"]], 1, list(claims))


@pytest.mark.parametrize("contestant", [TASKCTL, TASKCTL_SQLITE, CELERY], ids=lambda c: c.label)
def test_a_queue_is_drained_and_its_rate_told(stand: Stand, contestant: Contestant) -> None:
    tasks = 300 if contestant is CELERY else 6_000

    assert drain.measure(stand, contestant, tasks) > 0


def test_commands_are_timed_beside_those_of_celery(stand: Stand) -> None:
    ours = commands.measure(stand, commands.OURS, "COMPLETE st")
    theirs = commands.measure(stand, CELERY, "--version")

    assert ours.wall > 0
    assert theirs.wall > 0


def test_calls_are_timed_from_the_call_to_the_task(stand: Stand) -> None:
    speed = publish.measure(stand, TASKCTL, calls=50, pings=10)

    assert speed.rate > 0
    assert 0 < speed.middle <= speed.slow


def test_sleeps_are_timed_until_the_last_has_ended(stand: Stand) -> None:
    assert sleeps.measure(stand, sleeps.CONTESTANTS[0], tasks=20) >= 1


@pytest.mark.parametrize("contestant", [TASKCTL, CELERY], ids=lambda c: c.label)
def test_a_start_is_timed(stand: Stand, contestant: Contestant) -> None:
    cost = startup.measure(stand, contestant)

    assert cost.cpu > 0
    assert cost.wall > 0


def test_a_claim_is_kept_or_missed_by_its_median() -> None:
    ratio = Sample([8, 16, 9]).over(Sample([1, 2, 1]))

    assert str(Claim("a / b", ratio, at_least=8)) == (
        "a / b: 8.00 (8.00 to 9.00); promised at least 8: kept"
    )
    assert str(Claim("a / b", ratio, at_most=7.5)).endswith("promised at most 7.5: MISSED")


def test_a_section_is_renewed_where_it_stands_and_a_new_one_added() -> None:
    document = "# Benchmarks\n\nWords.\n\n## One\n\nold\n\n## Two\n\nstays\n"

    renewed = rewritten(document, [figure("One"), figure("Three")])

    assert "old" not in renewed
    headings = [line for line in renewed.splitlines() if line.startswith("#")]
    assert headings == ["# Benchmarks", "## One", "## Two", "## Three"]
    assert "Words." in renewed
    assert "stays" in renewed
    assert rewritten(renewed, [figure("One")]) == renewed
