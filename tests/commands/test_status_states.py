"""What `status` says of nodes in trouble: four faults, each with real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from ..support.gate import Gate
from ..support.servers import RedisServer
from ..support.shell import Shell
from ..support.waiting import eventually

#: Nodes that believe one another for a short time only.
BRISK = ("worker_lease=1.5", "worker_lease_interval=0.3")


def states(shell: Shell, *words: str, **env: str) -> dict[str, str]:
    """Return the state word of each node."""
    document = shell.proj("status", "-o", "json", *words, **env).json
    return {
        name: (one.get("ok") or one["error"])["state"] for name, one in document["nodes"].items()
    }


def running(shell: Shell) -> list[dict[str, Any]]:
    """Return the running tasks of w1@h."""
    return list(shell.proj("inspect", "active", "-j").json["w1@h"])


def test_a_halted_child_makes_its_node_stuck_and_is_named(shell: Shell) -> None:
    shell.node("w1")
    shell.python("from proj.celery import nap; nap.delay(60)")
    (task,) = eventually(lambda: running(shell))

    os.kill(task["worker_pid"], signal.SIGSTOP)
    said = shell.proj("status", "-o", "table")

    assert said.out.splitlines()[1].split()[:3] == ["w1@h", "stuck", "1/2"]
    assert f"w1@h stuck: child {task['worker_pid']} is halted while it runs proj.celery.nap" in (
        said.err
    )
    os.kill(task["worker_pid"], signal.SIGCONT)
    assert states(shell) == {"w1@h": "ok"}


def test_a_task_that_outlives_its_limit_makes_its_node_stuck(shell: Shell) -> None:
    shell.node("w1", "-P", "threads", "--time-limit", "0.2")
    shell.python("from proj.celery import nap; nap.delay(60)")
    eventually(lambda: running(shell))

    eventually(lambda: states(shell) == {"w1@h": "stuck"})

    (node,) = shell.proj("status", "-o", "json").json["nodes"].values()
    assert "its limit is 0.2 s" in node["ok"]["reasons"][0]


def test_a_halted_node_is_silent_with_its_age_and_comes_back(shell: Shell) -> None:
    node = shell.node("w1")
    shell.node("w2")
    os.kill(node.pid, signal.SIGSTOP)

    said = shell.proj("status", "-t", "0.4", "-o", "table")

    first, second = said.out.splitlines()[1:]
    assert first.startswith("w1@h  silent      ?  celery ")
    assert " seen " in first and first.endswith(" s ago")
    assert second.startswith("w2@h  ok ")
    assert said.err == "1 of 2 nodes answered; silent: w1@h\n"
    os.kill(node.pid, signal.SIGCONT)
    assert states(shell) == {"w1@h": "ok", "w2@h": "ok"}


def test_a_killed_node_is_silent_also_after_others_took_over_its_work(shell: Shell) -> None:
    shell.node("w1", *BRISK)
    killed = shell.node("w2", *BRISK)
    os.killpg(killed.pid, signal.SIGKILL)

    assert states(shell, "-t", "0.3") == {"w1@h": "ok", "w2@h": "silent"}
    eventually(lambda: "node w2@h is gone" in shell.err)

    said = shell.proj("status", "--strict", "-o", "json")
    assert said.code == 3
    assert said.json["missing"] == ["w2@h"]
    shell.node("w2", *BRISK)
    eventually(lambda: states(shell) == {"w1@h": "ok", "w2@h": "ok"})


@pytest.fixture
def gate(redis_server: RedisServer) -> Iterator[Gate]:
    gate = Gate(redis_server.port)
    yield gate
    gate.close()


def test_a_node_cut_off_from_the_broker_is_silent_and_a_client_cut_off_says_so(
    shell: Shell, gate: Gate, redis_url: str
) -> None:
    through = f"redis://127.0.0.1:{gate.port}/{redis_url.rpartition('/')[2]}"
    shell.node("w1", TASKCTL_BROKER_URL=through)
    shell.node("w2", TASKCTL_BROKER_URL=redis_url)
    assert states(shell, TASKCTL_BROKER_URL=redis_url) == {"w1@h": "ok", "w2@h": "ok"}

    gate.shut()

    assert states(shell, "-t", "0.4", TASKCTL_BROKER_URL=redis_url) == {
        "w1@h": "silent",
        "w2@h": "ok",
    }
    cut_off = shell.proj("status", "-t", "0.4", TASKCTL_BROKER_URL=through)
    assert (cut_off.code, cut_off.out) == (69, "")
    assert f"redis://127.0.0.1:{gate.port}/" in cut_off.err


def test_a_node_told_to_be_quiet_takes_no_tasks_until_it_is_told_to(shell: Shell) -> None:
    shell.node("w1")
    quiet = shell.proj("control", "quiet", "-o", "table").out.splitlines()[1]
    task = "from proj.celery import add; print(add.delay(1, 2).id)"
    task_id = shell.python(task)

    assert quiet == "w1@h  ok      quiet: on, was off (until the node restarts)"
    assert states(shell) == {"w1@h": "quiet"}
    again = shell.proj("control", "quiet", "-j").json[0]["w1@h"]
    assert (again["old"], again["new"]) == (True, True)
    state = f"from proj.celery import app; print(app.AsyncResult({task_id!r}).state)"
    assert shell.python(state) == "PENDING"

    shell.proj("control", "unquiet")

    eventually(lambda: shell.python(state) == "SUCCESS")
    assert states(shell) == {"w1@h": "ok"}


def test_two_nodes_of_one_name_are_both_shown_and_told_apart_by_pid(shell: Shell) -> None:
    first, second = shell.node("w1"), shell.node("w1")
    eventually(lambda: shell.err.count("w1@h ready in") == 2)

    table = shell.proj("status", "-o", "table")
    native = shell.proj("status", "-o", "json").json["nodes"]
    celerys = shell.proj("inspect", "ping", "-j").json

    pids = sorted((first.pid, second.pid))
    names = [f"w1@h#{pid}" for pid in pids]
    assert [line.split()[0] for line in table.out.splitlines()[1:]] == names
    assert f"two nodes are called w1@h (pid {pids[0]}, {pids[1]}); name each" in table.err
    assert {name: one["ok"]["pid"] for name, one in native.items()} == dict(
        zip(names, pids, strict=True)
    )
    assert celerys == {"w1@h": {"ok": "pong"}, names[0]: {"ok": "pong"}}
