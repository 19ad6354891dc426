"""Several beats at one broker: one leads, another takes over; no run is lost, none doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.waiting import eventually
from .beats import Beats

MakeBeats = Callable[..., Beats]


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/queue.db"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def make_beats(tmp_path: Path) -> Iterator[MakeBeats]:
    made: list[Beats] = []

    def make(url: str, **options: Any) -> Beats:
        made.append(Beats(tmp_path, url, **options))
        return made[-1]

    yield make
    for beats in made:
        beats.close()


def kill_leaders(beats: Beats, times: int) -> None:
    for _ in range(2):
        beats.start()
    leader = beats.leader()
    for _ in range(times):
        beats.wait_for_runs(3)
        beats.kill(leader)
        beats.start()
        leader = beats.leader(but=leader)
    beats.wait_for_runs(3)
    beats.stop()


def test_killed_leaders_lose_no_run_and_double_none(url: str, make_beats: MakeBeats) -> None:
    beats = make_beats(url)

    kill_leaders(beats, 3)

    beats.check()


def test_a_leader_that_was_stopped_and_wakes_sends_nothing_twice(
    url: str, make_beats: MakeBeats
) -> None:
    beats = make_beats(url, lease=1.0)
    beats.start()
    first = beats.leader()
    beats.start()
    beats.wait_for_runs(2)

    beats.halt(first)
    second = beats.leader(but=first)
    beats.wait_for_runs(2)
    beats.wake(first)
    eventually(lambda: "standing by" in (beats.folder / "beat1.log").read_text(), within=20)
    beats.wait_for_runs(2)

    assert beats.leader() == second
    beats.stop()
    beats.check()


@pytest.mark.soak
def test_a_hundred_killed_leaders_lose_no_run_and_double_none(
    url: str, make_beats: MakeBeats
) -> None:
    # So often that most kills come in the middle of a send.
    beats = make_beats(url, entries={"a": 0.005, "b": 0.01, "c": 0.02, "d": 0.1})

    kill_leaders(beats, 100)

    beats.check()


@pytest.mark.soak
def test_leaders_stopped_and_woken_thirty_times_double_none(
    url: str, make_beats: MakeBeats
) -> None:
    """Each wakes up, in the middle of a send as often as not, when another leads already."""
    beats = make_beats(url, entries={"a": 0.03, "b": 0.05, "c": 0.2}, lease=1.0)
    beats.start()
    beats.start()
    leader = beats.leader()
    for _ in range(30):
        beats.wait_for_runs(3)
        beats.halt(leader)
        following = beats.leader(but=leader)
        beats.wait_for_runs(3)
        beats.wake(leader)
        leader = following
    beats.wait_for_runs(3)
    beats.stop()

    beats.check()
