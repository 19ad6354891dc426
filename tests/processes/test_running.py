"""Ways a task may run: when, where, how long, how often."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskctl.core.errors import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

from ..support.farms import MakeFarm
from ..support.waiting import eventually
from ..support.workers import Farm


def test_countdown_and_eta_are_kept_to_and_hold_up_nobody(farm: Farm) -> None:
    farm.start(concurrency=1, prefetch_multiplier=1)
    sent = time.time()
    late = [
        farm.send("mark", "countdown", countdown=1.0),
        farm.send("mark", "eta", eta=datetime.now(UTC) + timedelta(seconds=1.2)),
    ]

    now = farm.send("mark", "now")

    assert now.get(timeout=5) == "now"
    assert [result.get(timeout=10) for result in late] == ["countdown", "eta"]
    for key, due in (("countdown", 1.0), ("eta", 1.2)):
        assert due - 0.01 <= farm.times(key)[0] - sent < due + 5
    assert farm.nodes[0].log.count("received") == 3
    assert farm.runs() == {"now": 1, "countdown": 1, "eta": 1}


def test_a_task_that_expired_while_it_waited_does_not_run(farm: Farm) -> None:
    farm.start(concurrency=1)
    farm.send("mark", "long", 0.8)
    eventually(lambda: farm.runs()["long"])

    expired = farm.send("mark", "expired", expires=0.3)

    with pytest.raises(TaskRevokedError, match="expired"):
        expired.get(timeout=10)
    assert farm.runs()["expired"] == 0
    eventually(lambda: farm.unacked() == 0)


def test_several_queues_are_served_in_turn(farm: Farm) -> None:
    for number in range(30):
        farm.send("mark", f"a.{number}", queue="a")
    for number in range(3):
        farm.send("mark", f"b.{number}", queue="b")
    farm.send("mark", "elsewhere", queue="c")

    farm.start(queues="a,b", concurrency=1, prefetch_multiplier=1)

    eventually(lambda: len(farm.runs()) == 33)
    order = [line.split()[0] for line in farm._lines()]
    assert max(order.index(f"b.{number}") for number in range(3)) < 12
    assert farm.size("c") == 1


def test_the_highest_priority_comes_first_on_every_broker(
    make_farm: MakeFarm, broker_url: str, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, broker_url, task_queue_max_priority=10)
    for priority in (0, 3, 6, 9, None):
        for number in range(2):
            farm.send("mark", f"{priority}.{number}", priority=priority)

    farm.start(concurrency=1, prefetch_multiplier=1)

    eventually(lambda: len(farm.runs()) == 10)
    order = [line.split()[0] for line in farm._lines()]
    ranks = (9, 6, 3, 0, None)
    assert order == [f"{rank}.{number}" for rank in ranks for number in range(2)]


def test_a_rate_limit_spaces_starts_and_leaves_other_tasks_alone(farm: Farm) -> None:
    farm.start(settings={"task_annotations": {"trial.tracked": {"rate_limit": "5/s"}}})
    for number in range(6):
        farm.send("tracked", f"limited.{number}")
    for number in range(30):
        farm.send("mark", f"free.{number}")

    eventually(lambda: len(farm.runs()) == 36)

    limited = sorted(farm.times(f"limited.{number}")[0] for number in range(6))
    assert min(b - a for a, b in itertools.pairwise(limited)) > 0.15
    assert max(farm.times(f"free.{number}")[0] for number in range(30)) < limited[-1]


def test_time_limits_interrupt_and_kill(service: Farm) -> None:
    began = time.monotonic()
    soft = service.send("soft", "soft", soft_time_limit=0.5)
    hard = service.send("mark", "hard", 30.0, time_limit=0.7)
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=10)
    assert soft.get(timeout=10) == "soft"
    uncaught = service.send("mark", "uncaught", 30.0, soft_time_limit=0.3)
    with pytest.raises(SoftTimeLimitExceeded):
        uncaught.get(timeout=10)

    assert time.monotonic() - began < 5
    assert service.runs() == {"soft": 1, "hard": 1, "uncaught": 1}
    assert "killed: hard time limit of 0.7 s exceeded" in service.nodes[0].log


def test_a_child_is_replaced_after_so_many_tasks(farm: Farm) -> None:
    farm.start(concurrency=1, max_tasks_per_child=2)

    for number in range(6):
        farm.send("mark", f"key.{number}")

    eventually(lambda: len(farm.runs()) == 6)
    assert len({farm.pids(f"key.{number}")[0] for number in range(6)}) == 3


def test_a_child_is_replaced_after_so_much_memory(farm: Farm) -> None:
    farm.start(concurrency=1, max_memory_per_child=120_000)

    first = farm.send("grow", "big", 200).get(timeout=10)
    second = farm.send("grow", "small", 1).get(timeout=10)
    third = farm.send("grow", "small", 1).get(timeout=10)

    assert first != second == third


def test_a_tracked_task_is_started_while_it_runs(service: Farm) -> None:
    (node,) = service.nodes

    result = service.send("tracked", "key", 0.6)

    eventually(lambda: result.state == "STARTED")
    assert result.info == {"pid": service.pids("key")[0], "hostname": "w1@test"}
    assert service.pids("key")[0] in node.children()
    assert result.get(timeout=5) == "key"


def test_retry_ignore_and_reject_do_what_they_say(service: Farm) -> None:
    again = service.send("again", "again")
    ignored = service.send("ignore", "ignored")
    requeued = service.send("reject", "requeued", True)
    rejected = service.send("reject", "rejected", False)

    assert again.get(timeout=10) == 2
    assert requeued.get(timeout=10) == "requeued"
    eventually(lambda: service.runs()["ignored"])
    assert ignored.state == "PENDING"
    assert service.runs() == {"again": 3, "ignored": 1, "requeued": 2, "rejected": 1}
    letters = eventually(service.dead)
    assert [(x["id"], x["taskctl-dead"]["reason"]) for x in letters] == [(rejected.id, "rejected")]
    eventually(lambda: service.size() == service.unacked() == 0)


def test_short_tasks_do_not_wait_behind_a_long_one_while_a_child_is_idle(service: Farm) -> None:
    for number in range(50):  # the node learns that tasks are short
        service.send("mark", f"before.{number}")
    eventually(lambda: len(service.runs()) == 50)
    service.send("mark", "long", 2.0)
    short = [service.send("mark", f"short.{number}") for number in range(20)]

    began = time.monotonic()
    for result in short:
        result.get(timeout=10)

    assert time.monotonic() - began < 1.5


def test_work_behind_long_tasks_goes_to_another_node(farm: Farm) -> None:
    farm.start("w1", concurrency=1)
    for number in range(50):
        farm.send("mark", f"before.{number}")
    eventually(lambda: len(farm.runs()) == 50)
    with farm.app.connection():  # one publication after the other, but quick
        farm.send("mark", "long", 6.0)
        short = [farm.send("mark", f"short.{number}") for number in range(5)]
    farm.start("w2", concurrency=1)

    began = time.monotonic()
    for result in short:
        result.get(timeout=10)

    assert time.monotonic() - began < 4.5
    assert {farm.runs()[f"short.{number}"] for number in range(5)} == {1}


def test_an_idle_node_hardly_uses_the_processor(service: Farm) -> None:
    (node,) = service.nodes
    service.send("mark", "one").get(timeout=5)
    time.sleep(0.3)  # what the start leaves to do

    before = node.cpu_seconds()
    time.sleep(2.0)
    used = node.cpu_seconds() - before

    print(f"idle node: {used / 2.0:.2%} of a core")
    assert used / 2.0 <= 0.01


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_other_pools_run_tasks_answer_and_keep_their_lease(
    make_farm: MakeFarm, broker_url: str, tmp_path: Path, pool: str
) -> None:
    farm = make_farm(tmp_path, broker_url, worker_lease=1.0, worker_lease_interval=0.3)
    farm.start("w1", pool=pool).ready()
    long = farm.send("mark", "long", 2.2)
    eventually(lambda: farm.runs()["long"])
    farm.start("w2", pool=pool, queues="other")  # a peer that would take over

    waiting = farm.send("mark", "waiting", queue="celery")
    assert farm.app.control.ping(["w1@test"], timeout=2) == [{"w1@test": {"ok": "pong"}}]
    active = farm.app.control.inspect(["w1@test"], timeout=2).active()["w1@test"]

    assert long.id in [info["id"] for info in active]  # a second thread may run the other one
    assert long.get(timeout=10) == "long"
    assert waiting.get(timeout=10) == "waiting"
    assert farm.runs() == {"long": 1, "waiting": 1}


def test_a_growing_pool_takes_on_more_at_once(farm: Farm) -> None:
    node = farm.start(autoscale="3,1").ready()
    assert len(node.children()) == 1

    for number in range(3):
        farm.send("mark", f"key.{number}", 1.0)

    eventually(lambda: len(farm.runs()) == 3, within=1.5)
    assert len(node.children()) == 3
