"""Events of a node that stops, and of one that runs tasks in its own thread."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from ..support.farms import MakeFarm
from ..support.waiting import eventually
from ..support.workers import Farm


class Ear:
    """Hears all events of a farm."""

    def __init__(self, farm: Farm) -> None:
        self.events: list[dict[str, Any]] = []
        self.connection = farm.app.connection()
        self.receiver = farm.app.events.Receiver(self.connection, {"*": self.events.append})
        self.connection.broker.listen("celeryev", "#")

    def hear(self, kind: str) -> list[dict[str, Any]]:
        """Return the events up to the first of this type."""

        def heard() -> bool:
            if not any(event["type"] == kind for event in self.events):
                self.receiver.capture(limit=1, timeout=20, wakeup=False)
            return any(event["type"] == kind for event in self.events)

        eventually(heard, within=20)
        return self.events

    def kinds(self, prefix: str) -> list[str]:
        return [e["type"] for e in self.events if e["type"].startswith(prefix)]

    def close(self) -> None:
        self.connection.close()


def test_a_cold_stop_tells_of_tasks_that_go_back_and_of_its_end(farm: Farm) -> None:
    ear = Ear(farm)
    node = farm.start(concurrency=1, task_events=True).ready()
    result = farm.send("mark", "running", 60.0)
    eventually(lambda: farm.runs()["running"])

    node.tell(signal.SIGQUIT)

    events = ear.hear("worker-offline")
    (cancelled,) = [event for event in events if event["type"] == "task-cancelled"]
    assert cancelled["uuid"] == result.id
    assert set(cancelled) - {"local_received"} == {
        "type", "uuid", "hostname", "timestamp", "utcoffset", "pid", "clock"
    }  # fmt: skip
    assert events[-1]["type"] == "worker-offline"
    assert node.exit_code() == 1 and farm.size() == 1
    ear.close()


def test_a_solo_task_is_told_of_while_it_runs(make_farm: MakeFarm, tmp_path: Path) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    ear = Ear(farm)
    farm.start(pool="solo", task_events=True).ready()
    result = farm.send("mark", "running", 3.0)

    ear.hear("task-started")

    assert ear.kinds("task") == ["task-received", "task-started"]
    assert result.state == "PENDING"
    ear.hear("task-succeeded")
    assert [e["type"] for e in ear.events if e.get("uuid") == result.id] == [
        "task-received", "task-started", "task-succeeded"
    ]  # fmt: skip
    ear.close()


def test_a_node_without_heartbeat_sends_no_worker_events(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    ear = Ear(farm)
    farm.start(without_heartbeat=True, task_events=True).ready()
    farm.send("mark", "running")

    ear.hear("task-succeeded")

    assert ear.kinds("worker") == []
    ear.close()


def test_task_events_come_and_go_by_remote_control(make_farm: MakeFarm, tmp_path: Path) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    ear = Ear(farm)
    farm.start().ready()
    control = farm.app.control

    farm.send("mark", "before").get(timeout=20)
    control.enable_events(reply=True, timeout=10)
    farm.send("mark", "during").get(timeout=20)
    control.disable_events(reply=True, timeout=10)
    farm.send("mark", "after").get(timeout=20)
    control.enable_events(reply=True, timeout=10)
    last = farm.send("mark", "last")

    ear.hear("task-succeeded")
    while not any(e.get("uuid") == last.id for e in ear.events):
        ear.receiver.capture(limit=1, timeout=20, wakeup=False)
    names = [e["args"] for e in ear.events if e["type"] == "task-received"]
    assert names == ["('during',)", "('last',)"]
    ear.close()
