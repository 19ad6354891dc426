"""Two workers of Celery and two of ours on one broker: one fleet to both clients."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..support.mixed import Mixed
from ..support.waiting import eventually
from .conftest import Place

#: One of each kind has a pool of one, the other is autoscaled; each takes from its own queue.
SINGLES, SCALED = ("c1@h", "t1@h"), ("c2@h", "t2@h")
ALL = frozenset(SINGLES + SCALED)
CLIENTS = ("celery", "taskctl")
#: For what has nothing to do with the broker.
once = pytest.mark.parametrize("place", ["redis"], indirect=True)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Mixed]:
    settings = {"worker_pool_restarts": True, "task_acks_late": True}
    fleet = Mixed(tmp_path_factory.mktemp("mixed"), place.url, place.backend, **settings)
    try:
        for side, letter in (("celery", "c"), ("taskctl", "t")):
            fleet.start(side, f"{letter}1", "-c", "1", "-Q", f"{letter}1", "-l", "DEBUG")
            fleet.start(side, f"{letter}2", "--autoscale", "2,1", "-Q", f"{letter}2")
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def send(fleet: Mixed, task: str, *args: Any, **options: Any) -> dict[str, Any]:
    """Send one task to each single node; return the results by node."""
    return {
        node: fleet.theirs.send_task(f"proj.{task}", args, queue=node[:2], **options)
        for node in SINGLES
    }


def stats(fleet: Mixed, *nodes: str) -> dict[str, Any]:
    return dict(fleet.tell("celery", "stats", {}, *nodes))


def holds(fleet: Mixed, count: int) -> Callable[[], bool]:
    """Return a check that as many tasks run on each single node."""

    def check() -> bool:
        active = fleet.tell("celery", "active", {}, *SINGLES)
        return {node: len(tasks) for node, tasks in active.items()} == dict.fromkeys(SINGLES, count)

    return check


# --- asking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ping", "stats"])
def test_all_four_answer_one_question(fleet: Mixed, client: str, method: str) -> None:
    inspect = fleet.app(client).control.inspect(timeout=1.0)

    answers = getattr(inspect, method)()

    assert answers.keys() == ALL


@once
def test_both_programs_show_all_four(fleet: Mixed, client: str) -> None:
    done = fleet.run(client, "status", "-t", "1.5")

    assert done.returncode == 0, done.stderr
    assert {line.split(":")[0].removeprefix("->").strip() for line in done.stdout.splitlines()
            if "@h" in line} == ALL  # fmt: skip


@once
def test_our_status_returns_once_all_have_answered(fleet: Mixed) -> None:
    done = fleet.run("taskctl", "status", "-t", "60", "-o", "json", within=30.0)

    assert json.loads(done.stdout)["nodes"].keys() == ALL


# --- telling -------------------------------------------------------------------------------------


def test_a_terminated_task_is_killed_on_both_kinds(fleet: Mixed, client: str) -> None:
    held = fleet.folder / "killed"
    results = send(fleet, "hold", str(held))
    eventually(holds(fleet, 1), within=20)

    fleet.app(client).control.revoke([r.id for r in results.values()], terminate=True)

    eventually(lambda: {r.state for r in results.values()} == {"REVOKED"}, within=20)
    eventually(holds(fleet, 0), within=20)


def test_a_revoked_task_does_not_run_on_either_kind(fleet: Mixed, client: str) -> None:
    ids = {node: f"{client}-{node}" for node in SINGLES}
    fleet.tell(client, "revoke", {"task_id": list(ids.values())}, *ALL)

    results = [
        fleet.theirs.send_task("proj.add", (1, 1), queue=node[:2], task_id=task_id)
        for node, task_id in ids.items()
    ]

    after = send(fleet, "mul", 2, 3)
    assert [result.get(timeout=20) for result in after.values()] == [6, 6]
    assert [result.state for result in results] == ["REVOKED", "REVOKED"]


def test_a_rate_limit_holds_on_both_kinds(fleet: Mixed, client: str) -> None:
    told = fleet.tell(client, "rate_limit", {"task_name": "proj.again", "rate_limit": "1/h"}, *ALL)
    assert all(reply["ok"] for reply in told.values())
    listed = fleet.tell("celery", "registered", {}, *ALL)
    assert all("proj.again [rate_limit=1/h]" in names for names in listed.values())

    fleet.tell(client, "rate_limit", {"task_name": "proj.again", "rate_limit": 0}, *ALL)
    results = send(fleet, "again")
    assert [result.get(timeout=20) for result in results.values()] == ["done", "done"]


@once
def test_a_time_limit_is_set_on_both_kinds(fleet: Mixed, client: str) -> None:
    hard = 0.5 if client == "taskctl" else 1
    limits = {"task_name": "proj.hold", "soft": None, "hard": hard}
    try:
        fleet.tell(client, "time_limit", limits, *SINGLES)

        shown = fleet.tell("celery", "registered", {"taskinfoitems": ["time_limit"]}, *SINGLES)
        assert all(f"proj.hold [time_limit={hard}]" in names for names in shown.values())
        # Celery keeps the limits its tasks had when it started, whatever it says.
        held = fleet.theirs.send_task("proj.hold", (str(fleet.folder / "late"),), queue="t1")
        eventually(lambda: held.state == "FAILURE", within=20)
        assert type(held.result).__name__ == "TimeLimitExceeded"
    finally:
        fleet.tell(client, "time_limit", {"task_name": "proj.hold", "soft": None}, *SINGLES)


@once
def test_an_autoscaled_pool_takes_new_limits_and_refuses_to_grow(fleet: Mixed, client: str) -> None:
    told = fleet.tell(client, "autoscale", {"max": 3, "min": 2}, *SCALED)
    refused = fleet.tell(client, "pool_grow", {"n": 1}, *SCALED)

    assert {reply["ok"] for reply in told.values()} == {"autoscale now max=3 min=2"}
    assert len({reply["error"] for reply in refused.values()}) == 1
    limits = {node: said["autoscaler"] for node, said in stats(fleet, *SCALED).items()}
    assert {(one["max"], one["min"]) for one in limits.values()} == {(3, 2)}
    fleet.tell(client, "autoscale", {"max": 2, "min": 1}, *SCALED)


def test_both_kinds_take_from_a_new_queue_and_stop(fleet: Mixed, client: str) -> None:
    def queues() -> list[set[str]]:
        replies = fleet.tell("celery", "active_queues", {}, *SINGLES)
        return [{queue["name"] for queue in replies[node]} for node in SINGLES]

    name = f"extra-{client}"
    fleet.app(client).control.add_consumer(name, destination=list(SINGLES))
    eventually(lambda: queues() == [{"c1", name}, {"t1", name}], within=20)
    sent = [fleet.theirs.send_task("proj.add", (n, 1), queue=name) for n in range(4)]
    assert [result.get(timeout=20) for result in sent] == [1, 2, 3, 4]

    fleet.app(client).control.cancel_consumer(name, destination=list(SINGLES))
    eventually(lambda: queues() == [{"c1"}, {"t1"}], within=20)


@once
def test_a_pool_restart_replaces_the_children_of_both_kinds(fleet: Mixed, client: str) -> None:
    def children() -> dict[str, Any]:
        return {n: said["pool"]["processes"] for n, said in stats(fleet, *SINGLES).items()}

    before = children()

    told = fleet.tell(client, "pool_restart", {}, *SINGLES)

    assert {reply["ok"] for reply in told.values()} == {"reload started"}
    assert [r.get(timeout=20) for r in send(fleet, "add", 1, 2).values()] == [3, 3]

    def replaced() -> bool:
        # A child of Celery's sees to it when its next task has ended.
        send(fleet, "add", 1, 2)
        return all(children()[n] and children()[n] != before[n] for n in SINGLES)

    eventually(replaced, within=20, every=0.1)


# --- neighbours ----------------------------------------------------------------------------------


def test_a_worker_that_starts_learns_what_was_revoked_from_the_other_kind(fleet: Mixed) -> None:
    fleet.tell("celery", "revoke", {"task_id": ["known-to-all"]}, *ALL)
    clock = max(reply["clock"] for reply in fleet.tell("celery", "clock", {}, *ALL).values())

    for node in SINGLES:
        fleet.restart(node, "-c", "1", "-Q", node[:2], "-l", "DEBUG")
    fleet.wait_ready()

    for node in SINGLES:
        eventually(lambda n=node: "known-to-all" in fleet.tell("celery", "revoked", {}, n)[n])
        assert fleet.tell("celery", "clock", {}, node)[node]["clock"] > clock
    assert "sync complete" in fleet.members["c1@h"].log
    # Where the broker does not count who listens, it is said when the time is over.
    eventually(lambda: "mingled with" in fleet.members["t1@h"].log)


def test_celerys_gossip_sees_our_node_come_and_go(fleet: Mixed) -> None:
    fleet.start("taskctl", "t3", "-c", "1", "-Q", "t3")
    theirs = fleet.members["c1@h"]
    eventually(lambda: "t3@h joined the party" in theirs.log, within=20)

    fleet.app("celery").control.shutdown(destination=["t3@h"])

    assert fleet.members["t3@h"].process.wait(30) == 0
    del fleet.members["t3@h"]
    eventually(lambda: "t3@h left" in theirs.log, within=20)


def test_both_states_hold_all_four_for_alive(fleet: Mixed) -> None:
    def heartbeats(events: list[Any]) -> bool:
        return {e["hostname"] for e in events if e["type"] == "worker-heartbeat"} >= ALL

    events = fleet.hear(lambda: None, heartbeats)

    for state in (fleet.theirs.events.State(), fleet.ours.events.State()):
        for event in events:
            state.event({**event, "local_received": time.time()})
        assert {w.hostname for w in state.alive_workers()} >= ALL
        assert {w.sw_ident for w in state.alive_workers()} == {"py-celery", "py-taskctl"}


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "nodes"), [("celery", SINGLES), ("taskctl", SCALED)])
def test_either_client_shuts_both_kinds_down(
    fleet: Mixed, side: str, nodes: tuple[str, ...]
) -> None:
    fleet.app(side).control.shutdown(destination=list(nodes))

    assert [fleet.members.pop(node).process.wait(30) for node in nodes] == [0, 0]
    assert fleet.tell("celery", "ping", {}, timeout=0.5).keys() == set(fleet.members)
