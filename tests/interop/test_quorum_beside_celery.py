"""Quorum queues, whose messages are delayed in RabbitMQ: by each client, for each worker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..support.mixed import Mixed
from ..support.rabbit import RabbitControl
from ..support.waiting import eventually

SIDES = ("celery", "taskctl")
CELLS = list(itertools.product(SIDES, SIDES))


#: Written so that both packages read them.
QUEUES: dict[str, dict[str, Any]] = {
    f"steady.{side}": {
        "exchange": "steady",
        "exchange_type": "topic",
        "routing_key": f"steady.{side}",
        "queue_arguments": {"x-queue-type": "quorum"},
    }
    for side in SIDES
}


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq_control: RabbitControl
) -> Iterator[Mixed]:
    url = rabbitmq_control.new_vhost()
    fleet = Mixed(tmp_path_factory.mktemp("quorum"), url, "rpc://", task_queues=QUEUES)
    try:
        for side in SIDES:
            words = ["-c", "1", "-Q", f"steady.{side}"]
            fleet.start(side, side, *words, *(["-P", "solo"] if side == "celery" else []))
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.close()
        rabbitmq_control.drop_vhost(url)


def test_a_countdown_on_a_quorum_queue_is_kept_by_rabbitmq_for_each_client_and_worker(
    fleet: Mixed,
) -> None:
    began = time.time()
    results = [
        fleet.app(sender).send_task("proj.add", (1, 1), queue=f"steady.{runner}", countdown=2)
        for sender, runner in CELLS
    ]
    for sender, runner in CELLS:
        fleet.app(sender).send_task("proj.add", (1, 1), queue=f"steady.{runner}", countdown=100)

    assert [result.get(timeout=30) for result in results] == [2] * 4
    assert time.time() - began > 1.9
    for (_, runner), result in zip(CELLS, results, strict=True):
        assert f"[{result.id}] succeeded" in fleet.members[f"{runner}@h"].log
    with fleet.ours.connection() as connection:
        # 100 s are 64 and 32 and 4: what was sent later is on the level of 64 seconds.
        eventually(lambda: connection.broker.size("celery_delayed_6") == 4)
        assert [connection.broker.size(name) for name in QUEUES] == [0, 0]
