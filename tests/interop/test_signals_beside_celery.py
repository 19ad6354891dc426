"""Every signal and hook in a live worker, beside Celery's: who sends it, how often, with what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from taskctl import App
from taskctl.core.errors import TaskctlError

from ..support.servers import RedisServer
from ..support.waiting import eventually

PROJECT = Path(__file__).parent / "projects" / "signals"
#: Tasks that end by themselves, each in its way.
ENDING = (
    "fine failing expected again spent by_itself rejected ignored too_long killed opaque"
).split()
#: Told once in a worker's life; whose order and number differ, see below.
LIFE = (
    "import_modules celeryd_init worker_init after_setup_logger after_setup_task_logger "
    "celeryd_after_setup worker_before_create_process worker_process_init worker_ready "
    "heartbeat_sent worker_shutting_down worker_process_shutdown worker_shutdown"
).split()

Event = tuple[str, str, str]


class Told:
    """What one worker of one kind has told of the same calls."""

    def __init__(self, who: str, url: str, folder: Path) -> None:
        self.who = who
        self.app = App("client", set_as_current=False, broker=url, backend=url)
        self.file = folder / f"{who}.told"
        self.log = folder / f"{who}.log"
        words = ["-A", "told", "worker", "-c", "1", "-n", "n@h", "-l", "INFO"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", who, *words],
                env={**os.environ, "WHO": who, "URL": url, "TOLD": str(self.file)},
                cwd=PROJECT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.ids: dict[str, str] = {}

    def lines(self) -> list[dict[str, Any]]:
        text = self.file.read_text() if self.file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def heard(self, name: str, key: str | None = None) -> bool:
        wanted = None if key is None else self.ids[key]
        return any(
            line["name"] == name and (wanted is None or line["id"] == wanted)
            for line in self.lines()
        )

    def call(self, key: str, *, task: str | None = None, **options: Any) -> Any:
        result = self.app.send_task(task or key, (key,), **options)
        self.ids[key] = result.id
        return result

    def run(self) -> Told:
        """Make all calls, one after the other, and end the worker."""
        eventually(lambda: self.heard("worker_ready"), within=40)
        for key in ENDING:
            result = self.call(key)
            if key == "ignored":
                eventually(lambda: self.heard("task_postrun", "ignored"), within=30)
                continue
            try:
                result.get(timeout=40)
            except TaskctlError as exc:
                assert "timed out" not in str(exc), (key, self.log.read_text())
            except Exception:  # what the task has raised
                continue
        self.call("unknown", task="nobody.knows.it")
        self.call("late", task="fine", expires=-5)
        nap = self.call("napping")
        eventually(lambda: self.heard("before_start", "napping"), within=30)
        nap.revoke(terminate=True)
        for name, key in [("unknown", "unknown"), ("revoked", "late"), ("revoked", "napping")]:
            eventually(lambda n=name, k=key: self.heard(f"task_{n}", k), within=30)
        self.process.terminate()
        assert self.process.wait(40) == 0, self.log.read_text()
        return self

    def of(self, key: str) -> Counter[Event]:
        """Return what was told of one call."""
        wanted = self.ids[key]
        text = json.dumps
        return Counter(
            (line["name"], line["sender"], text(line["told"]).replace(wanted, "ID"))
            for line in self.lines()
            if line["id"] == wanted
        )

    def life(self) -> set[Event]:
        """Return what was told of the worker itself: names of arguments only."""
        return {
            (line["name"], line["sender"], " ".join(line["told"]))
            for line in self.lines()
            if line["name"] in LIFE
        }


@pytest.fixture(scope="module")
def both(own_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Told]]:
    """Celery's worker and ours, after the same calls."""
    base = own_server.url.rpartition("/")[0]
    folder = tmp_path_factory.mktemp("told")
    started = []
    for who, database in (("celery", 62), ("taskctl", 63)):
        with redis.Redis.from_url(f"{base}/{database}") as client:
            client.flushdb()
        started.append(Told(who, f"{base}/{database}", folder))
    try:
        with ThreadPoolExecutor(2) as threads:
            yield list(threads.map(Told.run, started))
    finally:
        for one in started:
            if one.process.poll() is None:
                os.killpg(one.process.pid, 9)
                one.process.wait()
            one.app.close()


@pytest.mark.parametrize("key", [*(key for key in ENDING if key != "too_long"), "unknown", "late"])
def test_a_call_is_told_of_as_celery_tells_it(both: list[Told], key: str) -> None:
    celerys, ours = (one.of(key) for one in both)

    assert ours, both[1].log.read_text()
    assert ours == celerys


def test_a_hard_time_limit_is_told_once(both: list[Told]) -> None:
    """Celery sends task_failure twice, and a task_postrun without a state from the dying child."""
    celerys, ours = (one.of("too_long") for one in both)

    assert set(ours) == {event for event in celerys if event[0] != "task_postrun"}
    assert set(ours.values()) == {1}
    assert {name for name, _, _ in ours} >= {"on_failure", "after_return", "task_failure"}


def test_a_terminated_task_is_told_of_by_the_parent(both: list[Told]) -> None:
    celerys, ours = (one.of("napping") for one in both)

    assert ours == Counter({e: n for e, n in celerys.items() if e[0] != "task_postrun"})


def test_a_worker_tells_its_life_as_celerys_does(both: list[Told]) -> None:
    celerys, ours = (one.life() for one in both)

    assert ours == celerys
