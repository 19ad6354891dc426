"""Which losses are held against a message, and which deliveries are none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from taskctl.core.errors import WorkerLostError

from ..support.farms import MakeFarm, on_each
from ..support.waiting import eventually
from ..support.workers import Farm


def test_a_task_that_kills_its_child_runs_three_times_and_becomes_a_dead_letter(farm: Farm) -> None:
    node = farm.start()
    poison = farm.send("die", "poison")
    others = [farm.send("mark", f"other.{number}") for number in range(5)]

    with pytest.raises(WorkerLostError) as caught:
        poison.get(timeout=20)
    assert [other.get(timeout=10) for other in others] == [f"other.{n}" for n in range(5)]

    last = farm.pids("poison")[-1]
    assert (
        str(caught.value) == f"child {last} killed by SIGKILL while running trial.die[{poison.id}]"
    )
    assert farm.runs()["poison"] == 3
    letters = eventually(farm.dead)
    assert [letter["id"] for letter in letters] == [poison.id]
    facts = letters[0]["taskctl-dead"]
    assert (facts["reason"], facts["queue"], facts["node"]) == (
        "worker-lost",
        "celery",
        "w1@test",
    )
    assert "after 3 lost deliveries" in node.log
    assert farm.size() == farm.unacked() == 0


def test_early_acks_give_a_lost_task_no_second_run(farm: Farm) -> None:
    farm.start()

    lost = farm.send("early", "early")

    with pytest.raises(WorkerLostError, match=r"SIGKILL while running trial\.early"):
        lost.get(timeout=20)
    farm.send("mark", "after").get(timeout=10)
    assert farm.runs()["early"] == 1
    assert farm.dead() == []


def test_the_setting_restores_early_acks_for_all_tasks(
    make_farm: MakeFarm, broker_url: str, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, broker_url, task_acks_late=False)
    farm.start()

    lost = farm.send("die", "early")

    with pytest.raises(WorkerLostError):
        lost.get(timeout=20)
    farm.send("mark", "after").get(timeout=10)
    assert farm.runs()["early"] == 1


def test_a_task_longer_than_the_lease_runs_once(brisk: list[Farm]) -> None:
    def scene(farm: Farm) -> None:
        farm.start("w1", concurrency=1)
        farm.start("w2", concurrency=1)

        result = farm.send("mark", "long", 2.5)

        assert result.get(timeout=20) == "long"
        assert farm.runs()["long"] == 1

    on_each(brisk, scene)


def test_a_task_that_kills_workers_runs_three_times_and_takes_no_other_with_it(
    brisk: list[Farm],
) -> None:
    def scene(farm: Farm) -> None:
        # One child and eight held messages: all that is reserved dies with the node each time.
        options = {"concurrency": 1, "prefetch_multiplier": 8}
        killer = farm.send("kill_worker", "killer")
        others = [f"other.{number}" for number in range(20)]
        for other in others:
            farm.send("mark", other, 0.01)

        for successor in range(3):
            assert farm.start(f"w{successor}", **options).exit_code(within=30) == -9
        last = farm.start("last", **options)

        with pytest.raises(WorkerLostError, match="task_max_deliveries=3"):
            killer.get(timeout=20)
        eventually(lambda: all(farm.runs()[other] for other in others), within=20)
        assert farm.runs()["killer"] == 3
        assert [letter["id"] for letter in farm.dead()] == [killer.id]
        assert "after 3 lost deliveries" in last.log

    on_each(brisk, scene)


def test_a_node_that_stood_still_beyond_its_lease_gives_back_what_it_had_not_begun(
    brisk: list[Farm],
) -> None:
    def scene(farm: Farm) -> None:
        frozen = farm.start("frozen", concurrency=1, prefetch_multiplier=4)
        farm.send("mark", "running", 3.5)
        for number in range(3):
            farm.send("mark", f"waiting.{number}")
        eventually(lambda: farm.runs()["running"])
        eventually(lambda: farm.unacked() == 4)
        os.killpg(frozen.pid, signal.SIGSTOP)
        farm.start("w2", concurrency=2)
        eventually(lambda: sum(farm.runs().values()) >= 5, within=20)

        os.killpg(frozen.pid, signal.SIGCONT)

        eventually(lambda: "the lease of this node ended" in frozen.log)
        eventually(lambda: farm.unacked() == 0 and farm.size() == 0)
        runs = farm.runs()
        assert [runs[f"waiting.{number}"] for number in range(3)] == [1, 1, 1]
        assert runs["running"] == 2

    on_each(brisk, scene)
