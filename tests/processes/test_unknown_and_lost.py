"""What waits for a task that no worker knows ends; a task whose child died may be tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl import chain, chord, signature
from taskctl.core.errors import ChordError, NotRegistered, WorkerLostError

from ..support.waiting import eventually
from ..support.workers import Farm


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder: Path = tmp_path_factory.mktemp("unknown")
    farm = Farm(folder, f"sqlite:///{folder}/queue.db")
    farm.start(
        settings={
            "task_retry_on_worker_lost": True,
            "task_annotations": {"*": {"default_retry_delay": 0, "max_retries": 1}},
        }
    ).ready()
    yield farm
    farm.close()


def test_a_chord_with_a_task_that_nobody_knows_ends_and_its_errback_hears(farm: Farm) -> None:
    known, unknown, body, errback = (
        signature(f"trial.{name}", args, app=farm.app)
        for name, args in [("add", (1, 1)), ("gone", ()), ("total", ()), ("note_end", ("unknown",))]
    )

    result = chord([known, unknown], body.on_error(errback)).apply_async()

    with pytest.raises(ChordError, match="NotRegistered"):
        result.get(timeout=20)
    eventually(lambda: farm.runs()["unknown"] == 1)


def test_the_rest_of_a_chain_fails_with_a_step_that_nobody_knows(farm: Farm) -> None:
    steps = (signature(f"trial.{name}", (1,), app=farm.app) for name in ("echo", "gone", "echo"))

    result = chain(*steps).apply_async()

    with pytest.raises(NotRegistered, match=r"trial\.gone"):
        result.get(timeout=20)


def test_a_task_whose_child_died_is_retried_if_it_asks_for_it(farm: Farm) -> None:
    result = farm.send("die_once", "phoenix")

    assert result.get(timeout=20)
    assert farm.runs()["phoenix"] == 2
    assert "trial.die_once" in farm.nodes[0].log
    assert "retry: Retry in 0s: WorkerLostError" in farm.nodes[0].log


def test_its_retries_are_counted(farm: Farm) -> None:
    result = farm.send("die", "mortal")

    with pytest.raises(WorkerLostError, match="SIGKILL"):
        result.get(timeout=20)
    assert farm.runs()["mortal"] == 2
    assert not [one for one in farm.dead() if one.get("task") == "trial.die"]
