"""Real workers say truthfully how they are, to a file, over HTTP and to systemd."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.exposition import samples
from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.watched import Watched


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A node on the embedded broker, for tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("node")
    node = Watched(folder, f"sqlite:///{folder}/queue.db").ready()
    yield node
    node.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """Start a node of its own for this test."""
    started: list[Watched] = []

    def one(url: str = f"sqlite:///{tmp_path}/queue.db", **options: object) -> Watched:
        started.append(Watched(tmp_path, url, **options))  # type: ignore[arg-type]
        return started[-1].ready()

    yield one
    for node in started:
        node.close()


@contextlib.contextmanager
def standing_still(node: Watched) -> Iterator[None]:
    node.block()
    try:
        yield
    finally:
        node.unblock()


def test_a_node_that_takes_tasks_is_live_and_ready(node: Watched) -> None:
    health = eventually(lambda: node.health() if node.health().ready else None)

    assert node.verdict()[:3] == (True, True, ())
    assert (node.get("/livez"), node.get("/readyz")) == ((200, "ok\n"), (200, "ok\n"))
    assert (health.node, health.pid, health.every) == ("w1@test", node.process.pid, 0.2)
    assert health.facts["state"] == "ok"
    assert health.facts["queues"] == ["celery"]
    assert (health.facts["slots"], health.facts["busy"]) == (2, 0)
    assert health.facts["version"]
    assert health.facts["listens"].keys() == {"/livez", "/readyz", "/metrics"}
    assert "tasks" not in health.facts


def test_a_running_task_is_in_the_file_within_a_second(node: Watched) -> None:
    running = node.send("mark", "long", 1.5)

    health = eventually(lambda: node.health() if node.health().facts["running_tasks"] else None)
    assert 0 <= health.facts["oldest_seconds"] < 2
    running.get(timeout=10)


def test_systemd_is_told_ready_status_and_signs_of_life(node: Watched) -> None:
    eventually(lambda: "READY=1" in node.told())
    node.forget()

    eventually(lambda: node.told().count("WATCHDOG=1") >= 3)
    assert "READY=1" not in node.told()


def test_a_loop_that_stands_still_is_seen_by_everybody(node: Watched) -> None:
    with standing_still(node):
        eventually(lambda: node.get("/livez")[0] == 503)

        assert node.get("/livez")[1].startswith("its main loop has said nothing for ")
        assert node.get("/readyz")[0] == 503
        assert node.verdict()[:2] == (False, False)
        status, page = node.get("/metrics")  # what was said last
        assert status == 200
        assert samples(page, "taskctl_loop_age_seconds")[0].value > 0.8
        assert samples(page, "taskctl_worker_ready")[0].value == 0
        node.forget()
        assert node.get("/livez")[0] == 503
        assert node.told() == []  # half a watchdog's time has gone by

    eventually(lambda: node.get("/readyz")[0] == 200)
    eventually(lambda: node.verdict()[:2] == (True, True))
    eventually(lambda: "WATCHDOG=1" in node.told())


def test_a_frozen_process_does_not_live(node: Watched) -> None:
    node.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: not node.verdict().live)
    finally:
        node.process.send_signal(signal.SIGCONT)

    eventually(lambda: node.verdict().ready)


def test_metrics_count_what_ran(node: Watched) -> None:
    def ended() -> dict[tuple[str, str], float]:
        found = samples(node.get("/metrics")[1], "taskctl_tasks_total")
        return {(s.labels["task"], s.labels["outcome"]): s.value for s in found}

    before = ended()
    node.send("fail", "f")
    node.send("nobody knows")
    node.app.send_task("trial.add", (1, 1), expires=-1)
    node.send("add", 2, 3).get(timeout=10)

    wanted = {
        ("trial.fail", "failed"), ("", "unregistered"), ("trial.add", "succeeded"),
    }  # fmt: skip
    eventually(lambda: wanted <= {key for key in ended() if ended()[key] > before.get(key, 0)})
    page = node.get("/metrics")[1]
    value = {s.name: s.value for s in samples(page) if s.labels.get("task") != "trial.fail"}
    assert value["taskctl_broker_connected"] == 1
    assert value["taskctl_pool_size"] == 2
    assert value["taskctl_child_starts_total"] >= 2
    assert value["taskctl_children_memory_bytes"] > 2_000_000
    assert [s.labels["queue"] for s in samples(page, "taskctl_queue_messages")] == ["celery"] * 3


def test_a_lost_child_is_counted_and_its_successor_has_no_socket_of_the_listener(
    node: Watched,
) -> None:
    lost = samples(node.get("/metrics")[1], "taskctl_child_losses_total")[0].value
    os.kill(node.children()[0], signal.SIGKILL)

    eventually(
        lambda: samples(node.get("/metrics")[1], "taskctl_child_losses_total")[0].value == lost + 1
    )
    eventually(lambda: len(node.children()) == 2)
    theirs = set().union(*(sockets(pid) for pid in node.children()))
    assert listening(node.process.pid)
    assert not listening(node.process.pid) & theirs


def sockets(pid: int) -> set[str]:
    """Return the inodes of a process' sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = os.readlink(entry)
            found |= {name[8:-1]} if name.startswith("socket:[") else set()
    return found


def listening(pid: int) -> set[str]:
    """Return the inodes of those that it listens on over TCP (state 0A of proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A"} & sockets(pid)


def test_without_its_broker_a_node_lives_and_is_not_ready(
    tmp_path: Path, start: Callable[..., Watched]
) -> None:
    server = RedisServer().start()
    try:
        node = start(server.url)
        eventually(lambda: node.get("/readyz")[0] == 200)

        server.stop()

        eventually(lambda: node.get("/readyz") == (503, "the broker is away\n"), within=20)
        assert node.get("/livez") == (200, "ok\n")
        eventually(lambda: node.verdict()[:3] == (True, False, ("the broker is away",)))
        eventually(
            lambda: samples(node.get("/metrics")[1], "taskctl_broker_connected")[0].value == 0
        )
        server = RedisServer(server.port).start()
        eventually(lambda: node.get("/readyz") == (200, "ok\n"), within=20)
        eventually(lambda: node.verdict().ready)
    finally:
        server.stop()


def test_a_node_that_finishes_says_so_and_leaves_no_file(start: Callable[..., Watched]) -> None:
    node = start()
    node.send("mark", "long", 2.0)
    eventually(lambda: node.marks.exists())
    node.forget()

    node.process.terminate()

    eventually(lambda: node.get("/readyz") == (503, "stopping\n"))
    assert node.get("/livez")[0] == 200
    eventually(lambda: node.verdict()[:3] == (True, False, ("stopping",)))
    assert node.health().facts["state"] == "stopping"
    assert node.process.wait(20) == 0
    told = node.told()
    assert told.index("STOPPING=1") < told.index("EXTEND_TIMEOUT_USEC=30000000")
    assert any(line.startswith("STATUS=stopping; 1 of 2 busy") for line in told)
    assert not os.path.exists(node.path)


def test_a_quiet_node_lives_and_is_not_ready(start: Callable[..., Watched]) -> None:
    node = start()

    node.app.control.broadcast("quiet", reply=True)

    eventually(lambda: node.get("/readyz") == (503, "quiet: told to take nothing new\n"))
    eventually(lambda: node.health().facts["state"] == "quiet")
    node.app.control.broadcast("unquiet", reply=True)
    eventually(lambda: node.get("/readyz")[0] == 200)


def test_a_solo_node_lives_while_it_runs_a_long_task(start: Callable[..., Watched]) -> None:
    node = start(resolve={"pool": "solo"})
    running = node.send("mark", "long", 3.0)
    eventually(lambda: node.marks.exists())
    eventually(lambda: node.health().facts["busy"] == 1)
    node.forget()

    eventually(lambda: node.told().count("WATCHDOG=1") >= 3)
    assert node.verdict().live
    assert node.get("/livez")[0] == 200
    assert samples(node.get("/metrics")[1], "taskctl_tasks_running")[0].value == 1
    assert running.get(timeout=10) == "long"
