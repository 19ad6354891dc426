"""Flower shows workers of ours and their tasks, and steers them: its HTTP API, and its pages."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from ..support.mixed import Mixed
from ..support.servers import free_port
from ..support.waiting import eventually

OURS, SCALED = "ours@h", "scaled@h"
#: How long a page may take to have drawn what it fetches, in ms of its own time.
_PAGE_MS = 10_000


class Flower:
    """One Flower process on the project of a fleet."""

    def __init__(self, fleet: Mixed) -> None:
        self.fleet, self.port = fleet, free_port()
        fleet.env["FLOWER_UNAUTHENTICATED_API"] = "true"
        self.process = fleet.program(
            "celery", "flower", f"--port={self.port}", "--address=127.0.0.1",
            "--inspect_timeout=1000", log="flower.log",
        )  # fmt: skip
        eventually(self._answers, within=40)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.fleet.folder / "flower.log").read_text()
        try:
            return self.ask("GET", "/healthcheck")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, **arguments: Any) -> tuple[int, str]:
        """Return status and text of one request."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if arguments:
            path += "?" + urlencode(arguments)
        client.request(method, path, headers={"Content-Length": "0"})
        answer = client.getresponse()
        return answer.status, answer.read().decode()

    def get(self, path: str, **arguments: Any) -> Any:
        status, text = self.ask("GET", path, **arguments)
        assert status == 200, text
        return json.loads(text)

    def post(self, path: str, **arguments: Any) -> str:
        """Return the message of a control action that was obeyed."""
        status, text = self.ask("POST", path, **arguments)
        assert status == 200, text
        return str(json.loads(text)["message"])

    def page(self, path: str) -> str:
        """Return the text of a page once its scripts have run."""
        browser = _browser()
        url = f"http://127.0.0.1:{self.port}{path}"
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={self.fleet.folder / 'browser'}",
             f"--virtual-time-budget={_PAGE_MS}", "--dump-dom", url],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        body = re.sub(r"<(script|style)\b.*?</\1>", " ", done.stdout, flags=re.DOTALL)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def _browser() -> str:
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip("no Chromium is installed: apt-get install chromium-headless-shell")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, lone_url: str) -> Iterator[Mixed]:
    """Two workers of ours that send no task events until Flower asks for them."""
    fleet = Mixed(tmp_path_factory.mktemp("flower"), lone_url, worker_pool_restarts=True)
    try:
        fleet.start("taskctl", "ours", "-c", "2")
        fleet.start("taskctl", "scaled", "--autoscale", "2,1", "-Q", "other")
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def flower(fleet: Mixed) -> Flower:
    flower = Flower(fleet)
    # It asks for task events every few seconds.
    eventually(lambda: _events_on(fleet), within=20)
    return flower


def _events_on(fleet: Mixed) -> bool:
    return {node.record["task_events"] for node in fleet.ours.control.cluster.nodes()} == {True}


@pytest.fixture(scope="module")
def life(fleet: Mixed, flower: Flower) -> dict[str, str]:
    """Tasks of each fate, by id."""
    send = fleet.theirs.send_task
    sent = {
        "add": send("proj.add", (2, 3)),
        "fail": send("proj.fail", ("a",)),
        "again": send("proj.again"),
        "revoked": send("proj.add", (1, 1), expires=-1),
    }
    for result in sent.values():
        result.get(timeout=20, propagate=False)
    ids = {name: str(result.id) for name, result in sent.items()}
    eventually(lambda: set(ids.values()) <= flower.get("/api/tasks").keys(), within=20)
    return ids


def test_its_list_of_workers_says_what_they_are(fleet: Mixed, flower: Flower) -> None:
    workers = flower.get("/api/workers", refresh=1)
    status = flower.get("/api/workers", status=1)

    ours = workers[OURS]
    assert status == {OURS: True, SCALED: True}
    assert [queue["name"] for queue in ours["active_queues"]] == ["celery"]
    assert "proj.fail" in ours["registered"]
    assert ours["stats"]["pid"] == fleet.members[OURS].process.pid
    assert len(ours["stats"]["pool"]["processes"]) == 2
    assert ours["stats"]["broker"]["transport"] == "redis"
    assert workers[SCALED]["stats"]["autoscaler"]["max"] == 2
    assert ours["conf"]["worker_pool_restarts"] is True


def test_its_tasks_have_their_names_states_and_worker(flower: Flower, life: dict[str, str]) -> None:
    def states() -> dict[str, str]:
        tasks = flower.get("/api/tasks")
        return {name: tasks[task_id]["state"] for name, task_id in life.items()}

    expected = {"add": "SUCCESS", "fail": "FAILURE", "again": "SUCCESS", "revoked": "REVOKED"}
    eventually(lambda: states() == expected, within=20)
    tasks = flower.get("/api/tasks")
    assert {tasks[task_id]["worker"] for task_id in life.values()} == {OURS}
    assert tasks[life["fail"]]["name"] == "proj.fail"
    assert flower.get("/api/tasks", workername=OURS, state="FAILURE").keys() == {life["fail"]}


def test_its_page_of_one_task_has_all_fields(flower: Flower, life: dict[str, str]) -> None:
    added = flower.get(f"/api/task/info/{life['add']}")
    failed = flower.get(f"/api/task/info/{life['fail']}")
    again = flower.get(f"/api/task/info/{life['again']}")

    assert (added["name"], added["args"], added["kwargs"]) == ("proj.add", "(2, 3)", "{}")
    assert (added["state"], added["result"], added["worker"]) == ("SUCCESS", "5", OURS)
    assert added["received"] <= added["started"] <= added["succeeded"]
    assert added["runtime"] >= 0 and added["root_id"] == life["add"]
    assert failed["exception"] == "ValueError('boom', 42)"
    assert failed["traceback"].startswith("Traceback (most recent call last)")
    assert (again["retries"], again["exception"]) == (1, "KeyError('k')")


def test_it_counts_what_waits_on_our_queues(fleet: Mixed, flower: Flower) -> None:
    held = fleet.folder / "busy"
    running = [fleet.theirs.send_task("proj.hold", (str(held),)) for _ in range(2)]
    eventually(lambda: len(fleet.tell("celery", "active", {}, OURS)[OURS]) == 2, within=20)
    waiting = [fleet.theirs.send_task("proj.mul", (2, n)) for n in range(3)]

    flower.get("/api/workers", refresh=1)
    lengths = flower.get("/api/queues/length")

    assert {q["name"]: q["messages"] for q in lengths["active_queues"]}["celery"] == 3
    held.unlink()
    assert [r.get(timeout=20) for r in waiting] == [0, 2, 4]
    for result in running:
        result.get(timeout=20)


def test_it_steers_our_workers(fleet: Mixed, flower: Flower) -> None:
    def size() -> int:
        return len(fleet.tell("celery", "stats", {}, OURS)[OURS]["pool"]["processes"])

    flower.post(f"/api/worker/pool/grow/{OURS}", n=2)
    eventually(lambda: size() == 4)
    flower.post(f"/api/worker/pool/shrink/{OURS}", n=2)
    eventually(lambda: size() == 2)
    flower.post(f"/api/worker/pool/autoscale/{SCALED}", min=2, max=3)
    flower.post(f"/api/worker/pool/restart/{OURS}")
    assert flower.post(f"/api/worker/queue/add-consumer/{OURS}", queue="q9") == "add consumer q9"
    queues = fleet.tell("celery", "active_queues", {}, OURS)[OURS]
    flower.post(f"/api/worker/queue/cancel-consumer/{OURS}", queue="q9")
    flower.post("/api/task/rate-limit/proj.mul", workername=OURS, ratelimit="100/m")
    flower.post("/api/task/timeout/proj.mul", workername=OURS, soft=3, hard=5)

    said = fleet.tell("celery", "stats", {}, SCALED)[SCALED]["autoscaler"]
    items = {"taskinfoitems": ["rate_limit", "soft_time_limit", "time_limit"]}
    assert (said["max"], said["min"]) == (3, 2)
    assert {queue["name"] for queue in queues} == {"celery", "q9"}
    assert (
        "proj.mul [rate_limit=100/m soft_time_limit=3.0 time_limit=5.0]"
        in (fleet.tell("celery", "registered", items, OURS)[OURS])
    )
    assert "pool restart" in fleet.members[OURS].log


def test_it_refuses_what_our_worker_refuses(flower: Flower) -> None:
    status, text = flower.ask(
        "POST", "/api/task/rate-limit/proj.mul", workername=OURS, ratelimit="5/x"
    )

    assert status == 403
    assert "Invalid rate limit string" in text


def test_it_terminates_a_task_of_ours(fleet: Mixed, flower: Flower) -> None:
    result = fleet.theirs.send_task("proj.hold", (str(fleet.folder / "doomed"),))
    eventually(lambda: fleet.tell("celery", "active", {}, OURS)[OURS], within=20)

    flower.post(f"/api/task/revoke/{result.id}", terminate="true")

    eventually(lambda: result.state == "REVOKED", within=20)
    shown = f"/api/task/info/{result.id}"
    eventually(lambda: flower.get(shown)["state"] == "REVOKED", within=20)


def test_its_page_of_workers_shows_ours_online(flower: Flower, life: dict[str, str]) -> None:
    text = flower.page("/workers")

    for name in (OURS, SCALED):
        assert re.search(rf"{name} +Online ", text), text


def test_its_page_of_tasks_shows_names_states_and_workers(
    flower: Flower, life: dict[str, str]
) -> None:
    text = flower.page("/tasks")

    shown = {name: rf"{life[name]} +{life[name][:8]}" for name in ("add", "fail")}
    assert re.search(rf"proj\.add +{shown['add']} +SUCCESS .* ms +{OURS}", text), text
    assert re.search(rf"proj\.fail +{shown['fail']} +FAILURE .* {OURS}", text), text


def test_it_shuts_a_worker_of_ours_down_and_shows_it_offline(fleet: Mixed, flower: Flower) -> None:
    flower.post(f"/api/worker/shutdown/{SCALED}")

    assert fleet.members.pop(SCALED).process.wait(30) == 0
    eventually(lambda: flower.get("/api/workers", status=1)[SCALED] is False, within=20)
