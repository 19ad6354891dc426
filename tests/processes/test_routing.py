"""Topics, broadcasts, bindings and priorities between live workers, on every broker."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskctl import App, Binding, Broadcast, Exchange, Queue

from ..support.rabbit import RabbitControl
from ..support.servers import RedisServer
from ..support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
PROJECT = """\
import os
from tests.processes.test_routing import make

app = make(os.environ["BROKER"], os.environ["RESULTS"])

@app.task(name="proj.note", bind=True)
def note(self, key):
    node, rank = self.request.hostname.partition("@")[0], self.request.delivery_info["priority"]
    line = f"{key} {node} {rank}"
    fd = os.open(os.environ["MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (line + "\\n").encode())
    os.close(fd)

@app.task(name="proj.relay", bind=True)
def relay(self, key):
    note.apply_async((key,), queue="ranks")
"""


def make(broker: str, results: str) -> App:
    """Return an app with queues of all kinds; each process has a broadcast queue of its own."""
    media = Exchange("media", type="topic")
    return App(
        "proj",
        broker=broker,
        backend=results,
        set_as_current=False,
        worker_prefetch_multiplier=1,
        task_inherit_parent_priority=True,
        broker_transport_options={"priority_steps": list(range(10))}
        if broker.startswith("redis")
        else {},
        task_queues=[
            Queue("celery"),
            Broadcast("everyone"),
            Queue("video", media, routing_key="media.video.#"),
            Queue("sound", media, "media.audio", bindings=[Binding("extra", "loud")]),
            Queue("ranks", max_priority=10),
        ],
        task_routes={"proj.note": {"queue": "celery"}},
    )


class Site:
    """A broker with workers on it, and what their tasks have noted."""

    def __init__(self, folder: Path, broker: str, results: str) -> None:
        (folder / "routing_project.py").write_text(PROJECT)
        self.folder, self.marks = folder, folder / "marks"
        self.app = make(broker, results)
        self.env = {
            **os.environ,
            "BROKER": broker,
            "RESULTS": results,
            "MARKS": str(self.marks),
            "PYTHONPATH": f"{folder}:{ROOT}",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *words: str) -> None:
        """Start a worker."""
        line = [sys.executable, "-m", "taskctl", "-A", "routing_project:app", "worker"]
        with (self.folder / f"{name}.log").open("wb") as out:
            process = subprocess.Popen(
                [*line, "-c", "1", "-l", "INFO", "-n", f"{name}@h", *words],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def wait_ready(self, name: str) -> None:
        log, process = self.folder / f"{name}.log", self._processes[-1]
        eventually(lambda: " ready in" in log.read_text() or process.poll() is not None, within=60)
        assert process.poll() is None, log.read_text()

    def send(self, key: str, task: str = "note", **options: Any) -> None:
        self.app.send_task(f"proj.{task}", (key,), **options)

    def noted(self, start: str) -> list[tuple[str, str, str]]:
        """Return (key, node, priority) of what was noted under keys that begin so."""
        text = self.marks.read_text() if self.marks.exists() else ""
        lines = [line.split() for line in text.splitlines()]
        return [(key, node, rank) for key, node, rank in lines if key.startswith(start)]

    def close(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        self.app.close()


@pytest.fixture(scope="module", params=["sqlite", "redis", "rabbitmq"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("routing")
    broker, results = f"sqlite:///{folder}/queue.db", f"sqlite:///{folder}/results.db"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        broker = server.url.removesuffix("/0") + "/57"
        with redis.Redis.from_url(broker) as client:
            client.flushdb()
    elif request.param == "rabbitmq":
        control: RabbitControl = request.getfixturevalue("rabbitmq_control")
        broker = control.new_vhost()
    site = Site(folder, broker, results)
    for name in ("w1", "w2"):
        site.start(name, "-X", "ranks")
    for name in ("w1", "w2"):
        site.wait_ready(name)
    yield site
    site.close()
    if request.param == "rabbitmq":
        control.drop_vhost(broker)


def test_topics_and_further_bindings_lead_into_a_queue(site: Site) -> None:
    site.send("topic.video", queue="video", routing_key="media.video.new")
    site.send("topic.exchange", exchange="media", routing_key="media.video.x.y", queue="sound")
    site.send("topic.audio", queue="sound")
    site.send("topic.extra", queue="celery", exchange="extra", routing_key="loud")
    site.send("topic.nobody", queue="video", routing_key="media.text")
    site.send("topic.last")

    eventually(lambda: len(site.noted("topic.")) >= 5)

    assert sorted(key for key, _, _ in site.noted("topic.")) == [
        "topic.audio", "topic.exchange", "topic.extra", "topic.last", "topic.video",
    ]  # fmt: skip


def test_every_worker_that_is_there_runs_a_broadcast_and_late_ones_run_later_ones(
    site: Site,
) -> None:
    site.send("cast.first", queue="everyone")
    eventually(lambda: len(site.noted("cast.first")) == 2)
    random.seed(3)
    ranks = [random.randrange(10) for _ in range(60)]
    for number, rank in enumerate(ranks):
        site.send(f"rank.{number:02}", queue="ranks", priority=rank)
    site.send("child.0", "relay", queue="ranks", priority=4)

    site.start("w3", "-Q", "everyone,ranks")
    site.wait_ready("w3")
    site.send("cast.second", queue="everyone")

    eventually(lambda: len(site.noted("cast.second")) == 3)
    eventually(lambda: len(site.noted("rank.")) == 60 and site.noted("child."))
    assert Counter(node for _, node, _ in site.noted("cast.second")) == {"w1": 1, "w2": 1, "w3": 1}
    assert sorted(node for _, node, _ in site.noted("cast.first")) == ["w1", "w2"]
    # One meaning: the highest number first, each number in the order it was sent.
    order = sorted(range(60), key=lambda number: (-ranks[number], number))
    assert [(key, rank) for key, _, rank in site.noted("rank.")] == [
        (f"rank.{number:02}", str(ranks[number])) for number in order
    ]
    # What a task calls inherits the number that its own caller gave.
    assert [rank for _, _, rank in site.noted("child.")] == ["4"]
