"""Signals to a worker: what is finished, what is given back, and the exit code."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from taskctl.core.errors import WorkerLostError

from ..support.farms import MakeFarm
from ..support.waiting import eventually
from ..support.workers import Farm, Node, gone


def loaded(farm: Farm, seconds: float = 0.7) -> Node:
    """Return a node that runs one task and holds three more."""
    node = farm.start("w1", concurrency=1, prefetch_multiplier=4)
    farm.send("mark", "running", seconds)
    for number in range(5):
        farm.send("mark", f"waiting.{number}")
    eventually(lambda: farm.runs()["running"])
    eventually(lambda: farm.unacked() == 4)
    return node


def waiting_runs(farm: Farm) -> list[int]:
    runs = farm.runs()
    return [runs[f"waiting.{number}"] for number in range(5)]


def test_term_finishes_what_runs_and_gives_the_rest_to_the_next_worker(farm: Farm) -> None:
    node = loaded(farm)

    node.tell(signal.SIGTERM)

    assert node.exit_code() == 0
    assert farm.runs() == {"running": 1}
    assert (farm.size(), farm.unacked()) == (5, 0)
    assert "warm shutdown: waiting for 1 running task" in node.log
    farm.start("w2")
    eventually(lambda: waiting_runs(farm) == [1, 1, 1, 1, 1])


def test_int_finishes_what_runs_and_says_how_to_stop_it(farm: Farm) -> None:
    node = loaded(farm)

    node.tell(signal.SIGINT)

    assert node.exit_code() == 0
    assert farm.runs() == {"running": 1}
    assert "Ctrl-C again: stop them" in node.log


@pytest.mark.parametrize("how", ["INT twice", "QUIT", "remapped TERM"])
def test_a_cold_shutdown_gives_back_what_runs(farm: Farm, how: str) -> None:
    if how == "remapped TERM":
        node = farm.start("w1", concurrency=1, env={"REMAP_SIGTERM": "SIGQUIT"})
        farm.send("mark", "running", 60.0)
        eventually(lambda: farm.runs()["running"])
    else:
        node = loaded(farm, seconds=60.0)
    child = farm.pids("running")[0]
    began = time.monotonic()

    if how == "INT twice":
        node.tell(signal.SIGINT)
        eventually(lambda: "warm shutdown" in node.log)
        node.tell(signal.SIGINT)
    else:
        node.tell(signal.SIGTERM if how == "remapped TERM" else signal.SIGQUIT)

    assert node.exit_code(within=10) == 1
    assert time.monotonic() - began < 5
    assert gone(child)
    assert farm.unacked() == 0
    with farm.app.connection() as connection:
        assert b"running" in connection.broker.peek("celery")[0]
    assert "cut off by the shutdown" in node.log


def test_a_cold_shutdown_without_running_tasks_ends_with_0(farm: Farm) -> None:
    node = farm.start().ready()

    node.tell(signal.SIGQUIT)

    assert node.exit_code() == 0


def test_a_warm_shutdown_that_takes_too_long_becomes_a_cold_one(farm: Farm) -> None:
    node = farm.start(concurrency=1, shutdown_timeout=0.5)
    farm.send("mark", "running", 60.0)
    eventually(lambda: farm.runs()["running"])

    node.tell(signal.SIGTERM)

    assert node.exit_code(within=10) == 1
    assert (farm.size(), farm.unacked()) == (1, 0)


def test_a_task_acked_early_fails_when_it_is_cut_off(
    make_farm: MakeFarm, broker_url: str, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, broker_url, task_acks_late=False)
    node = farm.start(concurrency=1)
    result = farm.send("mark", "running", 60.0)
    eventually(lambda: farm.runs()["running"] and not farm.unacked())

    node.tell(signal.SIGQUIT)

    assert node.exit_code(within=10) == 1
    with pytest.raises(WorkerLostError, match="cut off by a cold shutdown"):
        result.get(timeout=5)


def test_nothing_is_lost_and_nothing_runs_twice_when_term_comes_amid_quick_tasks(
    farm: Farm,
) -> None:
    keys = [f"quick.{number}" for number in range(200)]
    node = farm.start()
    for key in keys:
        farm.send("mark", key)
    eventually(lambda: len(farm.runs()) > 20, every=0.001)

    node.tell(signal.SIGTERM)

    assert node.exit_code() == 0
    farm.start("w2")
    eventually(lambda: len(farm.runs()) == 200, within=20)
    assert set(farm.runs().values()) == {1}
    eventually(lambda: farm.size() == farm.unacked() == 0)


def test_a_third_signal_stops_at_once(farm: Farm) -> None:
    node = farm.start("w1", concurrency=1, settings={"worker_soft_shutdown_timeout": 30.0})
    farm.send("mark", "running", 60.0)
    eventually(lambda: farm.runs()["running"])
    node.tell(signal.SIGQUIT)
    eventually(lambda: "cold shutdown" in node.log)

    node.tell(signal.SIGINT)

    assert node.exit_code(within=5) == 1
    eventually(lambda: gone(farm.pids("running")[0]))


def test_a_node_that_left_is_in_the_registry_no_longer(farm: Farm) -> None:
    node = farm.start().ready()
    assert [known.name for known in farm.app.control.cluster.nodes()] == ["w1@test"]

    node.tell(signal.SIGTERM)

    assert node.exit_code() == 0
    assert farm.app.control.cluster.nodes() == []
