"""Paused queues: real nodes take no more, give back what they reserved, and finish what runs."""

from __future__ import annotations

from taskctl.core.remote.queues import list_queues, pause_queue, resume_queue

from ..support.waiting import eventually
from ..support.workers import Farm


def numbers(farm: Farm) -> tuple[int, int]:
    """Return (depth, unacked) of the queue celery."""
    with farm.app.connection() as connection:
        (row,) = (row for row in list_queues(connection) if row["queue"] == "celery")
    return row["depth"], row["unacked"]


def test_a_pause_gives_back_what_has_not_begun_and_a_restarted_node_obeys_it(farm: Farm) -> None:
    node = farm.start(concurrency=1, prefetch_multiplier=4)
    running = farm.send("mark", "running", 4.0)
    eventually(lambda: farm.runs()["running"])
    waiting = [farm.send("mark", f"later.{number}") for number in range(6)]
    eventually(lambda: numbers(farm)[1] == 4)

    with farm.app.connection() as connection:
        assert pause_queue(connection, "celery")
        assert not pause_queue(connection, "celery")

    eventually(lambda: numbers(farm) == (6, 1), within=4)
    assert "queue 'celery' is paused; 3 reserved tasks go back to it" in node.log
    assert running.get(timeout=10) == "running"
    node.tell(15)
    assert node.exit_code() == 0
    again = farm.start("w2", concurrency=1)
    eventually(lambda: "queue 'celery' is paused: nothing is taken from it" in again.log)
    eventually(
        lambda: [n.record["paused"] for n in farm.app.control.cluster.nodes()] == [["celery"]]
    )
    assert numbers(farm) == (6, 0)
    assert set(farm.runs()) == {"running"}

    with farm.app.connection() as connection:
        assert resume_queue(connection, "celery")

    assert [result.get(timeout=10) for result in waiting] == [f"later.{n}" for n in range(6)]
    begun = [farm.times(f"later.{number}")[0] for number in range(6)]
    assert begun == sorted(begun), "what went back went to the head, in its order"


def test_other_queues_of_a_node_go_on(farm: Farm) -> None:
    farm.start(queues="celery,images", concurrency=1, settings={"worker_lease_interval": 0.4})
    with farm.app.connection() as connection:
        pause_queue(connection, "images")

    held = farm.send("mark", "held", queue="images")
    other = farm.send("mark", "other")

    assert other.get(timeout=10) == "other"
    assert farm.size("images") == 1
    with farm.app.connection() as connection:
        resume_queue(connection, "images")
        eventually(lambda: list_queues(connection)[0]["rate"] is not None)
    assert held.get(timeout=10) == "held"
