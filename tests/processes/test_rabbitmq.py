"""Real workers on RabbitMQ: scenes that other brokers play too, and those it alone can play."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.farms import MakeFarm
from ..support.rabbit import RabbitControl
from ..support.shell import Shell
from ..support.waiting import eventually
from ..support.workers import Farm
from .test_lost_deliveries import (
    test_a_task_that_kills_its_child_runs_three_times_and_becomes_a_dead_letter as test_poison,
)
from .test_lost_deliveries import (
    test_a_task_that_kills_workers_runs_three_times_and_takes_no_other_with_it as test_killer,
)
from .test_pauses import (
    test_a_pause_gives_back_what_has_not_begun_and_a_restarted_node_obeys_it as test_pause,
)
from .test_running import (
    test_countdown_and_eta_are_kept_to_and_hold_up_nobody as test_countdowns,
)
from .test_running import (
    test_retry_ignore_and_reject_do_what_they_say as test_retry_ignore_reject,
)
from .test_running import (
    test_several_queues_are_served_in_turn as test_several_queues,
)
from .test_shutdown import (
    test_nothing_is_lost_and_nothing_runs_twice_when_term_comes_amid_quick_tasks as test_term_amid,
)
from .test_shutdown import (
    test_term_finishes_what_runs_and_gives_the_rest_to_the_next_worker as test_term,
)

__all__ = [
    "test_countdowns",
    "test_pause",
    "test_poison",
    "test_retry_ignore_reject",
    "test_several_queues",
    "test_killer",
    "test_term",
    "test_term_amid",
]

#: Loans are told with the lease: let them be told soon.
SOON = {"worker_lease_interval": 0.3}


@pytest.fixture
def broker_url(rabbitmq_url: str) -> str:
    return rabbitmq_url


@pytest.fixture
def farm(make_farm: MakeFarm, rabbitmq_url: str, tmp_path: Path) -> Farm:
    return make_farm(tmp_path, rabbitmq_url, **SOON)


@pytest.fixture
def brisk(farm: Farm) -> list[Farm]:
    return [farm]


@pytest.fixture(scope="module")
def standing_farm(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq_control: RabbitControl
) -> Iterator[Farm]:
    url = rabbitmq_control.new_vhost()
    farm = Farm(tmp_path_factory.mktemp("standing"), url, **SOON)
    farm.start().ready()
    yield farm
    farm.close()
    rabbitmq_control.drop_vhost(url)


# --- lines that break ---------------------------------------------------------------------------


def test_a_task_that_runs_while_its_line_breaks_runs_once(
    service: Farm, rabbitmq_control: RabbitControl
) -> None:
    running = service.send("mark", "running", 1.5)
    eventually(lambda: service.runs()["running"])
    (node,) = service.nodes

    rabbitmq_control.close_connections()

    eventually(lambda: "connected again after" in node.log)
    after = service.send("mark", "after")
    assert after.get(timeout=20) == "after"
    assert running.get(timeout=20) == "running"
    eventually(lambda: service.size() == service.unacked() == 0)
    assert service.runs() == {"running": 1, "after": 1}


def test_a_node_survives_a_server_that_is_out_of_memory(
    service: Farm, rabbitmq_control: RabbitControl
) -> None:
    waiting = [service.send("mark", f"early.{number}", 0.2) for number in range(4)]
    rabbitmq_control.set_memory_limit("0.0000001")
    try:
        assert [result.get(timeout=30) for result in waiting] == [f"early.{n}" for n in range(4)]
    finally:
        rabbitmq_control.set_memory_limit("0.4")

    assert service.send("mark", "late").get(timeout=30) == "late"
    assert service.nodes[0].process.poll() is None


def test_what_follows_a_task_is_not_lost_while_the_server_is_out_of_memory(
    make_farm: MakeFarm, rabbitmq_control: RabbitControl, rabbitmq_url: str, tmp_path: Path
) -> None:
    # The server is given up soon, so that the worker must connect anew while the alarm lasts.
    farm = make_farm(tmp_path, rabbitmq_url, **SOON, broker_transport_options={"socket_timeout": 1})
    node = farm.start().ready()
    flow = farm.app.signature("trial.mark", ("first", 1.5))
    for step in ("second", "third"):
        flow |= farm.app.signature("trial.mark", (step,), immutable=True)
    last = flow.apply_async()
    eventually(lambda: farm.runs()["first"])

    rabbitmq_control.set_memory_limit("0.0000001")
    try:
        eventually(lambda: "takes no messages now" in node.log or "did not answer" in node.log)
        assert farm.runs() == {"first": 1}
    finally:
        rabbitmq_control.set_memory_limit("0.4")

    assert last.get(timeout=30) == "third"
    eventually(lambda: farm.size() == farm.unacked() == 0)
    # What was sent as the alarm began may have been taken without a word, and be sent once more.
    assert farm.runs()["first"] == 1
    assert set(farm.runs()) == {"first", "second", "third"}


def test_a_frozen_server_is_found_again(service: Farm, rabbitmq_control: RabbitControl) -> None:
    pid = rabbitmq_control.server.processes[-1].pid
    os.killpg(pid, signal.SIGSTOP)
    try:
        (node,) = service.nodes
        eventually(lambda: "did not answer" in node.log, within=30)
    finally:
        os.killpg(pid, signal.SIGCONT)

    assert service.send("mark", "after").get(timeout=30) == "after"


# --- operated by hand ---------------------------------------------------------------------------


def test_every_command_of_the_day_works_on_rabbitmq(rabbitmq_url: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    env = {
        "TASKCTL_BROKER_URL": rabbitmq_url,
        "TASKCTL_RESULT_BACKEND": f"sqlite:///{tmp_path}/results.db",
    }

    def ask(*words: str) -> str:
        said = shell.proj(*words, **env)
        assert said.code == 0, (words, said.err)
        return said.out

    try:
        shell.node("w1", **env)
        assert ask("call", "proj.celery.add", "--args", "[2, 3]", "--wait").strip() == "5"
        assert "w1@h" in ask("status") and "pong" in ask("inspect", "ping")
        assert "1 node online" in ask("inspect", "active")

        ask("queue", "pause", "celery")
        ids = [ask("call", "proj.celery.add", "--args", f"[{n}, 0]").strip() for n in range(3)]
        depths = [line.split()[:2] for line in ask("queue", "ls").splitlines()]
        assert ["celery", "3"] in depths
        assert all(one in ask("queue", "peek", "celery") for one in ids)
        assert "direct" in ask("queue", "show", "celery")
        assert "celery" in ask("list", "bindings")
        assert "3" in ask("amqp", "queue.declare", "celery", "yes")
        ask("queue", "resume", "celery")
        ask("wait", "queue.celery.depth==0", "--timeout", "30")

        ask("call", "nobody.knows", "--queue", "celery")
        eventually(lambda: "unregistered" in ask("dlq", "ls"))
        ask("queue", "pause", "celery")
        ask("dlq", "retry", "--all")
        assert "Purged 1 message" in ask("purge", "-f", "-Q", "celery")

        report = shell.proj("doctor", **env)
        assert "RabbitMQ keeps messages on its own disk" in report.out, report.out
        assert "redis" not in report.out.partition("\nbroker")[2] and not report.err

        ids = [ask("call", "proj.celery.add", "--args", f"[{n}, 1]").strip() for n in range(3)]
        there = f"sqlite:///{tmp_path}/there.db"
        ask("migrate", rabbitmq_url, there, "--ack-messages")
        moved = shell.proj("queue", "peek", "celery", **{**env, "TASKCTL_BROKER_URL": there}).out
        assert all(one in moved for one in ids)
        assert ["celery", "0"] in [row.split()[:2] for row in ask("queue", "ls").splitlines()]
    finally:
        shell.close()
